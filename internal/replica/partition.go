// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/invariant"
	"gregor/internal/meta"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
)

// Partition is one partition hosted here.
//
// Three locks, taken in this order and each only by this package:
//
//	turn   read-held across an append, write-held by a change of leadership:
//	       when the change is made, no append of the old epoch is under way,
//	       and no cut of the log: a change that finds one is made at its end
//	mu     guards the fields below it; a leaf but for the log's own lock; no
//	       I/O beneath it
//	log    the log's own
//
// What appends and reads need to know is published: role, config and log as
// pointers to what does not change, hw and lso as numbers. A read takes no
// lock here.
type Partition struct {
	table *Table
	topic string
	id    meta.UUID
	index int32

	turn    sync.RWMutex
	role    atomic.Pointer[role]
	config  atomic.Pointer[TopicConfig]
	log     atomic.Pointer[storage.Log] // nil: its directory is offline
	future  atomic.Pointer[storage.Log] // nil: it does not move to another
	hw      atomic.Int64
	lso     atomic.Int64
	lag     atomic.Int64 // of a follower behind its leader's high watermark
	fails   atomic.Bool  // of a follower: its fetches fail
	seat    atomic.Pointer[seat]
	damaged atomic.Bool // the log has damage, and other replicas may not

	mu       sync.Mutex
	leader   *partition.Leader   // nil: not the leader
	follower *partition.Follower // nil: not a follower
	ledSince int32               // first leader epoch of the unbroken lead
	offline  bool
	closed   bool // deleted, moved away, or the table is closed
	end      int64
	unseen   int // about the bytes between hw and end
	// lostTail is the newest leader epoch in a log that may have lost records:
	// this node leads again only in a newer one.
	lostTail      int32
	waitsForEpoch bool // the controller was asked for that epoch
	// anew: the log must have been there and was not; promised: its directory
	// knew it. home is the directory that the metadata name for it.
	anew, promised bool
	home           meta.UUID
	gate           gate

	// Of a follower: who fetches for it; the number of its last cut; what the
	// leader was last told to be flushed; whether news of more is queued;
	// while the log is being cut, what is closed when that is over; and the
	// state to be taken then.
	fetcher    *fetcher
	cut        int64
	told       int64
	newsQueued bool
	cutting    chan struct{} // begins under turn read-held, ends under turn
	awaiting   *meta.Partition
}

// role is what this node is to the partition; never changed once published.
type role struct {
	leads     bool
	follows   bool
	leader    int32 // who leads, meta.NoLeader
	epoch     int32
	underMin  bool // fewer in-sync replicas than the minimum
	hasPeers  bool
	epochFrom int64 // log end when the epoch began
	refusal   *kerr.Error
}

// Topic, ID and Index name the partition; they never change.
func (p *Partition) Topic() string { return p.topic }

// ID is the topic's id.
func (p *Partition) ID() [16]byte { return p.id }

// Index is the partition's number in its topic.
func (p *Partition) Index() int32 { return p.index }

// LeaderEpoch is the partition's leader epoch as this node knows it, and
// whether it leads.
func (p *Partition) LeaderEpoch() (epoch int32, leads bool) {
	r := p.role.Load()
	return r.epoch, r.leads
}

// Log is the partition's log, nil while its directory is offline. It is for
// compaction and tools; records go through Append and Read.
func (p *Partition) Log() *storage.Log { return p.log.Load() }

// HighWatermark is the end of what is committed.
func (p *Partition) HighWatermark() int64 { return p.hw.Load() }

// LastStable is the end of what is committed and decided: below it no
// transaction is open.
func (p *Partition) LastStable() int64 { return p.lso.Load() }

// LogStart is the log's first offset, -1 while its directory is offline.
func (p *Partition) LogStart() int64 {
	if l := p.log.Load(); l != nil {
		return l.Start()
	}
	return -1
}

// LogEnd is the next offset, -1 while the log's directory is offline.
func (p *Partition) LogEnd() int64 {
	if l := p.log.Load(); l != nil {
		return l.End()
	}
	return -1
}

// Status is what metrics and tools show of a partition.
type Status struct {
	Leads           bool
	Offline         bool
	LeaderEpoch     int32
	UnderMin        bool
	AtMin           bool
	UnderReplicated bool
	Waiting         int // requests at its gate
	Readers         int // of these, the ones that wait for records
	Follows         bool
	Lag             int64 // of a follower, in records behind the leader's high watermark
	FetchFails      bool  // of a follower: it cannot be fetched at the moment
}

// Status tells how the partition stands.
func (p *Partition) Status() Status {
	r := p.role.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Leads: r.leads, LeaderEpoch: r.epoch, Offline: p.offline, Waiting: p.gate.waiting(), Readers: len(p.gate.readers)}
	s.Follows, s.Lag, s.FetchFails = p.follower != nil, p.lag.Load(), p.fails.Load()
	if p.leader != nil {
		s.UnderMin, s.AtMin, s.UnderReplicated = p.leader.UnderMin(), p.leader.AtMin(), p.leader.UnderReplicated()
	}
	return s
}

