// SPDX-License-Identifier: Apache-2.0

// Goal: what a segment promises holds whatever its files look like and
// whichever call fails. Method: one script, run on a disk in memory: its file
// calls are compared with a golden trace, each of them fails once, each index is
// damaged at each byte, and the log is cut at each byte of its tail.
package segment

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gregor/internal/batch"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const dir = "/s"

// world is a segment at base 100 with batches of two records each.
type world struct {
	fs      vfs.FS
	files   *Files
	batches []batch.View
	damaged []*Damage
	rebuilt []string
}

func begin(t testing.TB, fsys vfs.FS) *world {
	t.Helper()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	return &world{fs: fsys, files: NewFiles(fsys, 10)}
}

func (w *world) config() Config {
	return Config{Files: w.files, IndexInterval: 150, Dense: true, Hooks: Hooks{
		Damaged: func(d *Damage) { w.damaged = append(w.damaged, d) },
		Rebuilt: func(path, _ string) { w.rebuilt = append(w.rebuilt, filepath.Base(path)) },
	}}
}

func made(t testing.TB, base int64) batch.View {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	for i := range int64(2) {
		b.Append(1000+base+i, nil, []byte(fmt.Sprintf("record %d", base+i)))
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	v = bytes.Clone(v)
	v.SetBaseOffset(base)
	return v
}

func (w *world) append(t testing.TB, s *Segment, n int) error {
	t.Helper()
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	for range n {
		_, next := s.Tail()
		v := made(t, next)
		if err := s.Append(h, v, []batch.View{v}, Ahead{}); err != nil {
			return errors.Join(err, s.Undo(h))
		}
		w.batches = append(w.batches, v)
	}
	return nil
}

// life is the script: it returns how many batches were synced for sure.
func (w *world) life(t testing.TB, step func(string)) (synced int, err error) {
	step("create")
	s, err := Create(w.config(), dir, 100, "")
	if err != nil {
		return 0, err
	}
	step("append 10")
	if err := w.append(t, s, 10); err != nil {
		return 0, err
	}
	step("sync")
	if err := s.Sync(); err != nil {
		return 0, err
	}
	s.AddAborted(index.AbortedTxn{ProducerID: 7, FirstOffset: 100, LastOffset: 105, StableOffset: 106})
	step("truncate to 116, append 3")
	if _, _, err := s.Truncate(116); err != nil {
		return 8, err
	}
	w.batches = w.batches[:8]
	if err := w.append(t, s, 3); err != nil {
		return 8, err
	}
	step("retire and seal")
	s.Retire()
	if err := s.Seal(); err != nil {
		return 8, err
	}
	synced = 11
	step("find 107")
	h, err := s.File()
	if err != nil {
		return synced, err
	}
	r, err := s.Find(h, 107, math.MaxInt64, 200, true)
	h.Release()
	if err != nil {
		return synced, err
	}
	if r.First != 106 || r.N == 0 {
		t.Errorf("find 107: %+v", r)
	}
	step("by time")
	if at, err := s.FirstAtTime(1000 + 113); err != nil || at > 113 {
		if err == nil {
			t.Errorf("by time: %d", at)
		}
		return synced, err
	}
	step("aborted")
	if ts, err := s.Aborted(); err != nil || len(ts) != 1 {
		if err == nil {
			t.Errorf("aborted: %v", ts)
		}
		return synced, err
	}
	step("activate, append 1, write the indexes")
	if err := s.Activate(); err != nil {
		return synced, err
	}
	if err := w.append(t, s, 1); err != nil {
		return synced, err
	}
	if err := s.WriteIndexes(true); err != nil {
		return synced, err
	}
	if err := s.Sync(); err != nil {
		return synced, err
	}
	return 12, nil
}

// TestTrace keeps the file calls of the script in testdata/trace.txt. go test
// -rewrite makes it anew; the diff is for review.
func TestTrace(t *testing.T) {
	t.Parallel()
	f := vfs.NewFaulty(vfs.NewMem())
	w := begin(t, f)
	var got strings.Builder
	f.Trace(func(c vfs.Call) {
		if c.Op == vfs.OpClose {
			return
		}
		fmt.Fprintf(&got, "  %s %s", c.Op, strings.TrimPrefix(c.Path, dir+"/"))
		if c.Op == vfs.OpWrite || c.Op == vfs.OpTruncate || c.Op == vfs.OpRead {
			fmt.Fprintf(&got, " [%d, +%d)", c.Off, c.N)
		}
		got.WriteByte('\n')
	})
	if n, err := w.life(t, func(s string) { got.WriteString(s + "\n") }); err != nil || n != 12 {
		t.Fatal(n, err)
	}
	if *rewrite {
		if err := os.WriteFile("testdata/trace.txt", []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/trace.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the file calls changed; run with -rewrite and look at the diff. Now:\n%s", got.String())
	}
}

// recovered opens the segment of a disk as after a crash.
func (w *world) recovered(t testing.TB, durable int64) (*Segment, Recovered) {
	t.Helper()
	s := Open(w.config(), dir, Known{Base: 100})
	r, err := s.Recover(durable, math.MaxInt64, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// read returns the batches that Find gives, from offset on; holes are stepped
// over.
func read(t testing.TB, s *Segment, from int64) (all [][]byte) {
	t.Helper()
	h, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	for {
		r, err := s.Find(h, from, math.MaxInt64, 1, true)
		var d *Damage
		if errors.As(err, &d) {
			if d.Next <= from {
				t.Fatalf("a hole that ends at %d, read from %d", d.Next, from)
			}
			from = d.Next
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.N == 0 {
			return all
		}
		b := make([]byte, r.N)
		if _, err := h.ReadAt(b, r.Pos); err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
		from = r.Next
	}
}

// TestFailsAtEachCall: whichever call fails, what was synced before is there
// after a restart, byte for byte, and nothing else but what was appended.
func TestFailsAtEachCall(t *testing.T) {
	t.Parallel()
	for i := int64(1); ; i++ {
		mem := vfs.NewMem()
		f := vfs.NewFaulty(mem)
		w := begin(t, f)
		f.FailCall(i, vfs.AnyOp, syscall.EIO, false)
		synced, err := w.life(t, func(string) {})
		if err == nil && i > f.Calls() {
			if i < 20 {
				t.Errorf("only %d calls", i)
			}
			return
		}
		f.Clear()
		again := &world{fs: mem, files: NewFiles(mem, 10)}
		if _, err := mem.Stat(filepath.Join(dir, FileName(100, LogSuffix))); err != nil {
			if synced > 0 {
				t.Errorf("call %d: the file is gone: %v", i, err)
			}
			continue
		}
		s, r := again.recovered(t, 100+2*int64(synced))
		if len(r.Damage) > 0 {
			t.Errorf("call %d: %d batches synced, damage: %v", i, synced, r.Damage[0])
			continue
		}
		got := read(t, s, 100)
		if len(got) < synced {
			t.Errorf("call %d: %d batches, %d were synced", i, len(got), synced)
		}
		for k, b := range got {
			if !bytes.Equal(b, made(t, 100+2*int64(k))) {
				t.Errorf("call %d: batch %d is another", i, k)
			}
		}
	}
}

// sealed is a segment of 12 batches whose indexes are in files.
func sealed(t testing.TB) (*vfs.Mem, [][]byte) {
	t.Helper()
	mem := vfs.NewMem()
	w := begin(t, mem)
	s, err := Create(w.config(), dir, 100, "")
	if err == nil {
		err = w.append(t, s, 12)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Retire()
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	w.files.CloseAll()
	var want [][]byte
	for _, v := range w.batches {
		want = append(want, v)
	}
	return mem, want
}

// TestIndexesAreRebuilt: an index that is missing, cut or flipped at any byte
// changes no answer.
func TestIndexesAreRebuilt(t *testing.T) {
	t.Parallel()
	rebuilt := 0
	for _, kind := range []string{IndexSuffix, TimeSuffix} {
		name := filepath.Join(dir, FileName(100, kind))
		mem, _ := sealed(t)
		fi, err := mem.Stat(name)
		if err != nil || fi.Size() == 0 {
			t.Fatal(fi, err)
		}
		for at := int64(-2); at < fi.Size(); at++ {
			mem, want := sealed(t)
			switch at {
			case -2:
				err = mem.Remove(name)
			default:
				var f vfs.File
				if f, err = mem.OpenRW(name); err != nil {
					break
				}
				if at == -1 {
					err = f.Truncate(fi.Size() - 3)
				} else {
					var b [1]byte
					_, _ = f.ReadAt(b[:], at)
					b[0] ^= 0x10
					_, err = f.WriteAt(b[:], at)
				}
				_ = f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			w := &world{fs: mem, files: NewFiles(mem, 10)}
			s := Open(w.config(), dir, Known{Base: 100})
			if err := s.OpenSealed(124); err != nil {
				t.Fatalf("%s, byte %d: %v", kind, at, err)
			}
			for o := int64(100); o < 124; o++ {
				if got := read(t, s, o); len(got) != len(want)-int(o-100)/2 || !bytes.Equal(got[0], want[(o-100)/2]) {
					t.Fatalf("%s, byte %d: from %d: %d batches", kind, at, o, len(got))
				}
				if from, err := s.FirstAtTime(1000 + o); err != nil || from > o {
					t.Fatalf("%s, byte %d: time of %d: %d, %v", kind, at, o, from, err)
				}
			}
			if len(w.damaged) > 0 {
				t.Errorf("%s, byte %d: damage in the log: %v", kind, at, w.damaged[0])
			}
			rebuilt += len(w.rebuilt)
		}
	}
	if rebuilt < 10 {
		t.Errorf("%d indexes were made anew", rebuilt)
	}
}

// TestTornTails: a log that ends anywhere within its last batches is cut after
// the last whole one where nothing durable is missing, and is damaged where it
// is.
func TestTornTails(t *testing.T) {
	t.Parallel()
	_, want := sealed(t)
	size := 0
	for _, b := range want {
		size += len(b)
	}
	last := len(want[11])
	for cut := size - 2*last; cut < size; cut++ {
		whole := cut / last // all are of one size
		for _, durable := range []int64{100 + 2*int64(whole), 124} {
			mem, want := sealed(t)
			f, err := mem.OpenRW(filepath.Join(dir, FileName(100, LogSuffix)))
			if err == nil {
				err = f.Truncate(int64(cut))
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
			w := &world{fs: mem, files: NewFiles(mem, 10)}
			s, r := w.recovered(t, durable)
			if r.Next != 100+2*int64(whole) {
				t.Errorf("cut at %d: ends at %d", cut, r.Next)
			}
			switch torn := cut%last != 0; {
			case durable < 124 && (r.Good != int64(whole*last) || len(r.Damage) > 0):
				t.Errorf("cut at %d, durable %d: %+v", cut, durable, r)
			case durable == 124 && torn && (len(r.Damage) != 1 || r.Damage[0].Pos != int64(whole*last) || r.Damage[0].First != r.Next):
				t.Errorf("cut at %d, durable %d: %+v", cut, durable, r)
			}
			if durable == 124 {
				s.Extend(124)
			}
			got := read(t, s, 100)
			if len(got) != whole {
				t.Errorf("cut at %d: %d batches", cut, len(got))
			}
			for i, b := range got {
				if !bytes.Equal(b, want[i]) {
					t.Errorf("cut at %d: batch %d is another", cut, i)
				}
			}
		}
	}
}

// TestDoubt: a batch whose checksum is right and which the log does not believe
// is a hole, found by a read, by a check of all, and by the scrubber.
func TestDoubt(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"find", "check", "scrub"} {
		mem, want := sealed(t)
		w := &world{fs: mem, files: NewFiles(mem, 10)}
		c := w.config()
		c.Doubt = func(v batch.View) string {
			if v.BaseOffset() == 108 {
				return "I do not believe it"
			}
			return ""
		}
		s := Open(c, dir, Known{Base: 100})
		if err := s.OpenSealed(124); err != nil {
			t.Fatal(err)
		}
		switch how {
		case "check":
			h, err := s.File()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.CheckAll(h); err == nil {
				t.Error("the check believes it")
			}
			h.Release()
		case "scrub":
			if _, err := s.Scrub(0, math.MaxInt64); err != nil {
				t.Fatal(err)
			}
		}
		if how != "find" && len(w.damaged) != 1 {
			t.Errorf("%s found %d places", how, len(w.damaged))
		}
		got := read(t, s, 100)
		if len(got) != 11 || !bytes.Equal(got[4], want[5]) {
			t.Errorf("%s: %d batches", how, len(got))
		}
		if len(w.damaged) != 1 || w.damaged[0].First != 108 || w.damaged[0].Next != 110 || w.damaged[0].Reason != "I do not believe it" {
			t.Errorf("%s: %+v", how, w.damaged)
		}
	}
}
