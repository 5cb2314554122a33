// SPDX-License-Identifier: Apache-2.0

package clean

// Goal: the Cleaner takes logs in the right order, at the right time, lets go
// when asked, and keeps its checkpoints. Method: real logs in memory, in a
// synctest bubble.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// fill appends n batches of one record with few keys and seals the segment.
func fill(t *testing.T, l *storage.Log, n int) {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	for i := range n {
		b.Reset()
		b.Append(time.Now().UnixMilli(), []byte(fmt.Sprint("key-", i%7)), make([]byte, 100))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(v, storage.Append{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(l.End())
	synctest.Wait() // the log seals it on its own goroutine
}

type bench struct {
	dir     *storage.Dir
	logs    []*storage.Log
	cleaner *Cleaner
	mu      sync.Mutex // guards what follows
	order   []storage.Name
	failed  []error
	resets  []string
}

// newBench opens n empty compacted logs and a Cleaner for them.
func newBench(t *testing.T, fsys vfs.FS, n int, cfg storage.LogConfig, limiter Limiter) *bench {
	t.Helper()
	d, err := storage.OpenDir(storage.DirConfig{FS: fsys, Path: "d", NodeID: 1, ClusterID: "c",
		IdleClose: 1000 * time.Hour, CheckpointInterval: 1000 * time.Hour, RetentionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Abandon)
	b := &bench{dir: d}
	cfg.Create, cfg.Compact, cfg.FileDeleteDelay = true, true, -1
	for p := range n {
		id := topicID
		id[0] = byte(p)
		l, err := d.Open(storage.Name{Topic: "t", Partition: int32(p)}, id, cfg)
		if err != nil {
			t.Fatal(err)
		}
		b.logs = append(b.logs, l)
	}
	b.cleaner = New(Config{FS: fsys, Limiter: limiter, MapBytes: 1 << 16, BufferBytes: 1000,
		Logs: func() []Log {
			var out []Log
			for _, l := range b.logs {
				out = append(out, Of(l))
			}
			return out
		},
		Events: Events{
			Cleaned: func(l Log, _ Stats) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.order = append(b.order, l.Name())
			},
			Failed: func(_ Log, err error) { b.failed = append(b.failed, err) },
			Reset:  func(_ string, n storage.Name, reason string) { b.resets = append(b.resets, n.String()+": "+reason) },
		}})
	return b
}

func (b *bench) point(t *testing.T, p int) int64 {
	t.Helper()
	raw, err := vfs.ReadFile(b.cleaner.cfg.FS, "d/"+CheckpointName)
	if err != nil {
		t.Fatal(err)
	}
	points, err := parseCheckpoint(raw)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := points[b.logs[p].Name()]; ok {
		return o
	}
	return -1
}

func TestDirtiestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), 3, storage.LogConfig{MinDirtyRatio: 0.3}, nil)
		w := b.cleaner.NewWorker()
		for _, l := range b.logs {
			fill(t, l, 200)
		}
		for w.Step(context.Background()) {
		}
		if len(b.order) != 3 {
			t.Fatalf("%v", b.order)
		}
		for p, l := range b.logs {
			if got := b.point(t, p); got != l.End() {
				t.Fatalf("log %d: clean to %d of %d", p, got, l.End())
			}
		}
		// Each has 7 records left, about 1200 bytes.
		b.order = nil
		fill(t, b.logs[0], 8)
		fill(t, b.logs[1], 1) // not dirty enough
		fill(t, b.logs[2], 30)
		for w.Step(context.Background()) {
		}
		if fmt.Sprint(b.order) != "[t-2 t-0]" {
			t.Fatalf("%v", b.order)
		}
	})
}

func TestCompactionLags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), 1, storage.LogConfig{MinDirtyRatio: 0.99, MinCompactionLag: time.Hour, MaxCompactionLag: 3 * time.Hour}, nil)
		w := b.cleaner.NewWorker()
		fill(t, b.logs[0], 50)
		if w.Step(context.Background()) {
			t.Fatal("cleaned what is too young")
		}
		time.Sleep(time.Hour + time.Millisecond)
		if !w.Step(context.Background()) {
			t.Fatal("not cleaned")
		}
		fill(t, b.logs[0], 3)
		time.Sleep(2 * time.Hour)
		if w.Step(context.Background()) {
			t.Fatal("cleaned what is not dirty enough")
		}
		time.Sleep(time.Hour + time.Millisecond)
		if !w.Step(context.Background()) {
			t.Fatal("not cleaned though late")
		}
	})
}

