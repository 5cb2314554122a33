// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"fmt"
	"testing"

	"gregor/internal/coord"
)

// FuzzRecord: no bytes in __transaction_state make a panic, and what can be
// read is written as something that reads the same.
func FuzzRecord(f *testing.F) {
	for _, t := range []*Txn{
		{ID: "a", Producer: 1, Prev: 1, Next: NoProducer, LastEpoch: NoEpoch, Started: -1},
		{ID: "b", Producer: 1, Prev: 2, Next: 3, Epoch: 5, LastEpoch: 4, State: PrepareCommit, Version: 2,
			Partitions: []Partition{{"s", 1}, {"t", 0}, {"t", 7}}, Started: 5, Updated: 6, TimeoutMillis: 7},
	} {
		r := record(t)
		f.Add(r.Key, r.Value)
	}
	f.Fuzz(func(t *testing.T, k, v []byte) {
		s := New(&Config{Level: 2})
		if s.Replay(0, coord.Record{Key: k, Value: v}) != nil {
			return
		}
		s.Committed(1)
		s.Each(func(x *Txn) {
			r := record(x)
			again := New(&Config{})
			if err := again.Replay(0, r); err != nil {
				t.Fatalf("%+v cannot be read again: %v", x, err)
			}
			if got := again.written(x.ID); fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *x) {
				t.Fatalf("%+v is read again as %+v", x, got)
			}
		})
	})
}
