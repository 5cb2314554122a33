// SPDX-License-Identifier: Apache-2.0

// Goal: a full disk holds producers up and nothing else; topics can be deleted
// to make room. A sync that fails takes one directory offline: the node goes on
// with the other one, and ends when it was the metadata log's.
// Method: brokers in memory, with faults in their file system.
package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/broker/brokertest"
	"gregor/internal/vfs"
)

func TestDeletionMakesRoom(t *testing.T) {
	t.Parallel()
	b := brokertest.Start(t)
	const bigRecords = 40 // more than twice the reserve of the metadata log, which comes first
	b.Topic("keep", 3)
	b.Topic("big", 1, "file.delete.delay.ms=0")
	ctx := within(t, time.Minute)
	once := client(t, b.Addr(), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for range bigRecords {
		if err := once.ProduceSync(ctx, &kgo.Record{Topic: "big", Value: make([]byte, 500_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.FillDisk()
	for p := range int32(3) {
		if err := once.ProduceSync(ctx, &kgo.Record{Topic: "keep", Partition: p, Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.KafkaStorageError) {
			t.Fatalf("a full disk: %v", err)
		}
	}
	if got := readPartition(ctx, t, b.Addr(), "big", 0); len(got) != bigRecords {
		t.Fatalf("%d records on a full disk", len(got))
	}
	patient := client(t, b.Addr(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const each = 20
	done := make(chan error, 3*each)
	for i := range 3 * each {
		patient.Produce(ctx, &kgo.Record{Topic: "keep", Partition: int32(i % 3), Key: fmt.Append(nil, i/3)}, func(_ *kgo.Record, err error) { done <- err })
	}
	if _, err := kadm.NewClient(once).DeleteTopic(ctx, "big"); err != nil {
		t.Fatalf("delete a topic on a full disk: %v", err)
	}
	for range 3 * each {
		if err := <-done; err != nil {
			t.Fatalf("with room again: %v", err)
		}
	}
	for p := range int32(3) {
		for i, key := range readPartition(ctx, t, b.Addr(), "keep", p) {
			if key != fmt.Sprint(i) {
				t.Fatalf("keep-%d: record %d is %s", p, i, key)
			}
		}
	}
}

// failSyncs lets no sync of a directory succeed any more.
func failSyncs(b *brokertest.Broker, dir string) {
	for _, pattern := range []string{dir, dir + "/*", dir + "/*/*"} {
		b.Disk().Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS | vfs.OpSyncDir, Path: pattern, Err: syscall.EIO})
	}
}

func TestFailedSync(t *testing.T) {
	t.Parallel()
	b := brokertest.Start(t, brokertest.Override("log.dirs=/one,/two"))
	const partitions = 4
	b.Topic("t", partitions)
	ctx := within(t, time.Minute)
	c := client(t, b.Addr(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(),
		kgo.ManualFlushing())
	produce := func(p int32, key string) error {
		r := &kgo.Record{Topic: "t", Partition: p, Key: []byte(key)}
		var got error
		c.Produce(ctx, r, func(_ *kgo.Record, err error) { got = err })
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for p := range int32(partitions) {
		if err := produce(p, "0"); err != nil {
			t.Fatal(err)
		}
	}
	admin := kadm.NewClient(c)
	where := func() (in map[int32]string, failed map[string]error) {
		t.Helper()
		all, err := admin.DescribeAllLogDirs(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		in, failed = map[int32]string{}, map[string]error{}
		all.Each(func(d kadm.DescribedLogDir) {
			if d.Err != nil {
				failed[d.Dir] = d.Err
			}
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				if p.Topic == "t" {
					in[p.Partition] = d.Dir
				}
			})
		})
		return in, failed
	}
	in, failed := where()
	if len(failed) > 0 || len(in) != partitions {
		t.Fatalf("%v, %v", in, failed)
	}
	failSyncs(b, "/two")
	lost := 0
	for p := range int32(partitions) {
		err := produce(p, "1")
		if in[p] == "/two" {
			lost++
			if !errors.Is(err, kerr.KafkaStorageError) {
				t.Errorf("partition %d in the failed directory: %v", p, err)
			}
		} else if err != nil {
			t.Errorf("partition %d in the other directory: %v", p, err)
		}
	}
	if lost == 0 || lost == partitions {
		t.Fatalf("%d of %d partitions are in the second directory", lost, partitions)
	}
	if _, failed = where(); !errors.Is(failed["/two"], kerr.KafkaStorageError) || failed["/one"] != nil {
		t.Errorf("log dirs: %v", failed)
	}
	for p := range int32(partitions) { // still, and no sync is tried again
		if err := produce(p, "2"); (err == nil) != (in[p] == "/one") {
			t.Errorf("partition %d: %v", p, err)
		}
	}
	select {
	case <-b.Failed():
		t.Fatalf("the node gave up: %v", b.Err())
	default:
	}

	// The metadata log's directory is one too many.
	failSyncs(b, "/one")
	for p := range int32(partitions) {
		if err := produce(p, "3"); err == nil {
			t.Errorf("partition %d took a record", p)
		}
	}
	select {
	case <-b.Failed():
	case <-ctx.Done():
		t.Fatal("the node goes on without a directory")
	}
	if err := b.Err(); err == nil || !strings.Contains(err.Error(), "/one") {
		t.Errorf("it does not say which directory failed: %v", err)
	}

	// A disk that is well again: what was acknowledged is there. What was
	// refused may be, for nobody knows what a failed sync has done.
	b.Kill()
	b.Restart()
	if _, failed := where(); len(failed) > 0 {
		t.Errorf("after the repair: %v", failed)
	}
	for p := range int32(partitions) {
		got := readPartition(ctx, t, b.Addr(), "t", p)
		want := []string{"0"}
		if in[p] == "/one" {
			want = []string{"0", "1", "2"}
		}
		if len(got) < len(want) || fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
			t.Errorf("partition %d holds %v, acknowledged was %v", p, got, want)
		}
		if err := client(t, b.Addr(), kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: p}).FirstErr(); err != nil {
			t.Errorf("partition %d after the repair: %v", p, err)
		}
	}
}
