// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Cluster is some brokers under test that are one cluster; each is a
// controller too.
//
//	c := brokertest.StartCluster(t, 3)
//	c.Topic("orders", 6)                 // three replicas, two of them in sync
//	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
//	...
//	leader := c.Leader("orders", 0)
//	leader.Kill()                        // or Pause, CutPower, Stop
//	c.Restart()                          // whoever is down, all at once
//	c.Await()                            // every replica is in sync again
type Cluster struct {
	t       testing.TB
	brokers []*Broker
}

// StartCluster starts n brokers, with the ids 1 to n, and has them stopped when
// the test ends.
func StartCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	o := options{seed: rand.Uint64(), log: t.Output()}
	for _, f := range opts {
		f(&o)
	}
	t.Logf("brokertest: seed %d", o.seed)
	c := &Cluster{t: t}
	var voters []string
	var controllers []string
	for i := range n {
		addr := freeAddr(t)
		controllers = append(controllers, addr)
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, addr))
	}
	factor := fmt.Sprint(min(n, 3))
	for i := range n {
		b := newBroker(t, o, int32(i+1))
		b.gate = newGate()
		b.member = []string{
			fmt.Sprintf("node.id=%d", b.id), fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://%s", b.addr, controllers[i]),
			"controller.listener.names=CONTROLLER", "controller.quorum.voters=" + strings.Join(voters, ","),
			"offsets.topic.replication.factor=" + factor, "offsets.topic.num.partitions=3",
			"transaction.state.log.replication.factor=" + factor, "transaction.state.log.num.partitions=3",
		}
		c.brokers = append(c.brokers, b)
	}
	t.Cleanup(c.stop)
	c.Restart()
	c.Await()
	return c
}

// stop ends every broker as a kill does: a cluster in which a majority is down
// could not be left in order.
func (c *Cluster) stop() {
	for _, b := range c.brokers {
		b.Resume()
	}
	var wg sync.WaitGroup
	for _, b := range c.brokers {
		if b.node != nil {
			wg.Go(b.Kill)
		}
	}
	wg.Wait()
}

// Addrs are where clients connect to.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, b := range c.brokers {
		out = append(out, b.addr)
	}
	return out
}

// Brokers are all of them, in the order of ids.
func (c *Cluster) Brokers() []*Broker { return c.brokers }

// Broker returns the broker with that id.
func (c *Cluster) Broker(id int32) *Broker { return c.brokers[id-1] }

// Restart starts all brokers that are down, at the same time: one alone may
// have to wait for the others.
func (c *Cluster) Restart() {
	c.t.Helper()
	errs := make([]error, len(c.brokers))
	var wg sync.WaitGroup
	for i, b := range c.brokers {
		if b.node == nil {
			wg.Go(func() {
				if err := b.boot(); err != nil {
					errs[i] = fmt.Errorf("start broker %d: %w", b.id, err)
				}
			})
		}
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatal(err)
	}
}

// Topic creates a topic with as many replicas as there are brokers, three at
// most, of which all but one must be in sync.
func (c *Cluster) Topic(name string, partitions int32, configs ...string) {
	c.t.Helper()
	factor := min(len(c.brokers), 3)
	configs = append([]string{fmt.Sprintf("min.insync.replicas=%d", max(1, factor-1))}, configs...)
	if err := createTopic(c.Addrs(), name, partitions, int16(factor), configs); err != nil {
		c.t.Fatalf("create topic %s: %v", name, err)
	}
	c.Await()
}

// awaitFor bounds the waits of Leader and Await.
const awaitFor = 30 * time.Second

// Leader is the broker that leads a partition, once there is one that is up.
func (c *Cluster) Leader(topic string, partition int32) *Broker {
	c.t.Helper()
	var leader *Broker
	c.until(fmt.Sprintf("a leader of %s-%d", topic, partition), func(m kadm.Metadata) string {
		p, ok := m.Topics[topic].Partitions[partition]
		if !ok || p.Leader < 1 || c.Broker(p.Leader).node == nil {
			return fmt.Sprintf("%+v", p)
		}
		leader = c.Broker(p.Leader)
		return ""
	})
	return leader
}

// Await waits until every broker that is up sees all of those, and every
// partition has a leader and all its replicas on them in sync.
func (c *Cluster) Await() {
	c.t.Helper()
	c.until("the cluster to be whole", c.lacks)
}

func (c *Cluster) lacks(m kadm.Metadata) string {
	seen := map[int32]bool{}
	for _, b := range m.Brokers {
		seen[b.NodeID] = true
	}
	for _, b := range c.brokers {
		if b.node != nil && !seen[b.id] {
			return fmt.Sprintf("broker %d is not in", b.id)
		}
	}
	for _, t := range m.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			inSync := map[int32]bool{}
			for _, id := range p.ISR {
				inSync[id] = true
			}
			for _, id := range p.Replicas {
				if c.Broker(id).node != nil && !inSync[id] || p.Leader < 1 {
					return fmt.Sprintf("%s-%d: leader %d, replicas %v, in sync %v", p.Topic, p.Partition, p.Leader, p.Replicas, p.ISR)
				}
			}
		}
	}
	return ""
}

// until asks each broker that is up for its metadata until missing says "" of
// all of them.
func (c *Cluster) until(what string, missing func(kadm.Metadata) string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), awaitFor)
	defer cancel()
	for {
		why := ""
		for _, b := range c.brokers {
			if b.node == nil || b.gate.closed() {
				continue
			}
			m, err := metadata(ctx, b.addr)
			if err != nil {
				why = err.Error()
			} else if w := missing(m); w != "" {
				why = fmt.Sprintf("broker %d says: %s", b.id, w)
			}
		}
		if why == "" {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			c.t.Fatalf("waiting for %s: %s", what, why)
		}
	}
}

func metadata(ctx context.Context, addr string) (kadm.Metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr)) // new: it asks its seed
	if err != nil {
		return kadm.Metadata{}, err
	}
	defer client.Close()
	return kadm.NewClient(client).Metadata(ctx)
}

// Pause holds everything that the broker of a cluster sends and hears, as if
// its process were stopped: its connections stay open and nobody answers.
func (b *Broker) Pause() {
	b.t.Helper()
	if b.gate == nil {
		b.t.Fatal("brokertest: only brokers of a cluster can be paused")
	}
	b.gate.close()
}

// Resume undoes Pause.
func (b *Broker) Resume() {
	if b.gate != nil {
		b.gate.open()
	}
}
