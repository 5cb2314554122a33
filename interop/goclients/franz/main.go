// SPDX-License-Identifier: Apache-2.0

// Command franz drives franz-go through the verbs of interop/README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	. "gregor/interop/goclients/verbs"
)

func main() {
	Run(map[string]func(Args){"produce": produce, "consume": consume, "group": group, "admin": admin, "create": create, "copy": copyAll})
}

func client(a Args, opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(a.Seeds()...), kgo.ClientID("franz-interop")}, opts...)...)
	Must(err)
	return c
}

// create makes a topic, for the suite itself: half of the libraries do not ask
// for automatic creation.
func create(a Args) {
	ad := kadm.NewClient(client(a))
	for late := time.Now().Add(a.Timeout()); ; {
		// The library does not try again when a controller went in the middle.
		_, err := ad.CreateTopic(context.Background(), int32(a.Num("partitions", 1)), -1, nil, a["topic"])
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			return
		}
		if !kerr.IsRetriable(err) || time.Now().After(late) {
			Must(err)
		}
	}
}

func produce(a Args) {
	codec := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[a.Str("codec", "none")]
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(2 << 20)}
	if !a.Yes("idempotent") {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if a.Str("acks", "all") == "1" {
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
	}
	c := client(a, opts...)
	defer c.Close()
	for i, end := a.Num("start", 0), a.Num("start", 0)+a.Num("n", 1); i < end; i++ {
		r := &kgo.Record{Topic: a["topic"], Key: Key(a, i), Value: Payload(i, a.Num("size", 100))}
		if a.Yes("headers") {
			r.Headers = []kgo.RecordHeader{{Key: fmt.Sprintf("h-%d", i), Value: fmt.Appendf(nil, "v-%d", i)}}
		}
		c.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			Must(err)
			Out(map[string]any{"i": i, "p": r.Partition, "o": r.Offset})
		})
	}
	Must(c.Flush(context.Background()))
}

func show(r *kgo.Record) {
	h := ""
	for _, x := range r.Headers {
		h += x.Key + "=" + string(x.Value) + ";"
	}
	Record(int(r.Partition), r.Offset, r.Key, r.Value, h)
}

func consume(a Args) {
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout())
	defer cancel()
	from, ms := a.At()
	ad := kadm.NewClient(client(a))
	var offsets kadm.ListedOffsets
	var err error
	switch from {
	case "start":
		offsets, err = ad.ListStartOffsets(ctx, a["topic"])
	case "end":
		offsets, err = ad.ListEndOffsets(ctx, a["topic"])
	default:
		offsets, err = ad.ListOffsetsAfterMilli(ctx, ms, a["topic"])
	}
	Must(err)
	at := map[int32]kgo.Offset{}
	offsets.Each(func(o kadm.ListedOffset) { Must(o.Err); at[o.Partition] = kgo.NewOffset().At(o.Offset) })
	opts := []kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{a["topic"]: at}), kgo.FetchMaxWait(500 * time.Millisecond)}
	if a["isolation"] == "read_committed" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	c := client(a, opts...)
	defer c.Close()
	Out(map[string]any{"ready": true})
	for got := 0; got < a.Num("n", 1); {
		f := c.PollFetches(ctx)
		Must(f.Err())
		f.EachRecord(func(r *kgo.Record) { show(r); got++ })
	}
}

