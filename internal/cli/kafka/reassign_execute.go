// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// doExecute begins what the file asks for and prints what to feed to --execute
// to go back.
func (t *reassignTool) doExecute(ctx context.Context, raw []byte) error {
	a, err := parseMoves(raw)
	if err != nil {
		return err
	}
	if err := a.mayExecute(); err != nil {
		return err
	}
	moves, err := t.underWay(ctx, nil)
	if err != nil {
		return err
	}
	if !t.additional.has && len(moves) > 0 {
		return &terseError{"Cannot execute because there is an existing partition assignment.  Use --additional to override this and create a new partition assignment in addition to the existing one. The --additional flag can also be used to change the throttle by resubmitting the current reassignment."}
	}
	alive, err := t.brokers(ctx)
	if err != nil {
		return err
	}
	var named []int32
	for _, tp := range a.list {
		named = append(named, a.targets[tp]...)
	}
	for _, id := range hashOrder(slices.Compact(slices.Sorted(slices.Values(named))), 16, func(v int32) int32 { return v }) {
		if !slices.Contains(alive, id) {
			return fmt.Errorf("Unknown broker id %d", id)
		}
	}
	current, err := t.replicas(ctx, a.list, true)
	if err != nil {
		return err
	}
	if err := t.printCurrent(ctx, "Current partition replica assignment\n\n%s\n\nSave this to use as the --reassignment-json-file option during rollback\n", current, alive); err != nil {
		return err
	}
	rate, dirRate := t.throttle.int(), t.dirThrottle.int()
	if rate >= 0 || dirRate >= 0 {
		t.env.println("Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed.")
	}
	if rate >= 0 {
		if err := t.setThrottle(ctx, proposedMoves(moves, a.targets, current), rate); err != nil {
			return err
		}
	}
	if dirRate >= 0 {
		if err := t.setDirThrottle(ctx, sortedReplicas(a.dirs), dirRate); err != nil {
			return err
		}
	}
	refused, err := t.alter(ctx, a.targets)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		return &terseError{"Error reassigning partition(s):\n" + refusals(refused)}
	}
	t.env.printf("Successfully started partition reassignment%s for %s\n", pluralS(len(a.targets)), commaList(sortedPartitions(a.targets)))
	return t.moveDirs(ctx, a.dirs)
}

// doCancel undoes what of the file is under way.
func (t *reassignTool) doCancel(ctx context.Context, raw []byte) error {
	a, err := parseMoves(raw)
	if err != nil {
		return err
	}
	moves := map[topicPartition]ongoing{}
	if len(a.list) > 0 {
		if moves, err = t.underWay(ctx, a.list); err != nil {
			return err
		}
	}
	undo := map[topicPartition][]int32{}
	for tp := range moves {
		undo[tp] = nil
	}
	if len(undo) == 0 {
		t.env.println("None of the specified partition reassignments are active.")
	} else {
		refused, err := t.alter(ctx, undo)
		if err != nil {
			return err
		}
		if len(refused) > 0 {
			return &terseError{fmt.Sprintf("Error cancelling partition reassignment%s for:\n%s", pluralS(len(refused)), refusals(refused))}
		}
		t.env.printf("Successfully cancelled partition reassignment%s for: %s\n", pluralS(len(undo)), commaList(sortedPartitions(undo)))
	}
	states, err := t.dirStates(ctx, sortedReplicas(a.dirs))
	if err != nil {
		return err
	}
	back := map[replicaOf]string{}
	for r, s := range states {
		if s.future != "" {
			back[r] = s.current
		}
	}
	if len(back) == 0 {
		t.env.printf("None of the specified partition moves are active.") // no line end, as in Kafka
	} else if err := t.moveDirs(ctx, back); err != nil {
		return err
	}
	if t.keepThrottles.has {
		return nil
	}
	return t.clearThrottles(ctx, a)
}

// brokers are the ids of those alive.
func (t *reassignTool) brokers(ctx context.Context) ([]int32, error) {
	meta, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		return nil, javaError(timedOut(err, "listNodes"))
	}
	return meta.Brokers.NodeIDs(), nil
}

