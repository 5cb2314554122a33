// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Goal and method: as in groups_test.go, for offsets.

func offsetCommit(id, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = id, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, 4, kmsg.StringPtr("note")
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// offsetFetch lays a fetch out as the version has it; nil topics mean all.
func offsetFetch(version int16, id string, topics map[string][]int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	w := &groupWorld{topics: map[string]int32{"orders": 3, "payments": 1}}
	g := kmsg.NewOffsetFetchRequestGroup()
	req.Group, g.Group = id, id
	if topics != nil {
		req.Topics = []kmsg.OffsetFetchRequestTopic{}
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		req.Topics = append(req.Topics, kmsg.OffsetFetchRequestTopic{Topic: name, Partitions: topics[name]})
		gt := kmsg.OffsetFetchRequestGroupTopic{Topic: name, Partitions: topics[name]}
		if version >= 10 {
			if gt.TopicID = w.IDOf(name); gt.TopicID == [16]byte{} {
				gt.TopicID = [16]byte{66}
			}
		}
		g.Topics = append(g.Topics, gt)
	}
	req.Groups = append(req.Groups, g)
	return req
}

// offsets flattens an answer of any layout: topic → partition → offset.
func offsetsIn(version int16, r *kmsg.OffsetFetchResponse) map[string]map[int32]kmsg.OffsetFetchResponseTopicPartition {
	out := map[string]map[int32]kmsg.OffsetFetchResponseTopicPartition{}
	w := &groupWorld{topics: map[string]int32{"orders": 3, "payments": 1}}
	if version < 8 {
		for _, t := range r.Topics {
			out[t.Topic] = map[int32]kmsg.OffsetFetchResponseTopicPartition{}
			for _, p := range t.Partitions {
				out[t.Topic][p.Partition] = p
			}
		}
		return out
	}
	for _, t := range r.Groups[0].Topics {
		name := t.Topic
		if version >= 10 {
			name = w.NameOf(t.TopicID)
		}
		out[name] = map[int32]kmsg.OffsetFetchResponseTopicPartition{}
		for _, p := range t.Partitions {
			out[name][p.Partition] = kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			}
		}
	}
	return out
}

func TestOffsetsInAllVersions(t *testing.T) {
	t.Parallel()
	for cv := int16(2); cv <= 10; cv++ {
		inGroups(t, func(t *testing.T, f *groupFixture) {
			c := offsetCommit("g", "orders", 1, 42)
			good := f.world.IDOf("orders")
			c.Topics[0].TopicID = good
			bad := kmsg.NewOffsetCommitRequestTopicPartition()
			bad.Partition = 9
			c.Topics[0].Partitions = append([]kmsg.OffsetCommitRequestTopicPartition{bad}, c.Topics[0].Partitions...)
			other := offsetCommit("g", "unknown", 0, 1).Topics[0]
			other.TopicID = [16]byte{66}
			c.Topics = append([]kmsg.OffsetCommitRequestTopic{other}, c.Topics...)
			r := askGroups[*kmsg.OffsetCommitResponse](f, cv, c)
			unknown := kerr.UnknownTopicOrPartition
			if cv >= 10 {
				unknown = kerr.UnknownTopicID
				if r.Topics[1].TopicID != good {
					t.Errorf("version %d: answered for %x", cv, r.Topics[1].TopicID)
				}
			} else if r.Topics[1].Topic != "orders" {
				t.Errorf("version %d: answered for %s", cv, r.Topics[1].Topic)
			}
			f.code(r.Topics[0].Partitions[0].ErrorCode, unknown)
			f.code(r.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
			f.code(r.Topics[1].Partitions[1].ErrorCode, nil)

			for fv := int16(1); fv <= 10; fv++ {
				for _, all := range []bool{false, true} {
					if all && fv < 2 {
						continue
					}
					topics := map[string][]int32{"orders": {1, 2}}
					if all {
						topics = nil
					}
					req := offsetFetch(fv, "g", topics)
					req.RequireStable = fv >= 7
					got := offsetsIn(fv, askGroups[*kmsg.OffsetFetchResponse](f, fv, req))
					p := got["orders"][1]
					epoch := int32(4)
					if cv < 6 || fv < 5 {
						epoch = -1
					}
					if p.ErrorCode != 0 || p.Offset != 42 || *p.Metadata != "note" || p.LeaderEpoch != epoch {
						t.Errorf("commit %d, fetch %d: %+v, want epoch %d", cv, fv, p, epoch)
					}
					q, there := got["orders"][2]
					if there == all || !all && (q.Offset != -1 || q.ErrorCode != 0 || *q.Metadata != "") {
						t.Errorf("commit %d, fetch %d: what was never committed is %+v", cv, fv, q)
					}
				}
				req := offsetFetch(fv, "nobody", map[string][]int32{"orders": {0}})
				if p := offsetsIn(fv, askGroups[*kmsg.OffsetFetchResponse](f, fv, req))["orders"][0]; p.Offset != -1 || p.ErrorCode != 0 {
					t.Errorf("fetch %d of an unknown group: %+v", fv, p)
				}
			}
			req := offsetFetch(10, "g", map[string][]int32{"unknown": {0}})
			f.code(askGroups[*kmsg.OffsetFetchResponse](f, 10, req).Groups[0].Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicID)
		})
	}
}

// A topic made anew under its old name has another id, and does not inherit
// offsets that were committed by id.
func TestOffsetsOfRecreatedTopic(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		c := offsetCommit("g", "orders", 1, 42)
		c.Topics[0].TopicID = f.world.IDOf("orders")
		f.code(askGroups[*kmsg.OffsetCommitResponse](f, 10, c).Topics[0].Partitions[0].ErrorCode, nil)
		f.world.topics = map[string]int32{"other": 3} // whose id is another's
		req := offsetFetch(10, "g", map[string][]int32{"orders": {1}})
		req.Groups[0].Topics[0].TopicID = f.world.IDOf("other")
		if p := askGroups[*kmsg.OffsetFetchResponse](f, 10, req).Groups[0].Topics[0].Partitions[0]; p.Offset != -1 || p.ErrorCode != 0 {
			t.Errorf("fetched %+v", p)
		}
	})
}

