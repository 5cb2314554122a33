// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"strings"
	"testing"
	"time"

	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// Goal: of two processes on copies of one disk the second is refused, and the
// first goes on. Method: a disk in memory is copied while its node runs, and a
// node is started on the copy at another address.

// twin starts a node on a copy of node i's disk, elsewhere, and gives what it
// ends with.
func (v *voters) twin(i int, settings ...string) error {
	v.t.Helper()
	first, disk, addr, addrs := v.nodes[i], v.disks[i], v.addrs[i], v.list()
	// Everything that was written is in the copy.
	v.disks[i] = disk.(*vfs.Mem).CrashClone(func(n int64) int64 { return n - 1 })
	v.addrs[i] = freePort(v.t)
	n := v.make(i, append(settings, "controller.quorum.voters="+addrs)...)
	v.nodes[i], v.disks[i], v.addrs[i] = first, disk, addr
	if n == nil {
		v.t.FailNow()
	}
	ctx, cancel := context.WithTimeout(v.t.Context(), 30*time.Second)
	defer cancel()
	err := n.Start(ctx)
	n.Kill()
	return err
}

func TestTwins(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3, "broker")
	v.more = []string{"broker.session.timeout.ms=30000"} // however busy the machine is, the first is heard of
	defer v.close()
	v.startAllWhole()
	v.await("four brokers", func(n *Node) bool { return inService(n) == 4 })
	v.create(v.nodes[0], "t", 8, 3)

	lead := int(v.leader().live.Broker().NodeID) - 1
	follower := (lead + 1) % 3
	for what, c := range map[string]struct {
		node     int
		patience string
		want     string
	}{
		"the leader of the quorum": {lead, "20000", "with a copy of this metadata directory"},
		"another voter":            {follower, "20000", "with a copy of this metadata directory"},
		"a broker":                 {3, "3000", "DUPLICATE_BROKER_REGISTRATION"},
	} {
		before := *v.nodes[0].Image().Broker(int32(c.node + 1))
		if err := v.twin(c.node, "initial.broker.registration.timeout.ms="+c.patience); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the copy ended with %v", what, err)
		}
		v.await("the first to go on", func(n *Node) bool {
			b := n.Image().Broker(int32(c.node + 1))
			return b != nil && b.Incarnation == before.Incarnation && inService(n) == 4
		})
	}
	v.create(v.nodes[3], "after", 8, 3)

	// A broker that was killed is no twin of itself.
	old := v.nodes[0].Image().Broker(4).Incarnation
	v.kill(3)
	v.startWhole(3)
	v.await("the broker again", func(n *Node) bool {
		b := n.Image().Broker(4)
		return b != nil && b.Incarnation != old && b.Active()
	})
}

// A voter is not reached elsewhere while the one that votes still answers.
func TestTwinMovesNoVoter(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 2)
	defer v.close()
	v.dynamic = v.addrs[0]
	v.more = []string{"controller.quorum.auto.join.enable=true"}
	v.start(0)
	v.start(1)
	v.await("two voters", func(n *Node) bool { return len(n.quorum.Membership().Voters) == 2 })
	moved, _ := v.nodes[0].quorum.Membership().ByID(2)
	at := v.nodes[0].controllerEndpoints()[0]
	moved.Endpoints = []meta.Endpoint{at}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := v.nodes[0].ChangeVoters(ctx, updateRequest(v.nodes[0].identity.cluster, moved))
	if err == nil || !strings.Contains(err.Error(), "still answers at") {
		t.Errorf("moved: %v", err)
	}
}
