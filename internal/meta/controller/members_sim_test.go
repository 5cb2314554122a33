// SPDX-License-Identifier: Apache-2.0

// Goal: whatever brokers do, no acknowledged record is lost, nobody leads
// twice, and nothing is stranded that somebody holds.
//
// Method: plan and sessions as they are, over a metadata log that is one Image;
// brokers are models that follow it late, append, fetch, acknowledge as KIP-966
// says (nothing below min.insync.replicas), and propose ISRs on what they know.
// One goroutine, one seed: killed, stopped, silent and returning brokers, lost
// disks and tails, controllers that begin anew without sessions, refused
// connections, controlled shutdown, preferred leaders, reassignments.
package controller

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
	"gregor/internal/seeds"
)

const simSession = 2 * time.Second

type world struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	now     time.Time
	img     *meta.Image
	history []*meta.Image // all versions, for brokers that lag
	s       *sessions
	brokers []*simBroker
	parts   map[int32]*simPartition
	topic   meta.UUID
	log     []string

	lostDisks bool
}

// simBroker is one node. Logs survive a kill; a lost disk takes them away.
type simBroker struct {
	id       int32
	alive    bool
	frozen   time.Time // stopped until then
	img      *meta.Image
	epoch    int64
	serial   byte // of the incarnation
	dir      byte // of the directory
	wiped    bool // lost its disk, and has not registered since
	stopping bool
	let      bool
	beat     time.Time
	logs     map[int32]*simLog
	leads    map[int32]*simLeader
	tails    map[int32]bool // lost their tails, told when it registers
}

type simLog struct {
	entries []simEntry
}

type simEntry struct{ epoch, id int32 }

// simLeader is what a leader knows in one epoch.
type simLeader struct {
	epoch, partEpoch int32
	isr              []int32
	proposed         []int32
	ends             map[int32]simEnd
	hw               int
}

type simEnd struct {
	end   int
	epoch int64 // of the follower's broker
}

type simPartition struct {
	acked   []int32         // ids that were acknowledged
	leaders map[int32]int32 // epoch -> leader
	next    int32
	clean   bool // no unclean election so far
}

func (w *world) Uint64() uint64 { return w.rng.Uint64() }

// simSchema gives min.insync.replicas and forbids unclean elections.
type simSchema struct{ min int }

func (simSchema) IsList(meta.ResourceType, string) bool { return false }
func (s simSchema) Default(_ meta.ResourceType, key string) (string, bool) {
	if key == "min.insync.replicas" {
		return strconv.Itoa(s.min), true
	}
	return "false", true
}
func (simSchema) Validate(meta.Resource, map[string]string, map[string]string) error { return nil }
func (simSchema) Topic(*meta.Image, map[string]string) []plan.TopicSetting           { return nil }

func (w *world) env() plan.Env {
	return plan.Env{Random: w, Schema: simSchema{w.min()}, Heard: func(id int32) bool { return w.s.heard(id, w.now) },
		Await: func(id int32) { w.s.awaited[id] = true }, Awaited: func(id int32) bool { return w.s.awaited[id] }}
}

func (w *world) min() int { return int(w.seed%3) + 1 }

func newWorld(t *testing.T, seed uint64, brokers, partitions int) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(1e9, 0), img: meta.Empty(),
		s: newSessions(simSession), parts: map[int32]*simPartition{}, topic: meta.UUID{15: 9}}
	w.commit("found", []meta.Record{meta.ClusterRecord{ID: "c"}, meta.TopicRecord{Name: "t", ID: w.topic}})
	for i := range int32(brokers) {
		b := &simBroker{id: i + 1, dir: byte(i + 1), logs: map[int32]*simLog{}}
		w.brokers = append(w.brokers, b)
		w.start(b)
		w.heartbeat(b)
	}
	for p := range int32(partitions) {
		replicas := []int32{}
		for _, i := range w.rng.Perm(brokers)[:min(3, brokers)] {
			replicas = append(replicas, int32(i+1))
		}
		dirs := make([]meta.UUID, len(replicas))
		for i, r := range replicas {
			dirs[i] = w.broker(r).dirID()
		}
		w.parts[p] = &simPartition{leaders: map[int32]int32{}, clean: true}
		w.commit("create", []meta.Record{meta.PartitionRecord{Topic: w.topic, Index: p,
			Partition: meta.Partition{Replicas: replicas, Dirs: dirs, ISR: replicas, Leader: replicas[0]}}})
	}
	return w
}

