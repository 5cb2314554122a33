// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"gregor/internal/meta"
	"gregor/internal/seeds"
	"gregor/internal/vfs"
)

// TestSimTablesReplicate runs three real tables over disks in memory: records
// are produced, links are cut, nodes lose power or are killed, come back, and
// leaders are elected from the in-sync set. At each step and at the end:
//
//   - what was committed (told to acks=all, or below any high watermark) is at
//     its offset in every log that shows it;
//   - at the end, with everything mended, all replicas come to be in sync and
//     have the same bytes, with all of that.
//
// What is done follows the seed; when fetchers and committers run, on threads
// of their own, does not. A failure prints what was done and the last fetches.
func TestSimTablesReplicate(t *testing.T) {
	t.Parallel()
	committed, runs := 0, 0
	for seed := range seeds.All(t, 12, 5) {
		s := newFollowSim(t, seed)
		func() {
			defer s.tell(seed) // also when something did not come to be, which ends the test
			s.run()
		}()
		if t.Failed() {
			return
		}
		committed += len(s.committed)
		runs++
	}
	if !seeds.One() && committed < runs*20 {
		t.Errorf("only %d records were committed in %d runs", committed, runs)
	}
}

type followSim struct {
	t         *testing.T
	rng       *rand.Rand
	c         *cluster
	disks     map[int32]*heldSyncs
	held      map[int32]func() // lets syncs of a disk go that wait
	durable   bool
	next      int
	pending   []pendingAppend
	committed []string // value at each offset
	history   []string
}

type pendingAppend struct {
	p      *Partition
	r      Result
	values []string
}

func newFollowSim(t *testing.T, seed uint64) *followSim {
	s := &followSim{t: t, rng: rand.New(rand.NewPCG(seed, 7)), c: newCluster(t, 0), disks: map[int32]*heldSyncs{}, held: map[int32]func(){}}
	s.durable = s.rng.IntN(4) > 0
	for id := int32(1); id <= 3; id++ {
		s.disks[id] = newHeldSyncs()
		s.c.start(id, s.disks[id])
	}
	s.c.topic(1, "t", 1, func(x *TopicConfig) {
		x.Log.Durable, x.MinISR = s.durable, 1+s.rng.IntN(2)
		x.Log.SegmentBytes, x.Log.FileDeleteDelay = 4000, -1
	})
	return s
}

// tell prints what led to a failure.
func (s *followSim) tell(seed uint64) {
	if !s.t.Failed() {
		return
	}
	for _, h := range s.history[max(0, len(s.history)-60):] {
		s.t.Log(h)
	}
	for _, e := range s.c.exchanges() {
		s.t.Log(e)
	}
	s.t.Logf("seed %d", seed)
}

func (s *followSim) note(format string, args ...any) {
	s.history = append(s.history, fmt.Sprintf(format, args...))
}

func (s *followSim) run() {
	for range 120 {
		switch k := s.rng.IntN(100); {
		case k < 45:
			s.produce()
		case k < 62:
			time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Microsecond) // replication goes on
		case k < 68:
			s.hold()
		case k < 74:
			a, b := int32(1+s.rng.IntN(3)), int32(1+s.rng.IntN(3))
			up := s.rng.IntN(3) > 0
			s.note("%d from %d: %v", a, b, up)
			s.c.link(a, b, up)
		case k < 80:
			s.elect()
		case k < 86:
			s.crash()
		case k < 95:
			s.back()
		default:
			s.tick()
		}
		s.look()
		if s.t.Failed() {
			break
		}
	}
	s.mend()
	s.c.close()
}

func (s *followSim) partition() meta.Partition {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return *s.c.img.TopicByID(meta.UUID{1}).Partition(0)
}

func (s *followSim) produce() {
	m := s.c.member(s.partition().Leader)
	if m == nil {
		return
	}
	p := m.table.Named("t", 0)
	n := 1 + s.rng.IntN(4)
	b := records(s.t, s.next, n)
	r, err := p.Append(b, -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		s.note("append of %d: %v", s.next, err)
		return
	}
	a := pendingAppend{p: p, r: r}
	for i := range n {
		a.values = append(a.values, fmt.Sprint(s.next+i))
	}
	s.note("append of %d to %d at %d in epoch %d by %d", s.next, s.next+n-1, r.BaseOffset, r.LeaderEpoch, m.id)
	s.next += n
	s.pending = append(s.pending, a)
}

// settle takes a value as committed at an offset.
func (s *followSim) settle(offset int64, value, by string) {
	for int64(len(s.committed)) <= offset {
		s.committed = append(s.committed, "")
	}
	switch was := s.committed[offset]; {
	case was == "":
		s.committed[offset] = value
	case was != value:
		s.t.Errorf("offset %d: %s was committed, %s has %s", offset, was, by, value)
	}
}

// look takes note of what is committed now, and compares.
func (s *followSim) look() {
	s.pending = slices.DeleteFunc(s.pending, func(a pendingAppend) bool {
		if a.p.Committed(a.r.LastOffset+1, a.r.LeaderEpoch) == nil {
			for i, v := range a.values {
				s.settle(a.r.BaseOffset+int64(i), v, "an acknowledgement")
			}
			return true
		}
		return false
	})
	if s.rng.IntN(3) > 0 {
		return
	}
	for _, m := range s.c.all() {
		p := m.table.Named("t", 0)
		r := readRequest(p.LogStart(), ReadUncommitted)
		r.AnyReplica = true
		vs, err := readVia(p, r)
		if err != nil {
			continue // cut meanwhile
		}
		for _, v := range vs {
			s.settle(v.offset, v.text, fmt.Sprintf("a read at %d", m.id))
		}
	}
}

