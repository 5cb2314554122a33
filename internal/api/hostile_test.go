// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/binary"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/wire"
)

func bareVersions(t testing.TB) *API {
	t.Helper()
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A few bytes that announce four thousand million tags are malformed at once.
func TestApiVersionsAnnouncesTags(t *testing.T) {
	t.Parallel()
	a := bareVersions(t)
	body := binary.AppendUvarint([]byte("\x02a\x021"), 1<<32-1)
	done := make(chan wire.Reply, 1)
	go func() {
		reply, _ := a.Serve(context.Background(), &wire.Request{Key: 18, Version: 3, Body: body})
		done <- reply
	}()
	select {
	case reply := <-done:
		if !reply.Close {
			t.Fatal("it was answered")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is still being decoded")
	}
}

// Tags that nobody knows are not kept, and neither is a name without end.
func TestApiVersionsKeepsLittle(t *testing.T) { // alone: it counts what is allocated
	a := bareVersions(t)
	const tags = 1 << 20
	body := binary.AppendUvarint([]byte("\x02a\x021"), tags)
	for i := range uint64(tags) {
		body = append(binary.AppendUvarint(body, i), 0)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a.Serve(context.Background(), &wire.Request{Key: 18, Version: 3, Body: body})
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("%d bytes for a request of %d", took, len(body))
	}

	_, dial := serve(t)
	c := dial()
	for n, code := range map[int]int16{200: 0, 1 << 20: kerr.InvalidRequest.Code} {
		for _, req := range []*kmsg.ApiVersionsRequest{askVersions(3, strings.Repeat("a", n), "1"), askVersions(3, "a", strings.Repeat("1", n))} {
			if resp := c.ask(req).(*kmsg.ApiVersionsResponse); resp.ErrorCode != code {
				t.Errorf("%d letters: code %d", n, resp.ErrorCode)
			}
		}
	}
}

// A request that goes on with a session claims memory for all its partitions,
// not just for those it names.
func TestSessionsClaimMemory(t *testing.T) {
	t.Parallel()
	memory := NewMemory(1 << 20)
	f := NewFetch(FetchConfig{Partitions: &fakePartitions{}, Sessions: NewSessions(10), Memory: memory})
	a, err := New(Config{Memory: memory}, f.Routes())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id, epoch int32, from, n int) (wire.Reply, *kmsg.FetchResponse) {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionID, req.SessionEpoch, req.MaxBytes, req.ReplicaID = 12, id, epoch, 1<<20, -1
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic = "none"
		for i := range n {
			rp := kmsg.NewFetchRequestTopicPartition()
			rp.Partition = int32(from + i)
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		reply, _ := a.Serve(t.Context(), &wire.Request{Key: 1, Version: 12, Body: req.AppendTo(nil)})
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 12
		if err := resp.ReadFrom(reply.Body); err != nil || resp.ErrorCode != 0 {
			t.Fatalf("%+v: %v", resp, err)
		}
		return reply, resp
	}
	reply, first := ask(0, 0, 0, 500)
	reply.Owner.Release()
	for epoch := range int32(3) {
		reply, _ = ask(first.SessionID, epoch+1, 500*int(epoch+1), 500)
		reply.Owner.Release()
	}
	reply, resp := ask(first.SessionID, 4, 0, 0)
	if n := len(resp.Topics[0].Partitions); n != 2000 {
		t.Fatalf("%d partitions", n)
	}
	if memory.used < 2000*elementBytes {
		t.Errorf("an answer of 2000 partitions claims %d bytes", memory.used)
	}
	reply.Owner.Release()
	if memory.used != 0 {
		t.Errorf("%d bytes are still claimed", memory.used)
	}
}

// What is decoded elsewhere is measured all the same.
func TestMeasure(t *testing.T) {
	t.Parallel()
	good := kmsg.NewPtrCreateTopicsRequest()
	good.Version = 7
	bad := binary.AppendUvarint([]byte{1, 0, 0, 0, 0, 0}, 1<<32-1)
	for _, tc := range []struct {
		key, version int16
		body         []byte
		ok           bool
	}{{19, 7, good.AppendTo(nil), true}, {19, 7, bad, false}, {-1, 0, nil, false}, {127, 0, nil, false}, {int16(FirstPrivate), 0, bad, true}} {
		if err := Measure(tc.key, tc.version, tc.body); (err == nil) != tc.ok {
			t.Errorf("key %d: %v", tc.key, err)
		}
	}
}

// crowd counts how many write to group shards at once.
type crowd struct {
	GroupShards
	now, most atomic.Int64
}

func (c *crowd) Write(context.Context, int32, func(*group.Shard, time.Time, coord.Ticket) coord.Result) (any, error) {
	n := c.now.Add(1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	time.Sleep(time.Millisecond)
	c.now.Add(-1)
	return nil, nil
}

// Markers for a great many partitions of the groups' topic make no crowd of
// goroutines.
func TestMarkersMakeNoCrowd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		m := &Markers{Groups: c, Timeout: time.Minute}
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: OffsetsTopic, Partitions: make([]int32, 10_000)}}}}
		resp := m.Write(t.Context(), req)
		if n := len(resp.Markers[0].Topics[0].Partitions); n != 10_000 || resp.Markers[0].Topics[0].Partitions[n-1].ErrorCode != 0 {
			t.Errorf("%d answers", n)
		}
		if most := c.most.Load(); most > 100 {
			t.Errorf("%d at once", most)
		}
	})
}
