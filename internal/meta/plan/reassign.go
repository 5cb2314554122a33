// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// A reassignment moves a partition's replicas in two records. The first widens
// the replicas to the target followed by those that will go; the second, once
// every replica of the target is in the ISR, takes away those that go. Worked
// through, from 1,2,3 to 3,4,5:
//
//	           replicas   adding  removing  ISR
//	before     1,2,3                        1,2,3
//	asked      3,4,5,1,2  4,5     1,2       1,2,3
//	5 joins    3,4,5,1,2  4,5     1,2       1,2,3,5
//	4 joins    3,4,5                        3,5,4      leader epoch + 1
//
// A target that only reorders or takes away is reached at once. Cancelling
// takes the adding ones away again.
//
// Invariants: the replicas that stay in sync are never fewer than those of the
// target (or, cancelled, than those of the origin that are in sync); nobody
// outside the ISR becomes leader, but where the topic allows it.

// setUncleanElection is the setting that lets a replica lead that may lack
// records.
const setUncleanElection = "unclean.leader.election.enable"

// moving tells whether a reassignment of p is under way.
func moving(p *meta.Partition) bool { return len(p.Adding)+len(p.Removing) > 0 }

// minus is the list without those of others, in its own order.
func minus(list, others []int32) []int32 {
	var out []int32
	for _, r := range list {
		if !slices.Contains(others, r) {
			out = append(out, r)
		}
	}
	return out
}

// FinishReassignment takes the leaving replicas out of next when its ISR holds
// the whole target, and tells whether it did. Whoever changes an ISR calls it
// before looking for a leader; ReplicasLeft tells about the epoch.
func FinishReassignment(next *meta.Partition) bool {
	if !moving(next) {
		return false
	}
	target, inSync := minus(next.Replicas, next.Removing), minus(next.ISR, next.Removing)
	if len(target) == 0 || len(inSync) == 0 || len(minus(target, inSync)) > 0 {
		return false
	}
	setReplicas(next, target, nil)
	next.ISR = inSync
	next.ELR, next.LastELR = minus(next.ELR, next.Removing), minus(next.LastELR, next.Removing)
	next.Adding, next.Removing = nil, nil
	return true
}

// ReplicasLeft tells whether a replica of before is none of next's any more:
// then the leader's epoch must grow, so that those who left notice.
func ReplicasLeft(before, next *meta.Partition) bool {
	return len(minus(before.Replicas, next.Replicas)) > 0
}

// setReplicas changes who holds p, with the directories of those who stay.
// img, when given, tells where new ones go.
func setReplicas(p *meta.Partition, replicas []int32, img *meta.Image) {
	dirs := make([]meta.UUID, len(replicas))
	for i, r := range replicas {
		dirs[i] = p.Dir(r)
		if img == nil || p.HasReplica(r) {
			continue
		}
		if b := img.Broker(r); b != nil {
			dirs[i] = defaultDir(b)
		}
	}
	p.Replicas, p.Dirs = replicas, dirs
}

// AlterReassignments begins, changes and cancels reassignments. Each partition
// stands for itself.
func AlterReassignments(img *meta.Image, req *kmsg.AlterPartitionAssignmentsRequest, env Env) ([]meta.Record, *kmsg.AlterPartitionAssignmentsResponse) {
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	mayResize := req.AllowReplicationFactorChange // true where the version has no such field
	resp.AllowReplicationFactorChange = mayResize
	seen := map[place]bool{}
	var records []meta.Record
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			r, err := reassignOne(img, t.Topic, p, mayResize, env)
			at := place{t.Topic, p.Partition}
			switch {
			case err == nil && seen[at]:
				// Both would be decided on the same state.
				r, err = nil, fail(kerr.InvalidRequest, "Partition %s-%d is in the request more than once.", t.Topic, p.Partition)
			case err == nil && r != nil && len(records) == maxRecords:
				r, err = nil, fail(kerr.PolicyViolation, "More than %d partitions are to be changed by one request.", maxRecords)
			}
			seen[at] = true
			a := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			a.Partition = p.Partition
			a.ErrorCode, a.ErrorMessage = answer(err)
			rt.Partitions = append(rt.Partitions, a)
			if r != nil {
				records = append(records, r)
			}
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return records, resp
}

