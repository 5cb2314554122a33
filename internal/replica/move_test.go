// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/seeds"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// move moves a partition and waits for the end.
func (w *world) move(p *Partition, to *storage.Dir) ended {
	w.t.Helper()
	if err := w.table.Move(p, to); err != nil {
		w.t.Fatal(err)
	}
	e := <-w.ended
	if e.err != nil || e.to == nil {
		w.t.Fatalf("move of %s: %v", e.name, e.err)
	}
	return e
}

// copies are the directories on disk that belong to the partition.
func (w *world) copies(topic string) (paths []string) {
	w.t.Helper()
	for _, d := range w.dirs {
		es, err := w.fs.List(d.Path())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range es {
			if e.IsDir() && strings.HasPrefix(e.Name(), topic+"-") && !strings.HasSuffix(e.Name(), "-delete") {
				paths = append(paths, filepath.Join(d.Path(), e.Name()))
			}
		}
	}
	return paths
}

// TestMove: what a log is made of is the same in the other directory: records,
// start, epochs, producers, watermarks; there and after restarts.
func TestMove(t *testing.T) {
	t.Parallel()
	for _, stop := range []string{"clean", "kill"} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			w := begin(t, vfs.NewMem(), 2)
			p := w.topic(1, "t", 1, func(c *TopicConfig) { c.Log.SegmentBytes = 700 })[0]
			from, to := p.Log().Dir(), w.other(p)
			w.produce(p, idempotent(t, 7, 3, 0, 0, 2), -1) // its records will be deleted
			for i := range 20 {
				w.produce(p, idempotent(t, 8, 0, int32(i), 2+i, 1), -1)
				if i == 10 {
					w.elect(1, 1, 4)
				}
			}
			w.elect(1, 1, 9) // an epoch without records
			if _, err := p.DeleteRecords(5); err != nil {
				t.Fatal(err)
			}
			before, err := readAll(p, 5, ReadUncommitted)
			if err != nil {
				t.Fatal(err)
			}
			old := p.Log()
			epochs := old.Epochs()
			w.move(p, to)
			check := func(p *Partition) {
				t.Helper()
				after, err := readAll(p, 5, ReadUncommitted)
				if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
					t.Errorf("%v, %v; want %v", after, err, before)
				}
				l := p.Log()
				if l.Dir().Path() != to.Path() || l.Start() != 5 || p.HighWatermark() != 22 || l.Flushed() != 22 {
					t.Errorf("in %s, start %d, high watermark %d, flushed %d", l.Dir().Path(), l.Start(), p.HighWatermark(), l.Flushed())
				}
				r, err := p.Append(idempotent(t, 8, 0, 19, 21, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
				if err != nil || !r.Duplicate || r.BaseOffset != 21 {
					t.Errorf("the last batch again: %+v, %v", r, err)
				}
			}
			check(p)
			if got := p.Log().Epochs(); fmt.Sprint(got) != fmt.Sprint(epochs) {
				t.Errorf("epochs %v, want %v", got, epochs)
			}
			if r, err := p.Append(idempotent(t, 7, 3, 0, 0, 2), -1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil || !r.Duplicate {
				t.Errorf("a producer whose records are gone: %+v, %v", r, err)
			}
			if got := w.copies("t"); len(got) != 1 || got[0] != filepath.Join(to.Path(), "t-0") {
				t.Errorf("on disk: %v", got)
			}
			if _, err := old.Read(5, 6, 100, true); !errors.Is(err, storage.ErrClosed) {
				t.Errorf("the old log: %v", err)
			}
			if stop == "clean" {
				w.stop()
			} else {
				w.kill()
			}
			w.start(2)
			w.answerRaises()
			p = w.table.Named("t", 0)
			check(p)
			if r := w.produce(p, idempotent(t, 8, 0, 20, 22, 1), -1); r.BaseOffset != 22 {
				t.Errorf("the next batch: %+v", r)
			}
			before = append(before, value{22, "22"})
			// And back.
			to = w.dir(from.Path())
			w.move(p, to)
			if after, err := readAll(p, 5, ReadUncommitted); err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("moved back: %v, %v", after, err)
			}
			w.stop()
		})
	}
}

func (w *world) dir(path string) *storage.Dir {
	for _, d := range w.dirs {
		if d.Path() == path {
			return d
		}
	}
	return nil
}

