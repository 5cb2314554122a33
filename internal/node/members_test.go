// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// Goal: brokers of a cluster are let in, heard of, missed and let go. Method:
// whole nodes over TCP, with disks in memory; what clients would ask goes
// through a node's uplink.

// startWhole starts node i to the end.
func (v *voters) startWhole(i int, more ...string) {
	v.t.Helper()
	n := v.make(i, more...)
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		v.t.Errorf("node %d: %v", i+1, err)
	}
}

func (v *voters) startAllWhole(more ...string) {
	v.t.Helper()
	done := make(chan struct{})
	for i := range v.nodes {
		go func() {
			defer func() { done <- struct{}{} }()
			v.startWhole(i, more...)
		}()
	}
	for range v.nodes {
		<-done
	}
	if v.t.Failed() {
		v.t.FailNow()
	}
}

// inService is how many brokers may serve, by n's image.
func inService(n *Node) (count int) {
	for b := range n.Image().Brokers() {
		if b.Active() {
			count++
		}
	}
	return count
}

func (v *voters) create(n *Node, name string, partitions int32, factor int16) *meta.Topic {
	v.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, factor
	req.Topics = append(req.Topics, rt)
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
	defer cancel()
	resp, err := n.uplink.Do(ctx, req)
	if err != nil {
		v.t.Fatal(err)
	}
	if r := resp.(*kmsg.CreateTopicsResponse).Topics[0]; r.ErrorCode != 0 {
		v.t.Fatalf("%s: %d %v", name, r.ErrorCode, r.ErrorMessage)
	}
	return n.Image().Topic(name)
}

func TestThreeBrokers(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAllWhole()
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })
	for i, n := range v.nodes {
		name := fmt.Sprintf("through-%d", i+1)
		if topic := v.create(n, name, 6, 3); topic == nil || len(topic.Partition(0).ISR) != 3 {
			t.Fatalf("%s is not in the image of the node it was created through", name)
		}
		// A block of producer ids comes from the controller, wherever that is.
		if _, err := n.ids.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	v.await("all topics", func(n *Node) bool { return n.Image().TopicCount() == 3 })

	// One that does not lead the quorum dies: what it led is led by others, well
	// before its session ends.
	lead := v.leader()
	gone := (int(lead.live.Broker().NodeID)) % 3 // the next one, from 0
	id := v.nodes[gone].live.Broker().NodeID
	began := time.Now()
	v.kill(gone)
	v.await("leaders elsewhere", func(n *Node) bool { return inService(n) == 2 && leadsNothing(n.Image(), id) })
	t.Logf("a dead broker's leaders moved within %v", time.Since(began).Round(time.Millisecond))

	// It comes back, with a new incarnation and what it had.
	v.startWhole(gone)
	v.await("three brokers again", func(n *Node) bool { return inService(n) == 3 })

	// Now the active controller itself.
	gone = int(lead.live.Broker().NodeID) - 1
	id = int32(gone + 1)
	began = time.Now()
	v.kill(gone)
	v.await("leaders elsewhere", func(n *Node) bool { return inService(n) == 2 && leadsNothing(n.Image(), id) })
	t.Logf("a dead controller's leaders moved within %v", time.Since(began).Round(time.Millisecond))
	for _, n := range v.nodes {
		if n != nil {
			v.create(n, fmt.Sprintf("after-%d", n.live.Broker().NodeID), 2, 2)
		}
	}
	v.startWhole(gone)
	v.await("three brokers once more", func(n *Node) bool { return inService(n) == 3 })

	// A clean stop: the leaders move before the node is gone.
	last := v.nodes[gone]
	v.nodes[gone] = nil
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began = time.Now()
	if err := last.Close(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("a clean stop took %v", time.Since(began).Round(time.Millisecond))
	v.await("leaders elsewhere", func(n *Node) bool { return inService(n) == 2 && leadsNothing(n.Image(), id) })
}

func leadsNothing(img *meta.Image, id int32) bool {
	for topic := range img.Topics() {
		for _, p := range topic.Partitions() {
			if p.Leader == id {
				return false
			}
		}
	}
	return true
}

// TestDirectories: with several directories a broker chooses, and the
// controller learns where replicas lie; when one fails, its replicas alone lose
// their seats and leaderships.
func TestDirectories(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	faults := make([]*vfs.Faulty, len(v.disks))
	for i := range v.disks {
		faults[i] = vfs.NewFaulty(v.disks[i])
		v.disks[i] = faults[i]
	}
	v.startAllWhole("log.dirs=/data,/more", "metadata.log.dir=/data")
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })
	// So many that chance leaves no directory without a leader.
	const partitions = 36
	v.create(v.nodes[0], "t", partitions, 3)
	v.await("directories of all replicas", func(n *Node) bool {
		for _, p := range n.Image().Topic("t").Partitions() {
			if slices.Contains(p.Dirs, meta.DirUnassigned) {
				return false
			}
		}
		return true
	})
	img := v.nodes[0].Image()
	var more meta.UUID
	for _, d := range v.nodes[0].dirs {
		if d.Path() == "/more" {
			more = d.ID()
		}
	}
	there, led := 0, 0
	for _, p := range img.Topic("t").Partitions() {
		if p.Dir(1) == more {
			there++
			if p.Leader == 1 {
				led++
			}
		}
	}
	if there == 0 || there == partitions || led == 0 {
		t.Fatalf("%d of %d replicas in /more, %d led", there, partitions, led)
	}
	for _, path := range []string{"/more/*", "/more/*/*"} {
		faults[0].Add(vfs.Rule{Ops: vfs.AnyChange, Path: path, Err: syscall.EIO})
	}
	v.create(v.nodes[1], "u", 12, 3) // something is written, and fails
	v.await("seats elsewhere", func(n *Node) bool {
		for _, p := range n.Image().Topic("t").Partitions() {
			if in := p.InSync(1); in == (p.Dir(1) == more) || p.Leader == meta.NoLeader {
				return false
			}
		}
		return !slices.Contains(n.Image().Broker(1).Dirs, more) && inService(n) == 3
	})
}