func reassignOne(img *meta.Image, topic string, asked kmsg.AlterPartitionAssignmentsRequestTopicPartition, mayResize bool, env Env) (meta.Record, error) {
	t := img.Topic(topic)
	if t == nil {
		return nil, fail(kerr.UnknownTopicOrPartition, "Unable to find a topic named %s.", topic)
	}
	p := t.Partition(asked.Partition)
	if p == nil {
		return nil, fail(kerr.UnknownTopicOrPartition, "Unable to find partition %s:%d.", topic, asked.Partition)
	}
	var next meta.Partition
	var err error
	if asked.Replicas == nil {
		next, err = cancelled(img, t, asked.Partition, p, env)
	} else {
		next, err = aimed(img, t, asked.Partition, p, asked.Replicas, mayResize, env)
	}
	if err != nil || next.PartitionEpoch == p.PartitionEpoch {
		return nil, err
	}
	return meta.PartitionRecord{Topic: t.ID, Index: asked.Partition, Partition: next}, nil
}

// aimed is p on its way to target.
//
// Differs from Kafka: what a reassignment under way has added stays "adding"
// when another takes its place, even where that one adds nothing or takes it
// away again; so cancelling always leads back to where the first began. Kafka
// forgets it there, and a cancel can leave more replicas than either target.
func aimed(img *meta.Image, t *meta.Topic, index int32, p *meta.Partition, target []int32, mayResize bool, env Env) (meta.Partition, error) {
	if err := checkReplicas(img, target); err != nil {
		return *p, err
	}
	if have := len(minus(p.Replicas, p.Removing)); !mayResize && have != len(target) {
		return *p, fail(kerr.InvalidReplicationFactor, "The replication factor is changed from %d to %d", have, len(target))
	}
	next := *p
	leaving := minus(p.Replicas, target)
	slices.Sort(leaving)
	origin := minus(p.Replicas, p.Adding)
	setReplicas(&next, append(slices.Clone(target), leaving...), img)
	next.Removing = leaving
	next.Adding = minus(next.Replicas, origin)
	slices.Sort(next.Adding)
	if slices.Equal(next.Replicas, p.Replicas) && slices.Equal(next.Removing, p.Removing) && slices.Equal(next.Adding, p.Adding) {
		return *p, nil
	}
	next, _ = (&scene{img: img, env: &env}).settle(t, index, p, next, online)
	return next, nil
}

// cancelled is p back where its reassignment began.
func cancelled(img *meta.Image, t *meta.Topic, index int32, p *meta.Partition, env Env) (meta.Partition, error) {
	if !moving(p) {
		return *p, bare(kerr.NoReassignmentInProgress)
	}
	s := &scene{img: img, env: &env}
	next, kind, topic := *p, online, t.Name
	dirty := s.uncleanAllowed(t)
	if dirty {
		kind = unclean
	}
	origin := minus(p.Replicas, p.Adding)
	if len(origin) == 0 {
		return *p, fail(kerr.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d: all its replicas were added.", topic, index)
	}
	next.ISR, next.ELR, next.LastELR = minus(p.ISR, p.Adding), minus(p.ELR, p.Adding), minus(p.LastELR, p.Adding)
	nobody := len(p.ISR) == 0 && len(p.ELR)+len(p.LastELR) > 0 && len(next.ELR)+len(next.LastELR) == 0
	if len(p.ISR) > 0 && len(next.ISR) == 0 || nobody { // who holds everything was added
		if !dirty {
			return *p, fail(kerr.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because it would require an unclean leader election.", topic, index)
		}
		next.ISR, next.Recovering = origin[:1:1], true
	}
	setReplicas(&next, origin, img)
	next.Adding, next.Removing = nil, nil
	next, _ = s.settle(t, index, p, next, kind)
	return next, nil
}

// ListReassignments answers which partitions are being moved; asking nil means
// all.
func ListReassignments(img *meta.Image, req *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	list := func(topic *meta.Topic, wanted func(int32) bool) {
		if topic == nil {
			return
		}
		t := kmsg.NewListPartitionReassignmentsResponseTopic()
		t.Topic = topic.Name
		for i, p := range topic.Partitions() {
			if len(p.Adding)+len(p.Removing) == 0 || !wanted(i) {
				continue
			}
			a := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
			a.Partition, a.Replicas, a.AddingReplicas, a.RemovingReplicas = i, p.Replicas, p.Adding, p.Removing
			t.Partitions = append(t.Partitions, a)
		}
		if len(t.Partitions) > 0 {
			resp.Topics = append(resp.Topics, t)
		}
	}
	if req.Topics == nil {
		for t := range img.Topics() {
			list(t, func(int32) bool { return true })
		}
	}
	asked := map[place]bool{}
	for _, t := range req.Topics {
		for _, i := range t.Partitions {
			asked[place{t.Topic, i}] = true
		}
	}
	for _, n := range uniqueNames(req.Topics, func(t kmsg.ListPartitionReassignmentsRequestTopic) string { return t.Topic }) {
		list(img.Topic(n.name), func(i int32) bool { return asked[place{n.name, i}] })
	}
	return resp
}
