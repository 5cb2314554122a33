// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"flag"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Rows of several brokers: with -rf 3 and -metrics.

var metricsAt = flag.String("metrics", "", "HOST:PORT,... of the brokers' metrics, for isr50")

// metric gives each of a metric's series to do, of all brokers, whose labels
// contain a string.
func metric(name, with string, do func(labels string, v float64)) {
	for _, at := range strings.Split(*metricsAt, ",") {
		r, err := http.Get("http://" + at + "/metrics")
		check(err)
		for s := bufio.NewScanner(r.Body); s.Scan(); {
			i := strings.LastIndexByte(s.Text(), ' ')
			if i < 0 {
				continue
			}
			if bare, labels, _ := strings.Cut(s.Text()[:i], "{"); bare == name && strings.Contains(labels, with) {
				v, err := strconv.ParseFloat(s.Text()[i+1:], 64)
				check(err)
				do(labels, v)
			}
		}
		check(r.Body.Close())
	}
}

func sumOf(name string) (total float64) {
	metric(name, "", func(_ string, v float64) { total += v })
	return total
}

// behind is by how many records one replica's end is behind another's, the
// most of all partitions. While there is load the brokers are not asked at the
// same time, and it is a little too much.
func behind(topic string) (most float64) {
	type ends struct{ least, most float64 }
	all := map[string]ends{}
	metric(endMetric, `topic="`+topic+`"`, func(labels string, v float64) {
		e, ok := all[labels]
		if !ok {
			e.least = v
		}
		all[labels] = ends{min(e.least, v), max(e.most, v)}
	})
	for _, e := range all {
		most = max(most, e.most-e.least)
	}
	return most
}

const (
	shrinksMetric = "kafka_server_replicamanager_isrshrinks_total"
	endMetric     = "kafka_log_log_logendoffset"
	underMetric   = "kafka_server_replicamanager_underreplicatedpartitions"
)

// isr50: 50 connections send 16 KB batches to 10 partitions with acks=1, which
// waits for no follower. How often an in-sync set lost a member, the most that
// a follower was behind, and how long after the last answer nobody is.
func isr50(b *broker, topic string) result {
	if *metricsAt == "" {
		panic("isr50 needs -metrics")
	}
	const parts = 10
	leaders, drop := makeTopic(b, topic, parts)
	defer drop()
	batch := recordBatch(15, 1024)
	before := sumOf(shrinksMetric)
	var lag float64
	var over atomic.Bool
	var watch sync.WaitGroup
	watch.Go(func() {
		for !over.Load() {
			lag = max(lag, behind(topic))
			time.Sleep(200 * time.Millisecond)
		}
	})
	s := begin(b)
	const conns = 50
	per := int(*gb*1e9) / len(batch) / conns
	each(conns, func(i int) {
		rawOne(leaders[i%parts], produceRequest(topic, int32(i%parts), batch, 1), per)
	})
	bytes := float64(per * conns * len(batch))
	r := s.end(bytes/1024, bytes)
	end := time.Now()
	for behind(topic) > 0 {
		if time.Since(end) > time.Minute {
			panic("followers do not catch up")
		}
		time.Sleep(5 * time.Millisecond)
	}
	r["drain_ms"] = float64(time.Since(end).Microseconds()) / 1e3
	over.Store(true)
	watch.Wait()
	r["max_lag_records"] = lag
	r["isr_shrinks"] = sumOf(shrinksMetric) - before
	r["under_replicated"] = sumOf(underMetric)
	return r
}

// rawOne sends a request n times on a connection of its own, 5 in flight.
func rawOne(addr string, req []byte, n int) {
	c := dialRaw(addr)
	defer c.Close()
	slots := make(chan struct{}, 5)
	go func() {
		for range n {
			slots <- struct{}{}
			if _, err := c.Write(req); err != nil {
				c.Close()
				return
			}
		}
	}()
	var buf []byte
	for range n {
		produceAck(readFrame(c, &buf))
		<-slots
	}
}

// idleCPU: what each broker takes while nobody asks for anything.
func idleCPU(b *broker, _ string) result {
	time.Sleep(3 * time.Second)
	const wait = 15 * time.Second
	before := cpu(b.pids)
	time.Sleep(wait)
	return result{"cpu_pct_each": (cpu(b.pids) - before) / wait.Seconds() * 100 / float64(len(b.pids)),
		"rss_mb_each": status(b.pids, "VmRSS") / float64(len(b.pids))}
}

var clusterTargets = []target{
	{"raw1kall", "broker_cpu_s_GB", "s/GB over all", 3.0, false},
	{"isr50", "broker_cpu_s_GB", "s/GB over all", 0, false},
	{"isr50", "isr_shrinks", "members that left an in-sync set", 0, false},
	{"isr50", "max_lag_records", "records behind, the most", 0, false},
	{"isr50", "drain_ms", "nobody behind after, ms", 1000, false},
	{"lat", "p50_ack_ms", "acks=all p50 ms", 0, false},
	{"lat", "p99_ack_ms", "acks=all p99 ms", 0, false},
	{"txnend", "p99_end_ms", "EndTxn to readers, p99 ms", 40, false},
	{"txnend", "p99_plain_ms", "plain acks=all beside, p99 ms", 0, false},
	{"idle", "cpu_pct_each", "% of a core, each", 10, false},
}
