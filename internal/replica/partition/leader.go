// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"errors"
	"slices"
	"time"

	"gregor/internal/invariant"
)

// Replica is the node id of one replica.
type Replica int32

// Unknown is the position of a replica that has not been heard of since the
// election.
const Unknown int64 = -1

// ErrNotEnoughReplicas refuses an append that asks for all in-sync replicas
// while there are fewer than the minimum.
var ErrNotEnoughReplicas = errors.New("partition: in-sync set is below the minimum")

// State is a partition as the controller committed it.
type State struct {
	Leader         Replica
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []Replica // the assignment, preferred leader first
	ISR            []Replica // the committed in-sync set
}

// Config is what a topic and the broker say about all of this.
type Config struct {
	MinISR  int           // min.insync.replicas, at least 1
	Durable bool          // count flushed ends
	MaxLag  time.Duration // replica.lag.time.max.ms
}

// ISRChange is a proposal to the controller. It holds for the named epochs
// only.
type ISRChange struct {
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []Replica
	// Epochs stand beside ISR: the broker epoch under which each member last
	// fetched, NoBroker where the leader has not heard of it, and for itself.
	Epochs []int64
	// Shrinks: it drops members; else it adds some.
	Shrinks bool
}

// NoBroker is the broker epoch of a replica that is not alive, or not known.
const NoBroker int64 = -1

// Life is a stretch of a replica's history in which its log only grew. A new
// one begins with each registration of its broker and with each truncation, and
// sorts after those before. So of one life the largest position is the newest,
// in whatever order and however often messages come.
type Life struct {
	Broker int64 // broker epoch
	Cut    int64 // counts truncations under that epoch
}

func (a Life) before(b Life) bool {
	return a.Broker < b.Broker || a.Broker == b.Broker && a.Cut < b.Cut
}

// Position is how far a replica has come, told by itself.
type Position struct {
	End     int64 // it has written everything before
	Flushed int64 // and flushed everything before
	Life    Life
}

// Effects is what the caller has to do after an event, in this order: publish
// HW and wake who waits there if Wake is set; send Propose if it is not nil.
type Effects struct {
	HW      int64
	Wake    bool
	Propose *ISRChange
}

// Leader is one partition's state while this node leads it, for one leader
// epoch. The zero value is not usable; make one with Lead.
type Leader struct {
	self       Replica
	config     Config
	state      State
	proposed   *ISRChange
	epochStart int64
	end        int64
	flushed    int64
	hw         int64
	peers      []peer // the other replicas, in the order of the assignment
}

// peer is what the leader knows of one follower.
type peer struct {
	id      Replica
	end     int64
	flushed int64
	start   int64
	life    Life
	broker  int64 // the epoch the controller knows; NoBroker: gone, fenced or stopping

	// caughtUp is the last time at which the peer had everything that the
	// leader had at that time. At markAt the leader's log ended at markEnd: a
	// position that reaches it proves the peer caught up as of markAt, and then
	// the mark moves on. (Kafka renews it with each fetch. A peer that fetches
	// more often than it flushes would never reach such a mark.)
	caughtUp time.Time
	markAt   time.Time
	markEnd  int64

	// owes is where the leader's log ended when the peer was taken out of the
	// in-sync set, until it has come past that or is in again; else Unknown. It
	// is not waited for meanwhile: the controller may know why it cannot come,
	// though its broker lives (its log directory failed, or its disk hangs).
	//
	// Differs from Kafka: Partition.scala waits for it, until
	// replica.lag.time.max.ms after it was last caught up.
	owes int64
	// shown: it was heard of since it was taken out, or since the controller
	// would not have it. Else it is not proposed: it may not know yet.
	shown bool
}

// eligible: may join the in-sync set, or is about to.
func (p *peer) eligible() bool { return p.broker != NoBroker && p.broker == p.life.Broker }

// Lead begins to lead at s.LeaderEpoch. The log ends at end and is durable up
// to flushed; hw is the high watermark this replica knew, which can only be
// too low. The effects say where it stands now.
func Lead(c Config, self Replica, s State, end, flushed, hw int64, now time.Time) (*Leader, Effects) {
	l := &Leader{self: self, config: c, epochStart: end, end: end, flushed: flushed, hw: min(hw, end)}
	l.adopt(s, now)
	return l, l.advance(now)
}

