// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// fakeLog behaves as a partition: it keeps batches in memory, and commits at
// once, or by commit() where held.
type fakeLog struct {
	topic string
	id    [16]byte
	index int32

	mu       sync.Mutex
	bytes    []byte
	starts   []int64 // base offset of each batch
	at       []int   // and its position
	end, hw  int64
	held     bool // commits wait for commit()
	fail     error
	after    error // the outcome of commits
	waiters  map[Waker]int64
	readers  map[Waker]Isolation
	appended int
	aborted  []AbortedTxn
	open     int // slices not released

	begin func() uint64 // gives guards; nil: every transaction is open
	guard uint64        // of the last append
}

func (l *fakeLog) Topic() string { return l.topic }

func (l *fakeLog) Append(records []byte, o AppendOptions) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appended++
	l.guard = o.Guard
	if l.fail != nil {
		return Appended{}, l.fail
	}
	if len(records) < 61 {
		return Appended{}, kerr.InvalidRecord
	}
	n := int64(binary.BigEndian.Uint32(records[23:])) + 1
	binary.BigEndian.PutUint64(records, uint64(l.end))
	l.starts = append(l.starts, l.end)
	l.at = append(l.at, len(l.bytes))
	l.bytes = append(l.bytes, records...)
	base := l.end
	l.end += n
	if !l.held {
		l.commitLocked(l.end, len(records))
	}
	return Appended{BaseOffset: base, UpTo: l.end, LogAppendTime: -1, LeaderEpoch: 3}, nil
}

func (l *fakeLog) BeginTxn(int64, int16, int32, bool) (uint64, error) {
	if l.begin == nil {
		return 0, nil
	}
	return l.begin(), nil
}

func (l *fakeLog) commit() {
	l.mu.Lock()
	l.commitLocked(l.end, len(l.bytes))
	l.mu.Unlock()
}

func (l *fakeLog) commitLocked(hw int64, n int) {
	l.hw = hw
	for w, upTo := range l.waiters {
		if upTo <= hw {
			delete(l.waiters, w)
			w.Wake(0)
		}
	}
	for w := range l.readers {
		w.Wake(n)
	}
}

func (l *fakeLog) AwaitCommitted(upTo int64, _ int32, w Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if upTo <= l.hw {
		return false
	}
	l.waiters[w] = upTo
	return true
}

func (l *fakeLog) Committed(upTo int64, _ int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.after != nil {
		return l.after
	}
	if upTo > l.hw {
		return kerr.RequestTimedOut
	}
	return nil
}

func (l *fakeLog) Watch(w Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers[w] = ReadLogEnd
	return true
}

func (l *fakeLog) Read(r ReadRequest) (Read, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return Read{}, l.fail
	}
	end := l.hw
	if r.From < 0 || r.From > l.end {
		return Read{}, kerr.OffsetOutOfRange
	}
	out := Read{HighWatermark: l.hw, LastStable: l.hw, ReadableEnd: end, PreferredReplica: -1}
	if r.Isolation == ReadCommitted {
		out.Aborted = l.aborted
	}
	from := 0
	for from < len(l.starts) && (from+1 < len(l.starts) && l.starts[from+1] <= r.From || from+1 == len(l.starts) && l.end <= r.From) {
		from++
	}
	if from == len(l.starts) || r.From >= end {
		return out, nil
	}
	upTo := from
	for upTo < len(l.starts) && l.starts[upTo] < end {
		next := len(l.bytes)
		if upTo+1 < len(l.at) {
			next = l.at[upTo+1]
		}
		if next-l.at[from] > r.MaxBytes && (!r.MinOne || upTo != from) {
			break
		}
		out.Slice.N = next - l.at[from]
		upTo++
	}
	if out.Slice.N == 0 {
		return out, nil
	}
	out.Slice.File, out.Slice.Off = fakeFile{bytes.NewReader(l.bytes)}, int64(l.at[from])
	l.open++
	out.Release = func() {
		l.mu.Lock()
		l.open--
		l.mu.Unlock()
	}
	return out, nil
}

func (l *fakeLog) AwaitReadable(iso Isolation, seen int64, w Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen != l.hw {
		return false
	}
	l.readers[w] = iso
	return true
}

