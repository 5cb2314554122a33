// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gregor/internal/meta"
	"gregor/internal/seeds"
	"gregor/internal/vfs"
)

// Goal: whatever is lost on the way or by power cuts, one to three voters agree
// and forget nothing. Method: voters as step machines (core) under one seeded
// goroutine that delays, loses, doubles and reorders messages, takes snapshots,
// stands for election here and there, cuts the power of single voters or all
// (un-flushed log entries and un-synced files survive or not, at random) and
// restarts them. One voter takes the very same way as three.
//
// Invariants, each checked at every step:
//   - an index holds the same entry wherever and whenever it is applied;
//   - Images of one version are equal;
//   - a term has one leader;
//   - term and vote never go back over a restart;
//   - a proposal that was answered with success is in the Image for good, and
//     one that was dropped never is.
func TestSimPowerCuts(t *testing.T) {
	t.Parallel()
	for _, voters := range []int{1, 3} {
		t.Run(strconv.Itoa(voters), func(t *testing.T) {
			t.Parallel()
			var total simStats
			for seed := range seeds.All(t, 40, 10) {
				s := newSim(t, seed, voters)
				s.run(400)
				total.add(s.stats)
			}
			t.Logf("%+v", total)
			if !seeds.One() && (total.acked == 0 || total.restarts == 0 || total.snapshots == 0 || voters > 1 && (total.installed == 0 || total.dropped == 0)) {
				t.Errorf("the simulation does not reach what it should: %+v", total)
			}
		})
	}
}

// Goal: the same while voters come and go. Method: more nodes than founded the
// cluster, of which those that do not vote are fed from others' committed
// entries, as quorum/observer would; voters are added and removed at random,
// asked of anybody. Besides the invariants above: whoever was told that a change
// is made finds it in the next leader's configuration, and voters may be fed
// too without harm.
func TestSimMembership(t *testing.T) {
	t.Parallel()
	for _, shape := range [][2]int{{1, 3}, {3, 5}, {5, 7}} {
		t.Run(fmt.Sprintf("%d of %d", shape[0], shape[1]), func(t *testing.T) {
			t.Parallel()
			var total simStats
			for seed := range seeds.All(t, 20, 20) {
				s := newSim(t, seed, shape[1])
				s.found(shape[0])
				s.run(600)
				total.add(s.stats)
			}
			t.Logf("%+v", total)
			if !seeds.One() && (total.acked == 0 || total.added == 0 || total.removed == 0 || total.fed == 0 || total.replaced == 0) {
				t.Errorf("the simulation does not reach what it should: %+v", total)
			}
		})
	}
}

type simStats struct {
	acked, dropped, unknown, restarts, snapshots, installed, leaders int
	added, removed, fed, replaced                                    int
}

func (s *simStats) add(o simStats) {
	s.acked += o.acked
	s.dropped += o.dropped
	s.unknown += o.unknown
	s.restarts += o.restarts
	s.snapshots += o.snapshots
	s.installed += o.installed
	s.leaders += o.leaders
	s.added += o.added
	s.removed += o.removed
	s.fed += o.fed
	s.replaced += o.replaced
}

type sim struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	nodes []*simNode
	ids   []Voter
	net   [][]byte // messages under way, encoded

	entries  map[uint64]string     // by index: term and data of what was applied
	images   map[int64]*meta.Image // by version
	leaderOf map[uint64]uint64     // by term
	names    int
	stats    simStats
	changes  bool            // voters come and go
	acked    map[string]bool // names of features whose proposal was answered with success
	dropped  map[string]bool
}

type simNode struct {
	s    *sim
	i    int
	fs   *vfs.Mem
	bad  *vfs.Faulty // over fs
	left int         // calls of the log until the power goes; below 0: never
	log  *fakeLog
	c    *core
	hard hardState // last known durable
}

const simDir = "/d/__cluster_metadata-0"

