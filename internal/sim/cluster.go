// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/sim/vnet"
	"gregor/internal/vfs"
	"gregor/internal/wire"
)

// Config says what a cluster is made of.
type Config struct {
	Seed uint64
	// Nodes are brokers and controllers both.
	Nodes int
	// Plain are as many brokers more, which observe the quorum. They can be
	// drained by the controller's own balancing, and be replaced.
	Plain int
	// Replicas is how many each partition has; one less need to be in sync.
	Replicas int
	// Overrides are properties of every node, as key=value.
	Overrides []string
	// Plant puts a bug between a node and its disk, to see that it is found;
	// nil leaves the disk as it is.
	Plant func(vfs.FS) vfs.FS
	// Around stands before the handler of a node's requests; nil: nothing does.
	Around func(node int32, h wire.Handler) wire.Handler
}

// Cluster is a cluster under test. Methods belong to the test's goroutine,
// but for Client.
type Cluster struct {
	cfg      Config
	net      *vnet.Net
	random   *rand.Rand
	machines []*machine
	began    time.Time
	checks   *checks

	duplicates *duplicates
	diskLost   bool // one is enough, see lostDisk

	admin      *kgo.Client // of the operator, who changes the membership
	debts      []debt
	seatTaken  bool     // a controller has lost its vote for a while
	leaving    *machine // is drained
	strangerID int32    // who lost its disk, and which directory it had
	stranger   [16]byte

	mu      sync.Mutex // guards the rest; a leaf
	story   []string
	clients int
}

// Start boots every node and waits until all serve. The cluster must be closed
// even after an error.
func Start(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, net: vnet.New(cfg.Seed), random: rand.New(rand.NewPCG(cfg.Seed, 1)), began: time.Now(), checks: newChecks()}
	c.duplicates = &duplicates{rng: rand.New(rand.NewPCG(cfg.Seed, 2)).Int64N}
	for i := range cfg.Nodes + cfg.Plain {
		m := newMachine(c, int32(i+1))
		m.plain = i >= cfg.Nodes
		c.machines = append(c.machines, m)
	}
	for _, m := range c.machines {
		m.boot()
	}
	return c, c.AwaitUp(time.Minute)
}

// properties are what the nodes have in common.
func (c *Cluster) properties() []string {
	if c.cfg.Nodes == 1 {
		return nil
	}
	var voters []string
	for i := range c.cfg.Nodes {
		voters = append(voters, fmt.Sprintf("%d@%s:9093", i+1, ip(int32(i+1))))
	}
	all := []string{"controller.quorum.voters=" + strings.Join(voters, ","), "offsets.topic.replication.factor=3",
		"transaction.state.log.replication.factor=3", "transaction.state.log.min.isr=2"}
	if c.joins() {
		all = append(all, "controller.quorum.auto.join.enable=true")
	}
	if c.cfg.Plain > 0 {
		all = append(all, "gregor.balance.enable=true", "gregor.balance.interval.ms=2000")
	}
	return all
}

// Addrs are the brokers' addresses.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, m := range c.machines {
		out = append(out, m.addr())
	}
	return out
}

// AwaitUp waits until every node that is not held down serves.
func (c *Cluster) AwaitUp(d time.Duration) error {
	limit := time.Now().Add(d)
	for _, m := range c.machines {
		for !m.serving() {
			if time.Now().After(limit) {
				return fmt.Errorf("node %d does not serve after %v: %w", m.id, d, m.lastError())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// Options are those of a franz-go client on a host of its own.
func (c *Cluster) Options() []kgo.Opt {
	c.mu.Lock()
	c.clients++
	host := c.net.Host(fmt.Sprintf("10.0.%d.%d", 1+c.clients/250, 1+c.clients%250))
	c.mu.Unlock()
	return []kgo.Opt{
		kgo.SeedBrokers(c.Addrs()...),
		kgo.Dialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return host.Dial(ctx, addr)
		}),
		kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.RetryBackoffFn(func(tries int) time.Duration { return min(time.Duration(tries)*50*time.Millisecond, time.Second) }),
		kgo.RequestRetries(1 << 30), kgo.RequestTimeoutOverhead(3 * time.Second), kgo.RetryTimeout(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
}

// Client makes a franz-go client on a host of its own.
func (c *Cluster) Client(opts ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(c.Options(), opts...)...)
	if err != nil {
		panic(err) // an option of ours is wrong
	}
	return client
}

// Close stops every node cleanly; afterwards no goroutine of theirs is left,
// or the bubble says so.
func (c *Cluster) Close() {
	if c.admin != nil {
		c.admin.Close()
	}
	for _, m := range c.machines {
		m.stop()
	}
	for _, m := range c.machines {
		m.wg.Wait()
	}
}

// Note adds a line to the story, which a failing test prints.
func (c *Cluster) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.story = append(c.story, fmt.Sprintf("%9.3fs ", time.Since(c.began).Seconds())+fmt.Sprintf(format, args...))
}

// Story is what happened, as far as it was noted.
func (c *Cluster) Story() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.story)
}

func ip(id int32) string { return fmt.Sprintf("10.0.0.%d", id) }
