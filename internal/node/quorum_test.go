// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"gregor/internal/config"
	"gregor/internal/freeport"
	"gregor/internal/meta"
	"gregor/internal/quorum"
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
	// features are those that the program of every node started from now on
	// knows; nil: all.
	features []meta.FeatureRange
	// dynamic are bootstrap servers, in the place of a static list.
	dynamic string
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
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
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

// start runs the phases up to the metadata log on node i (from 0).
func (v *voters) start(i int) {
	v.t.Helper()
	if err := v.try(i); err != nil {
		v.t.Errorf("node %d: %v", i+1, err)
	}
}

// make makes node i (from 0), with more settings; nil when they are refused.
func (v *voters) make(i int, more ...string) *Node {
	v.t.Helper()
	n, err := v.build(i, more...)
	if err != nil {
		v.t.Error(err)
	}
	return n
}

func (v *voters) build(i int, more ...string) (*Node, error) {
	settings := []string{"process.roles=" + v.roles[i], fmt.Sprintf("node.id=%d", i+1), "log.dirs=/data", "gregor.http.listener=none"}
	if v.dynamic != "" {
		settings = append(settings, "controller.quorum.bootstrap.servers="+v.dynamic)
	} else {
		settings = append(settings, "controller.quorum.voters="+v.list())
	}
	name := "PLAINTEXT"
	if v.roles[i] == "controller" {
		name = "CONTROLLER"
		settings = append(settings, "controller.listener.names=CONTROLLER")
	}
	s, err := config.Load(config.Options{Overrides: append(append(settings, "listeners="+name+"://"+v.addrs[i]), append(v.more, more...)...)})
	if err != nil {
		return nil, err
	}
	v.nodes[i] = New(Config{Settings: s, FS: v.disks[i], Log: slog.NewTextHandler(v.t.Output(), nil), Features: v.features})
	return v.nodes[i], nil
}

func (v *voters) try(i int) error {
	n, err := v.build(i)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, p := range n.phases() {
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if p.name == "read metadata" {
			return nil
		}
	}
	return nil
}

// refused starts node i, which must not come up.
func (v *voters) refused(i int, want string) {
	v.t.Helper()
	if err := v.try(i); err == nil || !strings.Contains(err.Error(), want) {
		v.t.Errorf("want %q, got %v", want, err)
	}
	v.kill(i)
}

func (v *voters) startAllBut(i int) {
	v.t.Helper()
	all, roles, disks, addrs := v.nodes, v.roles, v.disks, v.addrs
	v.nodes, v.roles, v.disks, v.addrs = all[:i], roles[:i], disks[:i], addrs[:i]
	v.startAll()
	v.nodes, v.roles, v.disks, v.addrs = all, roles, disks, addrs
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

// format prepares node i's directory as kafka-storage does.
func (v *voters) format(i int, cluster string, dir meta.UUID, voters []quorum.Voter) {
	v.t.Helper()
	props := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", cluster, i+1, meta.FormatUUID(dir))
	err := v.disks[i].MkdirAll("/data")
	if err == nil {
		err = vfs.WriteFileAtomic(v.disks[i], "/data/meta.properties", []byte(props))
	}
	if err == nil {
		err = quorum.Format(v.disks[i], "/data/__cluster_metadata-0", quorum.Founding{Node: int32(i + 1), Directory: dir, Cluster: cluster, Voters: voters})
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *voters) voter(i int, dir meta.UUID) quorum.Voter {
	host, port, _ := net.SplitHostPort(v.addrs[i])
	n, _ := strconv.Atoi(port)
	return quorum.Voter{ID: int32(i + 1), Directory: dir, Endpoints: []meta.Endpoint{{Listener: "PLAINTEXT", Host: host, Port: uint16(n)}}}
}

// Controllers formatted with --initial-controllers need no list and elect as
// soon as most of them are there; one formatted with --no-initial-controllers
// follows.
func TestInitialControllers(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 4)
	defer v.close()
	v.dynamic = v.addrs[0] + "," + v.addrs[1]
	var initial []quorum.Voter
	for i := range 3 {
		initial = append(initial, v.voter(i, meta.UUID{1: byte(i + 1)}))
	}
	for i := range 3 {
		v.format(i, "c-1", initial[i].Directory, initial)
	}
	v.format(3, "c-1", meta.UUID{1: 9}, nil)
	v.start(0)
	v.start(2)
	v.set(v.leader(), "two of three")
	v.start(3)
	v.start(1)
	v.set(v.leader(), "all")
	if m := v.nodes[3].quorum.Membership(); m.Self || len(m.Voters) != 3 {
		t.Errorf("node 4 sees %+v", m)
	}
}

// A controller formatted with --standalone, and others that format themselves
// because they were only told where to ask.
func TestStandaloneAndJoiners(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 2, "broker")
	defer v.close()
	v.dynamic = v.addrs[0]
	v.format(0, "c-2", meta.UUID{1: 1}, []quorum.Voter{v.voter(0, meta.UUID{1: 1})})
	v.startAll()
	v.set(v.leader(), "one")
	for _, n := range v.nodes[1:] {
		if n.quorum.Membership().Self || n.metaDir.ClusterID() != "c-2" {
			t.Errorf("node %d is of cluster %q and votes: %v", n.live.Broker().NodeID, n.metaDir.ClusterID(), n.quorum.Membership().Self)
		}
	}
}

