// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/api"
	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/replica"
	"gregor/internal/replica/link"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
	"gregor/internal/vfs"
	"gregor/internal/wire"
	"gregor/internal/wire/peer"
)

// pair is some tables that replicate over sockets, by the real requests, and a
// controller that commits at once what it is asked. Everything between is what
// a node has; what a node has around it is not.
type pair struct {
	t       testing.TB
	topics  map[string]*replica.TopicConfig
	tables  []*replica.Table
	images  []*atomic.Pointer[meta.Image]
	fetches []*api.Fetch
	addrs   []string
	ends    []func()

	inner atomic.Bool // listeners are for brokers

	mu  sync.Mutex
	img *meta.Image
	ask chan func()
	end chan struct{}
}

// isrOf is the controller as one of the tables sees it.
type isrOf struct {
	*pair
	i int
}

func (o isrOf) RaiseEpoch([16]byte, int32, int32) {}
func (o isrOf) LeaveSeats([16]byte, int32, int32) {}

func (o isrOf) ChangeISR(topic [16]byte, index int32, c *partition.ISRChange) {
	o.ask <- func() {
		p := *o.img.TopicByID(topic).Partition(index)
		if p.LeaderEpoch != c.LeaderEpoch || p.PartitionEpoch != c.PartitionEpoch {
			o.tables[o.i].Refused(topic, index, c)
			return
		}
		p.ISR = nil
		for _, r := range c.ISR {
			p.ISR = append(p.ISR, int32(r))
		}
		p.PartitionEpoch++
		o.apply(meta.PartitionRecord{Topic: topic, Index: index, Partition: p})
	}
}

func newPair(t testing.TB, n int, disk func(i int) (vfs.FS, string)) *pair {
	t.Helper()
	return newPairWith(t, n, disk, func(*replica.Config) {})
}

