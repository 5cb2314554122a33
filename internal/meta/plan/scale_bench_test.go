// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/binary"
	"flag"
	"fmt"
	"runtime"
	"testing"

	"gregor/internal/meta"
)

// scale is the size of the cluster that BenchmarkScale makes: docs/architecture/
// scale.md has its figures at -scale 1000000 -scale-brokers 500.
var (
	scale        = flag.Int("scale", 20_000, "partitions of BenchmarkScale")
	scaleBrokers = flag.Int("scale-brokers", 100, "its brokers")
)

// largeCluster has brokers in five racks, and n partitions of three replicas in
// topics of the sizes 1, 10, 100 and 1,000, a quarter of the partitions in each.
// Replicas are spread so that each broker shares partitions with many others.
func largeCluster(tb testing.TB, n, brokers int) *meta.Image {
	tb.Helper()
	l := meta.NewLoader(1)
	add := func(r meta.Record) {
		if err := l.Add(r); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range int32(brokers) {
		add(meta.BrokerRecord{Broker: meta.Broker{ID: i, Epoch: 1, Incarnation: meta.UUID{0: 1, 15: byte(i)}, Rack: fmt.Sprint(i % 5),
			Dirs: []meta.UUID{largeDir(i)}, Endpoints: []meta.Endpoint{{Listener: "PLAINTEXT", Host: fmt.Sprintf("broker-%d.example", i), Port: 9092}}}})
	}
	made, topics := 0, 0
	for size := 1; made < n; size = nextSize(size, made, n) {
		var id meta.UUID
		binary.BigEndian.PutUint64(id[:], uint64(topics)*0x9e3779b97f4a7c15)
		id[15] = 1
		add(meta.TopicRecord{Name: fmt.Sprintf("team-%03d.stream-%07d", topics%997, topics), ID: id})
		topics++
		for i := range int32(min(size, n-made)) {
			add(meta.PartitionRecord{Topic: id, Index: i, Partition: largePartition(made+int(i), brokers)})
		}
		made += min(size, n-made)
	}
	return l.Image()
}

// nextSize grows tenfold with each quarter.
func nextSize(size, made, n int) int {
	for _, s := range []int{1, 10, 100} {
		if made < n/4 {
			return s
		}
		made -= n / 4
	}
	return 1000
}

func largeDir(b int32) meta.UUID { return meta.UUID{0: 2, 14: byte(b >> 8), 15: byte(b)} }

func largePartition(k, brokers int) meta.Partition {
	first, step := k%brokers, 1+k/brokers%(brokers/3)
	p := meta.Partition{Leader: int32(first), LeaderEpoch: 1, PartitionEpoch: 1}
	for j := range 3 {
		r := int32((first + j*step) % brokers)
		p.Replicas, p.Dirs = append(p.Replicas, r), append(p.Dirs, largeDir(r))
	}
	p.Replicas = p.Replicas[:3:3]
	p.ISR = append([]int32(nil), p.Replicas...)
	return p
}

func liveBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkScale is what metadata of -scale partitions costs the controller and
// every broker.
func BenchmarkScale(b *testing.B) {
	before := liveBytes()
	img := largeCluster(b, *scale, *scaleBrokers)
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			_ = img.PartitionCount()
		}
		b.ReportMetric(float64(liveBytes()-before)/float64(*scale), "B/partition")
	})
	e := env()
	b.Run("death without index", func(b *testing.B) {
		for b.Loop() {
			FenceBrokers(img, []int32{7}, e)
		}
	})
	alone, bare := liveBytes(), img
	img = bare.Indexed()
	perPartition := float64(liveBytes()-alone) / float64(*scale)
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			bare.Indexed()
		}
		b.ReportMetric(perPartition, "B/partition")
	})
	death := FenceBrokers(img, []int32{7}, e)
	b.Run("death", func(b *testing.B) {
		for b.Loop() {
			death = FenceBrokers(img, []int32{7}, e)
		}
		b.ReportMetric(float64(len(death)), "records")
	})
	b.Run("death/split", func(b *testing.B) {
		for b.Loop() {
			meta.Split("death", death)
		}
		b.ReportMetric(float64(len(meta.Split("death", death))), "entries")
	})
	fenced := with(b, img, death...)
	b.Run("death/apply", func(b *testing.B) {
		for b.Loop() {
			next, d, err := img.With(death)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for c := range d.TopicChanges() {
				for range c.Partitions() {
					n++
				}
			}
			if next.Version() != fenced.Version() || n < len(death)-1 {
				b.Fatal(n)
			}
		}
	})
	b.Run("return", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := Heartbeat(fenced, Beat{Broker: 7, Epoch: 1, Applied: 1}, true, e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("beat", func(b *testing.B) {
		for b.Loop() {
			if rs, _, err := Heartbeat(img, Beat{Broker: 7, Epoch: 1, Applied: 1}, true, e); err != nil || len(rs) > 0 {
				b.Fatal(rs, err)
			}
		}
	})
	b.Run("stopping", func(b *testing.B) {
		stopping := fenced.Broker(7)
		s := *stopping
		s.Fenced, s.Stopping = false, true
		img, _, err := fenced.With([]meta.Record{meta.BrokerRecord{Broker: s}})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() { // it leads nothing any more, and others have not heard yet
			if _, _, err := Heartbeat(img, Beat{Broker: 7, Epoch: 1, Applied: 1, ShutDown: true}, false, e); err != nil {
				b.Fatal(err)
			}
			if leads(img, 7) {
				b.Fatal("leads")
			}
		}
	})
	b.Run("settle", func(b *testing.B) {
		for b.Loop() {
			if rs, _ := Settle(img, 1000, e); len(rs) > 0 {
				b.Fatal(len(rs))
			}
		}
	})
	b.Run("prefer", func(b *testing.B) {
		for b.Loop() {
			PreferLeaders(fenced, 1000, e)
		}
	})
	b.Run("change", func(b *testing.B) {
		r := []meta.Record{death[len(death)/2]}
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := img.With(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("diff", func(b *testing.B) {
		for b.Loop() {
			meta.Diff(img, fenced)
		}
	})
}
