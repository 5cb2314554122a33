// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// cluster is some tables whose fetchers read each other's memory, and a
// controller that commits what it is asked at once and in order.
type cluster struct {
	t       testing.TB
	configs map[string]*TopicConfig

	mu      sync.Mutex
	members map[int32]*member
	img     *meta.Image
	cut     map[[2]int32]bool // from follower to leader
	bad     int               // damaged batches that followers have met
	cuts    []string          // of followers' logs, as they were told

	asked chan func()
	done  chan struct{}

	traceMu sync.Mutex
	trace   []exchange // the last ones of all followers, in a ring
	traced  int
}

// exchange is one fetch and its answer.
type exchange struct {
	at           time.Time
	me, leader   int32
	epoch        int32 // of the session
	maxWait      time.Duration
	asked        []FetchPartition
	forgotten    int
	err          error
	answers      []FetchedPartition // without their records
	bytes        int
	sessionParts int
}

func (e exchange) String() string {
	s := fmt.Sprintf("%s %d from %d, fetch %d of %d waits %v:", e.at.Format("05.000000"), e.me, e.leader, e.epoch, e.sessionParts, e.maxWait)
	for _, x := range e.asked {
		s += fmt.Sprintf(" from %d in epoch %d after one of %d, flushed %d, cut %d;", x.From, x.LeaderEpoch, x.LastEpoch, x.Flushed, x.Cut)
	}
	if e.forgotten > 0 {
		s += fmt.Sprintf(" forgets %d;", e.forgotten)
	}
	s += fmt.Sprintf(" is told %v", e.err)
	for _, x := range e.answers {
		s += fmt.Sprintf(" code %d, high watermark %d, start %d, %d bytes", x.Code, x.HighWatermark, x.Start, e.bytes)
		if x.Diverging != nil {
			s += fmt.Sprintf(", parts at %+v", *x.Diverging)
		}
	}
	return s
}

// note keeps an exchange for who wants to know what led to a failure.
func (c *cluster) note(s *memSource, q *FetchRequest, a *FetchAnswer, err error) {
	e := exchange{at: time.Now(), me: s.me, leader: s.leader, epoch: q.SessionEpoch, maxWait: q.MaxWait, asked: slices.Clone(q.Partitions), forgotten: len(q.Forgotten), err: err}
	if a != nil {
		if a.Code != 0 {
			e.err = kerr.ErrorForCode(a.Code)
		}
		e.answers = slices.Clone(a.Partitions)
		for i := range e.answers {
			e.bytes += len(e.answers[i].Records)
			e.answers[i].Records = nil
		}
	}
	s.mu.Lock()
	e.sessionParts = len(s.parts)
	s.mu.Unlock()
	c.traceMu.Lock()
	defer c.traceMu.Unlock()
	if len(c.trace) < 200 {
		c.trace = append(c.trace, e)
	} else {
		c.trace[c.traced%len(c.trace)] = e
	}
	c.traced++
}

// exchanges are the last fetches, the oldest first.
func (c *cluster) exchanges() []exchange {
	c.traceMu.Lock()
	defer c.traceMu.Unlock()
	at := c.traced % max(len(c.trace), 1)
	return append(slices.Clone(c.trace[at:]), c.trace[:at]...)
}

// member is one node.
type member struct {
	c     *cluster
	id    int32
	fs    vfs.FS
	epoch int64
	table *Table
	dir   *storage.Dir

	throttle atomic.Pointer[Throttle]
	// publishing is held while the table takes metadata.
	publishing sync.Mutex
}

func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, configs: map[string]*TopicConfig{}, members: map[int32]*member{}, img: meta.Empty(),
		cut: map[[2]int32]bool{}, asked: make(chan func(), 10_000), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for f := range c.asked {
			f()
		}
	}()
	for i := range int32(n) {
		c.start(i+1, vfs.NewMem())
	}
	return c
}

