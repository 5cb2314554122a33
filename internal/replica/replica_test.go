// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// Both kinds of disk, both kinds of topic: what is appended is read, in order,
// before and after a clean restart.
func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	for _, disk := range []string{"memory", "disk"} {
		for _, durable := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, durable %v", disk, durable), func(t *testing.T) {
				t.Parallel()
				var fs vfs.FS
				if disk == "memory" {
					fs = vfs.NewMem()
				}
				w := begin(t, fs, 1)
				p := w.topic(1, "t", 1, func(c *TopicConfig) { c.Log.Durable = durable })[0]
				var want []value
				for i := 0; i < 30; i += 3 {
					r := w.produce(p, records(t, i, 3), -1)
					if r.BaseOffset != int64(i) || r.LastOffset != int64(i+2) || r.LogAppendTime != -1 || r.LogStart != 0 || r.LeaderEpoch != 0 {
						t.Fatalf("append %d: %+v", i, r)
					}
					for k := range 3 {
						want = append(want, value{int64(i + k), strconv.Itoa(i + k)})
					}
				}
				check := func(from int64) {
					t.Helper()
					got, err := readAll(p, from, ReadUncommitted)
					if err != nil || !slices.Equal(got, want[from:]) {
						t.Fatalf("read from %d: %v, %v", from, got, err)
					}
				}
				check(0)
				check(4)
				w.stop()
				w.start(1)
				p = w.table.Named("t", 0)
				check(0)
				if r := w.produce(p, records(t, 30, 1), 1); r.BaseOffset != 30 {
					t.Fatalf("after the restart: %+v", r)
				}
				w.stop()
			})
		}
	}
}

