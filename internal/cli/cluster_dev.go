// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// devCluster is a cluster of real processes on this machine, for developing
// against. Its data outlives it: started again in the same directory it is the
// same cluster.
type devCluster struct {
	env   *Env
	nodes int
	dir   string
	port  int
	racks bool
	sets  []string
}

// devNode is one of its processes.
type devNode struct {
	id                  int
	broker, voter, http string // addresses
	conf, data, log     string // paths
	cmd                 *exec.Cmd
	ended               chan struct{} // closed when the process is gone
	err                 error         // why; set before ended is closed
}

// The ports of node i of a development cluster: brokers from --port on, the
// controllers' and the metrics' a fixed step above.
const (
	devVoterStep = 1000
	devHTTPStep  = 2000
)

// devPatience bounds how long starting may take, devFarewell how long stopping.
const (
	devPatience = 60 * time.Second
	devFarewell = 40 * time.Second
)

func newClusterDev(e *Env) *cobra.Command {
	d := &devCluster{env: e}
	cmd := &cobra.Command{
		Use: "dev", Short: "run a whole cluster on this machine, for development", Args: cobra.NoArgs,
		Long: "Start several nodes, each a broker and controller in a process of its own, and stop\n" +
			"them with Ctrl-C. Data, settings and logs are in --dir; started again in the same\n" +
			"directory it is the same cluster. Kill a node with its pid to see what happens.",
		Example: "  gregor cluster dev --nodes 3\n  gregor cluster dev --nodes 5 --port 19092 --racks --override num.partitions=3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.nodes < 1 || d.nodes > 100 {
				return &usageError{errors.New("--nodes must be 1 to 100")}
			}
			if d.port < 1 || d.port+d.nodes > 65_535 {
				return &usageError{fmt.Errorf("--port %d leaves no room for %d nodes", d.port, d.nodes)}
			}
			return d.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.IntVarP(&d.nodes, "nodes", "n", 3, "how many nodes")
	f.StringVar(&d.dir, "dir", "./gregor-dev", "directory for data, settings and logs")
	f.IntVar(&d.port, "port", 9092, "port of the first broker; the others take the next ones")
	f.BoolVar(&d.racks, "racks", false, "give every node a rack of its own")
	f.StringArrayVarP(&d.sets, "override", "o", nil, "name=value for every node; may be repeated")
	return cmd
}

