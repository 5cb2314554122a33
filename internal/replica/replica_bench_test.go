// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"slices"
	"testing"
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// BenchmarkAppend is the whole way of an acks=all produce through this package
// and storage, one producer: check, append, wait at the gate.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name    string
		fs      vfs.FS
		durable bool
		size    int
	}{
		{"memory/page-cache/100B", vfs.NewMem(), false, 100},
		{"memory/durable/100B", vfs.NewMem(), true, 100},
		{"disk/page-cache/100B", nil, false, 100},
		{"disk/page-cache/16KB", nil, false, 16 << 10},
		{"disk/durable/100B", nil, true, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := begin(b, c.fs, 1)
			p := w.topic(1, "t", 1, func(x *TopicConfig) {
				x.Log = storage.LogConfig{Delete: true, Durable: c.durable, SegmentBytes: 64 << 20, RetentionBytes: 128 << 20}
			})[0]
			bb := batch.NewBuilder(batch.None)
			bb.Append(1, nil, make([]byte, c.size))
			fresh := built(b, bb)
			buf := slices.Clone(fresh)
			s := make(signal, 1)
			b.SetBytes(int64(len(fresh)))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				copy(buf, fresh)
				r, err := p.Append(buf, -1, AppendOptions{ExpectedEpoch: NoEpoch})
				if err != nil {
					b.Fatal(err)
				}
				for p.AwaitCommitted(r.LastOffset+1, r.LeaderEpoch, s) {
					<-s
				}
			}
			b.StopTimer()
			w.stop()
		})
	}
}

// BenchmarkRead is a read of one small batch at the tail, as a consumer that
// keeps up does.
func BenchmarkRead(b *testing.B) {
	w := begin(b, nil, 1)
	p := w.topic(1, "t", 1, func(x *TopicConfig) { x.Log.Durable = false })[0]
	for i := range 100 {
		w.produce(p, records(b, i, 1), 1)
	}
	req := readRequest(99, ReadUncommitted)
	b.ReportAllocs()
	for range b.N {
		r, err := p.Read(req)
		if err != nil || r.Slice.N == 0 {
			b.Fatal(r, err)
		}
		if r.Slice.Release != nil {
			r.Slice.Release()
		}
	}
	b.StopTimer()
	w.stop()
}

// BenchmarkCreate makes a topic of 1,000 partitions, then starts the node anew
// after a clean stop.
func BenchmarkCreate(b *testing.B) {
	var creating, starting time.Duration
	for range b.N {
		w := begin(b, nil, 1)
		at := time.Now()
		w.topic(1, "t", 1000, nil)
		creating += time.Since(at)
		w.stop()
		at = time.Now()
		w.start(1)
		starting += time.Since(at)
		w.stop()
	}
	b.ReportMetric(float64(creating.Milliseconds())/float64(b.N), "ms/create")
	b.ReportMetric(float64(starting.Milliseconds())/float64(b.N), "ms/start")
}