// other is a directory that the partition is not in.
func (w *world) other(p *Partition) *storage.Dir {
	for _, d := range w.dirs {
		if d != p.Log().Dir() {
			return d
		}
	}
	return nil
}

// TestMoveWhileUsed: a producer that waits for each record and a consumer that
// reads behind it see nothing of moves from directory to directory.
func TestMoveWhileUsed(t *testing.T) {
	t.Parallel()
	w := begin(t, nil, 3)
	p := w.topic(1, "t", 1, func(c *TopicConfig) { c.Log.SegmentBytes = 50_000 })[0]
	var stop atomic.Bool
	var made int
	var all sync.WaitGroup
	all.Go(func() {
		for ; !stop.Load(); made++ {
			r, err := p.Append(idempotent(t, 5, 0, int32(made), made, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
			if err == nil {
				err = p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch)
			}
			if err != nil || r.BaseOffset != int64(made) {
				t.Errorf("record %d: %+v, %v", made, r, err)
				return
			}
		}
	})
	all.Go(func() {
		for from := int64(0); !stop.Load(); {
			vs, err := readAll(p, from, ReadUncommitted)
			if err != nil {
				t.Error(err)
				return
			}
			for _, v := range vs {
				if v.offset != from || v.text != fmt.Sprint(from) {
					t.Errorf("offset %d: %+v", from, v)
					return
				}
				from++
			}
			if from > 200 {
				from = 0
			}
			if _, err := p.OffsetAt(Latest, ReadUncommitted, NoEpoch, true); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 12 {
		w.move(p, w.dirs[(i+1)%3])
	}
	stop.Store(true)
	all.Wait()
	if vs, err := readAll(p, 0, ReadUncommitted); err != nil || len(vs) != made {
		t.Errorf("%d records of %d, %v", len(vs), made, err)
	}
	w.stop()
}

// TestMoveThrottled: a slow move shows its future log; one to a third directory
// ends it and begins anew, one to where the log is gives it up; and a stop in the
// middle goes on after the next start. Time is the bubble's.
func TestMoveThrottled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, vfs.NewMem(), 3)
		var rate atomic.Int64
		rate.Store(1 << 20)
		w.moves.BytesPerSecond = rate.Load
		w.stop()
		w.start(3)
		p := w.topic(1, "t", 1, func(c *TopicConfig) { c.MaxMessageBytes = 2 << 20 })[0]
		big := strings.Repeat("x", 1<<20-1000)
		for range 10 {
			w.produce(p, recordOf(t, big), -1)
		}
		begun := time.Now()
		home := p.Log().Dir()
		if err := w.table.Move(p, w.dirs[1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		f := p.Future()
		if f == nil || f.Dir() != w.dirs[1] || f.End() < 2 || f.End() > 5 {
			t.Fatalf("after 3 s: %+v", f)
		}
		// Elsewhere.
		if err := w.table.Move(p, w.dirs[2]); err != nil {
			t.Fatal(err)
		}
		if e := <-w.ended; e.to != nil || e.err != nil {
			t.Fatalf("%+v", e)
		}
		if f := p.Future(); f == nil || f.Dir() != w.dirs[2] {
			t.Fatalf("%+v", f)
		}
		// Nowhere.
		if err := w.table.Move(p, home); err != nil {
			t.Fatal(err)
		}
		if e := <-w.ended; e.to != nil || e.err != nil || p.Future() != nil || len(w.copies("t")) != 1 {
			t.Fatalf("%+v, %v, %v", e, p.Future(), w.copies("t"))
		}
		// Stopped in the middle, once cleanly and once not.
		if err := w.table.Move(p, w.dirs[2]); err != nil {
			t.Fatal(err)
		}
		for _, stop := range []func(){w.stop, w.kill} {
			time.Sleep(3 * time.Second)
			f := p.Future()
			if f == nil {
				t.Fatal("no move")
			}
			end := f.Flushed()
			stop()
			w.start(3)
			w.answerRaises()
			w.table.ResumeMoves()
			p = w.table.Named("t", 0)
			if f := p.Future(); f == nil || f.End() < end || f.Dir() != w.dirs[2] {
				t.Fatalf("it ended at %d, now: %+v", end, f)
			}
		}
		rate.Store(1 << 40)
		if e := <-w.ended; e.to == nil || e.err != nil {
			t.Fatalf("%+v", e)
		}
		if took := time.Since(begun); took > 15*time.Second {
			t.Errorf("took %v: it did not go on", took)
		}
		if vs, err := readAll(p, 0, ReadUncommitted); err != nil || len(vs) != 10 {
			t.Errorf("%d records, %v", len(vs), err)
		}
		w.stop()
	})
}

func recordOf(t testing.TB, text string) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.Append(time.Now().UnixMilli(), nil, []byte(text))
	return built(t, b)
}

// flip changes a bit of a file.
func flip(t testing.TB, fsys vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fsys.OpenRW(path)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err = f.ReadAt(b[:], at); err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b[:], at)
	}
	if cerr := f.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
}

