// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setBroker changes one setting of a broker, or the default of all ("").
func (v *voters) setBroker(n *Node, broker, key, value string) {
	v.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, broker
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = key, &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
	defer cancel()
	for {
		resp, err := n.uplink.Do(ctx, req)
		if err != nil {
			v.t.Fatal(err)
		}
		switch r := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; r.ErrorCode {
		case 0:
			return
		case kerr.RequestTimedOut.Code: // a busy machine: clients ask again
		default:
			v.t.Fatalf("%s=%s: %d %s", key, value, r.ErrorCode, *r.ErrorMessage)
		}
	}
}

// holds counts a broker's replicas, and those that are in sync.
func holds(n *Node, id int32) (replicas, inSync int) {
	for topic := range n.Image().Topics() {
		for _, p := range topic.Partitions() {
			if p.HasReplica(id) {
				replicas++
			}
			if p.InSync(id) {
				inSync++
			}
		}
	}
	return replicas, inSync
}

// TestControllerBalances: a broker that is drained hands all over to the
// others, in batches; taken back, it gets its share again.
func TestControllerBalances(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAllWhole()
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })
	ask := v.nodes[0]
	v.create(ask, "t", 12, 2)
	v.setBroker(ask, "2", "gregor.broker.drain", "true")
	v.setBroker(ask, "", "gregor.balance.batch", "3")
	v.setBroker(ask, "", "gregor.balance.interval.ms", "1000")
	if r, _ := holds(ask, 2); r != 8 {
		t.Fatalf("broker 2 has %d replicas of 24", r)
	}
	v.setBroker(ask, "", "gregor.balance.enable", "true")
	v.await("a drained broker has nothing", func(n *Node) bool {
		r, _ := holds(n, 2)
		a, syncA := holds(n, 1)
		b, syncB := holds(n, 3)
		return r == 0 && a == 12 && b == 12 && syncA == 12 && syncB == 12
	})
	v.setBroker(ask, "2", "gregor.broker.drain", "false")
	v.await("it has a share again", func(n *Node) bool {
		r, inSync := holds(n, 2)
		return r >= 7 && inSync == r
	})
	for i := range ask.Image().Topic("t").Partitions() {
		if p := ask.Image().Partition("t", i); len(p.Replicas) != 2 {
			t.Errorf("partition %d has replicas %v", i, p.Replicas)
		}
	}
}
