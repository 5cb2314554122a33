// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
)

// The follower's side of a partition: its log grows by what a fetcher brings,
// and is cut where the leader's differs. Only the fetcher that the partition is
// given to writes, and only in the leader epoch that it was given for; turn
// keeps a change of leadership from coming between.

// errNotFollowing: the partition is led here, by another, or not at all now.
var errNotFollowing = errors.New("replica: does not follow in that epoch")

// errBadBatch: what the leader sent cannot be appended.
var errBadBatch = errors.New("replica: fetched batch is damaged")

// beginsWithin: the leader's log begins within a batch, and so does this one,
// which is empty. It goes on where the batch begins.
type beginsWithin struct{ base int64 }

func (e beginsWithin) Error() string {
	return fmt.Sprintf("replica: the first batch begins at %d already", e.base)
}

// standing is where a follower is, for its next fetch.
type standing struct {
	end       int64
	lastEpoch int32 // of the last record, NoEpoch when there is none
	start     int64
	flushed   int64
	cut       int64
	hw        int64
}

// stands tells where the follower is, if it follows in epoch.
func (p *Partition) stands(epoch int32) (standing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.role.Load()
	log := p.log.Load()
	if p.follower == nil || r.epoch != epoch || log == nil {
		return standing{}, errNotFollowing
	}
	p.told = p.follower.Flushed()
	return standing{end: log.End(), lastEpoch: log.LatestEpoch(), start: log.Start(), flushed: p.told, cut: p.cut, hw: p.follower.HW()}, nil
}

// untold takes the news of flushed that no fetch has told.
func (p *Partition) untold() (n FlushedEnd, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newsQueued = false
	if p.follower == nil || p.cutting != nil || p.follower.Flushed() <= p.told {
		return n, false
	}
	p.told = p.follower.Flushed()
	return FlushedEnd{Topic: p.id, Index: p.index, LeaderEpoch: p.role.Load().epoch, Cut: p.cut, Flushed: p.told}, true
}

// retell queues news again that the leader did not take.
func (p *Partition) retell(n FlushedEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fetcher == nil || p.cut != n.Cut || p.told > n.Flushed {
		return // there is newer news
	}
	p.told = -1
	if !p.newsQueued {
		p.newsQueued = true
		p.fetcher.news(p)
	}
}

// follow begins to follow; turn and mu are held.
func (p *Partition) follow(leader, epoch int32, log *storage.Log) {
	hw := max(p.hw.Load(), log.HighWatermark())
	p.follower = partition.Follow(p.config.Load().Log.Durable, log.End(), log.Flushed(), hw)
	p.hw.Store(p.follower.HW())
	p.lso.Store(p.stableLocked(log))
	p.cut = p.table.cuts.Add(1)
	p.told = -1
	p.lag.Store(0)
	if p.fetcher = p.table.fetchers.of(leader, p); p.fetcher != nil {
		p.fetcher.add(p, epoch)
	}
}

// unfollow ends it; mu is held.
func (p *Partition) unfollow() {
	if p.fetcher != nil {
		p.fetcher.remove(p)
	}
	p.follower, p.fetcher = nil, nil
	p.lag.Store(0)
	p.fails.Store(false)
}

func (p *Partition) stableLocked(log *storage.Log) int64 {
	stable := p.hw.Load()
	if b := log.StableBound(); b >= 0 {
		stable = min(stable, b)
	}
	return stable
}

// grow appends what the leader of epoch sent: whole batches, each checked,
// as they are. It may be called with none, for the sake of the leader's
// watermark and start.
func (p *Partition) grow(epoch int32, records []byte, leaderHW, leaderStart int64, views *[]batch.View) error {
	p.turn.RLock()
	defer p.turn.RUnlock()
	r := p.role.Load()
	log := p.log.Load()
	if !r.follows || r.epoch != epoch || log == nil {
		return errNotFollowing
	}
	if len(records) > 0 {
		if err := p.appendFetched(log, epoch, records, views); err != nil {
			return err
		}
	}
	p.mu.Lock()
	f := p.follower
	if f == nil {
		p.mu.Unlock()
		return errNotFollowing
	}
	end := log.End()
	if end > p.end {
		p.unseen += len(records)
		p.end = end
	}
	// Either may be what moves it: the leader's may have been known for longer
	// than the records below it are here.
	wrote, heard := f.Wrote(end, log.Flushed()), f.Heard(leaderHW)
	p.settleFollower(partition.Effects{HW: heard.HW, Wake: wrote.Wake || heard.Wake})
	p.lag.Store(f.Lag())
	starts := leaderStart > log.Start() && leaderStart <= end
	if starts {
		p.settleFollower(f.Started(leaderStart))
	}
	p.mu.Unlock()
	if !starts {
		return nil
	}
	if err := log.IncrementStart(leaderStart); err != nil {
		p.failed(err)
		return translate(err)
	}
	return nil
}

