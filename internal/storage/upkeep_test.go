// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

// TestScrubManySmall: small segments count for more than they hold, so that a
// round takes its time however many there are.
func TestScrubManySmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const logs, perSecond = 100, 10
		mem := vfs.NewMem()
		open := func(c DirConfig) *Dir {
			c.FS, c.Path, c.NodeID = mem, "/data", 1
			d, err := OpenDir(c)
			if err != nil {
				t.Fatal(err)
			}
			for i := range int32(logs) {
				l, err := d.Open(Name{"t", i}, testID, LogConfig{Create: true, Durable: true})
				if err != nil {
					t.Fatal(err)
				}
				if l.End() == 0 {
					appendAt(t, l, simNow, 1)
				}
			}
			return d
		}
		if err := open(DirConfig{}).Close(); err != nil {
			t.Fatal(err)
		}
		names := []string{"t-0", "t-99"} // the first and the last by name
		for _, n := range names {
			flip(t, mem, fmt.Sprintf("/data/%s/00000000000000000000.log", n), 70)
		}
		began := time.Now()
		found := make(chan time.Duration, len(names))
		d := open(DirConfig{ScrubRate: perSecond * scrubOpen,
			Events: Events{Corrupt: func(Name, *CorruptError) { found <- time.Since(began) }}})
		first, last := <-found, <-found
		if round := logs / perSecond * time.Second; first > 2*time.Second || last < round-2*time.Second || last > round+2*time.Second {
			t.Errorf("found after %v and %v", first, last)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestScrubCompactedMeanwhile: where the scrubber stopped there may be no batch
// when it goes on.
func TestScrubCompactedMeanwhile(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	disk := vfs.NewFaulty(vfs.NewMem())
	d := openTestDir(t, disk, "/data", Events{
		Rebuilt: func(path, reason string) { t.Errorf("rebuilt %s: %s", path, reason) },
		Corrupt: func(_ Name, c *CorruptError) { t.Error(c) },
	})
	l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, Durable: true, Compact: true, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for range 400 {
		appendAt(t, l, simNow, 1)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	d.sealAll()
	scrub := func(budget int64) (done bool) {
		l, s := d.nextToScrub()
		_, done = d.scrubSegment(l, s, budget)
		s.Release()
		return done
	}
	scrub(30_000)
	stopped := d.keeper.scrub.pos
	out, err := l.NewCleaned(0)
	if err != nil {
		t.Fatal(err)
	}
	first := testBatch(1, simNow, 1) // shorter than what was there
	first.SetLeaderEpoch(0)
	if err := out.Append(first); err != nil {
		t.Fatal(err)
	}
	f, n, release, err := l.OpenSegment(0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	release()
	for v, rest, err := batch.Next(b); ; v, rest, err = batch.Next(rest) {
		if err != nil {
			t.Fatal(err)
		}
		if v.BaseOffset() > 0 {
			if err := out.Append(v); err != nil {
				t.Fatal(err)
			}
		}
		if len(rest) == 0 {
			break
		}
	}
	if err := l.Replace([]int64{0}, out); err != nil {
		t.Fatal(err)
	}
	disk.Add(vfs.Rule{Ops: vfs.OpRead, Before: func(c vfs.Call) { reads.Add(c.N) }})
	for range 3 {
		if done := scrub(20_000); done {
			break
		}
	}
	if d.keeper.scrub.pos < stopped+30_000 && d.keeper.scrub.pos >= 0 || reads.Load() > 2<<20 {
		t.Errorf("stopped at %d, now at %d of %d, %d bytes read", stopped, d.keeper.scrub.pos, n, reads.Load())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