func newSim(t *testing.T, seed uint64, n int) *sim {
	s := &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), entries: map[uint64]string{},
		images: map[int64]*meta.Image{0: meta.Empty()}, leaderOf: map[uint64]uint64{}, acked: map[string]bool{}, dropped: map[string]bool{}}
	for i := range n {
		s.ids = append(s.ids, Voter{ID: int32(i), Directory: meta.UUID{1: byte(i)}})
	}
	for i := range n {
		node := &simNode{s: s, i: i, fs: vfs.NewMem(), log: &fakeLog{}, left: -1}
		if err := node.fs.MkdirAll(simDir); err != nil {
			t.Fatal(err)
		}
		if err := node.fs.SyncFS("/"); err != nil && !errors.Is(err, vfs.ErrUnsupported) {
			t.Fatal(err)
		}
		s.nodes = append(s.nodes, node)
	}
	s.found(n)
	return s
}

// found opens all nodes, of which the first are the voters.
func (s *sim) found(voters int) {
	s.changes = voters < len(s.nodes)
	s.ids = s.ids[:voters]
	for _, n := range s.nodes {
		n.open()
	}
}

func (s *sim) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

// errPower is what every call meets once the power is gone.
var errPower = errors.New("power is gone")

// call counts one call of the log.
func (n *simNode) call() error {
	if n.left < 0 {
		return nil
	}
	if n.left == 0 {
		return errPower
	}
	n.left--
	return nil
}

func (n *simNode) open() {
	n.left = -1
	n.bad = vfs.NewFaulty(n.fs)
	n.log.fail = func(string) error { return n.call() }
	st, _, err := openStable(Config{NodeID: int32(n.i), Directory: meta.UUID{1: byte(n.i)}, Voters: n.s.ids, FS: n.bad, Dir: simDir, Log: n.log})
	if err != nil {
		n.s.fatalf("node %d does not open: %v", n.i, err)
	}
	if h := st.state.hard; h.term < n.hard.term || h.term == n.hard.term && n.hard.vote != 0 && h.vote != n.hard.vote {
		n.s.fatalf("node %d forgot term %d vote %x for %d and %x", n.i, n.hard.term, n.hard.vote, h.term, h.vote)
	}
	n.c, err = newCore(st, coreConfig{1 << 20, 1}, hooks{
		send:      n.send,
		committed: n.committed,
		leading: func(term uint64, img *meta.Image) {
			if other, ok := n.s.leaderOf[term]; ok && other != n.c.id {
				n.s.fatalf("term %d has two leaders", term)
			}
			n.s.leaderOf[term] = n.c.id
			n.s.stats.leaders++
			if img != n.c.image {
				n.s.fatalf("leads with an image of its own")
			}
		},
		following: func() {},
		members:   func(Membership) {},
		gone:      func(uint64) {},
	})
	if err != nil {
		n.s.fatalf("node %d: %v", n.i, err)
	}
}

func (n *simNode) send(ms []*pb.Message) {
	for _, m := range ms {
		b, err := proto.Marshal(m)
		if err != nil {
			n.s.fatalf("%v", err)
		}
		if asks := m.GetType() == pb.MsgPreVote || m.GetType() == pb.MsgPreVoteResp; n.c.st.state.hard.term < m.GetTerm() && !asks {
			n.s.fatalf("node %d speaks of term %d while %d is durable", n.i, m.GetTerm(), n.c.st.state.hard.term)
		}
		n.s.net = append(n.s.net, b)
	}
}

func (n *simNode) committed(img *meta.Image, d *meta.Delta) {
	if known := n.s.images[img.Version()]; known == nil {
		n.s.images[img.Version()] = img
	} else if diff := meta.Diff(known, img); !diff.Empty() || known.NextProducerID() != img.NextProducerID() {
		n.s.fatalf("two images of version %d: %+v", img.Version(), diff)
	}
	if d.New != img {
		n.s.fatalf("delta of another image")
	}
}

