// SPDX-License-Identifier: Apache-2.0

// Package alarm is a queue of things that want to be looked at, each at its own
// time: groups and transactional ids, of which a shard may have very many. It
// tells no time, and knows nothing of what is looked at.
//
// A thing has at most one alarm that counts. Setting an earlier one costs a push
// and leaves the old one in the heap, where it is stale and passed over; a later
// one is not set, for a look that comes too early costs little. When the heap has
// doubled, what is stale is taken out, so that it is never much larger than what
// counts: what is looked at often, and late too, would leave very many.
//
// Invariants: things are due in the order of their times, and of their names
// where these are the same, so that two runs of one history are the same.
// Concurrency: none; whoever owns the queue owns the things' alarms.
package alarm

import (
	"container/heap"
	"slices"
	"time"
)

// Thing is what may be looked at.
type Thing interface {
	comparable
	// Name tells things apart whose time is the same.
	Name() string
	// Alarm is where the queue keeps the time of the alarm that counts; zero:
	// there is none.
	Alarm() *time.Time
}

// Queue holds alarms. The zero Queue is empty and ready.
type Queue[T Thing] struct {
	h    alarms[T]
	full int // the size at which stale ones are looked for
}

// fewStale are not worth a look.
const fewStale = 1000

// Set has t looked at, at the time at or before; zero is never.
func (q *Queue[T]) Set(t T, at time.Time) {
	if before := t.Alarm(); !at.IsZero() && (before.IsZero() || at.Before(*before)) {
		*before = at
		if len(q.h) >= max(q.full, fewStale) {
			q.sweep()
		}
		heap.Push(&q.h, alarm[T]{at, t})
	}
}

// sweep takes out what is stale.
func (q *Queue[T]) sweep() {
	q.h = slices.DeleteFunc(q.h, func(a alarm[T]) bool { return !a.of.Alarm().Equal(a.at) })
	heap.Init(&q.h)
	q.full = 2 * len(q.h)
}

// Next is a time before which nothing is due; zero: nothing ever is.
func (q *Queue[T]) Next() time.Time {
	if len(q.h) == 0 {
		return time.Time{}
	}
	return q.h[0].at
}

// Due takes out the first thing that is due at now.
func (q *Queue[T]) Due(now time.Time) (t T, ok bool) {
	for len(q.h) > 0 && !q.h[0].at.After(now) {
		a := heap.Pop(&q.h).(alarm[T])
		if at := a.of.Alarm(); at.Equal(a.at) {
			*at = time.Time{}
			return a.of, true
		}
	}
	return t, false
}

type alarm[T Thing] struct {
	at time.Time
	of T
}

type alarms[T Thing] []alarm[T]

func (a alarms[T]) Len() int { return len(a) }
func (a alarms[T]) Less(i, j int) bool {
	if !a[i].at.Equal(a[j].at) {
		return a[i].at.Before(a[j].at)
	}
	return a[i].of.Name() < a[j].of.Name()
}
func (a alarms[T]) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *alarms[T]) Push(x any)   { *a = append(*a, x.(alarm[T])) }
func (a *alarms[T]) Pop() any {
	old := *a
	x := old[len(old)-1]
	old[len(old)-1] = alarm[T]{}
	*a = old[:len(old)-1]
	return x
}
