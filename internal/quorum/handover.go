// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"time"
)

// HandOver gives this voter's leadership to another and returns when somebody
// else may lead, or ctx ends. It returns at once where this voter does not lead
// or no other was heard of for an election timeout.
func (n *Node) HandOver(ctx context.Context) {
	asked := false
	none := make(chan struct{})
	for {
		moved := n.Moved()
		if s := n.Status(); s.ID == 0 || s.Leader != s.ID {
			return
		}
		if !asked {
			asked = true
			since := time.Now().Add(-n.cfg.Tick * time.Duration(n.cfg.ElectionTicks))
			if n.do(func() {
				if !n.core.handOver(since) {
					close(none)
				}
			}) != nil {
				return
			}
		}
		select {
		case <-moved:
		case <-none:
			return
		case <-n.done:
			return
		case <-ctx.Done():
			return
		}
	}
}