// bound is the end that an isolation level may read.
func (p *Partition) bound(iso Isolation) int64 {
	switch iso {
	case ReadUncommitted:
		return p.hw.Load()
	case ReadCommitted:
		return p.lso.Load()
	default:
		return p.log.Load().End()
	}
}

// become takes the partition's new committed state. Leading begins or ends
// here and nowhere else. Where a cut of the log is under way it begins at the
// cut's end, and nobody is served until then: who brings the news is not to
// wait for a disk.
func (p *Partition) become(m *meta.Partition, self int32, now time.Time) error {
	if p.goesOn(m, self, now) {
		return nil
	}
	p.turn.Lock()
	defer p.turn.Unlock()
	if p.goesOn(m, self, now) || p.postpone(m, self) { // a cut may have ended meanwhile
		return nil
	}
	return p.begin(m, self, now)
}

// goesOn takes a state under which this node leads or follows as before.
func (p *Partition) goesOn(m *meta.Partition, self int32, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.home = m.Dir(self)
	if p.lostTail >= 0 && !p.table.settled.Load() {
		// The metadata are followed from some time ago on, and the controller
		// does not know of the loss yet: this election did not count with it.
		p.lostTail = max(p.lostTail, m.LeaderEpoch)
	}
	if l := p.leader; l != nil && m.Leader == self && m.LeaderEpoch == l.State().LeaderEpoch {
		p.settle(l.Changed(stateOf(m), now))
		p.knowBrokers(now)
		p.publish()
		p.sit(seatOf(m, self))
		return true
	}
	if r := p.role.Load(); p.follower != nil && m.Leader == r.leader && m.LeaderEpoch == r.epoch {
		p.sit(seatOf(m, self))
		return true
	}
	return false
}

func stateOf(m *meta.Partition) partition.State {
	return partition.State{
		Leader: partition.Replica(m.Leader), LeaderEpoch: m.LeaderEpoch, PartitionEpoch: m.PartitionEpoch,
		Replicas: replicas(m.Replicas), ISR: replicas(m.ISR),
	}
}

// postpone keeps the state until the cut under way is over; false when there is
// none. turn is held.
func (p *Partition) postpone(m *meta.Partition, self int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutting == nil {
		return false
	}
	p.awaiting = m
	p.unfollow()
	refusal := kerr.NotLeaderForPartition
	if p.offline {
		refusal = kerr.KafkaStorageError
	}
	p.role.Store(&role{leader: m.Leader, epoch: m.LeaderEpoch, refusal: refusal, hasPeers: true})
	p.gate.release()
	p.sit(seatOf(m, self))
	return true
}

// uncut takes turn when the log is not being cut.
func (p *Partition) uncut() {
	for {
		p.turn.Lock()
		p.mu.Lock()
		over := p.cutting
		p.mu.Unlock()
		if over == nil {
			return
		}
		p.turn.Unlock()
		<-over
	}
}

