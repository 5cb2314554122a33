// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gregor/internal/seeds"
)

// TestSimManyReplicas steps a partition of three to five replicas from a seed:
// writes, flushes, fetches that are lost or late, crashes that take unflushed
// records, elections, and a controller that answers late, refuses or loses.
//
// After every step:
//
//   - within a leader epoch the high watermark never falls;
//   - when it rises, every member of the maximal in-sync set has reached it;
//   - what was once below it is in the log of whoever is elected from the
//     in-sync set, with the same content.
func TestSimManyReplicas(t *testing.T) {
	t.Parallel()
	var moved, runs int64
	for seed := range seeds.All(t, 300, 1) {
		s := newSim(seed)
		s.run(t)
		moved += int64(len(s.committed))
		runs++
		if t.Failed() {
			return
		}
	}
	if !seeds.One() && moved < runs*5 {
		t.Errorf("only %d records committed in %d runs: the simulation does nothing", moved, runs)
	}
}

// node is one replica: its log is a list of the epochs in which each record
// was written, which is enough to tell two records at one offset apart.
type node struct {
	log     []int32
	flushed int64
	up      bool
	life    Life
	waiting int // the fetch that it waits for, 0: none
}

// message is a fetch, its answer, or news of a flush, on the way. The network
// delays, reorders, repeats and loses them.
type message struct {
	kind  string
	from  Replica
	epoch int32 // leader epoch
	pos   Position
	fetch int
	same  int64   // answer: cut to here, when below pos.End
	log   []int32 // answer: records from pos.End on
}

type sim struct {
	seed      uint64
	rng       *rand.Rand
	now       time.Time
	durable   bool
	nodes     []*node // of replica i+1
	state     State
	leader    *Leader
	mail      []message
	fetches   int
	asked     []*ISRChange // on the way to the controller
	committed []int32      // every record that was once below a high watermark
	lastEpoch int32
	lastHW    int64
	history   []string
}

func newSim(seed uint64) *sim {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &sim{seed: seed, rng: rng, now: t0, durable: rng.IntN(2) == 0}
	n := 3 + rng.IntN(3)
	for i := range n {
		s.nodes = append(s.nodes, &node{up: true})
		s.state.Replicas = append(s.state.Replicas, Replica(i+1))
	}
	s.state.ISR = slices.Clone(s.state.Replicas)
	return s
}

func (s *sim) config() Config {
	return Config{MinISR: 1 + int(s.seed%2), Durable: s.durable, MaxLag: 5 * time.Second}
}

