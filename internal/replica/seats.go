// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"slices"
	"time"

	"gregor/internal/meta"
	"gregor/internal/storage"
)

// A replica that must not be counted on gives up its seats: its place in the
// in-sync set, its eligibility, its lead. The controller grants that where
// somebody else can take over, and only then.
//
//	damage found ─► seats given up ─► follows from outside ─► log emptied and
//	                                                          fetched anew ─► in sync again
//	disk silent  ─► seats given up ─► the disk answers ─► catches up ─► in sync again
//
// Until the seats are gone the log is left as it is: what it still has may be
// what the others count on. A damaged batch is never sent: storage checks what
// it reads from the disk, and followers check what they append.

// seat is what the metadata says of this replica; never changed once published.
type seat struct {
	epoch  int32 // leader epoch
	seated bool  // in the ISR or the ELR
	others bool  // somebody else is in the ISR
	inSync bool
}

func seatOf(m *meta.Partition, self int32) *seat {
	return &seat{
		epoch:  m.LeaderEpoch,
		inSync: m.InSync(self),
		seated: m.InSync(self) || slices.Contains(m.ELR, self) || m.Leader == self,
		others: slices.ContainsFunc(m.ISR, func(r int32) bool { return r != self }),
	}
}

// corrupt: damage was found in a log.
func (t *Table) corrupt(n storage.Name) {
	if p := t.Named(n.Topic, n.Partition); p != nil {
		p.damage()
		p.giveUpSeats()
	}
}

func (p *Partition) damage() {
	p.damaged.Store(true)
	p.table.hurt.Store(true)
}

// giveUpSeats asks the controller, where there is a seat to give up and
// somebody to take over. It takes no lock.
func (p *Partition) giveUpSeats() {
	if s := p.seat.Load(); s != nil && s.seated && s.others {
		p.table.config.Controller.LeaveSeats(p.id, p.index, s.epoch)
	}
}

// sit takes what the metadata says; mu is held. A damaged replica without a
// seat is fetched anew.
func (p *Partition) sit(s *seat) {
	p.seat.Store(s)
	if !p.damaged.Load() {
		return
	}
	p.giveUpSeats()
	if p.fetcher != nil && !s.seated {
		p.fetcher.again(p)
	}
}

// renew empties a damaged log whose seats are gone, on the goroutine of its
// fetcher, which then fetches it from the start.
func (p *Partition) renew(epoch int32) error {
	if s := p.seat.Load(); !p.damaged.Load() || s == nil || s.seated || s.epoch != epoch {
		return nil
	}
	if err := p.restart(epoch); err != nil {
		return err
	}
	p.damaged.Store(false)
	return nil
}

// stallPatience is how long a disk may not answer a flush or a write before its replicas
// give up their seats: as long as a follower may lag before it is out of sync,
// a third of it, because nothing is committed meanwhile.
func (t *Table) stallPatience() time.Duration { return t.config.MaxLag / 3 }

// CheckDisks gives up the seats of replicas whose disk has not answered for too
// long, and asks again for what the controller has not granted. Call it every
// second or so.
//
// Differs from Kafka, which waits with the disk: nobody else can commit what
// this leader does not flush. The directory stays, for a disk that hangs may
// come back; its replicas catch up then, and are in sync again.
func (t *Table) CheckDisks(now time.Time) {
	var silent []*storage.Dir
	for _, d := range t.dirs {
		flush, write := d.Flushing(), d.Writing(now)
		late := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) > t.stallPatience() }
		if d.Err() == nil && (late(flush) || late(write)) {
			silent = append(silent, d)
		}
	}
	if len(silent) == 0 && !t.hurt.Swap(false) {
		return
	}
	for _, p := range t.All() {
		log := p.log.Load()
		if p.damaged.Load() {
			t.hurt.Store(true)
		}
		if p.damaged.Load() || log != nil && slices.Contains(silent, log.Dir()) && p.config.Load().Log.Durable {
			p.giveUpSeats()
		}
	}
}
