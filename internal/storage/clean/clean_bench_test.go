// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// BenchmarkClean cleans 16 MiB of 100-byte records of 20,000 keys.
func BenchmarkClean(b *testing.B) {
	for _, codec := range []batch.Codec{batch.None, batch.LZ4, batch.Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			var read int64
			for range b.N {
				b.StopTimer()
				fsys := vfs.OS()
				d, err := storage.OpenDir(storage.DirConfig{FS: fsys, Path: b.TempDir(), NodeID: 1, ClusterID: "c"})
				if err != nil {
					b.Fatal(err)
				}
				l, err := d.Open(logName, topicID, storage.LogConfig{Create: true, Compact: true, SegmentBytes: 4 << 20})
				if err != nil {
					b.Fatal(err)
				}
				w := batch.NewBuilder(codec)
				for n := 0; n < 160_000; {
					w.Reset()
					for range 100 {
						w.Append(time.Now().UnixMilli(), []byte(fmt.Sprint("key-", n*7919%20_000)), make([]byte, 80))
						n++
					}
					v, err := w.Bytes()
					if err != nil {
						b.Fatal(err)
					}
					if _, err := l.Append(v, storage.Append{}); err != nil {
						b.Fatal(err)
					}
				}
				if err := l.Roll(); err != nil {
					b.Fatal(err)
				}
				l.SetHighWatermark(l.End())
				for { // the log seals on its own goroutine
					if s, err := l.Segments(); err != nil {
						b.Fatal(err)
					} else if !sealing(s) {
						break
					}
				}
				var stats Stats
				worker := New(Config{FS: fsys, Logs: func() []Log { return []Log{Of(l)} },
					Events: Events{Cleaned: func(_ Log, s Stats) { stats = s }}}).NewWorker()
				b.StartTimer()
				if !worker.Step(context.Background()) {
					b.Fatal("nothing to clean")
				}
				b.StopTimer()
				if stats.KeptRecords != 20_000 {
					b.Fatalf("%+v", stats)
				}
				read += 160_000
				d.Abandon()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read), "ns/record")
		})
	}
}
