// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

// Goal: whatever happens to processes, links and disks, no record that was
// acknowledged at acks=all with min.insync.replicas=2 is lost, doubled or moved,
// no reader is taken past one, no commit of a group goes back; and once
// everything is healed, clients are served again and all replicas agree.
// Method: real processes and a real network. Each ordeal has a cluster of its
// own and a load from before its first fault to after its last.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/sim/load"
)

// rounds is how often each ordeal is repeated: ROUNDS (1; more in make soak).
func rounds(t *testing.T) int {
	s := os.Getenv("ROUNDS")
	if s == "" {
		return 1
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	topic      = "t"
	partitions = 6
)

// silence is longer than a broker's session.
const silence = 6 * time.Second

// ordeal is what is done to a cluster.
type ordeal struct {
	name  string
	nodes int
	do    func(o *trial)
	// smallDisk gives each node a disk of 64 MiB.
	smallDisk bool
}

// trial is one ordeal under way.
type trial struct {
	*testing.T
	*cluster
	load   *load.Load
	random *rand.Rand
}

// progress waits until the clients have been served for a while.
func (o *trial) progress() {
	o.Helper()
	awaitMore(o.T, 200, o.load.Acknowledged)
}

// awaitMore waits until n more of what is counted have been done for clients.
func awaitMore(t *testing.T, n int64, done func() int64) {
	t.Helper()
	want := done() + n
	limit := time.Now().Add(time.Minute)
	for done() < want {
		if time.Now().After(limit) {
			t.Fatalf("clients are not served: %d done, waiting for %d", done(), want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// hold lets a fault work, whether clients are served meanwhile or not.
func (o *trial) hold(d time.Duration) { time.Sleep(d) }

// some draws n nodes.
func (o *trial) some(n int) []*node {
	var out []*node
	for _, i := range o.random.Perm(len(o.nodes))[:n] {
		out = append(out, o.nodes[i])
	}
	return out
}

// revive starts nodes anew and waits until the cluster is whole.
func (o *trial) revive(ns ...*node) {
	o.Helper()
	for _, n := range ns {
		n.start()
	}
	o.awaitBrokers(len(o.nodes))
}

// preferred draws a node and a partition that it leads if it may.
func (o *trial) preferred() (*node, int) {
	o.Helper()
	p := o.random.IntN(partitions)
	return o.nodes[o.describe(o.T, topic, p).Replicas[0]-1], p
}

// describe is a partition as the brokers tell it.
func (c *cluster) describe(t *testing.T, topic string, p int) kadm.PartitionDetail {
	t.Helper()
	client := c.client()
	defer client.Close()
	m, err := kadm.NewClient(client).Metadata(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return m.Topics[topic].Partitions[int32(p)]
}

// lead makes a node the leader of a partition that prefers it.
func (o *trial) lead(n *node, p int) {
	o.Helper()
	client := o.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	limit := time.Now().Add(time.Minute)
	for {
		_, err := admin.ElectLeaders(o.Context(), kadm.ElectPreferredReplica, kadm.TopicsSet{topic: {int32(p): {}}})
		m, err2 := admin.Metadata(o.Context(), topic)
		if err = errors.Join(err, err2); err == nil && int(m.Topics[topic].Partitions[int32(p)].Leader) == n.id {
			return
		}
		if time.Now().After(limit) {
			o.Fatalf("node %d does not lead %s-%d: %v", n.id, topic, p, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// readAll reads a partition from its start to where its end is now.
func (o *trial) readAll(p int) {
	o.Helper()
	ctx, cancel := context.WithTimeout(o.Context(), time.Minute)
	defer cancel()
	client := o.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {int32(p): kgo.NewOffset().At(0)}}))
	defer client.Close()
	var end kadm.ListedOffset
	for { // a leader just elected does not know its end for sure
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil {
			end, _ = ends.Lookup(topic, int32(p))
			break
		}
		if ctx.Err() != nil || !kerr.IsRetriable(err) {
			o.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	for at := int64(0); at < end.Offset; {
		f := client.PollFetches(ctx)
		if ctx.Err() != nil {
			o.Fatalf("%s-%d is read up to %d of %d only: %v", topic, p, at, end.Offset, f.Err())
		}
		f.EachRecord(func(r *kgo.Record) { at = r.Offset + 1 })
	}
}

var ordeals = []ordeal{
	{name: "KillOne", nodes: 3, do: func(o *trial) {
		for range 2 {
			n := o.some(1)[0]
			n.kill()
			o.progress() // with two of three
			o.revive(n)
		}
	}},
	{name: "KillMajority", nodes: 3, do: func(o *trial) {
		ns := o.some(2)
		for _, n := range ns {
			n.kill()
		}
		o.hold(2 * time.Second)
		o.revive(ns...)
	}},
	{name: "KillAll", nodes: 3, do: func(o *trial) {
		for _, n := range o.nodes {
			n.kill()
		}
		o.revive(o.nodes...)
		o.progress()
	}},
	{name: "Stopped", nodes: 3, do: func(o *trial) {
		n := o.some(1)[0]
		n.pause()
		o.hold(silence)
		o.progress()
		n.resume()
		o.awaitBrokers(3)
	}},
	{name: "Unplugged", nodes: 3, do: func(o *trial) {
		n := o.some(1)[0]
		o.lab.unplug(n.id)
		o.hold(silence)
		o.progress()
		o.lab.plug(n.id)
		o.awaitBrokers(3)
	}},
	{name: "CutFromBrokers", nodes: 3, do: func(o *trial) { // clients still reach it
		n := o.some(1)[0]
		for _, other := range o.nodes {
			if other != n {
				o.lab.drop(n.id, o.lab.addr(other.id))
				o.lab.drop(other.id, o.lab.addr(n.id))
			}
		}
		o.hold(silence)
		o.progress()
		o.lab.heal()
		o.awaitBrokers(3)
	}},
	{name: "HearsNobody", nodes: 3, do: func(o *trial) {
		n := o.some(1)[0]
		for _, other := range o.nodes {
			if other != n {
				o.lab.drop(n.id, o.lab.addr(other.id))
			}
		}
		o.hold(silence)
		o.lab.heal()
		o.awaitBrokers(3)
	}},
	{name: "IsNotHeard", nodes: 3, do: func(o *trial) {
		n := o.some(1)[0]
		for _, other := range o.nodes {
			if other != n {
				o.lab.drop(other.id, o.lab.addr(n.id))
			}
		}
		o.hold(silence)
		o.lab.heal()
		o.awaitBrokers(3)
	}},
	{name: "OneLink", nodes: 3, do: func(o *trial) {
		ns := o.some(2)
		o.lab.drop(ns[0].id, o.lab.addr(ns[1].id))
		o.lab.drop(ns[1].id, o.lab.addr(ns[0].id))
		o.hold(silence)
		o.lab.heal()
		o.awaitBrokers(3)
	}},
	{name: "CutFromClients", nodes: 3, do: func(o *trial) { // brokers still reach it
		n := o.some(1)[0]
		o.lab.drop(n.id, o.lab.here())
		o.hold(silence)
		o.lab.heal()
		o.awaitBrokers(3)
	}},
	{name: "Loss", nodes: 3, do: func(o *trial) {
		for _, n := range o.nodes {
			o.lab.lose(n.id, 0.05)
		}
		o.hold(silence)
		o.lab.heal()
		o.awaitBrokers(3)
	}},
	{name: "Delay", nodes: 3, do: func(o *trial) {
		for _, n := range o.nodes {
			o.lab.throttle(n.id, "2mbit", "300ms")
		}
		o.hold(silence)
		for _, n := range o.nodes {
			o.lab.unthrottle(n.id)
		}
		o.awaitBrokers(3)
	}},
	{name: "FullDisk", nodes: 3, smallDisk: true, do: func(o *trial) {
		n := o.nodes[o.random.IntN(3)]
		ballast := filepath.Join(n.data, "ballast")
		if err := fill(ballast); err != nil {
			o.Fatal(err)
		}
		o.hold(silence)
		if err := os.Remove(ballast); err != nil {
			o.Fatal(err)
		}
		if n.ended() { // a controller that cannot write its log may give up
			n.cmd = nil
			n.start()
		}
		o.awaitBrokers(3)
	}},
	{name: "LostDirectory", nodes: 3, do: func(o *trial) {
		n := o.some(1)[0]
		n.kill()
		if err := os.RemoveAll(n.data); err != nil {
			o.Fatal(err)
		}
		o.progress()
		o.revive(n)
	}},
	{name: "FlippedBit", nodes: 3, do: func(o *trial) {
		n, p := o.preferred()
		files := n.segments(topic, p)
		n.kill()
		if err := flip(files[0]); err != nil {
			o.Fatal(err)
		}
		o.revive(n)
		// As its leader it finds the damage when the log is read from the start;
		// it must then fetch the partition anew, and nobody else be harmed.
		o.lead(n, p)
		o.readAll(p)
		o.awaitBrokers(3)
	}},
	{name: "RollingRestart", nodes: 3, do: func(o *trial) {
		for _, n := range o.nodes {
			n.stop()
			o.progress()
			o.revive(n)
		}
	}},
	{name: "FiveKillTwo", nodes: 5, do: func(o *trial) {
		ns := o.some(2)
		for _, n := range ns {
			n.kill()
		}
		o.hold(4 * time.Second)
		o.revive(ns...)
	}},
	{name: "FiveParted", nodes: 5, do: func(o *trial) {
		ns := o.some(5)
		for _, a := range ns[:2] {
			for _, b := range ns[2:] {
				o.lab.drop(a.id, o.lab.addr(b.id))
				o.lab.drop(b.id, o.lab.addr(a.id))
			}
		}
		o.hold(silence)
		o.lab.heal()
		o.awaitBrokers(5)
	}},
}

func TestOrdeals(t *testing.T) {
	for _, o := range ordeals {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			for i := range rounds(t) {
				t.Run(strconv.Itoa(i), o.run)
			}
		})
	}
}

func (o *ordeal) run(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newCluster(t, o.nodes)
	if o.smallDisk {
		for _, n := range c.nodes {
			n.mount("64m")
		}
	}
	c.start()
	l, err := load.Start(load.Config{
		Client: c.client, Seed: seed, Topic: topic, Partitions: partitions, Replicas: 3, MinISR: 2,
		Producers: 3, Members: 2, Pause: 2 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended { // the test gave up
			l.Abandon()
		}
	}()
	tr := &trial{T: t, cluster: c, load: l, random: rand.New(rand.NewPCG(seed, 0))}
	c.awaitBrokers(o.nodes)
	tr.progress()
	o.do(tr)
	tr.progress()
	l.Finish()
	ended = true
	wrong := l.Wrong()
	for _, w := range wrong {
		t.Error(w)
	}
	c.awaitBrokers(o.nodes)
	for _, n := range c.nodes {
		n.stop()
	}
	c.compare(t, topic, partitions)
	t.Logf("%d records acknowledged", l.Acknowledged())
}

// mount gives a node a disk of its own size.
func (n *node) mount(size string) {
	n.c.t.Helper()
	if err := os.MkdirAll(n.data, 0o755); err != nil {
		n.c.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", n.data, "tmpfs", 0, "size="+size); err != nil {
		n.c.t.Fatalf("mount a small disk: %v", err)
	}
	n.mounted = true
}

// fill leaves no room on the disk where name lies.
func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
	return nil
}
