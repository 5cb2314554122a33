// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var workloads = map[string]func(b *broker, topic string) result{
	"raw1k":    func(b *broker, t string) result { return rawProduce(b, t, 1024, 1_000_000, 1) },
	"raw1kall": func(b *broker, t string) result { return rawProduce(b, t, 1024, 1_000_000, -1) },
	"raw16k":   func(b *broker, t string) result { return rawProduce(b, t, 1024, 16_384, 1) },
	"raw100":   func(b *broker, t string) result { return rawProduce(b, t, 100, 1_000_000, 1) },
	"kgo1k":    func(b *broker, t string) result { return kgoProduce(b, t, 1024, 1) },
	"kgo1kall": func(b *broker, t string) result { return kgoProduce(b, t, 1024, -1) },
	"kgo100":   func(b *broker, t string) result { return kgoProduce(b, t, 100, 1) },
	"rawfetch": func(b *broker, t string) result { return consume(b, t, rawFetch) },
	"kgofetch": func(b *broker, t string) result { return consume(b, t, kgoFetch) },
	"ping1":    func(b *broker, t string) result { return ping(b, t, 1, 20_000) },
	"ping50":   func(b *broker, t string) result { return ping(b, t, 50, 100_000) },
	"lat":      latency,
	"parts":    manyPartitions,

	// Rows of Gregor's own (rows.go).
	"raw16kall": func(b *broker, t string) result { return rawProduce(b, t, 1024, 16_384, -1) },
	"ping1x16":  func(b *broker, t string) result { return pipelined(b, t, 16, 200_000) },
	"ping50all": func(b *broker, t string) result { return pingAcks(b, t, 50, 100_000, -1) },
	"many50":    manyProducers,
	"durable1k": durablePartitions,
	"memory":    memoryGrowth,
	"cold":      coldReader,
	"reopen":    reopen,

	// Rows of transactions (txn.go).
	"txnend":  txnEnd,
	"txnopen": txnOpen,
	"txncpu":  txnCPU,

	// Rows of several brokers (cluster.go).
	"isr50": isr50,
	"idle":  idleCPU,
}

func client(b *broker, o ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(b.boot, ",")...)}, o...)...)
	check(err)
	return c
}

