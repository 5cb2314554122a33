// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ClientOptions translates a Java client's properties (bootstrap.servers,
// security.protocol and so on), read from file unless it is "", with more
// winning over it. What goes wrong on the way is told on warnings.
func ClientOptions(file string, more map[string]string, warnings io.Writer) ([]kgo.Opt, error) {
	p, err := loadProps(file)
	if err != nil {
		return nil, err
	}
	return p.merge(more).kgoOpts(&Env{Err: warnings})
}

// DumpFile prints a file of a log as kafka-dump-log does.
func DumpFile(e *Env, path string, records bool) error {
	args := []string{"--files", path}
	if records {
		args = append(args, "--print-data-log")
	}
	return runDumpLog(context.Background(), e, args)
}

// ErrorText is the broker's own word on err where it gave one.
func ErrorText(err error) string { return timedOut(err, "request").Error() }

// Reassignments are those that a cluster works on, by the key that name makes.
func Reassignments[K comparable](ctx context.Context, cl *kgo.Client, name func(topic string, partition int32) K) (map[K]kmsg.ListPartitionReassignmentsResponseTopicPartition, error) {
	moves, err := reassignmentsUnderWay(ctx, cl.Request, nil)
	if err != nil {
		return nil, err
	}
	out := make(map[K]ongoing, len(moves))
	for p, m := range moves {
		out[name(p.topic, p.partition)] = m
	}
	return out, nil
}

// Reassignment is a partition's way from some replicas to others.
type Reassignment struct {
	Topic     string
	Partition int32
	From, To  []int32
}

// Throttle slows reassignments down to bytes per second on each broker, with
// the settings that kafka-reassign-partitions --throttle uses.
func Throttle(ctx context.Context, cl *kgo.Client, list []Reassignment, rate int64) error {
	t := &reassignTool{env: &Env{Out: io.Discard, Err: io.Discard}, cl: cl}
	targets, current := map[topicPartition][]int32{}, map[topicPartition][]int32{}
	for _, r := range list {
		p := topicPartition{r.Topic, r.Partition}
		targets[p], current[p] = r.To, r.From
	}
	return t.setThrottle(ctx, proposedMoves(nil, targets, current), rate)
}

// Unthrottle takes away what Throttle set.
func Unthrottle(ctx context.Context, cl *kgo.Client, list []Reassignment) error {
	t := &reassignTool{env: &Env{Out: io.Discard, Err: io.Discard}, cl: cl}
	brokers, topics := map[int32]bool{}, map[string]bool{}
	for _, r := range list {
		topics[r.Topic] = true
		for _, b := range slices.Concat(r.From, r.To) {
			brokers[b] = true
		}
	}
	return t.change(ctx, unthrottle(slices.Sorted(maps.Keys(brokers)), slices.Sorted(maps.Keys(topics))))
}
