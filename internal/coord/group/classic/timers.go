// SPDX-License-Identifier: Apache-2.0

package classic

import (
	"cmp"
	"slices"
	"time"

	"gregor/internal/coord"
)

// schedule returns the time d from now, at which Tick will look at the group.
// Timers are plain fields; next is a bound below all of them, so that renewing
// a session (which only moves a timer later) costs nothing.
func (g *Group) schedule(now time.Time, d time.Duration) time.Time {
	at := now.Add(d)
	if g.next.IsZero() || at.Before(g.next) {
		g.next = at
	}
	return at
}

// Next is when Tick wants to be called; zero for never. It may be too early.
func (g *Group) Next() time.Time { return g.next }

// timer is one that is due.
type timer struct {
	at   time.Time
	kind int8 // 0 a member's session, 1 a pending member's, 2 the join phase, 3 the sync phase
	id   string
}

// due collects the timers that are set to now or before, in their order.
func (g *Group) due(now time.Time) []timer {
	var all []timer
	add := func(at time.Time, kind int8, id string) {
		if !at.IsZero() && !at.After(now) {
			all = append(all, timer{at, kind, id})
		}
	}
	for _, m := range g.members {
		add(m.deadline, 0, m.id)
	}
	for id, at := range g.pending {
		add(at, 1, id)
	}
	add(g.joinAt, 2, "")
	add(g.syncAt, 3, "")
	slices.SortFunc(all, func(a, b timer) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	})
	return all
}

// Tick fires what is due at now.
func (g *Group) Tick(now time.Time) coord.Result {
	var r coord.Result
	for _, t := range g.due(now) {
		// What fired before may have cancelled it or set it anew.
		switch t.kind {
		case 0:
			if m := g.byID[t.id]; m != nil && m.deadline.Equal(t.at) {
				m.deadline = time.Time{}
				if !m.alive() {
					g.expire(&r, now, t.id, "its session ended")
				}
			}
		case 1:
			if g.pending[t.id].Equal(t.at) {
				g.expire(&r, now, t.id, "it did not join with the id it was given")
			}
		case 2:
			if g.joinAt.Equal(t.at) {
				g.joinAt = time.Time{}
				if g.initial {
					g.extend(&r, now)
				} else {
					g.completeJoin(&r, now)
				}
			}
		case 3:
			if g.syncAt.Equal(t.at) {
				g.syncAt = time.Time{}
				g.expireSync(&r, now)
			}
		}
	}
	g.recompute()
	return r
}

func (g *Group) recompute() {
	g.next = time.Time{}
	note := func(at time.Time) {
		if !at.IsZero() && (g.next.IsZero() || at.Before(g.next)) {
			g.next = at
		}
	}
	for _, m := range g.members {
		note(m.deadline)
	}
	for _, at := range g.pending {
		note(at)
	}
	note(g.joinAt)
	note(g.syncAt)
}

// expire removes a member that was not heard of.
func (g *Group) expire(r *coord.Result, now time.Time, id, why string) {
	pending := g.byID[id] == nil
	g.remove(r, id)
	r.Notes = append(r.Notes, coord.Note{
		Text: "member left the group", Subject: g.id, Member: id, Generation: g.generation, Reason: why,
	})
	switch {
	case g.state == PreparingRebalance:
		if g.allJoined() {
			g.completeJoin(r, now)
		}
	case !pending && (g.state == Stable || g.state == CompletingRebalance):
		g.rebalance(r, now, id, why)
	}
}

// expireSync removes the members that joined and never synced.
func (g *Group) expireSync(r *coord.Result, now time.Time) {
	if len(g.pendingSync) == 0 || g.state != CompletingRebalance && g.state != Stable {
		return
	}
	var late []string
	for id := range g.pendingSync {
		late = append(late, id)
	}
	slices.Sort(late)
	for _, id := range late {
		g.remove(r, id)
		r.Notes = append(r.Notes, coord.Note{
			Text: "member left the group", Subject: g.id, Member: id, Generation: g.generation,
			Reason: "it did not sync in time",
		})
	}
	g.rebalance(r, now, late[0], "members did not sync in time")
}

// Loaded starts the sessions of a group that was read from the log.
func (g *Group) Loaded(now time.Time) coord.Result {
	var r coord.Result
	for _, m := range g.members {
		m.deadline = g.schedule(now, m.session)
	}
	if len(g.members) > g.cfg.MaxSize {
		g.rebalance(&r, now, "", "the group was loaded with more than group.max.size members")
	}
	return r
}
