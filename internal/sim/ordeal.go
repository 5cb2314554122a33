// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

const (
	sampleEvery  = 20 * time.Millisecond
	compareEvery = 50 // samples
)

// ordeal puts the cluster under load and faults for as long as d, heals it, and
// returns everything that was wrong.
func (c *Cluster) ordeal(l Load, d time.Duration) (*workload, []string) {
	w, err := startLoad(c, l)
	if err != nil {
		return w, []string{err.Error()}
	}
	watched := c.watch()
	c.torment(d)
	c.AwaitUp(time.Minute)
	w.finish()
	watched()
	return w, append(append(c.checks.violations(), w.errs...), checkHistory(w.history.History())...)
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
