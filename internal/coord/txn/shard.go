// SPDX-License-Identifier: Apache-2.0

// Package txn is the shard of one partition of __transaction_state: the
// transactional ids that hash to it, which producer ids and epochs they have,
// and where their transactions stand. It says which markers are to be written
// where (Order) and is told when they are (Complete); how they get there it
// does not know, nor anything of groups, logs or connections.
//
// It is pure: no clock, lock, goroutine, network or randomness. Package coord's
// runtime calls it from one loop, gives it the time, and carries out what it
// decides.
//
// # States
//
//	             AddPartitions          EndTxn, time-out, fencing
//	   Empty -------------------> Ongoing --------------+-------------+
//	     ^  ^                      ^   ^                v             v
//	Init |  +-- InitProducerId --+ |   |          PrepareCommit  PrepareAbort
//	     |                       | |   |                |  markers    |
//	     +--- (expired: gone) ---CompleteCommit <-------+             |
//	                             CompleteAbort  <---------------------+
//
// A Prepare record is the decision: from then on the transaction ends as it
// says, whoever coordinates it, and a new coordinator sends the markers again
// under its own epoch (the leader epoch of this partition).
//
// # Fencing
//
// A request must bring the producer id and epoch that the transactional id has.
// Each InitProducerId raises the epoch, and so, from transaction version 2 on,
// does each end (KIP-890): a marker's epoch is above that of the records it
// ends, so nothing late can join the next transaction. An epoch that cannot be
// raised any more takes a new producer id with it.
//
// # Differs from Kafka
//
// There are no pending transitions. A decision is appended and replayed before
// the next request is looked at, and all replies wait for the commit in order;
// so a request in the middle of another's write is decided instead of refused
// with CONCURRENT_TRANSACTIONS. While markers are written that error stays.
package txn

import (
	"maps"
	"slices"
	"time"

	"gregor/internal/coord"
	"gregor/internal/coord/alarm"
)

// Config is the broker's part of the rules.
type Config struct {
	MaxTimeout      time.Duration // transaction.max.timeout.ms
	Expiration      time.Duration // transactional.id.expiration.ms
	ExpirationCheck time.Duration // transaction.remove.expired.transaction.cleanup.interval.ms
	// Level is the finalised transaction.version at the start; see SetLevel.
	Level int16
}

// Order is the effect that a decided transaction has: a marker for each of its
// partitions. When all are written, or nobody waits for them any more, Complete
// is called with it.
type Order struct {
	ID         string
	Producer   int64
	Epoch      int16
	Commit     bool
	Version    int16 // transaction version, for the marker's checks
	Partitions []Partition
	Decided    int64 // ms

	decision *decision
}

// decision is what an order came from. Producer, epoch and outcome do not tell
// one transaction of a client before version 2 from the next.
type decision struct{ _ byte }

// Shard is one partition's transactional ids. Its loop owns it.
type Shard struct {
	cfg    *Config
	level  int16
	ids    map[string]*entry
	queue  []change
	alarms alarm.Queue[*entry]
	expire time.Time // when expired ids are looked for next
}

// entry is one transactional id, in both views; nil is none.
type entry struct {
	id                 string
	written, committed *Txn
	queued             int // changes of it that are not committed yet
	parked             []parked
	decision           *decision // the last one that was ordered
	alarm              time.Time // the earliest of its alarms; zero: none
}

// Name and Alarm meet alarm.Thing.
func (e *entry) Name() string { return e.id }

// Alarm is when the id wants to be looked at.
func (e *entry) Alarm() *time.Time { return &e.alarm }

// parked is an AddPartitions that waits until the transaction before is over.
type parked struct {
	to    coord.Ticket
	add   Add
	until time.Time
}

// change is what becomes visible when the log is committed beyond at.
type change struct {
	at    int64
	entry *entry
	txn   *Txn
}

// New makes an empty shard.
func New(cfg *Config) *Shard {
	return &Shard{cfg: cfg, level: cfg.Level, ids: map[string]*entry{}}
}

// SetLevel tells the finalised transaction.version.
func (s *Shard) SetLevel(level int16) { s.level = level }

// --- Records

// Replay applies a record that is in the log at offset.
func (s *Shard) Replay(offset int64, r coord.Record) error {
	id, ok, err := readKey(r.Key)
	if !ok || err != nil {
		return err
	}
	var t *Txn
	if r.Value != nil {
		if t, err = readValue(id, r.Value); err != nil {
			return err
		}
	}
	e := s.ids[id]
	if e == nil {
		if t == nil {
			return nil
		}
		e = &entry{id: id}
		s.ids[id] = e
	}
	e.written = t
	e.queued++
	s.queue = append(s.queue, change{offset, e, t})
	s.watch(e)
	return nil
}