// A cluster begins at the levels with which its founder was formatted; a level
// that its program does not know is not taken.
func TestFoundingLevels(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 1)
	defer v.close()
	v.dynamic = v.addrs[0]
	if err := quorum.WriteLevels(v.disks[0], "/data/__cluster_metadata-0", map[string]int16{txnVersion: 1, meta.GregorVersion: 99}); err != nil {
		t.Fatal(err)
	}
	v.format(0, "c-3", meta.UUID{1: 1}, []quorum.Voter{v.voter(0, meta.UUID{1: 1})})
	v.startAllWhole()
	img := v.nodes[0].Image()
	if img.Feature(txnVersion) != 1 || img.Feature(meta.GregorVersion) != 1 || img.Feature(meta.MetadataVersion) != kafka42 {
		t.Errorf("levels %d, %d, %d", img.Feature(txnVersion), img.Feature(meta.GregorVersion), img.Feature(meta.MetadataVersion))
	}
}

// What an operator can get wrong is refused in words that say what to do.
func TestFoundingRefused(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3, "broker,controller")
	defer v.close()
	list := v.list()
	v.startAllBut(3)
	v.set(v.leader(), "one")

	// The same id at another address.
	v.more = []string{"node.id=2", "controller.quorum.voters=" + strings.TrimSuffix(list, ",4@"+v.addrs[3])}
	v.refused(3, "another node has node.id 2 already")

	// Formatted for another cluster.
	v.more = []string{"process.roles=broker", "controller.quorum.voters=" + strings.TrimSuffix(list, ",4@"+v.addrs[3])}
	v.disks[3] = vfs.NewMem()
	v.format(3, "other", meta.UUID{1: 4}, nil)
	v.refused(3, "belongs to cluster "+v.nodes[0].identity.cluster+", not other")

	// A voter whose log is gone, but not its directory's name.
	v.more = nil
	dir := v.nodes[2].metaDir.ID()
	v.kill(2)
	v.disks[2] = vfs.NewMem()
	if err := v.disks[2].MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	props := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=3\ndirectory.id=%s\n", v.nodes[0].identity.cluster, meta.FormatUUID(dir))
	if err := vfs.WriteFileAtomic(v.disks[2], "/data/meta.properties", []byte(props)); err != nil {
		t.Fatal(err)
	}
	v.refused(2, "its metadata log is gone")

	// Empty, it comes back and follows.
	v.disks[2] = vfs.NewMem()
	v.start(2)
	v.set(v.leader(), "two")
	if v.nodes[2].quorum.Membership().Self {
		t.Error("a voter that lost its disk votes again")
	}
}
