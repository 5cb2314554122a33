// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/replica"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// servedLogs is a node with real logs in memory in two directories, and topics "t"
// (two partitions) and "compacted".
type servedLogs struct {
	table *replica.Table
	dirs  []*storage.Dir
	moved chan *storage.Log // where moves ended
	rate  atomic.Int64      // of moves
}

type quiet struct{}

func (quiet) RaiseEpoch([16]byte, int32, int32)               {}
func (quiet) ChangeISR([16]byte, int32, *partition.ISRChange) {}
func (quiet) LeaveSeats([16]byte, int32, int32)               {}
func (s *servedLogs) Find(t string, i int32) (*replica.Partition, error) {
	if p := s.table.Named(t, i); p != nil {
		return p, nil
	}
	return nil, kerr.UnknownTopicOrPartition
}

func serveLogs(t *testing.T) *servedLogs {
	t.Helper()
	return serveLogsOn(t, vfs.NewMem())
}

func serveLogsOn(t *testing.T, fs vfs.FS) *servedLogs {
	t.Helper()
	s := &servedLogs{moved: make(chan *storage.Log, 10)}
	moves := replica.MoveEvents{
		Ended:          func(_, to *storage.Log, _ error) { s.moved <- to },
		BytesPerSecond: s.rate.Load,
	}
	s.table = replica.NewTable(replica.Config{NodeID: 1, Controller: quiet{}, Moves: moves, Topic: func(_ *meta.Image, name string) *replica.TopicConfig {
		return &replica.TopicConfig{
			Log:             storage.LogConfig{Durable: true, Delete: name != "compacted", Compact: name == "compacted"},
			MaxMessageBytes: 1 << 20, MinISR: 1,
			Rules: batch.Rules{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64},
		}
	}})
	for _, path := range []string{"/a", "/b"} {
		d, err := storage.OpenDir(storage.DirConfig{FS: fs, Path: path, Events: s.table.Events(), NodeID: 1})
		if err != nil {
			t.Fatal(err)
		}
		s.dirs = append(s.dirs, d)
		s.table.AddDir(d)
	}
	s.table.Strays(meta.Empty())
	one := meta.Partition{Replicas: []int32{1}, Dirs: []meta.UUID{{}}, ISR: []int32{1}, Leader: 1, LeaderEpoch: 2}
	_, delta, err := meta.Empty().With([]meta.Record{
		meta.TopicRecord{Name: "t", ID: meta.UUID{1}},
		meta.PartitionRecord{Topic: meta.UUID{1}, Index: 0, Partition: one},
		meta.PartitionRecord{Topic: meta.UUID{1}, Index: 1, Partition: one},
		meta.TopicRecord{Name: "compacted", ID: meta.UUID{2}},
		meta.PartitionRecord{Topic: meta.UUID{2}, Index: 0, Partition: one},
	})
	if err == nil {
		err = s.table.Apply(delta)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.table.Close()
		for _, d := range s.dirs {
			_ = d.Close()
		}
	})
	return s
}

