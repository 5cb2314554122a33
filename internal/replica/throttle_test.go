// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestThrottled: a follower that is held back gets nothing of its partition
// while another partition goes on, and catches up when the throttle opens.
func TestThrottled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "slow", 1, nil)
	c.topic(2, "free", 1, nil)
	c.elect(1, 1, 1) // 2 is not in sync: nobody waits for it
	var open atomic.Bool
	var noted atomic.Int64
	lead, follow := c.member(1), c.member(2)
	follow.throttle.Store(&Throttle{Copy: func(p *Partition, n int) time.Duration {
		if p.Topic() == "slow" {
			noted.Add(int64(n))
			if !open.Load() {
				return 10 * time.Millisecond
			}
		}
		return 0
	}})
	for i := range 20 {
		if _, err := lead.table.Named("slow", 0).Append(records(t, i*3, 3), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.produce(lead, "free", records(t, i*3, 3)); err != nil {
			t.Fatal(err)
		}
	}
	c.same("free", 60)
	// One answer may have passed before the throttle was there.
	if end := follow.table.Named("slow", 0).LogEnd(); end > 3 {
		t.Errorf("%d records came through", end)
	}
	open.Store(true)
	c.same("slow", 60)
	if noted.Load() == 0 {
		t.Error("no bytes were noted")
	}
}