// TestMoveRefused: what cannot move, and why.
func TestMoveRefused(t *testing.T) {
	t.Parallel()
	mem := vfs.NewFaulty(vfs.NewMem())
	w := begin(t, mem, 3)
	p := w.topic(1, "t", 1, nil)[0]
	w.produce(p, records(t, 0, 5), -1)
	home := p.Log().Dir()
	if err := w.table.Move(p, home); err != nil || p.Future() != nil {
		t.Errorf("to where it is: %v", err)
	}
	// A disk that breaks during the move takes the move with it, not the log.
	to := w.other(p)
	mem.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncDir | vfs.OpSyncFS, Path: to.Path() + "/*", Err: syscall.EIO})
	mem.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncDir | vfs.OpSyncFS, Path: to.Path(), Err: syscall.EIO})
	if err := w.table.Move(p, to); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ended; e.err == nil || e.to != nil {
		t.Fatalf("%+v", e)
	}
	w.produce(p, records(t, 5, 1), -1)
	for _, d := range w.dirs {
		if d != home {
			wantCode(t, "with a directory offline", w.table.Move(p, d), kerr.KafkaStorageError)
		}
	}
	w.kill()
}

// TestMoveOfDamage: a log with a damaged batch does not move, and says so.
func TestMoveOfDamage(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	w := begin(t, mem, 2)
	p := w.topic(1, "t", 1, nil)[0]
	for i := range 5 {
		w.produce(p, records(t, i, 1), -1)
	}
	path := filepath.Join(p.Log().Dir().Path(), "t-0", "00000000000000000000.log")
	w.stop()
	flip(t, mem, path, 200)
	w.start(2)
	p = w.table.Named("t", 0)
	if err := w.table.Move(p, w.other(p)); err != nil {
		t.Fatal(err)
	}
	var bad *storage.CorruptError
	if e := <-w.ended; e.to != nil || !errors.As(e.err, &bad) {
		t.Fatalf("%+v", e)
	}
	if got := w.copies("t"); len(got) != 1 {
		t.Errorf("on disk: %v", got)
	}
	w.kill()
}

// TestMoveOfDeleted: the topic goes while it moves.
func TestMoveOfDeleted(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 2)
	w.moves.BytesPerSecond = func() int64 { return 1 }
	w.stop()
	w.start(2)
	p := w.topic(1, "t", 1, nil)[0]
	w.produce(p, records(t, 0, 5), -1)
	if err := w.table.Move(p, w.other(p)); err != nil {
		t.Fatal(err)
	}
	w.mustApply(meta.RemoveTopicRecord{ID: meta.UUID{1}})
	if e := <-w.ended; e.to != nil || e.err != nil {
		t.Errorf("%+v", e)
	}
	if got := w.copies("t"); len(got) != 0 {
		t.Errorf("on disk: %v", got)
	}
	w.stop()
}

