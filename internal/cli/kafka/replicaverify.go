// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
)

// debugConsumer is the replica id of one who may read from any replica up to
// its log end, as this tool must.
const debugConsumer = -2

// verifier compares what all replicas of partitions hold, batch by batch, up
// to the high watermark.
//
// A round asks every broker at once and then compares; nothing is kept but the
// offset up to which each partition agrees. Invariant: that offset only grows,
// and only when every replica of the partition gave the same batch there.
type verifier struct {
	env       *Env
	cl        *kgo.Client
	fetchSize int32
	wait      time.Duration

	ids      map[string][16]byte
	byBroker map[int32][]topicPartition
	replicas map[topicPartition]int
	at       map[topicPartition]int64
	order    []topicPartition
}

// fetched is what one replica gave: whole batches, and its high watermark.
type fetched struct {
	batches []byte
	hw      int64
}

func runReplicaVerification(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Validate that all replicas for a set of topics have the same data.")
	server := o.text("broker-list", "hostname:port,...,hostname:port", "REQUIRED: host:port of a broker, or several with commas between.")
	fetchSize := o.integer("fetch-size", "bytes", "How much one request asks of a partition.").def("1048576")
	wait := o.integer("max-wait-ms", "ms", "How long a request may wait for records.").def("1000")
	include := o.text("topics-include", "Java regex (String)", "Only topics whose names match.").def(".*")
	at := o.long("time", "timestamp/-1(latest)/-2(earliest)", "Where to begin: a time, -1 for the end, -2 for the start.").def("-1")
	interval := o.long("report-interval-ms", "ms", "How often to report.").def("30000")
	if err := o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	if err := o.required(server); err != nil {
		return err
	}
	filter, err := topicFilter(include.value())
	if err != nil {
		return failf("%s is an invalid regex", include.value())
	}
	adm, cl, err := props{"bootstrap.servers": server.value()}.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "listTopics")))
	}
	v := &verifier{
		env: e, cl: cl, fetchSize: int32(fetchSize.int()), wait: time.Duration(wait.int()) * time.Millisecond,
		ids: map[string][16]byte{}, byBroker: map[int32][]topicPartition{}, replicas: map[topicPartition]int{},
	}
	for _, t := range topics.Sorted() {
		if !filter.MatchString(t.Topic) {
			continue
		}
		v.ids[t.Topic] = t.ID
		for _, p := range t.Partitions.Sorted() {
			tp := topicPartition{t.Topic, p.Partition}
			v.order, v.replicas[tp] = append(v.order, tp), len(p.Replicas)
			for _, r := range p.Replicas {
				v.byBroker[r] = append(v.byBroker[r], tp)
			}
		}
	}
	v.order = hashOrder(v.order, 16, func(tp topicPartition) int32 { return partitionHash(tp.topic, tp.partition) })
	if len(v.order) == 0 {
		return failf("No topics found. %s if specified, is either filtering out all topics or there is no topic.", include)
	}
	if v.at, err = listAtTime(ctx, cl, v.order, at.int()); err != nil {
		return failf("%s", exceptionText(err))
	}
	v.say("verification process is started")
	return v.run(ctx, time.Duration(interval.int())*time.Millisecond)
}

// say prints a line with the time in front, as log4j writes it.
func (v *verifier) say(text string) {
	v.env.println(strings.Replace(time.Now().Format("2006-01-02 15:04:05.000"), ".", ",", 1) + ": " + text)
}

// run compares, round after round, until ctx ends.
func (v *verifier) run(ctx context.Context, interval time.Duration) error {
	reported := time.Now()
	stopped := func() bool { return ctx.Err() != nil }
	for {
		got, silent := v.round(ctx)
		if stopped() {
			return nil // the way to end it
		}
		worst, lag := topicPartition{}, int64(-1)
		for _, tp := range v.order {
			if err := v.compare(tp, got[tp]); err != nil {
				return err
			}
			hw := int64(-1)
			for _, f := range got[tp] {
				hw = max(hw, f.hw)
			}
			if hw-v.at[tp] > lag {
				worst, lag = tp, hw-v.at[tp]
			}
		}
		if time.Since(reported) > interval {
			reported = time.Now()
			name := worst.String()
			if lag < 0 {
				name = "null"
			}
			v.say("max lag is " + strconv.FormatInt(lag, 10) + " for partition " + name + " at offset " +
				strconv.FormatInt(v.offsetOf(worst, lag), 10) + " among " + strconv.Itoa(len(v.order)) + " partitions")
		}
		if silent { // a broker is down: its partitions wait for it
			select {
			case <-ctx.Done():
			case <-time.After(v.wait):
			}
		}
	}
}

