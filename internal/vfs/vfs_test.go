// SPDX-License-Identifier: Apache-2.0

package vfs

// Goal: the three file systems look alike to a program. Method: the same
// steps on each, chosen by hand and at random.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gregor/internal/seeds"
)

func each(t *testing.T, f func(t *testing.T, fsys FS, root string)) {
	t.Run("os", func(t *testing.T) { t.Parallel(); f(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) { t.Parallel(); f(t, NewMem(), ".") })
	t.Run("faulty", func(t *testing.T) { t.Parallel(); f(t, NewFaulty(NewMem()), "/") })
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fsys FS, root string) {
		name := filepath.Join(root, "a")
		f := must(fsys.Create(name))
		if _, err := fsys.Create(name); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("create twice: %v", err)
		}
		must(f.WriteAt([]byte("world"), 6))
		must(f.WriteAt([]byte("hello"), 0))
		check(t, f.Preallocate(0, 1<<16))
		check(t, f.Datasync())
		check(t, f.Sync())
		f.DropCache(0, 11)
		if n := must(f.Size()); n != 11 {
			t.Fatalf("size %d", n)
		}
		b := make([]byte, 20)
		if n, err := f.ReadAt(b, 0); n != 11 || err != io.EOF || string(b[:n]) != "hello\x00world" {
			t.Fatalf("%q %v", b[:n], err)
		}
		if n, err := f.ReadAt(b[:5], 6); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		check(t, f.Truncate(3))
		check(t, f.Truncate(5))
		if got := must(ReadFile(fsys, name)); string(got) != "hel\x00\x00" {
			t.Fatalf("%q", got)
		}
		check(t, fsys.Rename(name, filepath.Join(root, "b")))
		must(f.WriteAt([]byte("H"), 0)) // still the same file
		r := must(fsys.Open(filepath.Join(root, "b")))
		if _, err := r.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("written through a file opened for reading")
		}
		check(t, fsys.Remove(filepath.Join(root, "b")))
		if _, err := r.ReadAt(b[:1], 0); err != nil || b[0] != 'H' {
			t.Fatalf("removed while open: %q %v", b[:1], err)
		}
		check(t, r.Close())
		if _, err := r.ReadAt(b[:1], 0); !errors.Is(err, fs.ErrClosed) {
			t.Fatal(err)
		}
		check(t, f.Close())
		for what, err := range map[string]error{
			"remove": fsys.Remove(name), "open": second(fsys.Open(name)), "stat": second(fsys.Stat(name)),
			"rename": fsys.Rename(name, name+"2"), "list": second(fsys.List(name)), "syncdir": fsys.SyncDir(name),
			"create": second(fsys.Create(filepath.Join(name, "x"))),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of what is not there: %v", what, err)
			}
		}
		check(t, fsys.RemoveAll(name))
	})
}

func second[T any](_ T, err error) error { return err }

func TestDirectories(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fsys FS, root string) {
		dir := filepath.Join(root, "d", "e")
		check(t, fsys.MkdirAll(dir))
		check(t, fsys.MkdirAll(dir))
		check(t, WriteFileAtomic(fsys, filepath.Join(dir, "two"), []byte("22")))
		check(t, WriteFileAtomic(fsys, filepath.Join(dir, "one"), []byte("1")))
		check(t, WriteFileAtomic(fsys, filepath.Join(dir, "one"), []byte("111")))
		check(t, fsys.MkdirAll(filepath.Join(dir, "sub")))
		got := ""
		for _, e := range must(fsys.List(dir)) {
			info := must(e.Info())
			got += e.Name()
			if e.IsDir() {
				got += "/ "
			} else {
				got += fmt.Sprintf("=%d ", info.Size())
			}
		}
		if got != "one=3 sub/ two=2 " {
			t.Fatal(got)
		}
		if err := fsys.Remove(dir); err == nil {
			t.Fatal("removed a directory that is not empty")
		}
		check(t, fsys.Rename(dir, filepath.Join(root, "moved")))
		if got := must(ReadFile(fsys, filepath.Join(root, "moved", "two"))); string(got) != "22" {
			t.Fatalf("%q", got)
		}
		check(t, fsys.SyncDir(root))
		if err := fsys.SyncFS(root); err != nil && !errors.Is(err, ErrUnsupported) {
			t.Fatal(err)
		}
		check(t, fsys.RemoveAll(filepath.Join(root, "moved")))
		if left := must(fsys.List(root)); len(left) != 1 {
			t.Fatal(left)
		}
		u := must(fsys.Usage(root))
		if u.Total <= 0 || u.Free <= 0 || u.Free > u.Total {
			t.Fatalf("%+v", u)
		}
	})
}

