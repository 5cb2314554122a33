// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/vfs"
)

func addRequest(n *Node) *kmsg.AddRaftVoterRequest {
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.VoterID, req.VoterDirectoryID = n.live.Broker().NodeID, n.metaDir.ID()
	for _, e := range n.controllerEndpoints() {
		l := kmsg.NewAddRaftVoterRequestListener()
		l.Name, l.Host, l.Port = e.Listener, e.Host, e.Port
		req.Listeners = append(req.Listeners, l)
	}
	return req
}

func removeRequest(id int32, dir [16]byte) *kmsg.RemoveRaftVoterRequest {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	req.VoterID, req.VoterDirectoryID = id, dir
	return req
}

func (v *voters) change(at *Node, req kmsg.Request) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
	defer cancel()
	if err := at.ChangeVoters(ctx, req); err != nil {
		v.t.Fatal(err)
	}
}

func (v *voters) refusedChange(at *Node, req kmsg.Request, want *kerr.Error) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 2*time.Second)
	defer cancel()
	if err := at.ChangeVoters(ctx, req); !errors.Is(err, want) {
		v.t.Errorf("want %v, got %v", want, err)
	}
}

// A controller that lost its disk comes back, and takes its place again when
// its old self is removed and it is added: asked of any node. What cannot be
// done is refused.
func TestReplaceVoter(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAll()
	lead := v.leader()
	lost := int(lead.live.Broker().NodeID) % 3 // not the leader
	old := v.nodes[lost].metaDir.ID()
	id := int32(lost + 1)
	v.kill(lost)
	v.disks[lost] = vfs.NewMem()
	v.start(lost)
	v.set(v.leader(), "lost")
	other := v.nodes[(lost+1)%3]

	v.refusedChange(other, addRequest(v.nodes[lost]), kerr.DuplicateVoter)
	v.refusedChange(other, removeRequest(id, v.nodes[lost].metaDir.ID()), kerr.VoterNotFound)
	v.change(v.nodes[lost], removeRequest(id, old))
	v.await("two voters", func(n *Node) bool { return len(n.quorum.Membership().Voters) == 2 })
	wrong := addRequest(v.nodes[lost])
	wrong.Listeners[0].Port = other.controllerEndpoints()[0].Port
	v.refusedChange(other, wrong, kerr.InvalidRequest)
	wrong = addRequest(v.nodes[lost])
	wrong.Listeners[0].Name = "ELSEWHERE"
	v.refusedChange(other, wrong, kerr.InvalidRequest)
	cluster := "another"
	wrong = addRequest(v.nodes[lost])
	wrong.ClusterID = &cluster
	v.refusedChange(other, wrong, kerr.InconsistentClusterID)

	early := addRequest(v.nodes[lost])
	early.Version, early.AckWhenCommitted = 1, false // answered once it is begun
	v.change(v.nodes[lost], early)
	v.await("three voters", func(n *Node) bool { return len(n.quorum.Membership().Voters) == 3 && n.quorum.Membership().Self })
	v.set(v.leader(), "found")

	// It counts: with one of the two others gone there is still a leader.
	gone := int(v.leader().live.Broker().NodeID) - 1
	if gone == lost {
		gone = (lost + 1) % 3
	}
	v.kill(gone)
	v.set(v.leader(), "two are enough")
	// Taking out the one that lives would leave nobody to elect.
	lead = v.leader()
	for i, n := range v.nodes {
		if n != nil && n != lead {
			v.refusedChange(lead, removeRequest(int32(i+1), n.metaDir.ID()), kerr.InvalidRequest)
		}
	}
}

// A leader that is removed hands over, and follows.
func TestRemoveLeader(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAll()
	old := v.leader()
	v.set(old, "one")
	v.change(old, removeRequest(old.live.Broker().NodeID, old.metaDir.ID()))
	lead := v.leader()
	if lead == old {
		t.Fatal("it still leads")
	}
	v.set(lead, "two")
	v.await("two voters", func(n *Node) bool { return len(n.quorum.Membership().Voters) == 2 })
}

// controller.quorum.auto.join.enable: a controller takes a seat by itself, and
// that of its own earlier life.
func TestAutoJoin(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 2)
	defer v.close()
	v.dynamic = v.addrs[0]
	v.more = []string{"controller.quorum.auto.join.enable=true"}
	v.start(0) // bootstrap names itself alone
	v.start(1)
	both := func(n *Node) bool { return len(n.quorum.Membership().Voters) == 2 && n.quorum.Membership().Self }
	v.await("two voters", both)
	v.set(v.leader(), "one")
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Version = 2
	req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	s, err := v.nodes[1].Status(t.Context(), req)
	if err != nil || len(s.Voters) != 2 || s.Leader < 0 || len(s.Nodes) != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	for _, r := range s.Voters {
		if r.LogEnd <= 0 || r.LastFetch <= 0 || r.LastCaughtUp <= 0 {
			t.Errorf("%+v", r)
		}
	}
}
