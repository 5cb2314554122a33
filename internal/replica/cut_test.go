// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"sync"
	"testing"
	"time"

	"gregor/internal/vfs"
)

// TestMetadataDoNotWaitForACut: while a follower's log is being cut, and its
// disk hangs, elections reach the node and come through; the newest of them
// begins when the cut is over. Until then nobody is served, and an end that is
// about to go is told to nobody.
func TestMetadataDoNotWaitForACut(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]int32{"another leads": 2, "it leads itself": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2)
			defer c.close()
			disk := vfs.NewFaulty(vfs.NewMem())
			old := c.start(3, disk)
			c.topic(1, "t", 1, nil)
			c.elect(1, 3, 1, 2, 3)
			if _, err := c.produce(old, "t", records(t, 0, 10)); err != nil {
				t.Fatal(err)
			}
			c.same("t", 10)
			c.link(1, 3, false)
			c.link(2, 3, false)
			p := old.table.Named("t", 0)
			for i := range 3 { // acks=1: written here alone
				if _, err := p.Append(records(t, 100+i, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil {
					t.Fatal(err)
				}
			}
			hangs, goes := make(chan struct{}), make(chan struct{})
			var once sync.Once
			disk.Add(vfs.Rule{Ops: vfs.OpTruncate, Path: "*.log", From: 1, Times: 1, Before: func(vfs.Call) {
				once.Do(func() { close(hangs); <-goes })
			}})
			c.elect(1, 1, 1, 2)
			if _, err := c.produce(c.member(1), "t", records(t, 10, 5)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-hangs:
			case <-time.After(time.Minute):
				t.Fatal("nothing was cut")
			}
			applied := make(chan struct{})
			go func() {
				defer close(applied)
				c.elect(1, 2, 1, 2)
				c.elect(1, next, 1, 2, 3)
			}()
			select {
			case <-applied:
			case <-time.After(time.Minute):
				close(goes)
				t.Fatal("metadata wait for the disk")
			}
			if _, leads := p.LeaderEpoch(); leads {
				t.Error("leads while its log is being cut")
			}
			if _, err := p.Append(records(t, 200, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err == nil {
				t.Error("appended while the log is being cut")
			}
			if s := p.Status(); s.Follows {
				t.Error("follows before the cut is over")
			}
			close(goes)
			c.link(1, 3, true)
			c.link(2, 3, true)
			end := int64(15)
			if next == 3 {
				end = 10 // what it had after the cut is what counts now
			}
			c.eventually("the newest state is taken", func() bool {
				_, leads := p.LeaderEpoch()
				return leads == (next == 3) && p.LogEnd() == end
			})
			c.same("t", end)
		})
	}
}
