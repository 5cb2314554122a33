// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"sync"
	"time"

	"gregor/internal/quorum"
)

// How a stopping node learns that nobody can let it go, and what it does for
// those who stay.
const (
	// desertedLook is how often it looks whether controllers are there, and how
	// long it waits for one to take a connection.
	desertedLook = 100 * time.Millisecond
	knockWithin  = time.Second
	// desertedLooks in a row that find most of them gone are believed: a process
	// that is started again at once is no reason to leave without a word.
	desertedLooks = 3
	// handOverWithin bounds how long a stopping leader of the quorum waits for
	// another to stand for election.
	handOverWithin = time.Second
)

// deserted is closed when there can be no active controller: as when all nodes
// of a cluster are stopped at once, and this is the last. It looks until ctx ends.
func (n *Node) deserted(ctx context.Context) <-chan struct{} {
	found := make(chan struct{})
	go func() { // ends with ctx
		t := time.NewTicker(desertedLook)
		defer t.Stop()
		for looks := 0; looks < desertedLooks; {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if n.mostControllersGone(ctx) {
				looks++
			} else {
				looks = 0
			}
		}
		close(found)
	}()
	return found
}

// mostControllersGone tells that those of the voters that may still run are no
// majority.
func (n *Node) mostControllersGone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, knockWithin)
	defer cancel()
	voters := n.quorum.Membership().Voters
	gone := make([]bool, len(voters))
	var wg sync.WaitGroup
	for i, v := range voters {
		if v.ID != n.live.Broker().NodeID {
			wg.Go(func() { gone[i] = n.voterGone(ctx, v) })
		}
	}
	wg.Wait()
	there := 0
	for _, g := range gone {
		if !g {
			there++
		}
	}
	return there <= len(voters)/2
}

// voterGone tells that a controller's process has ended: its host refuses
// connections, or it is not reached and was let go as a broker before, which a
// majority knew. One that is only not reached may be behind a link that is cut.
func (n *Node) voterGone(ctx context.Context, v quorum.Voter) bool {
	addr, err := n.voterAddr(v)
	if err != nil {
		return false
	}
	switch n.knock(ctx, addr) {
	case refuses:
		return true
	case answers:
		return false
	}
	b := n.image.Load().Broker(v.ID)
	return b != nil && !b.Active()
}

// handOverQuorum lets another controller lead before this one stops, so that the
// others need not miss it first.
func (n *Node) handOverQuorum(ctx context.Context) {
	if n.quorum == nil || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	alone := n.deserted(ctx)
	go func() { // ends with ctx
		select {
		case <-alone:
			cancel()
		case <-ctx.Done():
		}
	}()
	n.quorum.HandOver(ctx)
}
