// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// world is node 1 with its table over real storage, and a controller that does
// what it is asked when the test says so.
type world struct {
	t       testing.TB
	fs      vfs.FS
	root    string
	dirs    []*storage.Dir
	table   *Table
	img     *meta.Image
	configs map[string]*TopicConfig

	mu      sync.Mutex
	raises  []raise
	corrupt []*storage.CorruptError
	strays  []storage.Name

	moves MoveEvents
	ended chan ended // moves that ended
}

type ended struct {
	name storage.Name
	to   *storage.Log
	err  error
}

type raise struct {
	topic     meta.UUID
	partition int32
	epoch     int32
}

func (w *world) RaiseEpoch(topic [16]byte, partition, epoch int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raises = append(w.raises, raise{topic, partition, epoch})
}

func (w *world) ChangeISR([16]byte, int32, *partition.ISRChange) {}

func (w *world) LeaveSeats([16]byte, int32, int32) {}

// begin starts a node with n directories on an empty file system.
func begin(t testing.TB, fs vfs.FS, n int) *world {
	t.Helper()
	w := &world{t: t, fs: fs, root: "/data", img: meta.Empty(), configs: map[string]*TopicConfig{}}
	if fs == nil {
		w.fs, w.root = vfs.OS(), t.TempDir()
	}
	w.start(n)
	return w
}

func (w *world) start(n int) {
	w.t.Helper()
	w.ended = make(chan ended, 100)
	moves := w.moves
	moves.Ended = func(l, to *storage.Log, err error) { w.ended <- ended{l.Name(), to, err} }
	w.table = NewTable(Config{
		NodeID: 1, Controller: w, Moves: moves,
		Topic: func(_ *meta.Image, name string) *TopicConfig { return w.configs[name] },
		Events: storage.Events{Corrupt: func(_ storage.Name, c *storage.CorruptError) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.corrupt = append(w.corrupt, c)
		}},
		Stray: func(_ string, n storage.Name) { w.strays = append(w.strays, n) },
	})
	w.dirs = nil
	for i := range n {
		d, err := storage.OpenDir(storage.DirConfig{FS: w.fs, Path: w.root + "/d" + strconv.Itoa(i), Events: w.table.Events(), NodeID: 1, RetentionInterval: -1, ZeroAhead: 100})
		if err != nil {
			w.t.Fatal(err)
		}
		w.dirs = append(w.dirs, d)
		w.table.AddDir(d)
	}
	if err := w.table.Apply(meta.Diff(meta.Empty(), w.img)); err != nil {
		w.t.Fatal(err)
	}
	w.table.Strays(w.img)
}

// stop ends the node cleanly.
func (w *world) stop() {
	w.t.Helper()
	w.table.Close()
	for _, d := range w.dirs {
		if err := d.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// kill ends it as a SIGKILL would.
func (w *world) kill() {
	w.table.Close()
	for _, d := range w.dirs {
		d.Abandon()
	}
}

// apply commits records and publishes them to the table.
func (w *world) apply(records ...meta.Record) error {
	w.t.Helper()
	img, d, err := w.img.With(records)
	if err != nil {
		w.t.Fatal(err)
	}
	w.img = img
	return w.table.Apply(d)
}

func (w *world) mustApply(records ...meta.Record) {
	w.t.Helper()
	if err := w.apply(records...); err != nil {
		w.t.Fatal(err)
	}
}

// topic makes a topic with id {id} and returns its partitions.
func (w *world) topic(id byte, name string, n int32, change func(*TopicConfig)) []*Partition {
	w.t.Helper()
	c := &TopicConfig{MaxMessageBytes: 1 << 20, MinISR: 1, Rules: batch.Rules{BeforeMax: math.MaxInt64, AfterMax: 3_600_000}, Log: storage.LogConfig{Delete: true, Durable: true}}
	if change != nil {
		change(c)
	}
	w.configs[name] = c
	rs := []meta.Record{meta.TopicRecord{Name: name, ID: meta.UUID{id}}}
	for i := range n {
		rs = append(rs, meta.PartitionRecord{Topic: meta.UUID{id}, Index: i, Partition: ledBy(1, 0)})
	}
	w.mustApply(rs...)
	var ps []*Partition
	for i := range n {
		ps = append(ps, w.table.Named(name, i))
	}
	return ps
}

func ledBy(node, epoch int32) meta.Partition {
	return meta.Partition{
		Replicas: []int32{1}, Dirs: []meta.UUID{{}}, ISR: []int32{1},
		Leader: node, LeaderEpoch: epoch, PartitionEpoch: epoch,
	}
}

// elect makes node the leader of partition 0 in an epoch.
func (w *world) elect(id byte, node, epoch int32) {
	w.t.Helper()
	w.mustApply(meta.PartitionRecord{Topic: meta.UUID{id}, Index: 0, Partition: ledBy(node, epoch)})
}

// answerRaises gives every log that asked its newer epoch.
func (w *world) answerRaises() {
	w.t.Helper()
	w.mu.Lock()
	rs := w.raises
	w.raises = nil
	w.mu.Unlock()
	for _, r := range rs {
		p := *w.img.TopicByID(r.topic).Partition(r.partition)
		if p.LeaderEpoch == r.epoch {
			p.LeaderEpoch++
			p.PartitionEpoch++
			w.mustApply(meta.PartitionRecord{Topic: r.topic, Index: r.partition, Partition: p})
		}
	}
}

// records builds a batch of n records, valued base, base+1 ...
func records(t testing.TB, base, n int) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	for i := range n {
		b.Append(time.Now().UnixMilli(), nil, []byte(strconv.Itoa(base+i)))
	}
	return built(t, b)
}

// idempotent is records of a producer.
func idempotent(t testing.TB, pid int64, epoch int16, seq int32, base, n int) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.SetProducer(pid, epoch, seq)
	for i := range n {
		b.Append(time.Now().UnixMilli(), nil, []byte(strconv.Itoa(base+i)))
	}
	return built(t, b)
}

