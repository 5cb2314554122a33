// SPDX-License-Identifier: Apache-2.0

package replica

import "gregor/internal/meta"

// Place is a hosted partition by the id of its topic.
type Place struct {
	Topic     meta.UUID
	Partition int32
}

// Losses are the partitions hosted here whose logs may have lost their tails
// in an unclean stop. Whoever registers this broker tells of them once Apply has
// seen all that was committed, so that nobody counts on what is gone.
func (t *Table) Losses() []Place {
	var out []Place
	for _, p := range t.All() {
		p.mu.Lock()
		lost := p.lostTail >= 0 || p.offline
		p.mu.Unlock()
		if lost {
			out = append(out, Place{p.id, p.index})
		}
	}
	return out
}

// Homes yields every hosted partition and the id of the directory that its log
// is in, where it has one.
func (t *Table) Homes(yield func(Place, meta.UUID) bool) {
	for _, p := range t.All() {
		if l := p.log.Load(); l != nil && !yield(Place{p.id, p.index}, l.Dir().ID()) {
			return
		}
	}
}
