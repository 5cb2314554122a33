// SPDX-License-Identifier: Apache-2.0

//go:build synctests

// Goal: transactions on one, three and five nodes end as one or the other and
// never half, whatever breaks and whatever their clients do. Method: a chain of
// two stages that consume, transform and produce; see load.Txns for what its
// programs do wrong, and history for what is looked for.
package sim

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/seeds"
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
	for seed := range seeds.All(t, few, 2*cost) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			cfg.Seed = seed
			synctest.Test(t, func(t *testing.T) { oneOfTxns(t, cfg) })
		})
	}
}

func oneOfTxns(t *testing.T, cfg Config) {
	c, err := Start(cfg)
	var wrong []string
	if err != nil {
		wrong = append(c.checks.violations(), err.Error())
	} else {
		w, found := c.txnOrdeal(30 * time.Second)
		wrong = found
		if w != nil {
			t.Log(w)
			if w.Committed() < 20 {
				t.Errorf("only %d transactions were committed: this proves nothing", w.Committed())
			}
		}
	}
	c.Close()
	if len(wrong) == 0 && !t.Failed() {
		return
	}
	for _, m := range c.machines {
		t.Logf("node %d:\n%s", m.id, m.log)
	}
	t.Logf("metadata: %s", c.checks.state())
	t.Logf("faults:\n%s", strings.Join(c.Story(), "\n"))
	for _, x := range wrong {
		t.Error(x)
	}
}
