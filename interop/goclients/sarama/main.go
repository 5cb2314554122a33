// SPDX-License-Identifier: Apache-2.0

// Command sarama drives IBM/sarama through the verbs of interop/README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	. "gregor/interop/goclients/verbs"
)

func main() {
	Run(map[string]func(Args){"produce": produce, "consume": consume, "group": group, "admin": admin})
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "sarama-interop"
	c.Version = sarama.MaxVersion
	c.Producer.Return.Successes = true
	c.Producer.MaxMessageBytes = 2 << 20
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Session.Timeout = 6 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return c
}

func produce(a Args) {
	c := config()
	c.Producer.RequiredAcks = sarama.WaitForAll
	if a.Str("acks", "all") == "1" {
		c.Producer.RequiredAcks = sarama.WaitForLocal
	}
	Must(c.Producer.Compression.UnmarshalText([]byte(a.Str("codec", "none"))))
	if a.Yes("idempotent") {
		c.Producer.Idempotent = true
		c.Net.MaxOpenRequests = 1
	}
	p, err := sarama.NewAsyncProducer(a.Seeds(), c)
	Must(err)
	n := a.Num("n", 1)
	go func() {
		for i := a.Num("start", 0); i < a.Num("start", 0)+n; i++ {
			m := &sarama.ProducerMessage{Topic: a["topic"], Value: sarama.ByteEncoder(Payload(i, a.Num("size", 100))), Metadata: i}
			if k := Key(a, i); k != nil {
				m.Key = sarama.ByteEncoder(k)
			}
			if a.Yes("headers") {
				m.Headers = []sarama.RecordHeader{{Key: fmt.Appendf(nil, "h-%d", i), Value: fmt.Appendf(nil, "v-%d", i)}}
			}
			p.Input() <- m
		}
	}()
	for range n {
		select {
		case m := <-p.Successes():
			Out(map[string]any{"i": m.Metadata, "p": m.Partition, "o": m.Offset})
		case e := <-p.Errors():
			Must(e)
		}
	}
	Must(p.Close())
}

func show(m *sarama.ConsumerMessage) {
	h := ""
	for _, x := range m.Headers {
		h += string(x.Key) + "=" + string(x.Value) + ";"
	}
	Record(int(m.Partition), m.Offset, m.Key, m.Value, h)
}

func consume(a Args) {
	cl, err := sarama.NewClient(a.Seeds(), config())
	Must(err)
	c, err := sarama.NewConsumerFromClient(cl)
	Must(err)
	ps, err := c.Partitions(a["topic"])
	Must(err)
	msgs := make(chan *sarama.ConsumerMessage)
	for _, p := range ps {
		from, ms := a.At()
		at := sarama.OffsetOldest
		switch from {
		case "end":
			at, err = cl.GetOffset(a["topic"], p, sarama.OffsetNewest)
		case "time":
			at, err = cl.GetOffset(a["topic"], p, ms)
			if at < 0 {
				at = sarama.OffsetNewest
			}
		}
		Must(err)
		pc, err := c.ConsumePartition(a["topic"], p, at)
		Must(err)
		go func() {
			for m := range pc.Messages() {
				msgs <- m
			}
		}()
	}
	Out(map[string]any{"ready": true})
	late := time.After(a.Timeout())
	for got := range a.Num("n", 1) {
		select {
		case m := <-msgs:
			show(m)
		case <-late:
			Must(fmt.Errorf("got %d of %d", got, a.Num("n", 1)))
		}
	}
}

type member struct{ topic string }

func (m member) Setup(s sarama.ConsumerGroupSession) error {
	ps := s.Claims()[m.topic]
	if ps == nil {
		ps = []int32{}
	}
	Out(map[string]any{"assigned": ps})
	return nil
}

func (m member) Cleanup(sarama.ConsumerGroupSession) error {
	Out(map[string]any{"assigned": []int32{}})
	return nil
}

// ConsumeClaim commits when what was fetched is used up. A commit goes over the
// connection that fetches go over and waits behind the one under way, so that
// a commit for each record would read two records a second.
func (m member) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case msg, ok := <-c.Messages():
			if !ok {
				return nil
			}
			show(msg)
			s.MarkMessage(msg, "")
			if len(c.Messages()) == 0 {
				s.Commit()
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func group(a Args) {
	c := config()
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.MaxWaitTime = 100 * time.Millisecond
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	g, err := sarama.NewConsumerGroup(a.Seeds(), a["group"], c)
	Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-Stopped(); cancel() }()
	for ctx.Err() == nil {
		if err := g.Consume(ctx, []string{a["topic"]}, member{a["topic"]}); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			Must(err)
		}
	}
	Must(g.Close())
}

func admin(a Args) {
	topic, grp := a["topic"], a["group"]
	cl, err := sarama.NewClient(a.Seeds(), config())
	Must(err)
	ad, err := sarama.NewClusterAdminFromClient(cl)
	Must(err)
	hour := "3600000"
	Must(ad.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: -1, ConfigEntries: map[string]*string{"retention.ms": &hour}}, false))
	count := func() int {
		ts, err := ad.DescribeTopics([]string{topic})
		Must(err)
		return len(ts[0].Partitions)
	}
	Eventually("create", func() bool { return count() == 3 })
	value := func() string {
		es, err := ad.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}})
		Must(err)
		return es[0].Value
	}
	Eventually("config", func() bool { return value() == hour })
	two := "7200000"
	Must(ad.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &two}}, false))
	Eventually("alter", func() bool { return value() == two })
	Must(ad.CreatePartitions(topic, 5, nil, false))
	Eventually("partitions", func() bool { return count() == 5 })
	err = ad.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: -1}, false)
	Step("exists", errors.Is(err, sarama.ErrTopicAlreadyExists))
	c := config()
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.RequiredAcks = sarama.WaitForAll // so that the end below counts every record
	p, err := sarama.NewSyncProducer(a.Seeds(), c)
	Must(err)
	for i := range 10 {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(Payload(i, 50))})
		Must(err)
	}
	Must(p.Close())
	Must(ad.DeleteRecords(topic, map[int32]int64{0: 4}))
	Must(cl.RefreshMetadata(topic))
	first, err := cl.GetOffset(topic, 0, sarama.OffsetOldest)
	Must(err)
	end, err := cl.GetOffset(topic, 0, sarama.OffsetNewest)
	Must(err)
	Step("offsets", first == 4 && end == 10)
	om, err := sarama.NewOffsetManagerFromClient(grp, cl)
	Must(err)
	pom, err := om.ManagePartition(topic, 0)
	Must(err)
	pom.MarkOffset(7, "note")
	om.Commit()
	Must(pom.Close())
	Must(om.Close())
	got, err := ad.ListConsumerGroupOffsets(grp, map[string][]int32{topic: {0}})
	Must(err)
	Step("commit", got.GetBlock(topic, 0).Offset == 7 && got.GetBlock(topic, 0).Metadata == "note")
	gs, err := ad.ListConsumerGroups()
	Must(err)
	_, there := gs[grp]
	Step("groups", there)
	Must(ad.DeleteConsumerGroupOffset(grp, topic, 0))
	bs, _, err := ad.DescribeCluster()
	Must(err)
	Step("cluster", len(bs) >= 1)
	Must(ad.DeleteTopic(topic))
	ts, err := ad.ListTopics()
	Must(err)
	_, there = ts[topic]
	Step("delete", !there)
}
