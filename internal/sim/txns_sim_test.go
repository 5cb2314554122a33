// SPDX-License-Identifier: Apache-2.0

//go:build synctests

// Goal: transactions on one, three and five nodes end as one or the other and
// never half, whatever breaks and whatever their clients do. Method: a chain of
// two stages that consume, transform and produce; see load.Txns for what its
// programs do wrong, and history for what is looked for.
package sim

import (
	"testing"
	"time"
)

func TestSimTransactionsOneNode(t *testing.T) {
	t.Parallel()
	runTxns(t, Config{Nodes: 1, Replicas: 1}, 1)
}

func TestSimTransactionsThreeNodes(t *testing.T) {
	t.Parallel()
	runTxns(t, Config{Nodes: 3, Replicas: 3}, 2)
}

func TestSimTransactionsFiveNodes(t *testing.T) {
	t.Parallel()
	runTxns(t, Config{Nodes: 5, Replicas: 3}, 1)
}

// runTxns tries seeds with clusters of one kind.
func runTxns(t *testing.T, cfg Config, few int) {
	eachSeed(t, cfg, few, 2*cost, func(t *testing.T, c *Cluster) []string {
		w, wrong := c.txnOrdeal(30 * time.Second)
		if w == nil {
			return wrong
		}
		t.Log(w)
		if w.Committed() < 20 {
			t.Errorf("only %d transactions were committed: this proves nothing", w.Committed())
		}
		return wrong
	})
}
