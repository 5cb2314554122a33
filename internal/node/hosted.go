// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/api"
	"gregor/internal/meta"
	"gregor/internal/replica"
	"gregor/internal/wire"
)

// hosted shows replica's table to api.Partitions. image is what the node has
// published; it tells a partition that lives elsewhere from one that is not.
type hosted struct {
	table *replica.Table
	image *atomic.Pointer[meta.Image]
}

var (
	_ api.Partitions = hosted{}
	_ api.Finder     = hosted{}
)

func (h hosted) Get(name []byte, index int32) (api.Partition, error) {
	if p := h.table.Get(name, index); p != nil {
		return hostedPartition{p}, nil
	}
	return nil, h.absent(h.image.Load().Topic(string(name)), index, kerr.UnknownTopicOrPartition)
}

func (h hosted) GetName(name string, index int32) (api.Partition, error) {
	if p := h.table.Named(name, index); p != nil {
		return hostedPartition{p}, nil
	}
	return nil, h.absent(h.image.Load().Topic(name), index, kerr.UnknownTopicOrPartition)
}

func (h hosted) GetByID(id [16]byte, index int32) (api.Partition, error) {
	if p := h.table.ByID(id, index); p != nil {
		return hostedPartition{p}, nil
	}
	return nil, h.absent(h.image.Load().TopicByID(id), index, kerr.UnknownTopicID)
}

// absent says why a partition is not hosted here. unknown is the answer for a
// topic that does not exist.
func (h hosted) absent(t *meta.Topic, index int32, unknown error) error {
	switch {
	case t == nil:
		return unknown
	case t.Partition(index) == nil:
		return kerr.UnknownTopicOrPartition
	}
	return kerr.NotLeaderForPartition
}

// Find is Get for the families that want the replica itself; it meets
// api.Finder.
func (h hosted) Find(topic string, index int32) (*replica.Partition, error) {
	if p := h.table.Named(topic, index); p != nil {
		return p, nil
	}
	return nil, h.absent(h.image.Load().Topic(topic), index, kerr.UnknownTopicOrPartition)
}

func (h hosted) TopicName(id [16]byte) string {
	if t := h.image.Load().TopicByID(id); t != nil {
		return t.Name
	}
	return ""
}

func (h hosted) Leader(topic string, index int32, listener string) api.Leader {
	img := h.image.Load()
	p := img.Partition(topic, index)
	if p == nil {
		return api.Leader{Node: -1, Epoch: -1}
	}
	l := api.Leader{Node: p.Leader, Epoch: p.LeaderEpoch}
	if b := img.Broker(p.Leader); b != nil {
		if e, ok := b.Endpoint(listener); ok {
			l.Host, l.Port = e.Host, int32(e.Port)
		}
		if b.Rack != "" {
			l.Rack = &b.Rack
		}
	}
	return l
}

// hostedPartition is one pointer, so that it becomes an interface without an
// allocation.
type hostedPartition struct{ p *replica.Partition }

func (h hostedPartition) Topic() string { return h.p.Topic() }

func (h hostedPartition) Append(records []byte, o api.AppendOptions) (api.Appended, error) {
	r, err := h.p.Append(records, o.Acks, replica.AppendOptions{
		ExpectedEpoch: replica.NoEpoch, NoZstd: o.Version < 7, Guard: o.Guard, Unguarded: o.Unguarded,
	})
	if err != nil {
		return api.Appended{}, recordErrors(err)
	}
	return api.Appended{
		BaseOffset: r.BaseOffset, UpTo: r.LastOffset + 1, LogAppendTime: r.LogAppendTime,
		LogStart: r.LogStart, LeaderEpoch: r.LeaderEpoch,
	}, nil
}

func (h hostedPartition) BeginTxn(producerID int64, epoch int16, first int32, version2 bool) (uint64, error) {
	return h.p.BeginTxn(producerID, epoch, first, version2)
}

// recordErrors gives a refusal of single records api's form.
func recordErrors(err error) error {
	re, ok := err.(*replica.RecordErrors) //nolint:errorlint // Append returns it bare
	if !ok {
		return err
	}
	out := &api.RecordErrors{Err: re.Err, Message: re.Message}
	for _, r := range re.Records {
		out.Records = append(out.Records, api.RecordError{Index: r.Index, Message: r.Message})
	}
	return out
}

func (h hostedPartition) AwaitCommitted(upTo int64, epoch int32, w api.Waker) bool {
	return h.p.AwaitCommitted(upTo, epoch, w)
}

func (h hostedPartition) Committed(upTo int64, epoch int32) error { return h.p.Committed(upTo, epoch) }

func (h hostedPartition) AwaitReadable(iso api.Isolation, seen int64, w api.Waker) bool {
	return h.p.AwaitReadable(replica.Isolation(iso), seen, w)
}

func (h hostedPartition) Watch(w api.Waker) bool { return h.p.Watch(w) }

func (h hostedPartition) Forget(w api.Waker) { h.p.Forget(w) }

func (h hostedPartition) Read(r api.ReadRequest) (api.Read, error) {
	got, err := h.p.Read(replica.ReadRequest{
		From: r.From, MaxBytes: r.MaxBytes, MinOne: r.MinOne, Isolation: replica.Isolation(r.Isolation),
		CurrentLeaderEpoch: r.LeaderEpoch, LastFetchedEpoch: r.LastFetchedEpoch,
		Follower: r.Follower, Copies: r.Replica >= 0, Replica: r.Replica, AnyReplica: r.AnyReplica, Rack: r.Rack,
	})
	out := api.Read{
		Slice: wire.Part{Bytes: got.Slice.Bytes, Off: got.Slice.Off, N: got.Slice.N}, Release: got.Slice.Release,
		HighWatermark: got.HighWatermark, LastStable: got.LastStable, LogStart: got.LogStart,
		ReadableEnd: got.Bound, PreferredReplica: -1, Rest: got.Rest,
	}
	if got.Nearer != nil {
		out.PreferredReplica = *got.Nearer
	}
	if got.Slice.File != nil {
		out.Slice.File = got.Slice.File
	}
	for _, a := range got.Aborted {
		out.Aborted = append(out.Aborted, api.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
	}
	if got.Diverging != nil {
		out.Diverging = &api.EpochEnd{Epoch: got.Diverging.Epoch, End: got.Diverging.End}
	}
	return out, err
}