// produce appends n records of a producer with a timestamp and waits for them.
func (s *servedLogs) produce(t *testing.T, topic string, index int32, pid int64, seq int32, ts int64, n int) {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.SetProducer(pid, 0, seq)
	for range n {
		b.Append(ts, []byte("k"), []byte("v"))
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p := s.table.Named(topic, index)
	r, err := p.Append(v, -1, replica.AppendOptions{ExpectedEpoch: replica.NoEpoch})
	if err == nil {
		err = p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestListOffsetsOfRealLogs(t *testing.T) {
	t.Parallel()
	s := serveLogs(t)
	s.produce(t, "t", 0, 5, 0, 1000, 3)
	s.produce(t, "t", 0, 5, 3, 3000, 2)
	s.produce(t, "t", 0, 5, 5, 2000, 1)
	o := &Offsets{Partitions: s}
	for _, c := range []struct {
		ask, offset, timestamp int64
		epoch                  int32 // the request's current leader epoch
		code                   int16
	}{
		{-1, 6, -1, -1, 0}, {-2, 0, -1, -1, 0}, {-3, 3, 3000, -1, 0}, {-4, 0, -1, -1, 0}, {-5, -1, -1, -1, 0}, {-6, 0, -1, -1, 0},
		{0, 0, 1000, 2, 0}, {1001, 3, 3000, -1, 0}, {3001, -1, -1, -1, 0},
		{-1, -1, -1, 1, kerr.FencedLeaderEpoch.Code}, {-1, -1, -1, 3, kerr.UnknownLeaderEpoch.Code},
	} {
		req := &kmsg.ListOffsetsRequest{ReplicaID: -1, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: "t",
			Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: 0, Timestamp: c.ask, CurrentLeaderEpoch: c.epoch}}}}}
		resp, err := o.list(context.Background(), &Call{Version: 11}, req)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		if got.ErrorCode != c.code || got.Offset != c.offset || got.Timestamp != c.timestamp {
			t.Errorf("asked for %d in epoch %d: %+v, want %+v", c.ask, c.epoch, got, c)
		}
		if c.offset >= 0 && got.LeaderEpoch != 2 {
			t.Errorf("asked for %d: leader epoch %d", c.ask, got.LeaderEpoch)
		}
	}
	ends, err := o.epochEnds(context.Background(), &Call{}, &kmsg.OffsetForLeaderEpochRequest{Topics: []kmsg.OffsetForLeaderEpochRequestTopic{
		{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{
			{Partition: 0, CurrentLeaderEpoch: 2, LeaderEpoch: 2}, {Partition: 0, CurrentLeaderEpoch: 1, LeaderEpoch: 2}, {Partition: 9, CurrentLeaderEpoch: -1, LeaderEpoch: 2},
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	ps := ends.(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions
	if ps[0].ErrorCode != 0 || ps[0].LeaderEpoch != 2 || ps[0].EndOffset != 6 ||
		ps[1].ErrorCode != kerr.FencedLeaderEpoch.Code || ps[1].EndOffset != -1 || ps[2].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", ps)
	}
}

func TestDeleteRecordsOfRealLogs(t *testing.T) {
	t.Parallel()
	s := serveLogs(t)
	s.produce(t, "t", 0, 5, 0, time.Now().UnixMilli(), 5)
	r := &Records{Partitions: s, Internal: func(topic string) bool { return topic == "internal" }}
	for _, c := range []struct {
		topic       string
		index       int32
		offset, low int64
		code        int16
	}{
		{"t", 0, 2, 2, 0}, {"t", 0, 6, -1, kerr.OffsetOutOfRange.Code}, {"t", 0, -1, 5, 0}, {"t", 1, -1, 0, 0},
		{"compacted", 0, 0, -1, kerr.PolicyViolation.Code}, {"u", 0, 0, -1, kerr.UnknownTopicOrPartition.Code},
	} {
		resp, err := r.delete(context.Background(), &Call{}, &kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{
			{Topic: c.topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: c.index, Offset: c.offset}}}}})
		if err != nil {
			t.Fatal(err)
		}
		got := resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
		if got.LowWatermark != c.low || got.ErrorCode != c.code {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// TestDeleteRecordsThatAreNotFlushed: a record acknowledged with acks=1 is not
// below the high watermark yet; deleting it waits for the flush.
func TestDeleteRecordsThatAreNotFlushed(t *testing.T) {
	t.Parallel()
	fs := vfs.NewFaulty(vfs.NewMem())
	s := serveLogsOn(t, fs)
	flush := make(chan struct{})
	defer fs.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Before: func(vfs.Call) { <-flush }})()
	p := s.table.Named("t", 0)
	b := batch.NewBuilder(batch.None)
	b.Append(time.Now().UnixMilli(), nil, []byte("v"))
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append(v, 1, replica.AppendOptions{ExpectedEpoch: replica.NoEpoch}); err != nil {
		t.Fatal(err)
	}
	r := &Records{Partitions: s, Internal: func(string) bool { return false }}
	del := func(timeout int32) kmsg.DeleteRecordsResponseTopicPartition {
		resp, err := r.delete(context.Background(), &Call{}, &kmsg.DeleteRecordsRequest{TimeoutMillis: timeout, Topics: []kmsg.DeleteRecordsRequestTopic{
			{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 1}}}}})
		if err != nil {
			t.Error(err)
		}
		return resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	}
	if got := del(1); got.ErrorCode != kerr.RequestTimedOut.Code || got.LowWatermark != -1 {
		t.Errorf("before the flush: %+v", got)
	}
	answer := make(chan kmsg.DeleteRecordsResponseTopicPartition)
	go func() { answer <- del(60_000) }()
	for p.Status().Waiting == 0 {
		select {
		case got := <-answer:
			close(flush)
			t.Fatalf("answered before the flush: %+v", got)
		default:
			runtime.Gosched()
		}
	}
	close(flush)
	if got := <-answer; got.ErrorCode != 0 || got.LowWatermark != 1 {
		t.Errorf("after the flush: %+v", got)
	}
}

