// SPDX-License-Identifier: Apache-2.0

package clean

// Goal: cleaning never changes what a log says. Method: random producers write
// random batches to a real log in memory, which is cleaned now and then; after
// each cleaning the log is compared with a plain list of all that was written.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/batch"
	"gregor/internal/seeds"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

var topicID = [16]byte{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}

var logName = storage.Name{Topic: "t", Partition: 0}

// written is one record as it was appended.
type written struct {
	offset, ts int64
	key, value string
	null       bool // the value
	txn        *transaction
	headers    int
}

type transaction struct {
	aborted bool
	marker  int64 // offset, -1 while open
}

// model is what was written, and the log that it was written to.
type model struct {
	t       testing.TB
	rng     *rand.Rand
	log     *storage.Log
	records map[int64]written
	bounds  map[int64]batch.View // header of each batch, by base offset
	open    map[int64]*transaction
	seqs    map[int64]int32
	keys    int
	builder *batch.Builder
}

func newModel(t testing.TB, seed uint64, l *storage.Log) *model {
	return &model{t: t, rng: rand.New(rand.NewPCG(seed, 3)), log: l, records: map[int64]written{}, bounds: map[int64]batch.View{},
		open: map[int64]*transaction{}, seqs: map[int64]int32{}, keys: 5 + int(seed%30), builder: batch.NewBuilder(batch.None)}
}

// Producers 0-2 have no id, 3-5 are idempotent, 6-8 transactional.
func (m *model) step() error {
	p := m.rng.Int64N(9)
	if txn := m.open[p]; txn != nil && m.rng.IntN(3) == 0 {
		return m.end(p, txn)
	}
	return m.write(p)
}

func (m *model) write(p int64) error {
	b, n, now := m.builder, 1+m.rng.IntN(4), time.Now().UnixMilli()
	b.Reset()
	b.SetCodec([]batch.Codec{batch.None, batch.None, batch.Snappy, batch.LZ4, batch.Zstd}[m.rng.IntN(5)], batch.DefaultLevel)
	if m.rng.IntN(10) == 0 {
		b.SetLogAppendTime(now)
	}
	if p >= 3 {
		b.SetProducer(p, 0, m.seqs[p])
	}
	b.SetTransactional(p >= 6)
	recs := make([]written, n)
	for i := range recs {
		r := written{ts: now - m.rng.Int64N(100), key: fmt.Sprint("key-", m.rng.IntN(m.keys)), value: fmt.Sprint(m.rng.Uint64()), headers: m.rng.IntN(2)}
		value := []byte(r.value)
		if r.null = m.rng.IntN(4) == 0; r.null {
			value, r.value = nil, ""
		}
		b.Append(r.ts, []byte(r.key), value, make([]batch.Header, r.headers)...)
		recs[i] = r
	}
	v, err := b.Bytes()
	if err != nil {
		return err
	}
	a, err := m.log.Append(v, storage.Append{})
	if err != nil {
		return err
	}
	if p >= 3 {
		m.seqs[p] += int32(n)
	}
	if p >= 6 && m.open[p] == nil {
		m.open[p] = &transaction{marker: -1}
	}
	m.bounds[a.First] = bytes.Clone(v[:batch.HeaderSize])
	for i, r := range recs {
		r.offset, r.txn = a.First+int64(i), m.open[p]
		if v.Attributes().LogAppendTime() {
			r.ts = now
		}
		m.records[r.offset] = r
	}
	return nil
}

func (m *model) end(p int64, txn *transaction) error {
	typ := batch.ControlType(m.rng.IntN(2))
	v := batch.EndTxnMarker(typ, time.Now().UnixMilli(), p, 0, 1)
	a, err := m.log.Append(v, storage.Append{Origin: storage.Coordinator})
	if err != nil {
		return err
	}
	txn.aborted, txn.marker = typ == batch.Abort, a.First
	m.bounds[a.First] = bytes.Clone(v[:batch.HeaderSize])
	delete(m.open, p)
	return nil
}

