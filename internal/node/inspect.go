// SPDX-License-Identifier: Apache-2.0

package node

import "gregor/internal/replica"

// Partitions are the replicas hosted here, nil before Start has opened them.
// They are for tests that look behind the protocol.
func (n *Node) Partitions() *replica.Table {
	if !n.up.Load() {
		return nil
	}
	return n.table
}
