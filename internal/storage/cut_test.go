// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"gregor/internal/vfs"
)

// A cut below the high watermark takes it back, and no checkpoint of before
// brings it back once the log has grown again.
func TestCutTakesTheHighWatermarkBack(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d, l := openOne(t, mem, LogConfig{Create: true, Durable: true})
	grow := func(epoch int32, n int) {
		t.Helper()
		for range n {
			v := testBatch(1, 1000, 10)
			if _, err := l.Append(v, Append{LeaderEpoch: epoch}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
	}
	grow(1, 100)
	l.SetHighWatermark(100)
	if err := d.writeCheckpoints(); err != nil {
		t.Fatal(err)
	}
	if err := l.TruncateTo(50); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(50)
	grow(2, 50)
	l.SetHighWatermark(60)
	d.Abandon()
	_, l = openOne(t, mem, LogConfig{Durable: true})
	if hw := l.HighWatermark(); hw > 60 {
		t.Errorf("high watermark %d after a restart: what lies above 60 was never committed", hw)
	}
}

// A cut within a batch takes the whole batch, and what is flushed ends there
// too: what is written in its place is not on the disk yet.
func TestCutWithinABatch(t *testing.T) {
	t.Parallel()
	for _, start := range []int64{0, 12} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		for range 3 {
			if _, err := l.Append(testBatch(10, 1000, 10), Append{LeaderEpoch: 4}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		if err := l.IncrementStart(start); err != nil {
			t.Fatal(err)
		}
		if err := l.TruncateTo(15); err != nil {
			t.Fatal(err)
		}
		if want := max(10, start); l.End() != want || l.Flushed() != want || l.Start() != start {
			t.Errorf("the log is [%d, %d), flushed up to %d; want [%d, %d)", l.Start(), l.End(), l.Flushed(), start, want)
		}
		d.Abandon()
		_, l = openOne(t, mem, LogConfig{Durable: true})
		if r := l.Recovery(); len(r.Damage) > 0 {
			t.Errorf("a cut counts as damage after a kill: %v", r.Damage)
		}
	}
}

// A cut among offsets that compaction left out ends the log there, though it
// takes no batch: what the leader has there is to be fetched.
func TestCutAmongOffsetsLeftOut(t *testing.T) {
	t.Parallel()
	for cut, want := range map[int64]int64{5: 5, 6: 6, 3: 3} { // 0 and 4 are kept of [0, 6)
		mem := vfs.NewMem()
		c := LogConfig{Compact: true, Durable: true, SegmentBytes: 600, FileDeleteDelay: -1}
		d, l := openOne(t, mem, c)
		for range 9 {
			appendAt(t, l, simNow, 1)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		d.sealAll()
		if err := cleanSome(l); err != nil {
			t.Fatal(err)
		}
		if err := l.TruncateTo(cut); err != nil {
			t.Fatal(err)
		}
		if l.End() != want || l.Flushed() != want {
			t.Errorf("cut at %d the log ends at %d, flushed up to %d", cut, l.End(), l.Flushed())
		}
		appendAt(t, l, simNow, 1)
		if r, err := l.Read(want, want+1, 1<<20, true); err != nil || r.First != want {
			t.Errorf("the record after the cut at %d begins at %d, %v", cut, r.First, err)
		} else {
			r.Release()
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
