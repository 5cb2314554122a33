// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// clock is that of a machine. Its wall time can be set while what it measures
// goes on: that is what an operator's date command does, and what a
// virtual machine does that was asleep.
type clock struct {
	began time.Time
	ahead atomic.Int64 // of the bubble's wall clock, ns
}

func newClock() *clock { return &clock{began: time.Now()} }

// step sets the wall clock forwards, or back.
func (c *clock) step(by time.Duration) { c.ahead.Add(int64(by)) }

// offset is by how much the wall clock is ahead of the bubble's.
func (c *clock) offset() time.Duration { return time.Duration(c.ahead.Load()) }

// Now is the machine's time.Now: a stepped wall time with a monotonic reading
// that was not. Package time makes such a thing only from the system's clock,
// and in a bubble not even then, so it is put together here as package time
// lays it out (TestClock says whether it still does).
func (c *clock) Now() time.Time {
	now := time.Now()
	wall := now.Add(time.Duration(c.ahead.Load()))
	var t time.Time
	p := (*layout)(unsafe.Pointer(&t))
	p.wall = hasMonotonic | uint64(wall.Unix()-from1885)<<30 | uint64(wall.Nanosecond())
	p.ext = int64(now.Sub(c.began)) + int64(time.Hour)
	p.loc = time.Local
	return t
}

// layout is time.Time with a monotonic reading: 33 bits of seconds since 1885
// and 30 of nanoseconds.
type layout struct {
	wall uint64
	ext  int64 // monotonic, ns
	loc  *time.Location
}

const hasMonotonic = 1 << 63

// from1885 is the start of 1885 in seconds since 1970.
const from1885 = -2682288000