// start brings a node up on a file system.
func (c *cluster) start(id int32, fs vfs.FS) *member {
	c.t.Helper()
	m := &member{c: c, id: id, fs: fs}
	m.throttle.Store(&Throttle{})
	m.table = NewTable(Config{
		Throttle: Throttle{Copy: func(p *Partition, n int) time.Duration { return m.throttle.Load().copy(p, n) }},
		NodeID:   id, Controller: m, MaxLag: 10 * time.Second,
		Topic: func(_ *meta.Image, name string) *TopicConfig { return c.configs[name] },
		Fetch: FetchConfig{
			Source:  func(leader int32, _ int) Source { return &memSource{c: c, me: id, leader: leader} },
			BackOff: 20 * time.Millisecond,
			Events: FetchEvents{BadBatch: func(string, int32, int32, error) {
				c.mu.Lock()
				c.bad++
				c.mu.Unlock()
			}, Truncated: func(topic string, _ int32, from, to int64) {
				c.mu.Lock()
				c.cuts = append(c.cuts, fmt.Sprintf("%s on %d: %d to %d", topic, id, from, to))
				c.mu.Unlock()
			}},
		},
	})
	d, err := storage.OpenDir(storage.DirConfig{FS: fs, Path: "/d" + strconv.Itoa(int(id)), Events: m.table.Events(), NodeID: id, RetentionInterval: -1})
	if err != nil {
		c.t.Fatal(err)
	}
	m.dir = d
	m.table.AddDir(d)
	m.publishing.Lock()
	c.mu.Lock()
	img := c.img
	c.members[id] = m
	c.mu.Unlock()
	if err := m.table.Apply(meta.Diff(meta.Empty(), img)); err != nil {
		c.t.Fatal(err)
	}
	m.table.Strays(img)
	m.publishing.Unlock()
	m.epoch = img.Version() + 1000
	c.commit(func(img *meta.Image) []meta.Record {
		return []meta.Record{meta.BrokerRecord{Broker: meta.Broker{ID: id, Epoch: m.epoch}}}
	})
	m.table.Registered(m.epoch)
	return m
}

// isolate cuts a node off from all others, for good.
func (m *member) isolate() {
	m.c.mu.Lock()
	delete(m.c.members, m.id)
	m.c.mu.Unlock()
}

// stop ends a node, cleanly or as a SIGKILL would.
func (m *member) stop(clean bool) {
	m.isolate()
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.table.Close()
	if !clean {
		m.dir.Abandon()
	} else if err := m.dir.Close(); err != nil {
		m.c.t.Error(err)
	}
}

func (c *cluster) close() {
	for _, m := range c.all() {
		m.stop(true)
	}
	close(c.asked)
	<-c.done
}

func (c *cluster) all() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ms []*member
	for id := range int32(10) {
		if m := c.members[id]; m != nil {
			ms = append(ms, m)
		}
	}
	return ms
}

func (c *cluster) member(id int32) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[id]
}

// commit runs change on the controller's goroutine and publishes its records
// everywhere; it returns when that is done.
func (c *cluster) commit(change func(*meta.Image) []meta.Record) {
	ready := make(chan struct{})
	c.asked <- func() { c.apply(change(c.img)); close(ready) }
	<-ready
}

func (c *cluster) apply(rs []meta.Record) {
	if len(rs) == 0 {
		return
	}
	ms := c.all()
	for _, m := range ms {
		m.publishing.Lock()
	}
	c.mu.Lock()
	img, d, err := c.img.With(rs)
	if err == nil {
		c.img = img
	}
	live := maps.Clone(c.members)
	c.mu.Unlock()
	if err != nil {
		c.t.Error(err)
	}
	for _, m := range ms {
		if err == nil && live[m.id] == m {
			if err := m.table.Apply(d); err != nil && !errors.Is(err, storage.ErrDirFailed) && !errors.Is(err, storage.ErrClosed) {
				c.t.Error(err)
			}
		}
		m.publishing.Unlock()
	}
}