// Configure changes the rules of a partition that is being led.
func (l *Leader) Configure(c Config, now time.Time) Effects {
	l.config = c
	return l.advance(now)
}

// Changed tells of a newer committed state under the same leader epoch. An
// older or equal partition epoch is ignored.
func (l *Leader) Changed(s State, now time.Time) Effects {
	invariant.Holds(s.LeaderEpoch == l.state.LeaderEpoch, "state of leader epoch %d given to the leader of epoch %d", s.LeaderEpoch, l.state.LeaderEpoch)
	if s.PartitionEpoch <= l.state.PartitionEpoch {
		return Effects{HW: l.hw}
	}
	missed := s.PartitionEpoch > l.state.PartitionEpoch+1
	l.proposed = nil
	for i := range l.peers {
		if p := &l.peers[i]; slices.Contains(l.state.ISR, p.id) && !slices.Contains(s.ISR, p.id) {
			p.owes, p.shown = l.end, false
		}
	}
	l.adopt(s, now)
	if missed {
		l.forget()
	}
	return l.join(l.advance(now))
}

// forget: states were passed over in which a replica may have been taken away,
// with its log, and given back. Who is no member joins by what it fetches next.
func (l *Leader) forget() {
	for i := range l.peers {
		if p := &l.peers[i]; !slices.Contains(l.state.ISR, p.id) {
			p.end, p.flushed, p.start = Unknown, Unknown, Unknown
			p.caughtUp, p.markAt = time.Time{}, time.Time{}
		}
	}
}

// Refused ends the proposal on its way, which the controller did not accept.
// What it did accept comes through Changed. It is not proposed again before
// the next event: the reason may still hold.
func (l *Leader) Refused(c *ISRChange, now time.Time) Effects {
	if c != l.proposed {
		return Effects{HW: l.hw}
	}
	for i := range l.peers {
		if p := &l.peers[i]; slices.Contains(c.ISR, p.id) && !slices.Contains(l.state.ISR, p.id) {
			p.shown = false
		}
	}
	l.proposed = nil
	return l.advance(now)
}

// Admit tells whether an append may be made. all: the producer waits for the
// in-sync set.
func (l *Leader) Admit(all bool) error {
	if all && l.underMin() {
		return ErrNotEnoughReplicas
	}
	return nil
}

// Kept tells whether what has been appended is held by enough replicas now
// that the high watermark has reached it.
func (l *Leader) Kept() bool { return l.minISR() <= l.maximalSize() }

// Wrote tells of the leader's own log: it ends at end, durable up to flushed.
// Events may come out of order; only growth counts.
func (l *Leader) Wrote(end, flushed int64, now time.Time) Effects {
	if end > l.end {
		for i := range l.peers {
			if p := &l.peers[i]; l.position(p) >= l.end {
				p.caughtUp = later(p.caughtUp, now) // so it was until this write
			}
		}
		l.end = end
	}
	l.flushed = max(l.flushed, flushed)
	return l.advance(now)
}

// Fetched tells that r asked for the records from at.End on. It is false, and
// nothing has changed, when r is no replica or has begun a newer life.
func (l *Leader) Fetched(r Replica, at Position, now time.Time) (Effects, bool) {
	p := l.peer(r)
	if p == nil || at.Life.before(p.life) {
		return Effects{HW: l.hw}, false
	}
	if at.Life != p.life {
		p.life, p.end, p.flushed = at.Life, Unknown, Unknown
	}
	p.end = max(p.end, at.End)
	p.flushed = max(p.flushed, min(at.Flushed, at.End))
	return l.heard(p, now), true
}

// Flushed tells that r, in the life in which it fetched last, has flushed up
// to flushed, and so has written that much. It is false, and nothing has
// changed, for news of another life: the fetch that began it is still to come,
// or another has overtaken it.
func (l *Leader) Flushed(r Replica, life Life, flushed int64, now time.Time) (Effects, bool) {
	p := l.peer(r)
	if p == nil || p.life != life || p.end == Unknown {
		return Effects{HW: l.hw}, false
	}
	p.end, p.flushed = max(p.end, flushed), max(p.flushed, flushed)
	return l.heard(p, now), true
}