// slow lets one buffer through a minute.
type slow struct{ waits atomic.Int64 }

func (s *slow) Wait(ctx context.Context, n int) error {
	s.waits.Add(1)
	select {
	case <-time.After(time.Minute):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestPauseEndsCleaning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		b := newBench(t, vfs.NewMem(), 1, storage.LogConfig{}, s)
		l := b.logs[0]
		fill(t, l, 500)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { b.cleaner.Run(ctx); close(done) }()
		time.Sleep(2 * time.Minute)
		b.cleaner.Pause("d", l.Name())
		waits := s.waits.Load()
		if waits == 0 || len(b.order) != 0 {
			t.Fatalf("was not cleaning: %d waits, %v", waits, b.order)
		}
		if err := l.TruncateTo(100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Hour)
		if s.waits.Load() != waits {
			t.Fatal("cleaned while paused")
		}
		fill(t, l, 500)
		b.cleaner.Resume("d", l.Name())
		time.Sleep(24 * time.Hour)
		if len(b.order) != 1 || b.failed != nil {
			t.Fatalf("%v %v", b.order, b.failed)
		}
		cancel()
		<-done
	})
}

// A log that changes under the cleaner's feet costs a cleaning, not the log.
func TestTruncatedWithoutPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), 1, storage.LogConfig{SegmentBytes: 3000}, &slow{})
		l := b.logs[0]
		fill(t, l, 100)
		done := make(chan bool)
		w := b.cleaner.NewWorker()
		go func() { done <- w.Step(context.Background()) }()
		time.Sleep(time.Minute)
		if err := l.TruncateFully(1000); err != nil {
			t.Fatal(err)
		}
		if <-done || b.failed != nil || l.Start() != 1000 || l.End() != 1000 {
			t.Fatalf("%v, [%d, %d)", b.failed, l.Start(), l.End())
		}
		b.noCleaned(t)
	})
}

// What a cleaning learnt of keys that were then cut off must not delete,
// whenever the cut comes.
func TestKeysThatWereCutOff(t *testing.T) {
	t.Parallel()
	stopped := 0
	for minutes := time.Duration(1); minutes < 90; minutes += 4 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, vfs.NewMem(), 1, storage.LogConfig{SegmentBytes: 3000}, &slow{})
			l := b.logs[0]
			fill(t, l, 200)
			done := make(chan bool)
			w := b.cleaner.NewWorker()
			go func() { done <- w.Step(context.Background()) }()
			time.Sleep(minutes * time.Minute)
			// All keys are last at 193 and above.
			if err := l.TruncateTo(190); err != nil {
				t.Fatal(err)
			}
			cleaned := <-done
			if b.failed != nil {
				t.Fatal(b.failed)
			}
			b.noCleaned(t)
			if cleaned {
				return // it was done before
			}
			stopped++
			keys := map[string]bool{}
			for _, v := range batches(t, l) {
				if err := v.Each(nil, func(r batch.Record) error { keys[string(r.Key)] = true; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if minutes <= 60 && len(keys) != 7 { // later, groups had been replaced while all was there
				t.Fatalf("cut after %d minutes: %v", minutes, keys)
			}
		})
	}
	if stopped < 10 {
		t.Fatalf("only %d cuts came in time", stopped)
	}
}

// A log cut below its checkpoint is dirty from there, though nobody said so.
func TestCutBelowCheckpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), 1, storage.LogConfig{MinDirtyRatio: 0.3}, nil)
		l := b.logs[0]
		w := b.cleaner.NewWorker()
		fill(t, l, 100)
		if !w.Step(context.Background()) || b.point(t, 0) != 100 {
			t.Fatal("not cleaned")
		}
		if err := l.TruncateTo(50); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 100) // beyond the checkpoint again, with 50 to 100 new
		for w.Step(context.Background()) {
		}
		n := 0
		for _, v := range batches(t, l) {
			n += int(v.Count())
		}
		if n != 7 || b.point(t, 0) != l.End() {
			t.Fatalf("%d records, clean to %d of %d", n, b.point(t, 0), l.End())
		}
	})
}

