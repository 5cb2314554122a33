// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// Goal: nodes that name each other become one quorum over the network, elect,
// go on without the one that led, and take it back. Method: the first phases of
// real nodes over TCP, with disks in memory.
type voters struct {
	t     *testing.T
	addrs []string
	disks []vfs.FS
	nodes []*Node
	roles []string
	more  []string // settings of all
}

// newVoters prepares n nodes in all roles; more come with their roles.
func newVoters(t *testing.T, n int, roles ...string) *voters {
	v := &voters{t: t, nodes: make([]*Node, n+len(roles))}
	for range n {
		v.roles = append(v.roles, "broker,controller")
	}
	v.roles = append(v.roles, roles...)
	for range v.roles {
		v.addrs = append(v.addrs, freePort(t))
		v.disks = append(v.disks, vfs.NewMem())
	}
	return v
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (v *voters) list() string {
	var words []string
	for i, a := range v.addrs {
		if strings.Contains(v.roles[i], "controller") {
			words = append(words, fmt.Sprintf("%d@%s", i+1, a))
		}
	}
	return strings.Join(words, ",")
}

// make makes node i (from 0), with more settings; nil when they are refused.
func (v *voters) make(i int, more ...string) *Node {
	v.t.Helper()
	name := "PLAINTEXT"
	settings := append([]string{"process.roles=" + v.roles[i], fmt.Sprintf("node.id=%d", i+1),
		"controller.quorum.voters=" + v.list(), "log.dirs=/data", "gregor.http.listener=none"}, v.more...)
	if v.roles[i] == "controller" {
		name = "CONTROLLER"
		settings = append(settings, "controller.listener.names=CONTROLLER")
	}
	s, err := config.Load(config.Options{Overrides: append(append(settings, "listeners="+name+"://"+v.addrs[i]), more...)})
	if err != nil {
		v.t.Error(err)
		return nil
	}
	v.nodes[i] = New(Config{Settings: s, FS: v.disks[i], Log: slog.NewTextHandler(v.t.Output(), nil)})
	return v.nodes[i]
}

// start runs the phases up to the metadata log on node i (from 0).
func (v *voters) start(i int) {
	v.t.Helper()
	n := v.make(i)
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, p := range n.phases() {
		if err := p.run(ctx); err != nil {
			v.t.Errorf("node %d: %s: %v", i+1, p.name, err)
			return
		}
		if p.name == "read metadata" {
			return
		}
	}
}

func (v *voters) startAll() {
	v.t.Helper()
	done := make(chan struct{})
	for i := range v.nodes {
		go func() {
			defer func() { done <- struct{}{} }()
			v.start(i)
		}()
	}
	for range v.nodes {
		<-done
	}
	if v.t.Failed() {
		v.t.FailNow()
	}
}

func (v *voters) kill(i int) {
	v.nodes[i].Kill()
	v.nodes[i] = nil
}

// await waits until f holds for every node that runs.
func (v *voters) await(what string, f func(*Node) bool) {
	v.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, n := range v.nodes {
		for n != nil && !f(n) {
			if time.Now().After(deadline) {
				v.t.Fatalf("node %d: no %s in 20 s", n.live.Broker().NodeID, what)
			}
			time.Sleep(5 * time.Millisecond) // polls what has no event; bounded above
		}
	}
}

// leader waits until all that run agree on one of them.
func (v *voters) leader() *Node {
	v.t.Helper()
	var lead *Node
	v.await("leader", func(n *Node) bool {
		id, addr, ok := n.leader()
		if !ok || v.nodes[id-1] == nil || !v.nodes[id-1].quorum.Status().Leading || addr != v.addrs[id-1] {
			return false
		}
		lead = v.nodes[id-1]
		return true
	})
	return lead
}

func (v *voters) set(n *Node, name string) {
	v.t.Helper()
	_, err := n.controller.Submit(v.t.Context(), "test", func(*meta.Image) ([]meta.Record, error) {
		return []meta.Record{meta.FeatureRecord{Name: name, Level: 1}}, nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.await(name, func(n *Node) bool { return n.Image().Feature(name) == 1 })
}

func (v *voters) close() {
	for _, n := range v.nodes {
		if n != nil {
			n.Kill()
		}
	}
}

func TestStaticVoters(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAll()
	first := v.leader()
	v.set(first, "one")
	cluster := first.Image().ClusterID()
	if cluster == "" {
		t.Fatal("no cluster id")
	}
	v.await("cluster id", func(n *Node) bool { return n.Image().ClusterID() == cluster && n.metaDir.ClusterID() == cluster })
	gone := int(first.live.Broker().NodeID) - 1
	v.kill(gone)
	second := v.leader()
	v.set(second, "two")
	v.start(gone)
	v.leader()
	v.await("what was missed", func(n *Node) bool { return n.Image().Feature("two") == 1 })
	v.set(v.leader(), "three")
}

// A broker that is no controller, and controllers that are no brokers: the
// broker follows what is committed, also after it was away, and goes on with
// another source when the one it pulls from dies.
func TestObserver(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 0, "controller", "controller", "controller", "broker")
	defer v.close()
	v.startAll()
	lead := v.leader()
	v.set(lead, "one")
	if b := v.nodes[3]; b.quorum.Membership().Self || len(b.quorum.Membership().Voters) != 3 {
		t.Fatalf("the broker sees %+v", b.quorum.Membership())
	}
	v.kill(3)
	v.set(v.leader(), "two")
	v.start(3)
	v.set(v.leader(), "three")
	lead = v.leader()
	found := false
	for _, o := range lead.quorum.Observers() {
		found = found || o.ID == 4 && !o.Controller && !o.LastCaughtUp.IsZero()
	}
	if !found {
		t.Errorf("the leader knows of %+v", lead.quorum.Observers())
	}
	v.kill(int(lead.live.Broker().NodeID) - 1)
	v.set(v.leader(), "four")
	if v.nodes[3].Image().ClusterID() != v.nodes[3].metaDir.ClusterID() {
		t.Error("the broker's directory is of another cluster")
	}
}

// A broker that was away while the log was trimmed takes a snapshot.
func TestObserverTakesSnapshot(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 1, "broker")
	v.more = []string{"metadata.log.max.record.bytes.between.snapshots=2000"}
	defer v.close()
	v.startAll()
	v.set(v.leader(), "one")
	v.kill(1)
	for i := range 100 {
		v.set(v.leader(), fmt.Sprint("f", i))
	}
	log := v.nodes[0].quorum
	v.more = nil // so that it writes none itself
	v.start(1)
	v.set(v.leader(), "two")
	if v.nodes[1].Image().Feature("f50") != 1 {
		t.Error("something is missing")
	}
	if names, err := v.snapshots(1); err != nil || len(names) != 1 {
		t.Errorf("%d snapshots, %v", len(names), err)
	}
	if p := v.nodes[1].quorum.Position(); p != log.Position() {
		t.Errorf("at %+v, the leader at %+v", p, log.Position())
	}
}

func (v *voters) snapshots(i int) (names []string, err error) {
	all, err := v.disks[i].List("/data/__cluster_metadata-0")
	for _, e := range all {
		if strings.HasSuffix(e.Name(), ".gregor-snapshot") {
			names = append(names, e.Name())
		}
	}
	return names, err
}
