// SPDX-License-Identifier: Apache-2.0

// Package producer is what a log knows of the producers that wrote to it: the
// last five batches of each (so that a retried one is recognised), its epoch,
// and its transaction. It decides whether a batch may be appended and follows
// transactions from their first batch to their marker. It reads and writes the
// producer snapshot. It knows nothing of files or of the log.
//
// The rules are Kafka's (ProducerAppendInfo, ProducerStateManager):
//
//   - Same epoch and same first and last sequence as one of the last five
//     batches: a duplicate; its original offsets are the answer.
//   - Else the sequence must follow the last one; it wraps from 2^31-1 to 0.
//     A new epoch starts at 0. A producer without state may start anywhere.
//   - A lower epoch is refused. A write outside an open transaction is refused.
//   - A transaction is open from its first batch to its marker, and stays
//     unstable until the marker lies below the high watermark.
//
// Concurrency: none; the Log calls under its lock.
package producer

import (
	"errors"
	"math"
	"slices"

	"gregor/internal/batch"
)

// Errors of Update.Add.
var (
	ErrOutOfOrderSequence   = errors.New("storage: sequence number out of order")
	ErrInvalidProducerEpoch = errors.New("storage: producer epoch is older than the last one seen")
	ErrInvalidTxnState      = errors.New("storage: a write outside the producer's open transaction")
	ErrCoordinatorFenced    = errors.New("storage: marker of an older transaction coordinator")
	ErrDuplicateSequence    = errors.New("storage: part of the append was appended before")
)

// Origin says who appends, and so how much is checked.
type Origin uint8

// Client appends meet every rule; Coordinator appends have epochs but no
// sequences; Replication appends were checked by the leader.
const (
	Client Origin = iota
	Coordinator
	Replication
)

// Retained is the number of batches remembered for each producer.
const Retained = 5

// State is one producer as DescribeProducers shows it.
type State struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnStart         int64 // first offset of the open transaction, or -1
}

// Meta is one remembered batch.
type Meta struct {
	LastOffset  int64
	Timestamp   int64
	LastSeq     int32
	OffsetDelta int32
}

// FirstSeq is the batch's first sequence number.
func (m Meta) FirstSeq() int32 {
	if m.LastSeq < m.OffsetDelta {
		return math.MaxInt32 - (m.OffsetDelta - m.LastSeq) + 1
	}
	return m.LastSeq - m.OffsetDelta
}

// First is the batch's first offset.
func (m Meta) First() int64 { return m.LastOffset - int64(m.OffsetDelta) }

type entry struct {
	txnFirst         int64 // -1: none
	lastTimestamp    int64 // of its records: an old one says nothing of its age
	heard            int64 // ms; heardSince and heardBefore are no times
	coordinatorEpoch int32
	epoch            int16
	n                int8 // batches[:n], oldest first
	batches          [Retained]Meta
}

// An entry's heard is the time of the first Expire after its last batch.
const (
	heardSince  int64 = 0  // a batch came since the last Expire
	heardBefore int64 = -1 // read from a snapshot, no batch since
)

// grace is how long at least a producer is remembered that a snapshot told of
// (ms): its time is that of its records.
const grace = 3_600_000

func newEntry() entry {
	return entry{txnFirst: -1, lastTimestamp: -1, coordinatorEpoch: -1, epoch: batch.NoEpoch}
}

func (e *entry) lastSeq() int32 {
	if e.n == 0 {
		return batch.NoSequence
	}
	return e.batches[e.n-1].LastSeq
}

func (e *entry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.epoch, e.n = epoch, 0
	}
}

