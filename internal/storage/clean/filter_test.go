// SPDX-License-Identifier: Apache-2.0

package clean

// Goal: what stays of one batch, where the comparison with a model cannot
// tell early from late. Method: single batches, in order, through a filter.

import (
	"bytes"
	"fmt"
	"testing"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// one makes a batch at base; a value of "-" is a tombstone.
func one(t *testing.T, base int64, edit func(*batch.Builder), kvs ...string) batch.View {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.SetBaseOffset(base)
	if edit != nil {
		edit(b)
	}
	for i := 0; i < len(kvs); i += 2 {
		value := []byte(kvs[i+1])
		if kvs[i+1] == "-" {
			value = nil
		}
		b.Append(500, []byte(kvs[i]), value)
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(v)
}

func marker(typ batch.ControlType, at, producer int64) batch.View {
	v := batch.EndTxnMarker(typ, 500, producer, 0, 1)
	v.SetBaseOffset(at)
	return v
}

func txnOf(producer int64) func(*batch.Builder) {
	return func(b *batch.Builder) { b.SetProducer(producer, 0, 0); b.SetTransactional(true) }
}

// filterOf makes a filter at time 1000, retention 100, for a map that has seen
// the keys at their offsets and everything up to latest.
func filterOf(latest int64, keys map[string]int64, aborted ...storage.AbortedTxn) *filter {
	m := newKeyMap(10_000, 0.9)
	for k, o := range keys {
		m.put([]byte(k), o)
	}
	m.seen(latest)
	return &filter{keys: m, txns: newTxns(aborted), upTo: -1, now: 1000, retention: 100, builder: batch.NewBuilder(batch.None), stats: &Stats{}}
}

// shape tells of a batch what the cases below are about.
func shape(t *testing.T, v batch.View) string {
	t.Helper()
	if v == nil {
		return "gone"
	}
	if err := v.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	s := fmt.Sprintf("[%d,%d]", v.BaseOffset(), v.LastOffset())
	if h, ok := v.DeleteHorizon(); ok {
		s += fmt.Sprintf(" until %d", h)
	}
	err := v.Each(nil, func(r batch.Record) error {
		if v.Attributes().Control() {
			s += " marker"
		} else {
			s += fmt.Sprintf(" %s@%d", r.Key, v.BaseOffset()+int64(r.OffsetDelta))
		}
		if v.Timestamp(r) != 500 {
			t.Errorf("%s: timestamp %d", s, v.Timestamp(r))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.MaxTimestamp() != 500 {
		t.Errorf("%s: max timestamp %d", s, v.MaxTimestamp())
	}
	return s
}

func (f *filter) expect(t *testing.T, v batch.View, want string) (aborted *storage.AbortedTxn) {
	t.Helper()
	out, aborted, err := f.apply(v)
	if err != nil {
		t.Fatal(err)
	}
	if got := shape(t, out); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	return aborted
}

func TestTombstones(t *testing.T) {
	t.Parallel()
	f := filterOf(20, map[string]int64{"a": 12, "b": 11, "c": 10})
	f.expect(t, one(t, 10, nil, "c", "1", "b", "2", "a", "3"), "[10,12] c@10 b@11 a@12")
	f.expect(t, one(t, 10, nil, "a", "1", "b", "-", "c", "3"), "[10,12] until 1100 b@11 c@12")
	f.expect(t, one(t, 5, nil, "a", "-", "b", "-"), "gone")
	f.expect(t, one(t, 19, nil, "x", "-", "y", "1", "z", "2"), "[19,21] x@19 y@20 z@21") // not yet clean: no horizon
	horizon := func(ms int64) func(*batch.Builder) { return func(b *batch.Builder) { b.SetDeleteHorizon(ms) } }
	f.expect(t, one(t, 10, horizon(1001), "q", "-", "r", "1"), "[10,11] until 1001 q@10 r@11")
	f.expect(t, one(t, 10, horizon(1000), "q", "-", "r", "1"), "[10,11] until 1000 r@11")
	f.expect(t, one(t, 10, horizon(1000), "q", "-"), "gone")
	f.expect(t, one(t, 30, horizon(1000), "q", "-"), "[30,30] until 1000 q@30") // above the map: undecided
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	f := filterOf(20, nil)
	b := batch.NewBuilder(batch.None)
	b.Append(500, nil, []byte("x"))
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f.expect(t, v, "gone")
	if f.stats.InvalidRecords != 1 {
		t.Fatalf("%+v", f.stats)
	}
}

func TestEmptyBatchesThatStay(t *testing.T) {
	t.Parallel()
	producer := func(b *batch.Builder) { b.SetProducer(4, 2, 7) }
	f := filterOf(50, map[string]int64{"a": 50})
	f.producers = map[int64]LastRecord{4: {DataOffset: 21, Epoch: 2}, 5: {DataOffset: -1, Epoch: 0}, 6: {DataOffset: -1, Epoch: 3}}
	f.expect(t, one(t, 10, producer, "a", "1", "a", "2"), "gone")
	v, _, err := f.apply(one(t, 20, producer, "a", "1", "a", "2"))
	if err != nil {
		t.Fatal(err)
	}
	if got := shape(t, v); got != "[20,21]" || v.BaseSequence() != 7 || v.LastSequence() != 8 || v.ProducerEpoch() != 2 || v.Count() != 0 {
		t.Fatalf("%s %v", got, v)
	}
	f.expect(t, bytes.Clone(v), "[20,21]") // and again
	f.upTo = 32
	f.expect(t, one(t, 30, nil, "a", "1", "a", "2"), "[30,31]")
	// A marker is the last that is known of 5, and of 6 under another epoch.
	stale := func(at, id int64) batch.View {
		b := batch.NewBuilder(batch.None)
		b.SetBaseOffset(at)
		txnOf(id)(b)
		b.SetControl(true)
		b.SetDeleteHorizon(900)
		b.Append(500, batch.ControlKey(batch.Commit), make([]byte, 6))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(v)
	}
	f.expect(t, stale(40, 5), "[40,40]")
	f.expect(t, stale(41, 6), "gone")
}

func TestMarkers(t *testing.T) {
	t.Parallel()
	aborted := storage.AbortedTxn{ProducerID: 7, FirstOffset: 10, LastOffset: 12}
	f := filterOf(50, map[string]int64{"a": 10, "b": 50}, aborted)

	// With records of the transaction just dropped, the marker stays as it is
	// and the transaction stays in the index.
	f.expect(t, one(t, 10, txnOf(7), "a", "1"), "gone")
	if got := f.expect(t, marker(batch.Abort, 12, 7), "[12,12] marker"); got == nil || *got != aborted {
		t.Fatalf("%+v", got)
	}
	// Committed: the same, and no entry.
	f.expect(t, one(t, 13, txnOf(7), "b", "1"), "gone")
	if got := f.expect(t, marker(batch.Commit, 14, 7), "[14,14] marker"); got != nil {
		t.Fatalf("%+v", got)
	}
	// With none left, markers get their time, and then go.
	for _, typ := range []batch.ControlType{batch.Abort, batch.Commit} {
		v, _, err := f.apply(marker(typ, 20, 7))
		if err != nil {
			t.Fatal(err)
		}
		v = bytes.Clone(v)
		if got := shape(t, v); got != "[20,20] until 1100 marker" {
			t.Fatal(got)
		}
		f.expect(t, v, "[20,20] until 1100 marker")
		f.now = 1100
		f.expect(t, v, "gone")
		f.now = 1000
	}
	// What is no transaction's is not touched.
	f.expect(t, marker(batch.LeaderChange, 30, 7), "[30,30] marker")
}

// Transactions of one producer follow each other, and one whose marker is not
// read does not swallow the next.
func TestTransactionsInARow(t *testing.T) {
	t.Parallel()
	f := filterOf(50, map[string]int64{"a": 0},
		storage.AbortedTxn{ProducerID: 7, FirstOffset: 20, LastOffset: 22}, storage.AbortedTxn{ProducerID: 7, FirstOffset: 1, LastOffset: 3})
	f.expect(t, one(t, 1, txnOf(7), "a", "1"), "gone")
	// The marker at 3 lies in a segment that is left alone.
	f.expect(t, one(t, 5, txnOf(7), "a", "1"), "[5,5] a@5")
	f.expect(t, marker(batch.Commit, 6, 7), "[6,6] marker")
	f.expect(t, one(t, 20, txnOf(7), "a", "1"), "gone")
	f.expect(t, one(t, 21, txnOf(8), "a", "1"), "[21,21] a@21")
	if got := f.expect(t, marker(batch.Abort, 22, 7), "[22,22] marker"); got == nil || got.FirstOffset != 20 {
		t.Fatalf("%+v", got)
	}
	f.expect(t, one(t, 25, txnOf(7), "a", "1"), "[25,25] a@25")
}
