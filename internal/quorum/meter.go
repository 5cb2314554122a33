// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"math"
	"sync"
	"time"

	"gregor/internal/meta"
)

// Measures are Kafka's raft-metrics, over the last half to whole minute. An
// average or a maximum of nothing is not a number, as it is in Kafka.
type Measures struct {
	// Commit is from a proposal to its commit, Election from when no leader was
	// known to when one is.
	CommitAvg, CommitMax, ElectionAvg, ElectionMax float64 // ms
	// Records a second that this node appended as the leader, and took from one.
	Appended, Fetched float64
	// Idle is the share of time in which the loop had nothing to do.
	Idle float64
}

// meter is what Measures are made of.
type meter struct {
	mu                                      sync.Mutex // leaf: guards what follows
	commit, election, appended, taken, idle window
}

func (m *meter) note(w *window, v float64) {
	m.mu.Lock()
	w.add(v, time.Now())
	m.mu.Unlock()
}

// Measures tells how the quorum fared lately.
func (n *Node) Measures() Measures {
	m, now := &n.meter, time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out Measures
	out.CommitAvg, out.CommitMax = m.commit.average(now)
	out.ElectionAvg, out.ElectionMax = m.election.average(now)
	out.Appended, out.Fetched = m.appended.rate(now), m.taken.rate(now)
	out.Idle = min(m.idle.rate(now), 1)
	return out
}

// timed has each proposal's way to its commit measured. Kafka measures a
// batch's.
func (n *Node) timed(group []*meta.Proposal) {
	began := time.Now()
	for _, p := range group {
		done := p.Done
		p.Done = func(err error) {
			if err == nil {
				n.meter.note(&n.meter.commit, ms(time.Since(began)))
			}
			done(err)
		}
	}
}

// grown counts records that came into the log. On the loop.
func (n *Node) grown() {
	st := n.core.st
	last := st.lastIndex()
	if last == n.seenLast {
		return
	}
	end := st.next(last)
	if w := &n.meter.taken; end > n.seenEnd && n.seenLast > 0 {
		if n.core.leading {
			w = &n.meter.appended
		}
		n.meter.note(w, float64(end-n.seenEnd))
	}
	n.seenLast, n.seenEnd = last, end
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// windowTurn: of two halves the older is dropped each time.
const windowTurn = 30 * time.Second

// window sums values of the last half to whole minute. Pure.
type window struct {
	now, old half
	began    time.Time // of now; zero: nothing was ever added
	first    time.Time // value
}

type half struct {
	n        int64
	sum, max float64
}

func (w *window) turn(now time.Time) {
	switch gone := now.Sub(w.began); {
	case w.began.IsZero() || gone < windowTurn:
	case gone < 2*windowTurn:
		w.old, w.now, w.began = w.now, half{}, w.began.Add(windowTurn)
	default:
		w.old, w.now, w.began = half{}, half{}, now
	}
}

func (w *window) add(v float64, now time.Time) {
	if w.began.IsZero() {
		w.began, w.first = now, now
	}
	w.turn(now)
	w.now.n++
	w.now.sum += v
	w.now.max = max(w.now.max, v)
}

func (w *window) average(now time.Time) (avg, most float64) {
	w.turn(now)
	n := w.now.n + w.old.n
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	return (w.now.sum + w.old.sum) / float64(n), max(w.now.max, w.old.max)
}

// rate is the sum a second.
func (w *window) rate(now time.Time) float64 {
	w.turn(now)
	if w.began.IsZero() {
		return 0
	}
	span := now.Sub(w.began)
	if w.began.After(w.first) { // the older half is whole
		span += windowTurn
	}
	if span < time.Second {
		span = time.Second
	}
	return (w.now.sum + w.old.sum) / span.Seconds()
}
