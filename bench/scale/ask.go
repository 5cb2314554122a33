// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// asker is the client. It asks one broker or another by hand, for a client
// library's own patience would be measured too.
type asker struct {
	cl    *kgo.Client
	batch []byte
}

// place is a partition.
type place struct {
	topic string
	index int32
}

// state is what one broker's metadata says of a partition.
type state struct {
	leader int32
	isr    int
}

func ask(boot []string) (*asker, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(boot...), kgo.MetadataMinAge(100*time.Millisecond), kgo.RequestRetries(2),
		kgo.DialTimeout(time.Second))
	return &asker{cl, oneRecord()}, err
}

func (a *asker) close() { a.cl.Close() }

// oneRecord is a batch with one record of 100 bytes.
func oneRecord() []byte {
	r := kmsg.Record{Value: make([]byte, 100)}
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{Magic: 2, PartitionLeaderEpoch: -1, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: r.AppendTo(nil)}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// do asks one broker (its id, or -1-n for the n-th that the client was told of)
// once.
func do[R kmsg.Response](ctx context.Context, a *asker, id int32, req kmsg.Request) (r R, err error) {
	to := a.cl.SeedBrokers()
	if id >= 0 {
		resp, err := a.cl.Broker(int(id)).Request(ctx, req)
		if err != nil {
			return r, err
		}
		return resp.(R), nil
	}
	resp, err := to[-1-id].Request(ctx, req)
	if err != nil {
		return r, err
	}
	return resp.(R), nil
}

// metadata asks one broker for all partitions.
func (a *asker) metadata(ctx context.Context, id int32) (map[place]state, error) {
	req := kmsg.NewPtrMetadataRequest()
	resp, err := do[*kmsg.MetadataResponse](ctx, a, id, req)
	if err != nil {
		return nil, err
	}
	all := map[place]state{}
	for _, t := range resp.Topics {
		if t.IsInternal {
			continue
		}
		for _, p := range t.Partitions {
			s := state{leader: p.Leader, isr: len(p.ISR)}
			if p.ErrorCode != 0 {
				s.leader = -1
			}
			all[place{*t.Topic, p.Partition}] = s
		}
	}
	return all, nil
}

// await asks a broker until ok holds for all its partitions.
func (a *asker) await(ctx context.Context, id int32, every time.Duration, ok func(map[place]state) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last map[place]state
	for {
		all, err := a.metadata(ctx, id)
		if err == nil && len(all) > 0 && ok(all) {
			return nil
		}
		if err == nil {
			last = all
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			led, full := 0, 0
			for _, s := range last {
				if s.leader >= 0 {
					led++
				}
				if s.isr == 3 {
					full++
				}
			}
			return fmt.Errorf("of %d partitions %d have a leader and %d three in sync after %s: %w", len(last), led, full, patience, errors.Join(err, ctx.Err()))
		}
	}
}

// whole: everybody is in sync everywhere.
func whole(all map[place]state) bool {
	for _, s := range all {
		if s.leader < 0 || s.isr < 3 {
			return false
		}
	}
	return true
}

// create makes the topics, one request for each.
func (a *asker) create(ctx context.Context) error {
	for i := range *topics {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = int32(patience.Milliseconds())
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = fmt.Sprintf("scale-%02d", i), int32(*perEach), 3
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
			return fmt.Errorf("%s: %w", t.Topic, err)
		}
	}
	return nil
}

// produce writes a record at acks=all to each of the places, asking again every
// 20 ms where it is refused. leaders says whom to ask, and refresh anew.
func (a *asker) produce(ctx context.Context, places []place, refresh func(context.Context) (map[place]state, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	left := map[place]bool{}
	for _, p := range places {
		left[p] = true
	}
	var last error
	for ; len(left) > 0; time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d partitions do not take a record: %w", len(left), len(places), errors.Join(last, ctx.Err()))
		}
		all, err := refresh(ctx)
		if err != nil {
			last = err
			continue
		}
		by := map[int32][]place{}
		for p := range left {
			if s := all[p]; s.leader >= 0 {
				by[s.leader] = append(by[s.leader], p)
			}
		}
		type done struct {
			places []place
			err    error
		}
		answers := make(chan done)
		for _, leader := range slices.Sorted(maps.Keys(by)) {
			go func() {
				ok, err := a.produceTo(ctx, leader, by[leader])
				answers <- done{ok, err}
			}()
		}
		for range by {
			d := <-answers
			for _, p := range d.places {
				delete(left, p)
			}
			if d.err != nil {
				last = d.err
			}
		}
	}
	return nil
}

// produceTo writes to one broker, 500 partitions a request, and returns those
// that took it.
func (a *asker) produceTo(ctx context.Context, leader int32, places []place) (ok []place, err error) {
	slices.SortFunc(places, func(x, y place) int {
		if x.topic != y.topic {
			if x.topic < y.topic {
				return -1
			}
			return 1
		}
		return int(x.index - y.index)
	})
	for some := range slices.Chunk(places, 500) {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 10_000
		req.Version = 9
		for _, p := range some {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.topic {
				t := kmsg.NewProduceRequestTopic()
				t.Topic = p.topic
				req.Topics = append(req.Topics, t)
			}
			t := &req.Topics[len(req.Topics)-1]
			part := kmsg.NewProduceRequestTopicPartition()
			part.Partition, part.Records = p.index, a.batch
			t.Partitions = append(t.Partitions, part)
		}
		resp, rerr := do[*kmsg.ProduceResponse](ctx, a, leader, pinned{req})
		if rerr != nil {
			return ok, rerr
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					err = e
					continue
				}
				ok = append(ok, place{t.Topic, p.Partition})
			}
		}
	}
	return ok, err
}

// pinned keeps a produce request at the last version that names topics.
type pinned struct{ *kmsg.ProduceRequest }

func (pinned) MaxVersion() int16 { return 9 }
