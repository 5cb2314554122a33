// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"flag"
	"fmt"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/meta"
)

// snapshotPartitions is the size of BenchmarkSnapshot: docs/architecture/scale.md
// has its figures at -snapshot-partitions 1000000.
var snapshotPartitions = flag.Int("snapshot-partitions", 20_000, "partitions in BenchmarkSnapshot's image")

// BenchmarkSnapshot writes an image of topics of ten partitions with three
// replicas, and reads it back.
func BenchmarkSnapshot(b *testing.B) {
	l := meta.NewLoader(1)
	add := func(r meta.Record) {
		if err := l.Add(r); err != nil {
			b.Fatal(err)
		}
	}
	for t := range *snapshotPartitions / 10 {
		var id meta.UUID
		binary.BigEndian.PutUint64(id[:], uint64(t+1)*0x9e3779b97f4a7c15)
		add(meta.TopicRecord{Name: fmt.Sprintf("team-%03d.stream-%07d", t%997, t), ID: id})
		for i := range int32(10) {
			r := []int32{(int32(t) + i) % 500, (int32(t) + i + 7) % 500, (int32(t) + i + 31) % 500}
			dirs := []meta.UUID{{1, 2, 3, byte(r[0])}, {1, 2, 3, byte(r[1])}, {1, 2, 3, byte(r[2])}}
			add(meta.PartitionRecord{Topic: id, Index: i, Partition: meta.Partition{Replicas: r, Dirs: dirs, ISR: r, Leader: r[0], LeaderEpoch: 5, PartitionEpoch: 12}})
		}
	}
	img := l.Image()
	m := snapshotMeta{index: 7, term: 3, conf: &pb.ConfState{}}
	var file []byte
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			file = file[:0]
			if err := encodeSnapshot(m, img, func(p []byte) error { file = append(file, p...); return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(file))/float64(*snapshotPartitions), "B/partition")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, got, err := decodeSnapshot("f", file); err != nil || got.PartitionCount() != img.PartitionCount() {
				b.Fatal(err)
			}
		}
	})
}
