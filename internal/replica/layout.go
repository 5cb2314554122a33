// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"gregor/internal/meta"
	"gregor/internal/storage"
)

// layout is which log lies where, while new ones are placed.
type layout struct {
	dirs    []*storage.Dir
	table   *Table
	where   map[storage.Name][]*storage.Dir
	count   map[*storage.Dir]int
	settled bool
}

func (t *Table) layout() *layout {
	l := &layout{dirs: t.dirs, table: t, settled: t.settled.Load()}
	if len(t.dirs) == 1 {
		return l
	}
	l.where, l.count = map[storage.Name][]*storage.Dir{}, map[*storage.Dir]int{}
	for _, d := range t.dirs {
		for _, n := range d.Logs() {
			l.where[n] = append(l.where[n], d)
			l.count[d]++
		}
	}
	return l
}

// choose finds the directory of a log: the one that has it, else the one that
// somebody asked for, else the one that metadata names, else the online one
// with the fewest, but no cordoned one where there is another. While one is offline, a log that is not found may be there,
// and is not made anew elsewhere unless it is new for sure.
func (l *layout) choose(n storage.Name, id, want meta.UUID) *storage.Dir {
	if len(l.dirs) == 1 {
		return l.dirs[0]
	}
	switch at := l.where[n]; len(at) {
	case 0:
	case 1:
		return at[0]
	default:
		return l.newest(n, id, at)
	}
	if d := l.table.movers.preferred(n); d != nil && d.Err() == nil {
		return d
	}
	for _, d := range l.dirs {
		if d.ID() == want && want != meta.DirUnassigned {
			return d
		}
	}
	var best *storage.Dir
	for _, d := range l.dirs {
		switch {
		case d.Err() != nil && !l.settled:
			return nil
		case d.Err() == nil && (best == nil || l.better(d, best)):
			best = d
		}
	}
	if best != nil {
		l.count[best]++
	}
	return best
}

// better tells whether a new log had better go to a than to b.
func (l *layout) better(a, b *storage.Dir) bool {
	if l.table.config.Cordoned != nil {
		if ca, cb := l.table.config.Cordoned(a), l.table.config.Cordoned(b); ca != cb {
			return cb
		}
	}
	return l.count[a] < l.count[b]
}

// newest settles which of several logs of one name counts: a stop interrupted
// the end of a move, or a disk was away during one. The others are deleted; but
// two that nobody can tell apart both stay. A log whose topic's id was lost
// gives way to one that has it: what had moved kept it (storage.Log.Promote),
// but what had not may never have been durable.
func (l *layout) newest(n storage.Name, id meta.UUID, at []*storage.Dir) *storage.Dir {
	var own, nameless []*storage.Dir
	for _, d := range at {
		switch got, err := d.TopicID(n); {
		case err == nil && got == id:
			own = append(own, d)
		case err == nil && got == (meta.UUID{}):
			nameless = append(nameless, d)
		}
	}
	if len(own) == 0 {
		own, nameless = nameless, nil
	}
	if len(own) == 0 {
		return at[0] // what is there is of another topic, or not to be read, which opening finds
	}
	var best *storage.Dir
	most := int64(-1)
	for _, d := range own {
		moves, err := d.Moves(n)
		if err != nil {
			moves = 0
		}
		if moves > most {
			best, most = d, moves
		}
	}
	for _, d := range append(own, nameless...) {
		if d == best {
			continue
		}
		if moves, err := d.Moves(n); err != nil || moves >= most {
			if l.table.config.Stray != nil {
				l.table.config.Stray(d.Path(), n)
			}
			continue
		}
		if err := d.Delete(n); err == nil && l.table.config.Moves.Superseded != nil {
			l.table.config.Moves.Superseded(d.Path(), n)
		}
	}
	return best
}
