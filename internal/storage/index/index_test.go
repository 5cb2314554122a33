// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestOffsetLookup(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 2, 127, 128, 129, 1000} {
		x := NewOffset(1000)
		var entries []Entry
		offset, pos := int64(1000), int64(0)
		for range n {
			offset += 1 + rng.Int64N(10)
			pos += 1 + rng.Int64N(10000)
			x.Append(offset, pos)
			entries = append(entries, Entry{offset, pos})
		}
		x.Append(offset, pos+1) // does not rise: left out
		if n > 0 && x.Len() != n {
			t.Fatalf("%d entries, want %d", x.Len(), n)
		}
		if n == 0 {
			x.Truncate(0)
		}
		b := x.AppendTo(nil)
		y, err := ParseOffset(1000, b)
		if err != nil || !bytes.Equal(y.AppendTo(nil), b) {
			t.Fatal("parsed otherwise than written", err)
		}
		for range 500 {
			target, at := 995+rng.Int64N(offset-980), rng.Int64N(pos+100)
			var byOffset, byPos Entry
			var ok1, ok2 bool
			for _, e := range entries {
				if e.Offset <= target {
					byOffset, ok1 = e, true
				}
				if e.Position <= at {
					byPos, ok2 = e, true
				}
			}
			if n == 0 {
				continue
			}
			e, ok := x.Lookup(target)
			if ok != ok1 || ok && e != byOffset {
				t.Fatalf("lookup %d: %v %v, want %v %v", target, e, ok, byOffset, ok1)
			}
			r := bytes.NewReader(b)
			f, fok, err := LookupFile(r, int64(len(b)), 1000, target)
			if err != nil || fok != ok || f != e {
				t.Fatalf("lookup %d in the file: %v %v %v, want %v %v", target, f, fok, err, e, ok)
			}
			e, ok = x.Before(at)
			f, fok, err = BeforeFile(r, int64(len(b)), 1000, at)
			if ok != ok2 || ok && e != byPos || err != nil || fok != ok || f != e {
				t.Fatalf("before %d: %v %v, %v %v %v, want %v %v", at, e, ok, f, fok, err, byPos, ok2)
			}
		}
		if n > 2 {
			x.Truncate(entries[n/2].Position)
			if x.Len() != n/2 {
				t.Fatalf("%d entries after truncation, want %d", x.Len(), n/2)
			}
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	x := NewTime(100)
	for _, e := range []TimeEntry{{-1, 100}, {50, 105}, {50, 110}, {40, 120}, {60, 130}} {
		x.Append(e.Timestamp, e.Offset)
	}
	if x.Len() != 2 {
		t.Fatalf("%d entries", x.Len())
	}
	for ts, want := range map[int64]int64{49: 100, 50: 105, 59: 105, 60: 130, 1000: 130} {
		if e, _ := x.Lookup(ts); e.Offset != want {
			t.Errorf("lookup %d: %v, want %d", ts, e, want)
		}
	}
	x.Truncate(130)
	if e, ok := x.Last(); !ok || e != (TimeEntry{50, 105}) {
		t.Errorf("last %v %v", e, ok)
	}
}

func TestAborted(t *testing.T) {
	t.Parallel()
	ts := []AbortedTxn{{1, 0, 5, 3}, {2, 3, 9, 10}, {3, 20, 25, 26}}
	for _, c := range []struct {
		from, upTo int64
		want       int
		done       bool
	}{{0, 3, 1, true}, {0, 4, 2, true}, {6, 10, 1, true}, {0, 100, 3, false}, {10, 20, 0, true}, {26, 30, 0, false}} {
		got, done := Aborted(nil, ts, c.from, c.upTo)
		if len(got) != c.want || done != c.done {
			t.Errorf("[%d, %d): %v %v", c.from, c.upTo, got, done)
		}
	}
}

func FuzzIndexes(f *testing.F) {
	x := NewOffset(5)
	x.Append(7, 0)
	x.Append(9, 100)
	f.Add(int64(5), x.AppendTo(nil))
	f.Add(int64(0), AppendTxn(nil, AbortedTxn{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, base int64, b []byte) {
		if x, err := ParseOffset(base, b); err == nil && !bytes.Equal(x.AppendTo(nil), b) {
			t.Fatal("offset index changed")
		}
		if x, err := ParseTime(base, b); err == nil && !bytes.Equal(x.AppendTo(nil), b) {
			t.Fatal("time index changed")
		}
		if ts, err := ParseTxns(base, b); err == nil {
			var again []byte
			for _, e := range ts {
				again = AppendTxn(again, e)
			}
			if !bytes.Equal(again, b) {
				t.Fatal("transaction index changed")
			}
		}
		e, ok, err := LookupFile(bytes.NewReader(b), int64(len(b)), 0, 1000)
		if err == nil && ok && e.Offset > 1000 {
			t.Fatalf("a damaged index led above the target: %v", e)
		}
	})
}
