// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"gregor/internal/batch"
	"gregor/internal/storage"
)

// filter decides what stays of each batch. It is used for one cleaning.
type filter struct {
	keys      *keyMap
	txns      *txns
	producers map[int64]LastRecord
	upTo      int64 // the cleaning's bound
	now       int64 // ms
	retention int64 // delete.retention.ms
	inflated  int   // the most that a batch may inflate to

	builder *batch.Builder
	body    []byte // space to inflate into
	keep    []kept
	stats   *Stats
}

type kept struct {
	rec    batch.Record
	offset int64
}

// apply returns what is to be written of v: v itself, a smaller batch in the
// builder's memory, or nil for nothing. aborted is an entry for the
// transaction index.
func (f *filter) apply(v batch.View) (out batch.View, aborted *storage.AbortedTxn, err error) {
	f.stats.ReadBatches++
	f.stats.ReadBytes += int64(len(v))
	control := v.Attributes().Control()
	horizon, hasHorizon := v.DeleteHorizon()

	var drop, emptyTxn bool // none of the records stays; a marker ends nothing
	if control {
		if emptyTxn, aborted, err = f.txns.marker(v); err != nil {
			return nil, nil, err
		}
		drop = emptyTxn && hasHorizon && horizon <= f.now
	} else {
		drop = f.txns.data(v)
	}
	keepEmpty := v.NextOffset() == f.upTo || f.isLastOfProducer(v)
	f.keep = f.keep[:0]
	tombstones := false
	if !drop {
		if tombstones, err = f.keepRecords(v, control, hasHorizon && horizon <= f.now); err != nil {
			return nil, nil, err
		}
	}
	f.stats.ReadRecords += int64(v.Count())
	f.stats.KeptRecords += int64(len(f.keep))

	switch {
	case len(f.keep) == 0 && !keepEmpty:
		return nil, aborted, nil
	case len(f.keep) == 0:
		out, err = f.empty(v)
	default:
		// A tombstone above what the map has seen has not been cleaned yet:
		// its time begins with the next cleaning.
		stamp := !hasHorizon && (emptyTxn || tombstones && v.LastOffset() <= f.keys.latest)
		if len(f.keep) == int(v.Count()) && !stamp {
			out = v
			break
		}
		if stamp {
			horizon, hasHorizon = f.now+f.retention, true
		}
		out, err = f.rebuild(v, horizon, hasHorizon)
	}
	f.stats.KeptBytes += int64(len(out))
	return out, aborted, err
}

// isLastOfProducer tells whether the log would lose a live producer's sequence
// (or, if it only left a marker, its epoch) with v.
func (f *filter) isLastOfProducer(v batch.View) bool {
	if !v.HasProducerID() {
		return false
	}
	last, ok := f.producers[v.ProducerID()]
	if !ok {
		return false
	}
	if last.DataOffset >= 0 {
		return v.LastOffset() == last.DataOffset
	}
	return v.Attributes().Control() && v.ProducerEpoch() == last.Epoch
}

// keepRecords collects the records of v that stay.
func (f *filter) keepRecords(v batch.View, control, overdue bool) (tombstones bool, err error) {
	body, err := v.Body(f.body[:0], f.inflated)
	if err != nil {
		return false, err
	}
	if v.Attributes().Codec() != batch.None {
		f.body = body
	}
	records := batch.NewReader(body, v.Count())
	for {
		rec, ok, err := records.Next()
		if err != nil || !ok {
			return tombstones, err
		}
		offset := v.BaseOffset() + int64(rec.OffsetDelta)
		if !control && !f.keepRecord(rec, offset, overdue) {
			continue
		}
		tombstones = tombstones || rec.Value == nil
		f.keep = append(f.keep, kept{rec, offset})
	}
}

func (f *filter) keepRecord(rec batch.Record, offset int64, overdue bool) bool {
	switch {
	case offset > f.keys.latest:
		return true // not in the map: undecided
	case rec.Key == nil:
		f.stats.InvalidRecords++
		return false
	case offset < f.keys.last(rec.Key):
		return false
	}
	return rec.Value != nil || !overdue
}

// rebuild makes a batch of the records that stay, within v's bounds.
func (f *filter) rebuild(v batch.View, horizon int64, hasHorizon bool) (batch.View, error) {
	f.begin(v, v.Attributes().Codec())
	if hasHorizon {
		f.builder.SetDeleteHorizon(horizon)
	}
	for _, k := range f.keep {
		f.builder.AppendRecord(k.offset, v.Timestamp(k.rec), k.rec)
	}
	return f.builder.Bytes()
}

// empty makes a batch of no records that has v's bounds, producer and time.
func (f *filter) empty(v batch.View) (batch.View, error) {
	f.begin(v, batch.None)
	out, err := f.builder.Bytes()
	if err == nil {
		out.SetMaxTimestamp(v.MaxTimestamp(), v.Attributes().LogAppendTime())
		out.UpdateCRC()
	}
	return out, err
}

func (f *filter) begin(v batch.View, codec batch.Codec) {
	b := f.builder
	b.Reset()
	b.SetCodec(codec, batch.DefaultLevel)
	b.SetBaseOffset(v.BaseOffset())
	b.SetLastOffset(v.LastOffset())
	b.SetLeaderEpoch(v.LeaderEpoch())
	b.SetProducer(v.ProducerID(), v.ProducerEpoch(), v.BaseSequence())
	b.SetTransactional(v.Attributes().Transactional())
	b.SetControl(v.Attributes().Control())
	if v.Attributes().LogAppendTime() {
		b.SetLogAppendTime(v.MaxTimestamp())
	}
}
