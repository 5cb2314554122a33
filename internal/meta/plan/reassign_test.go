// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

func reassignRequest(topic string, index int32, replicas []int32) *kmsg.AlterPartitionAssignmentsRequest {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{
		{Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: index, Replicas: replicas}}},
	}
	return req
}

// reassign asks for one move and returns the image after it and the code.
func reassign(t testing.TB, img *meta.Image, topic string, index int32, replicas []int32) (*meta.Image, int16) {
	t.Helper()
	records, resp := AlterReassignments(img, reassignRequest(topic, index, replicas), env())
	got := resp.Topics[0].Partitions[0]
	if (got.ErrorMessage == nil) != (got.ErrorCode == 0) {
		t.Errorf("code %d without words, or words without it", got.ErrorCode)
	}
	if got.ErrorCode != 0 && len(records) > 0 {
		t.Errorf("refused with %d, yet %d record(s)", got.ErrorCode, len(records))
	}
	return with(t, img, records...), got.ErrorCode
}

// joinISR is what a leader's change of the ISR does.
func joinISR(t testing.TB, img *meta.Image, topic string, index int32, isr ...int32) *meta.Image {
	t.Helper()
	p := img.Partition(topic, index)
	next := *p
	next.ISR = isr
	e := env()
	next, changed := (&scene{img: img, env: &e}).settle(img.Topic(topic), index, p, next, online)
	if !changed {
		return img
	}
	return with(t, img, meta.PartitionRecord{Topic: img.Topic(topic).ID, Index: index, Partition: next})
}

func show(p *meta.Partition) string {
	return fmt.Sprintf("replicas %v adding %v removing %v isr %v leader %d epoch %d.%d", p.Replicas, p.Adding, p.Removing, p.ISR, p.Leader, p.LeaderEpoch, p.PartitionEpoch)
}

