// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"

	"gregor/internal/coord/txn"
	"gregor/internal/replica"
)

// Partitions are the replicas hosted here, nil before Start has opened them.
// They are for tests that look behind the protocol.
func (n *Node) Partitions() *replica.Table {
	if !n.up.Load() {
		return nil
	}
	return n.table
}

// Transactions calls fn for every transactional id that is coordinated here, as
// it is committed. It is for tests that look behind the protocol.
func (n *Node) Transactions(ctx context.Context, fn func(partition int32, t *txn.Txn)) error {
	if !n.up.Load() {
		return nil
	}
	return n.txns.ReadAll(ctx, func(p int32, s *txn.Shard) {
		s.Each(func(t *txn.Txn) { fn(p, t) })
	})
}