func (w *world) broker(id int32) *simBroker { return w.brokers[id-1] }

func (b *simBroker) dirID() meta.UUID { return meta.UUID{0: 0xd, 14: byte(b.id), 15: b.dir} }

func (b *simBroker) runs(now time.Time) bool { return b.alive && !now.Before(b.frozen) }

func (b *simBroker) log(p int32) *simLog {
	if b.logs[p] == nil {
		b.logs[p] = &simLog{}
	}
	return b.logs[p]
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%6d ms v%d ", w.now.UnixMilli()-1e12, w.img.Version())+fmt.Sprintf(format, args...))
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	from := max(0, len(w.log)-60)
	for _, l := range w.log[from:] {
		w.t.Log(l)
	}
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

// commit folds records in and checks what must hold of every version.
func (w *world) commit(why string, records []meta.Record) {
	if len(records) == 0 {
		return
	}
	before := w.img
	next, _, err := before.With(records)
	if err != nil {
		w.fatal("%s: %v", why, err)
	}
	w.img = next
	w.history = append(w.history, next)
	w.s.follow(next, w.now, w.now)
	w.note("%s", why)
	t := next.Topic("t")
	for i, p := range t.Partitions() {
		old := before.Partition("t", i)
		if old != nil && p.Equal(old) {
			continue
		}
		w.note("  %d: leader %d epoch %d.%d isr %v elr %v last %v replicas %v", i, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR, p.ELR, p.LastELR, p.Replicas)
		if old != nil {
			w.checkChange(i, old, p)
		}
		w.checkState(i, p)
	}
}

func (w *world) checkChange(i int32, old, p *meta.Partition) {
	switch {
	case p.PartitionEpoch != old.PartitionEpoch+1:
		w.fatal("partition %d: partition epoch %d after %d", i, p.PartitionEpoch, old.PartitionEpoch)
	case p.LeaderEpoch < old.LeaderEpoch, p.Leader != old.Leader && p.LeaderEpoch != old.LeaderEpoch+1:
		w.fatal("partition %d: leader %d of epoch %d after %d of %d", i, p.Leader, p.LeaderEpoch, old.Leader, old.LeaderEpoch)
	}
	if p.Recovering && !old.Recovering {
		// The last known leader: only where nobody who holds all is known.
		if len(old.ISR) > 0 && len(old.ELR) > 0 {
			w.fatal("partition %d: unclean election with ISR %v and ELR %v", i, old.ISR, old.ELR)
		}
		w.parts[i].clean = false
	}
}

func (w *world) checkState(i int32, p *meta.Partition) {
	for _, list := range [][]int32{p.ISR, p.ELR, p.Adding, p.Removing} {
		for _, r := range list {
			if !p.HasReplica(r) {
				w.fatal("partition %d: %d is no replica", i, r)
			}
		}
	}
	for _, r := range p.ELR {
		if p.InSync(r) {
			w.fatal("partition %d: %d is in ISR and ELR", i, r)
		}
	}
	if p.Leader == meta.NoLeader {
		return
	}
	if !p.InSync(p.Leader) {
		w.fatal("partition %d: leader %d is not in the ISR", i, p.Leader)
	}
	sp := w.parts[i]
	if l, ok := sp.leaders[p.LeaderEpoch]; ok && l != p.Leader {
		w.fatal("partition %d: %d and %d lead in epoch %d", i, l, p.Leader, p.LeaderEpoch)
	}
	sp.leaders[p.LeaderEpoch] = p.Leader
}

// checkSeats: whoever has a seat holds all that was acknowledged.
func (w *world) checkSeats() {
	for i, p := range w.img.Topic("t").Partitions() {
		sp := w.parts[i]
		if !sp.clean {
			continue
		}
		for _, r := range slices.Concat(p.ISR, p.ELR) {
			b := w.broker(r)
			if b.wiped || b.tails[i] {
				continue // the controller is not told yet
			}
			if lacking := b.lacks(i, sp.acked); lacking >= 0 {
				w.fatal("partition %d: %d has a seat (isr %v elr %v) but not record %d", i, r, p.ISR, p.ELR, lacking)
			}
		}
	}
}

func (b *simBroker) lacks(p int32, acked []int32) int32 {
	have := map[int32]bool{}
	for _, e := range b.log(p).entries {
		have[e.id] = true
	}
	for _, id := range acked {
		if !have[id] {
			return id
		}
	}
	return -1
}

// start registers a new process of b; refused registrations leave it down.
func (w *world) start(b *simBroker) {
	b.serial++
	r := plan.Registration{ID: b.id, ClusterID: "c", Incarnation: meta.UUID{1: byte(b.id), 2: b.serial}, Dirs: []meta.UUID{b.dirID()},
		Voter: &meta.Controller{ID: b.id, Directory: meta.UUID{5: byte(b.id)}}, Clean: -1, Checked: true}
	for _, p := range sortedKeys(b.tails) {
		r.Losses = append(r.Losses, plan.ReplicaLoss{Topic: w.topic, Partition: p, Loss: plan.LostTail})
	}
	records, epoch, err := plan.RegisterBroker(w.img, r, w.env())
	if errors.Is(err, kerr.DuplicateBrokerRegistration) {
		return
	}
	if err != nil {
		w.fatal("register %d: %v", b.id, err)
	}
	w.commit(fmt.Sprintf("register %d", b.id), records)
	b.alive, b.epoch, b.img, b.leads, b.wiped, b.tails = true, epoch, w.img, map[int32]*simLeader{}, false, nil
	b.stopping, b.let, b.frozen = false, false, time.Time{}
	var moves []plan.DirAssignment
	if w.img.Topic("t") != nil {
		for i, p := range w.img.Topic("t").Partitions() {
			if p.HasReplica(b.id) && p.Dir(b.id) != b.dirID() {
				moves = append(moves, plan.DirAssignment{Dir: b.dirID(), Topic: w.topic, Partition: i})
			}
		}
	}
	if len(moves) > 0 {
		records, _, err := plan.AssignDirs(w.img, b.id, b.epoch, moves, w.env())
		if err != nil {
			w.fatal("assign %d: %v", b.id, err)
		}
		w.commit(fmt.Sprintf("assign %d", b.id), records)
	}
	w.follow(b, w.img)
}

func sortedKeys(m map[int32]bool) (out []int32) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (w *world) kill(b *simBroker) {
	if b.alive {
		w.s.disconnected(b.id, b.epoch) // its connection goes with it
	}
	w.vanish(b)
}

// vanish ends b as a power cut does: nobody hears of it.
func (w *world) vanish(b *simBroker) {
	if b.alive {
		w.note("%d is gone", b.id)
	}
	b.alive, b.leads = false, nil
}

// loseDisk replaces the directory; loseTails cuts logs as an unclean stop of a
// topic that is not durable does.
func (w *world) loseDisk(b *simBroker) {
	w.note("disk of %d is lost", b.id)
	w.lostDisks = true
	b.dir += 20
	b.wiped, b.logs, b.tails = true, map[int32]*simLog{}, nil
}

func (w *world) loseTails(b *simBroker) {
	for _, p := range sortedLogs(b.logs) {
		if l := b.logs[p]; len(l.entries) > 0 && w.rng.IntN(2) == 0 {
			l.entries = l.entries[:w.rng.IntN(len(l.entries)+1)]
			if b.tails == nil {
				b.tails = map[int32]bool{}
			}
			b.tails[p] = true
		}
	}
	w.note("tails of %d are lost: %v", b.id, sortedKeys(b.tails))
}

func sortedLogs(m map[int32]*simLog) (out []int32) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (w *world) heartbeat(b *simBroker) {
	if !b.runs(w.now) {
		return
	}
	b.beat = w.now
	w.follow(b, w.img)
	back := w.s.beat(b.id, b.epoch, b.img.Version(), w.now)
	records, pulse, err := plan.Heartbeat(w.img, plan.Beat{Broker: b.id, Epoch: b.epoch, Applied: b.img.Version(), ShutDown: b.stopping}, w.s.settled(b.id), w.env())
	if err != nil {
		w.fatal("heartbeat of %d: %v", b.id, err)
	}
	w.commit(fmt.Sprintf("heartbeat %d", b.id), records)
	if back {
		w.settle()
	}
	if b.stopping && pulse.ShutDown {
		w.kill(b)
	}
}

func (w *world) settle() {
	for more := true; more; {
		var records []meta.Record
		records, more = plan.Settle(w.img, 3, w.env())
		w.commit("settle", records)
	}
}

// follow has a broker apply a version: it begins and ends to lead.
func (w *world) follow(b *simBroker, img *meta.Image) {
	if b.img != nil && img.Version() < b.img.Version() {
		return
	}
	b.img = img
	t := img.Topic("t")
	if t == nil || !b.alive {
		return
	}
	for i, p := range t.Partitions() {
		l := b.leads[i]
		switch {
		case p.Leader != b.id:
			delete(b.leads, i)
		case l == nil || l.epoch != p.LeaderEpoch:
			b.leads[i] = &simLeader{epoch: p.LeaderEpoch, partEpoch: p.PartitionEpoch, isr: p.ISR, ends: map[int32]simEnd{}}
		case p.PartitionEpoch > l.partEpoch:
			l.partEpoch, l.isr, l.proposed = p.PartitionEpoch, p.ISR, nil
		}
		if l := b.leads[i]; l != nil {
			w.advance(b, i, l)
		}
	}
}

// advance moves the high watermark as KIP-966 lets it.
func (w *world) advance(b *simBroker, i int32, l *simLeader) {
	p := b.img.Partition("t", i)
	if len(l.isr) < min(w.min(), len(p.Replicas)) {
		return
	}
	hw := len(b.log(i).entries)
	for _, r := range slices.Concat(l.isr, l.proposed) {
		if r != b.id {
			hw = min(hw, l.ends[r].end)
		}
	}
	for ; l.hw < hw; l.hw++ {
		if id := b.log(i).entries[l.hw].id; !slices.Contains(w.parts[i].acked, id) {
			w.parts[i].acked = append(w.parts[i].acked, id)
		}
	}
}

func (w *world) append(b *simBroker, i int32) {
	if l := b.leads[i]; l != nil && b.runs(w.now) {
		w.parts[i].next++
		b.log(i).entries = append(b.log(i).entries, simEntry{l.epoch, w.parts[i].next})
		w.advance(b, i, l)
	}
}

// fetch: f asks whom it takes for the leader; both must be of one epoch.
func (w *world) fetch(f *simBroker, i int32) {
	if !f.runs(w.now) {
		return
	}
	p := f.img.Partition("t", i)
	if p == nil || p.Leader == meta.NoLeader || p.Leader == f.id || !p.HasReplica(f.id) {
		return
	}
	b := w.broker(p.Leader)
	l := b.leads[i]
	if !b.runs(w.now) || l == nil || l.epoch != p.LeaderEpoch {
		return
	}
	theirs, own := b.log(i), f.log(i)
	same := 0
	for same < len(own.entries) && same < len(theirs.entries) && own.entries[same] == theirs.entries[same] {
		same++
	}
	own.entries = own.entries[:same]
	// The position of this fetch is what it has; what it takes counts with the next.
	l.ends[f.id] = simEnd{same, f.epoch}
	n := w.rng.IntN(3)
	own.entries = append(own.entries, theirs.entries[same:min(len(theirs.entries), same+n)]...)
	w.advance(b, i, l)
}

// propose: a leader wants somebody in or (shrink) out.
func (w *world) propose(b *simBroker, i int32, shrink bool) {
	l := b.leads[i]
	if l == nil || !b.runs(w.now) {
		return
	}
	p := b.img.Partition("t", i)
	isr := slices.Clone(l.isr)
	r := p.Replicas[w.rng.IntN(len(p.Replicas))]
	switch {
	case r == b.id:
		return
	case slices.Contains(isr, r) && !shrink:
		return
	case slices.Contains(isr, r):
		isr = slices.DeleteFunc(isr, func(x int32) bool { return x == r })
	case l.ends[r].epoch != 0 && l.ends[r].end >= l.hw && l.ends[r].end >= len(b.log(i).entries):
		isr = append(isr, r)
		l.proposed = isr
		w.advance(b, i, l)
	default:
		return
	}
	a := plan.ISRProposal{Topic: w.topic, Partition: i, LeaderEpoch: l.epoch, PartitionEpoch: l.partEpoch}
	for _, m := range isr {
		e := int64(-1)
		if x, ok := l.ends[m]; ok && m == r {
			e = x.epoch
		}
		a.ISR = append(a.ISR, plan.ISRMember{Broker: m, Epoch: e})
	}
	records, _, err := plan.AlterPartition(w.img, b.id, b.epoch, []plan.ISRProposal{a}, w.env())
	if err == nil {
		w.commit(fmt.Sprintf("isr of %d", b.id), records)
	}
	if w.rng.IntN(2) == 0 {
		w.follow(b, w.img)
	}
}

// newController forgets all sessions.
func (w *world) newController() {
	w.note("a new controller")
	w.s = newSessions(simSession)
	w.s.lead(w.img, w.rng.Int32N(int32(len(w.brokers)))+1, w.now)
}

func (w *world) tick() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(200)) * time.Millisecond)
	if ids := w.s.expired(w.now); len(ids) > 0 {
		w.commit(fmt.Sprintf("fence %v", ids), plan.FenceBrokers(w.img, ids, w.env()))
	}
	for _, b := range w.brokers {
		if b.alive && w.now.Sub(b.beat) > 400*time.Millisecond {
			w.heartbeat(b)
		}
	}
}