func (d *devCluster) run(ctx context.Context) error {
	nodes, err := d.prepare()
	if err != nil {
		return err
	}
	defer d.stop(nodes)
	for _, n := range nodes {
		if err := d.start(n); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := d.awaitAll(ctx, nodes); err != nil || ctx.Err() != nil {
		return err
	}
	d.announce(nodes, time.Since(began))
	return d.watch(ctx, nodes)
}

// prepare picks ports and writes each node's server.properties.
func (d *devCluster) prepare() ([]*devNode, error) {
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return nil, err
	}
	var nodes []*devNode
	var voters []string
	for i := range d.nodes {
		n := &devNode{
			id: i + 1, broker: local(d.port + i), voter: local(d.port + devVoterStep + i), http: local(d.port + devHTTPStep + i),
			ended: make(chan struct{}),
		}
		base := filepath.Join(dir, "node-"+strconv.Itoa(n.id))
		n.conf, n.data, n.log = base+".properties", base, base+".log"
		for _, addr := range []string{n.broker, n.voter, n.http} {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return nil, fmt.Errorf("%s is taken (%w). Choose other ports with --port", addr, err)
			}
			l.Close()
		}
		voters = append(voters, strconv.Itoa(n.id)+"@"+n.voter)
		nodes = append(nodes, n)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if err := os.WriteFile(n.conf, []byte(d.properties(n, strings.Join(voters, ","))), 0o644); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func (d *devCluster) properties(n *devNode, voters string) string {
	factor := min(d.nodes, 3)
	lines := []string{
		"# Written by gregor cluster dev; --override changes what is here.",
		"process.roles=broker,controller",
		"node.id=" + strconv.Itoa(n.id),
		"controller.quorum.voters=" + voters,
		"listeners=PLAINTEXT://" + n.broker + ",CONTROLLER://" + n.voter,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"gregor.http.listener=" + n.http,
		"log.dirs=" + filepath.ToSlash(n.data),
		"default.replication.factor=" + strconv.Itoa(factor),
		"offsets.topic.replication.factor=" + strconv.Itoa(factor),
		"transaction.state.log.replication.factor=" + strconv.Itoa(factor),
		"min.insync.replicas=" + strconv.Itoa(max(1, factor-1)),
		"transaction.state.log.min.isr=" + strconv.Itoa(max(1, factor-1)),
	}
	if d.racks {
		lines = append(lines, "broker.rack=rack-"+strconv.Itoa(n.id))
	}
	return strings.Join(lines, "\n") + "\n"
}

// start runs a node's process. It gets a group of its own, so that Ctrl-C on
// the terminal reaches this process alone and nodes are stopped in order.
func (d *devCluster) start(n *devNode) error {
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	args := []string{"server", "--config", n.conf}
	for _, s := range d.sets {
		args = append(args, "--override", s)
	}
	cmd := exec.Command(d.env.Self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	for _, v := range os.Environ() {
		// What is set for one server must not make all of them one.
		if !strings.HasPrefix(v, "GREGOR_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		out.Close()
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	n.cmd = cmd
	go func() { // ends with the process; stop waits for it
		n.err = cmd.Wait()
		out.Close()
		close(n.ended)
	}()
	return nil
}

// awaitAll returns when every broker is a member that clients can see.
func (d *devCluster) awaitAll(ctx context.Context, nodes []*devNode) error {
	ctx, cancel := context.WithTimeout(ctx, devPatience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(nodes[0].broker), kgo.RetryTimeout(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	seen := 0
	for {
		for _, n := range nodes {
			select {
			case <-n.ended:
				return fmt.Errorf("node %d ended while it started:\n%s", n.id, tail(n.log))
			default:
			}
		}
		if resp, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(ctx, cl); err == nil {
			if seen = len(resp.Brokers); seen == len(nodes) {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("only %d of %d brokers are in after %s; %s", seen, len(nodes), devPatience, "see "+filepath.Join(d.dir, "node-*.log"))
			}
			return nil // stopped by whoever started it
		}
	}
}

func (d *devCluster) announce(nodes []*devNode, took time.Duration) {
	out := d.env.Out
	var seeds []string
	fmt.Fprintf(out, "%d nodes are up after %.1f s\n\n", len(nodes), took.Seconds())
	var rows [][]any
	for _, n := range nodes {
		seeds = append(seeds, n.broker)
		rows = append(rows, []any{n.id, n.broker, n.voter, "http://" + n.http + "/metrics", n.cmd.Process.Pid, n.log})
	}
	c := &client{env: d.env}
	_ = c.show(nil, []string{"node", "broker", "controller", "metrics", "pid", "log"}, rows) // as the lines around it: nobody is left to tell
	fmt.Fprintf(out, "\nbootstrap.servers  %s\n", strings.Join(seeds, ","))
	fmt.Fprintf(out, "data               %s (remove it to begin anew)\n", d.dir)
	fmt.Fprintf(out, "\nKAFKA_BROKERS=%s gregor cluster status\nCtrl-C stops all nodes\n", nodes[0].broker)
}

// watch tells of nodes that end, until ctx does or none is left.
func (d *devCluster) watch(ctx context.Context, nodes []*devNode) error {
	gone := make(chan *devNode, len(nodes))
	for _, n := range nodes {
		go func() {
			select {
			case <-n.ended:
				gone <- n
			case <-ctx.Done():
			}
		}()
	}
	for left := len(nodes); left > 0; left-- {
		select {
		case <-ctx.Done():
			return nil
		case n := <-gone:
			fmt.Fprintf(d.env.Err, "node %d ended: %v (%s)\n", n.id, endText(n.err), n.log)
		}
	}
	return errors.New("all nodes have ended")
}

func endText(err error) string {
	if err == nil {
		return "stopped"
	}
	return err.Error()
}

// stop asks all nodes to stop, and kills those that do not.
func (d *devCluster) stop(nodes []*devNode) {
	var wg sync.WaitGroup
	said := false
	for _, n := range nodes {
		if n.cmd == nil {
			continue
		}
		select {
		case <-n.ended:
			continue
		default:
		}
		if !said {
			fmt.Fprintln(d.env.Out, "stopping")
			said = true
		}
		wg.Go(func() {
			if err := interrupt(n.cmd.Process); err != nil {
				_ = n.cmd.Process.Kill() // it is gone already, or goes now
			}
			select {
			case <-n.ended:
			case <-time.After(devFarewell):
				fmt.Fprintf(d.env.Err, "node %d does not stop and is killed\n", n.id)
				_ = n.cmd.Process.Kill() // as above
				<-n.ended
			}
		})
	}
	wg.Wait()
}

// tail is the last lines of a file.
func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	var lines []string
	s := bufio.NewScanner(bytes.NewReader(raw))
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
