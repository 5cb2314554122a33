// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync/atomic"
	"testing"
	"time"

	"gregor/internal/replica"
)

// TestLeadersHoldBack: while a leader's throttle is shut a follower gets none
// of that partition's records, all of another's in the same session, and the
// first one's too when it opens. What is appended meanwhile wakes nobody.
func TestLeadersHoldBack(t *testing.T) {
	t.Parallel()
	var open atomic.Bool
	var asked, sent atomic.Int64
	p := newPairWith(t, 2, inMemory, func(c *replica.Config) {
		c.Throttle.Send = func(part *replica.Partition, to int32, n int) time.Duration {
			if part.Topic() != "slow" {
				return 0
			}
			if to != 1 {
				t.Errorf("records go to %d", to)
			}
			if n == 0 {
				asked.Add(1)
				if !open.Load() {
					return 200 * time.Millisecond
				}
			}
			sent.Add(int64(n))
			return 0
		}
	})
	defer p.close()
	p.topic(1, "slow", 1, func(c *replica.TopicConfig) { c.MinISR = 1 })
	p.topic(2, "free", 1, nil)
	slow, free := p.tables[0].Named("slow", 0), p.tables[0].Named("free", 0)
	begun := time.Now()
	for range 100 {
		if _, err := slow.Append(someRecords(t, 1, 100), 1, replica.AppendOptions{ExpectedEpoch: replica.NoEpoch}); err != nil {
			t.Fatal(err)
		}
		if err := p.produce(free, someRecords(t, 1, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if end := p.tables[1].Named("slow", 0).LogEnd(); end != 0 {
		t.Errorf("%d records came through", end)
	}
	// Twice for each rest, and for each time that the follower names it.
	if most := 10 + 4*int64(time.Since(begun)/(200*time.Millisecond)); asked.Load() > most {
		t.Errorf("asked %d times for a partition that rests, not %d", asked.Load(), most)
	}
	open.Store(true)
	p.until("what was held back", func() bool { return p.tables[1].Named("slow", 0).LogEnd() == 100 })
	if size := slow.Log().Size(); sent.Load() < size {
		t.Errorf("%d bytes of %d were counted", sent.Load(), size)
	}
}