// TestMoveFollowsCuts: a log that is cut while it moves takes its copy along,
// also where the same offsets are written anew in a later epoch.
func TestMoveFollowsCuts(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 2)
	var rate atomic.Int64
	rate.Store(1)
	w.moves.BytesPerSecond = rate.Load
	w.stop()
	w.start(2)
	p := w.topic(1, "t", 1, nil)[0]
	two := meta.Partition{Replicas: []int32{1, 2}, Dirs: []meta.UUID{{}, {}}, ISR: []int32{1, 2}, Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1}
	w.mustApply(meta.PartitionRecord{Topic: meta.UUID{1}, Index: 0, Partition: two})
	for i := range 10 {
		w.produce(p, records(t, i, 1), 1) // not committed: there is no second replica
	}
	if err := w.table.Move(p, w.other(p)); err != nil {
		t.Fatal(err)
	}
	for p.Future().End() < 10 {
		time.Sleep(time.Millisecond) // the copy has no event of its own
	}
	w.elect(1, 2, 2) // a follower now, which is cut
	if err := p.Log().TruncateTo(6); err != nil {
		t.Fatal(err)
	}
	w.elect(1, 1, 3)
	for i := range 10 {
		w.produce(p, records(t, 100+i, 1), -1)
	}
	rate.Store(1 << 40)
	if e := <-w.ended; e.to == nil || e.err != nil {
		t.Fatalf("%+v", e)
	}
	vs, err := readAll(p, 0, ReadUncommitted)
	if err != nil || len(vs) != 16 || vs[5].text != "5" || vs[6].text != "100" {
		t.Errorf("%v, %v", vs, err)
	}
	w.stop()
}

// TestSimMoveCrashes: the power goes at the k-th call of a move, for every k (0
// is after the last); each write that was not synced is kept, dropped or torn. What was
// acknowledged is there afterwards, in one place, and the log goes on.
func TestSimMoveCrashes(t *testing.T) {
	t.Parallel()
	moveCrash(t, 3, 0) // the new log's topic id was not durable, when sealing was faster than the commit
	for seed := range seeds.All(t, 2, 40) {
		for k := int64(0); !t.Failed() && moveCrash(t, seed, k); k++ {
		}
	}
}

func moveCrash(t *testing.T, seed uint64, k int64) bool {
	rng := rand.New(rand.NewPCG(seed, uint64(k)))
	mem := vfs.NewMem()
	f := vfs.NewFaulty(mem)
	w := begin(t, f, 2)
	p := w.topic(1, "t", 1, func(c *TopicConfig) { c.Log.SegmentBytes = 500 })[0]
	const n = 12
	for i := range n {
		w.produce(p, idempotent(t, 8, 0, int32(i), i, 1), -1)
	}
	if _, err := p.DeleteRecords(2); err != nil {
		t.Fatal(err)
	}
	var crashed *vfs.Mem
	crash := func(vfs.Call) { crashed = mem.CrashClone(func(n int64) int64 { return rng.Int64N(n) }) }
	lift := func() {}
	if k > 0 {
		lift = f.Add(vfs.Rule{Ops: vfs.AnyChange, From: k, Times: 1, Before: crash})
	}
	w.move(p, w.other(p))
	lift()
	if k == 0 {
		crash(vfs.Call{})
	}
	w.kill()
	if crashed == nil {
		return false
	}
	w.fs = crashed
	w.start(2)
	w.answerRaises()
	w.table.ResumeMoves()
	p = w.table.Named("t", 0)
	verify := func(n int) {
		t.Helper()
		epoch, _ := p.LeaderEpoch()
		if err := p.Wait(t.Context(), p.LogEnd(), epoch); err != nil {
			t.Errorf("seed %d, call %d: %v", seed, k, err)
		}
		vs, err := readAll(p, 2, ReadUncommitted)
		if err != nil || len(vs) != n-2 || vs[0] != (value{2, "2"}) || vs[n-3].offset != int64(n-1) {
			t.Errorf("seed %d, call %d: %v, %v", seed, k, vs, err)
		}
	}
	verify(n)
	if r, err := p.Append(idempotent(t, 8, 0, n-1, n-1, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil || !r.Duplicate {
		t.Errorf("seed %d, call %d: the last batch again: %+v, %v", seed, k, r, err)
	}
	w.produce(p, idempotent(t, 8, 0, n, n, 1), -1)
	verify(n + 1)
	for p.Future() != nil {
		<-w.ended
	}
	// The next life agrees with this one, wherever the log is now.
	home := p.Log().Dir().Path()
	w.kill()
	w.start(2)
	w.answerRaises()
	w.table.ResumeMoves()
	p = w.table.Named("t", 0)
	verify(n + 1)
	if got := w.copies("t"); len(got) != 1 || filepath.Dir(got[0]) != home || len(w.corrupt) > 0 {
		t.Errorf("seed %d, call %d: on disk %v, it was in %s; damage %v", seed, k, got, home, w.corrupt)
	}
	w.stop()
	return true
}

// TestNewestWithoutID: an old log that never got durable, and lost its topic's
// id, does not outlive the move of the log; one that nobody can judge stays,
// unused.
func TestNewestWithoutID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		moves string // of the log without an id
		stays bool
	}{{"", false}, {"1\n", true}, {"2\n", true}, {"?", true}} {
		w := begin(t, vfs.NewMem(), 2)
		p := w.topic(1, "t", 1, nil)[0]
		w.produce(p, records(t, 0, 3), -1)
		old := p.Log().Dir().Path()
		w.move(p, w.other(p))
		home := p.Log().Dir().Path()
		w.kill()
		log := filepath.Join(old, "t-0")
		if err := w.fs.MkdirAll(log); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileAtomic(w.fs, filepath.Join(log, "partition.metadata"), nil); err != nil {
			t.Fatal(err)
		}
		if c.moves != "" {
			if err := vfs.WriteFileAtomic(w.fs, filepath.Join(log, "gregor-moves"), []byte(c.moves)); err != nil {
				t.Fatal(err)
			}
		}
		w.start(2)
		w.answerRaises()
		p = w.table.Named("t", 0)
		if vs, err := readAll(p, 0, ReadUncommitted); err != nil || len(vs) != 3 || p.Log().Dir().Path() != home {
			t.Errorf("moves %q: in %s: %v, %v", c.moves, p.Log().Dir().Path(), vs, err)
		}
		if got := w.copies("t"); len(got) == 2 != c.stays || len(w.strays) == 1 != c.stays {
			t.Errorf("moves %q: on disk %v, told of %v", c.moves, got, w.strays)
		}
		w.stop()
	}
}

