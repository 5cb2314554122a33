// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"syscall"
	"testing"

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
