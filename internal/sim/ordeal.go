// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"gregor/internal/sim/load"
)

const (
	sampleEvery  = 20 * time.Millisecond
	compareEvery = 50 // samples
)

// ordeal puts the cluster under load and faults for as long as d, heals it, and
// returns everything that was wrong.
func (c *Cluster) ordeal(d time.Duration) (acknowledged int64, wrong []string) {
	w, err := c.load()
	if err != nil {
		return 0, append(c.checks.violations(), err.Error())
	}
	watched := c.watch()
	c.torment(d)
	if err := c.AwaitUp(time.Minute); err != nil {
		w.Abandon()
		watched()
		return w.Acknowledged(), append(c.checks.violations(), err.Error())
	}
	if err := c.AwaitWhole(2 * time.Minute); err != nil {
		c.checks.report("not whole two minutes after the last fault: " + err.Error())
	}
	w.Finish()
	watched()
	return w.Acknowledged(), append(c.checks.violations(), w.Wrong()...)
}

// load sends the clients to work.
func (c *Cluster) load() (*load.Load, error) {
	return load.Start(load.Config{
		Client: c.Client, Seed: c.cfg.Seed, Topic: "t", Partitions: 4, Replicas: int16(c.cfg.Replicas), MinISR: max(1, c.cfg.Replicas-1),
		Producers: 3, Members: 2, Pause: 20 * time.Millisecond,
	})
}

// watch has the checkers look all the time, until the result is called.
func (c *Cluster) watch() (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(sampleEvery):
			}
			c.checks.sample(c.machines)
			if i%compareEvery == 0 {
				c.checks.compare(c.machines)
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		c.checks.compare(c.machines)
	}
}