func (m *member) RaiseEpoch(topic [16]byte, index, epoch int32) {
	m.c.asked <- func() {
		p := m.c.img.TopicByID(topic).Partition(index)
		if p.LeaderEpoch == epoch && p.Leader == m.id {
			q := *p
			q.LeaderEpoch++
			q.PartitionEpoch++
			m.c.apply([]meta.Record{meta.PartitionRecord{Topic: topic, Index: index, Partition: q}})
		}
	}
}

func (m *member) LeaveSeats(topic [16]byte, index, epoch int32) {
	m.c.asked <- func() {
		p := *m.c.img.TopicByID(topic).Partition(index)
		isr := slices.DeleteFunc(slices.Clone(p.ISR), func(r int32) bool { return r == m.id })
		if p.LeaderEpoch != epoch || len(isr) == 0 || len(isr) == len(p.ISR) {
			return
		}
		p.ISR = isr
		p.PartitionEpoch++
		if p.Leader == m.id {
			p.Leader = isr[0]
			p.LeaderEpoch++
		}
		m.c.apply([]meta.Record{meta.PartitionRecord{Topic: topic, Index: index, Partition: p}})
	}
}

func (m *member) ChangeISR(topic [16]byte, index int32, ch *partition.ISRChange) {
	m.c.asked <- func() {
		p := m.c.img.TopicByID(topic).Partition(index)
		ok := p.LeaderEpoch == ch.LeaderEpoch && p.PartitionEpoch == ch.PartitionEpoch
		var isr []int32
		for i, r := range ch.ISR {
			isr = append(isr, int32(r))
			b := m.c.img.Broker(int32(r))
			ok = ok && b.Active() && (ch.Epochs[i] < 0 || ch.Epochs[i] == b.Epoch)
		}
		if !ok {
			m.table.Refused(topic, index, ch)
			return
		}
		q := *p
		q.ISR = isr
		q.PartitionEpoch++
		m.c.apply([]meta.Record{meta.PartitionRecord{Topic: topic, Index: index, Partition: q}})
	}
}

// topic makes a topic on all members, led by 1.
func (c *cluster) topic(id byte, name string, n int32, change func(*TopicConfig)) {
	c.t.Helper()
	x := &TopicConfig{MaxMessageBytes: 1 << 20, MinISR: 1, Rules: batch.Rules{BeforeMax: math.MaxInt64, AfterMax: 3_600_000}, Log: storage.LogConfig{Delete: true, Durable: true}}
	if change != nil {
		change(x)
	}
	c.configs[name] = x
	var ids []int32
	for _, m := range c.all() {
		ids = append(ids, m.id)
	}
	c.commit(func(*meta.Image) []meta.Record {
		rs := []meta.Record{meta.TopicRecord{Name: name, ID: meta.UUID{id}}}
		for i := range n {
			rs = append(rs, meta.PartitionRecord{Topic: meta.UUID{id}, Index: i, Partition: meta.Partition{
				Replicas: ids, Dirs: make([]meta.UUID, len(ids)), ISR: ids, Leader: ids[0],
			}})
		}
		return rs
	})
}

// elect changes the leader and the in-sync set of partition 0.
func (c *cluster) elect(id byte, leader int32, isr ...int32) {
	c.commit(func(img *meta.Image) []meta.Record {
		p := *img.TopicByID(meta.UUID{id}).Partition(0)
		p.Leader, p.ISR = leader, isr
		p.LeaderEpoch++
		p.PartitionEpoch++
		return []meta.Record{meta.PartitionRecord{Topic: meta.UUID{id}, Index: 0, Partition: p}}
	})
}

func (c *cluster) isr(id byte) []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.img.TopicByID(meta.UUID{id}).Partition(0).ISR
}

func (c *cluster) leads(id byte) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.img.TopicByID(meta.UUID{id}).Partition(0).Leader
}

// link cuts or mends what one node fetches from another.
func (c *cluster) link(follower, leader int32, up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[[2]int32{follower, leader}] = !up
}

