// SPDX-License-Identifier: Apache-2.0

package history

import "sync"

// Recorder collects a History while clients run. The zero Recorder is ready.
type Recorder struct {
	mu    sync.Mutex // guards the rest; a leaf
	clock int64
	h     History
}

func (r *Recorder) tick() int64 {
	r.clock++
	return r.clock
}

// Send notes that a record is about to be sent; the result is called once, with
// the answer, or never.
func (r *Recorder) Send(process int, p Partition, value string, once bool) (answer func(Outcome, int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.h.Sends)
	r.h.Sends = append(r.h.Sends, Send{Process: process, Partition: p, Value: value, Once: once, Began: r.tick(), Offset: -1})
	return func(o Outcome, offset int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		s := &r.h.Sends[i]
		s.Ended, s.Outcome, s.Offset = r.tick(), o, offset
	}
}

// Poll notes records that a reader got; it keeps the slice.
func (r *Recorder) Poll(process int, p Partition, records []Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Polls = append(r.h.Polls, Poll{Process: process, Partition: p, At: r.tick(), Records: records})
}

// Assign notes that a reader begins anew in a partition.
func (r *Recorder) Assign(process int, group string, p Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Assigns = append(r.h.Assigns, Assign{Process: process, Group: group, Partition: p, At: r.tick()})
}

// Commit notes that an offset is about to be committed, and the result its
// answer.
func (r *Recorder) Commit(group string, p Partition, offset int64) (answer func(Outcome)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.h.Commits)
	r.h.Commits = append(r.h.Commits, Commit{Group: group, Partition: p, Offset: offset, Began: r.tick()})
	return func(o Outcome) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.h.Commits[i].Ended, r.h.Commits[i].Outcome = r.tick(), o
	}
}

// Look notes that a position is about to be asked for, and the result what was
// answered; a request without an answer is not called back.
func (r *Recorder) Look(group string, p Partition) (answer func(offset int64, epoch int32)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := r.tick()
	return func(offset int64, epoch int32) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.h.Looks = append(r.h.Looks, Look{Group: group, Partition: p, Offset: offset, Epoch: epoch, Began: began, Ended: r.tick()})
	}
}

// History is what was noted so far, copied.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &History{
		Sends: append([]Send(nil), r.h.Sends...), Polls: append([]Poll(nil), r.h.Polls...),
		Assigns: append([]Assign(nil), r.h.Assigns...), Commits: append([]Commit(nil), r.h.Commits...),
		Looks: append([]Look(nil), r.h.Looks...),
	}
}

// Acknowledged counts the records that were acknowledged so far.
func (r *Recorder) Acknowledged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i := range r.h.Sends {
		if r.h.Sends[i].Outcome == Done {
			n++
		}
	}
	return n
}
