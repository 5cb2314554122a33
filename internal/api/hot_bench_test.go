// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// sinkLog takes appends and forgets them; it reads from one file.
type sinkLog struct {
	fakeLog
	next int64
	file wire.File
	size int
}

func (l *sinkLog) Append(records []byte, _ AppendOptions) (Appended, error) {
	n := int64(binary.BigEndian.Uint32(records[23:])) + 1
	l.next += n
	return Appended{BaseOffset: l.next - n, UpTo: l.next, LogAppendTime: -1}, nil
}

func (l *sinkLog) Read(r ReadRequest) (Read, error) {
	return Read{HighWatermark: 100, LastStable: 100, PreferredReplica: -1,
		Slice: wire.Part{File: l.file, N: min(r.MaxBytes, l.size)}}, nil
}

type sinkPartitions struct {
	fakePartitions
	log *sinkLog
}

func (p *sinkPartitions) Get([]byte, int32) (Partition, error)       { return p.log, nil }
func (p *sinkPartitions) GetName(string, int32) (Partition, error)   { return p.log, nil }
func (p *sinkPartitions) GetByID([16]byte, int32) (Partition, error) { return p.log, nil }

// BenchmarkProduceServe is decoding, appending to nothing and encoding, without
// a connection.
func BenchmarkProduceServe(b *testing.B) {
	for _, size := range []int{100, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := NewProduce(ProduceConfig{Partitions: &sinkPartitions{log: &sinkLog{}}})
			req := produceTo(9, 1, "benchmark-topic", 0, 0)
			req.Topics[0].Partitions[0].Records = testBatch(1, size)
			body := req.AppendTo(nil)
			c := &Call{Version: 9, ClientID: "bench"}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				reply, _ := p.serve(b.Context(), c, body)
				reply.Owner.Release()
			}
		})
	}
}

// BenchmarkFetchServe is decoding, reading nothing and encoding, in a session
// of so many partitions of which one has records.
func BenchmarkFetchServe(b *testing.B) {
	for _, partitions := range []int{1, 100} {
		b.Run(fmt.Sprint(partitions), func(b *testing.B) {
			var parts fakePartitions
			logs := parts.add("benchmark-topic", 1, partitions)
			appendTo(b, logs[0], testBatch(1, 100))
			f := NewFetch(FetchConfig{Partitions: &benchPartitions{&parts}})
			offsets := make([]int64, partitions)
			body := fetchFrom(12, "benchmark-topic", 1, offsets...).AppendTo(nil)
			c := &Call{Version: 12, ClientID: "bench"}
			b.ReportAllocs()
			for b.Loop() {
				reply, _ := f.serve(b.Context(), c, body)
				reply.Owner.Release()
			}
		})
	}
}

type benchPartitions struct{ *fakePartitions }

func (f *benchPartitions) GetName(_ string, p int32) (Partition, error) { return f.logs[p], nil }

// BenchmarkLoopback is the floor of a broker in one process: real frames over
// TCP, an append that costs nothing, one answer each; the client's own work is
// in the figure. depth is how many requests are in flight.
func BenchmarkLoopback(b *testing.B) {
	for _, bench := range []struct{ size, depth int }{{100, 1}, {100, 16}, {16 << 10, 1}, {16 << 10, 5}, {1 << 20, 5}} {
		b.Run(fmt.Sprintf("%dx%d", bench.size, bench.depth), func(b *testing.B) {
			_, dial := serve(b, NewProduce(ProduceConfig{Partitions: &sinkPartitions{log: &sinkLog{}}}).Routes())
			c := dial()
			req := produceTo(9, 1, "benchmark-topic", 0, 0)
			req.Topics[0].Partitions[0].Records = testBatch(1, bench.size)
			frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
			pump(b, c.nc, frame, bench.depth, bench.size)
		})
	}
}

// BenchmarkLoopbackFetch sends 1 MB of records from a file at a time.
func BenchmarkLoopbackFetch(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			path := b.TempDir() + "/records"
			if err := os.WriteFile(path, bytes.Repeat([]byte("record"), size), 0o600); err != nil {
				b.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			log := &sinkLog{file: osFile{f}, size: size}
			_, dial := serve(b, NewFetch(FetchConfig{Partitions: &sinkPartitions{log: log}}).Routes())
			c := dial()
			req := fetchFrom(11, "benchmark-topic", 0, 0)
			req.MaxBytes = 8 << 20
			req.Topics[0].Partitions[0].PartitionMaxBytes = 8 << 20
			frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
			pump(b, c.nc, frame, 1, size)
		})
	}
}

type osFile struct{ *os.File }

func (f osFile) SysFd() (uintptr, bool) { return f.Fd(), true }

// pump sends frames and takes answers, depth of them in flight.
func pump(b *testing.B, nc net.Conn, frame []byte, depth, size int) {
	batch := bytes.Repeat(frame, depth)
	buf := make([]byte, 1<<20)
	_ = nc.SetDeadline(time.Time{})
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += depth {
		n := min(depth, b.N-sent)
		if len(batch) <= 1<<20 {
			if _, err := nc.Write(batch[:n*len(frame)]); err != nil {
				b.Fatal(err)
			}
		} else {
			go func() { _, _ = nc.Write(batch[:n*len(frame)]) }()
		}
		for range n {
			if _, err := io.ReadFull(nc, buf[:4]); err != nil {
				b.Fatal(err)
			}
			for left := int(binary.BigEndian.Uint32(buf)); left > 0; {
				got, err := nc.Read(buf[:min(left, len(buf))])
				if err != nil {
					b.Fatal(err)
				}
				left -= got
			}
		}
	}
}