// appendFetched writes the batches of records that the log does not have yet.
func (p *Partition) appendFetched(log *storage.Log, epoch int32, records []byte, views *[]batch.View) error {
	limit := p.config.Load().Log.SegmentBytes
	if limit <= 0 {
		limit = 1 << 30
	}
	vs := (*views)[:0]
	defer func() { clear(vs[:cap(vs)]); *views = vs[:0] }()
	var size int64
	end := log.End()
	for len(records) > 0 {
		v, rest, err := batch.Next(records)
		if errors.Is(err, batch.ErrIncomplete) {
			break // the leader sends whole batches; a torn one is asked for again
		}
		if err == nil {
			err = v.CheckCRC()
		}
		if err != nil {
			return fmt.Errorf("%w: from offset %d: %w", errBadBatch, end, err)
		}
		records = rest
		if v.NextOffset() <= end {
			continue // before what was asked for
		}
		if len(vs) == 0 && v.BaseOffset() < end && log.Start() == end {
			return beginsWithin{v.BaseOffset()}
		}
		if v.BaseOffset() < end || v.LeaderEpoch() > epoch {
			return fmt.Errorf("%w: offsets %d to %d of epoch %d, at log end %d in epoch %d", errBadBatch, v.BaseOffset(), v.LastOffset(), v.LeaderEpoch(), end, epoch)
		}
		if size > 0 && size+int64(len(v)) > limit {
			if err := p.appendChecked(log, vs); err != nil {
				return err
			}
			vs, size = vs[:0], 0
		}
		vs = append(vs, v)
		size += int64(len(v))
		end = v.NextOffset()
	}
	if len(vs) == 0 {
		return nil
	}
	return p.appendChecked(log, vs)
}

func (p *Partition) appendChecked(log *storage.Log, vs []batch.View) error {
	if _, err := log.AppendAll(vs, storage.Append{Origin: storage.Replication}); err != nil {
		p.failed(err)
		return translate(err)
	}
	return nil
}

// diverged cuts the log where the leader says that the two part.
func (p *Partition) diverged(epoch int32, leader EpochEnd) error {
	return p.reshape(epoch, func(f *partition.Follower, log *storage.Log) (func() error, error) {
		ownEpoch, ownEnd := log.EpochEnd(leader.Epoch)
		cut, _ := f.Diverged(leader.Epoch, leader.End, ownEpoch, ownEnd)
		if cut <= log.Start() {
			f.Restarted(cut)
			return func() error { return log.TruncateFully(cut) }, nil
		}
		f.Truncated(cut)
		return func() error { return log.TruncateTo(cut) }, nil
	})
}

// outOfRange: the leader does not have the follower's end. Either its log
// begins later, or it ends sooner.
func (p *Partition) outOfRange(epoch int32, leaderStart, leaderEnd int64) error {
	return p.reshape(epoch, func(f *partition.Follower, log *storage.Log) (func() error, error) {
		end := log.End()
		switch {
		case end > leaderEnd && leaderEnd > log.Start():
			f.Truncated(leaderEnd)
			return func() error { return log.TruncateTo(leaderEnd) }, nil
		case end < leaderStart, end > leaderEnd:
			f.Restarted(leaderStart)
			return func() error { return log.TruncateFully(leaderStart) }, nil
		}
		return nil, nil // it has moved meanwhile
	})
}

// restart empties the log; it goes on at its own start, or where the leader's
// begins.
func (p *Partition) restart(epoch int32) error {
	return p.reshape(epoch, func(f *partition.Follower, log *storage.Log) (func() error, error) {
		start := log.Start()
		f.Restarted(start)
		return func() error { return log.TruncateFully(start) }, nil
	})
}

// beginAt lets an empty log go on at an offset below its own, where the batch
// begins that the leader's log starts within. Its start follows with the batch.
func (p *Partition) beginAt(epoch int32, base int64) error {
	return p.reshape(epoch, func(f *partition.Follower, log *storage.Log) (func() error, error) {
		if log.Start() != log.End() || base >= log.End() {
			return nil, nil
		}
		f.Restarted(base)
		return func() error { return log.TruncateFully(base) }, nil
	})
}

// reshape begins a new life of the log: decide changes the follower's state
// before the log, so that nobody is told of what is about to go. The cut syncs,
// and turn is not held meanwhile: cutting keeps others off.
func (p *Partition) reshape(epoch int32, decide func(*partition.Follower, *storage.Log) (func() error, error)) error {
	cut, f, log, err := p.beginCut(epoch, decide)
	if cut == nil || err != nil {
		return err
	}
	return p.endCut(f, log, cut())
}

