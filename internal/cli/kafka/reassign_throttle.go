// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The settings that slow reassignments down: rates of brokers, and which
// replicas of a topic they hold for.
const (
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
	dirRate          = "replica.alter.log.dirs.io.max.bytes.per.second"
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
)

// move is who sends a partition and who receives it.
type move struct{ sources, destinations []int32 }

// proposedMoves joins what is under way with what shall be, by partition.
func proposedMoves(underWay map[topicPartition]ongoing, targets, current map[topicPartition][]int32) map[topicPartition]move {
	without := func(list, others []int32) (out []int32) {
		for _, r := range list {
			if !slices.Contains(others, r) {
				out = append(out, r)
			}
		}
		return out
	}
	moves := map[topicPartition]move{}
	for tp, m := range underWay {
		moves[tp] = move{without(m.Replicas, m.AddingReplicas), m.AddingReplicas}
	}
	for tp, target := range targets {
		m, ok := moves[tp]
		if !ok {
			m.sources = current[tp]
		}
		m.destinations = without(target, m.sources)
		moves[tp] = m
	}
	return moves
}

// throttledReplicas is the value of the topics' settings: for each topic, the
// partition:broker pairs of one side of its moves.
func throttledReplicas(moves map[topicPartition]move, side func(move) []int32) map[string]string {
	words := map[string][]string{}
	for tp, m := range moves {
		words[tp.topic] = append(words[tp.topic], []string{}...)
		for _, r := range side(m) {
			words[tp.topic] = append(words[tp.topic], fmt.Sprintf("%d:%d", tp.partition, r))
		}
	}
	out := map[string]string{}
	for topic, w := range words {
		slices.Sort(w)
		out[topic] = strings.Join(slices.Compact(w), ",")
	}
	return out
}

// setThrottle slows what moves between brokers down to a rate.
func (t *reassignTool) setThrottle(ctx context.Context, moves map[topicPartition]move, rate int64) error {
	leaders := throttledReplicas(moves, func(m move) []int32 { return m.sources })
	followers := throttledReplicas(moves, func(m move) []int32 { return m.destinations })
	var ops []settingOp
	for _, topic := range slices.Sorted(maps.Keys(leaders)) {
		ops = append(ops,
			settingOp{kmsg.ConfigResourceTypeTopic, topic, leaderReplicas, kmsg.StringPtr(leaders[topic])},
			settingOp{kmsg.ConfigResourceTypeTopic, topic, followerReplicas, kmsg.StringPtr(followers[topic])})
	}
	if err := t.change(ctx, ops); err != nil {
		return err
	}
	brokers := map[int32]bool{}
	for _, m := range moves {
		for _, r := range append(slices.Clone(m.sources), m.destinations...) {
			brokers[r] = true
		}
	}
	ops = nil
	value := strconv.FormatInt(rate, 10)
	for _, b := range slices.Sorted(maps.Keys(brokers)) {
		ops = append(ops,
			settingOp{kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(b)), leaderRate, &value},
			settingOp{kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(b)), followerRate, &value})
	}
	if err := t.change(ctx, ops); err != nil {
		return err
	}
	t.env.printf("The inter-broker throttle limit was set to %d B/s\n", rate)
	return nil
}

// setDirThrottle slows moves between directories of brokers down to a rate.
func (t *reassignTool) setDirThrottle(ctx context.Context, replicas []replicaOf, rate int64) error {
	value := strconv.FormatInt(rate, 10)
	var ops []settingOp
	var seen []int32
	for _, r := range replicas {
		if !slices.Contains(seen, r.broker) {
			seen = append(seen, r.broker)
			ops = append(ops, settingOp{kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(r.broker)), dirRate, &value})
		}
	}
	if err := t.change(ctx, ops); err != nil {
		return err
	}
	t.env.printf("The replica-alter-dir throttle limit was set to %d B/s\n", rate)
	return nil
}

// clearThrottles takes every throttle away from all brokers and from the
// topics of the file: who was a source before cannot be told any more.
func (t *reassignTool) clearThrottles(ctx context.Context, a moveFile) error {
	meta, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		return javaError(timedOut(err, "listNodes"))
	}
	brokers := meta.Brokers.NodeIDs()
	for _, tp := range a.list {
		brokers = append(brokers, a.targets[tp]...)
	}
	brokers = hashOrder(slices.Compact(slices.Sorted(slices.Values(brokers))), 16, func(v int32) int32 { return v })
	t.env.printf("Clearing broker-level throttles on broker%s %s\n", pluralS(len(brokers)), commaList(brokers))
	if err := t.change(ctx, unthrottle(brokers, nil)); err != nil {
		return err
	}
	topics := hashOrder(topicsOf(a.list), 16, stringHash)
	t.env.printf("Clearing topic-level throttles on topic%s %s\n", pluralS(len(topics)), commaList(topics))
	return t.change(ctx, unthrottle(nil, topics))
}

// unthrottle takes every throttle away from brokers and topics.
func unthrottle(brokers []int32, topics []string) (ops []settingOp) {
	for _, b := range brokers {
		for _, k := range []string{leaderRate, followerRate, dirRate} {
			ops = append(ops, settingOp{kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(b)), k, nil})
		}
	}
	for _, topic := range topics {
		for _, k := range []string{leaderReplicas, followerReplicas} {
			ops = append(ops, settingOp{kmsg.ConfigResourceTypeTopic, topic, k, nil})
		}
	}
	return ops
}

func pluralS(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// settingOp sets one key of a resource, or takes it away where value is nil.
type settingOp struct {
	kind  kmsg.ConfigResourceType
	name  string
	key   string
	value *string
}

// change carries ops out; those of one resource stand together.
func (t *reassignTool) change(ctx context.Context, ops []settingOp) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, op := range ops {
		if n := len(req.Resources); n == 0 || req.Resources[n-1].ResourceName != op.name || req.Resources[n-1].ResourceType != op.kind {
			rr := kmsg.NewIncrementalAlterConfigsRequestResource()
			rr.ResourceType, rr.ResourceName = op.kind, op.name
			req.Resources = append(req.Resources, rr)
		}
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = op.key, kmsg.IncrementalAlterConfigOpSet, op.value
		if op.value == nil {
			c.Op = kmsg.IncrementalAlterConfigOpDelete
		}
		last := &req.Resources[len(req.Resources)-1]
		last.Configs = append(last.Configs, c)
	}
	if len(ops) == 0 {
		return nil
	}
	raw, err := t.request(ctx, req)
	if err != nil {
		if err.Error() == "unknown broker" { // kgo does not export it
			// A setting of a broker is asked of that broker, and there is none;
			// Kafka's client waits for it to appear.
			err = &brokerError{kerr.RequestTimedOut, "Timed out waiting for a node assignment. Call: incrementalAlterConfigs"}
		}
		return javaError(timedOut(err, "incrementalAlterConfigs"))
	}
	for _, r := range raw.(*kmsg.IncrementalAlterConfigsResponse).Resources {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			return javaError(err)
		}
	}
	return nil
}
