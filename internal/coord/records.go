// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"fmt"

	"gregor/internal/batch"
)

// build makes one batch of records, all of time now (ms). Base offset and leader
// epoch are the log's to stamp. The bytes are the builder's until the next one.
func build(b *batch.Builder, records []Record, in *InTxn, now int64) (batch.View, error) {
	b.Reset()
	if in != nil {
		b.SetProducer(in.Producer.ID, in.Producer.Epoch, batch.NoSequence)
		b.SetTransactional(true)
	}
	for _, r := range records {
		b.Append(now, r.Key, r.Value)
	}
	return b.Bytes()
}

// marker makes the control batch of a marker.
func marker(m *Marker, now int64) batch.View {
	kind := batch.Abort
	if m.Commit {
		kind = batch.Commit
	}
	return batch.EndTxnMarker(kind, now, m.Producer.ID, m.Producer.Epoch, m.CoordinatorEpoch)
}

// replay gives the shard what the batches in b hold from offset from on, and
// returns the offset after the last batch. Keys and values are borrowed. bad is
// called for records that cannot be read.
func replay(s Shard, b []byte, from int64, bad func(offset int64, err error)) (next, records int64, err error) {
	txns, _ := s.(Transactional)
	for len(b) > 0 {
		v, rest, err := batch.Next(b)
		if err != nil {
			return from, records, fmt.Errorf("batch at offset %d: %w", from, err)
		}
		b = rest
		p := Producer{ID: v.ProducerID(), Epoch: v.ProducerEpoch()}
		attr := v.Attributes()
		switch {
		case attr.Control():
			// Other control records are no coordinator's, and compaction empties
			// the markers of which nothing is left.
			c, ok, err := v.Control()
			if ok && err == nil && txns != nil && (c.Type == batch.Commit || c.Type == batch.Abort) && v.BaseOffset() >= from {
				txns.ReplayMarker(v.BaseOffset(), p, c.Type == batch.Commit)
			}
		default:
			err = v.Each(nil, func(r batch.Record) error {
				o := v.BaseOffset() + int64(r.OffsetDelta)
				if o < from {
					return nil
				}
				records++
				rec := Record{Key: r.Key, Value: r.Value}
				var err error
				if txns != nil && attr.Transactional() {
					err = txns.ReplayInTxn(o, p, rec)
				} else {
					err = s.Replay(o, rec)
				}
				if err != nil {
					bad(o, err)
				}
				return nil
			})
			if err != nil {
				return from, records, fmt.Errorf("batch at offset %d: %w", v.BaseOffset(), err)
			}
		}
		from = max(from, v.NextOffset())
	}
	return from, records, nil
}
