// SPDX-License-Identifier: Apache-2.0

package producer

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"gregor/internal/batch"
)

func data(t testing.TB, pid int64, epoch int16, seq int32, n int, offset int64, txn bool) batch.View {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.SetBaseOffset(offset)
	b.SetProducer(pid, epoch, seq)
	b.SetTransactional(txn)
	for range n {
		b.Append(1000, nil, nil)
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(v)
}

func take(t testing.TB, tab *Table, origin Origin, v batch.View) error {
	t.Helper()
	u := tab.Prepare(Rules{Origin: origin})
	if err := u.Add(v); err != nil {
		return err
	}
	tab.Apply(u, nil)
	return nil
}

// TestOrigins: coordinators have no sequences but epochs; replicas take what
// the leader took.
func TestOrigins(t *testing.T) {
	t.Parallel()
	tab := NewTable()
	if err := take(t, tab, Coordinator, data(t, 1, 3, batch.NoSequence, 1, 0, true)); err != nil {
		t.Fatal(err)
	}
	if err := take(t, tab, Coordinator, data(t, 1, 2, batch.NoSequence, 1, 1, true)); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Fatal(err)
	}
	if err := take(t, tab, Replication, data(t, 1, 2, 77, 1, 1, true)); err != nil {
		t.Fatal(err)
	}
	if tab.FirstOpen() != 0 || tab.FirstUnstable() != 0 {
		t.Fatal(tab.FirstOpen(), tab.FirstUnstable())
	}
	if _, dup := tab.Duplicate(data(t, 1, 2, batch.NoSequence, 1, 9, true)); dup {
		t.Fatal("a batch without a sequence is no duplicate")
	}
}

// TestFromZero: with transactions of version 2 a producer without batches
// starts at 0, and while a guard is out nothing overtakes the first that asked.
func TestFromZero(t *testing.T) {
	t.Parallel()
	tab := NewTable()
	g, err := tab.Begin(1, 0, 5, true, 0)
	if err != nil || g == 0 {
		t.Fatal(g, err)
	}
	rules := Rules{Origin: Client, Guarded: true, Guard: g}
	u := tab.Prepare(rules)
	if err := u.Add(data(t, 1, 0, 5, 1, 0, true)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
	u = tab.Prepare(rules)
	if err := u.Add(data(t, 1, 0, 0, 1, 0, true)); err != nil {
		t.Fatal(err)
	}
	tab = NewTable()
	g, _ = tab.Begin(1, 0, 7, false, 0)
	if h, _ := tab.Begin(1, 0, 3, false, 0); h != g {
		t.Fatal("two guards for one verification")
	}
	u = tab.Prepare(Rules{Origin: Client, Guarded: true, Guard: g})
	if err := u.Add(data(t, 1, 0, 7, 1, 0, true)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
}

func marker(t testing.TB, pid int64, epoch int16, coordinator int32, offset int64) batch.View {
	t.Helper()
	v := batch.EndTxnMarker(batch.Abort, 2000, pid, epoch, coordinator)
	v.SetBaseOffset(offset)
	return v
}

// TestGuard: the first batch of a transaction needs the guard that was taken
// before, and a marker in between takes it away.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, origin := range []Origin{Client, Coordinator} {
		tab := NewTable()
		seq := int32(0)
		add := func(g uint64, v batch.View) error {
			u := tab.Prepare(Rules{Origin: origin, Guarded: true, Guard: g, TxnVersion: 2})
			if err := u.Add(v); err != nil {
				return err
			}
			tab.Apply(u, nil)
			return nil
		}
		first := func(epoch int16) batch.View {
			if origin == Coordinator {
				return data(t, 1, epoch, batch.NoSequence, 1, 0, true)
			}
			return data(t, 1, epoch, seq, 1, 0, true)
		}
		if err := add(0, first(0)); !errors.Is(err, ErrInvalidTxnState) {
			t.Fatal(err)
		}
		g, _ := tab.Begin(1, 0, 0, true, 0)
		if err := add(g+1, first(0)); !errors.Is(err, ErrInvalidTxnState) {
			t.Fatal(err)
		}
		if err := add(g, first(0)); err != nil {
			t.Fatal(err)
		}
		seq = 1
		if h, err := tab.Begin(1, 0, 1, true, 0); h != 0 || err != nil {
			t.Fatal("an open transaction needs no guard", h, err)
		}
		if err := add(0, first(0)); err != nil {
			t.Fatal(err)
		}
		if err := add(0, marker(t, 1, 1, 4, 9)); err != nil {
			t.Fatal(err)
		}
		// The next transaction asks, and is aborted before the answer.
		seq = 0
		h, err := tab.Begin(1, 1, 0, true, 0)
		if h == 0 || h == g || err != nil {
			t.Fatal(h, err)
		}
		if err := add(0, marker(t, 1, 2, 4, 10)); err != nil {
			t.Fatal(err)
		}
		if err := add(h, first(1)); !errors.Is(err, ErrInvalidProducerEpoch) {
			t.Fatal(err)
		}
		if err := add(h, first(2)); !errors.Is(err, ErrInvalidTxnState) {
			t.Fatal(err)
		}
		if _, err := tab.Begin(1, 1, 0, true, 0); !errors.Is(err, ErrInvalidProducerEpoch) {
			t.Fatal(err)
		}
		tab.Begin(5, 0, 0, true, 0)
		tab.Expire(100, 50)
		if len(tab.guards) != 0 {
			t.Fatal("a guard stays for ever")
		}
	}
}