// batches reads the whole log.
func batches(t testing.TB, l *storage.Log) []batch.View {
	t.Helper()
	var out []batch.View
	for from := l.Start(); from < l.End(); {
		s, err := l.Read(from, l.End(), 1<<20, true)
		if err != nil {
			t.Fatalf("read at %d: %v", from, err)
		}
		if s.N == 0 {
			break // nothing but what was cleaned away
		}
		b := s.Bytes
		if b == nil {
			b = make([]byte, s.N)
			if _, err := s.File.ReadAt(b, s.Off); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		b = bytes.Clone(b)
		if s.Release != nil {
			s.Release()
		}
		for len(b) > 0 {
			v, rest, err := batch.Next(b)
			if err == nil {
				err = v.CheckCRC()
			}
			if err != nil {
				t.Fatalf("batch at %d: %v", from, err)
			}
			if v.BaseOffset() < from {
				t.Fatalf("batch at %d after %d", v.BaseOffset(), from)
			}
			out = append(out, v)
			from, b = v.NextOffset(), rest
		}
	}
	return out
}

// last is the last committed record of each key.
func (m *model) last() map[string]written {
	last := map[string]written{}
	for o := m.log.Start(); o < m.log.End(); o++ {
		if r, ok := m.records[o]; ok && (r.txn == nil || !r.txn.aborted && r.txn.marker >= 0) {
			last[r.key] = r
		}
	}
	return last
}

// check compares the log with the model. Cleaning has come to cleaned for
// certain, and not beyond touched; tombstonesStay says that none may be gone.
func (m *model) check(cleaned, touched int64, tombstonesStay bool) {
	m.t.Helper()
	last := m.last()
	have := map[int64]bool{}
	below := map[string]int64{} // the record of each key in the clean part
	markers := map[int64]bool{}
	lastBatch := map[int64]int64{}
	var kept []written
	for _, v := range batches(m.t, m.log) {
		was, ok := m.bounds[v.BaseOffset()]
		if !ok || v.LastOffset() != was.LastOffset() || v.BaseSequence() != was.BaseSequence() || v.ProducerID() != was.ProducerID() ||
			v.ProducerEpoch() != was.ProducerEpoch() || v.Attributes()&0x38 != was.Attributes()&0x38 {
			m.t.Fatalf("batch %d: %v\nwas %v", v.BaseOffset(), v[:batch.HeaderSize], was)
		}
		if v.Attributes().Control() {
			markers[v.BaseOffset()] = true
			continue
		}
		lastBatch[v.ProducerID()] = v.LastOffset()
		err := v.Each(nil, func(r batch.Record) error {
			o := v.BaseOffset() + int64(r.OffsetDelta)
			w, ok := m.records[o]
			if !ok || string(r.Key) != w.key || string(r.Value) != w.value || (r.Value == nil) != w.null ||
				v.Timestamp(r) != w.ts || r.HeaderCount() != w.headers {
				m.t.Fatalf("record %d: %q %q at %d, was %+v", o, r.Key, r.Value, v.Timestamp(r), w)
			}
			have[o] = true
			kept = append(kept, w)
			if before, twice := below[w.key]; o < cleaned && twice && (w.txn == nil || w.txn.marker >= 0) {
				m.t.Fatalf("%s at %d and %d, though clean up to %d", w.key, before, o, cleaned)
			}
			if o < cleaned {
				below[w.key] = o
			}
			return nil
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	for key, w := range last {
		if !have[w.offset] && (!w.null || tombstonesStay) {
			m.t.Fatalf("%s: last record %+v is gone", key, w)
		}
		for _, k := range kept {
			if k.key == key && w.null && !have[w.offset] && k.offset < w.offset && (k.txn == nil || !k.txn.aborted) {
				m.t.Fatalf("%s: tombstone %d is gone, what it deleted at %d is not", key, w.offset, k.offset)
			}
		}
	}
	for o, w := range m.records {
		if w.offset >= touched && !have[o] && (w.txn == nil || !w.txn.aborted) {
			m.t.Fatalf("record %d of the dirty part is gone", o)
		}
	}
	aborted, err := m.log.Aborted(0, m.log.End())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, k := range kept {
		if k.txn == nil || k.txn.marker < 0 {
			continue
		}
		if !markers[k.txn.marker] {
			m.t.Fatalf("record %d is left, its marker %d is not", k.offset, k.txn.marker)
		}
		if k.txn.aborted {
			if k.offset < cleaned {
				m.t.Fatalf("record %d of an aborted transaction is left, clean up to %d", k.offset, cleaned)
			}
			listed := false
			for _, a := range aborted {
				listed = listed || a.LastOffset == k.txn.marker && a.FirstOffset <= k.offset
			}
			if !listed {
				m.t.Fatalf("record %d: its aborted transaction is not in the index: %+v", k.offset, aborted)
			}
		}
	}
	producers, err := Of(m.log).LastRecords()
	if err != nil {
		m.t.Fatal(err)
	}
	for id, p := range producers {
		if p.DataOffset >= 0 && lastBatch[id] != p.DataOffset {
			m.t.Fatalf("last batch of producer %d ends at %d, should at %d", id, lastBatch[id], p.DataOffset)
		}
	}
}

func openLog(t testing.TB, fsys vfs.FS, create bool, edit func(*storage.LogConfig)) (*storage.Dir, *storage.Log) {
	t.Helper()
	d, err := storage.OpenDir(storage.DirConfig{FS: fsys, Path: "d", NodeID: 1, ClusterID: "c",
		IdleClose: 1000 * time.Hour, CheckpointInterval: 1000 * time.Hour, RetentionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Abandon)
	c := storage.LogConfig{Create: create, Compact: true, SegmentBytes: 2000, IndexInterval: 200, MinDirtyRatio: 0.01, DeleteRetention: time.Hour, FileDeleteDelay: -1}
	if edit != nil {
		edit(&c)
	}
	l, err := d.Open(logName, topicID, c)
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

func cleanerOf(t testing.TB, fsys vfs.FS, l *storage.Log, mapBytes int, cleaned func(Stats)) *Cleaner {
	return New(Config{
		FS: fsys, Logs: func() []Log { return []Log{Of(l)} }, MapBytes: mapBytes, BufferBytes: 300,
		Events: Events{
			Cleaned: func(_ Log, s Stats) { cleaned(s) },
			Failed:  func(_ Log, err error) { t.Errorf("failed: %v", err) },
		},
	})
}

func TestSimCleaningKeepsWhatTheLogSays(t *testing.T) {
	t.Parallel()
	var cleanings, dropped, partial, tombstonesGone int
	for seed := range seeds.All(t, 10, 50) {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			d, l := openLog(t, mem, true, nil)
			m := newModel(t, seed, l)
			clean := int64(0)
			mapBytes := slotSize * (3 + int(seed%40))
			c := cleanerOf(t, mem, l, mapBytes, func(s Stats) {
				if s.End < s.From || s.End > s.UpTo || s.UpTo > l.End() {
					t.Errorf("%+v", s)
				}
				if s.End < s.UpTo {
					partial++
				}
				if s.End == s.From && s.DirtyBytes > 0 {
					t.Errorf("no progress: %+v", s)
				}
				clean = s.End
				dropped += int(s.ReadRecords - s.KeptRecords)
			})
			w := c.NewWorker()
			began := time.Now()
			for range 12 {
				for range 40 {
					if err := m.step(); err != nil {
						t.Fatal(err)
					}
				}
				l.SetHighWatermark(l.End())
				time.Sleep(time.Duration(m.rng.Int64N(int64(20 * time.Minute))))
				for m.rng.IntN(4) > 0 && w.Step(context.Background()) {
					cleanings++
				}
				m.check(clean, clean, time.Since(began) < time.Hour)
			}
			for p, txn := range m.open {
				if err := m.end(p, txn); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
			l.SetHighWatermark(l.End())
			synctest.Wait()
			for w.Step(context.Background()) {
				time.Sleep(2 * time.Hour)
			}
			m.check(clean, clean, false)
			left := map[int64]bool{}
			for _, v := range batches(t, l) {
				err := v.Each(nil, func(r batch.Record) error { left[v.BaseOffset()+int64(r.OffsetDelta)] = true; return nil })
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range m.last() {
				if r.null && !left[r.offset] {
					tombstonesGone++
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			// What was cleaned opens again, and says the same.
			d, l = openLog(t, mem, false, nil)
			m.log = l
			m.check(clean, clean, false)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if !seeds.One() && (cleanings < 12 || dropped == 0 || partial == 0 || tombstonesGone == 0) {
		t.Fatalf("%d cleanings, %d records dropped, %d partial: the test is too tame", cleanings, dropped, partial)
	}
}
