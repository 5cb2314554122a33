// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strconv"

	"gregor/internal/meta"
	"gregor/internal/meta/balance"
)

// setDrain is the setting of a broker that is being taken out.
const setDrain = "gregor.broker.drain"

// Draining tells whether broker id is being taken out.
func Draining(img *meta.Image, id int32) bool {
	v, _ := img.Settings(meta.BrokerResource, strconv.Itoa(int(id))).Get(setDrain)
	return v == "true"
}

// Spread is the next batch of moves that the controller makes by itself, with
// why none is made where none is. Order of care:
//
//   - Nothing moves while anything is being moved: one batch at a time, and a
//     person's reassignments first.
//   - Nothing moves while a broker is down or a replica that could be in sync
//     is not: what is missing may come back, and copying costs those that are
//     busy catching up.
//   - Brokers that are drained or unregistered hand over, and partitions come
//     to be on as many racks as they can. Beyond that replicas move only where
//     a broker holds slack percent more or less of them than the mean.
//
// It looks at every partition, so it is no decision for the controller's loop:
// whoever carries the moves out does so by an ordinary request.
func Spread(img *meta.Image, batch, slack int) (moves []balance.Move, why string) {
	var c balance.Cluster
	for b := range img.Brokers() {
		if !b.Active() {
			return nil, "broker " + itoa(b.ID) + " is not in service"
		}
		c.Brokers = append(c.Brokers, balance.Broker{ID: b.ID, Rack: b.Rack, Leaving: Draining(img, b.ID), Down: cordoned(b)})
	}
	for t := range img.Topics() {
		for i, p := range t.Partitions() {
			switch {
			case moving(p):
				return nil, t.Name + "-" + itoa(i) + " is being moved"
			case p.Leader == meta.NoLeader:
				return nil, t.Name + "-" + itoa(i) + " has no leader"
			}
			for _, r := range p.Replicas {
				if !p.InSync(r) && img.Broker(r) != nil {
					return nil, t.Name + "-" + itoa(i) + " is not in sync on broker " + itoa(r)
				}
			}
			c.Partitions = append(c.Partitions, balance.Partition{Topic: t.Name, Index: i, Replicas: p.Replicas})
		}
	}
	full := balance.Make(c, balance.Options{})
	urgent := balance.Make(c, balance.Options{RepairOnly: true})
	if !needed(urgent.Moves, full.Before, c.Brokers, slack) {
		return nil, "load is even enough"
	}
	moves = full.Moves
	if len(moves) > batch {
		moves = moves[:batch]
	}
	if len(moves) == 0 {
		why = "nothing can be improved"
	}
	return moves, why
}

// cordoned tells whether no directory of b takes new replicas.
func cordoned(b *meta.Broker) bool { return len(b.Dirs) > 0 && len(b.Cordoned) >= len(b.Dirs) }

// needed tells whether something must move, or is uneven enough.
func needed(urgent []balance.Move, shares []balance.Share, brokers []balance.Broker, slack int) bool {
	for _, m := range urgent {
		if m.Copies() > 0 {
			return true
		}
	}
	sum, n := 0, 0
	takes := map[int32]bool{}
	for _, b := range brokers {
		if !b.Leaving && !b.Down {
			takes[b.ID] = true
			n++
		}
	}
	for _, s := range shares {
		sum += s.Replicas
	}
	for _, s := range shares {
		if !takes[s.Broker] {
			continue
		}
		// One more or less than an even share is as even as it gets.
		if s.Replicas*n*100 > sum*(100+slack) && (s.Replicas-1)*n > sum || s.Replicas*n*100 < sum*(100-slack) && (s.Replicas+1)*n < sum {
			return true
		}
	}
	return false
}
