// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"context"
	"time"
)

// A leader whose process dies takes its connections with it, long before its
// followers' clocks run out. But a connection may end for other reasons, and an
// election must not come of a blip. So the end of the connection to the leader
// is a reason to dial, no more: a host that refuses the connection has no such
// process any more, and Raft is told. Any other outcome waits for the clock.
// (The same rule as for brokers: ADR 0101.)

// dials is how often a leader that can be dialled is dialled again: a process
// that is dying may lose its connections before its listener.
const dials = 3

// suspect is told that the connection to the voter has ended.
func (l *link) suspect() {
	if l.c.cfg.Refused == nil || !l.raft.Leads(l.to) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probing || l.ended {
		return
	}
	l.probing = true
	l.wg.Go(func() {
		l.probe()
		l.mu.Lock()
		l.probing = false
		l.mu.Unlock()
	})
}

// probe dials while the voter is held for the leader: at once, a tick later and
// two more later. A refusal ends that, as a rule.
func (l *link) probe() {
	for n := range dials {
		t := time.NewTimer(time.Duration(n) * l.c.cfg.Tick)
		select {
		case <-t.C:
		case <-l.ctx.Done():
			t.Stop()
			return
		}
		if !l.raft.Leads(l.to) {
			return
		}
		addr, err := l.c.cfg.Address(l.to)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, l.c.cfg.Timeout)
		refused := l.c.cfg.Refused(ctx, addr)
		cancel()
		if refused {
			// A node that stopped needs no news. The leader's last message may
			// still be on its way through this node and make it the leader again:
			// hence another look.
			_ = l.raft.Gone(l.to)
		}
	}
}
