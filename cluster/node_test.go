// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// gregor is the binary under test, built by TestMain.
var gregor string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gregor-cluster")
	if err != nil {
		panic(err)
	}
	gregor = filepath.Join(dir, "gregor")
	if out, err := exec.Command("go", "build", "-o", gregor, "../cmd/gregor").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// cluster is some nodes under test.
type cluster struct {
	t     testing.TB
	lab   *lab
	nodes []*node // nodes[i] has id i+1
}

// node is one gregor server.
type node struct {
	c    *cluster
	id   int
	dir  string // of everything of the node
	data string
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended

	mounted bool // data is a file system of its own
}

// newCluster prepares n nodes, brokers and controllers both. They end with the
// test.
func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, lab: newLab(t, n)}
	root, err := os.MkdirTemp("", "gregor-cluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.kill()
			if t.Failed() {
				n.tell()
			}
			if n.mounted {
				_ = syscall.Unmount(n.data, 0)
			}
		}
		_ = os.RemoveAll(root)
	})
	for i := 1; i <= n; i++ {
		dir := filepath.Join(root, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, &node{c: c, id: i, dir: dir, data: filepath.Join(dir, "data")})
	}
	return c
}

// start starts all nodes and waits until all serve.
func (c *cluster) start() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.start()
	}
	c.awaitBrokers(len(c.nodes))
}

// start launches the process.
func (n *node) start() {
	n.c.t.Helper()
	lab := n.c.lab
	var voters []string
	for i := 1; i <= lab.nodes; i++ {
		voters = append(voters, fmt.Sprintf("%d@%s:9093", i, lab.addr(i)))
	}
	args := []string{"netns", "exec", lab.namespace(n.id), gregor, "server"}
	for _, o := range []string{
		fmt.Sprintf("node.id=%d", n.id), "process.roles=broker,controller", "log.dirs=" + n.data, "gregor.http.listener=none",
		fmt.Sprintf("listeners=PLAINTEXT://%s:9092,CONTROLLER://%s:9093", lab.addr(n.id), lab.addr(n.id)),
		"controller.listener.names=CONTROLLER", "controller.quorum.voters=" + strings.Join(voters, ","),
		"offsets.topic.replication.factor=3", "offsets.topic.num.partitions=5", "group.initial.rebalance.delay.ms=0",
		"gregor.log.level=debug",
	} {
		args = append(args, "-o", o)
	}
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.cmd = exec.Command("ip", args...) // which becomes the server: one process
	n.cmd.Stdout, n.cmd.Stderr = log, log
	// Should this test be killed, so are they.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.c.t.Fatal(err)
	}
	n.done = make(chan struct{})
	go func() {
		defer close(n.done)
		_ = n.cmd.Wait() // the log says why it ended
		_ = log.Close()
	}()
}

func (n *node) addr() string { return n.c.lab.addr(n.id) + ":9092" }

func (n *node) signal(s syscall.Signal) {
	n.c.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.c.t.Errorf("node %d: %v: %v", n.id, s, err)
	}
}

// kill is kill -9; it returns when the process is gone.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.done
	n.cmd = nil
}

// stop is what an operator does.
func (n *node) stop() {
	n.c.t.Helper()
	n.signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(time.Minute):
		n.c.t.Errorf("node %d does not stop", n.id)
		n.signal(syscall.SIGQUIT) // for the stacks
		<-n.done
	}
	if s := n.cmd.ProcessState.ExitCode(); s != 0 {
		n.c.t.Errorf("node %d stopped with status %d", n.id, s)
	}
	n.cmd = nil
}

func (n *node) pause()  { n.c.t.Helper(); n.signal(syscall.SIGSTOP) }
func (n *node) resume() { n.c.t.Helper(); n.signal(syscall.SIGCONT) }

// ended tells whether the process is gone by itself.
func (n *node) ended() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// told is how many of a log's last bytes a failing test prints.
const told = 12 << 10

func (n *node) tell() {
	b, err := os.ReadFile(filepath.Join(n.dir, "log"))
	if err != nil {
		n.c.t.Log(err)
		return
	}
	if dir := os.Getenv("LOGS"); dir != "" {
		name := filepath.Join(dir, fmt.Sprintf("%s-%d.log", strings.ReplaceAll(n.c.t.Name(), "/", "-"), n.id))
		if err := os.WriteFile(name, b, 0o644); err != nil {
			n.c.t.Log(err)
		}
	}
	if len(b) > told {
		b = b[len(b)-told:]
	}
	n.c.t.Logf("node %d:\n%s", n.id, b)
}

func (c *cluster) addrs() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.addr())
	}
	return out
}

// options are those of a franz-go client that tries again soon, and as long as it
// takes.
func (c *cluster) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(c.addrs()...), kgo.DialTimeout(2 * time.Second),
		kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.RetryBackoffFn(func(tries int) time.Duration {
			return min(time.Duration(tries)*20*time.Millisecond, 500*time.Millisecond)
		}),
		kgo.RequestRetries(1 << 30), kgo.RequestTimeoutOverhead(3 * time.Second), kgo.RetryTimeout(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
}

// client is one with these options and its own.
func (c *cluster) client(opts ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(c.options(), opts...)...)
	if err != nil {
		panic(err) // an option of ours is wrong
	}
	return client
}

// awaitBrokers waits until every node says that n brokers are in the cluster
// and that every partition has a leader and all its replicas in sync. Asking one
// is not enough: it may have been away, and not know it.
func (c *cluster) awaitBrokers(n int) {
	c.t.Helper()
	limit := time.Now().Add(90 * time.Second)
	for {
		why := c.unsound(n)
		if why == "" {
			return
		}
		for _, n := range c.nodes {
			if n.cmd != nil && n.ended() {
				c.t.Fatalf("node %d ended by itself: %v", n.id, n.cmd.ProcessState)
			}
		}
		if time.Now().After(limit) {
			c.t.Fatalf("the cluster does not come together: %s", why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// unsound tells what a cluster of n brokers lacks in the eyes of one of its
// nodes.
func (c *cluster) unsound(n int) string {
	for _, node := range c.nodes {
		if node.cmd == nil {
			continue
		}
		client := c.client(kgo.SeedBrokers(node.addr()))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		m, err := kadm.NewClient(client).Metadata(ctx) // a new client asks its seed
		cancel()
		client.Close()
		if err != nil {
			return fmt.Sprintf("node %d: %v", node.id, err)
		}
		if why := lacks(m, n); why != "" {
			return fmt.Sprintf("node %d says: %s", node.id, why)
		}
	}
	return ""
}

// lacks tells what a cluster of n brokers still lacks.
func lacks(m kadm.Metadata, n int) string {
	if len(m.Brokers) < n {
		return fmt.Sprintf("%d of %d brokers", len(m.Brokers), n)
	}
	for _, topic := range m.Topics.Sorted() {
		for _, p := range topic.Partitions.Sorted() {
			switch {
			case p.Err != nil:
				return fmt.Sprintf("%s-%d: %v", p.Topic, p.Partition, p.Err)
			case p.Leader < 0 || len(p.ISR) < len(p.Replicas):
				return fmt.Sprintf("%s-%d: leader %d, replicas %v, in sync %v", p.Topic, p.Partition, p.Leader, p.Replicas, p.ISR)
			}
		}
	}
	return ""
}