// noCleaned fails when a cleaning left files behind.
func (b *bench) noCleaned(t *testing.T) {
	t.Helper()
	entries, err := b.cleaner.cfg.FS.List("d/t-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), ".cleaned") || strings.Contains(e.Name(), ".swap") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		b := newBench(t, mem, 2, storage.LogConfig{}, nil)
		w := b.cleaner.NewWorker()
		fill(t, b.logs[0], 100)
		for w.Step(context.Background()) {
		}
		name := b.logs[0].Name()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(b.cleaner.Truncated("d", name, 150))
		if got := b.point(t, 0); got != 100 {
			t.Fatal(got)
		}
		check(b.cleaner.Truncated("d", name, 60))
		if got := b.point(t, 0); got != 60 {
			t.Fatal(got)
		}
		check(mem.MkdirAll("e"))
		check(b.cleaner.Moved(name, "d", "e"))
		raw, err := vfs.ReadFile(mem, "e/"+CheckpointName)
		check(err)
		if string(raw) != "0\n1\nt 0 60\n" || b.point(t, 0) != -1 {
			t.Fatalf("%q", raw)
		}
		check(b.cleaner.Deleted("e", name))
		raw, err = vfs.ReadFile(mem, "e/"+CheckpointName)
		check(err)
		if string(raw) != "0\n0\n" {
			t.Fatalf("%q", raw)
		}

		// A damaged file is reported and counts for nothing.
		check(mem.Remove("d/" + CheckpointName))
		check(vfs.WriteFileAtomic(mem, "d/"+CheckpointName, []byte("what")))
		c := New(b.cleaner.cfg)
		fill(t, b.logs[0], 100)
		if !c.NewWorker().Step(context.Background()) || len(b.resets) != 1 {
			t.Fatalf("%v", b.resets)
		}
		// So does one that points beyond the end.
		check(vfs.WriteFileAtomic(mem, "d/"+CheckpointName, []byte("0\n1\nt 0 5000\n")))
		c = New(b.cleaner.cfg)
		for c.NewWorker().Step(context.Background()) {
		}
		if len(b.resets) != 2 || b.point(t, 0) != 200 {
			t.Fatalf("%v, %d", b.resets, b.point(t, 0))
		}
	})
}

// Damage makes a log uncleanable, and it is left as it was.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		b := newBench(t, mem, 1, storage.LogConfig{}, nil)
		fill(t, b.logs[0], 100)
		f, err := mem.OpenRW("d/t-0/00000000000000000000.log")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0xff}, 3000); err != nil {
			t.Fatal(err)
		}
		before, err := vfs.ReadFile(mem, f.Name())
		if err != nil {
			t.Fatal(err)
		}
		w := b.cleaner.NewWorker()
		for range 5 {
			w.Step(context.Background())
		}
		after, err := vfs.ReadFile(mem, f.Name())
		if err != nil || string(before) != string(after) {
			t.Fatalf("damaged segment was changed, %v", err)
		}
		failed := b.cleaner.Uncleanable("d")
		var ce *storage.CorruptError
		if len(b.failed) != 1 || len(failed) != 1 || !errors.As(failed[b.logs[0].Name()], &ce) {
			t.Fatalf("%v %v", b.failed, failed)
		}
		b.cleaner.Retry("d", b.logs[0].Name())
		if len(b.cleaner.Uncleanable("d")) != 0 {
			t.Fatal("still uncleanable")
		}
	})
}

func TestTwoWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), 2, storage.LogConfig{}, &slow{})
		for _, l := range b.logs {
			fill(t, l, 100)
		}
		began := time.Now()
		one, two := b.cleaner.NewWorker(), b.cleaner.NewWorker()
		done := make(chan bool)
		go func() { done <- one.Step(context.Background()) }()
		go func() { done <- two.Step(context.Background()) }()
		if first, second := <-done, <-done; !first || !second {
			t.Fatal("nothing to do")
		}
		together := time.Since(began)
		slices.SortFunc(b.order, func(x, y storage.Name) int { return int(x.Partition - y.Partition) })
		if fmt.Sprint(b.order) != "[t-0 t-1]" {
			t.Fatalf("%v", b.order)
		}
		fill(t, b.logs[0], 100)
		began = time.Now()
		if !one.Step(context.Background()) {
			t.Fatal("nothing to do")
		}
		if alone := time.Since(began); together > 2*alone {
			t.Fatalf("two together took %v, one alone %v", together, alone)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("0\n2\na 0 1\nb 3 44\n"))
	f.Add([]byte("0\n0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		points, err := parseCheckpoint(b)
		if err != nil {
			return
		}
		again, err := parseCheckpoint(formatCheckpoint(points))
		if err != nil || !maps.Equal(points, again) {
			t.Fatalf("%v became %v, %v", points, again, err)
		}
	})
}