func (s *sim) run(t *testing.T) {
	s.elect(t)
	for range 400 {
		s.now = s.now.Add(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
		switch k := s.rng.IntN(100); {
		case k < 30:
			s.write(t)
		case k < 40:
			s.flush(t)
		case k < 55:
			s.fetch()
		case k < 60:
			s.news()
		case k < 80:
			s.deliver(t)
		case k < 86 && s.leader != nil:
			s.effects(t, s.leader.Tick(s.now))
		case k < 94:
			s.answer(t)
		case k < 97:
			s.crash(t)
		default:
			s.restart(t)
		}
		if t.Failed() {
			t.Logf("seed %d, the last steps:", s.seed)
			for _, h := range s.history[max(0, len(s.history)-40):] {
				t.Log(h)
			}
			return
		}
	}
}

func (s *sim) note(format string, args ...any) {
	s.history = append(s.history, fmt.Sprintf(format, args...))
}

func (s *sim) node(r Replica) *node { return s.nodes[r-1] }

// position is how far a node's log counts.
func (s *sim) position(n *node) int64 {
	if s.durable {
		return n.flushed
	}
	return int64(len(n.log))
}

func (s *sim) write(t *testing.T) {
	if s.leader == nil {
		return
	}
	n := s.node(s.state.Leader)
	for range 1 + s.rng.IntN(3) {
		n.log = append(n.log, s.state.LeaderEpoch)
	}
	s.note("write to %d", len(n.log))
	s.effects(t, s.leader.Wrote(int64(len(n.log)), n.flushed, s.now))
}

func (s *sim) flush(t *testing.T) {
	r := Replica(1 + s.rng.IntN(len(s.nodes)))
	n := s.node(r)
	if !n.up {
		return
	}
	n.flushed += s.rng.Int64N(int64(len(n.log)) - n.flushed + 1)
	s.note("%d flushed to %d", r, n.flushed)
	if s.leader != nil && r == s.state.Leader {
		s.effects(t, s.leader.Wrote(int64(len(n.log)), n.flushed, s.now))
	}
}

// send puts a message on the way, sometimes twice, sometimes not at all.
func (s *sim) send(m message) {
	for range []int{1, 1, 1, 1, 1, 1, 2, 0}[s.rng.IntN(8)] {
		s.mail = append(s.mail, m)
	}
	for len(s.mail) > 20 { // the oldest are lost
		s.mail = s.mail[1:]
	}
}

// fetch is a follower's request; one that it waited for before is given up.
func (s *sim) fetch() {
	r := Replica(1 + s.rng.IntN(len(s.nodes)))
	n := s.node(r)
	if r == s.state.Leader || !n.up {
		return
	}
	s.fetches++
	n.waiting = s.fetches
	s.note("%d asks from %d, flushed %d, life %v", r, len(n.log), n.flushed, n.life)
	s.send(message{kind: "fetch", from: r, epoch: s.state.LeaderEpoch, fetch: s.fetches,
		pos: Position{int64(len(n.log)), n.flushed, n.life}})
}

func (s *sim) news() {
	r := Replica(1 + s.rng.IntN(len(s.nodes)))
	if n := s.node(r); r != s.state.Leader && n.up {
		s.send(message{kind: "news", from: r, epoch: s.state.LeaderEpoch, pos: Position{0, n.flushed, n.life}})
	}
}

// deliver brings one message to its place, mostly one of the older ones.
func (s *sim) deliver(t *testing.T) {
	for range 2 {
		if len(s.mail) == 0 {
			return
		}
		i := min(s.rng.IntN(len(s.mail)), s.rng.IntN(len(s.mail)))
		m := s.mail[i]
		s.mail = slices.Delete(s.mail, i, i+1)
		if m.kind == "answer" {
			s.answered(m)
			continue
		}
		if s.leader == nil || m.epoch != s.state.LeaderEpoch || m.from == s.state.Leader {
			continue // fenced
		}
		lead := s.node(s.state.Leader)
		if m.kind == "news" {
			s.note("news of %d: flushed %d in life %v", m.from, m.pos.Flushed, m.pos.Life)
			e, _ := s.leader.Flushed(m.from, m.pos.Life, m.pos.Flushed, s.now)
			s.effects(t, e)
			continue
		}
		// The log that asked may be cut by now; the epochs that it asked with
		// are what the leader compares, and those it has in the answer's fetch.
		n := s.node(m.from)
		back := message{kind: "answer", from: m.from, epoch: m.epoch, pos: m.pos, fetch: m.fetch, same: m.pos.End}
		asks := n.log[:min(m.pos.End, int64(len(n.log)))]
		if back.same = commonPrefix(asks, lead.log); back.same < m.pos.End {
			s.send(back)
			continue
		}
		s.note("%d fetches at %d, flushed %d, life %v", m.from, m.pos.End, m.pos.Flushed, m.pos.Life)
		e, _ := s.leader.Fetched(m.from, m.pos, s.now)
		s.effects(t, e)
		if s.leader != nil {
			k := m.pos.End
			back.log = slices.Clone(lead.log[k : k+s.rng.Int64N(int64(len(lead.log))-k+1)])
			s.send(back)
		}
	}
}

// answered is a follower that reads what it was answered, if it still waits.
func (s *sim) answered(m message) {
	n := s.node(m.from)
	if !n.up || n.waiting != m.fetch || n.life != m.pos.Life || m.epoch != s.state.LeaderEpoch || m.from == s.state.Leader {
		return
	}
	n.waiting = 0
	if m.same < m.pos.End {
		n.log, n.flushed = n.log[:m.same], min(n.flushed, m.same)
		n.life.Cut++
		s.note("%d cut to %d, life %v", m.from, m.same, n.life)
		return
	}
	n.log = append(n.log, m.log...)
}

func (s *sim) answer(t *testing.T) {
	if len(s.asked) == 0 {
		return
	}
	i := s.rng.IntN(len(s.asked))
	c := s.asked[i]
	s.asked = slices.Delete(s.asked, i, i+1)
	stale := c.LeaderEpoch != s.state.LeaderEpoch || c.PartitionEpoch != s.state.PartitionEpoch
	dead := slices.ContainsFunc(c.ISR, func(r Replica) bool { return !s.node(r).up })
	if stale || dead || s.rng.IntN(5) == 0 {
		s.note("refused %v", c.ISR)
		if s.leader != nil && c.LeaderEpoch == s.state.LeaderEpoch {
			s.effects(t, s.leader.Refused(c, s.now))
		}
		return
	}
	s.state.ISR = c.ISR
	s.state.PartitionEpoch++
	s.note("in-sync set %v", c.ISR)
	if s.leader != nil {
		s.effects(t, s.leader.Changed(s.state, s.now))
	}
}

// crash takes a node down, but never the last member: a cluster that loses all
// of them has lost what only they had. Without flushing a crash of the process
// keeps the page cache.
func (s *sim) crash(t *testing.T) {
	r := Replica(1 + s.rng.IntN(len(s.nodes)))
	n := s.node(r)
	others := slices.DeleteFunc(slices.Clone(s.state.ISR), func(x Replica) bool { return x == r || !s.node(x).up })
	if !n.up || len(others) == 0 {
		return
	}
	n.up, n.waiting = false, 0
	if s.durable {
		n.log = n.log[:n.flushed+s.rng.Int64N(int64(len(n.log))-n.flushed+1)]
	}
	s.note("%d crashed, keeps %d", r, len(n.log))
	if r == s.state.Leader {
		s.leader = nil
		s.state.ISR = slices.DeleteFunc(slices.Clone(s.state.ISR), func(x Replica) bool { return x == r })
		s.elect(t)
		return
	}
	if slices.Contains(s.state.ISR, r) {
		// The controller fences it and takes it out.
		s.state.ISR = slices.DeleteFunc(slices.Clone(s.state.ISR), func(x Replica) bool { return x == r })
		s.state.PartitionEpoch++
		if s.leader != nil {
			s.effects(t, s.leader.Changed(s.state, s.now))
		}
	}
	if s.leader != nil {
		s.effects(t, s.leader.Broker(r, NoBroker, s.now))
	}
}

func (s *sim) restart(t *testing.T) {
	for i, n := range s.nodes {
		if !n.up {
			n.up, n.flushed = true, int64(len(n.log)) // recovery flushes what it keeps
			n.life = Life{Broker: n.life.Broker + 1}
			s.note("%d is back with %d", i+1, len(n.log))
			if s.leader != nil {
				s.effects(t, s.leader.Broker(Replica(i+1), n.life.Broker, s.now))
			}
			return
		}
	}
}

// elect makes a live member of the in-sync set the leader.
func (s *sim) elect(t *testing.T) {
	live := slices.DeleteFunc(slices.Clone(s.state.ISR), func(r Replica) bool { return !s.node(r).up })
	s.state.Leader = live[s.rng.IntN(len(live))]
	s.state.LeaderEpoch++
	s.state.PartitionEpoch++
	n := s.node(s.state.Leader)
	s.note("%d leads in epoch %d with %d, flushed %d; in sync %v", s.state.Leader, s.state.LeaderEpoch, len(n.log), n.flushed, s.state.ISR)
	if got := commonPrefix(n.log, s.committed); got < int64(len(s.committed)) {
		t.Errorf("elected %d lacks committed records from %d on (has %d, committed %d)", s.state.Leader, got, len(n.log), len(s.committed))
		return
	}
	s.leader, _ = Lead(s.config(), s.state.Leader, s.state, int64(len(n.log)), n.flushed, 0, s.now)
	for i, n := range s.nodes {
		if r := Replica(i + 1); r != s.state.Leader {
			s.leader.Broker(r, s.known(n), s.now)
		}
	}
	s.effects(t, Effects{HW: s.leader.HW(), Wake: true})
}

// known is the broker epoch that the controller knows of a node.
func (s *sim) known(n *node) int64 {
	if !n.up {
		return NoBroker
	}
	return n.life.Broker
}

// effects checks the invariants and carries out what was decided.
func (s *sim) effects(t *testing.T, e Effects) {
	if e.Propose != nil {
		s.note("proposes %v", e.Propose.ISR)
		if s.rng.IntN(10) == 0 {
			// Lost on the way: only a refusal frees the leader for another.
			s.effects(t, s.leader.Refused(e.Propose, s.now))
		} else {
			s.asked = append(s.asked, e.Propose)
		}
	}
	if e.HW < s.lastHW && s.state.LeaderEpoch == s.lastEpoch {
		t.Errorf("high watermark fell from %d to %d in epoch %d", s.lastHW, e.HW, s.lastEpoch)
	}
	s.lastEpoch, s.lastHW = s.state.LeaderEpoch, e.HW
	if !e.Wake {
		return
	}
	lead := s.node(s.state.Leader)
	s.note("high watermark %d", e.HW)
	for r := range s.nodes {
		r := Replica(r + 1)
		if pos := s.position(s.node(r)); s.leader.member(r) && s.node(r).up && pos < e.HW {
			t.Errorf("high watermark %d passed member %d, which is at %d", e.HW, r, pos)
		}
	}
	for i, epoch := range lead.log[:e.HW] {
		switch {
		case i == len(s.committed):
			s.committed = append(s.committed, epoch)
		case s.committed[i] != epoch:
			t.Errorf("offset %d was committed in epoch %d and is now of epoch %d", i, s.committed[i], epoch)
			return
		}
	}
}

func commonPrefix(a, b []int32) int64 {
	n := int64(0)
	for n < int64(min(len(a), len(b))) && a[n] == b[n] {
		n++
	}
	return n
}
