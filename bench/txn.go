// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	txns     = 1000
	txnRecs  = 100
	txnParts = 10
)

// txnEnd: 1,000 transactions of 100 records in 10 partitions, one after the
// other: from EndTxn sent until a read_committed consumer holds the last one.
// In turns with it, 100 plain records with acks=all: from the last one sent.
func txnEnd(b *broker, topic string) result {
	_, drop := makeTopic(b, topic, txnParts)
	defer drop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cons := client(b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMinBytes(1), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer cons.Close()
	opts := []kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}
	plain := client(b, opts...)
	defer plain.Close()
	prod := client(b, append(opts, kgo.TransactionalID(topic))...)
	defer prod.Close()
	held := make(chan time.Time, 1)
	go func() {
		for n := 0; ; {
			fs := cons.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			now := time.Now()
			if n += fs.NumRecords(); n == txnRecs {
				n = 0
				held <- now
			}
		}
	}()
	send := func(c *kgo.Client) {
		for i := range txnRecs {
			c.Produce(ctx, &kgo.Record{Partition: int32(i % txnParts), Value: make([]byte, 100)}, nil)
		}
	}
	wait := func() time.Time {
		select {
		case at := <-held:
			return at
		case <-ctx.Done():
			panic("records do not come")
		}
	}
	var ends, acks []float64
	s := begin(b)
	for i := range txns + 50 {
		check(prod.BeginTransaction())
		send(prod)
		check(prod.Flush(ctx))
		t0 := time.Now()
		check(prod.EndTransaction(ctx, kgo.TryCommit))
		end := wait().Sub(t0)
		t0 = time.Now()
		send(plain)
		ack := wait().Sub(t0)
		check(plain.Flush(ctx))
		if i >= 50 {
			ends, acks = append(ends, end.Seconds()*1e3), append(acks, ack.Seconds()*1e3)
		}
	}
	r := s.end(float64((txns+50)*txnRecs*2), 0)
	quantiles(r, [][]float64{ends}, "end_ms")
	p := result{}
	quantiles(p, [][]float64{acks}, "ms")
	r["p50_plain_ms"], r["p99_plain_ms"] = p["p50_ms"], p["p99_ms"]
	delete(r, "wall_s")
	return r
}

// txnOpen: 1,000 transactional producers with an open transaction in each of 10
// partitions; what they cost the broker in memory.
func txnOpen(b *broker, topic string) result {
	_, drop := makeTopic(b, topic, txnParts)
	defer drop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := client(b, kgo.MaxVersions(kversion.V3_5_0()))
	defer c.Close()
	open := func(i int, stay bool) {
		id := fmt.Sprintf("%s-%d", topic, i)
		init := kmsg.NewPtrInitProducerIDRequest()
		init.TransactionalID, init.TransactionTimeoutMillis = &id, 600_000
		p, err := init.RequestWith(ctx, c)
		check(err)
		check(kerr.ErrorForCode(p.ErrorCode))
		add := kmsg.NewPtrAddPartitionsToTxnRequest()
		add.TransactionalID, add.ProducerID, add.ProducerEpoch = id, p.ProducerID, p.ProducerEpoch
		t := kmsg.AddPartitionsToTxnRequestTopic{Topic: topic}
		for i := range int32(txnParts) {
			t.Partitions = append(t.Partitions, i)
		}
		add.Topics = append(add.Topics, t)
		a, err := add.RequestWith(ctx, c)
		check(err)
		check(kerr.ErrorForCode(a.Topics[0].Partitions[0].ErrorCode))
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis, req.TransactionID = -1, 30_000, &id
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = topic
		for i := range int32(txnParts) {
			rp := kmsg.NewProduceRequestTopicPartition()
			rp.Partition, rp.Records = i, inTxn(recordBatch(1, 100), p.ProducerID, p.ProducerEpoch)
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		got, err := req.RequestWith(ctx, c)
		check(err)
		check(kerr.ErrorForCode(got.Topics[0].Partitions[0].ErrorCode))
		if !stay {
			end := kmsg.NewPtrEndTxnRequest()
			end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = id, p.ProducerID, p.ProducerEpoch, true
			_, err := end.RequestWith(ctx, c)
			check(err)
		}
	}
	find := kmsg.NewPtrFindCoordinatorRequest() // makes the topic
	find.CoordinatorType, find.CoordinatorKey = 1, topic
	_, err := find.RequestWith(ctx, c)
	check(err)
	time.Sleep(2 * time.Second)
	for i := range 50 {
		open(-1-i, false)
	}
	time.Sleep(2 * time.Second)
	before := status(b.pids, "RssAnon")
	s := begin(b)
	each(20, func(k int) {
		for i := range txns / 20 {
			open(k*txns/20+i, true)
		}
	})
	r := s.end(txns, 0)
	return result{"anon_mb_before": before, "anon_mb_open": status(b.pids, "RssAnon"),
		"grew_mb": status(b.pids, "RssAnon") - before, "broker_us_each": r["broker_us_rec"]}
}

// inTxn makes a batch one of a producer's transaction.
func inTxn(raw []byte, id int64, epoch int16) []byte {
	raw[22] |= 1 << 4
	binary.BigEndian.PutUint64(raw[43:], uint64(id))
	binary.BigEndian.PutUint16(raw[51:], uint16(epoch))
	binary.BigEndian.PutUint32(raw[53:], 0)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}

// txnCPU: franz-go's producer with 16 KB batches, acks=all, plain and in
// transactions of about 100 batches; the figure is the ratio of the broker's
// CPU for each GB.
func txnCPU(b *broker, topic string) result {
	_, drop := makeTopic(b, topic, 1)
	defer drop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	const size, perTxn = 1024, 1500
	value := make([]byte, size)
	one := func(id string) float64 {
		opts := []kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(16_384), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(10_000)}
		if id != "" {
			opts = append(opts, kgo.TransactionalID(id))
		}
		c := client(b, opts...)
		defer c.Close()
		total := int(*gb*1e9) / size / perTxn
		c0 := cpu(b.pids)
		for range total {
			if id != "" {
				check(c.BeginTransaction())
			}
			for range perTxn {
				c.Produce(ctx, &kgo.Record{Value: value}, nil)
			}
			check(c.Flush(ctx))
			if id != "" {
				check(c.EndTransaction(ctx, kgo.TryCommit))
			}
		}
		return (cpu(b.pids) - c0) / (float64(total*perTxn*size) / 1e9)
	}
	one("")
	plain := one("")
	inside := one(topic)
	return result{"s_GB_plain": plain, "s_GB_txn": inside, "ratio": inside / plain}
}
