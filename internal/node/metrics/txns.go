// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Txns is what the transaction coordinators of a node tell.
type Txns struct {
	// Homeless are markers of partitions without a leader; Untold transactions
	// with all markers, of which their coordinator cannot take note.
	Homeless, Untold int
	// LoadMax and LoadAvg are how long coordinators that began lately took to
	// load, in ms; NaN: none began.
	LoadMax, LoadAvg float64
}

func (c *collection) txns() {
	if c.s.Txns == nil {
		return
	}
	t := c.s.Txns()
	c.send(txnHomeless, float64(t.Homeless))
	c.send(txnUntold, float64(t.Untold))
	c.send(txnLoadMax, t.LoadMax)
	c.send(txnLoadAvg, t.LoadAvg)
}

// lately is what Kafka's measures of loads look back on.
const lately = 30 * time.Second

// Loads remembers how long loads took. The zero Loads is ready; safe for
// concurrent use.
type Loads struct {
	mu    sync.Mutex // guards loads; a leaf
	loads []took
}

type took struct {
	at   time.Time
	took time.Duration
}

// Loaded notes a load that ended at now.
func (l *Loads) Loaded(now time.Time, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	l.loads = append(l.loads, took{now, d})
}

// Measure gives the longest and the mean of the last 30 s, in ms; NaN for none.
func (l *Loads) Measure(now time.Time) (most, mean float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	if len(l.loads) == 0 {
		return math.NaN(), math.NaN()
	}
	for _, x := range l.loads {
		ms := float64(x.took) / float64(time.Millisecond)
		most, mean = max(most, ms), mean+ms/float64(len(l.loads))
	}
	return most, mean
}

func (l *Loads) forget(now time.Time) {
	l.loads = slices.DeleteFunc(l.loads, func(x took) bool { return now.Sub(x.at) > lately })
}