// work drives a node and checks what it applied.
func (n *simNode) work() {
	if err := n.c.work(); errors.Is(err, errPower) {
		n.s.powerCut(n)
		return
	} else if err != nil {
		n.s.fatalf("node %d: %v", n.i, err)
	}
	n.hard = n.c.st.state.hard
	st := n.c.st
	for i := max(st.floor.index+1, n.c.applied-min(n.c.applied, 20)); i <= n.c.applied; i++ {
		es, err := st.Entries(i, i+1, 1<<30)
		if err != nil {
			n.s.fatalf("node %d, entry %d: %v", n.i, i, err)
		}
		what := fmt.Sprint(es[0].GetTerm(), " ", string(es[0].GetData()))
		if old, ok := n.s.entries[i]; ok && old != what {
			n.s.fatalf("node %d applied at index %d %s, somebody else %s", n.i, i, what, old)
		}
		n.s.entries[i] = what
	}
}

func (s *sim) run(steps int) {
	for range steps {
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		for range 4 * (len(s.nodes) - len(s.ids)) { // more nodes, more to say
			if len(s.net) > 0 {
				s.deliver()
			}
		}
		switch r := s.rng.IntN(100); {
		case r < 50 && len(s.net) > 0:
			s.deliver()
			continue
		case r < 55 && s.changes:
			s.pull(n, s.nodes[s.rng.IntN(len(s.nodes))])
		case r < 60:
			if s.rng.IntN(2) == 0 { // news, be they true or false
				n.c.gone(n.c.leader)
			}
			n.c.tick()
		case r < 66:
			n.stand()
		case r < 74 && s.changes:
			s.change(s.leading(n))
			continue
		case r < 86:
			s.propose(n)
		case r < 92:
			s.snapshot(n)
		case r < 95:
			s.powerCut(n)
			continue
		case r < 97:
			// The power goes in the midst of some call to come.
			n.left = s.rng.IntN(8)
			n.bad.FailCall(1+s.rng.Int64N(8), vfs.AnyChange, errPower, true)
			continue
		default:
			if s.rng.IntN(3) == 0 {
				for _, n := range s.nodes {
					s.powerCut(n)
				}
			}
			continue
		}
		n.work()
	}
	s.finish()
}

func (s *sim) deliver() {
	i := s.rng.IntN(min(len(s.net), 8))
	b := s.net[i]
	s.net = append(s.net[:i], s.net[i+1:]...)
	switch s.rng.IntN(20) {
	case 0:
		s.told(b, raft.SnapshotFailure)
		return // lost
	case 1:
		s.net = append(s.net, b) // doubled
	}
	s.hand(b)
}

// hand gives a message to its receiver.
func (s *sim) hand(b []byte) {
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		s.fatalf("%v", err)
	}
	for _, n := range s.nodes {
		if n.c.id == m.GetTo() {
			_ = n.c.rn.Step(m)
			n.c.hear(m, time.Unix(1, 0))
			n.work()
		}
	}
	s.told(b, raft.SnapshotFinish)
}

// told tells the sender of a snapshot what became of it, as a transport must.
func (s *sim) told(b []byte, status raft.SnapshotStatus) {
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		s.fatalf("%v", err)
	}
	for _, n := range s.nodes {
		if n.c.id == m.GetFrom() && m.GetType() == pb.MsgSnap {
			n.c.rn.ReportSnapshot(m.GetTo(), status)
			n.work()
			if status == raft.SnapshotFinish {
				s.stats.installed++
			}
		}
	}
}

// propose hands a group over, decided on the Image that each leads to, as the
// controller does, and now and then on a wrong one.
func (s *sim) propose(n *simNode) {
	base := n.c.image.Version() + int64(len(n.c.waiting))
	if s.rng.IntN(20) == 0 {
		base++
	}
	var group []*meta.Proposal
	for i := range 1 + s.rng.IntN(4) {
		s.names++
		name := "f" + strconv.Itoa(s.names)
		group = append(group, &meta.Proposal{Base: base + int64(i), Term: n.c.term, Records: []meta.Record{meta.FeatureRecord{Name: name, Level: 1}}, Done: func(err error) {
			switch {
			case err == nil:
				s.acked[name] = true
				s.stats.acked++
			case errors.Is(err, meta.ErrUnknown):
				s.stats.unknown++
			default:
				s.dropped[name] = true
				s.stats.dropped++
			}
		}})
	}
	n.c.propose(group)
}

