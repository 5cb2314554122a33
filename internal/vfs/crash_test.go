// SPDX-License-Identifier: Apache-2.0

package vfs

// Goal: Mem's crashes are neither kinder nor harsher than the contract in the
// package doc. Method: properties over many seeds, and outcomes that must
// turn up among them.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"gregor/internal/seeds"
)

func seeded(seed uint64) func(int64) int64 { return rand.New(rand.NewPCG(seed, 1)).Int64N }

func TestSimSyncedSurvives(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 60, 3) {
		m, rng := NewMem(), rand.New(rand.NewPCG(seed, 0))
		for range 60 {
			step(m, ".", rng)
		}
		check(t, m.SyncFS("."))
		want := tree(m, ".")
		for c := range uint64(10) {
			clone := m.CrashClone(seeded(c))
			if got := tree(clone, "."); got != want {
				t.Fatalf("seed %d: synced\n%s\nafter the crash\n%s", seed, want, got)
			}
			if u := must(clone.Usage(".")); u.Total-u.Free != treeSize(clone, ".") {
				t.Fatalf("seed %d: usage %+v", seed, u)
			}
		}
	}
}

// A crash of a crash changes nothing, and leaves the original alone.
func TestSimCloneIsDurableAndApart(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 60, 3) {
		m, rng := NewMem(), rand.New(rand.NewPCG(seed, 0))
		for range 60 {
			step(m, ".", rng)
		}
		before := tree(m, ".")
		one := m.CrashClone(seeded(seed))
		if two := m.CrashClone(seeded(seed)); tree(one, ".") != tree(two, ".") {
			t.Fatalf("seed %d: same draws, other disk", seed)
		}
		after := tree(one, ".")
		again := one.CrashClone(seeded(seed + 1))
		if tree(again, ".") != after {
			t.Fatalf("seed %d: clone was not durable", seed)
		}
		for range 60 {
			step(again, ".", rng)
		}
		if tree(m, ".") != before || tree(one, ".") != after {
			t.Fatalf("seed %d: a clone shares memory", seed)
		}
	}
}

// Every byte after a crash is durable, was written there, or is a hole.
func TestSimBytesComeFromWrites(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 200, 2) {
		m, rng := NewMem(), rand.New(rand.NewPCG(seed, 0))
		f := must(m.Create("f"))
		check(t, m.SyncDir("."))
		var last []map[byte]bool
		write := func(mark byte) {
			off, data := rng.IntN(3000), bytes.Repeat([]byte{mark}, 1+rng.IntN(2000))
			must(f.WriteAt(data, int64(off)))
			for len(last) < off+len(data) {
				last = append(last, map[byte]bool{0: true})
			}
			for i := range data {
				last[off+i][mark] = true
			}
		}
		write(1)
		write(2)
		check(t, f.Datasync())
		synced := must(ReadFile(m, "f"))
		for i := range last {
			last[i] = map[byte]bool{synced[i]: true}
		}
		for mark := range byte(4) {
			write(mark + 3)
		}
		got := must(ReadFile(m.CrashClone(seeded(seed)), "f"))
		if len(got) < len(synced) || len(got) > len(last) {
			t.Fatalf("seed %d: %d bytes, synced %d, written %d", seed, len(got), len(synced), len(last))
		}
		for i, b := range got {
			if !last[i][b] {
				t.Fatalf("seed %d: byte %d is %d, never written there", seed, i, b)
			}
		}
	}
}