func group(a Args) {
	var mu sync.Mutex
	own := map[int32]bool{}
	say := func(ps []int32, has bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range ps {
			if has {
				own[p] = true
			} else {
				delete(own, p)
			}
		}
		list := []int32{}
		for p := range own {
			list = append(list, p)
		}
		slices.Sort(list)
		Out(map[string]any{"assigned": list})
	}
	var balancer kgo.GroupBalancer = kgo.RangeBalancer()
	if a["strategy"] == "cooperative" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	opts := []kgo.Opt{kgo.ConsumerGroup(a["group"]), kgo.ConsumeTopics(a["topic"]), kgo.Balancers(balancer),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(time.Duration(a.Num("session", 6000)) * time.Millisecond), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.RebalanceTimeout(10 * time.Second), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { say(m[a["topic"]], true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { say(m[a["topic"]], false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { say(m[a["topic"]], false) })}
	if id := a["instance"]; id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	c := client(a, opts...)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-Stopped(); cancel() }()
	for ctx.Err() == nil {
		f := c.PollFetches(ctx)
		if f.NumRecords() == 0 {
			continue
		}
		f.EachRecord(show)
		_ = c.CommitUncommittedOffsets(ctx) // a rebalance may have taken the partition
	}
	c.Close()
}

func copyAll(a Args) {
	ctx := context.Background()
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(a.Seeds()...), kgo.ClientID("franz-interop"), kgo.TransactionalID(a["id"]),
		kgo.TransactionTimeout(20*time.Second), kgo.ConsumerGroup(a["group"]), kgo.ConsumeTopics(a["in"]), kgo.SessionTimeout(6*time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	Must(err)
	Out(map[string]any{"ready": true})
	for turn := 2; ; turn++ {
		f := s.PollRecords(ctx, a.Num("size", 50))
		if f.NumRecords() == 0 {
			continue
		}
		Must(s.Begin())
		var failed kgo.FirstErrPromise
		f.EachRecord(func(r *kgo.Record) {
			s.Produce(ctx, &kgo.Record{Topic: a["out"], Key: r.Key, Value: r.Value}, failed.Promise())
		})
		ok, err := s.End(ctx, kgo.TransactionEndTry(failed.Err() == nil && turn%a.Num("aborts", 4) != 0))
		Must(err)
		if ok {
			Out(map[string]any{"step": "commit", "ok": true, "i": f.NumRecords()})
		}
	}
}

func admin(a Args) {
	ctx, topic, grp := context.Background(), a["topic"], a["group"]
	c := client(a, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer c.Close()
	ad := kadm.NewClient(c)
	hour := "3600000"
	_, err := ad.CreateTopic(ctx, 3, -1, map[string]*string{"retention.ms": &hour}, topic)
	Must(err)
	count := func() int {
		ts, err := ad.ListTopics(ctx, topic)
		Must(err)
		return len(ts[topic].Partitions)
	}
	Eventually("create", func() bool { return count() == 3 })
	value := func(name string) string {
		rs, err := ad.DescribeTopicConfigs(ctx, topic)
		Must(err)
		for _, c := range rs[0].Configs {
			if c.Key == name {
				return c.MaybeValue()
			}
		}
		return ""
	}
	Eventually("config", func() bool { return value("retention.ms") == hour })
	compact := "compact"
	_, err = ad.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: &compact},
		{Op: kadm.DeleteConfig, Name: "retention.ms"}}, topic)
	Must(err)
	Eventually("alter", func() bool {
		return value("cleanup.policy") == "delete,compact" && value("retention.ms") == "604800000"
	})
	_, err = ad.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SubtractConfig, Name: "cleanup.policy", Value: &compact}}, topic)
	Must(err)
	_, err = ad.UpdatePartitions(ctx, 5, topic)
	Must(err)
	Eventually("partitions", func() bool { return count() == 5 })
	_, err = ad.CreateTopic(ctx, 3, -1, nil, topic)
	Step("exists", err != nil)
	for i := range 10 {
		Must(c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: Payload(i, 50)}).FirstErr())
	}
	var del kadm.Offsets
	del.AddOffset(topic, 0, 4, -1)
	_, err = ad.DeleteRecords(ctx, del)
	Must(err)
	starts, err := ad.ListStartOffsets(ctx, topic)
	Must(err)
	ends, err := ad.ListEndOffsets(ctx, topic)
	Must(err)
	Step("offsets", starts[topic][0].Offset == 4 && ends[topic][0].Offset == 10)
	var commit kadm.Offsets
	commit.AddOffset(topic, 0, 7, -1)
	Must(ad.CommitAllOffsets(ctx, grp, commit))
	got, err := ad.FetchOffsets(ctx, grp)
	Must(err)
	Step("commit", got[topic][0].At == 7)
	lag, err := ad.Lag(ctx, grp)
	Must(err)
	Step("lag", lag[grp].Lag.Total() == 3)
	listed, err := ad.ListGroups(ctx)
	Must(err)
	_, there := listed[grp]
	Step("groups", there)
	var od kadm.TopicsSet
	od.Add(topic, 0)
	dr, err := ad.DeleteOffsets(ctx, grp, od)
	Must(err)
	Must(dr.Error())
	got, err = ad.FetchOffsets(ctx, grp)
	Must(err)
	Step("offset-delete", len(got[topic]) == 0)
	md, err := ad.BrokerMetadata(ctx)
	Must(err)
	Step("cluster", len(md.Brokers) >= 1)
	dirs, err := ad.DescribeAllLogDirs(ctx, nil)
	Must(err)
	Step("log-dirs", len(dirs) >= 1)
	_, err = ad.DeleteTopics(ctx, topic)
	Must(err)
	for until := time.Now().Add(10 * time.Second); count() > 0 && time.Now().Before(until); {
		time.Sleep(50 * time.Millisecond) // the deletion reaches brokers' metadata a little later
	}
	Eventually("delete", func() bool { return count() == 0 })
}
