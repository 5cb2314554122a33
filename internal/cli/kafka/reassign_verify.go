// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// doVerify says how far what the file asks for is, and takes the throttles
// away once nothing moves any more.
func (t *reassignTool) doVerify(ctx context.Context, raw []byte) error {
	a, err := parseMoves(raw)
	if err != nil {
		return err
	}
	moves, err := t.underWay(ctx, nil)
	if err != nil {
		return err
	}
	topics, err := t.describe(ctx, a.list)
	if err != nil {
		return err
	}
	t.env.println("Status of partition reassignment:")
	for _, tp := range sortedPartitions(a.targets) {
		var have []int32 // none where there is no such partition
		if p, ok := topics[tp.topic].Partitions[tp.partition]; ok {
			have = p.Replicas
		}
		_, moving := moves[tp]
		switch {
		case moving:
			t.env.printf("Reassignment of partition %s is still in progress.\n", tp)
		case slices.Equal(have, a.targets[tp]):
			t.env.printf("Reassignment of partition %s is completed.\n", tp)
		default:
			t.env.printf("There is no active reassignment of partition %s, but replica set is %s rather than %s.\n", tp, commaList(have), commaList(a.targets[tp]))
		}
	}
	moving, err := t.verifyDirs(ctx, a)
	if err != nil || moving || len(moves) > 0 || t.keepThrottles.has {
		return err
	}
	return t.clearThrottles(ctx, a)
}

// describe looks topics up; those that are unknown carry an error.
func (t *reassignTool) describe(ctx context.Context, list []topicPartition) (kadm.TopicDetails, error) {
	if len(list) == 0 {
		return nil, nil
	}
	topics, err := t.adm.ListTopicsWithInternal(ctx, topicsOf(list)...)
	if err != nil {
		return nil, javaError(timedOut(err, "describeTopics"))
	}
	for _, d := range topics {
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return nil, javaError(withMessage(d.Err, nil))
		}
	}
	return topics, nil
}

// verifyDirs prints how far moves between directories are, an empty line where
// none was asked for, and tells whether any is under way.
func (t *reassignTool) verifyDirs(ctx context.Context, a moveFile) (moving bool, err error) {
	states, err := t.dirStates(ctx, sortedReplicas(a.dirs))
	if err != nil {
		return false, err
	}
	var lines []string
	for _, r := range sortedReplicas(a.dirs) {
		s, there := states[r]
		target := a.dirs[r]
		switch {
		case !there:
			lines = append(lines, fmt.Sprintf("Partition %s is not found in any live log dir on broker %d. There is likely an offline log directory on the broker.", r.topicPartition, r.broker))
		case s.future == "" && s.current == target:
			lines = append(lines, fmt.Sprintf("Reassignment of replica %s completed successfully.", r))
		case s.future == "":
			lines = append(lines, fmt.Sprintf("Partition %s on broker %d is not being moved from log dir %s to %s.", r.topicPartition, r.broker, s.current, target))
		case s.future == target:
			moving = true
			lines = append(lines, fmt.Sprintf("Reassignment of replica %s is still in progress.", r))
		default:
			moving = true
			lines = append(lines, fmt.Sprintf("Partition %s on broker %d is being moved to log dir %s instead of %s.", r.topicPartition, r.broker, s.future, target))
		}
	}
	t.env.println(strings.Join(lines, "\n"))
	return moving, nil
}

// dirState is where a replica is, and where it is being moved to ("": nowhere).
type dirState struct{ current, future string }

// dirStates asks brokers where they keep replicas; those that a broker does
// not have are left out.
func (t *reassignTool) dirStates(ctx context.Context, replicas []replicaOf) (map[replicaOf]dirState, error) {
	out := map[replicaOf]dirState{}
	byBroker := map[int32]map[topicPartition]bool{}
	for _, r := range replicas {
		if byBroker[r.broker] == nil {
			byBroker[r.broker] = map[topicPartition]bool{}
		}
		byBroker[r.broker][r.topicPartition] = true
	}
	for broker, wanted := range byBroker {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		for _, tp := range sortedPartitions(wanted) {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.topic {
				rt := kmsg.NewDescribeLogDirsRequestTopic()
				rt.Topic = tp.topic
				req.Topics = append(req.Topics, rt)
			}
			last := &req.Topics[len(req.Topics)-1]
			last.Partitions = append(last.Partitions, tp.partition)
		}
		raw, err := t.cl.Broker(int(broker)).RetriableRequest(ctx, req)
		if err != nil {
			return nil, javaError(timedOut(err, "describeReplicaLogDirs"))
		}
		for _, d := range raw.(*kmsg.DescribeLogDirsResponse).Dirs {
			for _, rt := range d.Topics {
				for _, p := range rt.Partitions {
					tp := topicPartition{rt.Topic, p.Partition}
					if !wanted[tp] {
						continue
					}
					r := replicaOf{tp, broker}
					s := out[r]
					if p.IsFuture {
						s.future = d.Dir
					} else {
						s.current = d.Dir
					}
					out[r] = s
				}
			}
		}
	}
	return out, nil
}
