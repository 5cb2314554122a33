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
	leads := func() bool { s := n.Status(); return s.ID != 0 && s.Leader == s.ID }
	if !leads() {
		return
	}
	none := make(chan struct{})
	since := time.Now().Add(-n.cfg.Tick * time.Duration(n.cfg.ElectionTicks))
	if n.do(func() {
		if !n.core.handOver(since) {
			close(none)
		}
	}) != nil {
		return
	}
	for {
		moved := n.Moved()
		if !leads() {
			return
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
