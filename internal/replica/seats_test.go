// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"gregor/internal/vfs"
)

// A damaged log is found by whoever reads it. If it leads it stops leading; in
// either case the replica leaves the in-sync set, fetches the partition anew and
// is in sync again, with the same bytes as the others.
func TestDamagedLogIsFetchedAnew(t *testing.T) {
	t.Parallel()
	for _, victim := range []int32{1, 2} {
		t.Run(fmt.Sprintf("node %d of leader 1", victim), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3)
			defer c.close()
			c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.SegmentBytes = 2000; x.Log.FileDeleteDelay = -1 })
			for i := range 50 {
				if _, err := c.produce(c.member(1), "t", records(t, 10*i, 10)); err != nil {
					t.Fatal(err)
				}
			}
			c.same("t", 500)
			// The bit flips while the node is away: what a process has checked once
			// it takes for good.
			m := c.member(victim)
			c.elect(1, 3, 3)
			m.stop(true)
			flip(t, m.fs, fmt.Sprintf("/d%d/t-0/%020d.log", victim, 0), 100)
			m = c.start(victim, m.fs)
			c.eventually("all in sync", func() bool { return len(c.isr(1)) == 3 })
			c.elect(1, 1, 1, 2, 3)
			p := m.table.Named("t", 0)
			_, err := p.Read(ReadRequest{MaxBytes: 1 << 20, MinOne: true, CurrentLeaderEpoch: NoEpoch, LastFetchedEpoch: NoEpoch, AnyReplica: true})
			wantCode(t, "a read of the damage", err, kerr.CorruptMessage)
			c.eventually("a whole log", func() bool {
				r := readRequest(0, ReadUncommitted)
				r.AnyReplica = true
				vs, err := readVia(p, r)
				return err == nil && len(vs) == 500
			})
			c.same("t", 500)
			c.eventually("all in sync", func() bool { return len(c.isr(1)) == 3 })
			if lead := c.leads(1); victim == 1 && lead == 1 {
				t.Error("the damaged leader leads on")
			} else if victim == 2 && lead != 1 {
				t.Errorf("node %d leads, for no reason", lead)
			}
		})
	}
}

// Damage without anybody to take over: the log is served but for that, and not
// emptied.
func TestLastReplicaKeepsItsDamage(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.SegmentBytes = 2000 })
	for i := range 20 {
		if _, err := c.produce(c.member(1), "t", records(t, 10*i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	m := c.member(1)
	c.member(2).stop(true)
	c.elect(1, 1, 1)
	m.stop(true)
	flip(t, m.fs, "/d1/t-0/00000000000000000000.log", 100)
	m = c.start(1, m.fs)
	p := m.table.Named("t", 0)
	_, err := readAll(p, 0, ReadUncommitted)
	wantCode(t, "a read of the damage", err, kerr.CorruptMessage)
	m.table.CheckDisks(time.Now())
	if _, leads := p.LeaderEpoch(); !leads || p.LogEnd() != 200 {
		t.Errorf("leads %v, log end %d", leads, p.LogEnd())
	}
	if vs, err := readAll(p, 190, ReadUncommitted); err != nil || len(vs) != 10 {
		t.Errorf("behind the damage: %d records, %v", len(vs), err)
	}
}

// A leader whose disk does not answer gives up its seats, and takes them again
// when it does.
func TestSilentDiskResigns(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 0)
	defer c.close()
	disk := newHeldSyncs()
	lead := c.start(1, disk)
	c.start(2, newHeldSyncs())
	c.topic(1, "t", 1, nil)
	if _, err := c.produce(lead, "t", records(t, 0, 1)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 1)
	disk.hold()
	let := sync.OnceFunc(disk.let)
	defer let() // before the cluster is closed, whatever happens
	p := lead.table.Named("t", 0)
	r, err := p.Append(records(t, 1, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("a flush that hangs", func() bool { return !lead.dir.Flushing().IsZero() })
	lead.table.CheckDisks(time.Now())
	if _, leads := p.LeaderEpoch(); !leads {
		t.Fatal("resigned at once")
	}
	lead.table.CheckDisks(time.Now().Add(lead.table.stallPatience() + time.Second))
	c.eventually("another leader", func() bool {
		_, leads := c.member(2).table.Named("t", 0).LeaderEpoch()
		return leads
	})
	wantCode(t, "the append that hangs", p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch), kerr.NotLeaderForPartition)
	if got := c.isr(1); !slices.Equal(got, []int32{2}) {
		t.Errorf("in-sync set %v", got)
	}
	if _, err := c.produce(c.member(2), "t", records(t, 2, 1)); err != nil {
		t.Fatal(err)
	}
	let()
	c.eventually("all in sync", func() bool { return len(c.isr(1)) == 2 })
	c.same("t", c.member(2).table.Named("t", 0).LogEnd())
}

// The same where not the flush hangs but the write before it, and with it the
// log's lock: a file system that is frozen.
func TestDiskThatHangsInAWriteResigns(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 0)
	defer c.close()
	disk := newHeldSyncs()
	lead := c.start(1, disk)
	c.start(2, newHeldSyncs())
	c.topic(1, "t", 1, nil)
	if _, err := c.produce(lead, "t", records(t, 0, 1)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 1)
	gate, held := make(chan struct{}), make(chan struct{}, 100)
	lift := disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Before: func(vfs.Call) { held <- struct{}{}; <-gate }})
	let := sync.OnceFunc(func() { lift(); close(gate) })
	defer let() // before the cluster is closed, whatever happens
	p := lead.table.Named("t", 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.Append(records(t, 1, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch}) // it may come in, or not
	}()
	<-held
	now := time.Now()
	lead.table.CheckDisks(now)
	lead.table.CheckDisks(now.Add(lead.table.stallPatience() / 2))
	if got := c.isr(1); len(got) != 2 {
		t.Fatalf("resigned at once: in-sync set %v", got)
	}
	lead.table.CheckDisks(now.Add(lead.table.stallPatience() + time.Second))
	// Here one node after the other is told, and the first cannot follow while
	// its log is held, so what has been decided is all there is to see.
	c.eventually("another leader", func() bool { return c.leads(1) == 2 && slices.Equal(c.isr(1), []int32{2}) })
	let()
	<-done
	c.eventually("the leader to know", func() bool {
		_, leads := c.member(2).table.Named("t", 0).LeaderEpoch()
		return leads
	})
	if _, err := c.produce(c.member(2), "t", records(t, 2, 1)); err != nil {
		t.Fatal(err)
	}
	c.eventually("all in sync", func() bool { return len(c.isr(1)) == 2 })
	c.same("t", c.member(2).table.Named("t", 0).LogEnd())
}
