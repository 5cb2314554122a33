// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"testing"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

func benchLog(b *testing.B, c LogConfig) *Log {
	b.Helper()
	d := openTestDir(b, vfs.OS(), b.TempDir(), Events{})
	b.Cleanup(func() { d.Abandon() })
	c.Create = true
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 256 << 20
	}
	c.RetentionBytes, c.Delete, c.FileDeleteDelay = 512<<20, true, -1
	l, err := d.Open(Name{"bench", 0}, testID, c)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func sized(size int) batch.View {
	return testBatch(1, simNow, size-batch.HeaderSize-10)
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{200, 16 << 10, 1 << 20} {
		for _, durable := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/durable=%v", size, durable), func(b *testing.B) {
				l := benchLog(b, LogConfig{Durable: durable})
				v := sized(size)
				b.SetBytes(int64(len(v)))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := l.Append(v, Append{}); err != nil {
						b.Fatal(err)
					}
					if i%256 == 255 && l.Size() > 768<<20 {
						l.SetHighWatermark(l.End())
						if _, err := l.Retain(now()); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkAppendIdempotent adds a producer's sequence checks.
func BenchmarkAppendIdempotent(b *testing.B) {
	l := benchLog(b, LogConfig{})
	bb := batch.NewBuilder(batch.None)
	b.ReportAllocs()
	for seq := int32(0); b.Loop(); seq++ {
		bb.Reset()
		bb.SetProducer(1, 0, seq)
		bb.Append(simNow, nil, make([]byte, 100))
		v, err := bb.Bytes()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Append(v, Append{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDurable waits for the flush after each append, on n logs at a time.
func BenchmarkDurable(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("logs=%d", n), func(b *testing.B) {
			d := openTestDir(b, vfs.OS(), b.TempDir(), Events{})
			b.Cleanup(func() { d.Abandon() })
			logs := make([]*Log, n)
			for i := range logs {
				id := testID
				id[0], id[1] = byte(i), byte(i>>8)
				var err error
				if logs[i], err = d.Open(Name{"bench", int32(i)}, id, LogConfig{Create: true, Durable: true}); err != nil {
					b.Fatal(err)
				}
			}
			v := sized(1 << 10)
			for b.Loop() {
				for _, l := range logs {
					if _, err := l.Append(v, Append{}); err != nil {
						b.Fatal(err)
					}
				}
				for _, l := range logs {
					if err := l.Flush(true); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

// BenchmarkRead walks the log by slices, without reading the bytes.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{200, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := benchLog(b, LogConfig{})
			v := sized(size)
			for range (64 << 20) / size {
				if _, err := l.Append(v, Append{}); err != nil {
					b.Fatal(err)
				}
			}
			end, at := l.End(), int64(0)
			b.ReportAllocs()
			b.SetBytes(64 << 10)
			for b.Loop() {
				if at >= end {
					at = 0
				}
				s, err := l.Read(at, end, 64<<10, true)
				if err != nil {
					b.Fatal(err)
				}
				at = s.Next
				s.Release()
			}
		})
	}
}
