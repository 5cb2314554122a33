// SPDX-License-Identifier: Apache-2.0

package history

import "sync"

// Instance is one run of a program with a transactional id.
type Instance struct {
	ID string // transactional
	// Began and Ready are when it asked for its producer, and when it had it:
	// from then on whoever had the id before is a zombie. Ready is 0 when it
	// was never told.
	Began, Ready int64
}

// Txn is one transaction that an instance tried.
type Txn struct {
	Instance int
	Name     string
	Writes   []Write
	// Takes are what it read: its offsets are committed with it.
	Takes []Take
	// Tried is when its commit was asked for; 0: never.
	Tried, Ended int64
	Outcome      Outcome // Done: committed; Rejected: it was aborted
}

// Write is one record of a transaction.
type Write struct {
	Partition    Partition
	Value        string
	From         string // the value that it was made of
	Began, Ended int64
	Outcome      Outcome
}

// Take is one record that a transaction was made of.
type Take struct {
	Partition Partition
	Offset    int64
	Value     string
}

// Stage is what the transactions of one group do: of each record in From they
// make Copies in To.
type Stage struct {
	Group    string
	From, To string
	Copies   int
}

// Find is a record that a reader of committed records got.
type Find struct {
	Partition Partition
	Offset    int64
	Value     string
	At        int64
}

// Txns is everything that the clients of one run with transactions did and saw.
type Txns struct {
	Stages    []Stage
	Instances []Instance
	Txns      []Txn
	Finds     []Find

	// How it ended: what is in the logs for readers of committed records and
	// for all others, and the groups' offsets, by their names.
	Committed, Everything []Find
	Offsets               map[string]map[Partition]int64
}

// TxnRecorder collects Txns while clients run. The zero TxnRecorder is ready.
type TxnRecorder struct {
	mu    sync.Mutex // guards the rest; a leaf
	clock int64
	h     Txns
}

func (r *TxnRecorder) tick() int64 {
	r.clock++
	return r.clock
}

// Stage notes what a group's transactions are to do.
func (r *TxnRecorder) Stage(s Stage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Stages = append(r.h.Stages, s)
}

// Start notes that an instance asks for its producer; ready is called when it
// has it.
func (r *TxnRecorder) Start(id string) (instance int, ready func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.h.Instances)
	r.h.Instances = append(r.h.Instances, Instance{ID: id, Began: r.tick()})
	return i, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.h.Instances[i].Ready = r.tick()
	}
}

// Begin notes that an instance begins a transaction with what it took.
func (r *TxnRecorder) Begin(instance int, name string, takes []Take) (txn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Txns = append(r.h.Txns, Txn{Instance: instance, Name: name, Takes: takes})
	return len(r.h.Txns) - 1
}

// Write notes that a record is about to be sent; the result is called with the
// answer, or never.
func (r *TxnRecorder) Write(txn int, p Partition, value, from string) (answer func(Outcome)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.h.Txns[txn]
	i := len(t.Writes)
	t.Writes = append(t.Writes, Write{Partition: p, Value: value, From: from, Began: r.tick()})
	return func(o Outcome) {
		r.mu.Lock()
		defer r.mu.Unlock()
		w := &r.h.Txns[txn].Writes[i]
		w.Ended, w.Outcome = r.tick(), o
	}
}

// Try notes that a transaction's commit is about to be asked for.
func (r *TxnRecorder) Try(txn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Txns[txn].Tried = r.tick()
}

// End notes how a transaction ended, as far as its client was told.
func (r *TxnRecorder) End(txn int, o Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Txns[txn].Ended, r.h.Txns[txn].Outcome = r.tick(), o
}

// Find notes records that a reader of committed records got.
func (r *TxnRecorder) Find(p Partition, records []Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.tick()
	for _, x := range records {
		r.h.Finds = append(r.h.Finds, Find{p, x.Offset, x.Value, at})
	}
}

// Finish notes what is in a log in the end, for readers of committed records
// only or for all.
func (r *TxnRecorder) Finish(p Partition, records []Record, committed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.tick()
	for _, x := range records {
		if committed {
			r.h.Committed = append(r.h.Committed, Find{p, x.Offset, x.Value, at})
		} else {
			r.h.Everything = append(r.h.Everything, Find{p, x.Offset, x.Value, at})
		}
	}
}

// Offset notes where a group stands in the end.
func (r *TxnRecorder) Offset(group string, p Partition, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.h.Offsets == nil {
		r.h.Offsets = map[string]map[Partition]int64{}
	}
	if r.h.Offsets[group] == nil {
		r.h.Offsets[group] = map[Partition]int64{}
	}
	r.h.Offsets[group][p] = offset
}

// Txns is the history so far; call it when the clients have ended.
func (r *TxnRecorder) Txns() *Txns {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &r.h
}
