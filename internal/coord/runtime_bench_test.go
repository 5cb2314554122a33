// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"context"
	"testing"
	"time"
)

// BenchmarkWrite is one operation with one record through the loop and a log in
// memory that commits at once, with many callers.
func BenchmarkWrite(b *testing.B) {
	r := New(Config[*sums]{New: func(int32) *sums { return &sums{} }})
	defer r.Close()
	r.Elect(0, 1, &forgetfulLog{})
	ctx := context.Background()
	op := func(*sums, time.Time, Ticket) Result { return Result{Records: []Record{number(1)}, Reply: true} }
	for {
		if _, err := r.Write(ctx, 0, op); err == nil {
			break
		}
	}
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Write(ctx, 0, op); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// forgetfulLog counts and keeps nothing; one loop uses it.
type forgetfulLog struct{ end int64 }

func (l *forgetfulLog) Append([]byte, AppendOptions) (int64, error) { l.end++; return l.end, nil }
func (l *forgetfulLog) Bounds() (int64, int64)                      { return 0, l.end }
func (l *forgetfulLog) Committed() int64                            { return l.end }
func (l *forgetfulLog) Await(int64) (<-chan struct{}, func())       { return nil, func() {} }
func (l *forgetfulLog) Read(int64, int, []byte) ([]byte, error)     { return nil, nil }
func (l *forgetfulLog) MaxBatch() int                               { return 1 << 20 }
