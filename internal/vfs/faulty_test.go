// SPDX-License-Identifier: Apache-2.0

package vfs

// Goal: rules hit the calls they name and no other. Method: plain cases.

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func TestRules(t *testing.T) {
	t.Parallel()
	f := NewFaulty(NewMem())
	a, b := must(f.Create("a.log")), must(f.Create("b.index"))
	lift := f.Add(Rule{Ops: OpWrite, Path: "*.log", From: 2, Times: 2, Err: syscall.EIO})
	got := ""
	for range 5 {
		_, err := a.WriteAt([]byte("x"), 0)
		got += fmt.Sprint(errors.Is(err, syscall.EIO), " ")
		must(b.WriteAt([]byte("x"), 0))
	}
	if got != "false true true false false " {
		t.Fatal(got)
	}
	lift()

	f.Add(Rule{Ops: OpSync | OpSyncDir, Err: syscall.EIO})
	if a.Sync() == nil || b.Datasync() == nil || f.SyncDir(".") == nil {
		t.Fatal("a sync passed")
	}
	f.Clear()
	check(t, a.Sync())

	f.Add(Rule{Ops: OpRename, Path: "x.swap", Err: syscall.EIO})
	if f.Rename("a.log", "x.swap") == nil {
		t.Fatal("the new name did not count")
	}
	f.Clear()

	var order []string
	f.Add(Rule{Ops: OpRead, Before: func(c Call) { order = append(order, fmt.Sprint(c.Op, c.Path, c.Off, c.N)) }})
	f.Trace(func(c Call) { order = append(order, "traced "+c.Op.String()) })
	must(a.ReadAt(make([]byte, 1), 0))
	if s := strings.Join(order, ","); s != "traced read,reada.log0 1" {
		t.Fatal(s)
	}
}

func TestPartialWrite(t *testing.T) {
	t.Parallel()
	f := NewFaulty(NewMem())
	a := must(f.Create("a"))
	f.Add(Rule{Ops: OpWrite, Err: syscall.EIO, Partial: true})
	if n, err := a.WriteAt([]byte("12345678"), 0); n != 4 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	if got := must(ReadFile(f, "a")); string(got) != "1234" {
		t.Fatalf("%q", got)
	}
}

// FailCall reaches every call of a run, and the count of calls is that of the
// run without faults.
func TestFailEveryCall(t *testing.T) {
	t.Parallel()
	run := func(f *Faulty) error { return WriteFileAtomic(f, "f", []byte("data")) }
	clean := NewFaulty(NewMem())
	check(t, run(clean))
	n := clean.Calls()
	if n < 6 {
		t.Fatalf("%d calls", n)
	}
	for i := int64(1); i <= n+1; i++ {
		f := NewFaulty(NewMem())
		f.FailCall(i, AnyOp, syscall.EIO, true)
		if err := run(f); (err == nil) != (i > n) || err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d of %d: %v", i, n, err)
		}
	}
}

func TestOneIn(t *testing.T) {
	t.Parallel()
	hits := func(seed uint64) (n int) {
		f := NewFaulty(NewMem())
		f.Seed(seeded(seed))
		f.Add(Rule{Ops: OpStat, OneIn: 10, Err: syscall.EIO})
		for range 1000 {
			if _, err := f.Stat("."); err != nil {
				n++
			}
		}
		return n
	}
	if n := hits(1); n < 50 || n > 200 || n != hits(1) {
		t.Fatal(n)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	f := NewFaulty(NewMem())
	a := must(f.Create("a"))
	must(a.WriteAt(make([]byte, 100), 0))
	f.Limit(50)
	must(a.WriteAt(bytes.Repeat([]byte{1}, 100), 0)) // overwriting takes nothing
	n, err := a.WriteAt(make([]byte, 60), 100)
	if n != 50 || !IsNoSpace(err) {
		t.Fatal(n, err)
	}
	if u := must(f.Usage(".")); u.Free != 0 {
		t.Fatal(u)
	}
	if err := a.Preallocate(0, 1); !IsNoSpace(err) {
		t.Fatal(err)
	}
	check(t, a.Truncate(120))
	must(a.WriteAt(make([]byte, 30), 120))
	b := must(f.Create("b"))
	if _, err := b.WriteAt([]byte("x"), 0); !IsNoSpace(err) {
		t.Fatal(err)
	}
	check(t, f.Rename("b", "a")) // frees what a held
	must(b.WriteAt(make([]byte, 150), 0))
	check(t, f.Remove("a"))
	if u := must(f.Usage(".")); u.Free != 150 {
		t.Fatal(u)
	}
}