func (e *entry) add(epoch int16, m Meta) {
	e.setEpoch(epoch)
	if e.n == Retained {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = m
	e.n++
	e.lastTimestamp = m.Timestamp
}

// txn is an open transaction (last == -1), or one whose marker, at last, is
// not yet below the high watermark.
type txn struct{ first, last, pid int64 }

// Completed is a transaction that an append ended.
type Completed struct {
	ProducerID  int64
	First, Last int64 // Last is the marker's offset
	Aborted     bool
}

// Table is the state of all producers of a log. Use NewTable.
type Table struct {
	entries map[int64]*entry
	ongoing []txn // by first offset
	ended   []txn // by first offset
	update  Update

	guards    map[int64]*guard // by producer id
	lastGuard uint64
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{entries: map[int64]*entry{}} }

// Len is the number of producers.
func (t *Table) Len() int { return len(t.entries) }

// Clear forgets everything; guards that were given before count no more.
func (t *Table) Clear() { *t = Table{entries: map[int64]*entry{}, lastGuard: t.lastGuard} }

// Duplicate finds the batch that v repeats.
func (t *Table) Duplicate(v batch.View) (Meta, bool) {
	e := t.entries[v.ProducerID()]
	if e == nil || e.epoch != v.ProducerEpoch() || v.BaseSequence() == batch.NoSequence {
		return Meta{}, false
	}
	first, last := v.BaseSequence(), v.LastSequence()
	for _, m := range e.batches[:e.n] {
		if m.LastSeq == last && m.FirstSeq() == first {
			return m, true
		}
	}
	return Meta{}, false
}

// Update is what one append would change. It belongs to the table and is valid
// until the next Prepare.
type Update struct {
	t         *Table
	origin    Origin
	txnVer    int16
	guarded   bool
	guard     uint64
	pending   []pending
	started   []txn
	completed []Completed
}

type pending struct {
	pid int64
	e   entry
	txn bool // wrote in a transaction, or ended one
}

// Rules are what an append brings along.
type Rules struct {
	Origin     Origin
	TxnVersion int16 // of a marker
	// Guarded asks for a guard (see Begin) with a transaction's first batch.
	Guarded bool
	Guard   uint64
}

// Prepare begins an update.
func (t *Table) Prepare(r Rules) *Update {
	u := &t.update
	*u = Update{t: t, origin: r.Origin, txnVer: r.TxnVersion, guarded: r.Guarded, guard: r.Guard,
		pending: u.pending[:0], started: u.started[:0], completed: u.completed[:0]}
	return u
}

// Add checks one batch, whose offsets are stamped, and takes it in. Batches
// without a producer id change nothing.
func (u *Update) Add(v batch.View) error {
	if !v.HasProducerID() {
		return nil
	}
	p := u.entry(v.ProducerID())
	e := &p.e
	epoch := v.ProducerEpoch()
	transactional := v.Attributes().Transactional()
	p.txn = p.txn || transactional
	if v.Attributes().Control() {
		m, ok := ParseMarker(v)
		if !ok {
			return nil // emptied by compaction, or no transaction's
		}
		return u.endTxn(v, e, m)
	}
	if epoch < e.epoch && u.origin != Replication {
		return ErrInvalidProducerEpoch
	}
	if transactional && u.origin != Replication {
		if err := u.checkGuard(p.pid, e, epoch); err != nil {
			return err
		}
	}
	if u.origin == Client {
		if err := u.checkSequence(p.pid, e, epoch, v.BaseSequence()); err != nil {
			return err
		}
	}
	if e.txnFirst >= 0 && !transactional && u.origin != Replication {
		return ErrInvalidTxnState
	}
	e.add(epoch, Meta{LastOffset: v.LastOffset(), Timestamp: v.MaxTimestamp(),
		LastSeq: v.LastSequence(), OffsetDelta: v.LastOffsetDelta()})
	if e.txnFirst < 0 && transactional {
		e.txnFirst = v.BaseOffset()
		u.started = append(u.started, txn{v.BaseOffset(), -1, v.ProducerID()})
	}
	return nil
}

func (u *Update) entry(pid int64) *pending {
	for i := range u.pending {
		if u.pending[i].pid == pid {
			return &u.pending[i]
		}
	}
	e := newEntry()
	if old := u.t.entries[pid]; old != nil {
		e = *old
	}
	u.pending = append(u.pending, pending{pid: pid, e: e})
	return &u.pending[len(u.pending)-1]
}

func (u *Update) checkSequence(pid int64, e *entry, epoch int16, first int32) error {
	lowest, fromZero := u.lowest(pid)
	if fromZero && first != 0 && e.n == 0 || first > lowest && len(u.started) == 0 {
		return ErrOutOfOrderSequence
	}
	if e.epoch == batch.NoEpoch {
		return nil
	}
	if epoch != e.epoch {
		if first != 0 {
			return ErrOutOfOrderSequence
		}
		return nil
	}
	last := e.lastSeq()
	if int64(first) != int64(last)+1 && !(first == 0 && last == math.MaxInt32) {
		return ErrOutOfOrderSequence
	}
	return nil
}

func (u *Update) endTxn(v batch.View, e *entry, m Marker) error {
	epoch := v.ProducerEpoch()
	if u.origin != Replication {
		old := epoch < e.epoch
		if u.txnVer >= 2 {
			// The coordinator raises the epoch before it writes a marker; the
			// same epoch is a repeated marker, harmless once the transaction
			// has ended.
			old = epoch < e.epoch || epoch == e.epoch && e.txnFirst >= 0
		}
		if old {
			return ErrInvalidProducerEpoch
		}
		if e.coordinatorEpoch > m.CoordinatorEpoch {
			return ErrCoordinatorFenced
		}
	}
	if e.txnFirst >= 0 {
		u.completed = append(u.completed, Completed{ProducerID: v.ProducerID(),
			First: e.txnFirst, Last: v.BaseOffset(), Aborted: m.Abort})
	}
	e.setEpoch(epoch)
	e.txnFirst = -1
	e.coordinatorEpoch = m.CoordinatorEpoch
	e.lastTimestamp = m.Timestamp
	return nil
}

// Empty says that the update changes nothing.
func (u *Update) Empty() bool { return len(u.pending) == 0 }

// Apply carries u out. For each transaction that it ended, ended is called with
// the last stable offset that followed.
func (t *Table) Apply(u *Update, ended func(c Completed, stable int64)) {
	for i := range u.pending {
		p := &u.pending[i]
		p.e.heard = heardSince
		if e := t.entries[p.pid]; e != nil {
			*e = p.e
		} else {
			e := p.e
			t.entries[p.pid] = &e
		}
		if p.txn && t.guards != nil {
			delete(t.guards, p.pid)
		}
	}
	for _, s := range u.started {
		t.ongoing = insert(t.ongoing, s)
	}
	for _, c := range u.completed {
		if i, ok := find(t.ongoing, c.First); ok {
			t.ongoing = slices.Delete(t.ongoing, i, i+1)
			t.ended = insert(t.ended, txn{c.First, c.Last, c.ProducerID})
		}
		// An append of many batches may have begun others since, of the same
		// producer too.
		//
		// Differs from Kafka: it leaves those of the same producer out, and so a
		// reader of a follower may not be told of the next one's abort.
		stable := c.Last + 1
		if len(t.ongoing) > 0 {
			stable = t.ongoing[0].first
		}
		if ended != nil {
			ended(c, stable)
		}
	}
}

func find(ts []txn, first int64) (int, bool) {
	return slices.BinarySearchFunc(ts, first, func(t txn, f int64) int {
		switch {
		case t.first < f:
			return -1
		case t.first > f:
			return 1
		}
		return 0
	})
}

func insert(ts []txn, t txn) []txn {
	i, ok := find(ts, t.first)
	if ok {
		ts[i] = t
		return ts
	}
	return slices.Insert(ts, i, t)
}

// Committed tells the table that everything below hw is committed.
func (t *Table) Committed(hw int64) {
	if len(t.ended) > 0 {
		t.ended = slices.DeleteFunc(t.ended, func(x txn) bool { return x.last < hw })
	}
}

// FirstUnstable is the first offset of a transaction that is open or whose
// marker is not yet committed, or -1.
func (t *Table) FirstUnstable() int64 {
	first := int64(-1)
	if len(t.ended) > 0 {
		first = t.ended[0].first
	}
	if len(t.ongoing) > 0 && (first < 0 || t.ongoing[0].first < first) {
		first = t.ongoing[0].first
	}
	return first
}

// FirstOpen is the first offset of an open transaction, or -1.
func (t *Table) FirstOpen() int64 {
	if len(t.ongoing) == 0 {
		return -1
	}
	return t.ongoing[0].first
}

// Expire forgets producers that wrote nothing for age (in ms) and have no
// transaction open.
//
// Differs from Kafka: it goes by the records' timestamps, and so forgets a
// producer of old records (a backfill, a mirror) while it is about to try its
// last batch again, and never one of records from the future.
func (t *Table) Expire(now, age int64) {
	for pid, e := range t.entries {
		switch e.heard {
		case heardSince:
			e.heard = now
		case heardBefore:
			e.heard = min(now, max(e.lastTimestamp, now-age+grace))
		}
		if e.txnFirst < 0 && now-e.heard >= age {
			delete(t.entries, pid)
		}
	}
	for pid, g := range t.guards {
		if now-g.since >= age {
			delete(t.guards, pid)
		}
	}
}

// LastOffsets calls f with the last data batch's last offset of each producer,
// -1 where only a marker is known of its epoch; compaction keeps those
// batches.
func (t *Table) LastOffsets(f func(pid int64, epoch int16, last int64)) {
	for pid, e := range t.entries {
		last := int64(-1)
		if e.n > 0 {
			last = e.batches[e.n-1].LastOffset
		}
		f(pid, e.epoch, last)
	}
}

// States lists the producers by id.
func (t *Table) States() []State {
	ss := make([]State, 0, len(t.entries))
	for pid, e := range t.entries {
		ss = append(ss, State{ProducerID: pid, Epoch: e.epoch, LastSequence: e.lastSeq(),
			LastTimestamp: e.lastTimestamp, CoordinatorEpoch: e.coordinatorEpoch, TxnStart: e.txnFirst})
	}
	slices.SortFunc(ss, func(a, b State) int {
		if a.ProducerID < b.ProducerID {
			return -1
		}
		return 1
	})
	return ss
}

// Marker is the content of a control batch that ends a transaction.
type Marker struct {
	Abort            bool
	CoordinatorEpoch int32
	Timestamp        int64
}

// ParseMarker reads the marker in a control batch; ok is false when it holds
// none (it was emptied by compaction, or is of another kind).
func ParseMarker(v batch.View) (m Marker, ok bool) {
	b := v.Records()
	if v.Count() < 1 || len(b) == 0 {
		return m, false
	}
	next := func() int64 {
		var u uint64
		for shift := 0; len(b) > 0 && shift < 64; shift += 7 {
			c := b[0]
			b = b[1:]
			u |= uint64(c&0x7f) << shift
			if c < 0x80 {
				return int64(u>>1) ^ -int64(u&1)
			}
		}
		return -1
	}
	next() // length
	if len(b) == 0 {
		return m, false
	}
	b = b[1:] // attributes
	m.Timestamp = v.BaseTimestamp() + next()
	next() // offset delta
	if n := next(); n < 4 || n > int64(len(b)) {
		return m, false
	} else {
		kind := int16(b[2])<<8 | int16(b[3])
		if kind != 0 && kind != 1 {
			return m, false
		}
		m.Abort = kind == 0
		b = b[n:]
	}
	if n := next(); n < 6 || n > int64(len(b)) {
		return m, false
	}
	m.CoordinatorEpoch = int32(b[2])<<24 | int32(b[3])<<16 | int32(b[4])<<8 | int32(b[5])
	return m, true
}

// HasEnded says that ended transactions wait for the high watermark.
func (t *Table) HasEnded() bool { return len(t.ended) > 0 }
