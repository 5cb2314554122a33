// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"gregor/internal/batch"
	"gregor/internal/storage/epoch"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// TestEpochVotes: one batch for each number, at offsets 0, 1, 2 ...; which of
// them count, and the list that follows.
func TestEpochVotes(t *testing.T) {
	t.Parallel()
	list := func(es ...int64) (out []epoch.Entry) {
		for i := 0; i < len(es); i += 2 {
			out = append(out, epoch.Entry{Epoch: int32(es[i]), Start: es[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		name    string
		epochs  []int32
		listed  []epoch.Entry
		proven  bool
		durable int64
		bad     []int64
		want    []epoch.Entry
	}{
		{name: "all of one", epochs: []int32{3, 3, 3}, want: list(3, 0)},
		{name: "rising", epochs: []int32{1, 1, 2, 5, 5}, want: list(1, 0, 2, 2, 5, 3)},
		{name: "one too high", epochs: []int32{1, 1, 9, 1, 2}, bad: []int64{2}, want: list(1, 0, 2, 4)},
		{name: "one too low", epochs: []int32{4, 4, 0, 4, 4}, bad: []int64{2}, want: list(4, 0)},
		{name: "the first too high", epochs: []int32{9, 1, 1}, bad: []int64{0}, want: list(1, 0)},
		{name: "negative", epochs: []int32{-1 << 31, 1, 1}, bad: []int64{0}, want: list(1, 0)},
		{name: "the last too high: nobody knows", epochs: []int32{1, 1, 9}, want: list(1, 0, 9, 2)},
		{name: "the last too high: it is known", epochs: []int32{1, 1, 9}, listed: list(1, 0), proven: true, durable: 3, bad: []int64{2}, want: list(1, 0)},
		{name: "a new epoch, not durable yet", epochs: []int32{1, 1, 9}, listed: list(1, 0), proven: true, durable: 2, want: list(1, 0, 9, 2)},
		{name: "the first of an epoch, as one before", epochs: []int32{4, 4, 4, 5}, listed: list(4, 0, 5, 2), proven: true, durable: 4, bad: []int64{2}, want: list(4, 0, 5, 3)},
		{name: "the last of an epoch, as one after", epochs: []int32{4, 5, 5, 5}, listed: list(4, 0, 5, 2), proven: true, durable: 4, bad: []int64{1}, want: list(4, 0, 5, 2)},
		{name: "a list that is not proven", epochs: []int32{4, 5, 5, 5}, listed: list(4, 0, 5, 2), durable: 4, want: list(4, 0, 5, 1)},
		{name: "below the list", epochs: []int32{0, 3, 3}, listed: list(3, 1), proven: true, durable: 3, want: list(0, 0, 3, 1)},
	} {
		votes := &epochVotes{listed: c.listed, proven: c.proven}
		for i, e := range c.epochs {
			v := make(batch.View, batch.HeaderSize)
			v.SetBaseOffset(int64(i))
			v.SetLeaderEpoch(e)
			votes.add(v)
		}
		if got := votes.settle(c.durable); got != (len(c.bad) > 0) {
			t.Errorf("%s: outvoted %v", c.name, got)
		}
		var bad []int64
		for _, r := range votes.runs {
			if r.bad {
				bad = append(bad, r.start)
			}
		}
		if fmt.Sprint(bad) != fmt.Sprint(c.bad) || fmt.Sprint(votes.entries()) != fmt.Sprint(c.want) {
			t.Errorf("%s: bad %v, want %v; entries %v, want %v", c.name, bad, c.bad, votes.entries(), c.want)
		}
	}
}

// TestEmptyEpochGivesWay: an epoch in which nothing was written here is
// forgotten when the leader's batches are older. Were it kept, all of them would
// count as damaged.
func TestEmptyEpochGivesWay(t *testing.T) {
	t.Parallel()
	d, l := openOne(t, vfs.NewMem(), LogConfig{Durable: true})
	appendFetched := func(epochs ...int32) {
		for _, e := range epochs {
			v := testBatch(1, simNow, 10)
			v.SetBaseOffset(l.End())
			v.SetLeaderEpoch(e)
			if _, err := l.Append(v, Append{Origin: Replication}); err != nil {
				t.Fatal(err)
			}
		}
	}
	assign := func(e int32) {
		if err := l.AssignEpoch(e, l.End()); err != nil {
			t.Fatal(err)
		}
	}
	assign(2) // led, of an empty log
	appendFetched(0, 0, 1)
	assign(5)
	appendFetched(1, 3)
	assign(6)
	appendFetched(6)
	for offset, want := range []int32{0, 0, 1, 1, 3, 6} {
		if got := l.EpochAt(int64(offset)); got != want {
			t.Errorf("offset %d is of epoch %d, want %d", offset, got, want)
		}
	}
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	d.Abandon()
	d, l = openOne(t, d.fs, LogConfig{Durable: true})
	for at := int64(0); at < l.End(); {
		s, err := l.Read(at, l.End(), 1, true)
		if err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		at = s.Next
		s.Release()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEpochsWhileSealing: what is written in a new epoch becomes durable only
// together with a list that has the epoch, also when a sealed segment has just
// begun to write that list.
func TestEpochsWhileSealing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := vfs.NewFaulty(vfs.NewMem())
		d, l := openOne(t, f, LogConfig{Durable: true})
		add := func(e int32) {
			if _, err := l.Append(testBatch(1, simNow, 10), Append{LeaderEpoch: e}); err != nil {
				t.Fatal(err)
			}
		}
		add(0)
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		held := make(chan struct{})
		f.Add(vfs.Rule{Ops: vfs.OpCreate, Path: epochCheckpointName + ".tmp", Times: 1, Before: func(vfs.Call) { <-held }})
		if err := l.AssignEpoch(1, l.End()); err != nil {
			t.Fatal(err)
		}
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the seal is at the list
		add(1)
		synctest.Wait() // the committer has done what it can
		if l.Flushed() == l.End() {
			t.Error("the new epoch's batch is durable before the list that has its epoch")
		}
		close(held)
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		votes, bad, err := l.readEpochs()
		if err != nil || bad != nil || !votes.proven || len(votes.listed) != 2 {
			t.Errorf("the list: %+v, %v, %v", votes, bad, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestNewEpochCostsNoFile: the durable point itself names a new epoch, so that
// after a kill its batches are believed and a flipped epoch is not, without a
// checkpoint; the checkpoint comes with the next sealed segment.
func TestNewEpochCostsNoFile(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d, l := openOne(t, mem, LogConfig{Durable: true})
	add := func(e int32) {
		t.Helper()
		if _, err := l.Append(testBatch(1, simNow, 10), Append{LeaderEpoch: e}); err != nil {
			t.Fatal(err)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(filed bool, want ...epoch.Entry) {
		t.Helper()
		if _, err := mem.Stat(filepath.Join(l.path, epochCheckpointName)); (err == nil) != filed {
			t.Errorf("the checkpoint: %v, want one: %v", err, filed)
		}
		votes, bad, err := l.readEpochs()
		if err != nil || bad != nil || !votes.proven || !slices.Equal(votes.listed, want) {
			t.Errorf("the list: %+v, %v, %v; want %v", votes, bad, err, want)
		}
	}
	reopen := func() {
		t.Helper()
		d.Abandon()
		d, l = openOne(t, mem, LogConfig{Durable: true})
	}
	add(3)
	add(3)
	expect(false, epoch.Entry{Epoch: 3, Start: 0})
	reopen()
	expect(false, epoch.Entry{Epoch: 3, Start: 0})
	if got := l.EpochAt(1); got != 3 {
		t.Errorf("offset 1 is of epoch %d", got)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	d.sealAll()
	expect(true, epoch.Entry{Epoch: 3, Start: 0})
	add(4)
	expect(true, epoch.Entry{Epoch: 3, Start: 0}, epoch.Entry{Epoch: 4, Start: 2})
	if b, _ := vfs.ReadFile(mem, filepath.Join(l.path, epochCheckpointName)); string(b) != "0\n1\n3 0\n" {
		t.Errorf("the checkpoint was written for one new epoch: %q", b)
	}
	add(7) // a second one does not fit into the point
	expect(true, epoch.Entry{Epoch: 3, Start: 0}, epoch.Entry{Epoch: 4, Start: 2}, epoch.Entry{Epoch: 7, Start: 3})
	add(8)

	// The last batch's epoch is flipped: only the point knows that it is 8.
	path := l.active.Path(segment.LogSuffix)
	size, _ := l.active.Tail()
	d.Abandon()
	f, err := mem.OpenRW(path)
	if err != nil {
		t.Fatal(err)
	}
	one := int64(len(testBatch(1, simNow, 10)))
	if _, err := f.WriteAt([]byte{0, 0, 0, 9}, size-one+12); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	d, l = openOne(t, mem, LogConfig{Durable: true})
	if s, err := l.Read(4, l.End(), 1, true); err == nil {
		s.Release()
		t.Error("a batch with a flipped epoch is served")
	}
	if s, err := l.Read(3, l.End(), 1, true); err != nil || s.Next != 4 {
		t.Errorf("the batch before it: %v", err)
	} else {
		s.Release()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFiledEpochs: which lists a durable point can tell, and whether a log that
// comes back with the point and the checkpoint finds the same list again.
func TestFiledEpochs(t *testing.T) {
	t.Parallel()
	list := func(es ...int64) (out []epoch.Entry) {
		for i := 0; i < len(es); i += 2 {
			out = append(out, epoch.Entry{Epoch: int32(es[i]), Start: es[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		name           string
		filed, now     []epoch.Entry
		start, durable int64
		ok             bool
	}{
		{name: "none", ok: true},
		{name: "the first", now: list(0, 0), durable: 5, ok: true},
		{name: "one more", filed: list(0, 0), now: list(0, 0, 1, 5), durable: 9, ok: true},
		{name: "one more, without a record", filed: list(0, 0), now: list(0, 0, 1, 5), durable: 5, ok: true},
		{name: "one that is above", filed: list(0, 0), now: list(0, 0, 1, 5, 2, 7), durable: 6, ok: true},
		{name: "two more", filed: list(0, 0), now: list(0, 0, 1, 5, 2, 7), durable: 8},
		{name: "one went", filed: list(0, 0, 1, 5), now: list(0, 0), durable: 8},
		{name: "another instead", filed: list(0, 0, 1, 5), now: list(0, 0, 2, 5), durable: 8},
		{name: "one went, another came above it", filed: list(0, 0, 3, 20), now: list(0, 0, 5, 10), durable: 15},
		{name: "the start moved", filed: list(0, 0, 1, 5), now: list(1, 7), start: 7, durable: 9, ok: true},
		{name: "the start moved, and a new one", filed: list(0, 0, 1, 5), now: list(1, 7, 2, 8), start: 7, durable: 9, ok: true},
		{name: "emptied", filed: list(0, 0, 3, 20), start: 1000, durable: 1000},
		{name: "too far back", now: list(0, 0), durable: math.MaxUint32},
		{name: "just near enough", now: list(0, 0), durable: math.MaxUint32 - 1, ok: true},
	} {
		f := filedEpochs{c.filed, crc32.Checksum(epoch.Encode(c.filed), castagnoli)}
		l := &Log{epochs: epoch.New(c.now), epochsDirty: true, filed: f}
		l.start.Store(c.start)
		pt := l.pointLocked(c.durable)
		if l.epochsDueLocked(c.durable) == c.ok || (pt.epochs != 0) != c.ok {
			t.Errorf("%s: due %v, point %+v", c.name, l.epochsDueLocked(c.durable), pt)
			continue
		}
		want := epoch.Between(c.now, c.start, c.durable)
		for _, f := range []filedEpochs{f, {c.now, crc32.Checksum(epoch.Encode(c.now), castagnoli)}} {
			got, ok := pt.proven(f)
			if ok && !slices.Equal(epoch.Between(got, c.start, c.durable), want) {
				t.Errorf("%s: with %v proven are %v, want %v", c.name, f.entries, got, want)
			}
			if c.ok != ok && slices.Equal(f.entries, c.filed) {
				t.Errorf("%s: with %v proven: %v", c.name, f.entries, ok)
			}
		}
	}
}