// TestMoveFailsAtEachCall: the k-th call of the move fails in the directory it
// goes to, or comes from. The log is in one of the two then, with all in it,
// and in the same after a restart; whatever was written in between is there.
func TestMoveFailsAtEachCall(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"to", "from"} {
		for _, below := range []string{"", "/*", "/*/*"} {
			for k := int64(1); !t.Failed() && moveFails(t, side, below, k); k++ {
			}
		}
	}
}

func moveFails(t *testing.T, side, below string, k int64) bool {
	mem := vfs.NewMem()
	f := vfs.NewFaulty(mem)
	w := begin(t, f, 2)
	p := w.topic(1, "t", 1, nil)[0]
	for i := range 5 {
		w.produce(p, idempotent(t, 8, 0, int32(i), i, 1), -1)
	}
	from, to := p.Log().Dir(), w.other(p)
	where := map[string]*storage.Dir{"to": to, "from": from}[side].Path()
	var hit atomic.Bool
	f.Add(vfs.Rule{Ops: vfs.AnyChange, Path: where + below, From: k, Times: 1, Err: syscall.EIO, Before: func(vfs.Call) { hit.Store(true) }})
	if w.table.Move(p, to) == nil {
		<-w.ended
	}
	f.Clear()
	if !hit.Load() {
		w.kill()
		return false
	}
	n := 5
	if r, err := p.Append(idempotent(t, 8, 0, 5, 5, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch}); err == nil {
		if err = p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch); err == nil {
			n = 6
		}
	} else if p.Log().Dir().Err() == nil {
		t.Errorf("%s%s, call %d: %v", side, below, k, err)
	}
	w.kill()
	w.fs = mem
	w.start(2)
	w.answerRaises()
	w.table.ResumeMoves()
	p = w.table.Named("t", 0)
	epoch, _ := p.LeaderEpoch()
	if err := p.Wait(t.Context(), p.LogEnd(), epoch); err != nil {
		t.Errorf("%s%s, call %d: %v", side, below, k, err)
	}
	if vs, err := readAll(p, 0, ReadUncommitted); err != nil || len(vs) < n {
		t.Errorf("%s%s, call %d: %v, want %d; %v", side, below, k, vs, n, err)
	}
	for p.Future() != nil {
		<-w.ended
	}
	if got := w.copies("t"); len(got) != 1 {
		t.Errorf("%s%s, call %d: on disk %v", side, below, k, got)
	}
	w.kill()
	return true
}
