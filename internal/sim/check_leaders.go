// SPDX-License-Identifier: Apache-2.0

// Invariant: in one leader epoch of a partition the metadata name one leader,
// and only that node ever leads in that epoch.

package sim

import "fmt"

type leaders struct {
	recordedAs map[partitionEpoch]int32
	led        map[partitionEpoch]int32
}

type partitionEpoch struct {
	partitionKey
	epoch int32
}

func newLeaders() leaders {
	return leaders{map[partitionEpoch]int32{}, map[partitionEpoch]int32{}}
}

// recorded notes what the metadata say.
func (c *leaders) recorded(p partitionKey, epoch, leader int32) error {
	return c.put(c.recordedAs, partitionEpoch{p, epoch}, leader, "is recorded as leader")
}

// changes counts the epochs of a partition whose leader is not that of the epoch
// before.
func (c *leaders) changes() map[partitionKey]int {
	out := map[partitionKey]int{}
	for k, leader := range c.recordedAs {
		if before, ok := c.recordedAs[partitionEpoch{k.partitionKey, k.epoch - 1}]; ok && before != leader {
			out[k.partitionKey]++
		}
	}
	return out
}

// leads notes that a node takes itself for the leader.
func (c *leaders) leads(p partitionKey, epoch, node int32) error {
	k := partitionEpoch{p, epoch}
	if r, ok := c.recordedAs[k]; ok && r != node {
		return fmt.Errorf("two leaders: %s epoch %d: node %d leads, the metadata name %d", p, epoch, node, r)
	}
	return c.put(c.led, k, node, "leads")
}

func (*leaders) put(m map[partitionEpoch]int32, k partitionEpoch, node int32, what string) error {
	before, ok := m[k]
	if !ok {
		m[k] = node
		return nil
	}
	if before != node {
		return fmt.Errorf("two leaders: %s epoch %d: node %d %s, and so did %d", k.partitionKey, k.epoch, node, what, before)
	}
	return nil
}