func (w *world) reassign() {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.AllowReplicationFactorChange = true
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = "t"
	rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	rp.Partition = w.rng.Int32N(int32(len(w.parts)))
	if w.rng.IntN(3) > 0 {
		for _, i := range w.rng.Perm(len(w.brokers))[:1+w.rng.IntN(3)] {
			rp.Replicas = append(rp.Replicas, int32(i+1))
		}
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	records, _ := plan.AlterReassignments(w.img, req, w.env())
	w.commit("reassign", records)
}

// step does one thing; disasters are rare.
func (w *world) step() {
	b := w.brokers[w.rng.IntN(len(w.brokers))]
	i := w.rng.Int32N(int32(len(w.parts)))
	switch n := w.rng.IntN(1000); {
	case n < 250:
		w.append(b, i)
	case n < 600:
		w.fetch(b, i)
	case n < 700:
		w.propose(b, i, true)
	case n < 800:
		if b.runs(w.now) { // some version between its own and the newest
			own := b.img.Version()
			w.follow(b, w.history[own-1+w.rng.Int64N(w.img.Version()-own+1)])
		}
	case n < 900:
		w.tick()
	case n < 920:
		if w.kill(b); w.rng.IntN(5) == 0 {
			w.loseTails(b)
		}
	case n < 970:
		if !b.alive {
			w.start(b)
		}
	case n < 975:
		if b.alive {
			b.frozen = w.now.Add(time.Duration(w.rng.IntN(6000)) * time.Millisecond)
		}
	case n < 979:
		w.newController()
	case n < 982:
		if b.alive && !w.img.Broker(b.id).Fenced {
			b.stopping = true
		}
	case n < 985:
		records, _ := plan.PreferLeaders(w.img, 5, w.env())
		w.commit("prefer", records)
	case n < 990: // the host refuses connections
		if !b.alive {
			w.commit("refused", plan.FenceBrokers(w.img, []int32{b.id}, w.env()))
		}
	case n < 993:
		w.reassign()
	case n < 994:
		if !b.alive && w.rng.IntN(4) == 0 {
			w.loseDisk(b)
		}
	case n < 995:
		for _, b := range w.brokers {
			w.kill(b)
		}
		w.newController()
	}
	w.checkSeats()
}

// heal lets everybody come back and catch up.
func (w *world) heal() {
	for _, b := range w.brokers {
		if b.frozen = (time.Time{}); b.stopping {
			w.kill(b) // it never comes back from that
		}
	}
	for range 60 {
		for _, j := range w.rng.Perm(len(w.brokers)) {
			b := w.brokers[j]
			if !b.alive {
				w.start(b)
			}
			w.heartbeat(b)
			w.checkSeats()
		}
		for i := range int32(len(w.parts)) {
			for _, b := range w.brokers {
				w.fetch(b, i)
				w.append(b, i)
			}
			for _, b := range w.brokers {
				w.catchUp(b, i)
			}
		}
		w.tick()
		w.checkSeats()
	}
}

// catchUp adds every replica that has everything.
func (w *world) catchUp(b *simBroker, i int32) {
	if l := b.leads[i]; l != nil {
		for range 4 {
			for _, f := range w.brokers {
				for range 20 {
					w.fetch(f, i)
				}
			}
			before := len(l.isr)
			w.propose(b, i, false)
			w.follow(b, w.img)
			if l = b.leads[i]; l == nil || len(l.isr) < before {
				return
			}
		}
	}
}

func TestMembersSim(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 16, 12) {
		w := newWorld(t, seed, 3+int(seed%3), 4)
		for range 3000 {
			w.step()
		}
		w.heal()
		for i, p := range w.img.Topic("t").Partitions() {
			// With a disk lost, nobody can know that another replica holds all.
			if p.Leader == meta.NoLeader && !w.lostDisks {
				w.fatal("partition %d has no leader, though no disk was lost: %+v", i, p)
			}
		}
	}
}

