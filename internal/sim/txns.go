// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"gregor/internal/sim/load"
)

// txnOrdeal is ordeal with clients whose work is transactions.
func (c *Cluster) txnOrdeal(d time.Duration) (w *load.Txns, wrong []string) {
	w, err := c.txnLoad()
	if err != nil {
		return nil, append(c.checks.violations(), err.Error())
	}
	watched := c.watch()
	c.torment(d)
	if err := c.AwaitUp(time.Minute); err != nil {
		w.Abandon()
		watched()
		return w, append(c.checks.violations(), err.Error())
	}
	w.Finish()
	watched()
	c.checks.coordinated(c.machines)
	return w, append(c.checks.violations(), w.Wrong()...)
}

// txnLoad sends the clients to work.
func (c *Cluster) txnLoad() (*load.Txns, error) {
	return load.StartTxns(load.TxnConfig{
		Options: c.Options, Seed: c.cfg.Seed, Partitions: 3, Replicas: int16(c.cfg.Replicas), MinISR: max(1, c.cfg.Replicas-1),
		Transformers: 2, Pause: 20 * time.Millisecond, Timeout: 5 * time.Second,
	})
}
