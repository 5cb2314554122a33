// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/vfs"
)

// coldFS is a disk in memory whose files count as cached only where they were
// loaded.
type coldFS struct {
	vfs.FS
	loading func(path string)

	mu     sync.Mutex
	loaded map[string]int64 // up to where
	ahead  map[string]bool
}

type coldFile struct {
	vfs.File
	fs *coldFS
}

func (f *coldFS) wrap(x vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &coldFile{x, f}, nil
}

func (f *coldFS) Create(name string) (vfs.File, error) { return f.wrap(f.FS.Create(name)) }
func (f *coldFS) OpenRW(name string) (vfs.File, error) { return f.wrap(f.FS.OpenRW(name)) }

func (h *coldFile) Absent(off, n int64) int64 {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return min(n, max(0, off+n-h.fs.loaded[h.Name()]))
}

func (h *coldFile) Load(off, n int64) {
	h.fs.loading(h.Name())
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.fs.loaded[h.Name()] = max(h.fs.loaded[h.Name()], off+n)
}

func (h *coldFile) ReadAhead(on bool) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.fs.ahead[h.Name()] = on
}

// TestColdReadsInTheGaps: what is missing from the page cache is read while no
// commit is under way, in pieces; and without commits nothing is done at all.
func TestColdReadsInTheGaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := vfs.NewFaulty(vfs.NewMem())
		f := &coldFS{FS: slow, loaded: map[string]int64{}, ahead: map[string]bool{}}
		d := openTestDir(t, f, "/data", Events{})
		open := func(name string) *Log {
			l, err := d.Open(Name{name, 0}, testID, LogConfig{Create: true, Durable: true, SegmentBytes: 2 << 20})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		old := open("old")
		for range 120 {
			if _, err := old.Append(testBatch(1, simNow, 32<<10), Append{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := old.Flush(true); err != nil {
			t.Fatal(err)
		}
		first := filepath.Join("/data/old-0", "00000000000000000000.log")
		loads, within := 0, 0
		f.loading = func(path string) {
			if path != first {
				t.Errorf("%s is loaded", path)
			}
			loads++
			if d.flushing.Load() != 0 {
				within++
			}
		}
		read := func() {
			for at := int64(0); at < 50; {
				s, err := old.Read(at, old.End(), 8<<20, true)
				if err != nil || s.N == 0 || s.N > 2<<20 {
					t.Fatalf("at %d: %d bytes, %v", at, s.N, err)
				}
				at = s.Next
				s.Release()
			}
		}
		time.Sleep(2 * committing)
		read()
		if loads != 0 || len(f.ahead) > 0 {
			t.Errorf("without commits: %d loads, %v", loads, f.ahead)
		}

		slow.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Path: "*.log", Before: func(vfs.Call) { time.Sleep(4 * time.Millisecond) }})
		busy := open("new")
		stop := make(chan struct{})
		var producer sync.WaitGroup
		producer.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				if _, err := busy.Append(testBatch(1, simNow, 100), Append{}); err != nil {
					t.Error(err)
				}
				if err := busy.Flush(true); err != nil {
					t.Error(err)
				}
			}
		})
		for i := 0; d.flushing.Load() == 0; i++ { // until a commit is under way
			if i == 1000 {
				t.Fatal("no commit is slow")
			}
			time.Sleep(time.Millisecond / 2)
		}
		read()
		if loads < 4 || within > 0 {
			t.Errorf("%d pieces, %d of them during a commit", loads, within)
		}
		if on, told := f.ahead[first]; on || !told {
			t.Errorf("the system reads ahead: %v, %v", on, told)
		}
		close(stop)
		producer.Wait()
		time.Sleep(2 * committing)
		loads, f.loaded[first] = 0, 0
		read()
		if loads != 0 || !f.ahead[first] {
			t.Errorf("after the commits: %d loads, reads ahead: %v", loads, f.ahead[first])
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkColdReader is how long commits take (p99, ms) alone, beside a reader
// of what is not cached, and beside one that nobody paces.
func BenchmarkColdReader(b *testing.B) {
	d := openTestDir(b, vfs.OS(), b.TempDir(), Events{})
	b.Cleanup(func() { d.Abandon() })
	open := func(name string) *Log {
		l, err := d.Open(Name{name, 0}, testID, LogConfig{Create: true, Durable: name == "new", SegmentBytes: 256 << 20, Retention: -1})
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	old, busy := open("old"), open("new")
	for range 1200 {
		if _, err := old.Append(sized(1<<20), Append{}); err != nil {
			b.Fatal(err)
		}
	}
	_ = d.fs.SyncFS(d.path)
	segs := (*old.segs.Load())[:4]
	took := map[string][]float64{}
	modes := []string{"alone", "paced", "unpaced"}
	buf := make([]byte, 4<<20)
	mb := map[string]float64{}
	for b.Loop() {
		for _, mode := range modes {
			for _, s := range segs {
				h, err := s.File()
				if err != nil {
					b.Fatal(err)
				}
				h.ReadAhead(true)
				h.DropCache(0, 0)
				h.Release()
			}
			stop := make(chan struct{})
			var reader sync.WaitGroup
			if mode != "alone" {
				reader.Go(func() {
					for at, end := int64(0), segs[3].Base(); at < end; {
						select {
						case <-stop:
							return
						default:
						}
						if mode == "unpaced" {
							d.committed.Store(0)
						}
						s, err := old.Read(at, end, 1<<20, true)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = s.File.ReadAt(buf[:s.N], s.Off)
						mb[mode] += float64(s.N) / 1e6
						at = s.Next
						s.Release()
					}
				})
			}
			next := time.Now()
			for range 1000 {
				next = next.Add(2 * time.Millisecond)
				time.Sleep(time.Until(next))
				began := time.Now()
				if _, err := busy.Append(sized(100<<10), Append{}); err != nil {
					b.Fatal(err)
				}
				if err := busy.Flush(true); err != nil {
					b.Fatal(err)
				}
				took[mode] = append(took[mode], float64(time.Since(began).Microseconds())/1e3)
			}
			close(stop)
			reader.Wait()
		}
	}
	for mode, ms := range took {
		slices.Sort(ms)
		b.ReportMetric(ms[len(ms)/2], strings.ToUpper(mode)+"_p50_ms")
		b.ReportMetric(ms[len(ms)*99/100], strings.ToUpper(mode)+"_p99_ms")
		b.ReportMetric(mb[mode]/float64(b.N), strings.ToUpper(mode)+"_MB")
	}
	b.ReportMetric(0, "ns/op")
}