// makeTopic creates a topic, waits until every partition has a leader, and
// returns the leaders' addresses and a function that deletes the topic.
func makeTopic(b *broker, topic string, parts int) (leaders []string, drop func()) {
	c := client(b)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	r, err := kadm.NewClient(c).CreateTopic(ctx, int32(parts), int16(*rf), topicConfigs(), topic)
	check(err)
	check(r.Err)
	for {
		m, err := kadm.NewClient(c).Metadata(ctx, topic)
		check(err)
		addr := map[int32]string{}
		for _, x := range m.Brokers {
			addr[x.NodeID] = fmt.Sprintf("%s:%d", x.Host, x.Port)
		}
		leaders = make([]string, parts)
		ok := 0
		for _, p := range m.Topics[topic].Partitions {
			if int(p.Partition) < parts && p.Err == nil && addr[p.Leader] != "" {
				leaders[p.Partition] = addr[p.Leader]
				ok++
			}
		}
		if ok == parts {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return leaders, func() {
		c := client(b)
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := kadm.NewClient(c).DeleteTopics(ctx, topic); err != nil {
			fmt.Fprintf(os.Stderr, "topic %s stays: %v\n", topic, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func firstProduce(boot string, t0 time.Time) (ms float64, err error) {
	b := &broker{boot: boot}
	deadline := t0.Add(60 * time.Second)
	host := strings.Split(boot, ",")[0]
	for {
		if c, e := net.DialTimeout("tcp", host, time.Second); e == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			return 0, errors.New("port never opened")
		}
		time.Sleep(2 * time.Millisecond)
	}
	topic := fmt.Sprintf("kb-first-%d", time.Now().UnixNano()%1e9)
	for {
		err = func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("%v", p)
				}
			}()
			l, _ := makeTopic(b, topic, 1)
			c := dialRaw(l[0])
			defer c.Close()
			_, err = c.Write(produceRequest(topic, 0, recordBatch(1, 100), 1))
			check(err)
			var buf []byte
			produceAck(readFrame(c, &buf))
			return nil
		}()
		if err == nil || time.Now().After(deadline) {
			return float64(time.Since(t0).Microseconds()) / 1e3, err
		}
		topic += "x"
		time.Sleep(10 * time.Millisecond)
	}
}

// ---- raw protocol: pre-encoded requests, so the client costs next to nothing ----

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func recordBatch(n, size int) []byte {
	val := make([]byte, size)
	rand.Read(val)
	var recs []byte
	for i := range n {
		r := kmsg.Record{OffsetDelta: int32(i), Value: val}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		recs = r.AppendTo(recs)
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{Magic: 2, PartitionLeaderEpoch: -1, LastOffsetDelta: int32(n - 1), FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(n), Records: recs}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("kbench"))

func produceRequest(topic string, part int32, batch []byte, acks int16) []byte {
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks, r.TimeoutMillis = 7, acks, 30000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = part, batch
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return formatter.AppendRequest(nil, r, 1)
}

func produceAck(frame []byte) {
	var r kmsg.ProduceResponse
	r.Version = 7
	check(r.ReadFrom(frame[4:]))
	if e := r.Topics[0].Partitions[0].ErrorCode; e != 0 {
		panic(fmt.Sprintf("produce error %d", e))
	}
}

func dialRaw(addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	check(err)
	return c
}

// readFrame reads one response into *buf (grown once, then reused).
func readFrame(c net.Conn, buf *[]byte) []byte {
	var l [4]byte
	_, err := io.ReadFull(c, l[:])
	check(err)
	n := int(binary.BigEndian.Uint32(l[:]))
	if cap(*buf) < n {
		*buf = make([]byte, n+n/4)
	}
	_, err = io.ReadFull(c, (*buf)[:n])
	check(err)
	return (*buf)[:n]
}

func rawProduce(b *broker, topic string, size, batchBytes int, acks int16) result {
	leaders, drop := makeTopic(b, topic, *nparts)
	defer drop()
	n := max(1, batchBytes/(size+9))
	batch := recordBatch(n, size)
	reqs := int(*gb*1e9) / len(batch) / *nparts
	const inflight = 5
	var wg sync.WaitGroup
	errs := make(chan any, *nparts*2)
	s := begin(b)
	for p, addr := range leaders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if e := recover(); e != nil {
					errs <- e
				}
			}()
			req := produceRequest(topic, int32(p), batch, acks)
			c := dialRaw(addr)
			defer c.Close()
			slots := make(chan struct{}, inflight)
			werr := make(chan error, 1)
			go func() {
				for range reqs {
					slots <- struct{}{}
					if _, err := c.Write(req); err != nil {
						werr <- err
						c.Close()
						return
					}
				}
			}()
			var buf []byte
			for range reqs {
				produceAck(readFrame(c, &buf))
				<-slots
			}
		}()
	}
	wg.Wait()
	select {
	case e := <-errs:
		panic(e)
	default:
	}
	return s.end(float64(reqs*n**nparts), float64(reqs*len(batch)**nparts))
}

// ping: one record per request, one request in flight per connection.
func ping(b *broker, topic string, conns, total int) result {
	return pingAcks(b, topic, conns, total, 1)
}

func pingAcks(b *broker, topic string, conns, total int, acks int16) result {
	leaders, drop := makeTopic(b, topic, 1)
	defer drop()
	req := produceRequest(topic, 0, recordBatch(1, 100), acks)
	var wg sync.WaitGroup
	lat := make([][]float64, conns)
	errs := make(chan any, conns)
	s := begin(b)
	for i := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if e := recover(); e != nil {
					errs <- e
				}
			}()
			c := dialRaw(leaders[0])
			defer c.Close()
			var buf []byte
			for range total / conns {
				t := time.Now()
				_, err := c.Write(req)
				check(err)
				produceAck(readFrame(c, &buf))
				lat[i] = append(lat[i], float64(time.Since(t).Nanoseconds())/1e3)
			}
		}()
	}
	wg.Wait()
	select {
	case e := <-errs:
		panic(e)
	default:
	}
	r := s.end(float64(total), 0)
	quantiles(r, lat, "us")
	return r
}