// TestMovesAreTold: when a log has moved to another directory of its broker and
// nothing else changes, the controller learns of it.
func TestMovesAreTold(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		v := newVoters(t, nodes)
		defer v.close()
		v.startAllWhole("log.dirs=/data,/more", "metadata.log.dir=/data", "broker.heartbeat.interval.ms=50")
		v.await("all brokers", func(n *Node) bool { return inService(n) == nodes })
		n := v.nodes[nodes-1]
		id := n.live.Broker().NodeID
		v.create(n, "t", 1, int16(nodes))
		v.await("the log", func(*Node) bool { p := n.table.Named("t", 0); return p != nil && p.Log() != nil })
		p := n.table.Named("t", 0)
		at := func(want meta.UUID) func(*Node) bool {
			return func(n *Node) bool { m := n.Image().Partition("t", 0); return m != nil && m.Dir(id) == want }
		}
		v.await("its directory", at(p.Log().Dir().ID()))
		for range 2 { // and back
			v.await("nothing to tell", func(*Node) bool { return n.homesIn.Load() == n.image.Load() })
			i := slices.IndexFunc(n.dirs, func(d *storage.Dir) bool { return d != p.Log().Dir() })
			if err := n.table.Move(p, n.dirs[i]); err != nil {
				t.Fatal(err)
			}
			v.await("its new directory", at(n.dirs[i].ID()))
			if p.Log().Dir() != n.dirs[i] {
				t.Error("the controller was told before the move ended")
			}
		}
	}
}