// begin is become for a new leader or leader epoch; turn is held.
func (p *Partition) begin(m *meta.Partition, self int32, now time.Time) error {
	log := p.log.Load()
	var err error
	leads := m.Leader == self && log != nil && m.LeaderEpoch > p.lostTail
	if leads && log.LatestEpoch() < m.LeaderEpoch {
		// Before any append, so that OffsetForLeaderEpoch is right from the
		// election on. The one write beneath turn: appends have to wait for it.
		err = log.AssignEpoch(m.LeaderEpoch, log.End())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.sit(seatOf(m, self))
	p.unfollow()
	if !leads || err != nil {
		p.leader = nil
		refusal := kerr.NotLeaderForPartition
		if err != nil || p.offline {
			refusal = kerr.KafkaStorageError
		}
		follows := err == nil && !p.offline && log != nil && m.Leader != self && m.Leader != meta.NoLeader
		p.role.Store(&role{follows: follows, leader: m.Leader, epoch: m.LeaderEpoch, refusal: refusal, hasPeers: true})
		p.end, p.unseen = 0, 0
		if follows {
			p.end = log.End()
			p.follow(m.Leader, m.LeaderEpoch, log)
		}
		p.gate.release()
		if err != nil {
			return fmt.Errorf("lead %s-%d in epoch %d: %w", p.topic, p.index, m.LeaderEpoch, err)
		}
		return nil
	}
	if p.leader == nil {
		p.ledSince = m.LeaderEpoch
	}
	var e partition.Effects
	p.end = log.End()
	p.leader, e = partition.Lead(p.rules(), partition.Replica(self), stateOf(m), p.end, log.Flushed(), max(p.hw.Load(), log.HighWatermark()), now)
	p.unseen = 0
	e.Wake = true // also where the watermark stands still: it may be news here
	p.settle(e)
	p.knowBrokers(now)
	p.publish()
	// Readers come again and learn the new epoch; who waits for an append of
	// the epoch before still waits, for the lead is unbroken.
	for _, r := range p.gate.readers {
		r.waker.Wake(manyBytes)
	}
	return nil
}

// rules are those of partition.Leader.
func (p *Partition) rules() partition.Config {
	c := p.config.Load()
	return partition.Config{MinISR: max(c.MinISR, 1), Durable: c.Log.Durable, MaxLag: p.table.config.MaxLag}
}

// publish renews the role from the leader's state.
func (p *Partition) publish() {
	s := p.leader.State()
	r := &role{
		leads: true, leader: int32(s.Leader), epoch: s.LeaderEpoch, underMin: p.leader.UnderMin(),
		hasPeers: len(s.Replicas) > 1, epochFrom: p.leader.EpochStart(),
	}
	if old := p.role.Load(); old == nil || *old != *r {
		p.role.Store(r)
	}
}

// configure takes the topic's new configuration.
func (p *Partition) configure(c *TopicConfig, now time.Time) {
	p.config.Store(c)
	if log := p.log.Load(); log != nil {
		log.Configure(c.Log)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.leader != nil:
		p.settle(p.leader.Configure(p.rules(), now))
		p.publish()
	case p.follower != nil:
		p.settleFollower(p.follower.Configure(c.Log.Durable))
	}
}

// knowBrokers tells the leader which replicas are alive; mu is held.
func (p *Partition) knowBrokers(now time.Time) {
	for _, r := range p.leader.State().Replicas {
		if int32(r) != p.table.config.NodeID {
			p.settle(p.leader.Broker(r, p.table.brokerEpoch(int32(r)), now))
		}
	}
}

// settle carries out what partition.Leader decided: the log learns the high
// watermark first, because its stable bound depends on it, and then those at
// the gate. mu is held.
func (p *Partition) settle(e partition.Effects) {
	if e.Propose != nil {
		p.table.config.Controller.ChangeISR(p.id, p.index, e.Propose)
	}
	if !e.Wake {
		return
	}
	if from := p.hw.Load(); e.HW < from { // asked here, for the arguments would be allocated
		invariant.Holds(false, "high watermark of %s-%d falls from %d to %d", p.topic, p.index, from, e.HW)
	}
	p.publishHW(e.HW)
}

// publishHW makes the high watermark known; mu is held.
func (p *Partition) publishHW(hw int64) {
	log := p.log.Load()
	if log == nil {
		return
	}
	from := p.hw.Load()
	log.SetHighWatermark(hw)
	seen := p.unseen
	if hw < p.end {
		// Not all of it: take the part that the offsets suggest.
		seen = int(float64(seen) * float64(hw-from) / float64(p.end-from))
	}
	p.unseen -= seen
	p.hw.Store(hw)
	p.gate.committed(hw)
	if hw > from {
		p.gate.readable(ReadUncommitted, max(seen, 1))
	}
	p.gate.readable(ReadAll, 0) // followers are told of it, after a while
	if stable := p.stableLocked(log); stable > p.lso.Load() {
		p.lso.Store(stable)
		p.gate.readable(ReadCommitted, max(seen, 1))
	}
}

// wrote tells that the log now ends at end, n bytes on.
func (p *Partition) wrote(end, flushed int64, n int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return
	}
	p.unseen += n
	moved := end > p.end
	p.end = max(p.end, end)
	p.settle(p.leader.Wrote(end, flushed, now))
	if moved {
		p.gate.readable(ReadAll, n)
	}
}

// flushed is called by the directory's committer: it has made more durable.
func (p *Partition) flushed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.leader != nil:
		// What is flushed now: the log may have been cut since the commit.
		end := p.log.Load().Flushed()
		p.settle(p.leader.Wrote(end, end, p.now()))
	case p.follower != nil:
		p.flushedFollower()
	}
}

// now spares the clock where there is nobody to be late.
func (p *Partition) now() time.Time {
	if r := p.role.Load(); r != nil && r.hasPeers {
		return time.Now()
	}
	return time.Time{}
}

// failed takes the partition offline when err says that its directory is.
func (p *Partition) failed(err error) {
	if asKafka(err) == kerr.KafkaStorageError && p.log.Load().Dir().Err() != nil {
		p.goOffline()
	}
}

// goOffline: the directory has failed. Everybody who waits is told.
func (p *Partition) goOffline() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offline {
		return
	}
	p.offline = true
	p.leader = nil
	p.unfollow()
	p.role.Store(&role{epoch: p.role.Load().epoch, refusal: kerr.KafkaStorageError})
	p.gate.release()
}

// close ends the hosting: the partition was deleted or the table is closed.
func (p *Partition) close(refusal *kerr.Error) {
	p.uncut()
	defer p.turn.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.leader = nil
	p.unfollow()
	p.role.Store(&role{epoch: p.role.Load().epoch, refusal: refusal})
	p.gate.release()
}

func replicas(ids []int32) []partition.Replica {
	rs := make([]partition.Replica, len(ids))
	for i, id := range ids {
		rs[i] = partition.Replica(id)
	}
	return rs
}