// pull feeds n what is committed at from.
func (s *sim) pull(n, from *simNode) {
	a, b := n.c, from.c
	if n == from || b.applied <= a.applied {
		return
	}
	answer := PullAnswer{Term: b.rn.BasicStatus().GetTerm()}
	if v, ok := b.voters[b.leader]; ok {
		answer.Leader = &v
	}
	term, err := a.st.Term(a.applied)
	if err != nil {
		s.fatalf("node %d: term of applied index %d: %v", n.i, a.applied, err)
	}
	if a.applied < b.st.floor.index {
		m := b.st.lastSnapshot()
		data, err := vfs.ReadFile(from.fs, simDir+"/"+m.fileName())
		if err != nil {
			s.fatalf("%v", err)
		}
		switch err := a.feedSnapshot(answer.Term, data); {
		case errors.Is(err, errPower):
			s.powerCut(n)
			return
		case err == nil:
			s.stats.replaced++
		}
		n.work()
		return
	}
	if other, err := b.st.Term(a.applied); err != nil || other != term || b.st.next(a.applied) != a.st.next(a.applied) {
		s.fatalf("index %d is committed with term %d at node %d, %d at node %d (%v)", a.applied, term, n.i, other, from.i, err)
	}
	sl, err := from.log.Read(b.st.next(a.applied), b.st.next(b.applied), 1+s.rng.IntN(2000), true)
	if err != nil {
		s.fatalf("%v", err)
	}
	entries, err := decodePulled(sl.Bytes, Position{a.applied, term, a.st.next(a.applied)})
	if err == nil {
		err = a.feed(answer, entries)
	}
	if err != nil {
		s.fatalf("node %d fed by %d: %v", n.i, from.i, err)
	}
	s.stats.fed++
	n.work()
}

// leading is a node that leads, or n where none does.
func (s *sim) leading(n *simNode) *simNode {
	for _, o := range s.nodes {
		if o.c.leading {
			return o
		}
	}
	return n
}

// change asks n to add or remove some node, of which it knows that it follows.
func (s *sim) change(n *simNode) {
	who := s.nodes[s.rng.IntN(len(s.nodes))]
	ch := VoterChange{Kind: AddVoter, Voter: Voter{ID: int32(who.i), Directory: meta.UUID{1: byte(who.i)}}}
	if _, votes := n.c.voters[who.c.id]; votes {
		ch.Kind = RemoveVoter
	} else if who.c.applied < n.c.applied {
		return
	}
	n.c.changeVoters(ch, time.Time{}, func(err error) {
		if err != nil {
			return
		}
		if _, votes := n.c.voters[who.c.id]; votes != (ch.Kind == AddVoter) {
			s.fatalf("a change of voter %d that was said to be made is not", who.i)
		}
		if ch.Kind == AddVoter {
			s.stats.added++
		} else {
			s.stats.removed++
		}
	})
	n.work()
}

func (s *sim) snapshot(n *simNode) {
	m := n.c.snapshotAt()
	if m.index == 0 || m.index == n.c.st.lastSnapshot().index {
		return
	}
	if _, err := writeSnapshot(n.bad, simDir, m, n.c.image); errors.Is(err, errPower) {
		s.powerCut(n)
		return
	} else if err != nil {
		s.fatalf("%v", err)
	}
	s.stats.snapshots++
	if err := n.c.st.snapshotted(m); errors.Is(err, errPower) {
		s.powerCut(n)
	} else if err != nil {
		s.fatalf("%v", err)
	}
}

func (s *sim) powerCut(n *simNode) {
	n.c.retire() // whoever waited gets no word
	n.fs = n.fs.CrashClone(s.rng.Int64N)
	n.log = n.log.crash(s.rng.Int64N)
	s.stats.restarts++
	n.open()
	n.work()
}

