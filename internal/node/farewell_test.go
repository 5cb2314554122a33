// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"sync"
	"testing"
	"time"
)

// The last node of a cluster, whose quorum is gone, does not wait for a
// controller that nobody can elect: neither when the others died before nor when
// all are stopped at once. One of several, and with a majority that stays, hands
// over as ever.
func TestStopOfAll(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAllWhole()
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })
	v.create(v.nodes[0], "t", 6, 3)
	v.await("the topic", func(n *Node) bool { return n.Image().Topic("t") != nil })
	stop := func(n *Node) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		began := time.Now()
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		t.Logf("node %d stopped after %v", n.live.Broker().NodeID, took.Round(time.Millisecond))
		if took >= leaveWithin {
			t.Errorf("node %d waited %v for a controller", n.live.Broker().NodeID, took)
		}
	}

	// One goes: a majority stays, and takes its leaderships.
	lead := v.leader()
	i := int(lead.live.Broker().NodeID) - 1
	v.nodes[i] = nil
	stop(lead)
	v.await("leaders elsewhere", func(n *Node) bool { return inService(n) == 2 && leadsNothing(n.Image(), int32(i+1)) })
	v.startWhole(i)
	v.await("three brokers again", func(n *Node) bool { return inService(n) == 3 })

	// All at once.
	all := append([]*Node(nil), v.nodes...)
	clear(v.nodes)
	var wg sync.WaitGroup
	for _, n := range all {
		wg.Go(func() { stop(n) })
	}
	wg.Wait()

	// Two die and the third is stopped.
	v.startAllWhole()
	v.await("three brokers once more", func(n *Node) bool { return inService(n) == 3 })
	v.kill(0)
	v.kill(1)
	last := v.nodes[2]
	v.nodes[2] = nil
	stop(last)
}