// heard: p's position may have moved.
func (l *Leader) heard(p *peer, now time.Time) Effects {
	pos := l.position(p)
	p.shown = true
	if pos > p.owes {
		p.owes = Unknown
	}
	if pos >= l.end {
		p.caughtUp = later(p.caughtUp, now)
	}
	if !p.markAt.IsZero() && pos >= p.markEnd {
		p.caughtUp = later(p.caughtUp, p.markAt)
		p.markAt = time.Time{}
	}
	if p.markAt.IsZero() {
		p.markAt, p.markEnd = now, l.end
	}
	return l.join(l.advance(now))
}

// join proposes to let in who is in sync and not a member.
func (l *Leader) join(e Effects) Effects {
	if l.proposed != nil {
		return e
	}
	var in []Replica
	for i := range l.peers {
		if p := &l.peers[i]; p.shown && p.eligible() && l.inSync(p) && !slices.Contains(l.state.ISR, p.id) {
			in = append(in, p.id)
		}
	}
	if len(in) > 0 {
		e.Propose = l.propose(append(slices.Clone(l.state.ISR), in...))
	}
	return e
}

// Started tells where r's log begins.
func (l *Leader) Started(r Replica, start int64) {
	if p := l.peer(r); p != nil {
		p.start = start
	}
}

// Broker tells the broker epoch under which the controller knows r, NoBroker
// while it is gone, fenced or stopping. Only under that epoch may r join the
// in-sync set.
func (l *Leader) Broker(r Replica, epoch int64, now time.Time) Effects {
	if p := l.peer(r); p != nil {
		p.shown = p.shown || epoch != p.broker // it is back, or another process
		p.broker = epoch
	}
	return l.join(l.advance(now))
}

// Tick proposes to drop members that have not been caught up for longer than
// Config.MaxLag, or else to let in who should have been. Kafka looks every half
// of that time.
func (l *Leader) Tick(now time.Time) Effects {
	e := l.advance(now)
	if l.proposed != nil {
		return e
	}
	keep := slices.DeleteFunc(slices.Clone(l.state.ISR), func(r Replica) bool {
		p := l.peer(r)
		return r != l.self && (p == nil || !l.caughtUp(p, now))
	})
	if len(keep) < len(l.state.ISR) {
		e.Propose = l.propose(keep)
		return e
	}
	return l.join(e)
}

// IsReplica tells whether r is assigned the partition, and is not this node.
func (l *Leader) IsReplica(r Replica) bool { return l.peer(r) != nil }

// HW is the high watermark.
func (l *Leader) HW() int64 { return l.hw }

// State is the committed state.
func (l *Leader) State() State { return l.state }

// EpochStart is where the log ended when this node began to lead.
func (l *Leader) EpochStart() int64 { return l.epochStart }

// Proposed tells whether a change is on its way to the controller.
func (l *Leader) Proposed() bool { return l.proposed != nil }

// UnderMin, AtMin and UnderReplicated compare the committed in-sync set with
// the minimum and with the assignment.
func (l *Leader) UnderMin() bool { return l.underMin() }

// AtMin: one replica less would be too few.
func (l *Leader) AtMin() bool { return len(l.state.ISR) == l.minISR() }

// UnderReplicated: not every replica is in sync.
func (l *Leader) UnderReplicated() bool { return len(l.state.ISR) < len(l.state.Replicas) }

// HWInEpoch tells whether the high watermark has reached the start of this
// epoch. Before that a look-up of the latest offset could go back in time.
func (l *Leader) HWInEpoch() bool { return l.hw >= l.epochStart }

// LowWatermark is the smallest start among this log's and those of the live
// replicas.
func (l *Leader) LowWatermark(start int64) int64 {
	for i := range l.peers {
		if p := &l.peers[i]; p.broker != NoBroker && p.start != Unknown && p.start < start {
			start = p.start
		}
	}
	return start
}

// Nearest is the in-sync replica, of those that ok names, that holds the
// records from an offset on and is furthest; Nobody if there is none.
func (l *Leader) Nearest(from int64, ok func(Replica) bool) Replica {
	best, end := Nobody, Unknown
	for i := range l.peers {
		p := &l.peers[i]
		if slices.Contains(l.state.ISR, p.id) && p.end >= from && p.start != Unknown && p.start <= from && p.end > end && ok(p.id) {
			best, end = p.id, p.end
		}
	}
	return best
}

