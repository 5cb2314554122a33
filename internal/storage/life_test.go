// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

// openOne opens a directory in memory with one log.
func openOne(t testing.TB, fsys vfs.FS, c LogConfig) (*Dir, *Log) {
	t.Helper()
	d := openTestDir(t, fsys, "/data", Events{})
	c.Create = true
	l, err := d.Open(Name{"t", 0}, testID, c)
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

func appendAt(t testing.TB, l *Log, ts int64, n int) {
	t.Helper()
	if _, err := l.Append(testBatch(n, ts, 100), Append{}); err != nil {
		t.Fatal(err)
	}
}

func bases(t testing.TB, l *Log) []int64 {
	t.Helper()
	infos, err := l.Segments()
	if err != nil {
		t.Fatal(err)
	}
	var bs []int64
	for _, s := range infos {
		bs = append(bs, s.Base)
	}
	return bs
}

func wantBases(t testing.TB, l *Log, want ...int64) {
	t.Helper()
	if got := bases(t, l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("segments at %v, want %v", got, want)
	}
}

// TestRoll: by size, by the records' time, and by the wall clock only where
// there are no timestamps.
func TestRoll(t *testing.T) {
	t.Parallel()
	_, l := openOne(t, vfs.NewMem(), LogConfig{SegmentBytes: 500, SegmentAge: time.Hour})
	hour := time.Hour.Milliseconds()
	appendAt(t, l, simNow, 1)
	appendAt(t, l, simNow+hour, 1) // exactly one hour: not more than
	wantBases(t, l, 0)
	appendAt(t, l, simNow+hour+1, 1)
	wantBases(t, l, 0, 2)
	appendAt(t, l, simNow, 1) // older records do not roll
	wantBases(t, l, 0, 2)
	appendAt(t, l, simNow, 3) // does not fit any more
	wantBases(t, l, 0, 2, 4)
	if _, err := l.Append(testBatch(5, simNow, 100), Append{}); !errors.Is(err, ErrRecordListTooLarge) {
		t.Fatalf("a batch larger than a segment: %v", err)
	}
	l.Configure(LogConfig{SegmentBytes: 5000, SegmentAge: -1})
	appendAt(t, l, simNow+100*hour, 5)
	wantBases(t, l, 0, 2, 4)
}

// TestRetention: by time, size and start offset, never above the high
// watermark, and files go after the delay.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{SegmentBytes: 500, Delete: true, Retention: time.Hour, RetentionBytes: 700, SegmentAge: -1})
		now := time.Now()
		for range 6 {
			appendAt(t, l, now.UnixMilli(), 2)
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		wantBases(t, l, 0, 2, 4, 6, 8, 10, 12)
		retain := func(at time.Time, want int) {
			t.Helper()
			if n, err := l.Retain(at); err != nil || n != want {
				t.Fatalf("deleted %d (%v), want %d", n, err, want)
			}
		}
		retain(now, 0) // nothing is below the high watermark
		l.SetHighWatermark(3)
		retain(now, 1) // 6 x 275 bytes, 700 may stay, but offset 3 is committed only
		wantBases(t, l, 2, 4, 6, 8, 10, 12)
		if l.Start() != 2 {
			t.Fatalf("start %d", l.Start())
		}
		l.SetHighWatermark(12)
		retain(now, 2)
		wantBases(t, l, 6, 8, 10, 12)
		if err := l.IncrementStart(9); err != nil {
			t.Fatal(err)
		}
		retain(now, 1)
		wantBases(t, l, 8, 10, 12)
		if _, err := l.Read(8, 12, 100, true); err == nil {
			t.Fatal("read below the start")
		}
		// A reader keeps what it holds.
		s, err := l.Read(9, 12, 1000, true)
		if err != nil || s.N == 0 {
			t.Fatal(err)
		}
		retain(now.Add(2*time.Hour), 2)
		wantBases(t, l, 12)
		if l.Start() != 12 || l.End() != 12 {
			t.Fatalf("[%d, %d)", l.Start(), l.End())
		}
		logs := func() (n int) {
			entries, err := mem.List("/data/t-0")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.Contains(e.Name(), ".log") {
					n++
				}
			}
			return n
		}
		time.Sleep(59 * time.Second) // virtual time
		if n := logs(); n != 7 {
			t.Fatalf("%d log files before file.delete.delay.ms", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := logs(); n != 2 {
			t.Fatalf("%d log files after it, one of them held by a reader", n)
		}
		b := make([]byte, s.N)
		if _, err := s.File.ReadAt(b, s.Off); err != nil {
			t.Fatal(err)
		}
		s.Release()
		if n := logs(); n != 1 {
			t.Fatalf("%d log files after the reader", n)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRetentionOfTheFuture: timestamps ahead of the clock never expire, and
// the active segment goes when all of it is too old.
func TestRetentionOfTheFuture(t *testing.T) {
	t.Parallel()
	_, l := openOne(t, vfs.NewMem(), LogConfig{Delete: true, Retention: time.Hour, FileDeleteDelay: -1})
	appendAt(t, l, simNow+10*time.Hour.Milliseconds(), 1)
	l.SetHighWatermark(1)
	if n, err := l.Retain(time.UnixMilli(simNow)); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := l.Retain(time.UnixMilli(simNow).Add(12 * time.Hour)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantBases(t, l, 1)
	l.Configure(LogConfig{Compact: true, Retention: time.Hour})
	appendAt(t, l, simNow-100*time.Hour.Milliseconds(), 1)
	l.SetHighWatermark(2)
	if n, err := l.Retain(time.UnixMilli(simNow)); n != 0 || err != nil {
		t.Fatal("a compacted log knows no age", n, err)
	}
}

// TestProducerRules goes through the rule book of idempotent producers.
func TestProducerRules(t *testing.T) {
	t.Parallel()
	_, l := openOne(t, vfs.NewMem(), LogConfig{})
	send := func(pid int64, epoch int16, seq int32, n int) (Appended, error) {
		b := batch.NewBuilder(batch.None)
		b.SetProducer(pid, epoch, seq)
		for range n {
			b.Append(simNow, nil, []byte("v"))
		}
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return l.Append(bytes.Clone(v), Append{})
	}
	ok := func(a Appended, err error) func(first, last int64, dup bool) {
		t.Helper()
		return func(first, last int64, dup bool) {
			t.Helper()
			if err != nil || a.First != first || a.Last != last || a.Duplicate != dup {
				t.Fatalf("got %+v %v, want %d-%d %v", a, err, first, last, dup)
			}
		}
	}
	fails := func(a Appended, err error) func(want error) {
		return func(want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Fatalf("got %+v %v, want %v", a, err, want)
			}
		}
	}
	ok(send(1, 0, 7, 2))(0, 1, false) // no state: any sequence
	ok(send(1, 0, 9, 1))(2, 2, false)
	ok(send(1, 0, 7, 2))(0, 1, true)
	fails(send(1, 0, 7, 1))(ErrOutOfOrderSequence) // same first, other last
	fails(send(1, 0, 11, 1))(ErrOutOfOrderSequence)
	for i := range int32(4) {
		ok(send(1, 0, 10+i, 1))(int64(3+i), int64(3+i), false)
	}
	ok(send(1, 0, 9, 1))(2, 2, true)               // the fifth from the end
	fails(send(1, 0, 7, 2))(ErrOutOfOrderSequence) // the sixth is forgotten
	fails(send(1, 1, 5, 1))(ErrOutOfOrderSequence) // a new epoch starts at 0
	ok(send(1, 1, 0, 1))(7, 7, false)
	fails(send(1, 0, 14, 1))(ErrInvalidProducerEpoch)
	ok(send(2, 0, 1<<31-2, 3))(8, 10, false) // wraps: 2^31-2, 2^31-1, 0
	ok(send(2, 0, 1, 1))(11, 11, false)
	ok(send(2, 0, 1<<31-2, 3))(8, 10, true)
	ok(send(3, 0, 1<<31-1, 1))(12, 12, false)
	ok(send(3, 0, 0, 1))(13, 13, false)
	if l.End() != 14 {
		t.Fatal(l.End())
	}
	ps, err := l.Producers()
	if err != nil || len(ps) != 3 || ps[0].ProducerID != 1 || ps[0].Epoch != 1 || ps[0].LastSequence != 0 || ps[0].TxnStart != -1 {
		t.Fatalf("%+v %v", ps, err)
	}
	// Forgotten after a day.
	for _, since := range []time.Duration{0, 25 * time.Hour} {
		if _, err := l.Retain(time.UnixMilli(simNow).Add(since)); err != nil {
			t.Fatal(err)
		}
	}
	ok(send(1, 1, 55, 1))(14, 14, false)
}

func marker(t testing.TB, pid int64, epoch int16, abort bool, coordinator byte) batch.View {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.SetProducer(pid, epoch, batch.NoSequence)
	b.SetTransactional(true)
	b.SetControl(true)
	kind := byte(1)
	if abort {
		kind = 0
	}
	b.Append(simNow, []byte{0, 0, 0, kind}, []byte{0, 0, 0, 0, 0, coordinator})
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(v)
}

// TestTransactions: the first unstable offset, aborted ones, markers, also
// after clean and unclean restarts.
func TestTransactions(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d, l := openOne(t, mem, LogConfig{Durable: true})
	seq := map[int64]int32{}
	send := func(pid int64, txn bool) error {
		b := batch.NewBuilder(batch.None)
		b.SetProducer(pid, 0, seq[pid])
		b.SetTransactional(txn)
		b.Append(simNow, nil, []byte("v"))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Append(bytes.Clone(v), Append{})
		if err == nil {
			seq[pid]++
		}
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	end := func(pid int64, abort bool) {
		t.Helper()
		_, err := l.Append(marker(t, pid, 0, abort, 5), Append{Origin: Coordinator})
		must(err)
	}
	bound := func(want int64) {
		t.Helper()
		if got := l.StableBound(); got != want {
			t.Fatalf("first unstable offset %d, want %d", got, want)
		}
	}
	bound(-1)
	must(send(1, true)) // 0
	must(send(2, true)) // 1
	bound(0)
	if err := send(1, false); !errors.Is(err, ErrInvalidTxnState) {
		t.Fatal(err)
	}
	end(1, true) // 2
	bound(0)     // its marker is not committed
	l.SetHighWatermark(3)
	bound(1)
	must(send(1, true)) // 3
	end(2, false)       // 4
	l.SetHighWatermark(5)
	bound(3)
	end(1, true) // 5
	l.SetHighWatermark(6)
	bound(-1)
	if _, err := l.Append(marker(t, 1, 0, true, 4), Append{Origin: Coordinator}); !errors.Is(err, ErrCoordinatorFenced) {
		t.Fatal(err)
	}
	must(send(2, true)) // 6, open
	check := func() {
		t.Helper()
		bound(6)
		a, err := l.Aborted(0, 6)
		must(err)
		want := []AbortedTxn{{ProducerID: 1, FirstOffset: 0, LastOffset: 2, StableOffset: 1}, {ProducerID: 1, FirstOffset: 3, LastOffset: 5, StableOffset: 6}}
		if fmt.Sprint(a) != fmt.Sprint(want) {
			t.Fatalf("aborted %v, want %v", a, want)
		}
		a, err = l.Aborted(3, 4)
		must(err)
		if fmt.Sprint(a) != fmt.Sprint(want[1:]) {
			t.Fatalf("aborted in [3, 4) %v", a)
		}
	}
	check()
	must(l.Roll())
	must(l.Flush(true))
	check()
	for _, clean := range []bool{true, false, true} {
		if clean {
			must(d.Close())
		} else {
			d.Abandon()
		}
		d, l = openOne(t, mem, LogConfig{Durable: true})
		l.SetHighWatermark(6)
		check()
	}
	must(d.Close())
}

// TestTimes finds offsets by timestamp, also across segments and restarts.
func TestTimes(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d, l := openOne(t, mem, LogConfig{SegmentBytes: 2000, IndexInterval: 300, SegmentAge: -1})
	for i := range int64(50) {
		appendAt(t, l, 1000+10*i, 3) // 1000 1001 1002, 1010 1011 1012, ...
	}
	appendAt(t, l, 1200, 1) // late: not the largest
	check := func() {
		t.Helper()
		for _, c := range []struct{ ts, want int64 }{{0, 0}, {1000, 0}, {1001, 1}, {1003, 3}, {1010, 3}, {1255, 78}, {1492, 149}} {
			a, ok, err := l.OffsetForTimestamp(c.ts)
			if err != nil || !ok || a.Offset != c.want || a.Timestamp < c.ts {
				t.Fatalf("%d: %+v %v %v, want %d", c.ts, a, ok, err, c.want)
			}
		}
		if a, ok, err := l.OffsetForTimestamp(1493); ok || err != nil {
			t.Fatalf("beyond the last: %+v %v", a, err)
		}
		if a, ok, err := l.MaxTimestamp(); !ok || err != nil || a.Offset != 149 || a.Timestamp != 1492 {
			t.Fatalf("maximum: %+v %v %v", a, ok, err)
		}
	}
	check()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, l = openOne(t, mem, LogConfig{SegmentBytes: 2000, IndexInterval: 300})
	check()
	d.Abandon()
	_, l = openOne(t, mem, LogConfig{SegmentBytes: 2000, IndexInterval: 300})
	check()
}

// TestReplace swaps cleaned segments in, and a crash at any call leaves the
// old ones or the new.
func TestReplace(t *testing.T) {
	t.Parallel()
	c := LogConfig{Create: true, Compact: true, Durable: true, SegmentBytes: 600, FileDeleteDelay: -1}
	for i := int64(1); ; i++ {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, c)
		for range 9 {
			appendAt(t, l, simNow, 1)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		wantBases(t, l, 0, 3, 6)
		d.Abandon()
		f := vfs.NewFaulty(mem)
		d, l = openOne(t, f, c)
		d.sealAll()
		before := f.Calls()
		f.FailCall(i, vfs.AnyChange, errors.New("crash"), true)
		err := cleanSome(l)
		done := f.Calls()-before < i
		clone := mem.CrashClone(func(n int64) int64 { return (i * 7) % n })
		f.Clear()
		d.Abandon()
		d, l = openOne(t, clone, c)
		if l.End() != 9 {
			t.Fatalf("call %d (%v): end %d", i, err, l.End())
		}
		var got []int64
		for at := l.Start(); at < 9; {
			s, err := l.Read(at, 9, 1, true)
			if err != nil || s.N == 0 {
				t.Fatalf("call %d: read %d: %d, %v", i, at, s.N, err)
			}
			got = append(got, s.First)
			at = s.Next
			s.Release()
		}
		old, cleaned := "[0 1 2 3 4 5 6 7 8]", "[0 4 6 7 8]"
		if g := fmt.Sprint(got); g != cleaned && (g != old || err == nil) {
			t.Fatalf("call %d (%v): offsets %v", i, err, got)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err == nil && done {
			break
		}
		if i > 200 {
			t.Fatal("no end")
		}
	}
}

// cleanSome keeps offsets 0 and 4 of the segments at 0 and 3.
func cleanSome(l *Log) error {
	c, err := l.NewCleaned(0)
	if err != nil {
		return err
	}
	for _, base := range []int64{0, 3} {
		f, n, release, err := l.OpenSegment(base)
		if err != nil {
			return err
		}
		b := make([]byte, n)
		_, err = f.ReadAt(b, 0)
		release()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			v, rest, err := batch.Next(b)
			if err != nil {
				return err
			}
			if o := v.BaseOffset(); o == 0 || o == 4 {
				if err := c.Append(v); err != nil {
					return err
				}
			}
			b = rest
		}
	}
	return l.Replace([]int64{0, 3}, c)
}

// TestManySleep: a thousand cleanly closed logs open without touching their
// directories, answer for their offsets, and an idle log holds no file.
func TestManySleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		mem := vfs.NewMem()
		d := openTestDir(t, mem, "/data", Events{})
		open := func(fsys vfs.FS) []*Log {
			logs := make([]*Log, n)
			for i := range logs {
				id := testID
				id[0], id[1] = byte(i), byte(i>>8)
				var err error
				if logs[i], err = d.Open(Name{"many", int32(i)}, id, LogConfig{Create: true, Durable: true}); err != nil {
					t.Fatal(err)
				}
			}
			return logs
		}
		for i, l := range open(mem) {
			appendAt(t, l, simNow, 1+i%3)
			l.SetHighWatermark(1)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		f := vfs.NewFaulty(mem)
		var touched atomic.Int64
		f.Trace(func(c vfs.Call) {
			if strings.Contains(c.Path, "many-") {
				touched.Add(1)
			}
		})
		d = openTestDir(t, f, "/data", Events{})
		logs := open(f)
		for i, l := range logs {
			if l.End() != int64(1+i%3) || l.Flushed() != l.End() || l.HighWatermark() != 1 || l.Size() == 0 {
				t.Fatalf("log %d: end %d, hw %d", i, l.End(), l.HighWatermark())
			}
		}
		if n := touched.Load(); n != 0 {
			t.Fatalf("%d file calls to open logs that sleep", n)
		}
		readAll(t, logs[5], 0, logs[5].End())
		appendAt(t, logs[6], simNow, 1)
		if n := touched.Load(); n > 30 {
			t.Fatalf("%d file calls to read one log and write another", n)
		}
		if d.OpenFiles() == 0 {
			t.Fatal("a log in use has its file open")
		}
		time.Sleep(time.Minute) // virtual time
		synctest.Wait()
		if open := d.OpenFiles(); open != 0 {
			t.Fatalf("%d files open for idle logs", open)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = openTestDir(t, mem, "/data", Events{})
		if got := open(mem)[6].End(); got != 2 {
			t.Fatalf("end %d after the second stop", got)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDelete: renamed at once, gone later, and the name is free again.
func TestDelete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		appendAt(t, l, simNow, 2)
		s, err := l.Read(0, 2, 1000, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Delete(Name{"t", 0}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(testBatch(1, 1, 1), Append{}); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if n := d.Logs(); len(n) != 0 {
			t.Fatal(n)
		}
		l2, err := d.Open(Name{"t", 0}, [16]byte{7}, LogConfig{Create: true})
		if err != nil || l2.End() != 0 {
			t.Fatal(err)
		}
		b := make([]byte, s.N)
		if _, err := s.File.ReadAt(b, s.Off); err != nil {
			t.Fatal(err)
		}
		s.Release()
		dirs := func() (n int) {
			entries, err := mem.List("/data")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() {
					n++
				}
			}
			return n
		}
		if n := dirs(); n != 2 {
			t.Fatalf("%d directories", n)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := dirs(); n != 1 {
			t.Fatalf("%d directories after file.delete.delay.ms", n)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestScrub finds damage in data that nobody reads.
func TestScrub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, faultConfig)
		for range 40 {
			appendAt(t, l, simNow, 2)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		flip(t, mem, "/data/t-0/00000000000000000000.log", 100)
		found := make(chan *CorruptError, 10)
		d, err := OpenDir(DirConfig{FS: mem, Path: "/data", NodeID: 1, ScrubRate: 500,
			Events: Events{Corrupt: func(_ Name, c *CorruptError) { found <- c }}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Open(Name{"t", 0}, testID, faultConfig); err != nil {
			t.Fatal(err)
		}
		if c := <-found; c.Offset != 0 || c.Pos != 0 || !strings.HasSuffix(c.Path, "/data/t-0/00000000000000000000.log") {
			t.Fatalf("%+v", c)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLostTail: a killed process lost nothing, a power cut perhaps something.
func TestLostTail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		was, is string
		lost    bool
	}{{"boot-1", "boot-1", false}, {"boot-1", "boot-2", true}, {"", "", true}, {"", "boot-1", true}} {
		mem := vfs.NewMem()
		boot := func(id string) {
			if id == "" {
				return
			}
			if err := mem.MkdirAll("/proc/sys/kernel/random"); err != nil {
				t.Fatal(err)
			}
			if err := vfs.WriteFileAtomic(mem, bootIDPath, []byte(id+"\n")); err != nil {
				t.Fatal(err)
			}
		}
		boot(c.was)
		d, l := openOne(t, mem, LogConfig{Durable: true})
		d.NoteBoot()
		appendAt(t, l, simNow, 1)
		d.Abandon()
		boot(c.is)
		if c.lost { // a start that was killed before it could tell hides nothing
			d, _ = openOne(t, mem, LogConfig{Durable: true})
			d.Abandon()
		}
		d, l = openOne(t, mem, LogConfig{Durable: true})
		if r := l.Recovery(); r.LostTail != c.lost || r.End != 1 {
			t.Errorf("%+v: %+v", c, r)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeletedIsClosed: a deleted log's files are closed when they go, or the
// disk would not have their room, and none of them is found by a new log of
// the same name.
func TestDeletedIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true, SegmentBytes: 1500, IndexInterval: 100, FileDeleteDelay: time.Second})
		for range 30 {
			appendAt(t, l, simNow, 2)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s, err := l.Read(0, 2, 100, true) // of a sealed segment: its index is opened
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		if d.OpenFiles() == 0 {
			t.Fatal("nothing is open, so the test sees nothing")
		}
		if err := d.Delete(Name{"t", 0}); err != nil {
			t.Fatal(err)
		}
		for path := range d.files.Paths() {
			if !strings.Contains(path, deleteSuffix) {
				t.Errorf("%s is still open under its old name", path)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for path := range d.files.Paths() {
			t.Errorf("%s is still open", path)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFirstFileStays: a power cut at the first roll, before anything was
// committed, may take data but never the first file and not the second: the
// log would begin in its middle.
func TestFirstFileStays(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	random := rand.New(rand.NewPCG(1, 2))
	var clones []*vfs.Mem
	d := openTestDir(t, mem, "/data", Events{Rolled: func(*Log, int64) {
		for range 100 {
			clones = append(clones, mem.CrashClone(random.Int64N))
		}
	}})
	l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, SegmentBytes: 1500})
	if err != nil {
		t.Fatal(err)
	}
	for len(clones) == 0 {
		if _, err := l.Append(testBatch(2, simNow, 60), Append{LeaderEpoch: 1}); err != nil {
			t.Fatal(err)
		}
	}
	d.Abandon()
	kept := 0
	for _, c := range clones {
		d := openTestDir(t, c, "/data", Events{})
		l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, SegmentBytes: 1500})
		if err != nil {
			t.Fatal(err)
		}
		if l.Start() != 0 {
			t.Fatalf("the log begins at %d", l.Start())
		}
		if l.End() > 0 {
			kept++
		}
		d.Abandon()
	}
	if kept == 0 {
		t.Fatal("no clone kept anything, so the test sees nothing")
	}
}

// TestIDStays: whether the first segment is sealed before the log's first
// commit or after it, what was committed has its topic's id after a power cut.
// Without it, of two logs of one name the older would count.
func TestIDStays(t *testing.T) {
	t.Parallel()
	for _, sealFirst := range []bool{true, false} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{SegmentBytes: 600})
		for range 4 { // three to a segment
			appendAt(t, l, simNow, 1)
		}
		if sealFirst {
			d.sealAll()
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		clone := mem.CrashClone(func(int64) int64 { return 0 }) // what is not durable is lost
		d.Abandon()
		d = openTestDir(t, clone, "/data", Events{})
		if id, err := d.TopicID(Name{"t", 0}); err != nil || id != testID {
			t.Errorf("sealed first %t: the id is %x, %v", sealFirst, id, err)
		}
		d.Abandon()
	}
}

// TestOldRecordsOnce: a producer of records with old timestamps that tries its
// last batch again after a kill is known.
func TestOldRecordsOnce(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	made := func() batch.View {
		b := batch.NewBuilder(batch.None)
		b.SetProducer(7, 0, 0)
		b.Append(1_000_000, nil, []byte("old"))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return append(batch.View(nil), v...)
	}
	d, l := openOne(t, mem, LogConfig{Durable: true})
	if _, err := l.Append(made(), Append{LeaderEpoch: 1}); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	d.Abandon()
	d, l = openOne(t, mem, LogConfig{Durable: true})
	if a, err := l.Append(made(), Append{LeaderEpoch: 1}); err != nil || !a.Duplicate || a.First != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	d.Abandon()
}

// TestOldRecordsOnceThroughRetention: it is known also when retention, which
// forgets producers, or a truncation comes between; not a day later.
func TestOldRecordsOnceThroughRetention(t *testing.T) {
	t.Parallel()
	_, l := openOne(t, vfs.NewMem(), LogConfig{Durable: true})
	made := func(seq int32) batch.View {
		b := batch.NewBuilder(batch.None)
		b.SetProducer(7, 0, seq)
		b.Append(1_000_000, nil, []byte("old"))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return append(batch.View(nil), v...)
	}
	for seq := range int32(2) {
		if _, err := l.Append(made(seq), Append{}); err != nil {
			t.Fatal(err)
		}
	}
	known := func() bool {
		t.Helper()
		a, err := l.Append(made(0), Append{})
		if err != nil {
			t.Fatal(err)
		}
		return a.Duplicate
	}
	retain := func(at time.Time) {
		t.Helper()
		if _, err := l.Retain(at); err != nil {
			t.Fatal(err)
		}
	}
	if retain(time.Now()); !known() {
		t.Error("appended twice after retention")
	}
	if err := l.TruncateTo(1); err != nil {
		t.Fatal(err)
	}
	if retain(time.Now()); !known() {
		t.Error("appended twice after a truncation")
	}
	if retain(time.Now().Add(25 * time.Hour)); known() {
		t.Error("still known after a day")
	}
}

// TestCleanedHasItsOwnIndex: after compaction the index of the segment before
// is not asked about the new one.
func TestCleanedHasItsOwnIndex(t *testing.T) {
	t.Parallel()
	d := openTestDir(t, vfs.NewMem(), "/data", Events{Rebuilt: func(path, reason string) { t.Errorf("rebuilt %s: %s", path, reason) }})
	l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, Durable: true, Compact: true, SegmentBytes: 600, IndexInterval: 10})
	if err != nil {
		t.Fatal(err)
	}
	for range 9 {
		appendAt(t, l, simNow, 1)
	}
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	d.sealAll()
	for range 2 {
		r, err := l.Read(2, 5, 1000, true)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
		if bases(t, l)[1] == 3 {
			if err := cleanSome(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOldRecordsOnceWhileRetained: the same while the log lives. Its records'
// timestamps say nothing of when a producer was last heard of.
func TestOldRecordsOnceWhileRetained(t *testing.T) {
	t.Parallel()
	made := func() batch.View {
		b := batch.NewBuilder(batch.None)
		b.SetProducer(7, 0, 0)
		b.Append(1_000_000, nil, []byte("old"))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return append(batch.View(nil), v...)
	}
	mem := vfs.NewMem()
	cfg := LogConfig{Durable: true, ProducerExpiry: 24 * time.Hour}
	d, l := openOne(t, mem, cfg)
	if _, err := l.Append(made(), Append{LeaderEpoch: 1}); err != nil {
		t.Fatal(err)
	}
	again := func(when string) {
		t.Helper()
		if a, err := l.Append(made(), Append{LeaderEpoch: 1}); err != nil || !a.Duplicate || a.First != 0 {
			t.Fatalf("%s: %+v, %v", when, a, err)
		}
	}
	now := time.Now()
	if _, err := l.Retain(now); err != nil {
		t.Fatal(err)
	}
	again("after retention looked")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, l = openOne(t, mem, cfg)
	if _, err := l.Retain(now); err != nil {
		t.Fatal(err)
	}
	again("after a clean restart")
	if _, err := l.Retain(now.Add(25 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if ps, err := l.Producers(); err != nil || len(ps) != 0 {
		t.Fatalf("a producer that is not heard of for a day stays: %+v, %v", ps, err)
	}
	d.Abandon()
}

// TestFollowerTellsOfEveryAbort: a follower that took a transaction's abort and
// the beginning of the producer's next one in one append tells readers of the
// next one's abort too, also those that read no further than where somebody
// else's began.
func TestFollowerTellsOfEveryAbort(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{false, true} {
		d, l := openOne(t, vfs.NewMem(), LogConfig{})
		at := int64(0)
		data := func(pid int64, epoch int16, n int) batch.View {
			b := batch.NewBuilder(batch.None)
			b.SetBaseOffset(at)
			b.SetProducer(pid, epoch, 0)
			b.SetTransactional(true)
			for range n {
				b.Append(1, nil, []byte("x"))
			}
			v, err := b.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			at += int64(n)
			return bytes.Clone(v)
		}
		end := func(pid int64, epoch int16) batch.View {
			v := marker(t, pid, epoch, true, 5)
			v.SetBaseOffset(at)
			at++
			return v
		}
		vs := []batch.View{data(1, 0, 1), end(1, 1), data(1, 1, 2), data(2, 0, 1)}
		if !together {
			for _, v := range vs {
				if _, err := l.Append(v, Append{Origin: Replication}); err != nil {
					t.Fatal(err)
				}
			}
		} else if _, err := l.AppendAll(vs, Append{Origin: Replication}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.AppendAll([]batch.View{end(1, 2), end(2, 1)}, Append{Origin: Replication}); err != nil {
			t.Fatal(err)
		}
		// Offsets 2 and 3 are the second transaction of producer 1, 4 is that of
		// producer 2.
		a, err := l.Aborted(1, 4)
		if err != nil || len(a) != 2 || a[1].FirstOffset != 2 || a[1].LastOffset != 5 {
			t.Fatalf("together %v: a reader of [1, 4) is told of %+v, %v", together, a, err)
		}
		d.Abandon()
	}
}

// TestStableBoundComesFirst: who sees the end behind a transaction's first batch
// sees that it is not stable, or the last stable offset would pass it for good.
func TestStableBoundComesFirst(t *testing.T) {
	t.Parallel()
	d, l := openOne(t, vfs.NewMem(), LogConfig{})
	b := batch.NewBuilder(batch.None)
	b.SetProducer(1, 0, batch.NoSequence)
	b.SetTransactional(true)
	b.Append(1, nil, []byte("x"))
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	defer d.Abandon()
	defer func() { <-over }()
	go func() {
		defer close(over)
		for range 50_000 { // at even offsets a transaction begins, at odd ones it ends
			if _, err := l.Append(data, Append{Origin: Coordinator}); err != nil {
				t.Error(err)
				return
			}
			if _, err := l.Append(marker(t, 1, 0, false, 5), Append{Origin: Coordinator}); err != nil {
				t.Error(err)
				return
			}
			l.SetHighWatermark(l.End())
		}
	}()
	for {
		select {
		case <-over:
			return
		default:
		}
		end := l.End()
		stable := l.StableBound()
		if end%2 == 1 && stable != end-1 && l.End() == end {
			t.Fatalf("log end %d with the transaction open, first unstable offset %d", end, stable)
		}
	}
}
