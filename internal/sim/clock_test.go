// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// TestClock: a step changes what the clock shows and not what it measures.
func TestClock(t *testing.T) {
	t.Parallel()
	if unsafe.Sizeof(layout{}) != unsafe.Sizeof(time.Time{}) {
		t.Fatal("package time lays out its Time in another way now")
	}
	if from1885 != time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix() {
		t.Fatal("from1885 is wrong")
	}
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		first := c.Now()
		if !first.Equal(time.Now()) {
			t.Errorf("%v at %v", first, time.Now())
		}
		for _, by := range []time.Duration{3 * time.Hour, -3*time.Hour - 50*time.Minute, time.Nanosecond, 0} {
			before := c.Now()
			c.step(by)
			time.Sleep(90 * time.Millisecond)
			after := c.Now()
			if got := after.Sub(before); got != 90*time.Millisecond {
				t.Errorf("step %v: %v passed", by, got)
			}
			if !before.Before(after) || !before.Add(90*time.Millisecond).Equal(after) {
				t.Errorf("step %v: %v is not 90 ms after %v", by, after, before)
			}
			if got, want := after.UnixNano()-before.UnixNano(), int64(90*time.Millisecond+by); got != want {
				t.Errorf("step %v: the wall clock moved by %v", by, time.Duration(got))
			}
		}
		if got := time.Until(c.Now().Round(0)); got != -50*time.Minute+time.Nanosecond {
			t.Errorf("in the end it is ahead by %v", got)
		}
	})
}
