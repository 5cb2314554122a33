// SPDX-License-Identifier: Apache-2.0

package alarm

import (
	"slices"
	"testing"
	"time"
)

type thing struct {
	name string
	at   time.Time
}

func (t *thing) Name() string      { return t.name }
func (t *thing) Alarm() *time.Time { return &t.at }

// Goal: things come in the order of their times and names, each once for the
// alarm that counts, and no sooner. Method: by hand.
func TestQueue(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	a, b, c := &thing{name: "a"}, &thing{name: "b"}, &thing{name: "c"}
	var q Queue[*thing]
	due := func(s int) (names []string) {
		for {
			x, ok := q.Due(at(s))
			if !ok {
				return names
			}
			names = append(names, x.name)
		}
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("due: %q, want %q", got, want)
		}
	}
	if !q.Next().IsZero() {
		t.Error("an empty queue has an alarm")
	}
	q.Set(a, time.Time{}) // never
	want(due(100))
	q.Set(c, at(5))
	q.Set(b, at(5))
	q.Set(a, at(9))
	q.Set(a, at(20)) // not set: there is an earlier one
	q.Set(a, at(5))  // counts; that at 9 is stale
	if !q.Next().Equal(at(5)) {
		t.Errorf("next is %v", q.Next())
	}
	want(due(4))
	want(due(5), "a", "b", "c")
	want(due(30)) // what is stale is nobody's
	q.Set(a, at(31))
	want(due(31), "a")
	// Who drops an alarm is not due.
	q.Set(b, at(40))
	*b.Alarm() = time.Time{}
	want(due(50))
	if !q.Next().IsZero() {
		t.Error("something is left")
	}
}

// TestStaleAlarmsGo: a thing that is looked at soon, again and again, and has a
// late alarm in between, leaves no crowd of late ones.
func TestStaleAlarmsGo(t *testing.T) {
	t.Parallel()
	var q Queue[*thing]
	things := make([]*thing, 100)
	for i := range things {
		things[i] = &thing{name: string(rune('a' + i))}
	}
	now := time.Unix(1_000_000, 0)
	for range 1000 {
		for _, x := range things {
			q.Set(x, now.Add(15*time.Minute))
			q.Set(x, now.Add(100*time.Millisecond))
		}
		now = now.Add(100 * time.Millisecond)
		for range things {
			if x, ok := q.Due(now); !ok || !x.at.IsZero() {
				t.Fatal(x, ok)
			}
		}
	}
	if n := len(q.h); n > 10*len(things)+2*fewStale {
		t.Fatalf("%d alarms of %d things", n, len(things))
	}
}
