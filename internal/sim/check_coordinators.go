// SPDX-License-Identifier: Apache-2.0

// Invariant: the log of a transaction coordinator tells a story that can be:
// every state follows from the one before it, through all changes of the
// coordinator, a decision stands and loses no partition. Replaying it gives the
// state that lived.

package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/txn"
)

// coordinators is one partition's story, on one node.
type coordinators struct{ last map[string]*txn.Txn }

func newCoordinators() coordinators { return coordinators{map[string]*txn.Txn{}} }

// record notes the next record of the log.
func (c *coordinators) record(r coord.Record) error {
	id, t, err := txn.Read(r)
	if err != nil || id == "" {
		return err
	}
	if err := txn.Follows(c.last[id], t); err != nil {
		return fmt.Errorf("a transaction takes a step that cannot be: %w", err)
	}
	if t == nil {
		delete(c.last, id)
	} else {
		c.last[id] = t
	}
	return nil
}

// same compares what was replayed with what lived.
func (c *coordinators) same(lived map[string]*txn.Txn) error {
	for _, id := range slices.Sorted(maps.Keys(c.last)) {
		if a, b := c.last[id], lived[id]; b == nil || fmt.Sprintf("%+v", *a) != fmt.Sprintf("%+v", *b) {
			return fmt.Errorf("a replay differs from what lived: %s: %+v, %+v", id, a, b)
		}
	}
	if len(c.last) != len(lived) {
		return fmt.Errorf("a replay differs from what lived: %d transactional ids, %d", len(c.last), len(lived))
	}
	return nil
}

// coordinated judges the transaction coordinators, when nothing goes on any
// more: the log of each replica, and what the leader has in memory.
func (c *checks) coordinated(machines []*machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lived := map[int32]map[string]*txn.Txn{}
	for _, m := range machines {
		n := m.running()
		if n == nil {
			continue
		}
		err := n.Transactions(ctx, func(p int32, t *txn.Txn) {
			if lived[p] == nil {
				lived[p] = map[string]*txn.Txn{}
			}
			lived[p][t.ID] = t
		})
		if err != nil {
			c.add(fmt.Errorf("node %d: transactions: %w", m.id, err))
		}
	}
	for _, m := range machines {
		n := m.running()
		if n == nil {
			continue
		}
		for _, p := range n.Partitions().All() {
			if p.Topic() != "__transaction_state" || p.Log() == nil {
				continue
			}
			key := partitionKey{p.ID(), p.Index(), p.Topic()}
			story := newCoordinators()
			err := story.read(p.Log(), p.HighWatermark())
			if _, leading := p.LeaderEpoch(); err == nil && leading {
				err = story.same(lived[p.Index()])
			}
			if err != nil {
				c.add(fmt.Errorf("%s: node %d: %w", key, m.id, err))
			}
		}
	}
}

// read takes in a log up to its high watermark.
func (c *coordinators) read(l source, hw int64) error {
	for at := l.Start(); at < hw; {
		s, err := l.Read(at, hw, readAtOnce, true)
		if err != nil {
			return fmt.Errorf("read offset %d: %w", at, err)
		}
		b, ok := content(s)
		if !ok || len(b) == 0 {
			return fmt.Errorf("nothing at offset %d, the high watermark is %d", at, hw)
		}
		for len(b) > 0 {
			v, rest, err := batch.Next(b)
			if err != nil {
				return fmt.Errorf("batch at offset %d: %w", at, err)
			}
			if v.NextOffset() > hw {
				return nil
			}
			if !v.Attributes().Control() {
				if err := v.Each(nil, func(r batch.Record) error {
					return c.record(coord.Record{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
				}); err != nil {
					return fmt.Errorf("batch at offset %d: %w", at, err)
				}
			}
			at, b = v.NextOffset(), rest
		}
	}
	return nil
}