func TestLock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, fsys FS, root string) {
		name := filepath.Join(root, ".lock")
		l := must(fsys.Lock(name))
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatal(err)
		}
		check(t, l.Close())
		check(t, must(fsys.Lock(name)).Close())
	})
}

// tree is everything a program can see below root.
func tree(fsys FS, root string) string {
	var b bytes.Buffer
	var walk func(dir, shown string)
	walk = func(dir, shown string) {
		for _, e := range must(fsys.List(dir)) {
			name, show := filepath.Join(dir, e.Name()), shown+"/"+e.Name()
			if e.IsDir() {
				fmt.Fprintf(&b, "%s/\n", show)
				walk(name, show)
			} else {
				fmt.Fprintf(&b, "%s %x\n", show, must(ReadFile(fsys, name)))
			}
		}
	}
	walk(root, "")
	return b.String()
}

// class is what a program may rely on in an error.
func class(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "not exist"
	case errors.Is(err, fs.ErrExist):
		return "exist"
	}
	return "other"
}

// step does one random thing to a file system of a few names.
func step(fsys FS, root string, rng *rand.Rand) string {
	name := func() string {
		n := root
		for range 1 + rng.IntN(2) {
			n = filepath.Join(n, string(rune('a'+rng.IntN(3))))
		}
		return n
	}
	withFile := func(n string, act func(File) error) string {
		f, err := fsys.OpenRW(n)
		if err != nil {
			return class(err)
		}
		defer func() { _ = f.Close() }()
		return class(act(f))
	}
	n, off, data := name(), rng.Int64N(2000), make([]byte, rng.IntN(1500))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	switch rng.IntN(13) {
	case 0:
		f, err := fsys.Create(n)
		if err != nil {
			return "create " + class(err)
		}
		return "create " + class(f.Close())
	case 1:
		return "mkdir " + class(fsys.MkdirAll(n))
	case 2:
		return "remove " + class(fsys.Remove(n))
	case 3:
		return "rename " + class(fsys.Rename(n, name()))
	case 4:
		if rng.IntN(5) == 0 {
			return "removeall " + class(fsys.RemoveAll(n))
		}
	case 5:
		return "truncate " + withFile(n, func(f File) error { return f.Truncate(off) })
	case 6:
		return "sync " + withFile(n, File.Sync)
	case 7:
		return "syncdir " + class(fsys.SyncDir(filepath.Dir(n)))
	case 8:
		return "syncfs " + class(fsys.SyncFS(filepath.Dir(n)))
	}
	return "write " + withFile(n, func(f File) error { return second(f.WriteAt(data, off)) })
}

func TestSimMemSeesWhatTheSystemSees(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 10, 20) {
		mem, dir := NewMem(), t.TempDir()
		a, b := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 0))
		for i := range 120 {
			x, y := step(mem, ".", a), step(OS(), dir, b)
			if x != y && !systemsVary(x, y) {
				t.Fatalf("seed %d step %d: mem %q, system %q", seed, i, x, y)
			}
		}
		if x, y := tree(mem, "."), tree(OS(), dir); x != y {
			t.Fatalf("seed %d: mem\n%s\nsystem\n%s", seed, x, y)
		}
		sum := treeSize(mem, ".")
		if u := must(mem.Usage(".")); u.Total-u.Free != sum {
			t.Fatalf("seed %d: %d bytes used, usage says %d", seed, sum, u.Total-u.Free)
		}
	}
}

// systemsVary tells where one system may answer other than the next: with
// which error a rename of directories is refused, whether a plain file can be
// synced as a directory, whether SyncFS exists.
func systemsVary(x, y string) bool {
	op, _, _ := strings.Cut(x, " ")
	return op == "syncdir" || op == "syncfs" || op == "rename" && x != "rename ok" && y != "rename ok"
}

func TestIsNoSpace(t *testing.T) {
	t.Parallel()
	if !IsNoSpace(fmt.Errorf("append: %w", &fs.PathError{Err: syscall.ENOSPC})) || IsNoSpace(syscall.EIO) || IsNoSpace(nil) {
		t.Fatal("wrong")
	}
}
