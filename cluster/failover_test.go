// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

// Goal: figures, not a verdict: how long clients are without service when a
// broker goes, by the way in which it goes. The table goes to
// docs/performance.md.
// Method: three real processes at Gregor's defaults. A trial kills or silences
// a broker that leads a partition; from that moment a client asks every 20 ms
// until a record is acknowledged at acks=all (or a topic created). TRIALS (3; 30
// in make failover) of each kind, on one cluster each, which is whole again
// before the next.
package cluster

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// askEvery is how often a client without service asks again.
const askEvery = 20 * time.Millisecond

// loss is a way in which a broker goes.
type loss struct {
	name string
	// active: the leader that goes is the active controller too; no: it is not.
	active bool
	// fresh: the client that asks has no connection yet.
	fresh bool
	// create: what is asked for is a topic, and the broker that goes is the
	// active controller.
	create bool
	// follower: a follower goes, not the leader.
	follower bool
	gone     func(*node)
	back     func(*node)
}

func killed(n *node)  { n.kill() }
func started(n *node) { n.start() }

func unplugged(n *node) { n.c.lab.unplug(n.id) }
func plugged(n *node)   { n.c.lab.plug(n.id) }

var losses = []loss{
	{name: "kill -9 of the leader", gone: killed, back: started},
	{name: "kill -9 of leader and active controller", active: true, gone: killed, back: started},
	{name: "silence of the leader", fresh: true, gone: unplugged, back: plugged},
	{name: "silence of a follower", fresh: true, follower: true, gone: unplugged, back: plugged},
	{name: "kill -9 of the active controller, creating a topic", active: true, create: true, gone: killed, back: started},
}

func TestFailover(t *testing.T) {
	trials := 3
	if s := os.Getenv("TRIALS"); s != "" {
		var err error
		if trials, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	var table []string
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			c := newCluster(t, 3)
			c.start()
			client := c.impatient()
			defer client.Close()
			minISR := "2"
			if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 6, 3, map[string]*string{"min.insync.replicas": &minISR}, "f"); err != nil {
				t.Fatal(err)
			}
			var took []time.Duration
			for i := range trials {
				c.awaitBrokers(3)
				took = append(took, l.trial(t, c, client, i))
			}
			slices.Sort(took)
			table = append(table, fmt.Sprintf("| %s | %d | %.0f | %.0f | %.0f |", l.name, len(took),
				ms(took[0]), ms(took[len(took)/2]), ms(took[len(took)-1])))
		})
	}
	fmt.Println("| what goes | trials | best, ms | median, ms | worst, ms |\n|---|---|---|---|---|")
	for _, row := range table {
		fmt.Println(row)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// trial lets one broker go and returns how long the service was away.
func (l *loss) trial(t *testing.T, c *cluster, client *kgo.Client, i int) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	victim, partition := l.choose(ctx, t, c, client)
	ask := func(client *kgo.Client) error {
		if l.create {
			return create(ctx, client, fmt.Sprintf("f%d-%d", i, time.Now().UnixNano()))
		}
		return produce(ctx, client, partition)
	}
	for { // a warm connection, and proof that all was well
		err := ask(client)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("before the loss: %v", err)
		}
		time.Sleep(askEvery)
	}
	began := time.Now()
	l.gone(victim)
	if l.fresh {
		if !l.follower {
			c.awaitLeader(ctx, t, partition, victim)
		}
		client = c.fresh(victim)
		defer client.Close()
	}
	for {
		err := ask(client)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("node %d went; a minute later: %v", victim.id, err)
		}
		time.Sleep(askEvery)
	}
	took := time.Since(began)
	l.back(victim)
	return took
}

// impatient is a client that tries again each 20 ms.
func (c *cluster) impatient(opts ...kgo.Opt) *kgo.Client {
	return c.client(append([]kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(askEvery),
		kgo.RetryBackoffFn(func(int) time.Duration { return askEvery }),
	}, opts...)...)
}

func (c *cluster) others(gone *node) []string {
	var out []string
	for _, n := range c.nodes {
		if n != gone {
			out = append(out, n.addr())
		}
	}
	return out
}

// fresh is a client that knows only those who are left. Which broker it would
// ask for a producer id is its own matter, so it does without.
func (c *cluster) fresh(gone *node) *kgo.Client {
	return c.impatient(kgo.SeedBrokers(c.others(gone)...), kgo.DisableIdempotentWrite())
}

// awaitLeader has fresh clients ask those who are left until they name another
// leader: who is told the silent one can only wait for it.
func (c *cluster) awaitLeader(ctx context.Context, t *testing.T, partition int32, gone *node) {
	t.Helper()
	for ctx.Err() == nil {
		client := c.fresh(gone)
		ask, cancel := context.WithTimeout(ctx, time.Second)
		m, err := kadm.NewClient(client).Metadata(ask, "f")
		cancel()
		client.Close()
		if err == nil {
			if leader := m.Topics["f"].Partitions[partition].Leader; leader > 0 && int(leader) != gone.id {
				return
			}
		}
		time.Sleep(askEvery)
	}
	t.Fatal("nobody else leads")
}

// choose finds a broker to lose and a partition that suffers by it.
func (l *loss) choose(ctx context.Context, t *testing.T, c *cluster, client *kgo.Client) (*node, int32) {
	t.Helper()
	for ctx.Err() == nil {
		active, err := c.controller(ctx)
		m, err2 := kadm.NewClient(client).Metadata(ctx, "f")
		if err == nil && err2 == nil {
			for _, p := range m.Topics["f"].Partitions.Sorted() {
				switch {
				case p.Leader < 1:
				case l.create:
					return c.nodes[active-1], p.Partition
				case l.follower:
					for _, r := range p.Replicas {
						if r != p.Leader && r != active {
							return c.nodes[r-1], p.Partition
						}
					}
				case (p.Leader == active) == l.active:
					return c.nodes[p.Leader-1], p.Partition
				}
			}
			if l.active { // it leads nothing: give it what it prefers
				_, _ = kadm.NewClient(client).ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{"f": {0: {}, 1: {}, 2: {}, 3: {}, 4: {}, 5: {}}})
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("no such leader")
	return nil, 0
}

// controller asks who the active controller is.
func (c *cluster) controller(ctx context.Context) (int32, error) {
	client := c.client()
	defer client.Close()
	req := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("quorum: %+v", resp)
	}
	id := resp.Topics[0].Partitions[0].LeaderID
	if id < 1 || int(id) > len(c.nodes) {
		return 0, fmt.Errorf("the active controller is %d", id)
	}
	return id, nil
}

// produce sends one record. The client tries again by itself, each 20 ms.
func produce(ctx context.Context, client *kgo.Client, partition int32) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return client.ProduceSync(ctx, &kgo.Record{Topic: "f", Partition: partition, Value: []byte("x")}).FirstErr()
}

func create(ctx context.Context, client *kgo.Client, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := kadm.NewClient(client).CreateTopic(ctx, 1, 3, nil, name)
	return err
}