// Nobody is no replica.
const Nobody Replica = -1

// Lag is by how many records r is behind the leader's end, Unknown if it has
// not fetched.
func (l *Leader) Lag(r Replica) int64 {
	p := l.peer(r)
	if p == nil || l.position(p) == Unknown {
		return Unknown
	}
	return max(0, l.end-l.position(p))
}

// Reached is the least position that r has, Unknown if it has not fetched.
func (l *Leader) Reached(r Replica) int64 {
	if p := l.peer(r); p != nil {
		return l.position(p)
	}
	return Unknown
}

func (l *Leader) adopt(s State, now time.Time) {
	first := l.state.Replicas == nil
	peers := make([]peer, 0, len(s.Replicas))
	for _, r := range s.Replicas {
		if r == l.self {
			continue
		}
		if p := l.peer(r); p != nil {
			if slices.Contains(s.ISR, r) {
				p.owes = Unknown
			}
			peers = append(peers, *p)
			continue
		}
		p := peer{id: r, end: Unknown, flushed: Unknown, start: Unknown, owes: Unknown, life: Life{Broker: NoBroker}, broker: NoBroker}
		// Members get MaxLag from the election on to show themselves.
		if first && slices.Contains(s.ISR, r) {
			p.caughtUp = now
		}
		peers = append(peers, p)
	}
	l.state, l.peers = s, peers
}

func (l *Leader) propose(isr []Replica) *ISRChange {
	slices.Sort(isr)
	epochs := make([]int64, len(isr))
	for i, r := range isr {
		epochs[i] = NoBroker
		if p := l.peer(r); p != nil {
			epochs[i] = p.life.Broker
		}
	}
	l.proposed = &ISRChange{LeaderEpoch: l.state.LeaderEpoch, PartitionEpoch: l.state.PartitionEpoch, ISR: isr, Epochs: epochs, Shrinks: len(isr) < len(l.state.ISR)}
	return l.proposed
}

// advance moves the high watermark as far as every replica that counts has
// come.
func (l *Leader) advance(now time.Time) Effects {
	if l.underMin() {
		return Effects{HW: l.hw}
	}
	to := l.end
	if l.config.Durable {
		to = l.flushed
	}
	for i := range l.peers {
		p := &l.peers[i]
		if pos := l.position(p); pos < to && (l.member(p.id) || p.eligible() && p.owes == Unknown && l.caughtUp(p, now)) {
			to = pos
		}
	}
	if to <= l.hw {
		return Effects{HW: l.hw}
	}
	if to > l.end { // asked here, for the arguments would be allocated
		invariant.Holds(false, "high watermark %d past the log end %d", to, l.end)
	}
	l.hw = to
	return Effects{HW: to, Wake: true}
}

func (l *Leader) peer(r Replica) *peer {
	for i := range l.peers {
		if l.peers[i].id == r {
			return &l.peers[i]
		}
	}
	return nil
}

func (l *Leader) position(p *peer) int64 {
	if l.config.Durable {
		return p.flushed
	}
	return p.end
}

// member: of the maximal in-sync set.
func (l *Leader) member(r Replica) bool {
	return slices.Contains(l.state.ISR, r) || l.proposed != nil && slices.Contains(l.proposed.ISR, r)
}

func (l *Leader) maximalSize() int {
	n := len(l.state.ISR)
	if l.proposed != nil {
		for _, r := range l.proposed.ISR {
			if !slices.Contains(l.state.ISR, r) {
				n++
			}
		}
	}
	return n
}

func (l *Leader) minISR() int    { return min(l.config.MinISR, len(l.state.Replicas)) }
func (l *Leader) underMin() bool { return len(l.state.ISR) < l.minISR() }

// inSync: may join. Below the epoch's start there may be committed records
// that the peer does not have yet, although it has reached the high watermark
// as this leader knows it.
func (l *Leader) inSync(p *peer) bool {
	pos := l.position(p)
	return pos >= l.hw && pos >= l.epochStart
}

func (l *Leader) caughtUp(p *peer, now time.Time) bool {
	return l.position(p) >= l.end || !p.caughtUp.IsZero() && now.Sub(p.caughtUp) <= l.config.MaxLag
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
