// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"gregor/internal/vfs"
)

// dropFS notes what is given back of the page cache of log files.
type dropFS struct {
	vfs.FS
	mu    sync.Mutex
	drops map[string][][2]int64 // by path: from, to
}

type dropFile struct {
	vfs.File
	fs *dropFS
}

func (f *dropFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return dropFile{file, f}, nil
}

func (f *dropFS) Create(name string) (vfs.File, error) { return f.wrap(f.FS.Create(name)) }
func (f *dropFS) OpenRW(name string) (vfs.File, error) { return f.wrap(f.FS.OpenRW(name)) }
func (f *dropFS) Open(name string) (vfs.File, error)   { return f.wrap(f.FS.Open(name)) }

func (f dropFile) DropCache(off, n int64) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.drops[f.Name()] = append(f.fs.drops[f.Name()], [2]int64{off, off + n})
}

// take returns the ranges given back since the last call, of all segments.
func (f *dropFS) take() (out [][2]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, ranges := range f.drops {
		if strings.HasSuffix(name, ".log") {
			out = append(out, ranges...)
		}
	}
	clear(f.drops)
	return out
}

// TestReadSeldom: a follower's log gives the page cache back what it has
// flushed, in order and once, and neither the last of it nor anything while it
// is read or leads.
func TestReadSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := &dropFS{FS: vfs.NewMem(), drops: map[string][][2]int64{}}
		d, l := openOne(t, files, LogConfig{Create: true, Durable: true, Retention: -1})
		defer d.Abandon()
		grow := func(n int) {
			for range n {
				if _, err := l.Append(testBatch(1, simNow, 2<<20), Append{LeaderEpoch: 1}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // committed
			}
		}
		grow(20)
		if got := files.take(); len(got) > 0 {
			t.Fatalf("a leader's log gave back %v", got)
		}
		l.ReadSeldom(true)
		grow(4)
		at := int64(0)
		for _, r := range files.take() {
			if r[0] != at || r[1] <= at {
				t.Fatalf("gave back %v after %d", r, at)
			}
			at = r[1]
		}
		if behind := l.Size() - at; behind < seldomKept || behind > seldomKept+seldomStep+2<<20 {
			t.Fatalf("%d bytes behind the end stay, not about %d", behind, seldomKept)
		}
		if s, err := l.Read(0, l.End(), 1, true); err != nil {
			t.Fatal(err)
		} else if s.Release != nil {
			s.Release()
		}
		grow(1)
		if got := files.take(); len(got) > 0 {
			t.Fatalf("%v was given back although somebody reads", got)
		}
		grow(2)
		if got := files.take(); len(got) == 0 || got[0][0] <= at {
			t.Fatalf("nobody reads any more: %v was given back, after %d", got, at)
		}
		l.ReadSeldom(false)
		grow(4)
		if got := files.take(); len(got) > 0 {
			t.Fatalf("leads again, and gave back %v", got)
		}
	})
}