// Several groups in one request, each with its own outcome.
func TestFetchOfManyGroups(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		askGroups[*kmsg.OffsetCommitResponse](f, 9, offsetCommit("a", "orders", 0, 1))
		askGroups[*kmsg.OffsetCommitResponse](f, 9, offsetCommit("b", "payments", 0, 2))
		req := offsetFetch(8, "a", nil)
		req.Groups = append(req.Groups, offsetFetch(8, "b", nil).Groups[0], offsetFetch(8, "c", nil).Groups[0])
		r := askGroups[*kmsg.OffsetFetchResponse](f, 8, req)
		if len(r.Groups) != 3 || r.Groups[0].Topics[0].Partitions[0].Offset != 1 || r.Groups[1].Topics[0].Topic != "payments" || len(r.Groups[2].Topics) != 0 {
			t.Errorf("fetched %+v", r.Groups)
		}
		groups, offsets := f.groups.Progress(t.Context())
		if len(groups) != 2 || len(offsets) != 2 || offsets[1] != (CommittedOffset{"b", "payments", 0, 2}) {
			t.Errorf("progress %+v %+v", groups, offsets)
		}
		if s := f.groups.Stats(t.Context()); s.OffsetCommits != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A plain fetch tells what is committed and never waits; a stable one waits for
// what is written.
func TestStableFetchWaits(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		askGroups[*kmsg.OffsetCommitResponse](f, 9, offsetCommit("g", "orders", 0, 1))
		f.log.hold(true)
		go askGroups[*kmsg.OffsetCommitResponse](f, 9, offsetCommit("g", "orders", 0, 2))
		synctest.Wait()
		req := offsetFetch(7, "g", map[string][]int32{"orders": {0}})
		if p := offsetsIn(7, askGroups[*kmsg.OffsetFetchResponse](f, 7, req))["orders"][0]; p.Offset != 1 {
			t.Errorf("plain fetch %+v", p)
		}
		stable := offsetFetch(7, "g", map[string][]int32{"orders": {0}})
		stable.RequireStable = true
		done := make(chan int64)
		go func() {
			done <- offsetsIn(7, askGroups[*kmsg.OffsetFetchResponse](f, 7, stable))["orders"][0].Offset
		}()
		synctest.Wait()
		select {
		case o := <-done:
			t.Errorf("stable fetch of %d did not wait", o)
		default:
		}
		f.log.hold(false)
		if o := <-done; o != 2 {
			t.Errorf("stable fetch %d", o)
		}

		f.log.hold(true)
		go askGroups[*kmsg.OffsetCommitResponse](f, 9, offsetCommit("g", "orders", 0, 3))
		synctest.Wait()
		began := time.Now()
		r := askGroups[*kmsg.OffsetFetchResponse](f, 7, stable)
		f.code(r.ErrorCode, kerr.NotCoordinator)
		if time.Since(began) != 5*time.Second {
			t.Errorf("gave up after %v", time.Since(began))
		}
		synctest.Wait()
		f.log.hold(false)
	})
}

