// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gregor/internal/meta"
	"gregor/internal/seeds"
	"gregor/internal/vfs"
)

// Goal: three Nodes as they run, with loops, timers and controllers, agree and
// forget nothing over links that lose, double, delay and reorder messages, while
// leaders are cut off, disks hang, and one is away for so long that it needs a
// snapshot. Method: a bubble of fake time; the seed decides what goes wrong and
// when, not in which order goroutines run. (The same without goroutines, step by
// step: TestSimPowerCuts and TestSimMembership.)
//
// Invariants:
//   - a term has one leader;
//   - Images of one version are equal on all nodes;
//   - a change that was answered with success is in every Image in the end;
//   - once the links are good again a change is made within some seconds.
func TestSimLinks(t *testing.T) {
	t.Parallel()
	runs, acked, terms, snapshots := 0, 0, 0, 0
	for seed := range seeds.All(t, 6, 50) {
		synctest.Test(t, func(t *testing.T) {
			s := newLinkSim(t, seed)
			defer s.end(seed)
			s.run()
			runs++
			acked, terms, snapshots = acked+len(s.acked), terms+len(s.leaders), snapshots+s.snapshots
		})
	}
	t.Logf("%d changes, %d leaders, %d snapshots", acked, terms, snapshots)
	// Of the few that run with -short it may be that none lost its leader.
	if !seeds.One() && !testing.Short() && (acked < 10 || terms <= runs || snapshots == 0) {
		t.Errorf("%d changes, %d leaders, %d snapshots: this proves nothing", acked, terms, snapshots)
	}
}

type linkSim struct {
	*trio
	rng       *rand.Rand
	began     time.Time
	story     []string
	snapshots int
	n         int
	down      *member // is away
	held      [3]atomic.Pointer[chan struct{}]
	work      sync.WaitGroup

	mu      sync.Mutex // guards the rest; a leaf
	acked   []string
	sums    map[int64][sha256.Size]byte
	leaders map[uint64]uint64
	odds    *rand.Rand
	lose    int // one message in so many; 0: none
	double  int
	delay   time.Duration
}

// Send is a quorum's Transport.
func (s *linkSim) Send(ms []*pb.Message) {
	for _, m := range ms {
		s.mu.Lock()
		copies, lost := 1, s.lose > 0 && s.odds.IntN(s.lose) == 0
		if s.double > 0 && s.odds.IntN(s.double) == 0 {
			copies = 2
		}
		late := make([]time.Duration, copies)
		for i := range late {
			late[i] = time.Duration(s.odds.Int64N(int64(s.delay)))
		}
		s.mu.Unlock()
		if lost && m.GetType() == pb.MsgSnap { // whoever carries it knows that it did not arrive
			s.net.mu.Lock()
			from := s.net.nodes[m.GetFrom()]
			s.net.mu.Unlock()
			go func() { _ = from.SnapshotSent(m.GetTo(), false) }()
		}
		if lost {
			continue
		}
		for _, d := range late {
			c := proto.Clone(m).(*pb.Message)
			go func() { // ends by itself: not in work, which is waited for meanwhile
				time.Sleep(d)
				s.net.Send([]*pb.Message{c})
			}()
		}
	}
}

func newLinkSim(t *testing.T, seed uint64) *linkSim {
	s := &linkSim{rng: rand.New(rand.NewPCG(seed, 11)), odds: rand.New(rand.NewPCG(seed, 12)), began: time.Now(), delay: time.Millisecond,
		sums: map[int64][sha256.Size]byte{}, leaders: map[uint64]uint64{}}
	s.trio = &trio{t: t, net: &wires{nodes: map[uint64]*Node{}, cut: map[uint64]bool{}}}
	var ids []Voter
	for i := range int32(3) {
		ids = append(ids, Voter{ID: i, Directory: meta.UUID{1: byte(i)}})
	}
	for i := range int32(3) {
		m := &member{rig: rig{fs: vfs.NewMem(), log: &fakeLog{}, seen: s.seen}}
		_ = m.fs.MkdirAll(simDir)
		m.cfg = Config{NodeID: i, Directory: meta.UUID{1: byte(i)}, Voters: ids, Dir: simDir, Transport: s}
		m.log.fail = func(op string) error {
			if free := s.held[i].Load(); free != nil && op == "flush" {
				<-*free
			}
			return nil
		}
		s.members = append(s.members, m)
		s.start(m)
	}
	return s
}