func TestDescribeProducersOfRealLogs(t *testing.T) {
	t.Parallel()
	s := serveLogs(t)
	s.produce(t, "t", 1, 8, 0, 1234, 3)
	p := &Producers{Partitions: s, ValidName: func(string) error { return nil }}
	resp, err := p.describe(context.Background(), &Call{}, &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0, 1, 2}}}})
	if err != nil {
		t.Fatal(err)
	}
	ps := resp.(*kmsg.DescribeProducersResponse).Topics[0].Partitions
	if len(ps[0].ActiveProducers) != 0 || ps[0].ErrorCode != 0 || ps[2].ErrorCode != kerr.UnknownTopicOrPartition.Code || len(ps[1].ActiveProducers) != 1 {
		t.Fatalf("%+v", ps)
	}
	if a := ps[1].ActiveProducers[0]; a.ProducerID != 8 || a.ProducerEpoch != 0 || a.LastSequence != 2 || a.LastTimestamp != 1234 || a.CurrentTxnStartOffset != -1 || a.CoordinatorEpoch != -1 {
		t.Errorf("%+v", a)
	}
	twice, err := p.describe(context.Background(), &Call{}, &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{
		{Topic: "t", Partitions: []int32{1, 1, 1}}, {Topic: "t", Partitions: []int32{1, 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	if ts := twice.(*kmsg.DescribeProducersResponse).Topics; len(ts[0].Partitions) != 1 || len(ts[1].Partitions) != 1 || ts[1].Partitions[0].Partition != 0 {
		t.Errorf("asked for twice: %+v", ts)
	}
}

func TestLogDirsOfRealLogs(t *testing.T) {
	t.Parallel()
	s := serveLogs(t)
	s.produce(t, "t", 0, 5, 0, 1, 3)
	l := &LogDirs{Partitions: s, Hosted: s.table}
	describe := func(topics []kmsg.DescribeLogDirsRequestTopic) (names []string, size int64) {
		t.Helper()
		resp, err := l.describe(context.Background(), &Call{Version: 4}, &kmsg.DescribeLogDirsRequest{Topics: topics})
		if err != nil {
			t.Fatal(err)
		}
		dirs := resp.(*kmsg.DescribeLogDirsResponse).Dirs
		if len(dirs) != 2 {
			t.Fatalf("%d directories", len(dirs))
		}
		for _, d := range dirs {
			if d.ErrorCode != 0 || d.TotalBytes <= 0 {
				t.Errorf("%+v", d)
			}
			for _, topic := range d.Topics {
				for _, p := range topic.Partitions {
					names = append(names, topic.Topic+"-"+fmt.Sprint(p.Partition))
					size += p.Size
				}
			}
		}
		slices.Sort(names)
		return names, size
	}
	if names, size := describe(nil); !slices.Equal(names, []string{"compacted-0", "t-0", "t-1"}) || size < 61 {
		t.Errorf("all: %v, %d bytes", names, size)
	}
	if names, _ := describe([]kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{1, 7}}}); !slices.Equal(names, []string{"t-1"}) {
		t.Errorf("one: %v", names)
	}
	if names, _ := describe([]kmsg.DescribeLogDirsRequestTopic{}); len(names) != 0 {
		t.Errorf("none: %v", names)
	}
	here := s.table.Named("t", 0).Log().Dir().Path()
	there := map[string]string{"/a": "/b", "/b": "/a"}[here]
	for _, c := range []struct {
		dir, topic string
		code       int16
	}{
		{here, "t", 0}, {there, "t", 0}, {"/c", "t", kerr.LogDirNotFound.Code},
		{here, "u", kerr.UnknownTopicOrPartition.Code}, {here, string(make([]byte, 249)), kerr.InvalidTopicException.Code},
	} {
		resp, err := l.alter(context.Background(), &Call{}, &kmsg.AlterReplicaLogDirsRequest{Dirs: []kmsg.AlterReplicaLogDirsRequestDir{
			{Dir: c.dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: c.topic, Partitions: []int32{0}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.(*kmsg.AlterReplicaLogDirsResponse).Topics[0].Partitions[0]; got.ErrorCode != c.code {
			t.Errorf("move %q to %s: code %d, want %d", c.topic, c.dir, got.ErrorCode, c.code)
		}
	}
	s.awaitMove(t, "t", 0, there)
	s.produce(t, "t", 0, 5, 3, 2, 1)
	// A move that is slow shows both logs, and how far the future one is behind.
	s.rate.Store(1)
	for i := range int32(3) {
		s.produce(t, "t", 0, 5, 4+i, 2, 1)
	}
	if err := s.table.Move(s.table.Named("t", 0), s.dirs[slices.IndexFunc(s.dirs, func(d *storage.Dir) bool { return d.Path() == here })]); err != nil {
		t.Fatal(err)
	}
	resp, err := l.describe(context.Background(), &Call{Version: 4}, &kmsg.DescribeLogDirsRequest{
		Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{0}}}})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, d := range resp.(*kmsg.DescribeLogDirsResponse).Dirs {
		for _, topic := range d.Topics {
			for _, p := range topic.Partitions {
				seen++
				if p.IsFuture != (d.Dir == here) || p.OffsetLag < 0 || p.OffsetLag > 7 || !p.IsFuture && (p.OffsetLag != 0 || p.Size == 0) {
					t.Errorf("in %s: %+v", d.Dir, p)
				}
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d replicas of t-0", seen)
	}
	s.rate.Store(0)
	s.awaitMove(t, "t", 0, here)
}

// awaitMove waits until a partition's move has ended in dir.
func (s *servedLogs) awaitMove(t *testing.T, topic string, index int32, dir string) {
	t.Helper()
	p := s.table.Named(topic, index)
	if to := <-s.moved; to == nil || p.Log().Dir().Path() != dir {
		t.Fatalf("moved to %v, want %s", to, dir)
	}
}

// TestLatestAfterAcksOne: who produced with acks=1 and asks for the end at once
// is told of it, though the disk takes its time; on a disk that hangs the
// question is answered all the same.
func TestLatestAfterAcksOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, latestAfterAcksOne) // a busy machine takes longer than the wait's bound
}

func latestAfterAcksOne(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem())
	s := serveLogsOn(t, disk)
	o := &Offsets{Partitions: s}
	latest := func() int64 {
		t.Helper()
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Timestamp, part.CurrentLeaderEpoch = -1, -1
		resp, err := o.list(t.Context(), &Call{Version: 7}, &kmsg.ListOffsetsRequest{ReplicaID: -1, Topics: []kmsg.ListOffsetsRequestTopic{
			{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}})
		if err != nil {
			t.Fatal(err)
		}
		return resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
	}
	append1 := func() {
		t.Helper()
		b := batch.NewBuilder(batch.None)
		b.Append(1000, []byte("k"), []byte("v"))
		v, err := b.Bytes()
		if err == nil {
			_, err = s.table.Named("t", 0).Append(v, 1, replica.AppendOptions{ExpectedEpoch: replica.NoEpoch})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lift := disk.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Before: func(vfs.Call) { time.Sleep(5 * time.Millisecond) }})
	for i := range int64(5) {
		if append1(); latest() != i+1 {
			t.Fatalf("after %d records the end is %d", i+1, latest())
		}
	}
	lift()
	hangs := make(chan struct{})
	disk.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Before: func(vfs.Call) { <-hangs }})
	if append1(); latest() != 5 {
		t.Errorf("what is not flushed is shown: %d", latest())
	}
	close(hangs)
}
