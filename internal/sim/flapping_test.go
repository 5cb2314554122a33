// SPDX-License-Identifier: Apache-2.0

//go:build synctests

package sim

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/seeds"
	"gregor/internal/vfs"
)

// mostChanges of a partition's leader are allowed in the minute after a node
// was away or while it is slow: one away from it, one back.
const mostChanges = 2

// TestSimFlapping: a node that stood still for 20 s, or whose disk is a hundred
// times slower, does not make leadership go to and fro.
// Method: the leaders that the metadata name, over a minute, under load.
func TestSimFlapping(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 1, cost) {
		synctest.Test(t, func(t *testing.T) { flap(t, seed) })
	}
}

// flap disturbs a node in one of two ways, by the seed.
func flap(t *testing.T, seed uint64) {
	c, err := Start(Config{Seed: seed, Nodes: 3, Replicas: 3})
	t.Cleanup(c.Close)
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.load()
	if err != nil {
		t.Fatal(err)
	}
	watched := c.watch()
	time.Sleep(10 * time.Second)
	m := c.some(1)[0]
	undo := func() {}
	if seed%2 == 0 {
		t.Logf("node %d is away for 20 s", m.id)
		everybody := ips(c.others([]*machine{m}))
		for i := range 20 {
			everybody = append(everybody, fmt.Sprintf("10.0.1.%d", i))
		}
		c.net.Part([]string{m.host.IP()}, everybody)
		time.Sleep(20 * time.Second)
		c.net.HealAll()
	} else {
		t.Logf("node %d syncs in 150 ms instead of one or two", m.id)
		undo = m.disk.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Before: func(vfs.Call) { time.Sleep(150 * time.Millisecond) }})
	}
	before := c.checks.leaderChanges()
	time.Sleep(time.Minute)
	for p, n := range c.checks.leaderChanges() {
		if n -= before[p]; n > mostChanges {
			t.Errorf("%s had %d new leaders in a minute", p, n)
		}
	}
	undo()
	w.Finish()
	watched()
	for _, x := range append(c.checks.violations(), w.Wrong()...) {
		t.Error(x)
	}
	if t.Failed() {
		for _, m := range c.machines {
			t.Logf("node %d:\n%s", m.id, m.log)
		}
	}
}
