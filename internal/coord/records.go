// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"fmt"

	"gregor/internal/batch"
)

// build makes one batch of records, all of time now (ms). Base offset and leader
// epoch are the log's to stamp. The bytes are the builder's until the next one.
func build(b *batch.Builder, records []Record, now int64) (batch.View, error) {
	b.Reset()
	for _, r := range records {
		b.Append(now, r.Key, r.Value)
	}
	return b.Bytes()
}

// eachRecord calls fn for the records of the batches in b from offset from on,
// and returns the offset after the last batch. Keys and values are borrowed.
// Control batches hold no records of a coordinator and are passed over.
func eachRecord(b []byte, from int64, fn func(int64, Record)) (int64, error) {
	for len(b) > 0 {
		v, rest, err := batch.Next(b)
		if err != nil {
			return from, fmt.Errorf("batch at offset %d: %w", from, err)
		}
		b = rest
		if !v.Attributes().Control() {
			err := v.Each(nil, func(r batch.Record) error {
				if o := v.BaseOffset() + int64(r.OffsetDelta); o >= from {
					fn(o, Record{Key: r.Key, Value: r.Value})
				}
				return nil
			})
			if err != nil {
				return from, fmt.Errorf("batch at offset %d: %w", v.BaseOffset(), err)
			}
		}
		from = max(from, v.NextOffset())
	}
	return from, nil
}
