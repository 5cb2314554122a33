// SPDX-License-Identifier: Apache-2.0

// Invariant: within a leader epoch the high watermark never falls, and it
// never passes what a running member of the in-sync set holds; on durable
// topics, what it holds on disk.

package sim

import "fmt"

type watermarks struct{ high map[partitionEpoch]int64 }

func newWatermarks() watermarks { return watermarks{map[partitionEpoch]int64{}} }

// moved notes a leader's high watermark.
func (c *watermarks) moved(p partitionKey, epoch int32, hw int64) error {
	k := partitionEpoch{p, epoch}
	before := c.high[k]
	if hw < before {
		return fmt.Errorf("the high watermark fell: %s epoch %d: from %d to %d", p, epoch, before, hw)
	}
	c.high[k] = hw
	return nil
}

// covered compares a high watermark with what a member holds, which must have
// been looked at later.
func (*watermarks) covered(p partitionKey, epoch int32, hw int64, member int32, held int64) error {
	if hw > held {
		return fmt.Errorf("the high watermark is uncovered: %s epoch %d: %d, and node %d, in sync, holds up to %d", p, epoch, hw, member, held)
	}
	return nil
}