// TestAllKilledAtOnceSim: all brokers die at one moment, one disk is lost, and
// they come back in any order, before or after their sessions ended: every
// partition is led again, by somebody who holds all that was acknowledged.
func TestAllKilledAtOnceSim(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 16, 12) {
		w := newWorld(t, seed, 3+int(seed%3), 4)
		w.heal()
		for i, p := range w.img.Topic("t").Partitions() {
			if len(p.ISR) != len(p.Replicas) {
				w.fatal("partition %d is not in sync before the test: %+v", i, p)
			}
		}
		lost := w.brokers[w.rng.IntN(len(w.brokers))]
		if seed/6%2 == 0 { // its whole machine, so that its connections stay open
			w.vanish(lost)
		}
		for _, b := range w.brokers {
			w.kill(b)
		}
		if seed%2 == 0 {
			w.newController() // the controllers died too
		}
		w.loseDisk(lost)
		soon := w.rng.IntN(2) == 0 // the others are back before anybody misses that one
		for range w.rng.IntN(40) {
			if !soon {
				w.tick()
			}
		}
		for _, j := range w.rng.Perm(len(w.brokers)) {
			if soon && w.brokers[j] == lost {
				continue // after the others: heal starts it
			}
			for range w.rng.IntN(8) {
				w.tick()
			}
			w.start(w.brokers[j])
			if soon {
				w.heartbeat(w.brokers[j])
			}
			w.checkSeats()
		}
		w.heal()
		for i, p := range w.img.Topic("t").Partitions() {
			if p.Leader == meta.NoLeader || p.Recovering || w.broker(p.Leader).lacks(i, w.parts[i].acked) >= 0 {
				w.fatal("partition %d is stranded or lost records: %+v", i, p)
			}
		}
	}
}
