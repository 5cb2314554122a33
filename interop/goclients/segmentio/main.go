// SPDX-License-Identifier: Apache-2.0

// Command segmentio drives segmentio/kafka-go through the verbs of
// interop/README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	. "gregor/interop/goclients/verbs"
)

func main() {
	Run(map[string]func(Args){"produce": produce, "consume": consume, "group": group, "admin": admin})
}

func produce(a Args) {
	codec := map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}[a.Str("codec", "none")]
	acks := kafka.RequireAll
	if a.Str("acks", "all") == "1" {
		acks = kafka.RequireOne
	}
	w := &kafka.Writer{Addr: kafka.TCP(a.Seeds()...), Topic: a["topic"], RequiredAcks: acks, Compression: codec,
		Balancer: &kafka.Hash{}, BatchTimeout: 5 * time.Millisecond, BatchBytes: 2 << 20}
	var ms []kafka.Message
	for i := a.Num("start", 0); i < a.Num("start", 0)+a.Num("n", 1); i++ {
		m := kafka.Message{Key: Key(a, i), Value: Payload(i, a.Num("size", 100))}
		if a.Yes("headers") {
			m.Headers = []kafka.Header{{Key: fmt.Sprintf("h-%d", i), Value: fmt.Appendf(nil, "v-%d", i)}}
		}
		ms = append(ms, m)
	}
	Must(w.WriteMessages(context.Background(), ms...))
	Must(w.Close())
}

func show(m kafka.Message) {
	h := ""
	for _, x := range m.Headers {
		h += x.Key + "=" + string(x.Value) + ";"
	}
	Record(m.Partition, m.Offset, m.Key, m.Value, h)
}

// ask dials the seeds in turn until one is there.
func ask(a Args, dial func(network, seed string) (*kafka.Conn, error)) (c *kafka.Conn, err error) {
	for _, seed := range a.Seeds() {
		if c, err = dial("tcp", seed); err == nil {
			break
		}
	}
	return c, err
}

func partitions(a Args) []kafka.Partition {
	c, err := ask(a, kafka.Dial)
	Must(err)
	defer func() { _ = c.Close() }()
	for late := time.Now().Add(a.Timeout()); ; time.Sleep(50 * time.Millisecond) {
		// A broker that has not heard of the topic yet is asked again.
		ps, err := c.ReadPartitions(a["topic"])
		if err == nil {
			return ps
		}
		if !errors.Is(err, kafka.UnknownTopicOrPartition) && !errors.Is(err, kafka.LeaderNotAvailable) || time.Now().After(late) {
			Must(err)
		}
	}
}

func consume(a Args) {
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout())
	defer cancel()
	from, ms := a.At()
	msgs := make(chan kafka.Message)
	for _, p := range partitions(a) {
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: a.Seeds(), Topic: p.Topic, Partition: p.ID, MaxBytes: 10 << 20, MaxWait: 500 * time.Millisecond})
		switch from {
		case "start":
			Must(r.SetOffset(kafka.FirstOffset))
		case "end":
			c, err := ask(a, func(network, seed string) (*kafka.Conn, error) {
				return kafka.DialLeader(ctx, network, seed, p.Topic, p.ID)
			})
			Must(err)
			end, err := c.ReadLastOffset()
			Must(err)
			Must(c.Close())
			Must(r.SetOffset(end))
		default:
			Must(r.SetOffsetAt(ctx, time.UnixMilli(ms)))
		}
		go func() {
			for {
				m, err := r.ReadMessage(ctx)
				if err != nil {
					return
				}
				msgs <- m
			}
		}()
	}
	Out(map[string]any{"ready": true})
	for got := range a.Num("n", 1) {
		select {
		case m := <-msgs:
			show(m)
		case <-ctx.Done():
			Must(fmt.Errorf("got %d of %d", got, a.Num("n", 1)))
		}
	}
}

// group uses ConsumerGroup, which reports each generation's assignment.
func group(a Args) {
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: a["group"], Brokers: a.Seeds(), Topics: []string{a["topic"]},
		SessionTimeout: 6 * time.Second, HeartbeatInterval: 500 * time.Millisecond, RebalanceTimeout: 10 * time.Second, StartOffset: kafka.FirstOffset})
	Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-Stopped(); cancel() }()
	for ctx.Err() == nil {
		gen, err := g.Next(ctx)
		if errors.Is(err, context.Canceled) {
			break
		}
		if err != nil {
			continue // a rebalance under way: join again
		}
		list := []int{}
		for _, p := range gen.Assignments[a["topic"]] {
			list = append(list, p.ID)
			gen.Start(func(ctx context.Context) { read(ctx, a, gen, p) })
		}
		Out(map[string]any{"assigned": list})
	}
	Must(g.Close())
}

func read(ctx context.Context, a Args, gen *kafka.Generation, p kafka.PartitionAssignment) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: a.Seeds(), Topic: a["topic"], Partition: p.ID, MaxBytes: 10 << 20, MaxWait: 300 * time.Millisecond})
	defer func() { _ = r.Close() }()
	Must(r.SetOffset(p.Offset))
	for {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return
		}
		show(m)
		_ = gen.CommitOffsets(map[string]map[int]int64{a["topic"]: {p.ID: m.Offset + 1}}) // fails in a rebalance: read again
	}
}

func admin(a Args) {
	ctx, topic, grp := context.Background(), a["topic"], a["group"]
	c := &kafka.Client{Addr: kafka.TCP(a.Seeds()...)}
	cr, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3, ReplicationFactor: -1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "3600000"}}}}})
	Must(err)
	Must(cr.Errors[topic])
	Eventually("create", func() bool { return len(partitions(a)) == 3 })
	dc, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}})
	Must(err)
	Step("config", dc.Resources[0].ConfigEntries[0].ConfigValue == "3600000")
	cp, err := c.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 5}}})
	Must(err)
	Must(cp.Errors[topic])
	Eventually("partitions", func() bool { return len(partitions(a)) == 5 })
	cr, err = c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3, ReplicationFactor: -1}}})
	Must(err)
	Step("exists", errors.Is(cr.Errors[topic], kafka.TopicAlreadyExists))
	oc, err := c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: grp, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 7}}}})
	Must(err)
	Must(oc.Topics[topic][0].Error)
	of, err := c.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: grp, Topics: map[string][]int{topic: {0}}})
	Must(err)
	Step("commit", of.Topics[topic][0].CommittedOffset == 7)
	lg, err := c.ListGroups(ctx, &kafka.ListGroupsRequest{})
	Must(err)
	there := false
	for _, g := range lg.Groups {
		there = there || g.GroupID == grp
	}
	Step("groups", there)
	dg, err := c.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{grp}})
	Must(err)
	Must(dg.Errors[grp])
	dt, err := c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	Must(err)
	Must(dt.Errors[topic])
	Step("delete", true)
}