// TestMarkers: from version 2 on a marker's epoch is above that of the records,
// or repeats a marker; before, it is the same. An older coordinator is refused.
func TestMarkers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, epoch int16
		coordinator    int32
		open           bool
		want           error
	}{
		{0, 3, 7, true, nil}, {0, 4, 7, true, nil}, {0, 2, 7, true, ErrInvalidProducerEpoch},
		{2, 3, 7, true, ErrInvalidProducerEpoch}, {2, 4, 7, true, nil}, {2, 2, 7, true, ErrInvalidProducerEpoch},
		{2, 3, 7, false, nil}, {0, 3, 7, false, nil},
		{2, 4, 6, true, ErrCoordinatorFenced}, {0, 3, 6, false, ErrCoordinatorFenced},
	} {
		tab := NewTable()
		if err := take(t, tab, Client, data(t, 1, 2, 0, 1, 0, true)); err != nil {
			t.Fatal(err)
		}
		if err := take(t, tab, Coordinator, marker(t, 1, 3, 7, 1)); err != nil {
			t.Fatal(err)
		}
		if c.open {
			if err := take(t, tab, Client, data(t, 1, 3, 0, 1, 2, true)); err != nil {
				t.Fatal(err)
			}
		}
		u := tab.Prepare(Rules{Origin: Coordinator, TxnVersion: c.version})
		if err := u.Add(marker(t, 1, c.epoch, c.coordinator, 3)); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		u = tab.Prepare(Rules{Origin: Replication})
		if err := u.Add(marker(t, 1, c.epoch, c.coordinator, 3)); err != nil {
			t.Errorf("%+v replicated: %v", c, err)
		}
	}
}

// TestOneAppend: several batches of a producer in one append follow each
// other, and nothing is kept of an append that is refused.
func TestOneAppend(t *testing.T) {
	t.Parallel()
	tab := NewTable()
	u := tab.Prepare(Rules{Origin: Client})
	if err := u.Add(data(t, 1, 0, 0, 2, 0, false)); err != nil {
		t.Fatal(err)
	}
	if err := u.Add(data(t, 1, 0, 2, 2, 2, false)); err != nil {
		t.Fatal(err)
	}
	if err := u.Add(data(t, 1, 0, 5, 1, 4, false)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
	if tab.Len() != 0 {
		t.Fatal("a refused append left traces")
	}
}

func TestFirstSeqWraps(t *testing.T) {
	t.Parallel()
	m := Meta{LastSeq: 1, OffsetDelta: 3}
	if m.FirstSeq() != math.MaxInt32-1 {
		t.Fatal(m.FirstSeq())
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	tab := NewTable()
	for i := range int64(7) {
		for k := range int32(7) {
			if err := take(t, tab, Client, data(t, i, 0, 2*k, 2, 100*i+2*int64(k), i%2 == 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	one, full := NewTable(), NewTable()
	if err := one.Load(tab.AppendSnapshot(nil)); err != nil {
		t.Fatal(err)
	}
	if rest, err := full.LoadFull(tab.AppendFull(nil)); err != nil || len(rest) > 0 {
		t.Fatal(err)
	}
	for i := range int64(7) {
		for k := range int32(7) {
			v := data(t, i, 0, 2*k, 2, 0, true)
			_, dup1 := one.Duplicate(v)
			m, dup5 := full.Duplicate(v)
			if dup1 != (k == 6) || dup5 != (k >= 2) || dup5 && m.First() != 100*i+2*int64(k) {
				t.Fatalf("producer %d batch %d: %v %v %+v", i, k, dup1, dup5, m)
			}
		}
	}
	if one.FirstOpen() != 0 || full.FirstOpen() != 0 {
		t.Fatal(one.FirstOpen(), full.FirstOpen())
	}
	b := tab.AppendSnapshot(nil)
	b[20] ^= 1
	if err := one.Load(b); err == nil {
		t.Fatal("a flipped bit went by")
	}
}

func FuzzSnapshot(f *testing.F) {
	tab := NewTable()
	_ = take(f, tab, Client, data(f, 3, 1, 0, 2, 0, true))
	f.Add(tab.AppendSnapshot(nil))
	f.Add(tab.AppendFull(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := NewTable()
		if err := x.Load(b); err == nil {
			y := NewTable()
			if err := y.Load(x.AppendSnapshot(nil)); err != nil || y.Len() != x.Len() {
				t.Fatal("not the same again", err)
			}
		}
		if _, err := x.LoadFull(b); err == nil {
			y := NewTable()
			if rest, err := y.LoadFull(x.AppendFull(nil)); err != nil || len(rest) > 0 || y.Len() != x.Len() {
				t.Fatal("not the same again", err)
			}
		}
		_, _ = ParseMarker(append(make(batch.View, batch.HeaderSize), b...))
	})
}

// TestStableAfterAbort: an aborted transaction's last stable offset ends a
// reader's search for others, so it lies above no open transaction's first
// record, of the same producer neither. A follower takes many batches at once.
func TestStableAfterAbort(t *testing.T) {
	t.Parallel()
	end := func(offset int64, epoch int16) batch.View { return marker(t, 1, epoch, 4, offset) }
	vs := []batch.View{
		data(t, 1, 0, 0, 1, 0, true), end(1, 1),
		data(t, 1, 1, 0, 2, 2, true), data(t, 2, 0, 0, 1, 4, true),
	}
	one, many := NewTable(), NewTable()
	var want, got []int64
	for _, v := range vs {
		u := one.Prepare(Rules{Origin: Replication})
		if err := u.Add(v); err != nil {
			t.Fatal(err)
		}
		one.Apply(u, func(_ Completed, stable int64) { want = append(want, stable) })
	}
	u := many.Prepare(Rules{Origin: Replication})
	for _, v := range vs {
		if err := u.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	many.Apply(u, func(_ Completed, stable int64) { got = append(got, stable) })
	if !slices.Equal(got, want) {
		t.Fatalf("last stable offsets at the end of each transaction are %d, batch by batch %d", got, want)
	}
}
