// SPDX-License-Identifier: Apache-2.0

package replica

import "gregor/internal/meta"

// Place is a hosted partition by the id of its topic.
type Place struct {
	Topic     meta.UUID
	Partition int32
}

// Losses are the partitions hosted here whose logs may lack, after an unclean
// stop, what others count on: see mayLack. Whoever registers this broker tells of
// them once Apply has seen all that was committed.
func (t *Table) Losses() []Place {
	var out []Place
	for _, p := range t.All() {
		if p.mayLack() {
			out = append(out, Place{p.id, p.index})
		}
	}
	return out
}

// mayLack tells whether the log may lack a record that was acknowledged while
// this replica was in sync. Where the topic is durable nothing is acknowledged
// before each of the replicas in sync has it on its disk, so a power cut takes
// only what nobody was promised, and the proof is the log itself: it is there, it
// ends at or above its durable point, and below that it is whole.
//
// That is less than lostTail asks for: a tail that nobody was promised may still
// have been fetched by others, so its leader epoch is not to be used again.
func (p *Partition) mayLack() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log.Load()
	switch {
	case p.offline || log == nil:
		return true
	case p.lostTail < 0:
		return false
	case !p.config.Load().Log.Durable:
		return true
	case p.anew:
		// A log's name is durable before its first record is. So where the
		// metadata say that this very directory is its home, and that has no
		// durable point of it, nothing of it was ever promised.
		return p.promised || p.home != log.Dir().ID()
	}
	return len(log.Recovery().Damage) > 0
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
