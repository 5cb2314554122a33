// SPDX-License-Identifier: Apache-2.0

//go:build synctests

// Goal: clusters of one, three and five nodes lose nothing, repeat nothing and
// take nothing back, whatever breaks, and serve again once it is healed.
// Method: see the package's doc. Each seed is a cluster of its own, tormented
// for half a minute of its time.
package sim

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/seeds"
	"gregor/internal/sim/history"
	"gregor/internal/vfs"
)

func TestSimOneNode(t *testing.T) {
	t.Parallel()
	run(t, Config{Nodes: 1, Replicas: 1}, 3)
}

func TestSimThreeNodes(t *testing.T) {
	t.Parallel()
	run(t, Config{Nodes: 3, Replicas: 3}, 3)
}

func TestSimFiveNodes(t *testing.T) {
	t.Parallel()
	run(t, Config{Nodes: 5, Replicas: 3}, 1)
}

// cost: CI's 5000 cheap seeds are ten of each size.
const cost = 500

// run tries seeds with clusters of one kind.
func run(t *testing.T, cfg Config, few int) {
	eachSeed(t, cfg, few, cost, func(t *testing.T, c *Cluster) []string {
		acknowledged, wrong := c.ordeal(30 * time.Second)
		t.Logf("%d records acknowledged", acknowledged)
		if acknowledged < 100 {
			t.Errorf("only %d records were acknowledged: this proves nothing", acknowledged)
		}
		return wrong
	})
}

// eachSeed starts a cluster for each seed, in a bubble of its own, and has it
// tormented; what torment finds wrong fails the test.
func eachSeed(t *testing.T, cfg Config, few, cost int, torment func(*testing.T, *Cluster) []string) {
	for seed := range seeds.All(t, few, cost) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			cfg.Seed = seed
			if cfg.Nodes > 1 {
				cfg.Plain = int(seed % 2)
			}
			synctest.Test(t, func(t *testing.T) { one(t, cfg, torment) })
		})
	}
}

func one(t *testing.T, cfg Config, torment func(*testing.T, *Cluster) []string) {
	c, err := Start(cfg)
	var wrong []string
	if err != nil {
		wrong = append(c.checks.violations(), err.Error())
	} else {
		wrong = torment(t, c)
	}
	c.Close()
	if len(wrong) == 0 && !t.Failed() {
		if seeds.One() {
			t.Logf("faults:\n%s", strings.Join(c.Story(), "\n"))
		}
		return
	}
	for _, m := range c.machines {
		t.Logf("node %d:\n%s", m.id, m.log)
	}
	t.Logf("metadata: %s", c.checks.state())
	t.Logf("faults:\n%s", strings.Join(c.Story(), "\n"))
	for _, x := range wrong {
		t.Error(x)
	}
}

// TestSimPlanted: a disk that forgets what it was asked to sync is found out.
func TestSimPlanted(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			c, err := Start(Config{Seed: seed, Nodes: 1, Replicas: 1, Plant: func(f vfs.FS) vfs.FS { return liar{f} }})
			if err != nil {
				t.Fatal(err)
			}
			w, err := c.load()
			if err != nil {
				t.Fatal(err)
			}
			watched := c.watch()
			time.Sleep(5 * time.Second)
			c.machines[0].crash()
			c.machines[0].revive()
			time.Sleep(5 * time.Second)
			w.Abandon()
			watched()
			c.Close()
			for _, x := range append(c.checks.violations(), w.Wrong()...) {
				for _, kind := range []history.Kind{history.Lost, history.Unseen, history.FallenEnd, history.LostCommit, history.Inconsistent} {
					if strings.Contains(x, string(kind)) {
						found[string(kind)] = true
					}
				}
			}
		})
	}
	if len(found) == 0 {
		t.Fatal("nothing was found although every disk lied")
	}
	t.Logf("found %v", found)
}

// liar is a disk that does not sync the topic's files.
type liar struct{ vfs.FS }

func (l liar) SyncFS(dir string) error {
	entries, err := l.List(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "t-") {
			if err := l.FS.SyncFS(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l liar) Create(name string) (vfs.File, error) { return deaf(l.FS.Create(name)) }
func (l liar) OpenRW(name string) (vfs.File, error) { return deaf(l.FS.OpenRW(name)) }

func deaf(f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.Contains(f.Name(), "/t-") {
		return f, err
	}
	return liarFile{f}, nil
}

type liarFile struct{ vfs.File }

func (liarFile) Sync() error     { return nil }
func (liarFile) Datasync() error { return nil }
