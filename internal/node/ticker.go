// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync"
	"time"
)

// ticker gives the partition table its turn.
type ticker struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

func startTicker(n *Node) *ticker {
	t := &ticker{stop: make(chan struct{})}
	every := max(n.live.Broker().Replica.LagMax/2, time.Second)
	t.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		disks := time.NewTicker(time.Second)
		defer disks.Stop()
		for {
			select {
			case now := <-tick.C:
				n.table.Tick(now)
			case now := <-disks.C:
				n.table.CheckDisks(now)
			case <-t.stop:
				return
			}
		}
	})
	return t
}

func (t *ticker) close() {
	close(t.stop)
	t.wg.Wait()
}