func (p *Partition) beginCut(epoch int32, decide func(*partition.Follower, *storage.Log) (func() error, error)) (func() error, *partition.Follower, *storage.Log, error) {
	p.turn.RLock()
	defer p.turn.RUnlock()
	log := p.log.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.follower
	if f == nil || p.cutting != nil || p.role.Load().epoch != epoch || log == nil {
		return nil, nil, nil, errNotFollowing
	}
	cut, err := decide(f, log)
	if cut == nil || err != nil {
		return nil, nil, nil, err
	}
	p.cut, p.told = p.table.cuts.Add(1), -1
	p.cutting = make(chan struct{})
	p.lowerLocked(f.HW())
	return cut, f, log, nil
}

// endCut takes what the cut has come to, and the state that waited for it.
func (p *Partition) endCut(f *partition.Follower, log *storage.Log, err error) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	if next := p.wasCut(f, log, err); next != nil {
		err = errors.Join(err, p.begin(next, p.table.config.NodeID, time.Now()))
	}
	if err != nil {
		p.failed(err)
		return translate(err)
	}
	return nil
}

func (p *Partition) wasCut(f *partition.Follower, log *storage.Log, err error) (next *meta.Partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.cutting)
	p.cutting = nil
	next, p.awaiting = p.awaiting, nil
	p.end, p.unseen = log.End(), 0
	if p.follower == f && err == nil {
		// The log cuts at a batch, which may begin before what was decided.
		f.Truncated(min(p.end, f.End()))
		p.settleFollower(f.Wrote(p.end, log.Flushed()))
		p.lowerLocked(f.HW())
		p.lso.Store(p.stableLocked(log))
	}
	return next
}

// lowerLocked takes the watermarks back. Who reads here is told, and finds out.
func (p *Partition) lowerLocked(hw int64) {
	p.hw.Store(hw)
	p.lso.Store(min(p.lso.Load(), hw))
	for _, r := range p.gate.readers {
		r.waker.Wake(manyBytes)
	}
}

// settleFollower carries out what partition.Follower decided; mu is held.
func (p *Partition) settleFollower(e partition.Effects) {
	if e.Wake {
		p.publishHW(e.HW)
	}
}

// flushedFollower: the committer has made something durable; mu is held.
func (p *Partition) flushedFollower() {
	log := p.log.Load()
	if p.cutting != nil || log == nil {
		return
	}
	p.settleFollower(p.follower.Wrote(log.End(), log.Flushed()))
	if p.fetcher != nil && !p.newsQueued && p.follower.Flushed() > p.told && p.config.Load().Log.Durable {
		p.newsQueued = true
		p.fetcher.news(p)
	}
}

// FollowerPosition goes with a fetch of a replica.
type FollowerPosition struct {
	Replica     int32
	BrokerEpoch int64
	Cut         int64 // of its log's truncations, see partition.Life
	Flushed     int64 // below this it has flushed; its log ends where it reads
	Start       int64 // of its log, -1: not told
}

// heardOf takes the position of a follower that reads from at on. What it told
// for another leader epoch than epoch is of another log.
func (p *Partition) heardOf(f FollowerPosition, at int64, epoch int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return p.role.Load().refusal
	}
	if now := p.leader.State().LeaderEpoch; epoch != NoEpoch && epoch != now {
		return &Error{kerr.NotLeaderForPartition, fmt.Errorf("leader epoch %d has begun since a fetch in epoch %d came", now, epoch)}
	}
	who := partition.Replica(f.Replica)
	if !p.leader.IsReplica(who) {
		return &Error{kerr.NotLeaderForPartition, fmt.Errorf("broker %d is no replica of %s-%d", f.Replica, p.topic, p.index)}
	}
	e, ok := p.leader.Fetched(who, partition.Position{
		End: at, Flushed: f.Flushed, Life: partition.Life{Broker: f.BrokerEpoch, Cut: f.Cut},
	}, time.Now())
	if !ok {
		return &Error{kerr.NotLeaderForPartition, fmt.Errorf("a fetch of broker %d that another has overtaken", f.Replica)}
	}
	if f.Start >= 0 {
		p.leader.Started(who, f.Start)
	}
	p.settle(e)
	return nil
}

// FlushedEnd is news of a follower: in the life that its last fetch named it
// has flushed everything below Flushed.
type FlushedEnd struct {
	Topic       [16]byte
	Index       int32
	LeaderEpoch int32
	Cut         int64
	Flushed     int64
}

// FollowerFlushed takes news of a follower. What does not fit is left, and
// false returned: it overtook the fetch that goes before it, or the lead has
// changed.
func (t *Table) FollowerFlushed(replica int32, brokerEpoch int64, n FlushedEnd) bool {
	p := t.ByID(n.Topic, n.Index)
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil || p.leader.State().LeaderEpoch != n.LeaderEpoch {
		return false
	}
	e, ok := p.leader.Flushed(partition.Replica(replica), partition.Life{Broker: brokerEpoch, Cut: n.Cut}, n.Flushed, time.Now())
	p.settle(e)
	return ok
}