func (s *followSim) elect() {
	p := s.partition()
	var live []int32
	for _, r := range p.ISR {
		if s.c.member(r) != nil {
			live = append(live, r)
		}
	}
	if len(live) == 0 {
		return
	}
	to := live[s.rng.IntN(len(live))]
	s.note("elect %d of %v", to, p.ISR)
	s.c.commit(func(img *meta.Image) []meta.Record {
		p := *img.TopicByID(meta.UUID{1}).Partition(0)
		if !slices.Contains(p.ISR, to) {
			return nil
		}
		p.Leader = to
		p.LeaderEpoch++
		p.PartitionEpoch++
		return []meta.Record{meta.PartitionRecord{Topic: meta.UUID{1}, Partition: p}}
	})
}

// crash ends a node: by a power cut on durable topics, else by a kill, which
// leaves the page cache. The controller takes it out of the in-sync set if
// others are in it, and has one of them lead.
func (s *followSim) crash() {
	id := int32(1 + s.rng.IntN(3))
	m := s.c.member(id)
	if m == nil {
		return
	}
	// Nothing that is flushed after the cut is told to anybody.
	m.isolate()
	s.pending = slices.DeleteFunc(s.pending, func(a pendingAppend) bool { return a.p.table == m.table })
	after := s.disks[id].mem
	if s.durable {
		after = after.CrashClone(s.rng.Int64N)
	}
	s.let(id)
	m.stop(false)
	s.disks[id] = &heldSyncs{Faulty: vfs.NewFaulty(after), mem: after}
	s.note("crash of %d", id)
	s.c.commit(func(img *meta.Image) []meta.Record {
		p := *img.TopicByID(meta.UUID{1}).Partition(0)
		b := *img.Broker(id)
		b.Fenced = true
		rs := []meta.Record{meta.BrokerRecord{Broker: b}}
		if isr := slices.DeleteFunc(slices.Clone(p.ISR), func(r int32) bool { return r == id }); len(isr) > 0 && len(isr) < len(p.ISR) {
			p.ISR = isr
		}
		if p.Leader == id {
			p.Leader = meta.NoLeader
			for _, r := range p.ISR {
				if s.c.member(r) != nil {
					p.Leader = r
				}
			}
			p.LeaderEpoch++
		}
		p.PartitionEpoch++
		return append(rs, meta.PartitionRecord{Topic: meta.UUID{1}, Partition: p})
	})
}

func (s *followSim) back() {
	for id := int32(1); id <= 3; id++ {
		if s.c.member(id) == nil {
			s.note("%d is back", id)
			s.c.start(id, s.disks[id])
			s.c.commit(func(img *meta.Image) []meta.Record {
				p := *img.TopicByID(meta.UUID{1}).Partition(0)
				if p.Leader >= 0 || !p.InSync(id) {
					return nil
				}
				p.Leader = id
				p.LeaderEpoch++
				p.PartitionEpoch++
				return []meta.Record{meta.PartitionRecord{Topic: meta.UUID{1}, Partition: p}}
			})
			return
		}
	}
}

// hold makes the syncs of a disk wait for some milliseconds, or until the node
// crashes.
func (s *followSim) hold() {
	id := int32(1 + s.rng.IntN(3))
	if !s.durable || s.c.member(id) == nil {
		return
	}
	s.let(id)
	d := time.Duration(s.rng.IntN(8000)) * time.Microsecond
	s.note("the disk of %d does not answer for %v", id, d)
	s.disks[id].hold()
	s.held[id] = sync.OnceFunc(s.disks[id].let)
	time.AfterFunc(d, s.held[id])
}

func (s *followSim) let(id int32) {
	if s.held[id] != nil {
		s.held[id]()
		s.held[id] = nil
	}
}

// tick lets lagging replicas fall out.
func (s *followSim) tick() {
	for _, m := range s.c.all() {
		m.table.Tick(time.Now().Add(11 * time.Second))
	}
}

func (s *followSim) mend() {
	for a := int32(1); a <= 3; a++ {
		s.let(a)
		for b := int32(1); b <= 3; b++ {
			s.c.link(a, b, true)
		}
	}
	for range 3 {
		s.back()
	}
	if s.t.Failed() {
		return
	}
	s.c.eventually("a leader, with all in sync", func() bool {
		p := s.partition()
		if p.Leader >= 0 && len(p.ISR) == 3 {
			_, leads := s.c.member(p.Leader).table.Named("t", 0).LeaderEpoch()
			return leads
		}
		for _, m := range s.c.all() {
			m.table.Tick(time.Now())
		}
		return false
	})
	s.produce()
	s.c.eventually("the same end everywhere", func() bool {
		end := s.c.member(1).table.Named("t", 0).LogEnd()
		for _, m := range s.c.all() {
			if p := m.table.Named("t", 0); p.LogEnd() != end || p.HighWatermark() != end {
				return false
			}
		}
		return true
	})
	s.c.same("t", s.c.member(1).table.Named("t", 0).LogEnd())
	vs, err := readAll(s.c.member(s.partition().Leader).table.Named("t", 0), 0, ReadUncommitted)
	if err != nil {
		s.t.Error(err)
	}
	if len(vs) < len(s.committed) {
		s.t.Errorf("%d records are left of %d that were committed", len(vs), len(s.committed))
	}
	for _, v := range vs {
		s.settle(v.offset, v.text, "the end")
	}
}

// readVia is readAll as a request says.
func readVia(p *Partition, r ReadRequest) ([]value, error) {
	var vs []value
	for {
		got, err := p.Read(r)
		if err != nil || got.Slice.N == 0 {
			return vs, err
		}
		next := got.Slice.Next
		more, err := valuesOf(got.Slice, r.From)
		if err != nil {
			return vs, err
		}
		vs = append(vs, more...)
		r.From = next
	}
}