func (c *cluster) reach(follower, leader int32) (*member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.members[leader]
	if m == nil || c.members[follower] == nil || c.cut[[2]int32{follower, leader}] {
		return nil, errors.New("unreachable")
	}
	return m, nil
}

// eventually polls until ok holds: what it waits for happens in several places
// and is no single event.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			for _, m := range c.all() {
				for _, p := range m.table.All() {
					c.t.Logf("node %d: %s-%d: %+v, end %d, flushed %d, high watermark %d", m.id, p.topic, p.index, p.Status(), p.LogEnd(), p.Log().Flushed(), p.HighWatermark())
				}
			}
			c.t.Fatalf("%s did not come to be", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// produce appends at the leader and waits for the high watermark.
func (c *cluster) produce(m *member, topic string, b []byte) (Result, error) {
	p := m.table.Named(topic, 0)
	r, err := p.Append(b, -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	return r, p.Wait(ctx, r.LastOffset+1, r.LeaderEpoch)
}

// same waits until the logs of partition 0 hold the same records, up to end,
// and every high watermark is there.
func (c *cluster) same(topic string, end int64) {
	c.t.Helper()
	ms := c.all()
	c.eventually("the same log everywhere", func() bool {
		for _, m := range ms {
			if p := m.table.Named(topic, 0); p.LogEnd() != end || p.HighWatermark() != end {
				return false
			}
		}
		return true
	})
	var want []byte
	for i, m := range ms {
		p := m.table.Named(topic, 0)
		got := rawLog(c.t, p)
		if i == 0 {
			want = got
		} else if !slices.Equal(got, want) {
			c.t.Errorf("node %d has other bytes than node %d: %d and %d of them", m.id, ms[0].id, len(got), len(want))
		}
	}
}

// rawLog is every byte of a log.
func rawLog(t testing.TB, p *Partition) []byte {
	t.Helper()
	var out []byte
	log := p.Log()
	for from := log.Start(); ; {
		s, err := log.Read(from, log.End(), 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		if s.N == 0 {
			return out
		}
		from = s.Next
		b, err := slurp(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
}

// memSource serves fetches from another member's table, as api does: it reads
// what is asked for, and where there is nothing waits at the gates.
type memSource struct {
	c          *cluster
	me, leader int32

	mu       sync.Mutex
	session  int32
	epoch    int32
	parts    []FetchPartition
	told     map[PartitionID][2]int64 // high watermark and start
	released int32
	parked   signalOf
}

// signalOf is a Waker that counts bytes.
type signalOf chan int

func (s signalOf) Wake(n int) {
	select {
	case s <- n:
	default:
	}
}

func (s *memSource) Close() {}

func (s *memSource) Fetch(ctx context.Context, q *FetchRequest) (*FetchAnswer, error) {
	a, err := s.fetch(ctx, q)
	s.c.note(s, q, a, err)
	return a, err
}

func (s *memSource) fetch(ctx context.Context, q *FetchRequest) (*FetchAnswer, error) {
	m, err := s.c.reach(s.me, s.leader)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	switch {
	case q.SessionEpoch == 0:
		s.session, s.epoch, s.released, s.parts, s.told = s.session+1, 0, -1, nil, map[PartitionID][2]int64{}
	case q.Session != s.session || q.SessionEpoch != s.epoch+1:
		s.mu.Unlock()
		return &FetchAnswer{Code: kerr.InvalidFetchSessionEpoch.Code}, nil
	}
	s.epoch = q.SessionEpoch
	for _, id := range q.Forgotten {
		s.parts = slices.DeleteFunc(s.parts, func(x FetchPartition) bool { return x.PartitionID == id })
		delete(s.told, id)
	}
	for _, x := range q.Partitions {
		s.parts = slices.DeleteFunc(s.parts, func(y FetchPartition) bool { return y.PartitionID == x.PartitionID })
		s.parts = append(s.parts, x)
	}
	parts := slices.Clone(s.parts)
	wake := make(signalOf, 100)
	s.parked = wake
	released := s.released >= q.SessionEpoch
	s.mu.Unlock()

	a := &FetchAnswer{Session: s.session}
	bytes, waitAt := s.read(a, m, q, parts, true)
	if bytes > 0 || q.MaxWait <= 0 || released || len(a.Partitions) > 0 {
		return a, nil
	}
	ready := true
	for _, x := range waitAt {
		ready = ready && x.p.AwaitReadable(ReadAll, x.end, wake)
	}
	if ready {
		timer := time.NewTimer(q.MaxWait)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	for _, x := range waitAt {
		x.p.Forget(wake)
	}
	if _, err := s.c.reach(s.me, s.leader); err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	a.Partitions = nil
	s.read(a, m, q, parts, false)
	return a, nil
}

type awaited struct {
	p   *Partition
	end int64
}

func (s *memSource) read(a *FetchAnswer, m *member, q *FetchRequest, parts []FetchPartition, first bool) (bytes int, at []awaited) {
	for _, x := range parts {
		out := FetchedPartition{PartitionID: x.PartitionID, HighWatermark: -1, Start: -1, End: -1}
		p := m.table.ByID(x.Topic, x.Index)
		var r Read
		err := error(kerr.UnknownTopicID)
		if p != nil {
			rq := ReadRequest{From: x.From, MaxBytes: int(x.MaxBytes), MinOne: true, Isolation: ReadAll, CurrentLeaderEpoch: x.LeaderEpoch, LastFetchedEpoch: x.LastEpoch}
			if first {
				rq.Follower = &FollowerPosition{Replica: s.me, BrokerEpoch: q.BrokerEpoch, Cut: x.Cut, Flushed: x.Flushed, Start: x.Start}
			}
			r, err = p.Read(rq)
			at = append(at, awaited{p, r.Bound})
		}
		out.Code, out.HighWatermark, out.Start, out.Diverging = Code(err), r.HighWatermark, r.LogStart, r.Diverging
		if err != nil {
			out.End = r.LogEnd
			at = nil
		}
		if r.Slice.N > 0 {
			switch b, err := slurp(r.Slice); {
			case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
				// Another leads, and the log was cut after Read had looked. A real
				// connection ends when its file does.
				out.Code, out.HighWatermark, out.Start = Code(kerr.NotLeaderForPartition), -1, -1
			case err != nil:
				s.c.t.Error(err)
			default:
				out.Records = b
				bytes += len(b)
			}
		}
		news := [2]int64{out.HighWatermark, out.Start}
		s.mu.Lock()
		if out.Code != 0 || out.Diverging != nil || len(out.Records) > 0 || s.told[x.PartitionID] != news {
			a.Partitions = append(a.Partitions, out)
			if s.told[x.PartitionID] = news; out.Diverging != nil {
				delete(s.told, x.PartitionID) // of no use to the follower yet
			}
		}
		s.mu.Unlock()
	}
	return bytes, at
}

func (s *memSource) Tell(ctx context.Context, n *News) (left []int, err error) {
	m, err := s.c.reach(s.me, s.leader)
	if err != nil {
		return nil, err
	}
	for i, e := range n.Flushed {
		if !m.table.FollowerFlushed(s.me, n.BrokerEpoch, e) {
			left = append(left, i)
		}
	}
	s.mu.Lock()
	if n.Session == s.session && n.Session != 0 {
		s.released = max(s.released, n.SessionEpoch)
		if s.epoch <= s.released && s.parked != nil {
			s.parked.Wake(manyBytes)
		}
	}
	s.mu.Unlock()
	return left, ctx.Err()
}

func TestReplicates(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprintf("durable=%v", durable), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3)
			defer c.close()
			c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.Durable, x.MinISR = durable, 2 })
			lead := c.member(1)
			for i := range 50 {
				if _, err := c.produce(lead, "t", records(t, i*3, 3)); err != nil {
					t.Fatal(err)
				}
			}
			c.same("t", 150)
			if got := c.isr(1); len(got) != 3 {
				t.Errorf("in-sync set %v", got)
			}
		})
	}
}
