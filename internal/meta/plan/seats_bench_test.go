// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"testing"

	"gregor/internal/meta"
)

// BenchmarkFence is what one broker's death costs the controller, by the number
// of partitions of the cluster; the broker has a replica of three in five.
func BenchmarkFence(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			img := cluster(b, 5)
			id := meta.UUID{15: 7}
			rs := []meta.Record{meta.TopicRecord{Name: "many", ID: id}}
			for i := range int32(n) {
				p := meta.Partition{Dirs: make([]meta.UUID, 3)}
				for j := range int32(3) {
					p.Replicas = append(p.Replicas, (i+j)%5+1)
				}
				p.ISR, p.Leader = p.Replicas, p.Replicas[0]
				rs = append(rs, meta.PartitionRecord{Topic: id, Index: i, Partition: p})
			}
			img = with(b, img, rs...)
			e := env()
			for b.Loop() {
				if rs := FenceBrokers(img, []int32{2}, e); len(rs) < n/2 {
					b.Fatal(len(rs))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/partition")
		})
	}
}
