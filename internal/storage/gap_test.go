// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"testing"
	"time"

	"gregor/internal/vfs"
)

// TestGapBeforeTheLastBatch: a replica of a topic that was compacted once, and
// is no more, has gaps. What lies behind one is not lost when the node is
// killed, and a base offset that is wrong is found all the same.
func TestGapBeforeTheLastBatch(t *testing.T) {
	t.Parallel()
	for _, flipped := range []bool{false, true} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		var size int64
		for _, base := range []int64{0, 16} {
			v := testBatch(3, simNow, 10)
			v.SetBaseOffset(base)
			if _, err := l.Append(v, Append{Origin: Replication}); err != nil {
				t.Fatal(err)
			}
			size = int64(len(v))
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		d.Abandon()
		mem.Kill()
		if flipped {
			flip(t, mem, "/data/t-0/00000000000000000000.log", size+6) // 16 becomes 80
		}
		_, l = openOne(t, mem, LogConfig{Durable: true})
		if damage := l.Recovery().Damage; len(damage) > 0 != flipped || l.End() != 19 {
			t.Fatalf("base offset flipped: %v; the log ends at %d, damage %v", flipped, l.End(), damage)
		}
		r, err := l.Read(16, 19, 1000, true)
		if (err != nil) != flipped {
			t.Fatalf("base offset flipped: %v; read: %v", flipped, err)
		}
		if err == nil {
			r.Release()
		}
	}
}

// TestMissingEndStaysTold: durable records that are gone from the end of a log
// are told to who asks for them, also after later stops; nobody reads on past
// them as if they had never been.
func TestMissingEndStaysTold(t *testing.T) {
	t.Parallel()
	for _, left := range []int{0, 5} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		size := int64(0)
		for i := range 10 {
			if i == left {
				size = l.Size()
			}
			appendAt(t, l, simNow, 1)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		d.Abandon()
		mem.Kill()
		f, err := mem.OpenRW("/data/t-0/00000000000000000000.log")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		for _, then := range []string{"a clean stop", "a kill", "a kill, with all checkpoints", "nothing"} {
			d, l = openOne(t, mem, LogConfig{Durable: true})
			appendAt(t, l, simNow, 1)
			if err := l.Flush(true); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, l, 0, int64(left)); got != int64(left) {
				t.Errorf("read up to %d of %d", got, left)
			}
			var c *CorruptError
			if _, err := l.Read(int64(left), l.End(), 1<<20, true); !errors.As(err, &c) || c.Offset != int64(left) || c.Next != 10 {
				t.Errorf("before %s: %v", then, err)
			}
			readAll(t, l, 10, l.End())
			switch then {
			case "a clean stop":
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				continue
			case "a kill, with all checkpoints":
				d.sealAll()
				if err := d.writeCheckpoints(); err != nil {
					t.Fatal(err)
				}
			}
			d.Abandon()
			mem.Kill()
		}
	}
}

// TestFlippedTimeIndexDeletesNothing: after a kill the largest timestamp of a
// segment is what its time index says, which has no checksum; retention looks
// at the batch before it lets a segment go.
func TestFlippedTimeIndexDeletesNothing(t *testing.T) {
	t.Parallel()
	const written = 0x18c_0000_0000 // its byte 3 has bit 3
	mem := vfs.NewMem()
	c := LogConfig{Durable: true, Delete: true, Retention: time.Hour}
	d, l := openOne(t, mem, c)
	appendAt(t, l, written, 3)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	appendAt(t, l, written, 3)
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(6)
	d.sealAll()
	if err := d.writeCheckpoints(); err != nil {
		t.Fatal(err)
	}
	d.Abandon()
	mem.Kill()
	flip(t, mem, "/data/t-0/00000000000000000000.timeindex", 3) // a year off
	_, l = openOne(t, mem, c)
	l.SetHighWatermark(6)
	if n, err := l.Retain(time.UnixMilli(written)); n != 0 || err != nil {
		t.Errorf("%d segments went, %v", n, err)
	}
	if n, err := l.Retain(time.UnixMilli(written).Add(2 * time.Hour)); n != 2 || err != nil {
		t.Errorf("%d segments went when it was time, %v", n, err)
	}
}
