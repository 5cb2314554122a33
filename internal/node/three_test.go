// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A cluster of three loses a broker again and again, each of them once, while an
// idempotent producer with acks=all writes. What was acknowledged is there at
// the end, once, and in order; the replicas have the same logs; all are in sync
// again.
func TestAcknowledgedRecordsSurviveKills(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	v.more = []string{"min.insync.replicas=2", "offsets.topic.replication.factor=3"}
	defer v.close()
	v.startAllWhole()
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })
	const partitions = 6
	v.create(v.nodes[0], "t", partitions, 3)
	v.await("the topic", func(n *Node) bool { return n.Image().Topic("t") != nil })

	c, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.DefaultProduceTopic("t"), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	stop := make(chan struct{})
	var acked [partitions]int
	var work sync.WaitGroup
	for p := range partitions {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r := &kgo.Record{Partition: int32(p), Value: []byte(strconv.Itoa(i))}
				if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
					t.Errorf("partition %d, record %d: %v", p, i, err)
					return
				}
				acked[p] = i + 1
			}
		})
	}
	inSync := func(n *Node) bool {
		topic := n.Image().Topic("t")
		for _, p := range topic.Partitions() {
			if len(p.ISR) != 3 || p.Leader < 0 {
				return false
			}
		}
		return inService(n) == 3
	}
	for i := range 3 {
		v.await("all in sync", inSync)
		id := int32(i + 1)
		began := time.Now()
		v.kill(i)
		v.await("leaders elsewhere", func(n *Node) bool { return leadsNothing(n.Image(), id) })
		t.Logf("broker %d killed: others lead within %v", id, time.Since(began).Round(time.Millisecond))
		v.startWhole(i)
	}
	v.await("all in sync", inSync)
	close(stop)
	work.Wait()
	total := 0
	for _, n := range acked {
		total += n
	}
	t.Logf("%d records acknowledged: %v", total, acked)
	if total < 100 {
		t.Errorf("only %d records were acknowledged", total)
	}

	r, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var read [partitions]int
	for got := 0; got < total; {
		fs := r.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("read %d of %d, %v of %v: %v", got, total, read, acked, err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			if want := strconv.Itoa(read[rec.Partition]); string(rec.Value) != want || rec.Offset != int64(read[rec.Partition]) {
				t.Errorf("partition %d offset %d: %s, want %s", rec.Partition, rec.Offset, rec.Value, want)
			}
			read[rec.Partition]++
			got++
		})
		if t.Failed() {
			return
		}
	}
	for p := range int32(partitions) {
		v.await(fmt.Sprintf("high watermark of partition %d", p), func(n *Node) bool {
			x := n.table.Named("t", p)
			return x.LogEnd() == int64(acked[p]) && x.HighWatermark() == int64(acked[p])
		})
	}
}
