// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

// abortOne appends a transaction of one record and aborts it.
func abortOne(t *testing.T, l *Log) {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.SetProducer(7, 0, 0)
	b.SetTransactional(true)
	b.Append(simNow, nil, []byte("v"))
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = l.Append(bytes.Clone(v), Append{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(marker(t, 7, 0, true, 1), Append{Origin: Coordinator}); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(l.End())
}

func wantAborted(t *testing.T, l *Log) {
	t.Helper()
	ts, err := l.Aborted(0, l.End())
	if err != nil || len(ts) != 1 || ts[0].FirstOffset != 0 || ts[0].LastOffset != 1 {
		t.Errorf("aborted %v, %v", ts, err)
	}
}

// TestAbortedOutliveAFullDisk: a disk without room for the transaction index of
// a rolled segment when the directory stops does not make what was aborted look
// committed.
func TestAbortedOutliveAFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	full := vfs.NewFaulty(mem)
	d, l := openOne(t, full, LogConfig{Durable: true})
	abortOne(t, l)
	full.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.txnindex", Err: syscall.ENOSPC})
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err == nil {
		t.Error("the stop counts as clean")
	}
	_, l = openOne(t, mem, LogConfig{Durable: true})
	wantAborted(t, l)
}

// TestDamagedTransactionIndex: the one of the segment that takes appends after
// a clean stop is made anew too, and that of one that a cut makes the last.
func TestDamagedTransactionIndex(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"catalogue", "without", "cut"} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		abortOne(t, l)
		if name == "cut" {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		appendAt(t, l, simNow, 3)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if name == "without" {
			if err := mem.Remove("/data/" + catalogueName); err != nil {
				t.Fatal(err)
			}
		}
		flip(t, mem, "/data/t-0/00000000000000000000.txnindex", 0)
		d, l = openOne(t, mem, LogConfig{Durable: true})
		if name == "cut" {
			if err := l.TruncateTo(2); err != nil {
				t.Fatal(name, err)
			}
		}
		wantAborted(t, l)
		if _, err := l.Append(testBatch(1, simNow, 10), Append{}); err != nil {
			t.Error(name, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		_, l = openOne(t, mem, LogConfig{Durable: true})
		wantAborted(t, l)
	}
}

// TestStopLeavesNoRemains: a start after a clean stop lists no directory of a
// log, so what still waited to be deleted would stay for ever.
func TestStopLeavesNoRemains(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	c := LogConfig{Durable: true, SegmentBytes: 500, Delete: true, Retention: time.Hour}
	for round := range 3 {
		d, l := openOne(t, mem, c)
		for range 5 {
			appendAt(t, l, simNow, 3)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(l.End())
		if n, err := l.Retain(time.UnixMilli(simNow).Add(2 * time.Hour)); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		appendAt(t, l, simNow, 1)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := mem.List("/data/t-0")
		if err != nil {
			t.Fatal(err)
		}
		var logs, snapshots int
		for _, e := range entries {
			switch {
			case strings.Contains(e.Name(), ".deleted"):
				t.Errorf("round %d: %s", round, e.Name())
			case strings.HasSuffix(e.Name(), ".log"):
				logs++
			case strings.HasSuffix(e.Name(), ".snapshot"):
				snapshots++
			}
		}
		if snapshots > logs+1 {
			t.Errorf("round %d: %d segments and %d snapshots", round, logs, snapshots)
		}
	}
}

// TestDirectoryKeepsItsID: one that Kafka made before there were ids gets one
// once.
func TestDirectoryKeepsItsID(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	if err := mem.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	f, err := mem.Create("/data/" + metaPropertiesName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("version=1\ncluster.id=c\nnode.id=1\n"), 0); err != nil {
		t.Fatal(err)
	}
	d := openTestDir(t, mem, "/data", Events{})
	id := d.ID()
	d.Abandon()
	mem.Kill()
	if d = openTestDir(t, mem, "/data", Events{}); d.ID() != id {
		t.Errorf("the directory was %x, and is %x after a restart", id, d.ID())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