// TestOneIDTwice: a second process under an id is refused while the first is in
// service, and let in after it died; a process whose id was taken over stops.
func TestOneIDTwice(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	defer v.close()
	v.startAllWhole()
	twin := func(more ...string) *Node {
		s, err := config.Load(config.Options{Overrides: append([]string{
			"process.roles=broker", "node.id=4", "listeners=PLAINTEXT://" + freePort(t),
			"controller.quorum.voters=" + v.list(), "controller.listener.names=PLAINTEXT2", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PLAINTEXT2:PLAINTEXT",
			"log.dirs=/data", "gregor.http.listener=none"}, more...)})
		if err != nil {
			t.Fatal(err)
		}
		return New(Config{Settings: s, FS: vfs.NewMem(), Log: slog.NewTextHandler(t.Output(), nil)})
	}
	first := twin()
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.await("the fourth broker", func(n *Node) bool { return inService(n) == 4 })
	second := twin("initial.broker.registration.timeout.ms=2500")
	if err := second.Start(t.Context()); !errors.Is(err, kerr.DuplicateBrokerRegistration) || !strings.Contains(err.Error(), "node.id 4") {
		t.Errorf("a second broker 4: %v", err)
	}
	// Silent for a session, the first loses its id to another.
	first.membership.close()
	third := twin()
	if err := third.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer third.Kill()
	first.startMembership(true)
	<-first.Failed()
	if err := first.Err(); !strings.Contains(err.Error(), "two nodes must not share a node.id") {
		t.Errorf("the first broker 4 ends with: %v", err)
	}
	first.Kill()
}

// configure sets a dynamic setting of one broker.
func (v *voters) configure(n *Node, name, value string) {
	v.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = 4, fmt.Sprint(n.live.Broker().NodeID)
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = name, &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	resp, err := n.uplink.Do(v.t.Context(), req)
	if err != nil {
		v.t.Fatal(err)
	}
	if r := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; r.ErrorCode != 0 {
		v.t.Fatalf("%s=%s: %d %s", name, value, r.ErrorCode, *r.ErrorMessage)
	}
}

// TestListenersAreTold: a listener that a broker gets while it runs is known to
// the whole cluster.
func TestListenersAreTold(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 1)
	defer v.close()
	v.startAllWhole("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT")
	n := v.nodes[0]
	epoch := n.Image().Broker(1).Epoch
	v.configure(n, "listeners", "PLAINTEXT://"+v.addrs[0]+",EXTRA://"+freePort(t))
	v.await("the other listener", func(n *Node) bool { _, ok := n.Image().Broker(1).Endpoint("EXTRA"); return ok })
	if b := n.Image().Broker(1); b.Epoch != epoch || b.Fenced {
		t.Errorf("%+v, was of epoch %d", b, epoch)
	}
}

// TestCordonedDirectory: a directory that is cordoned while the broker runs
// takes no new replicas.
func TestCordonedDirectory(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 1)
	defer v.close()
	v.startAllWhole("log.dirs=/data,/more", "metadata.log.dir=/data", "cordoned.log.dirs=/more")
	n := v.nodes[0]
	in := func(path, topic string) (count int) {
		for _, p := range n.table.All() {
			if l := p.Log(); p.Topic() == topic && l != nil && l.Dir().Path() == path {
				count++
			}
		}
		return count
	}
	v.create(n, "a", 6, 1)
	if got := in("/data", "a"); got != 6 {
		t.Errorf("%d of 6 in the directory that is not cordoned", got)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.MaxVersions(nil)) // Kafka 4.3's too
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	told := func() (dirs []string) {
		resp, err := cl.Broker(1).Request(t.Context(), kmsg.NewPtrDescribeLogDirsRequest())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range resp.(*kmsg.DescribeLogDirsResponse).Dirs {
			if d.IsCordoned {
				dirs = append(dirs, d.Dir)
			}
		}
		return dirs
	}
	if got := told(); !slices.Equal(got, []string{"/more"}) {
		t.Errorf("cordoned: %v", got)
	}
	v.configure(n, "cordoned.log.dirs", "*")
	if got := told(); len(got) != 2 {
		t.Errorf("cordoned: %v", got)
	}
	v.await("cordoned directories", func(n *Node) bool { return len(n.Image().Broker(1).Cordoned) == 2 })
	topic := kmsg.NewPtrCreateTopicsRequest()
	topic.Version = 7
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "b", 1, 1
	topic.Topics = append(topic.Topics, rt)
	resp, err := n.uplink.Do(t.Context(), topic)
	if err != nil || resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != kerr.InvalidReplicationFactor.Code {
		t.Errorf("%+v %v", resp, err)
	}
}
