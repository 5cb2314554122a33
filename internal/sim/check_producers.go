// SPDX-License-Identifier: Apache-2.0

// Invariant: in a partition's log the epochs of a producer never fall, be it in
// its records or in markers of its transactions, and neither do the epochs of
// the coordinators that ended them. So nothing of a fenced producer, and nothing
// that an old coordinator decided, comes after what fenced it.

package sim

import (
	"fmt"

	"gregor/internal/batch"
)

type producers struct {
	last map[producerOf]producerAt
}

type producerOf struct {
	partitionKey
	id int64
}

type producerAt struct {
	epoch       int16
	coordinator int32
}

func newProducers() producers { return producers{map[producerOf]producerAt{}} }

// batch notes the next batch of a partition's log.
func (c *producers) batch(p partitionKey, v batch.View) error {
	if !v.HasProducerID() {
		return nil
	}
	k := producerOf{p, v.ProducerID()}
	now := producerAt{epoch: v.ProducerEpoch(), coordinator: -1}
	before, known := c.last[k]
	if known {
		now.coordinator = before.coordinator
	}
	if v.Attributes().Control() {
		m, ok, err := v.Control()
		if err != nil {
			return fmt.Errorf("%s: marker at offset %d: %w", p, v.BaseOffset(), err)
		}
		if ok && (m.Type == batch.Commit || m.Type == batch.Abort) {
			now.coordinator = m.CoordinatorEpoch
		}
	}
	c.last[k] = now
	switch {
	case !known:
	case now.epoch < before.epoch:
		return fmt.Errorf("a producer goes back: %s: producer %d writes at offset %d in epoch %d, after %d", p, k.id, v.BaseOffset(), now.epoch, before.epoch)
	case now.coordinator < before.coordinator:
		return fmt.Errorf("a coordinator goes back: %s: the marker of producer %d at offset %d is of epoch %d, after %d", p, k.id, v.BaseOffset(), now.coordinator, before.coordinator)
	}
	return nil
}