func (v *verifier) offsetOf(tp topicPartition, lag int64) int64 {
	if lag < 0 {
		return -1
	}
	return v.at[tp]
}

// round asks every broker for what comes next of its partitions.
func (v *verifier) round(ctx context.Context) (got map[topicPartition]map[int32]fetched, silent bool) {
	var mu sync.Mutex // guards got and silent
	var wg sync.WaitGroup
	got = map[topicPartition]map[int32]fetched{}
	for _, tp := range v.order {
		got[tp] = map[int32]fetched{}
	}
	for _, broker := range slices.Sorted(maps.Keys(v.byBroker)) {
		wg.Go(func() {
			answers, err := v.fetch(ctx, broker)
			mu.Lock()
			defer mu.Unlock()
			silent = silent || err != nil
			for tp, f := range answers {
				got[tp][broker] = f
			}
		})
	}
	wg.Wait()
	return got, silent
}

func (v *verifier) fetch(ctx context.Context, broker int32) (map[topicPartition]fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.ReplicaState.ID, req.ReplicaState.Epoch = debugConsumer, debugConsumer, -1
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(v.wait/time.Millisecond), 1, 1<<31-1
	req.SessionEpoch = -1
	for _, tp := range v.byBroker[broker] {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.topic {
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic, rt.TopicID = tp.topic, v.ids[tp.topic]
			req.Topics = append(req.Topics, rt)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = tp.partition, v.at[tp], v.fetchSize, -1
		last := &req.Topics[len(req.Topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	raw, err := v.cl.Broker(int(broker)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	names := map[[16]byte]string{}
	for name, id := range v.ids {
		names[id] = name
	}
	out := map[topicPartition]fetched{}
	for _, rt := range raw.(*kmsg.FetchResponse).Topics {
		name := rt.Topic
		if name == "" {
			name = names[rt.TopicID]
		}
		for _, p := range rt.Partitions {
			f := fetched{batches: p.RecordBatches, hw: p.HighWatermark}
			if kerr.ErrorForCode(p.ErrorCode) != nil {
				f = fetched{hw: -1}
			}
			out[topicPartition{name, p.Partition}] = f
		}
	}
	return out, nil
}

// compare steps through the batches of all replicas of tp side by side.
func (v *verifier) compare(tp topicPartition, got map[int32]fetched) error {
	if len(got) < v.replicas[tp] {
		return nil
	}
	brokers := hashOrder(slices.Sorted(maps.Keys(got)), 16, func(b int32) int32 { return b })
	for {
		var first batch.View
		for _, b := range brokers {
			f := got[b]
			one, rest, err := batch.Next(f.batches)
			if errors.Is(err, batch.ErrIncomplete) {
				return nil
			}
			if err != nil {
				return failf("Error in processing replica %d in partition %s at offset %d", b, tp, v.at[tp])
			}
			if one.LastOffset() >= f.hw {
				return nil
			}
			f.batches = rest
			got[b] = f
			switch {
			case first == nil:
				first = one
			case first.LastOffset() != one.LastOffset():
				v.say("partition " + tp.String() + ": replica " + strconv.Itoa(int(brokers[0])) + "'s offset " + strconv.FormatInt(first.LastOffset(), 10) +
					" doesn't match replica " + strconv.Itoa(int(b)) + "'s offset " + strconv.FormatInt(one.LastOffset(), 10))
				return &exit{status: 1}
			case first.CRC() != one.CRC():
				v.say("partition " + tp.String() + " has unmatched checksum at offset " + strconv.FormatInt(one.LastOffset(), 10) +
					"; replica " + strconv.Itoa(int(brokers[0])) + "'s checksum " + strconv.FormatUint(uint64(first.CRC()), 10) +
					"; replica " + strconv.Itoa(int(b)) + "'s checksum " + strconv.FormatUint(uint64(one.CRC()), 10))
			}
		}
		if first == nil {
			return nil
		}
		v.at[tp] = first.NextOffset()
	}
}
