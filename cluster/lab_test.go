// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// lab is a switch with a namespace for each node: node i has the address
// base.i, the test itself base.254.
type lab struct {
	t     testing.TB
	name  string // of the bridge, and the prefix of all else
	base  string
	nodes int
}

// labs numbers the labs of this process.
var labs atomic.Int32

// newLab builds the network; it is torn down when the test ends. Processes in
// it must have ended by then.
func newLab(t testing.TB, nodes int) *lab {
	t.Helper()
	k := int(labs.Add(1))
	pid := os.Getpid()
	l := &lab{t: t, name: fmt.Sprintf("gr%x%x", pid&0xffff, k), base: fmt.Sprintf("10.%d.%d", 128+pid%100, (pid/100*16+k)%256), nodes: nodes}
	t.Cleanup(l.remove)
	l.ip("link", "add", l.name, "type", "bridge")
	l.ip("addr", "add", l.base+".254/24", "dev", l.name)
	l.ip("link", "set", l.name, "up")
	for i := 1; i <= nodes; i++ {
		ns, out, in := l.namespace(i), l.port(i), "eth0"
		l.ip("netns", "add", ns)
		l.ip("link", "add", out, "type", "veth", "peer", "name", in, "netns", ns)
		l.ip("link", "set", out, "master", l.name)
		l.ip("link", "set", out, "up")
		l.ip("-n", ns, "link", "set", "lo", "up")
		l.ip("-n", ns, "addr", "add", l.addr(i)+"/24", "dev", in)
		l.ip("-n", ns, "link", "set", in, "up")
	}
	return l
}

func (l *lab) namespace(i int) string { return fmt.Sprintf("%sn%d", l.name, i) }
func (l *lab) port(i int) string      { return fmt.Sprintf("%sp%d", l.name, i) }
func (l *lab) addr(i int) string      { return fmt.Sprintf("%s.%d", l.base, i) }

// here is the test's own address, where the clients are.
func (l *lab) here() string { return l.base + ".254" }

func (l *lab) ip(args ...string) {
	l.t.Helper()
	l.run("ip", args...)
}

func (l *lab) run(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s\nthis test needs root, network namespaces, iptables and tc", name, strings.Join(args, " "), err, out)
	}
}

// in runs a command in a node's namespace.
func (l *lab) in(i int, args ...string) {
	l.t.Helper()
	l.run("ip", append([]string{"netns", "exec", l.namespace(i)}, args...)...)
}

// drop has node i lose what comes from an address.
func (l *lab) drop(i int, from string) {
	l.t.Helper()
	l.in(i, "iptables", "-w", "-A", "INPUT", "-s", from, "-j", "DROP")
}

// lose has node i lose a part of all packets that arrive.
func (l *lab) lose(i int, part float64) {
	l.t.Helper()
	l.in(i, "iptables", "-w", "-A", "INPUT", "!", "-i", "lo", "-m", "statistic", "--mode", "random", "--probability", fmt.Sprint(part), "-j", "DROP")
}

// heal undoes drop and lose on every node.
func (l *lab) heal() {
	l.t.Helper()
	for i := 1; i <= l.nodes; i++ {
		l.in(i, "iptables", "-w", "-F", "INPUT")
	}
}

// throttle makes what node i sends wait: there is no more than rate (as tc
// says it), and queues of up to latency.
func (l *lab) throttle(i int, rate, latency string) {
	l.t.Helper()
	l.in(i, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kbit", "latency", latency)
}

func (l *lab) unthrottle(i int) {
	l.t.Helper()
	l.in(i, "tc", "qdisc", "del", "dev", "eth0", "root")
}

// unplug takes node i's cable out; plug puts it back.
func (l *lab) unplug(i int) { l.t.Helper(); l.ip("link", "set", l.port(i), "down") }
func (l *lab) plug(i int)   { l.t.Helper(); l.ip("link", "set", l.port(i), "up") }

// remove takes everything down, also what a failed construction left.
func (l *lab) remove() {
	for i := 1; i <= l.nodes; i++ {
		_ = exec.Command("ip", "netns", "del", l.namespace(i)).Run() // takes its interfaces along
		_ = exec.Command("ip", "link", "del", l.port(i)).Run()
	}
	_ = exec.Command("ip", "link", "del", l.name).Run()
	if _, err := net.InterfaceByName(l.name); err == nil {
		l.t.Errorf("the bridge %s is still there", l.name)
	}
}