func TestOffsetDelete(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		req := kmsg.NewPtrOffsetDeleteRequest()
		f.code(askGroups[*kmsg.OffsetDeleteResponse](f, 0, req).ErrorCode, kerr.InvalidGroupID)
		req.Group = "g"
		f.code(askGroups[*kmsg.OffsetDeleteResponse](f, 0, req).ErrorCode, kerr.GroupIDNotFound)
		askGroups[*kmsg.OffsetCommitResponse](f, 9, offsetCommit("g", "orders", 0, 1))
		req.Topics = []kmsg.OffsetDeleteRequestTopic{
			{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 7}, {Partition: 0}}},
			{Topic: "unknown", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
		}
		r := askGroups[*kmsg.OffsetDeleteResponse](f, 0, req)
		if len(r.Topics) != 2 || len(r.Topics[0].Partitions) != 2 {
			t.Fatalf("answer %+v", r)
		}
		f.code(r.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
		f.code(r.Topics[0].Partitions[1].ErrorCode, nil)
		f.code(r.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
		get := offsetFetch(5, "g", nil)
		if got := offsetsIn(5, askGroups[*kmsg.OffsetFetchResponse](f, 5, get)); len(got) != 0 {
			t.Errorf("left %+v", got)
		}
	})
}

// What is asked for twice is told once; what names partitions of its own is not
// taken for the same.
func TestAskedForTwiceToldOnce(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		f.member(9, "g")
		askGroups[*kmsg.OffsetCommitResponse](f, 8, offsetCommit("h", "orders", 1, 42))
		dr := kmsg.NewPtrDescribeGroupsRequest()
		for range 1000 {
			dr.Groups = append(dr.Groups, "g", "h")
		}
		if d := askGroups[*kmsg.DescribeGroupsResponse](f, 5, dr); len(d.Groups) != 2 || d.Groups[0].Group != "g" || len(d.Groups[0].Members) != 1 || d.Groups[1].Group != "h" {
			t.Errorf("%d groups are described", len(d.Groups))
		}
		all, some := offsetFetch(9, "h", nil), offsetFetch(9, "h", map[string][]int32{"orders": {1, 2, 1, 1}})
		for range 10 {
			all.Groups = append(all.Groups, all.Groups[0])
		}
		all.Groups = append(all.Groups, some.Groups[0], some.Groups[0])
		r := askGroups[*kmsg.OffsetFetchResponse](f, 9, all)
		if len(r.Groups) != 3 || len(r.Groups[0].Topics) != 1 || len(r.Groups[1].Topics) != 1 || len(r.Groups[2].Topics[0].Partitions) != 0 {
			t.Errorf("%d groups: %+v", len(r.Groups), r.Groups)
			return
		}
		if ps := r.Groups[1].Topics[0].Partitions; len(ps) != 2 || ps[0].Offset != 42 || ps[1].Offset != -1 {
			t.Errorf("%+v", ps)
		}
	})
}

// A topic that is named again and again is answered as often, not squared.
func TestOffsetDeleteOfOneTopicManyTimes(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		askGroups[*kmsg.OffsetCommitResponse](f, 8, offsetCommit("g", "orders", 1, 42))
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = "g"
		for range 1000 {
			req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}, {Partition: 9}}})
		}
		n := 0
		for _, rt := range askGroups[*kmsg.OffsetDeleteResponse](f, 0, req).Topics {
			n += len(rt.Partitions)
		}
		if n > 2000 {
			t.Errorf("%d partitions are answered", n)
		}
	})
}