// Committed moves the committed view to upTo.
func (s *Shard) Committed(upTo int64) {
	n := 0
	for n < len(s.queue) && s.queue[n].at < upTo {
		c := s.queue[n]
		s.queue[n] = change{}
		n++
		c.entry.queued--
		c.entry.committed = c.txn
		if c.entry.written == nil && c.entry.committed == nil && c.entry.queued == 0 && len(c.entry.parked) == 0 {
			delete(s.ids, c.entry.id)
		}
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
}

func (s *Shard) written(id string) *Txn {
	if e := s.ids[id]; e != nil {
		return e.written
	}
	return nil
}

// --- Timers

// watch sets the alarm of an id whose state changed. An alarm that is too early
// costs a look; so it is moved forward only.
func (s *Shard) watch(e *entry) {
	var at time.Time
	if e.written != nil {
		if ms := e.written.expires(); ms >= 0 {
			// Kafka's rule: more than the time-out must have passed.
			at = time.UnixMilli(ms + 1)
		}
	}
	for i := range e.parked {
		if u := e.parked[i].until; at.IsZero() || u.Before(at) {
			at = u
		}
	}
	s.alarms.Set(e, at)
}

// Next is when Tick wants to be called.
func (s *Shard) Next() time.Time {
	if at := s.alarms.Next(); !at.IsZero() && (s.expire.IsZero() || at.Before(s.expire)) {
		return at
	}
	return s.expire
}

// Tick aborts transactions that took too long, ends waits, or looks for
// expired ids.
func (s *Shard) Tick(now time.Time) coord.Result {
	var r coord.Result
	ticked := false
	for e, ok := s.alarms.Due(now); ok; e, ok = s.alarms.Due(now) {
		ticked = true
		s.endWaits(&r, e, now)
		if t := e.written; t != nil && t.expires() >= 0 && t.expires() < now.UnixMilli() {
			s.timeOut(&r, t, now)
			// The write may be refused: then it is tried again. Of several in one
			// result some could be written and none of their markers ordered; so
			// the next is for the next turn.
			s.alarms.Set(e, now.Add(retryTimeOut))
			return r
		}
		s.watch(e)
	}
	if !ticked && !s.expire.IsZero() && !s.expire.After(now) {
		s.expireIDs(&r, now)
	}
	return r
}

// retryTimeOut is when a time-out that could not be written is looked at again.
const retryTimeOut = time.Second

// atOnce bounds the records of one Tick, so that the loop stays free for
// clients while very many ids expire.
const atOnce = 10_000

// timeOut aborts t and fences its producer.
func (s *Shard) timeOut(r *coord.Result, t *Txn, now time.Time) {
	n := s.fence(t, now.UnixMilli())
	r.Records = append(r.Records, record(n))
	r.Effects = append(r.Effects, s.order(n))
	r.Notes = append(r.Notes, coord.Note{Text: "transaction aborted", Subject: t.ID, Reason: "it took longer than its time-out"})
}

func (s *Shard) expireIDs(r *coord.Result, now time.Time) {
	r.Divisible = true
	s.expire = now.Add(s.cfg.ExpirationCheck)
	for _, id := range s.sorted() {
		t := s.ids[id].written
		if t == nil || !t.State.ended() || t.Updated > now.UnixMilli()-s.cfg.Expiration.Milliseconds() {
			continue
		}
		if len(r.Records) >= atOnce {
			// Go on when these are written; a log that refuses them is not asked
			// again at once.
			r.Settled = func(now time.Time, _ bool, err error) coord.Result {
				if err == nil {
					s.expire = now
				}
				return coord.Result{}
			}
			return
		}
		r.Records = append(r.Records, coord.Record{Key: key(id)})
	}
}

// Loaded starts the timers and finishes what a predecessor decided.
func (s *Shard) Loaded(now time.Time) coord.Result {
	var r coord.Result
	for _, id := range s.sorted() {
		e := s.ids[id]
		if t := e.written; t != nil && t.State.preparing() {
			r.Effects = append(r.Effects, s.order(t))
		}
	}
	s.expire = now.Add(s.cfg.ExpirationCheck)
	return r
}

func (s *Shard) sorted() []string { return slices.Sorted(maps.Keys(s.ids)) }

// order has t's markers written, which is decided or about to be.
func (s *Shard) order(t *Txn) Order {
	e := s.ids[t.ID]
	e.decision = &decision{}
	return Order{
		ID: t.ID, Producer: t.Producer, Epoch: t.Epoch, Commit: t.State == PrepareCommit,
		Version: t.Version, Partitions: t.Partitions, Decided: t.Updated, decision: e.decision,
	}
}