func built(t testing.TB, b *batch.Builder) []byte {
	t.Helper()
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), v...)
}

func (w *world) produce(p *Partition, b []byte, acks int16) Result {
	w.t.Helper()
	r, err := p.Append(b, acks, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		w.t.Fatal(err)
	}
	if acks == -1 {
		if err := p.Wait(w.t.Context(), r.LastOffset+1, r.LeaderEpoch); err != nil {
			w.t.Fatal(err)
		}
	}
	return r
}

func readRequest(from int64, iso Isolation) ReadRequest {
	return ReadRequest{From: from, MaxBytes: 1 << 20, MinOne: true, Isolation: iso, CurrentLeaderEpoch: NoEpoch, LastFetchedEpoch: NoEpoch}
}

// value is one record read back.
type value struct {
	offset int64
	text   string
}

// readAll reads everything from an offset on that the isolation level shows.
func readAll(p *Partition, from int64, iso Isolation) ([]value, error) {
	var vs []value
	for {
		r, err := p.Read(readRequest(from, iso))
		if err != nil {
			return vs, err
		}
		if r.Slice.N == 0 {
			return vs, nil
		}
		next := r.Slice.Next
		more, err := valuesOf(r.Slice, from)
		if err != nil {
			return vs, fmt.Errorf("after offset %d: %w", from, err)
		}
		vs, from = append(vs, more...), next
	}
}

// valuesOf are the records of a slice from an offset on.
func valuesOf(s storage.Slice, from int64) (vs []value, err error) {
	b, err := slurp(s)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		v, rest, err := batch.Next(b)
		if err == nil {
			err = v.CheckCRC()
		}
		if err != nil {
			return vs, err
		}
		err = v.Each(nil, func(rec batch.Record) error {
			if o := v.BaseOffset() + int64(rec.OffsetDelta); o >= from {
				vs = append(vs, value{o, string(rec.Value)})
			}
			return nil
		})
		if err != nil {
			return vs, err
		}
		b = rest
	}
	return vs, nil
}

func slurp(s storage.Slice) ([]byte, error) {
	if s.Release != nil {
		defer s.Release()
	}
	if s.Bytes != nil {
		return append([]byte(nil), s.Bytes...), nil
	}
	b := make([]byte, s.N)
	if n, err := s.File.ReadAt(b, s.Off); err != nil && !(errors.Is(err, io.EOF) && n == s.N) {
		return nil, err
	}
	return b, nil
}

// woken is a Waker for a test that waits.
type woken chan int

func newWoken() woken { return make(woken, 100) }

func (w woken) Wake(n int) { w <- n }

func (w woken) now() bool {
	select {
	case <-w:
		return true
	default:
		return false
	}
}

func wantCode(t testing.TB, what string, err error, want *kerr.Error) {
	t.Helper()
	if got := Code(err); got != want.Code {
		t.Errorf("%s: %v, want %s", what, err, want.Message)
	}
}

// heldSyncs is a disk whose syncs wait until they are let go.
type heldSyncs struct {
	*vfs.Faulty
	mem  *vfs.Mem
	gate chan struct{}
	lift func()
}

func newHeldSyncs() *heldSyncs {
	m := vfs.NewMem()
	return &heldSyncs{Faulty: vfs.NewFaulty(m), mem: m}
}

// hold makes syncs of segments wait.
func (h *heldSyncs) hold() {
	gate := make(chan struct{})
	h.gate = gate
	h.lift = h.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Before: func(c vfs.Call) { <-gate }})
}

// let lets them go, and all that come.
func (h *heldSyncs) let() {
	h.lift()
	close(h.gate)
}