// finish heals everything, elects a leader, commits one more change, and asks
// for all that was promised.
func (s *sim) finish() {
	for _, n := range s.nodes {
		n.left = -1
		n.bad.Clear()
	}
	s.settle()
	n := s.elect()
	ok := false
	for range 200 {
		if st := n.c.rn.BasicStatus(); st.LeadTransferee != raft.None {
			// It waits for one that never heard of it; time would free it.
			_ = n.c.rn.Step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(st.LeadTransferee), To: new(n.c.id), Term: new(st.GetTerm() + 1)})
			n.work()
		}
		if !n.c.leading { // or it was taken out of the quorum
			n = s.elect()
		}
		n.c.propose([]*meta.Proposal{{Base: n.c.image.Version(), Term: n.c.term, Records: []meta.Record{meta.FeatureRecord{Name: "last", Level: 1}}, Done: func(err error) { ok = ok || err == nil }}})
		n.work()
		for range 3 {
			for _, o := range s.nodes {
				o.c.rn.Tick()
				o.work()
				if s.changes {
					s.pull(o, n)
				}
			}
			s.settle()
		}
		if ok && s.caughtUp() {
			break
		}
	}
	for _, o := range s.nodes {
		if !ok || o.c.image.Feature("last") != 1 {
			s.fatalf("node %d does not catch up when all is well (ok %v): %+v, %d messages, leader sees %+v", o.i, ok, o.c.rn.BasicStatus(), len(s.net), n.c.rn.Status().Progress)
		}
		for name := range s.acked {
			if o.c.image.Feature(name) != 1 {
				s.fatalf("node %d lost %s, which was promised", o.i, name)
			}
		}
		for name := range s.dropped {
			if o.c.image.Feature(name) != 0 {
				s.fatalf("node %d has %s, which was said to be dropped", o.i, name)
			}
		}
	}
}

// elect makes somebody lead.
func (s *sim) elect() *simNode {
	n := s.nodes[0]
	for i := range 200 {
		if n.c.leading {
			return n
		}
		n = s.nodes[i%len(s.nodes)] // one whose log is behind cannot win
		n.stand()
		n.work()
		s.settle()
	}
	for _, n := range s.nodes {
		s.t.Logf("node %d %x: %+v, last %d of term %d, applied %d, conf %v, %d messages", n.i, n.c.id, n.c.rn.BasicStatus(), n.c.st.lastIndex(), n.c.st.lastTerm(), n.c.applied, n.c.conf, len(s.net))
	}
	s.fatalf("no leader when all is well")
	return nil
}

func (s *sim) caughtUp() bool {
	for _, o := range s.nodes {
		if o.c.image.Version() != s.nodes[0].c.image.Version() {
			return false
		}
	}
	return true
}

// stand has a voter stand for election at once, whatever it believes, by the
// message with which a leader hands over; Raft's own time-outs are drawn from
// no seed of ours.
func (n *simNode) stand() {
	st := n.c.rn.BasicStatus()
	switch {
	case n.c.alone():
		_ = n.c.rn.Campaign()
		return
	case st.RaftState == raft.StateLeader:
		return
	case st.RaftState != raft.StateFollower:
		// A candidate that got no answer: any message of a later term frees it.
		other := n.c.id
		for _, v := range n.c.conf.GetVoters() { // Raft hears voters only
			if v != n.c.id {
				other = v
			}
		}
		_ = n.c.rn.Step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(other), To: new(n.c.id), Term: new(st.GetTerm() + 1)})
	}
	_ = n.c.rn.Step(&pb.Message{Type: pb.MsgTimeoutNow.Enum(), From: new(n.c.id), To: new(n.c.id)})
}

// settle delivers everything, in order.
func (s *sim) settle() {
	for range 5000 {
		if len(s.net) == 0 {
			return
		}
		b := s.net[0]
		s.net = s.net[1:]
		s.hand(b)
	}
}
