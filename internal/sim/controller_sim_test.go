// SPDX-License-Identifier: Apache-2.0

//go:build synctests

package sim

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/seeds"
)

// soonGone: how long a controller's process is gone until the others, brokers
// that are no controllers too, have heard from a new one that its broker is.
const soonGone = 500 * time.Millisecond

// TestSimControllerGone: an active controller that is killed is replaced, and
// its broker taken out of service, long before a clock says so; connections that
// merely end change neither controller nor term, and nobody is fenced.
// Method: three nodes and a plain broker, whose Images are looked at.
func TestSimControllerGone(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 2, 3*cost) {
		synctest.Test(t, func(t *testing.T) {
			c, err := Start(Config{Seed: seed, Nodes: 3, Plain: 1, Replicas: 3})
			t.Cleanup(c.Close)
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				controllerGone(t, c)
				if t.Failed() {
					break
				}
			}
			if t.Failed() {
				for _, m := range c.machines {
					t.Logf("node %d:\n%s", m.id, m.log)
				}
			}
		})
	}
}

func controllerGone(t *testing.T, c *Cluster) {
	time.Sleep(3 * time.Second) // whoever came last is in service
	id, term := active(t, c)
	for _, m := range c.machines {
		if m.id != id {
			c.net.ResetBetween(ip(id), ip(m.id))
			c.net.ResetBetween(ip(m.id), ip(id))
		}
	}
	time.Sleep(time.Duration(c.random.Int64N(int64(3 * time.Second))))
	if again, later := active(t, c); again != id || later != term {
		t.Errorf("a blip: controller %d of term %d became %d of term %d", id, term, again, later)
	}
	if n := inService(c.machines[len(c.machines)-1]); n != len(c.machines) {
		t.Errorf("a blip: %d brokers are in service", n)
	}
	m := c.machines[id-1]
	began := time.Now()
	m.kill()
	know := func() bool {
		for _, o := range c.machines {
			if o != m && inService(o) != len(c.machines)-1 {
				return false
			}
		}
		return true
	}
	for !know() && time.Since(began) < time.Minute {
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	t.Logf("controller %d was gone after %v", id, took)
	if took > soonGone {
		t.Errorf("controller %d was gone after %v", id, took)
	}
	m.revive()
	if err := c.AwaitUp(time.Minute); err != nil {
		t.Error(err)
	}
}

// inService counts the brokers that a node knows to be in service.
func inService(m *machine) (n int) {
	node := m.running()
	if node == nil {
		return -1
	}
	for b := range node.Image().Brokers() {
		if !b.Fenced {
			n++
		}
	}
	return n
}

// active asks for the active controller and its term.
func active(t *testing.T, c *Cluster) (id, term int32) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	err := c.operator(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return errors.New("an answer without the partition")
		}
		id, term = resp.Topics[0].Partitions[0].LeaderID, resp.Topics[0].Partitions[0].LeaderEpoch
		return nil
	})
	if err != nil || id < 1 || int(id) > len(c.machines) {
		t.Fatalf("the active controller is %d: %v", id, err)
	}
	return id, term
}