func newPairWith(t testing.TB, n int, disk func(i int) (vfs.FS, string), change func(*replica.Config)) *pair {
	t.Helper()
	p := &pair{t: t, topics: map[string]*replica.TopicConfig{}, img: meta.Empty(), ask: make(chan func(), 10_000), end: make(chan struct{})}
	go func() {
		defer close(p.end)
		for f := range p.ask {
			f()
		}
	}()
	p.inner.Store(true)
	p.addrs = make([]string, n)
	var brokers []meta.Record
	for i := range n {
		c := replica.Config{
			NodeID: int32(i), Controller: isrOf{p, i},
			Topic: func(_ *meta.Image, name string) *replica.TopicConfig { return p.topics[name] },
			Fetch: replica.FetchConfig{Source: func(leader int32, _ int) replica.Source {
				return link.New(peer.Config{}, int32(i), func() (string, error) { return p.addrs[leader], nil })
			}},
		}
		change(&c)
		table := replica.NewTable(c)
		fs, root := disk(i)
		d, err := storage.OpenDir(storage.DirConfig{FS: fs, Path: root, Events: table.Events(), NodeID: int32(i), RetentionInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		table.AddDir(d)
		img := &atomic.Pointer[meta.Image]{}
		img.Store(meta.Empty())
		f := api.NewFetch(api.FetchConfig{Partitions: hosted{table, img}, Flushed: table, Inner: func(string) bool { return p.inner.Load() }})
		routes, err := api.New(api.Config{}, f.Routes())
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.addrs[i] = l.Addr().String()
		s := wire.NewServer(wire.Config{Handler: routes, Kind: routes.Kind})
		served := make(chan error, 1)
		go func() { served <- s.Serve(l, "INTERNAL") }()
		p.tables, p.images, p.fetches = append(p.tables, table), append(p.images, img), append(p.fetches, f)
		brokers = append(brokers, meta.BrokerRecord{Broker: meta.Broker{ID: int32(i), Epoch: int64(i + 10), Rack: fmt.Sprint("rack", i)}})
		p.ends = append(p.ends, func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.Close(ctx) // in flight is nothing that matters
			<-served
			table.Close()
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	p.commit(brokers...)
	for i, table := range p.tables {
		table.Strays(p.img)
		table.Registered(int64(i + 10))
	}
	return p
}

func inMemory(int) (vfs.FS, string) { return vfs.NewMem(), "/d" }

func (p *pair) close() {
	for _, end := range p.ends {
		end()
	}
	close(p.ask)
	<-p.end
}

func (p *pair) commit(rs ...meta.Record) {
	done := make(chan struct{})
	p.ask <- func() { p.apply(rs...); close(done) }
	<-done
}

func (p *pair) apply(rs ...meta.Record) {
	img, d, err := p.img.With(rs)
	if err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.img = img
	p.mu.Unlock()
	for i, table := range p.tables {
		if err := table.Apply(d); err != nil {
			p.t.Error(err)
		}
		p.images[i].Store(img)
	}
}

func (p *pair) topic(id byte, name string, partitions int, change func(*replica.TopicConfig)) {
	c := &replica.TopicConfig{MaxMessageBytes: 2 << 20, MinISR: 2, Rules: batch.Rules{BeforeMax: math.MaxInt64, AfterMax: 3_600_000}, Log: storage.LogConfig{Delete: true, Durable: true}}
	if change != nil {
		change(c)
	}
	p.topics = maps.Clone(p.topics)
	p.topics[name] = c
	var ids []int32
	for i := range p.tables {
		ids = append(ids, int32(i))
	}
	rs := []meta.Record{meta.TopicRecord{Name: name, ID: meta.UUID{id}}}
	for i := range partitions {
		leader := i % len(ids)
		rs = append(rs, meta.PartitionRecord{Topic: meta.UUID{id}, Index: int32(i), Partition: meta.Partition{
			Replicas: slices.Concat(ids[leader:], ids[:leader]), Dirs: make([]meta.UUID, len(ids)), ISR: ids, Leader: int32(leader),
		}})
	}
	p.commit(rs...)
}

func (p *pair) until(what string, ok func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s did not come to be", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func someRecords(t testing.TB, n, size int) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	for range n {
		b.Append(time.Now().UnixMilli(), nil, make([]byte, size))
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(v)
}

func (p *pair) produce(part *replica.Partition, records []byte) error {
	r, err := part.Append(records, -1, replica.AppendOptions{ExpectedEpoch: replica.NoEpoch})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	return part.Wait(ctx, r.LastOffset+1, r.LeaderEpoch)
}

// Partitions replicate over real requests: sessions, tags, news of flushes.
func TestReplicationOverTheWire(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprintf("durable=%v", durable), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, 3, inMemory)
			defer p.close()
			p.topic(1, "t", 6, func(c *replica.TopicConfig) { c.Log.Durable = durable })
			var work sync.WaitGroup
			for i := range int32(6) {
				work.Go(func() {
					part := p.tables[i%3].Named("t", i)
					for range 40 {
						if err := p.produce(part, someRecords(t, 5, 100)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
			for i := range int32(6) {
				for _, table := range p.tables {
					part := table.Named("t", i)
					p.until("the high watermark everywhere", func() bool { return part.HighWatermark() == 200 && part.LogEnd() == 200 })
				}
			}
		})
	}
}

// A topic that comes while fetches are parked is fetched at once: acks=all does
// not wait for replica.fetch.wait.max.ms.
func TestParkedFetchesAreLetGo(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, inMemory)
	defer p.close()
	p.topic(1, "first", 2, nil)
	if err := p.produce(p.tables[0].Named("first", 0), someRecords(t, 1, 10)); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	const topics = 20
	for i := range topics {
		name := fmt.Sprint("t", i)
		p.topic(byte(10+i), name, 1, nil)
		if err := p.produce(p.tables[0].Named(name, 0), someRecords(t, 1, 10)); err != nil {
			t.Fatal(err)
		}
	}
	// 20 waits of half a second would be ten; this is no figure but a bound
	// that only waiting passes.
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("%d topics took %v", topics, took)
	}
}

// Replicas that may not fetch are refused.
func TestStrangersDoNotReplicate(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, inMemory)
	defer p.close()
	p.topic(1, "t", 1, func(c *replica.TopicConfig) { c.MinISR = 1 })
	if err := p.produce(p.tables[0].Named("t", 0), someRecords(t, 1, 10)); err != nil {
		t.Fatal(err)
	}
	ask := func(node int32, epoch int64) int16 {
		l := link.New(peer.Config{}, node, func() (string, error) { return p.addrs[0], nil })
		defer l.Close()
		a, err := l.Fetch(t.Context(), &replica.FetchRequest{BrokerEpoch: epoch, MinBytes: 1, MaxBytes: 1 << 20, Partitions: []replica.FetchPartition{
			{PartitionID: replica.PartitionID{Topic: meta.UUID{1}}, LastEpoch: -1, MaxBytes: 1 << 20, Cut: 1 << 40},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Release()
		if len(a.Partitions) != 1 {
			t.Fatalf("%+v", a)
		}
		return a.Partitions[0].Code
	}
	if got := ask(7, 10); got != kerr.NotLeaderForPartition.Code {
		t.Errorf("a broker that is no replica: %v", kerr.ErrorForCode(got))
	}
	if got := ask(1, 9); got != kerr.NotLeaderForPartition.Code {
		t.Errorf("an older incarnation of a replica: %v", kerr.ErrorForCode(got))
	}
	if got := ask(1, 11); got != 0 {
		t.Errorf("the replica itself: %v", kerr.ErrorForCode(got))
	}
}

// A session belongs to its connection and its replica, and its requests have an
// order.
func TestSessionsOfReplicas(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, inMemory)
	defer p.close()
	p.topic(1, "t", 1, func(c *replica.TopicConfig) { c.MinISR = 1 })
	addr := func() (string, error) { return p.addrs[0], nil }
	a, b := link.New(peer.Config{}, 1, addr), link.New(peer.Config{}, 1, addr)
	defer a.Close()
	defer b.Close()
	fetch := func(l *link.Link, session, epoch int32) *replica.FetchAnswer {
		t.Helper()
		q := &replica.FetchRequest{BrokerEpoch: 11, Session: session, SessionEpoch: epoch, MinBytes: 1, MaxBytes: 1 << 20}
		if epoch == 0 {
			q.Partitions = []replica.FetchPartition{{PartitionID: replica.PartitionID{Topic: meta.UUID{1}}, LastEpoch: -1, MaxBytes: 1 << 20, Cut: 1 << 40}}
		}
		got, err := l.Fetch(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := fetch(a, 0, 0)
	if first.Code != 0 || first.Session == 0 || len(first.Partitions) != 1 {
		t.Fatalf("%+v", first)
	}
	id := first.Session
	if got := fetch(b, id, 1); got.Code != kerr.FetchSessionIDNotFound.Code {
		t.Errorf("over another connection: %+v", got)
	}
	if got := fetch(a, id, 2); got.Code != kerr.InvalidFetchSessionEpoch.Code {
		t.Errorf("out of order: %+v", got)
	}
	if got := fetch(a, id, 1); got.Code != 0 || got.Session != id || len(got.Partitions) != 0 {
		t.Errorf("nothing new: %+v", got)
	}
	part := p.tables[0].Named("t", 0)
	if _, err := part.Append(someRecords(t, 1, 10), 1, replica.AppendOptions{ExpectedEpoch: replica.NoEpoch}); err != nil {
		t.Fatal(err)
	}
	if got := fetch(a, id, 2); len(got.Partitions) != 1 || len(got.Partitions[0].Records) == 0 {
		t.Errorf("new records: %+v", got)
	}
	if got := fetch(a, id, 0); got.Session == id || got.Session == 0 {
		t.Errorf("a session in place of another: %+v", got)
	}
	if got := fetch(a, id, 3); got.Code != kerr.FetchSessionIDNotFound.Code {
		t.Errorf("the one that ended: %+v", got)
	}
	// Over a listener of clients nobody is a replica.
	p.inner.Store(false)
	if got := fetch(a, 0, 0); got.Code != kerr.ClusterAuthorizationFailed.Code {
		t.Errorf("over a client's listener: %+v", got)
	}
}

// A follower that is told where to cut its log is told of the high watermark
// when it comes from there, though that was in the answer before.
func TestDivergedFollowerIsToldTheHighWatermark(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, inMemory)
	defer p.close()
	p.topic(1, "t", 1, func(c *replica.TopicConfig) { c.MinISR = 1 })
	if err := p.produce(p.tables[0].Named("t", 0), someRecords(t, 1, 10)); err != nil {
		t.Fatal(err)
	}
	l := link.New(peer.Config{}, 1, func() (string, error) { return p.addrs[0], nil })
	defer l.Close()
	q := &replica.FetchRequest{BrokerEpoch: 11, MinBytes: 1, MaxBytes: 1 << 20}
	fetch := func(from int64) replica.FetchedPartition {
		t.Helper()
		q.Partitions = []replica.FetchPartition{{PartitionID: replica.PartitionID{Topic: meta.UUID{1}}, From: from, LastEpoch: 0, MaxBytes: 1 << 20, Cut: 1 << 40}}
		a, err := l.Fetch(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Release()
		if len(a.Partitions) != 1 {
			t.Fatalf("%+v", a)
		}
		q.Session = a.Session
		q.SessionEpoch++
		return a.Partitions[0]
	}
	if got := fetch(2); got.Diverging == nil || got.Diverging.End != 1 {
		t.Errorf("past the end: %+v", got)
	}
	if got := fetch(1); got.HighWatermark != 1 || got.Start != 0 {
		t.Errorf("from there: %+v", got)
	}
}

// Consumers read from followers, up to their high watermark, and are sent to
// the replica of their rack.
func TestFollowersServeConsumers(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, inMemory)
	defer p.close()
	p.topic(1, "t", 1, nil)
	if err := p.produce(p.tables[0].Named("t", 0), someRecords(t, 3, 10)); err != nil {
		t.Fatal(err)
	}
	follower := p.tables[1].Named("t", 0)
	p.until("the follower's high watermark", func() bool { return follower.HighWatermark() == 3 })
	q := replica.ReadRequest{MaxBytes: 1 << 20, MinOne: true, CurrentLeaderEpoch: replica.NoEpoch, LastFetchedEpoch: replica.NoEpoch}
	if _, err := follower.Read(q); !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Errorf("an old consumer at a follower: %v", err)
	}
	q.AnyReplica = true
	got, err := follower.Read(q)
	if err != nil || got.Slice.N == 0 || got.Slice.Next != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Slice.Release != nil {
		got.Slice.Release()
	}
}

// BenchmarkReplicated is the way of acks=all records through three tables, disks
// and sockets of this machine: what a produce costs all brokers together but for
// its own request.
func BenchmarkReplicated(b *testing.B) {
	for _, c := range []struct {
		name       string
		size       int
		durable    bool
		partitions int
	}{{"16KB/page-cache", 16 << 10, false, 12}, {"16KB/durable", 16 << 10, true, 12}, {"1MB/page-cache", 1 << 20, false, 6}} {
		b.Run(c.name, func(b *testing.B) {
			p := newPair(b, 3, func(int) (vfs.FS, string) { return vfs.OS(), b.TempDir() })
			p.topic(1, "t", c.partitions, func(x *replica.TopicConfig) {
				x.Log = storage.LogConfig{Delete: true, Durable: c.durable, SegmentBytes: 256 << 20, RetentionBytes: 256 << 20}
			})
			fresh := someRecords(b, 1, c.size)
			b.SetBytes(int64(len(fresh)))
			before := cpuTime()
			b.ResetTimer()
			var work sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			for i := range c.partitions * 4 {
				work.Go(func() {
					part := p.tables[i%c.partitions%3].Named("t", int32(i%c.partitions))
					buf := make([]byte, len(fresh))
					for left.Add(-1) >= 0 {
						copy(buf, fresh)
						if err := p.produce(part, buf); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-before)/1e9/(float64(b.N)*float64(len(fresh))/1e9), "cpu-s/GB")
			p.close()
		})
	}
}