func quantiles(r result, lat [][]float64, unit string) {
	var all []float64
	for _, l := range lat {
		all = append(all, l...)
	}
	sort.Float64s(all)
	for _, q := range []struct {
		n string
		p float64
	}{{"p50", .5}, {"p99", .99}, {"p999", .999}, {"max", 1}} {
		r[q.n+"_"+unit] = all[int(q.p*float64(len(all)-1))]
	}
}

// consume fills a topic with 1 KiB records (not measured) and then reads it.
func consume(b *broker, topic string, how func(*broker, string, []string, int64) (float64, float64)) result {
	leaders, drop := makeTopic(b, topic, *nparts)
	defer drop()
	n := 1_000_000 / (1024 + 9)
	batch := recordBatch(n, 1024)
	reqs := int(*gb*1e9) / len(batch) / *nparts
	var buf []byte
	for p, addr := range leaders {
		req := produceRequest(topic, int32(p), batch, 1)
		c := dialRaw(addr)
		for range reqs {
			_, err := c.Write(req)
			check(err)
			produceAck(readFrame(c, &buf))
		}
		c.Close()
	}
	time.Sleep(200 * time.Millisecond)
	s := begin(b)
	return s.end(how(b, topic, leaders, int64(reqs*n)))
}

func rawFetch(b *broker, topic string, leaders []string, per int64) (records, bytes float64) {
	var recs, bts atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan any, len(leaders))
	for p, addr := range leaders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if e := recover(); e != nil {
					errs <- e
				}
			}()
			c := dialRaw(addr)
			defer c.Close()
			r := kmsg.NewPtrFetchRequest()
			r.Version, r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = 11, 500, 1, 50<<20, -1
			t := kmsg.NewFetchRequestTopic()
			t.Topic = topic
			fp := kmsg.NewFetchRequestTopicPartition()
			fp.Partition, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = int32(p), 1<<20, -1
			t.Partitions = append(t.Partitions, fp)
			r.Topics = append(r.Topics, t)
			var req, buf []byte
			next := int64(0)
			for next < per {
				r.Topics[0].Partitions[0].FetchOffset = next
				req = formatter.AppendRequest(req[:0], r, 1)
				_, err := c.Write(req)
				check(err)
				f := readFrame(c, &buf)
				// correlation 4, throttle 4, error 2, session 4, topics 4, name, parts 4, index 4, error 2, hw 8, lso 8, start 8, aborted, replica 4, len 4
				o := 4 + 4 + 2 + 4 + 4
				o += 2 + int(binary.BigEndian.Uint16(f[o:])) + 4 + 4
				if e := binary.BigEndian.Uint16(f[o:]); e != 0 {
					panic(fmt.Sprintf("fetch error %d", e))
				}
				o += 2 + 24
				if a := int32(binary.BigEndian.Uint32(f[o:])); a > 0 {
					o += 16 * int(a)
				}
				o += 4 + 4
				rl := int(int32(binary.BigEndian.Uint32(f[o:])))
				o += 4
				bts.Add(int64(max(rl, 0)))
				for d := f[o:]; len(d) >= 61; {
					l := 12 + int(binary.BigEndian.Uint32(d[8:]))
					if len(d) < l {
						break
					}
					base := int64(binary.BigEndian.Uint64(d))
					if base > next {
						panic(fmt.Sprintf("gap: wanted offset %d, got %d", next, base))
					}
					end := base + int64(binary.BigEndian.Uint32(d[23:])) + 1
					if end > next {
						recs.Add(end - next)
						next = end
					}
					d = d[l:]
				}
			}
		}()
	}
	wg.Wait()
	select {
	case e := <-errs:
		panic(e)
	default:
	}
	return float64(recs.Load()), float64(bts.Load())
}