// replicas are those that partitions have. Unless whole topics are asked for,
// what list names must all be there.
func (t *reassignTool) replicas(ctx context.Context, list []topicPartition, only bool) (map[topicPartition][]int32, error) {
	topics, err := t.describe(ctx, list)
	if err != nil {
		return nil, err
	}
	out := map[topicPartition][]int32{}
	for _, name := range topicsOf(list) {
		if topics[name].Err != nil {
			return nil, fmt.Errorf("org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Topic %s not found.", name)
		}
		for _, p := range topics[name].Partitions {
			if tp := (topicPartition{name, p.Partition}); !only || slices.Contains(list, tp) {
				out[tp] = p.Replicas
			}
		}
	}
	if !only {
		return out, nil
	}
	var gone []topicPartition
	for _, tp := range list {
		if out[tp] == nil {
			gone = append(gone, tp)
		}
	}
	if len(gone) > 0 {
		gone = hashOrder(gone, 16, func(tp topicPartition) int32 { return partitionHash(tp.topic, tp.partition) })
		words := ""
		for i, tp := range gone {
			if i > 0 {
				words += ", "
			}
			words += tp.String()
		}
		return nil, errors.New("org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Unable to find partition: " + words)
	}
	return out, nil
}

// printCurrent prints replicas with the directories of those on live brokers.
func (t *reassignTool) printCurrent(ctx context.Context, format string, current map[topicPartition][]int32, alive []int32) error {
	var asked []replicaOf
	for _, tp := range sortedPartitions(current) {
		for _, r := range current[tp] {
			if slices.Contains(alive, r) {
				asked = append(asked, replicaOf{tp, r})
			}
		}
	}
	states, err := t.dirStates(ctx, asked)
	if err != nil {
		return err
	}
	dirs := map[replicaOf]string{}
	for r, s := range states {
		if s.current != "" {
			dirs[r] = s.current
		}
	}
	line, err := movesJSON(current, dirs)
	if err != nil {
		return err
	}
	t.env.printf(format, line)
	return nil
}

// moveDirs asks brokers to move replicas between their directories, again and
// again while a replica is not there yet.
func (t *reassignTool) moveDirs(ctx context.Context, dirs map[replicaOf]string) error {
	left := map[replicaOf]string{}
	for r, d := range dirs {
		left[r] = d
	}
	deadline := time.Now().Add(time.Duration(t.timeout.int()) * time.Millisecond)
	for len(left) > 0 {
		done, err := t.alterDirs(ctx, left)
		if err != nil {
			return err
		}
		for _, r := range done {
			t.env.printf("Successfully started moving log directory to %s for replica %s with broker %d \n", left[r], r.topicPartition, r.broker)
			delete(left, r)
		}
		if len(left) == 0 {
			return nil
		}
		if !time.Now().Before(deadline) {
			return &terseError{fmt.Sprintf("Timed out before log directory move%s could be started for: %s", pluralS(len(left)), commaList(sortedReplicas(left)))}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// alterDirs returns the replicas that a broker took on, sorted.
func (t *reassignTool) alterDirs(ctx context.Context, dirs map[replicaOf]string) ([]replicaOf, error) {
	var done []replicaOf
	requests := map[int32]*kmsg.AlterReplicaLogDirsRequest{}
	for _, r := range sortedReplicas(dirs) {
		req := requests[r.broker]
		if req == nil {
			req = kmsg.NewPtrAlterReplicaLogDirsRequest()
			requests[r.broker] = req
		}
		i := slices.IndexFunc(req.Dirs, func(d kmsg.AlterReplicaLogDirsRequestDir) bool { return d.Dir == dirs[r] })
		if i < 0 {
			d := kmsg.NewAlterReplicaLogDirsRequestDir()
			d.Dir = dirs[r]
			i, req.Dirs = len(req.Dirs), append(req.Dirs, d)
		}
		d := &req.Dirs[i]
		if n := len(d.Topics); n == 0 || d.Topics[n-1].Topic != r.topic {
			rt := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
			rt.Topic = r.topic
			d.Topics = append(d.Topics, rt)
		}
		last := &d.Topics[len(d.Topics)-1]
		last.Partitions = append(last.Partitions, r.partition)
	}
	for broker, req := range requests {
		raw, err := t.cl.Broker(int(broker)).RetriableRequest(ctx, req)
		if err != nil {
			return nil, javaError(timedOut(err, "alterReplicaLogDirs"))
		}
		for _, rt := range raw.(*kmsg.AlterReplicaLogDirsResponse).Topics {
			for _, p := range rt.Partitions {
				r := replicaOf{topicPartition{rt.Topic, p.Partition}, broker}
				switch err := kerr.ErrorForCode(p.ErrorCode); {
				case err == nil:
					done = append(done, r)
				case !errors.Is(err, kerr.ReplicaNotAvailable):
					return nil, fmt.Errorf("Failed to alter dir for %s", r)
				}
			}
		}
	}
	byReplica := map[replicaOf]bool{}
	for _, r := range done {
		byReplica[r] = true
	}
	return sortedReplicas(byReplica), nil
}