func (l *fakeLog) Forget(w Waker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiters, w)
	delete(l.readers, w)
}

func (l *fakeLog) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiters) + len(l.readers)
}

type fakeFile struct{ io.ReaderAt }

func (fakeFile) SysFd() (uintptr, bool) { return 0, false }

// fakePartitions holds fakeLogs by name and id.
type fakePartitions struct{ logs []*fakeLog }

func (f *fakePartitions) add(topic string, id byte, partitions int) []*fakeLog {
	for i := range partitions {
		f.logs = append(f.logs, &fakeLog{topic: topic, id: [16]byte{id}, index: int32(i),
			waiters: map[Waker]int64{}, readers: map[Waker]Isolation{}})
	}
	return f.logs[len(f.logs)-partitions:]
}

func (f *fakePartitions) Get(name []byte, p int32) (Partition, error) {
	for _, l := range f.logs {
		if l.topic == string(name) && l.index == p {
			return l, nil
		}
	}
	return nil, kerr.UnknownTopicOrPartition
}

func (f *fakePartitions) GetName(name string, p int32) (Partition, error) {
	return f.Get([]byte(name), p)
}

func (f *fakePartitions) GetByID(id [16]byte, p int32) (Partition, error) {
	name := f.TopicName(id)
	if name == "" {
		return nil, kerr.UnknownTopicID
	}
	return f.Get([]byte(name), p)
}

func (f *fakePartitions) TopicName(id [16]byte) string {
	for _, l := range f.logs {
		if l.id == id {
			return l.topic
		}
	}
	return ""
}

func (f *fakePartitions) Leader(string, int32, string) Leader {
	return Leader{Node: 7, Epoch: 9, Host: "elsewhere", Port: 9092}
}

// testBatch is a record batch of n records with a body of size bytes, which
// nothing here looks into.
func testBatch(n, size int) []byte {
	b := make([]byte, 61+size)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint64(b[43:], 1<<64-1)
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// client speaks to a served API over TCP, or over a pipe.
type client struct {
	t  testing.TB
	nc net.Conn
	id int32
}

// serve starts the families behind a wire.Server until the test ends.
func serve(t testing.TB, families ...[]Route) (*API, func() *client) {
	t.Helper()
	a, err := New(Config{Features: fakeFeatures{}}, families...)
	if err != nil {
		t.Fatal(err)
	}
	s := wire.NewServer(wire.Config{Handler: a, Kind: a.Kind})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l, "PLAINTEXT") }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := s.BufferedBytes(); n != 0 {
			t.Errorf("%d bytes of the budget never came back", n)
		}
	})
	return a, func() *client {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return &client{t: t, nc: nc}
	}
}

type fakeFeatures struct{}

func (fakeFeatures) Supported() []Feature {
	return []Feature{{"zero.based", 0, 2}, {"one.based", 1, 3}}
}
func (fakeFeatures) Finalized() ([]FeatureLevel, int64) {
	return []FeatureLevel{{"zero.based", 0}, {"one.based", 2}}, 5
}

func (c *client) send(req kmsg.Request) {
	c.t.Helper()
	c.id++
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, c.id)
	if _, err := c.nc.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads the next response into resp, whose version is that of the
// request.
func (c *client) receive(resp kmsg.Response) {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		c.t.Fatalf("read a response: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.nc, b); err != nil {
		c.t.Fatalf("read a response: %v", err)
	}
	b = b[4:]
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		if b[0] != 0 {
			c.t.Fatalf("response tags %d", b[0])
		}
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		c.t.Fatalf("decode %T v%d: %v", resp, resp.GetVersion(), err)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, b) {
		c.t.Fatalf("%T v%d does not read back:\n%x\n%x", resp, resp.GetVersion(), b, again)
	}
}

func (c *client) ask(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(req)
	resp := req.ResponseKind()
	c.receive(resp)
	return resp
}

func (c *client) wantClosed() {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := c.nc.Read(make([]byte, 1))
	if n > 0 || err == nil {
		c.t.Fatalf("the connection gave %d bytes", n)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open")
	}
}
