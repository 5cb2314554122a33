// SPDX-License-Identifier: Apache-2.0

package epoch

import (
	"fmt"
	"reflect"
	"testing"
)

func TestAssign(t *testing.T) {
	t.Parallel()
	c := &Cache{}
	step := func(epoch int32, start int64, news bool, want string) {
		t.Helper()
		if got := c.Assign(epoch, start); got != news || fmt.Sprint(c.Entries()) != want {
			t.Fatalf("assign %d at %d: %v, %v; want %v, %s", epoch, start, got, c.Entries(), news, want)
		}
	}
	step(0, 0, true, "[{0 0}]")
	step(0, 5, false, "[{0 0}]")
	step(2, 10, true, "[{0 0} {2 10}]")
	step(3, 10, true, "[{0 0} {3 10}]") // same start: replaces
	step(5, 20, true, "[{0 0} {3 10} {5 20}]")
	step(6, 8, true, "[{0 0} {6 8}]")   // lower start: replaces what begins above
	step(4, 30, true, "[{0 0} {4 30}]") // lower epoch
	step(4, 25, true, "[{0 0} {4 25}]")
}

func TestEnd(t *testing.T) {
	t.Parallel()
	c := New([]Entry{{2, 10}, {4, 20}, {7, 30}})
	for _, x := range []struct {
		ask   int32
		epoch int32
		end   int64
	}{{-1, -1, -1}, {0, 0, 10}, {1, 1, 10}, {2, 2, 20}, {3, 2, 20}, {4, 4, 30}, {6, 4, 30}, {7, 7, 99}, {8, -1, -1}} {
		if e, o := c.End(x.ask, 99); e != x.epoch || o != x.end {
			t.Errorf("end of %d: %d at %d, want %d at %d", x.ask, e, o, x.epoch, x.end)
		}
	}
	for offset, want := range map[int64]int32{9: -1, 10: 2, 19: 2, 20: 4, 1000: 7} {
		if e := c.At(offset); e != want {
			t.Errorf("epoch at %d: %d, want %d", offset, e, want)
		}
	}
	if e, o := (&Cache{}).End(0, 5); e != -1 || o != -1 {
		t.Errorf("end in an empty list: %d %d", e, o)
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	fresh := func() *Cache { return New([]Entry{{2, 10}, {4, 20}, {7, 30}}) }
	for end, want := range map[int64]string{31: "[{2 10} {4 20} {7 30}]", 30: "[{2 10} {4 20}]", 15: "[{2 10}]", 5: "[]"} {
		c := fresh()
		changed := c.TruncateEnd(end)
		if got := fmt.Sprint(c.Entries()); got != want || changed != (want != fmt.Sprint(fresh().Entries())) {
			t.Errorf("end at %d: %s, %v", end, got, changed)
		}
	}
	for start, want := range map[int64]string{5: "[{2 10} {4 20} {7 30}]", 10: "[{2 10} {4 20} {7 30}]", 15: "[{2 15} {4 20} {7 30}]",
		20: "[{4 20} {7 30}]", 50: "[{7 50}]"} {
		c := fresh()
		changed := c.TruncateStart(start)
		if got := fmt.Sprint(c.Entries()); got != want || changed != (want != fmt.Sprint(fresh().Entries())) {
			t.Errorf("start at %d: %s, %v", start, got, changed)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Encode([]Entry{{0, 0}, {3, 1042}}))
	f.Add([]byte("0\n1\n0 0 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(Encode(entries))
		if err != nil || len(entries) != len(again) || len(entries) > 0 && !reflect.DeepEqual(entries, again) {
			t.Fatalf("%v, again %v (%v)", entries, again, err)
		}
	})
}
