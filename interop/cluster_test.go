//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cluster is some gregor nodes of our own, brokers and controllers both; one
// node is a cluster too.
type cluster struct {
	nodes []*server // nodes[i] has id i+1
	turn  int       // of the next to be killed
}

// startCluster runs n nodes and waits until all are in.
func startCluster(n int, overrides ...string) *cluster {
	c := &cluster{}
	var voters, listeners []string
	for i := range n {
		s, controller := newServer(), freeAddr()
		c.nodes = append(c.nodes, s)
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, controller))
		listeners = append(listeners, "listeners=PLAINTEXT://"+s.addr+",CONTROLLER://"+controller)
	}
	for i, s := range c.nodes {
		if n > 1 {
			s.settings[0] = listeners[i]
			s.settings = append(s.settings, fmt.Sprintf("node.id=%d", i+1), "process.roles=broker,controller",
				"controller.quorum.voters="+strings.Join(voters, ","),
				"controller.listener.names=CONTROLLER", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
				fmt.Sprintf("default.replication.factor=%d", min(n, 3)), fmt.Sprintf("min.insync.replicas=%d", min(n, 3)-1),
				fmt.Sprintf("offsets.topic.replication.factor=%d", min(n, 3)),
				fmt.Sprintf("transaction.state.log.replication.factor=%d", min(n, 3)),
				fmt.Sprintf("transaction.state.log.min.isr=%d", min(n, 3)-1),
				"offsets.topic.num.partitions=10", "transaction.state.log.num.partitions=10")
		}
		s.settings = append(s.settings, overrides...)
		s.launch()
	}
	c.await()
	return c
}

// seeds is what clients are told.
func (c *cluster) seeds() string {
	var addrs []string
	for _, s := range c.nodes {
		addrs = append(addrs, s.addr)
	}
	return strings.Join(addrs, ",")
}

// await returns when every node says that all are in and that every partition
// has its replicas in sync: the next may go then.
func (c *cluster) await() {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		why := c.unsound()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			for _, s := range c.nodes {
				fmt.Fprintln(os.Stderr, s.addr)
				dump(s.log())
			}
			check(fmt.Errorf("the nodes do not come together: %s", why))
		}
	}
}

// unsound tells what a cluster lacks in the eyes of one of its nodes.
func (c *cluster) unsound() string {
	for _, s := range c.nodes {
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.RetryTimeout(time.Second))
		check(err)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		m, err := kadm.NewClient(cl).Metadata(ctx)
		cancel()
		cl.Close()
		if err != nil {
			return fmt.Sprintf("%s: %v", s.addr, err)
		}
		if len(m.Brokers) < len(c.nodes) {
			return fmt.Sprintf("%s knows %d of %d brokers", s.addr, len(m.Brokers), len(c.nodes))
		}
		for _, topic := range m.Topics.Sorted() {
			for _, p := range topic.Partitions.Sorted() {
				if p.Err != nil || p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
					return fmt.Sprintf("%s says: %s-%d: leader %d, replicas %v, in sync %v, %v", s.addr, p.Topic, p.Partition, p.Leader, p.Replicas, p.ISR, p.Err)
				}
			}
		}
	}
	return ""
}

// kill ends the next node in turn with kill -9 and starts it again. It returns
// when the cluster is whole again.
func (c *cluster) kill() {
	s := c.nodes[c.turn%len(c.nodes)]
	c.turn++
	s.kill()
	s.start()
	c.await()
}

// roll restarts the nodes in turn, as an operator does who waits for the
// cluster to be whole and then a little, until the returned function is called, which tells how
// many restarts there were.
func (c *cluster) roll(pause time.Duration) func() int {
	stop, stopped := make(chan struct{}), make(chan struct{})
	n := 0
	go func() {
		defer close(stopped)
		for ; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			s := c.nodes[n%len(c.nodes)]
			s.stop()
			s.start()
			c.await()
		}
	}()
	return sync.OnceValue(func() int { close(stop); <-stopped; return n })
}

// stop ends all nodes at once, as an operator who shuts a cluster down.
func (c *cluster) stop() {
	var wg sync.WaitGroup
	for _, s := range c.nodes {
		wg.Go(s.stop)
	}
	wg.Wait()
}

func (c *cluster) remove() {
	for _, s := range c.nodes {
		s.remove()
	}
}

// ownCluster starts nodes for one test and makes them what is under test until
// it ends. It is nil where BOOTSTRAP names a broker that is not ours to kill.
func ownCluster(t *testing.T, n int, overrides ...string) *cluster {
	t.Helper()
	if os.Getenv("BOOTSTRAP") != "" {
		t.Log("brokers are killed: this needs some of our own")
		return nil
	}
	c := startCluster(n, overrides...)
	whole := bootstrap
	bootstrap = c.seeds()
	t.Cleanup(func() { bootstrap = whole; c.stop(); c.remove() })
	return c
}