// All the outcomes that the contract names do turn up.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	m := NewMem()
	f := must(m.Create("f"))
	check(t, m.SyncDir("."))
	must(f.WriteAt(bytes.Repeat([]byte{1}, 1024), 0))
	must(f.WriteAt(bytes.Repeat([]byte{2}, 1024), 1024))
	must(m.Create("g"))
	must(m.Create("h"))
	seen := map[string]int{}
	for seed := range uint64(2000) {
		c := m.CrashClone(seeded(seed))
		b := must(ReadFile(c, "f"))
		one, two := bytes.Count(b, []byte{1}), bytes.Count(b, []byte{2})
		seen[fmt.Sprintf("first %s, second %s", amount(one), amount(two))]++
		_, g := c.Stat("g")
		_, h := c.Stat("h")
		seen[fmt.Sprintf("g %v, h %v", g == nil, h == nil)]++
	}
	for _, a := range []string{"gone", "torn", "whole"} {
		for _, b := range []string{"gone", "torn", "whole"} {
			if s := "first " + a + ", second " + b; seen[s] == 0 {
				t.Errorf("never: %s", s)
			}
		}
	}
	for _, s := range []string{"g true, h true", "g true, h false", "g false, h true", "g false, h false"} {
		if seen[s] == 0 {
			t.Errorf("never: %s", s)
		}
	}
}

func amount(n int) string {
	switch n {
	case 0:
		return "gone"
	case 1024:
		return "whole"
	}
	return "torn"
}

// WriteFileAtomic keeps its word at each of its calls, from a crash and from
// a crash while the directory above is not durable either.
func TestWriteFileAtomicSurvives(t *testing.T) {
	t.Parallel()
	old, new_ := bytes.Repeat([]byte("old"), 700), bytes.Repeat([]byte("new!"), 900)
	for call := int64(1); ; call++ {
		m := NewMem()
		check(t, WriteFileAtomic(m, "f", old))
		faulty := NewFaulty(m)
		var clones []*Mem
		faulty.Add(Rule{From: call, Times: 1, Before: func(Call) {
			for seed := range uint64(500) {
				clones = append(clones, m.CrashClone(seeded(seed)))
			}
		}})
		check(t, WriteFileAtomic(faulty, "f", new_))
		done := faulty.Calls() < call
		if done {
			for seed := range uint64(500) {
				clones = append(clones, m.CrashClone(seeded(seed)))
			}
		}
		for _, c := range clones {
			got := must(ReadFile(c, "f"))
			if !bytes.Equal(got, new_) && (done || !bytes.Equal(got, old)) {
				t.Fatalf("crash before call %d: %d bytes %.10q", call, len(got), got)
			}
			check(t, WriteFileAtomic(c, "f", old)) // a stale f.tmp is no hindrance
		}
		if done {
			return
		}
	}
}

// A node never has two names after a crash, whichever of its moves is lost.
func TestSimOneNameEach(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 1000, 1) {
		m := NewMem()
		check(t, m.MkdirAll("d"))
		check(t, m.SyncDir("."))
		f := must(m.Create("a"))
		must(f.WriteAt([]byte("x"), 0))
		check(t, f.Sync())
		check(t, m.Rename("a", "b"))
		check(t, m.Rename("b", "d/c"))
		if seed%2 == 0 {
			check(t, m.SyncDir("d"))
		}
		check(t, m.Rename("d/c", "e"))
		c := m.CrashClone(seeded(seed))
		n := 0
		for _, name := range []string{"a", "b", "d/c", "e"} {
			if b, err := ReadFile(c, name); err == nil && string(b) == "x" {
				n++
			}
		}
		if n > 1 || n == 0 && seed%2 == 0 {
			t.Fatalf("seed %d: %d names", seed, n)
		}
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	m := NewMem()
	f := must(m.Create("f"))
	must(f.WriteAt([]byte("unsynced"), 0))
	l := must(m.Lock("l"))
	m.Kill()
	if _, err := f.WriteAt([]byte("late"), 0); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("a dead process wrote: %v", err)
	}
	l2 := must(m.Lock("l"))
	if l.Close() == nil {
		t.Fatal("a dead process gave back the lock of another")
	}
	if _, err := m.Lock("l"); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	check(t, l2.Close())
	if got := must(ReadFile(m, "f")); string(got) != "unsynced" {
		t.Fatalf("%q", got)
	}
	if b, err := ReadFile(m.CrashClone(func(int64) int64 { return 0 }), "f"); err == nil {
		t.Fatalf("%q survived a power cut unsynced", b)
	}
}
