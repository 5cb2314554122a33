// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicConfigs are the -topic-config settings.
func topicConfigs() map[string]*string {
	m := map[string]*string{}
	for _, kv := range strings.Split(*tconfig, ",") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = &v
		}
	}
	return m
}

// each runs f on n goroutines and panics with the first of their panics.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	errs := make(chan any, n)
	for i := range n {
		wg.Go(func() {
			defer func() {
				if e := recover(); e != nil {
					errs <- e
				}
			}()
			f(i)
		})
	}
	wg.Wait()
	select {
	case e := <-errs:
		panic(e)
	default:
	}
}

// pipelined: one connection, depth requests of one 100 B record in flight.
func pipelined(b *broker, topic string, depth, total int) result {
	leaders, drop := makeTopic(b, topic, 1)
	defer drop()
	req := produceRequest(topic, 0, recordBatch(1, 100), 1)
	c := dialRaw(leaders[0])
	defer c.Close()
	var many []byte
	for range depth {
		many = append(many, req...)
	}
	var buf []byte
	s := begin(b)
	for range total / depth {
		_, err := c.Write(many)
		check(err)
		for range depth {
			produceAck(readFrame(c, &buf))
		}
	}
	return s.end(float64(total), 0)
}

// rawLoad produces gb of batches over conns connections, 5 requests in flight
// on each, acks=1, and returns when all are acknowledged.
func rawLoad(addr, topic string, conns int, batch []byte, bytes float64) (requests int) {
	per := int(bytes) / len(batch) / conns
	req := produceRequest(topic, 0, batch, 1)
	each(conns, func(int) { rawOne(addr, req, per) })
	return per * conns
}

// manyProducers: 16 KB batches from 4 and from 50 connections; the figure is
// the ratio of the broker's CPU for each GB.
func manyProducers(b *broker, topic string) result {
	leaders, drop := makeTopic(b, topic, 1)
	defer drop()
	batch := recordBatch(15, 1024)
	one := func(conns int) float64 {
		c0 := cpu(b.pids)
		n := rawLoad(leaders[0], topic, conns, batch, *gb*1e9)
		return (cpu(b.pids) - c0) / (float64(n*len(batch)) / 1e9)
	}
	one(4)
	few, many := one(4), one(50)
	return result{"s_GB_4": few, "s_GB_50": many, "ratio": many / few}
}

// durablePartitions: 1 KiB to each of 1,000 partitions in turn, acks=all. A
// request carries 100 partitions; 4 connections, 5 requests in flight on each.
func durablePartitions(b *broker, topic string) result {
	const parts, each1 = 1000, 100
	leaders, drop := makeTopic(b, topic, parts)
	defer drop()
	batch := recordBatch(1, 1024)
	var reqs [][]byte
	for p := 0; p < parts; p += each1 {
		r := kmsg.NewPtrProduceRequest()
		r.Version, r.Acks, r.TimeoutMillis = 7, -1, 30000
		t := kmsg.NewProduceRequestTopic()
		t.Topic = topic
		for i := range each1 {
			rp := kmsg.NewProduceRequestTopicPartition()
			rp.Partition, rp.Records = int32(p+i), batch
			t.Partitions = append(t.Partitions, rp)
		}
		r.Topics = append(r.Topics, t)
		reqs = append(reqs, formatter.AppendRequest(nil, r, 1))
	}
	const conns, rounds = 4, 100
	lat := make([][]float64, conns)
	s := begin(b)
	each(conns, func(i int) {
		c := dialRaw(leaders[0])
		defer c.Close()
		type sent struct{ at time.Time }
		queue := make(chan sent, 5)
		go func() {
			for k := range rounds * len(reqs) / conns {
				queue <- sent{time.Now()}
				if _, err := c.Write(reqs[(k*conns+i)%len(reqs)]); err != nil {
					c.Close()
					return
				}
			}
			close(queue)
		}()
		var buf []byte
		for q := range queue {
			f := readFrame(c, &buf)
			var r kmsg.ProduceResponse
			r.Version = 7
			check(r.ReadFrom(f[4:]))
			for _, p := range r.Topics[0].Partitions {
				if p.ErrorCode != 0 {
					panic(fmt.Sprintf("produce error %d", p.ErrorCode))
				}
			}
			lat[i] = append(lat[i], float64(time.Since(q.at).Microseconds())/1e3)
		}
	})
	writes := float64(rounds * len(reqs) / conns * conns * each1)
	r := s.end(writes, 0)
	r["writes_per_s"] = writes / r["wall_s"]
	quantiles(r, lat, "ms")
	return r
}

// memoryGrowth: anonymous memory after 2 GB and after 20 GB (scaled by -gb)
// passed through the broker.
func memoryGrowth(b *broker, topic string) result {
	leaders, drop := makeTopic(b, topic, 1)
	defer drop()
	batch := recordBatch(960, 1024)
	rawLoad(leaders[0], topic, 4, batch, 2e9**gb)
	few := status(b.pids, "RssAnon")
	rawLoad(leaders[0], topic, 4, batch, 18e9**gb)
	many := status(b.pids, "RssAnon")
	return result{"anon_mb_2": few, "anon_mb_20": many, "ratio": many / few}
}