// On a durable topic acks=1 is answered after the write, and nobody sees the
// record, nor does an acks=all answer come, before it is flushed.
func TestNothingIsSeenBeforeItIsFlushed(t *testing.T) {
	t.Parallel()
	h := newHeldSyncs()
	w := begin(t, h, 1)
	p := w.topic(1, "t", 1, nil)[0]
	h.hold()
	r, err := p.Append(records(t, 0, 2), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Read(readRequest(0, ReadUncommitted))
	if err != nil || got.Slice.N != 0 || got.HighWatermark != 0 || got.LogEnd != 2 {
		t.Fatalf("before the flush: %+v, %v", got, err)
	}
	if at, err := p.OffsetAt(Latest, ReadUncommitted, NoEpoch, true); err != nil || at.Offset != 0 {
		t.Fatalf("latest offset before the flush: %+v, %v", at, err)
	}
	if all, err := readAll(p, 0, ReadAll); err != nil || len(all) != 2 {
		t.Fatalf("a replica sees the log end: %v, %v", all, err)
	}
	acks, data, stable := newWoken(), newWoken(), newWoken()
	if err := p.Committed(2, r.LeaderEpoch); err != kerr.RequestTimedOut {
		t.Fatalf("committed before the flush: %v", err)
	}
	if !p.AwaitCommitted(2, r.LeaderEpoch, acks) || !p.AwaitReadable(ReadUncommitted, 0, data) || !p.AwaitReadable(ReadCommitted, 0, stable) {
		t.Fatal("nothing to wait for")
	}
	if acks.now() || data.now() || stable.now() {
		t.Fatal("woken before the flush")
	}
	h.let()
	<-acks
	if n := <-data; n < 50 {
		t.Errorf("told of %d new bytes", n)
	}
	<-stable
	if err := p.Committed(2, r.LeaderEpoch); err != nil {
		t.Error(err)
	}
	if got, err := readAll(p, 0, ReadUncommitted); err != nil || len(got) != 2 {
		t.Errorf("after the flush: %v, %v", got, err)
	}
	if p.AwaitReadable(ReadUncommitted, 0, data) {
		t.Error("waits though what it saw has moved on")
	}
	p.Forget(data)
	p.Forget(stable)
	if n := p.Status().Waiting; n != 0 {
		t.Errorf("%d still wait", n)
	}
	w.stop()
}

// Without durability the page cache is enough.
func TestPageCacheTopicDoesNotWait(t *testing.T) {
	t.Parallel()
	h := newHeldSyncs()
	w := begin(t, h, 1)
	p := w.topic(1, "t", 1, func(c *TopicConfig) { c.Log.Durable = false })[0]
	h.hold()
	r := w.produce(p, records(t, 0, 1), 1)
	if p.AwaitCommitted(r.LastOffset+1, r.LeaderEpoch, newWoken()) {
		t.Error("acks=all waits for a flush")
	}
	if got, err := readAll(p, 0, ReadUncommitted); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	h.let()
	w.stop()
}

func TestDuplicateWaitsAsItsOriginal(t *testing.T) {
	t.Parallel()
	h := newHeldSyncs()
	w := begin(t, h, 1)
	p := w.topic(1, "t", 1, nil)[0]
	w.produce(p, idempotent(t, 7, 0, 0, 0, 2), -1)
	h.hold()
	append2 := func() Result {
		r, err := p.Append(idempotent(t, 7, 0, 2, 2, 3), -1, AppendOptions{ExpectedEpoch: NoEpoch})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, again := append2(), append2()
	if first.Duplicate || !again.Duplicate || again.BaseOffset != 2 || again.LastOffset != 4 {
		t.Fatalf("%+v then %+v", first, again)
	}
	a, b := newWoken(), newWoken()
	if !p.AwaitCommitted(first.LastOffset+1, 0, a) || !p.AwaitCommitted(again.LastOffset+1, 0, b) {
		t.Fatal("the duplicate is answered before its original is safe")
	}
	h.let()
	<-a
	<-b
	if got, _ := readAll(p, 0, ReadUncommitted); len(got) != 5 {
		t.Errorf("doubled: %v", got)
	}
	_, err := p.Append(idempotent(t, 7, 0, 9, 9, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "a gap", err, kerr.OutOfOrderSequenceNumber)
	w.produce(p, idempotent(t, 7, 1, 0, 5, 1), -1)
	_, err = p.Append(idempotent(t, 7, 0, 5, 9, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "an old epoch", err, kerr.InvalidProducerEpoch)
	w.stop()
}

func TestWaitersLearnThatTheLeadIsLost(t *testing.T) {
	t.Parallel()
	h := newHeldSyncs()
	w := begin(t, h, 1)
	p := w.topic(1, "t", 1, nil)[0]
	h.hold()
	r, err := p.Append(records(t, 0, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	acks, data := newWoken(), newWoken()
	p.AwaitCommitted(r.LastOffset+1, r.LeaderEpoch, acks)
	p.AwaitReadable(ReadUncommitted, 0, data)

	// A newer epoch of the same leader leaves the append in its place.
	h.let()
	<-acks
	w.elect(1, 1, 1)
	if err := p.Committed(r.LastOffset+1, r.LeaderEpoch); err != nil {
		t.Errorf("an unbroken lead forgot an append: %v", err)
	}
	h.hold()
	r, err = p.Append(records(t, 1, 1), -1, AppendOptions{ExpectedEpoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.AwaitCommitted(r.LastOffset+1, r.LeaderEpoch, acks)
	h.let()
	<-acks
	for data.now() {
	}
	h.hold()
	if r, err = p.Append(records(t, 2, 1), -1, AppendOptions{ExpectedEpoch: 1}); err != nil {
		t.Fatal(err)
	}
	p.AwaitCommitted(r.LastOffset+1, r.LeaderEpoch, acks)
	w.elect(1, meta.NoLeader, 2)
	<-acks
	if n := <-data; n != manyBytes {
		t.Errorf("a reader is told %d", n)
	}
	wantCode(t, "commit", p.Committed(r.LastOffset+1, r.LeaderEpoch), kerr.NotLeaderForPartition)
	_, err = p.Append(records(t, 3, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "append", err, kerr.NotLeaderForPartition)
	_, err = p.Read(readRequest(0, ReadUncommitted))
	wantCode(t, "read", err, kerr.NotLeaderForPartition)
	h.let()
	w.elect(1, 1, 3)
	wantCode(t, "commit after the lead was broken", p.Committed(r.LastOffset+1, 1), kerr.NotLeaderForPartition)
	w.stop()
}

func TestLeaderEpochsAreFenced(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	p := w.topic(1, "t", 1, nil)[0]
	w.produce(p, records(t, 0, 4), -1)
	w.elect(1, 1, 5)
	w.produce(p, records(t, 4, 1), -1)
	for _, c := range []struct {
		epoch int32
		want  int16
	}{{4, kerr.FencedLeaderEpoch.Code}, {6, kerr.UnknownLeaderEpoch.Code}, {5, 0}, {NoEpoch, 0}} {
		r := readRequest(0, ReadUncommitted)
		r.CurrentLeaderEpoch = c.epoch
		got, err := p.Read(r)
		if Code(err) != c.want {
			t.Errorf("read in epoch %d: %v", c.epoch, err)
		}
		if got.Slice.Release != nil {
			got.Slice.Release()
		}
		if _, err := p.OffsetAt(Earliest, ReadUncommitted, c.epoch, true); Code(err) != c.want {
			t.Errorf("list in epoch %d: %v", c.epoch, err)
		}
		if _, err := p.EpochEnd(0, c.epoch); Code(err) != c.want {
			t.Errorf("epoch end in epoch %d: %v", c.epoch, err)
		}
	}
	_, err := p.Append(records(t, 5, 1), -1, AppendOptions{ExpectedEpoch: 4})
	wantCode(t, "append for an older epoch", err, kerr.NotLeaderForPartition)

	for _, c := range []struct{ epoch, want int32 }{{0, 0}, {3, 0}, {5, 5}, {9, -1}} {
		end, err := p.EpochEnd(c.epoch, NoEpoch)
		wantEnd := map[int32]int64{0: 4, 5: 5, -1: -1}[c.want]
		if err != nil || end.Epoch != c.want || end.End != wantEnd {
			t.Errorf("end of epoch %d: %+v, %v; want %d ends at %d", c.epoch, end, err, c.want, wantEnd)
		}
	}
	// A reader that has a record of epoch 0 at offset 4 has diverged.
	r := readRequest(5, ReadUncommitted)
	r.LastFetchedEpoch = 3
	got, err := p.Read(r)
	if err != nil || got.Diverging == nil || *got.Diverging != (EpochEnd{0, 4}) || got.Slice.N != 0 {
		t.Errorf("diverging read: %+v, %v", got, err)
	}
	w.stop()
}

func TestOffsetsByTime(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	p := w.topic(1, "t", 1, nil)[0]
	now := time.Now().UnixMilli()
	for _, ts := range []int64{now - 500, now - 400, now - 100, now - 300} {
		b := batch.NewBuilder(batch.None)
		b.Append(ts, nil, []byte("x"))
		w.produce(p, built(t, b), -1)
	}
	for _, c := range []struct {
		ask, offset, timestamp int64
	}{
		{Latest, 4, -1}, {Earliest, 0, -1}, {EarliestLocal, 0, -1}, {EarliestPendingUpload, -1, -1}, {LatestTiered, -1, -1},
		{MaxTimestamp, 2, now - 100}, {0, 0, now - 500}, {now - 450, 1, now - 400}, {now - 350, 2, now - 100}, {now, -1, -1},
	} {
		at, err := p.OffsetAt(c.ask, ReadUncommitted, NoEpoch, true)
		if err != nil || at.Offset != c.offset || at.Timestamp != c.timestamp {
			t.Errorf("asked for %d: %+v, %v; want offset %d, time %d", c.ask, at, err, c.offset, c.timestamp)
		}
		if wantEpoch := int32(0); c.offset >= 0 && at.LeaderEpoch != wantEpoch {
			t.Errorf("asked for %d: leader epoch %d", c.ask, at.LeaderEpoch)
		}
	}
	w.stop()
}

func TestDeleteRecords(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	ps := w.topic(1, "t", 1, nil)
	c := w.topic(2, "c", 1, func(c *TopicConfig) { c.Log.Delete, c.Log.Compact = false, true })[0]
	p := ps[0]
	for i := range 10 {
		w.produce(p, records(t, i, 1), -1)
	}
	if low, err := p.DeleteRecords(4); err != nil || low != 4 {
		t.Fatalf("low watermark %d, %v", low, err)
	}
	if low, err := p.DeleteRecords(2); err != nil || low != 4 {
		t.Errorf("backwards: low watermark %d, %v", low, err)
	}
	_, err := p.Read(readRequest(3, ReadUncommitted))
	wantCode(t, "a deleted record", err, kerr.OffsetOutOfRange)
	_, err = p.Read(readRequest(11, ReadUncommitted))
	wantCode(t, "past the end", err, kerr.OffsetOutOfRange)
	if r, err := p.Read(readRequest(10, ReadUncommitted)); err != nil || r.Slice.N != 0 {
		t.Errorf("at the end: %+v, %v", r, err)
	}
	if at, _ := p.OffsetAt(Earliest, ReadUncommitted, NoEpoch, true); at.Offset != 4 {
		t.Errorf("earliest %+v", at)
	}
	_, err = p.DeleteRecords(11)
	wantCode(t, "above the high watermark", err, kerr.OffsetOutOfRange)
	_, err = p.DeleteRecords(-2)
	wantCode(t, "negative", err, kerr.OffsetOutOfRange)
	_, err = c.DeleteRecords(0)
	wantCode(t, "compacted", err, kerr.PolicyViolation)
	if low, err := p.DeleteRecords(HighWatermarkOffset); err != nil || low != 10 {
		t.Errorf("all: low watermark %d, %v", low, err)
	}
	if r := w.produce(p, records(t, 10, 1), -1); r.BaseOffset != 10 || r.LogStart != 10 {
		t.Errorf("after all was deleted: %+v", r)
	}
	w.stop()
}

// TestDeleteRecordsOfAnOpenTransaction: the last stable offset is not below what
// is left, or who is told to begin there is told that nothing is there.
func TestDeleteRecordsOfAnOpenTransaction(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	p := w.topic(1, "t", 1, nil)[0]
	b := batch.NewBuilder(batch.None)
	b.SetProducer(7, 0, 0)
	b.SetTransactional(true)
	b.Append(time.Now().UnixMilli(), nil, []byte("open"))
	r, err := p.Append(built(t, b), -1, AppendOptions{ExpectedEpoch: NoEpoch, Unguarded: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		w.produce(p, records(t, i, 1), -1)
	}
	if low, err := p.DeleteRecords(3); err != nil || low != 3 {
		t.Fatalf("low watermark %d, %v", low, err)
	}
	check := func(when string) {
		t.Helper()
		at, err := p.OffsetAt(Latest, ReadCommitted, NoEpoch, true)
		if err != nil || at.Offset != 3 {
			t.Fatalf("%s: the last stable offset is %d, %v", when, at.Offset, err)
		}
		if r, err := p.Read(readRequest(at.Offset, ReadCommitted)); err != nil || r.Slice.N != 0 || r.LastStable != 3 {
			t.Fatalf("%s: %+v, %v", when, r, err)
		}
	}
	check("after the deletion")
	w.stop()
	w.start(1)
	p = w.table.Named("t", 0)
	check("after a restart")
	w.stop()
}

func TestRefusedBatches(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	p := w.topic(1, "t", 1, func(c *TopicConfig) { c.MaxMessageBytes = 500 })[0]
	good := records(t, 0, 1)
	flipped := slices.Clone(good)
	flipped[len(flipped)-3] ^= 1
	shifted := slices.Clone(good)
	batch.View(shifted).SetBaseOffset(3)
	oldMagic := slices.Clone(good)
	oldMagic[16] = 1
	txn := batch.NewBuilder(batch.None)
	txn.SetProducer(1, 0, 0)
	txn.SetTransactional(true)
	txn.Append(time.Now().UnixMilli(), nil, []byte("x"))
	zstd := batch.NewBuilder(batch.Zstd)
	zstd.Append(time.Now().UnixMilli(), nil, make([]byte, 2000))
	for _, c := range []struct {
		name string
		b    []byte
		o    AppendOptions
		want *kerr.Error
	}{
		{"empty", nil, AppendOptions{}, kerr.InvalidRecord},
		{"cut short", good[:len(good)-1], AppendOptions{}, kerr.InvalidRecord},
		{"two batches", append(slices.Clone(good), good...), AppendOptions{}, kerr.InvalidRecord},
		{"wrong checksum", flipped, AppendOptions{}, kerr.CorruptMessage},
		{"wrong magic", oldMagic, AppendOptions{}, kerr.CorruptMessage},
		{"base offset", shifted, AppendOptions{}, kerr.InvalidRecord},
		{"too large", records(t, 0, 100), AppendOptions{}, kerr.MessageTooLarge},
		{"transactional", built(t, txn), AppendOptions{}, kerr.InvalidTxnState},
		{"zstd too early", built(t, zstd), AppendOptions{NoZstd: true}, kerr.UnsupportedCompressionType},
	} {
		c.o.ExpectedEpoch = NoEpoch
		_, err := p.Append(c.b, 1, c.o)
		wantCode(t, c.name, err, c.want)
	}
	if p.LogEnd() != 0 {
		t.Errorf("something was written: log end %d", p.LogEnd())
	}
	torn := append(slices.Clone(good), good[:30]...)
	if r, err := p.Append(torn, 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil || r.LastOffset != 0 {
		t.Errorf("a torn end after a whole batch is dropped: %+v, %v", r, err)
	}
	w.stop()
}

func TestConfigurationChangesLive(t *testing.T) {
	t.Parallel()
	h := newHeldSyncs()
	w := begin(t, h, 1)
	p := w.topic(1, "t", 1, nil)[0]
	change := func(f func(*TopicConfig)) {
		c := *w.configs["t"]
		f(&c)
		w.configs["t"] = &c
		v := "x"
		w.mustApply(meta.ConfigRecord{Resource: meta.Resource{Type: meta.TopicResource, Name: "t"}, Key: fmt.Sprint(w.img.Version()), Value: &v})
	}
	change(func(c *TopicConfig) { c.MaxMessageBytes = 100 })
	_, err := p.Append(records(t, 0, 50), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "smaller max.message.bytes", err, kerr.MessageTooLarge)

	h.hold()
	r, err := p.Append(records(t, 0, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	acks := newWoken()
	if !p.AwaitCommitted(r.LastOffset+1, 0, acks) {
		t.Fatal("not waiting for the flush")
	}
	change(func(c *TopicConfig) { c.Log.Durable = false })
	<-acks // the page cache is enough now
	h.let()
	change(func(c *TopicConfig) { c.Log.Durable = true })
	w.produce(p, records(t, 1, 1), -1)
	w.stop()
}

func TestTopicsComeAndGo(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 2)
	p := w.topic(1, "t", 4, nil)[0]
	w.produce(p, records(t, 0, 3), -1)
	data := newWoken()
	if !p.AwaitReadable(ReadUncommitted, 3, data) {
		t.Fatal("not waiting")
	}
	if n := len(w.table.All()); n != 4 {
		t.Fatalf("%d partitions", n)
	}
	// The two directories share them.
	for _, d := range w.dirs {
		if n := len(d.Logs()); n != 2 {
			t.Errorf("%s has %d logs, want 2", d.Path(), n)
		}
	}
	w.mustApply(meta.RemoveTopicRecord{ID: meta.UUID{1}})
	<-data
	_, err := p.Read(readRequest(0, ReadUncommitted))
	wantCode(t, "read of a deleted topic", err, kerr.UnknownTopicOrPartition)
	_, err = p.Append(records(t, 0, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "append to a deleted topic", err, kerr.UnknownTopicOrPartition)
	if seen := p.HighWatermark(); p.AwaitReadable(ReadUncommitted, seen, newWoken()) {
		t.Error("a fetch that has just read waits at a deleted topic, where nobody wakes it")
	}
	if w.table.Named("t", 0) != nil || w.table.ByID([16]byte{1}, 0) != nil || len(w.table.All()) != 0 {
		t.Error("still in the table")
	}
	q := w.topic(2, "t", 1, nil)[0]
	if r := w.produce(q, records(t, 0, 1), -1); r.BaseOffset != 0 {
		t.Errorf("the new topic begins at %d", r.BaseOffset)
	}
	// Deleted and made anew while the node was away: the old log is not the
	// new topic's.
	w.stop()
	img, _, err := w.img.With([]meta.Record{meta.RemoveTopicRecord{ID: meta.UUID{2}}, meta.TopicRecord{Name: "t", ID: meta.UUID{3}},
		meta.PartitionRecord{Topic: meta.UUID{3}, Index: 0, Partition: ledBy(1, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	w.img = img
	w.start(2)
	if r := w.table.ByID([16]byte{3}, 0); r == nil || r.LogEnd() != 0 {
		t.Errorf("the log of the topic before: %+v", r)
	}
	w.stop()
}

func TestStrayLogsAreReportedAndLeft(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	w.topic(1, "t", 1, nil)
	w.stop()
	w.img = meta.Empty()
	w.start(1)
	want := []storage.Name{{Topic: "t", Partition: 0}}
	if !slices.Equal(w.strays, want) || !slices.Equal(w.dirs[0].Logs(), want) {
		t.Errorf("strays %v, on disk %v", w.strays, w.dirs[0].Logs())
	}
	w.stop()
}

func TestFullDiskIsRetriedAndReadsGoOn(t *testing.T) {
	t.Parallel()
	f := vfs.NewFaulty(vfs.NewMem())
	w := begin(t, f, 1)
	p := w.topic(1, "t", 1, nil)[0]
	w.produce(p, records(t, 0, 5), -1)
	f.Limit(10)
	for range 3 {
		_, err := p.Append(records(t, 5, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
		wantCode(t, "append to a full disk", err, kerr.KafkaStorageError)
	}
	if got, err := readAll(p, 0, ReadUncommitted); err != nil || len(got) != 5 {
		t.Errorf("reads on a full disk: %v, %v", got, err)
	}
	if w.dirs[0].Err() != nil || p.Status().Offline {
		t.Error("a full disk took the directory offline")
	}
	f.Limit(-1)
	if r := w.produce(p, records(t, 5, 1), -1); r.BaseOffset != 5 {
		t.Errorf("after there was room again: %+v", r)
	}
	w.stop()
}

// A topic that is made while the disk is full works once there is room, without
// a restart; one that is deleted meanwhile is not opened any more.
func TestTopicMadeOnAFullDisk(t *testing.T) {
	t.Parallel()
	f := vfs.NewFaulty(vfs.NewMem())
	w := begin(t, f, 1)
	w.produce(w.topic(1, "old", 1, nil)[0], records(t, 0, 1), -1)
	f.Limit(0)
	for id, name := range map[byte]string{2: "new", 3: "gone"} {
		w.configs[name] = w.configs["old"]
		err := w.apply(meta.TopicRecord{Name: name, ID: meta.UUID{id}}, meta.PartitionRecord{Topic: meta.UUID{id}, Index: 0, Partition: ledBy(1, 0)})
		if !errors.Is(err, storage.ErrNoSpace) {
			t.Fatalf("a log was made on a full disk: %v", err)
		}
	}
	p := w.table.Named("new", 0)
	w.table.Tick(time.Now())
	_, err := p.Append(records(t, 0, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "append without a log", err, kerr.KafkaStorageError)
	w.elect(2, 1, 1)
	if err := w.apply(meta.RemoveTopicRecord{ID: meta.UUID{3}}); err != nil {
		t.Fatal(err)
	}
	f.Limit(-1)
	w.table.Tick(time.Now())
	if r := w.produce(p, records(t, 0, 2), -1); r.BaseOffset != 0 || r.LeaderEpoch != 1 {
		t.Errorf("with room again: %+v", r)
	}
	if got, err := readAll(p, 0, ReadUncommitted); err != nil || len(got) != 2 {
		t.Errorf("reading it: %v, %v", got, err)
	}
	if s := p.Status(); s.Offline || !s.Leads {
		t.Errorf("%+v", s)
	}
	if w.table.Named("gone", 0) != nil || len(w.table.late) != 0 {
		t.Error("the deleted topic is still waited for")
	}
	w.stop()
}

func TestFailedSyncTakesTheDirectoryOffline(t *testing.T) {
	t.Parallel()
	h := newHeldSyncs()
	w := begin(t, h, 2)
	ps := w.topic(1, "t", 2, nil)
	p, other := ps[0], ps[1]
	w.produce(p, records(t, 0, 1), -1)
	h.hold()
	r, err := p.Append(records(t, 1, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	acks, data := newWoken(), newWoken()
	p.AwaitCommitted(r.LastOffset+1, r.LeaderEpoch, acks)
	p.AwaitReadable(ReadUncommitted, 1, data)
	path := p.Log().Dir().Path()
	h.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Path: path + "/*/*", Err: syscall.EIO})
	h.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Path: path, Err: syscall.EIO})
	h.let()
	<-acks
	<-data
	wantCode(t, "commit", p.Committed(r.LastOffset+1, r.LeaderEpoch), kerr.KafkaStorageError)
	_, err = p.Append(records(t, 2, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "append", err, kerr.KafkaStorageError)
	_, err = p.Read(readRequest(0, ReadUncommitted))
	wantCode(t, "read", err, kerr.KafkaStorageError)
	if other.Log().Dir() == p.Log().Dir() {
		t.Fatal("both partitions in one directory")
	}
	w.produce(other, records(t, 0, 1), -1)
	for _, q := range w.topic(2, "new", 2, nil) {
		if q.Log().Dir() != other.Log().Dir() {
			t.Errorf("new-%d was placed in the failed directory", q.Index())
		}
		w.produce(q, records(t, 0, 1), -1)
	}
	w.table.Close()
	for _, d := range w.dirs {
		_ = d.Close() // the failed one says so
	}
}

func TestDamagedBatchIsNotServed(t *testing.T) {
	t.Parallel()
	m := vfs.NewMem()
	w := begin(t, m, 1)
	p := w.topic(1, "t", 1, nil)[0]
	for i := range 5 {
		w.produce(p, records(t, i, 1), -1)
	}
	w.stop()
	name := w.root + "/d0/t-0/00000000000000000000.log"
	f, err := m.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	at := size/5*2 + batch.HeaderSize + 3 // in the third batch
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	_ = f.Sync()
	_ = f.Close()
	w.start(1)
	p = w.table.Named("t", 0)
	got, err := readAll(p, 0, ReadUncommitted)
	wantCode(t, "the damaged batch", err, kerr.CorruptMessage)
	if len(got) != 2 {
		t.Errorf("served before the damage: %v", got)
	}
	if got, err := readAll(p, 3, ReadUncommitted); err != nil || len(got) != 2 {
		t.Errorf("after the damage: %v, %v", got, err)
	}
	var c *storage.CorruptError
	if !errors.As(err, &c) || c.Path == "" {
		t.Errorf("the damage is not named: %v", err)
	}
	w.produce(p, records(t, 5, 1), -1)
	w.stop()
}

func TestRecordsAreNamedThatAreRefused(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	p := w.topic(1, "t", 1, func(c *TopicConfig) {
		c.Log.Compact, c.Rules.Compacted = true, true
		c.Rules.AfterMax = 1000
	})[0]
	now := time.Now().UnixMilli()
	b := batch.NewBuilder(batch.None)
	b.Append(now, []byte("k"), nil)
	b.Append(now, nil, []byte("no key"))
	_, err := p.Append(built(t, b), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "no key", err, kerr.InvalidRecord)
	var e *RecordErrors
	if !errors.As(err, &e) || len(e.Records) != 1 || e.Records[0].Index != 1 || e.Records[0].Message == "" {
		t.Errorf("%#v", err)
	}
	b.Reset()
	b.Append(now+60_000, []byte("k"), nil)
	_, err = p.Append(built(t, b), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	wantCode(t, "a timestamp from the future", err, kerr.InvalidTimestamp)
	w.stop()
}

func TestLogAppendTimeIsAnswered(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	p := w.topic(1, "t", 1, func(c *TopicConfig) { c.Rules.LogAppendTime = true })[0]
	before := time.Now().UnixMilli()
	r := w.produce(p, records(t, 0, 2), -1)
	if r.LogAppendTime < before || r.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("log append time %d", r.LogAppendTime)
	}
	if at, err := p.OffsetAt(MaxTimestamp, ReadUncommitted, NoEpoch, true); err != nil || at.Timestamp != r.LogAppendTime {
		t.Errorf("%+v, %v", at, err)
	}
	w.stop()
}