func TestReassignment(t *testing.T) {
	t.Parallel()
	img := cluster(t, 5) // wide: replicas 1,2, in sync 2,1, led by 2 in epoch 4, partition epoch 8
	says := func(what string, img *meta.Image, want string) {
		t.Helper()
		if got := show(img.Partition("wide", 0)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
	on, code := reassign(t, img, "wide", 0, []int32{3, 4, 1})
	check(t, "begin", code, nil)
	says("begun", on, "replicas [3 4 1 2] adding [3 4] removing [2] isr [2 1] leader 2 epoch 4.9")
	if p := on.Partition("wide", 0); p.Dir(3) != dir(3) || p.Dir(2) != img.Partition("wide", 0).Dir(2) {
		t.Errorf("directories %v", p.Dirs)
	}
	again, _ := reassign(t, on, "wide", 0, []int32{3, 4, 1})
	says("the same again changes nothing", again, show(on.Partition("wide", 0)))

	half := joinISR(t, on, "wide", 0, 2, 1, 4)
	says("one joined", half, "replicas [3 4 1 2] adding [3 4] removing [2] isr [2 1 4] leader 2 epoch 4.10")
	done := joinISR(t, half, "wide", 0, 2, 1, 4, 3)
	says("done, and the leader left", done, "replicas [3 4 1] adding [] removing [] isr [1 4 3] leader 3 epoch 5.11")
	if p := done.Partition("wide", 0); len(p.Dirs) != 3 || p.Dir(3) != dir(3) {
		t.Errorf("directories %v", p.Dirs)
	}

	back, code := reassign(t, half, "wide", 0, nil)
	check(t, "cancel", code, nil)
	says("cancelled", back, "replicas [1 2] adding [] removing [] isr [2 1] leader 2 epoch 5.11")

	other, _ := reassign(t, half, "wide", 0, []int32{5, 1})
	says("another target", other, "replicas [5 1 2 3 4] adding [3 4 5] removing [2 3 4] isr [2 1 4] leader 2 epoch 4.11")
	back, _ = reassign(t, other, "wide", 0, nil)
	says("cancelled to where the first began", back, "replicas [1 2] adding [] removing [] isr [2 1] leader 2 epoch 5.12")
	done = joinISR(t, other, "wide", 0, 2, 1, 4, 5)
	says("the other is done", done, "replicas [5 1] adding [] removing [] isr [1 5] leader 5 epoch 5.12")

	now, _ := reassign(t, img, "wide", 0, []int32{2, 1})
	says("an order only", now, "replicas [2 1] adding [] removing [] isr [2 1] leader 2 epoch 4.9")
	now, _ = reassign(t, img, "wide", 0, []int32{1})
	says("fewer", now, "replicas [1] adding [] removing [] isr [1] leader 1 epoch 5.9")
	now, _ = reassign(t, with(t, img, fence(img, 1)), "wide", 0, []int32{3, 2})
	says("a fenced one leaves, a new one comes", now, "replicas [3 2 1] adding [3] removing [1] isr [2] leader 2 epoch 4.9")
}

func TestReassignmentRefused(t *testing.T) {
	t.Parallel()
	img := cluster(t, 3)
	for _, c := range []struct {
		topic    string
		index    int32
		replicas []int32
		want     *kerr.Error
	}{
		{"old", 0, []int32{1}, nil},
		{"old", 0, nil, kerr.NoReassignmentInProgress},
		{"old", 0, []int32{}, kerr.InvalidReplicaAssignment},
		{"old", 0, []int32{1, 1}, kerr.InvalidReplicaAssignment},
		{"old", 0, []int32{9}, kerr.InvalidReplicaAssignment},
		{"old", 0, []int32{-1}, kerr.InvalidReplicaAssignment},
		{"old", 5, []int32{1}, kerr.UnknownTopicOrPartition},
		{"none", 0, []int32{1}, kerr.UnknownTopicOrPartition},
	} {
		_, code := reassign(t, img, c.topic, c.index, c.replicas)
		check(t, fmt.Sprint(c.topic, c.index, c.replicas), code, c.want)
	}
	req := reassignRequest("wide", 0, []int32{1, 2, 3})
	req.AllowReplicationFactorChange = false
	if records, resp := AlterReassignments(img, req, env()); len(records) > 0 || resp.Topics[0].Partitions[0].ErrorCode != kerr.InvalidReplicationFactor.Code {
		t.Errorf("factor 2 to 3: %+v", resp.Topics)
	}
	req = reassignRequest("wide", 0, []int32{3, 2})
	req.AllowReplicationFactorChange = false
	req.Topics = append(req.Topics, req.Topics[0])
	records, resp := AlterReassignments(img, req, env())
	if len(records) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 || resp.Topics[1].Partitions[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("twice: %d record(s), %+v", len(records), resp.Topics)
	}
	// All that is in sync was added: going back may lose records.
	p := *img.Partition("wide", 0)
	p.Replicas, p.Dirs, p.Adding, p.Removing, p.ISR, p.Leader = []int32{3, 1, 2}, make([]meta.UUID, 3), []int32{3}, []int32{1, 2}, []int32{3}, 3
	stuck := with(t, img, meta.PartitionRecord{Topic: img.Topic("wide").ID, Partition: p})
	if _, code := reassign(t, stuck, "wide", 0, nil); code != kerr.InvalidReplicaAssignment.Code {
		t.Errorf("an unclean way back: %d", code)
	}
	yes := "true"
	dirty := with(t, stuck, meta.ConfigRecord{Resource: meta.Resource{Type: meta.TopicResource, Name: "wide"}, Key: setUncleanElection, Value: &yes})
	back, code := reassign(t, dirty, "wide", 0, nil)
	check(t, "an unclean way back that is allowed", code, nil)
	if p := back.Partition("wide", 0); show(p) != "replicas [1 2] adding [] removing [] isr [1] leader 1 epoch 5.9" || !p.Recovering {
		t.Errorf("%s, recovering %v", show(p), p.Recovering)
	}
}

// TestReassignmentSteps drives one partition by random requests, ISR changes
// and fences, and checks after each step:
//   - ISR, adding and removing are replicas; none is named twice
//   - replicas minus adding is where the reassignment began, so cancelling
//     leads there
//   - the leader is in sync and alive, and changes only with its epoch
//   - a replica leaves only with a new leader epoch; the partition epoch grows
//     with each change by one
//   - a reassignment never stays open when the ISR holds its target
func TestReassignmentSteps(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		img := cluster(t, 6)
		origin := slices.Clone(img.Partition("wide", 0).Replicas)
		for step := range 60 {
			before := img.Partition("wide", 0)
			var what string
			switch r.IntN(6) {
			case 0, 1:
				target := []int32{}
				for _, i := range r.Perm(6)[:1+r.IntN(4)] {
					target = append(target, int32(i+1))
				}
				if !moving(before) {
					origin = slices.Clone(before.Replicas)
				}
				img, _ = reassign(t, img, "wide", 0, target)
				what = fmt.Sprint("to ", target)
			case 2:
				var code int16
				img, code = reassign(t, img, "wide", 0, nil)
				if what = "cancel"; code == 0 && !slices.Equal(slices.Sorted(slices.Values(img.Partition("wide", 0).Replicas)), slices.Sorted(slices.Values(origin))) {
					t.Fatalf("seed %d step %d: cancelled to %v, began with %v", seed, step, img.Partition("wide", 0).Replicas, origin)
				}
			default:
				isr := []int32{}
				for _, b := range before.Replicas {
					if b == before.Leader || img.Broker(b).Active() && r.IntN(3) > 0 {
						isr = append(isr, b)
					}
				}
				if before.Leader == meta.NoLeader {
					continue
				}
				img = joinISR(t, img, "wide", 0, isr...)
				what = fmt.Sprint("isr ", isr)
			}
			p := img.Partition("wide", 0)
			bad := ""
			all := slices.Sorted(slices.Values(p.Replicas))
			switch {
			case len(slices.Compact(all)) != len(p.Replicas) || len(p.Dirs) != len(p.Replicas):
				bad = "replicas twice"
			case len(minus(p.ISR, p.Replicas))+len(minus(p.Adding, p.Replicas))+len(minus(p.Removing, p.Replicas)) > 0:
				bad = "not a replica"
			case len(p.ISR) == 0:
				bad = "no ISR"
			case p.Leader != meta.NoLeader && !p.InSync(p.Leader):
				bad = "leader not in sync"
			case p.Leader == meta.NoLeader:
				bad = "no leader, though all are alive"
			case p.Leader != before.Leader && p.LeaderEpoch != before.LeaderEpoch+1:
				bad = "leader without epoch"
			case ReplicasLeft(before, p) && p.LeaderEpoch == before.LeaderEpoch:
				bad = "left without epoch"
			case p != before && p.PartitionEpoch != before.PartitionEpoch+1:
				bad = "partition epoch"
			case moving(p) && len(minus(minus(p.Replicas, p.Removing), p.ISR)) == 0:
				bad = "still open"
			}
			if bad != "" {
				t.Fatalf("seed %d step %d, %s: %s\nbefore %s\nafter  %s", seed, step, what, bad, show(before), show(p))
			}
		}
	}
}

func TestListReassignments(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	p := *img.Partition("wide", 0)
	p.Adding = []int32{2}
	img = with(t, img, meta.PartitionRecord{Topic: img.Topic("wide").ID, Index: 0, Partition: p})
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	if resp := ListReassignments(img, req); len(resp.Topics) != 1 || resp.Topics[0].Topic != "wide" || len(resp.Topics[0].Partitions) != 1 {
		t.Errorf("all: %+v", resp.Topics)
	}
	req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "old", Partitions: []int32{0}}, {Topic: "none", Partitions: []int32{0}}, {Topic: "wide", Partitions: []int32{1}}}
	if resp := ListReassignments(img, req); len(resp.Topics) != 0 {
		t.Errorf("others: %+v", resp.Topics)
	}
}