// coldReader: producers paced at 50 MB/s, alone and beside a consumer that
// reads uncached old data; p99 ack and CPU for each GB produced.
func coldReader(b *broker, topic string) result {
	leaders, drop := makeTopic(b, topic, 1)
	defer drop()
	old, dropOld := makeTopic(b, topic+"-old", 1)
	defer dropOld()
	batch := recordBatch(960, 1024)
	n := rawLoad(old[0], topic+"-old", 1, batch, 4e9**gb)
	evict()
	alone, cpuAlone := paced(b, leaders[0], topic)
	evict()
	var stop atomic.Bool
	var read atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_, got := rawFetch(b, topic+"-old", old, int64(n*960))
			read.Add(int64(got))
			dropCaches() // without a sync, which would be in the producers' way
		}
	}()
	c0 := time.Now()
	beside, cpuBeside := paced(b, leaders[0], topic)
	rate := float64(read.Load()) / time.Since(c0).Seconds() / 1e6
	stop.Store(true)
	<-done
	return result{"p99_ms_alone": alone, "p99_ms_beside": beside, "s_GB_alone": cpuAlone, "s_GB_beside": cpuBeside,
		"read_MBps": rate, "p99_ratio": beside / alone, "cpu_ratio": cpuBeside / cpuAlone}
}

// evict empties the page cache of clean pages, so that old data is cold.
func evict() {
	syscall.Sync()
	dropCaches()
}

func dropCaches() {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		panic(fmt.Sprintf("cold rows need root: %v", err))
	}
}

// paced produces 50 MB/s in 16 KB batches for -latsec seconds.
func paced(b *broker, addr, topic string) (p99 float64, cpuPerGB float64) {
	batch := recordBatch(15, 1024)
	req := produceRequest(topic, 0, batch, -1)
	const conns = 4
	step := time.Duration(float64(len(batch)*conns) / 50e6 * 1e9)
	total := int(float64(*latSec) * 50e6 / float64(len(batch)) / conns)
	lat := make([][]float64, conns)
	c0 := cpu(b.pids)
	each(conns, func(i int) {
		c := dialRaw(addr)
		defer c.Close()
		at := make(chan time.Time, 1000)
		go func() {
			next := time.Now()
			for range total {
				next = next.Add(step)
				time.Sleep(time.Until(next))
				at <- time.Now()
				if _, err := c.Write(req); err != nil {
					c.Close()
					return
				}
			}
		}()
		var buf []byte
		for range total {
			produceAck(readFrame(c, &buf))
			lat[i] = append(lat[i], float64(time.Since(<-at).Microseconds())/1e3)
		}
	})
	r := result{}
	quantiles(r, lat, "ms")
	return r["p99_ms"], (cpu(b.pids) - c0) / (float64(conns*total*len(batch)) / 1e9)
}

// reopen: 1,000 partitions, written and cleanly closed; from exec until one of
// them has taken a record and another has given one back. Only with START.
func reopen(b *broker, topic string) result {
	if b.start == "" {
		panic("reopen needs a broker that kbench starts")
	}
	makeTopic(b, topic, 1000)
	c := client(b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var recs []*kgo.Record
	for p := range 1000 {
		recs = append(recs, &kgo.Record{Partition: int32(p), Value: make([]byte, 100)})
	}
	check(c.ProduceSync(context.Background(), recs...).FirstErr())
	c.Close()
	pre := b.pre
	b.pre = ""
	defer func() { b.pre = pre }()
	var produced, fetched []float64
	for i := range 5 {
		b.down()
		t0 := time.Now()
		b.exec()
		conn := dialUntil(b.boot, t0)
		var buf []byte
		_, err := conn.Write(produceRequest(topic, int32(700+i), recordBatch(1, 100), 1))
		check(err)
		produceAck(readFrame(conn, &buf))
		produced = append(produced, time.Since(t0).Seconds()*1e3)
		_, err = conn.Write(fetchRequest(topic, int32(800+i), 0))
		check(err)
		if n := len(readFrame(conn, &buf)); n < 100 {
			panic(fmt.Sprintf("a fetch of %d bytes", n))
		}
		fetched = append(fetched, time.Since(t0).Seconds()*1e3)
		conn.Close()
	}
	return result{"produce_ms": median(produced), "fetch_ms": median(fetched), "fetch_max_ms": fetched[len(fetched)-1]}
}

// dialUntil connects as soon as somebody listens.
func dialUntil(boot string, t0 time.Time) net.Conn {
	for {
		c, err := net.DialTimeout("tcp", boot, time.Second)
		if err == nil {
			return c
		}
		if time.Since(t0) > time.Minute {
			panic("port never opened")
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func fetchRequest(topic string, part int32, from int64) []byte {
	r := kmsg.NewPtrFetchRequest()
	r.Version, r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = 11, 500, 1, 50<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = part, from, 1<<20, -1
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return formatter.AppendRequest(nil, r, 1)
}
