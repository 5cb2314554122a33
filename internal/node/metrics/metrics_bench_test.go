// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"gregor/internal/meta"
)

// BenchmarkScrape is one look at a broker's series, by the partitions that it
// hosts; those beyond the limit are counted only.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			reg := prometheus.NewRegistry()
			m := New()
			reg.MustRegister(m)
			l := meta.NewLoader(1)
			rs := []meta.Record{meta.TopicRecord{Name: "t", ID: meta.UUID{1}}}
			for i := range int32(n) {
				rs = append(rs, meta.PartitionRecord{Topic: meta.UUID{1}, Index: i,
					Partition: meta.Partition{Replicas: []int32{1, 2}, Dirs: make([]meta.UUID, 2), ISR: []int32{1}, Leader: 1 + i%2}})
			}
			for _, r := range rs {
				if err := l.Add(r); err != nil {
					b.Fatal(err)
				}
			}
			img := l.Image()
			m.Observe(Sources{Node: 1, Image: func() *meta.Image { return img }, Hosted: func(yield func(Hosted) bool) {
				for i := range int32(n) {
					if !yield(Hosted{Topic: "t", Partition: i, Leads: i%2 == 0, Follows: i%2 == 1, Bytes: 1, Segments: 1}) {
						return
					}
				}
			}})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := reg.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