func (s *linkSim) note(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf("%8.3fs ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

// seen compares Images as they are published.
func (s *linkSim) seen(img *meta.Image) {
	var b []byte
	for r := range img.Records() {
		b = meta.AppendRecord(b, r)
	}
	sum := sha256.Sum256(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.sums[img.Version()]; ok && before != sum {
		s.t.Errorf("there are two Images of version %d", img.Version())
	}
	s.sums[img.Version()] = sum
}

// look notes who leads.
func (s *linkSim) look() {
	for _, m := range s.members {
		if m == s.down {
			continue
		}
		d, err := m.node.Describe(s.t.Context())
		st := m.node.Status()
		if err != nil || !st.Leading || d.Leader != st.ID {
			continue
		}
		if before, ok := s.leaders[d.Term]; ok && before != st.ID {
			s.t.Errorf("%x and %x lead in term %d", before, st.ID, d.Term)
		}
		s.leaders[d.Term] = st.ID
	}
}

func (s *linkSim) change() {
	for _, m := range s.members {
		if m == s.down || !m.node.Status().Leading {
			continue
		}
		s.n++
		name := fmt.Sprint("f", s.n)
		s.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			if m.set(ctx, name) == nil {
				s.mu.Lock()
				s.acked = append(s.acked, name)
				s.mu.Unlock()
			}
		})
	}
}

func (s *linkSim) run() {
	for range 150 {
		time.Sleep(time.Duration(s.rng.IntN(200)) * time.Millisecond)
		s.look()
		m := s.members[s.rng.IntN(3)]
		switch k := s.rng.IntN(20); {
		case k < 10:
			s.change()
		case k < 12:
			s.weather(s.rng.IntN(12), s.rng.IntN(8), time.Duration(1+s.rng.IntN(150))*time.Millisecond)
		case k < 14 && m != s.down:
			on := s.rng.IntN(2) == 0
			s.note("node %d cut off: %v", m.cfg.NodeID, on)
			s.cut(m, on)
		case k < 16:
			s.hang(m, time.Duration(s.rng.IntN(3000))*time.Millisecond)
		case k < 17:
			s.leave(m)
		case k < 18:
			s.gone()
		default:
			s.snapshot()
		}
	}
	s.heal()
}

// end stops everything and prints what led to a failure.
func (s *linkSim) end(seed uint64) {
	if s.down != nil {
		s.start(s.down)
	}
	s.work.Wait() // disks that hang are let go by it
	s.close()
	s.work.Wait()
	time.Sleep(time.Second) // what is on its way arrives, at nobody
	if s.t.Failed() {
		for _, line := range s.story {
			s.t.Log(line)
		}
		for _, m := range s.members {
			s.t.Logf("node %d: %+v, log from %d to %d", m.cfg.NodeID, m.node.Status(), m.log.Start(), m.log.End())
		}
		s.t.Logf("seed %d", seed)
	}
}

func (s *linkSim) weather(lose, double int, delay time.Duration) {
	s.note("one message in %d is lost, one in %d doubled, all late by up to %v", lose, double, delay)
	s.mu.Lock()
	defer s.mu.Unlock()
	if lose == 1 {
		lose = 2
	}
	s.lose, s.double, s.delay = lose, double, delay
}

// hang lets the flushes of a node wait.
func (s *linkSim) hang(m *member, d time.Duration) {
	if m == s.down || s.held[m.cfg.NodeID].Load() != nil {
		return
	}
	s.note("the disk of node %d hangs for %v", m.cfg.NodeID, d)
	free := make(chan struct{})
	s.held[m.cfg.NodeID].Store(&free)
	s.work.Go(func() {
		time.Sleep(d)
		s.held[m.cfg.NodeID].Store(nil)
		close(free)
	})
}

// leave stops a node, or brings back the one that is away.
func (s *linkSim) leave(m *member) {
	switch {
	case s.down != nil:
		s.note("node %d is back", s.down.cfg.NodeID)
		s.start(s.down)
		s.down = nil
	case s.held[m.cfg.NodeID].Load() == nil:
		s.note("node %d is away", m.cfg.NodeID)
		if err := m.close(); err != nil {
			s.t.Error(err)
		}
		s.down = m
	}
}

// gone tells some that the leader's process is gone, be it so or not.
func (s *linkSim) gone() {
	for _, m := range s.members {
		if m == s.down || s.rng.IntN(3) == 0 {
			continue
		}
		lead := m.node.Status().Leader
		s.note("node %d is told that %x is gone", m.cfg.NodeID, lead)
		go func() { _ = m.node.Gone(lead) }() // its loop may hang with its disk
	}
}

// snapshot has the leader take one and trim its log, as many changes would.
func (s *linkSim) snapshot() {
	for _, m := range s.members {
		if m == s.down || !m.node.Status().Leading {
			continue
		}
		s.note("node %d takes a snapshot", m.cfg.NodeID)
		s.snapshots++
		s.work.Go(func() {
			_ = m.node.do(func() {
				m.node.core.bytes = 1 << 40
				_ = m.node.maybeSnapshot()
			})
		})
	}
}

func (s *linkSim) heal() {
	s.note("all is healed")
	s.weather(0, 0, time.Millisecond)
	for _, m := range s.members {
		if m != s.down {
			s.cut(m, false)
		}
	}
	if s.down != nil {
		s.cut(s.down, false)
		s.leave(s.down)
	}
	s.work.Wait() // disks that hang are let go by it
	if s.t.Failed() {
		return
	}
	made := false
	for range 200 {
		for _, m := range s.members {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			made = made || m.node.Status().Leading && m.set(ctx, "end") == nil
			cancel()
		}
		if made {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if !made {
		s.t.Error("no change is made though all is healed")
		return
	}
	s.everywhere("end")
	s.look()
	for _, m := range s.members {
		if i := slices.IndexFunc(s.acked, func(name string) bool { return m.node.Image().Feature(name) != 1 }); i >= 0 {
			s.t.Errorf("node %d lacks %s, which was acknowledged", m.cfg.NodeID, s.acked[i])
		}
	}
}
