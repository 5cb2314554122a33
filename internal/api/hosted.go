// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
	"gregor/internal/replica"
	"gregor/internal/wire"
)

// Hosted is the partitions of this node as handlers see them: the replica
// table, and the metadata that tells a partition that lives elsewhere from one
// that does not exist. It meets Partitions.
type Hosted struct {
	Table *replica.Table
	Image func() *meta.Image
}

// Find returns the hosted partition, or why there is none:
// NOT_LEADER_OR_FOLLOWER when it lives elsewhere, UNKNOWN_TOPIC_OR_PARTITION
// when it does not exist.
func (h *Hosted) Find(topic string, index int32) (*replica.Partition, error) {
	if p := h.Table.Named(topic, index); p != nil {
		return p, nil
	}
	if h.Image().Partition(topic, index) != nil {
		return nil, kerr.NotLeaderForPartition
	}
	return nil, kerr.UnknownTopicOrPartition
}

func (h *Hosted) Get(topic []byte, index int32) (Partition, error) {
	if p := h.Table.Get(topic, index); p != nil {
		return hosted{p}, nil
	}
	if h.Image().Partition(string(topic), index) != nil {
		return nil, kerr.NotLeaderForPartition
	}
	return nil, kerr.UnknownTopicOrPartition
}

func (h *Hosted) GetName(topic string, index int32) (Partition, error) {
	p, err := h.Find(topic, index)
	if err != nil {
		return nil, err
	}
	return hosted{p}, nil
}

func (h *Hosted) GetByID(id [16]byte, index int32) (Partition, error) {
	if p := h.Table.ByID(id, index); p != nil {
		return hosted{p}, nil
	}
	t := h.Image().TopicByID(id)
	switch {
	case t == nil:
		return nil, kerr.UnknownTopicID
	case t.Partition(index) != nil:
		return nil, kerr.NotLeaderForPartition
	}
	return nil, kerr.UnknownTopicOrPartition
}

func (h *Hosted) TopicName(id [16]byte) string {
	if t := h.Image().TopicByID(id); t != nil {
		return t.Name
	}
	return ""
}

func (h *Hosted) Leader(topic string, index int32, listener string) Leader {
	img := h.Image()
	p := img.Partition(topic, index)
	if p == nil {
		return Leader{Node: meta.NoLeader, Epoch: -1}
	}
	l := Leader{Node: p.Leader, Epoch: p.LeaderEpoch}
	b := img.Broker(p.Leader)
	if b == nil {
		return l
	}
	if e, ok := b.Endpoint(listener); ok {
		l.Host, l.Port = e.Host, int32(e.Port)
	}
	if b.Rack != "" {
		l.Rack = &b.Rack
	}
	return l
}

// hosted is a replica.Partition in the words of this package. It is one
// pointer wide, so that an interface holds it without allocating.
type hosted struct{ p *replica.Partition }

func (h hosted) Topic() string { return h.p.Topic() }

func (h hosted) Append(records []byte, o AppendOptions) (Appended, error) {
	r, err := h.p.Append(records, o.Acks, replica.AppendOptions{
		ExpectedEpoch: replica.NoEpoch,
		NoZstd:        o.Version < 7,
	})
	if err != nil {
		return Appended{LogStart: -1, BaseOffset: -1, UpTo: -1, LogAppendTime: -1}, recordErrors(err)
	}
	return Appended{
		BaseOffset: r.BaseOffset, UpTo: r.LastOffset + 1, LogAppendTime: r.LogAppendTime,
		LogStart: r.LogStart, LeaderEpoch: r.LeaderEpoch,
	}, nil
}

func recordErrors(err error) error {
	var e *replica.RecordErrors
	if !errors.As(err, &e) {
		return err
	}
	out := &RecordErrors{Err: e.Err, Message: e.Message}
	for _, r := range e.Records {
		out.Records = append(out.Records, RecordError(r))
	}
	return out
}

func (h hosted) AwaitCommitted(upTo int64, epoch int32, w Waker) bool {
	return h.p.AwaitCommitted(upTo, epoch, w)
}

func (h hosted) Committed(upTo int64, epoch int32) error { return h.p.Committed(upTo, epoch) }

func (h hosted) Read(r ReadRequest) (Read, error) {
	got, err := h.p.Read(replica.ReadRequest{
		From: r.From, MaxBytes: r.MaxBytes, MinOne: r.MinOne, Isolation: replica.Isolation(r.Isolation),
		CurrentLeaderEpoch: r.LeaderEpoch, LastFetchedEpoch: r.LastFetchedEpoch,
	})
	out := Read{
		HighWatermark: got.HighWatermark, LastStable: got.LastStable, LogStart: got.LogStart,
		ReadableEnd: got.Bound, PreferredReplica: -1,
	}
	if err != nil {
		return out, err
	}
	if s := got.Slice; s.N > 0 {
		out.Slice = wire.Part{Bytes: s.Bytes, Off: s.Off, N: s.N}
		if s.Bytes == nil {
			out.Slice.File = s.File
		}
		out.Release = s.Release
	}
	for _, a := range got.Aborted {
		out.Aborted = append(out.Aborted, AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
	}
	if d := got.Diverging; d != nil {
		out.Diverging = &EpochEnd{Epoch: d.Epoch, End: d.End}
	}
	return out, nil
}

func (h hosted) AwaitReadable(iso Isolation, seen int64, w Waker) bool {
	return h.p.AwaitReadable(replica.Isolation(iso), seen, w)
}

func (h hosted) Forget(w Waker) { h.p.Forget(w) }