func kgoFetch(b *broker, topic string, leaders []string, per int64) (records, bytes float64) {
	c := client(b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	want := float64(per) * float64(len(leaders))
	for records < want {
		fs := c.PollFetches(ctx)
		for _, e := range fs.Errors() {
			check(e.Err)
		}
		fs.EachRecord(func(r *kgo.Record) { records++; bytes += float64(len(r.Value)) })
	}
	return
}

func kgoProduce(b *broker, topic string, size int, acks int) result {
	_, drop := makeTopic(b, topic, *nparts)
	defer drop()
	opts := []kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(1_000_000), kgo.MaxBufferedRecords(256 << 20 / max(size, 512)), kgo.ProducerLinger(5 * time.Millisecond)}
	if acks == 1 {
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5))
	}
	c := client(b, opts...)
	defer c.Close()
	val := make([]byte, size)
	rand.Read(val)
	total := int(*gb*1e9) / size
	if size < 512 {
		total /= 4 // the client is the bottleneck: keep the run short
	}
	pool := sync.Pool{New: func() any { return &kgo.Record{} }}
	var bad atomic.Pointer[error]
	done := func(r *kgo.Record, err error) {
		if err != nil {
			bad.Store(&err)
		}
		*r = kgo.Record{}
		pool.Put(r)
	}
	ctx := context.Background()
	s := begin(b)
	for range total {
		r := pool.Get().(*kgo.Record)
		r.Value = val
		c.Produce(ctx, r, done)
	}
	check(c.Flush(ctx))
	res := s.end(float64(total), float64(total*size))
	if e := bad.Load(); e != nil {
		panic(*e)
	}
	return res
}

func latency(b *broker, topic string) result {
	_, drop := makeTopic(b, topic, 1)
	defer drop()
	cons := client(b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMinBytes(1))
	defer cons.Close()
	prod := client(b, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer prod.Close()
	warm := *rate / 2
	total := *rate**latSec + warm
	t0 := time.Now()
	e2e := make([]float64, 0, total)
	acks := make([]float64, 0, total)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*latSec+60)*time.Second)
	defer cancel()
	doneC := make(chan error, 1)
	go func() {
		n := 0
		for n < total {
			fs := cons.PollFetches(ctx)
			now := time.Since(t0)
			if err := fs.Err(); err != nil {
				doneC <- err
				return
			}
			fs.EachRecord(func(r *kgo.Record) {
				n++
				if n > warm {
					e2e = append(e2e, (now-time.Duration(binary.BigEndian.Uint64(r.Value))).Seconds()*1e3)
				}
			})
		}
		doneC <- nil
	}()
	check(prod.ProduceSync(ctx, &kgo.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(time.Since(t0)))}).FirstErr())
	s := begin(b)
	var mu sync.Mutex
	step := time.Second / time.Duration(*rate)
	next := time.Now()
	for i := 1; i < total; i++ {
		next = next.Add(step)
		if d := time.Until(next); d > 0 {
			time.Sleep(d)
		}
		v := make([]byte, 100)
		at := time.Since(t0)
		binary.BigEndian.PutUint64(v, uint64(at))
		prod.Produce(ctx, &kgo.Record{Value: v}, func(_ *kgo.Record, err error) {
			if err == nil && i > warm {
				d := (time.Since(t0) - at).Seconds() * 1e3
				mu.Lock()
				acks = append(acks, d)
				mu.Unlock()
			}
		})
	}
	check(prod.Flush(ctx))
	check(<-doneC)
	r := s.end(float64(total), 0)
	quantiles(r, [][]float64{e2e}, "e2e_ms")
	mu.Lock()
	ra := result{}
	quantiles(ra, [][]float64{acks}, "ack_ms")
	mu.Unlock()
	r["p50_ack_ms"], r["p99_ack_ms"] = ra["p50_ack_ms"], ra["p99_ack_ms"]
	delete(r, "wall_s")
	return r
}

func manyPartitions(b *broker, topic string) result {
	r0 := status(b.pids, "VmRSS")
	s := begin(b)
	_, drop := makeTopic(b, topic, 1000)
	r := s.end(0, 0)
	r["create_ms"] = r["wall_s"] * 1e3
	delete(r, "wall_s")
	r["cpu_ms"] = (cpu(b.pids) - s.bc) * 1e3
	r["rss_grow_mb"] = status(b.pids, "VmRSS") - r0
	// one record to each partition through one client
	c := client(b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	var recs []*kgo.Record
	for p := range 1000 {
		recs = append(recs, &kgo.Record{Partition: int32(p), Value: make([]byte, 100)})
	}
	t := time.Now()
	check(c.ProduceSync(context.Background(), recs...).FirstErr())
	r["write_each_ms"] = float64(time.Since(t).Microseconds()) / 1e3
	c.Close()
	t = time.Now()
	drop()
	r["delete_ms"] = float64(time.Since(t).Microseconds())/1e3 - 300
	return r
}
