// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"encoding/binary"
	"fmt"
	"testing"
)

func large(b *testing.B, topics, partitions int) *Image {
	b.Helper()
	l := NewLoader(1)
	for t := range topics {
		var u UUID
		binary.BigEndian.PutUint64(u[:], uint64(t+1))
		if err := l.Add(TopicRecord{fmt.Sprintf("topic-%07d", t), u}); err != nil {
			b.Fatal(err)
		}
		for p := range int32(partitions) {
			if err := l.Add(part(u, p, 1, 1, 2, 3)); err != nil {
				b.Fatal(err)
			}
		}
	}
	return l.Image()
}

// BenchmarkWith: the cost of changing one partition must not grow with the
// cluster.
func BenchmarkWith(b *testing.B) {
	for _, size := range []struct{ topics, partitions int }{{10, 10}, {1000, 10}, {10_000, 10}, {1, 10_000}, {100_000, 10}} {
		b.Run(fmt.Sprintf("%dx%d", size.topics, size.partitions), func(b *testing.B) {
			img := large(b, size.topics, size.partitions)
			b.ReportAllocs()
			var u UUID
			binary.BigEndian.PutUint64(u[:], uint64(size.topics/2+1))
			r := []Record{part(u, int32(size.partitions/2), 2, 1, 2, 3)}
			for b.Loop() {
				if _, _, err := img.With(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTopicLookup(b *testing.B) {
	img := large(b, 10_000, 1)
	b.ReportAllocs()
	for b.Loop() {
		if img.Topic("topic-0004711") == nil {
			b.Fatal("gone")
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		large(b, 1000, 100)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/partition")
}
