//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func rawClient(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(bootstrap, ",")...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// groupRecord is the last word that __consumer_offsets has on a group.
func groupRecord(t *testing.T, group string) (last kmsg.GroupMetadataValue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const topic = "__consumer_offsets"
	ask := rawClient(t)
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	meta := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = kmsg.StringPtr(topic)
	meta.Topics = append(meta.Topics, mt)
	mr, err := meta.RequestWith(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range mr.Topics[0].Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p.Partition, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	lr, err := req.RequestWith(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	from, end := map[int32]kgo.Offset{}, map[int32]int64{}
	for _, p := range lr.Topics[0].Partitions {
		if p.Offset > 0 {
			from[p.Partition], end[p.Partition] = kgo.NewOffset().AtStart(), p.Offset
		}
	}
	cl := rawClient(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	for len(end) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			var k kmsg.GroupMetadataKey
			if err := k.ReadFrom(r.Key); err == nil && k.Version == 2 && k.Group == group {
				last = kmsg.NewGroupMetadataValue()
				if err := last.ReadFrom(r.Value); err != nil {
					t.Fatalf("group %s, offset %d: %v", group, r.Offset, err)
				}
			}
			if r.Offset+1 >= end[r.Partition] {
				delete(end, r.Partition)
			}
		})
	}
	return last
}

// TestStatic: a static member that dies and comes back within its session has
// its partitions again, and nobody rebalances: the generation stays.
func TestStatic(t *testing.T) {
	all := clients()
	for _, c := range []client{all[0], all[1], all[4]} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic, group := newTopic(t, ""), name(t, "g")
			join := func(id string) *member {
				return c.join(t, "topic="+topic, "group="+group, "strategy=eager", "instance="+id, "session=60000")
			}
			owned := func(m *member) []int {
				m.mu.Lock()
				defer m.mu.Unlock()
				ps := keys(m.assigned)
				slices.Sort(ps)
				return ps
			}
			a, b := join("a"), join("b")
			settle := func(what string) {
				t.Helper()
				eventually(t, what, func() (bool, string) { return balanced([]*member{a, b}, partitions) })
			}
			settle("two static members")
			beforeA, beforeB, before := owned(a), owned(b), groupRecord(t, group)
			if err := a.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = a.wait()
			a = join("a")
			settle("a static member that came back")
			after := groupRecord(t, group)
			if after.Generation != before.Generation {
				t.Errorf("generation %d after a static member's return, was %d", after.Generation, before.Generation)
			}
			if got := owned(a); !reflect.DeepEqual(got, beforeA) {
				t.Errorf("partitions %v after the return, were %v", got, beforeA)
			}
			if got := owned(b); !reflect.DeepEqual(got, beforeB) {
				t.Errorf("the other's partitions %v, were %v", got, beforeB)
			}
			for k, m := range after.Members {
				if m.InstanceID == nil || (*m.InstanceID != "a" && *m.InstanceID != "b") || len(after.Members) != 2 {
					t.Errorf("member %d of %d: instance %v", k, len(after.Members), m.InstanceID)
				}
			}
			c.run(t, "produce", "topic="+topic, "n=100", "keyed=1")
			eventually(t, "every record read", func() (bool, string) {
				read := map[int]bool{}
				for _, m := range []*member{a, b} {
					m.mu.Lock()
					for i := range m.seen {
						read[i] = true
					}
					m.mu.Unlock()
				}
				return len(read) == 100, fmt.Sprintf("%d of 100", len(read))
			})
		})
	}
}

// TestOtherProtocols: groups of Connect workers, of schema registries and of
// anything else agree on bytes that the broker does not read.
func TestOtherProtocols(t *testing.T) {
	for _, kind := range []string{"connect", "sr", "my own"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			group := name(t, "g")
			meta := func(k int) []byte { return []byte{0, 1, 0xff, 0xfe, byte(k), 0} }
			share := func(k int) []byte { return []byte{byte(k), 0xff, 0, 0x80} }
			joinAs := func(cl *kgo.Client, kind, id string, k int) (*kmsg.JoinGroupResponse, error) {
				req := kmsg.NewPtrJoinGroupRequest()
				req.Group, req.ProtocolType, req.MemberID = group, kind, id
				req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30_000, 30_000
				for _, p := range []string{"sessioned", "compatible"} {
					rp := kmsg.NewJoinGroupRequestProtocol()
					rp.Name, rp.Metadata = p, meta(k)
					req.Protocols = append(req.Protocols, rp)
				}
				return req.RequestWith(ctx, cl)
			}
			type worker struct {
				cl   *kgo.Client
				id   string
				join *kmsg.JoinGroupResponse
				sync *kmsg.SyncGroupResponse
				err  error
			}
			workers := []*worker{{cl: rawClient(t)}, {cl: rawClient(t)}, {cl: rawClient(t)}}
			// They come one after another; who is there already hears of it by
			// heartbeat and joins again.
			for n, w := range workers {
				r, err := joinAs(w.cl, kind, "", n)
				if err != nil {
					t.Fatal(err)
				}
				if kerr.ErrorForCode(r.ErrorCode) != kerr.MemberIDRequired || r.MemberID == "" {
					t.Fatalf("a first join: error %d, member %q", r.ErrorCode, r.MemberID)
				}
				w.id = r.MemberID
				var all sync.WaitGroup
				for k, w := range workers[:n+1] {
					all.Go(func() {
						for k < n && w.err == nil {
							hb := kmsg.NewPtrHeartbeatRequest()
							hb.Group, hb.Generation, hb.MemberID = group, w.join.Generation, w.id
							r, err := hb.RequestWith(ctx, w.cl)
							if w.err = err; err == nil && kerr.ErrorForCode(r.ErrorCode) == kerr.RebalanceInProgress {
								break
							}
						}
						if w.err == nil {
							w.join, w.err = joinAs(w.cl, kind, w.id, k)
						}
					})
				}
				all.Wait()
				for k, w := range workers[:n+1] {
					if w.err != nil || w.join.ErrorCode != 0 || w.join.Generation != workers[0].join.Generation {
						t.Fatalf("join of %d: %v, %+v", k, w.err, w.join)
					}
				}
			}
			lead := leaderOf(workers[0].join, workers[1].join, workers[2].join)
			if len(lead.Members) != 3 {
				t.Fatalf("the leader knows of %d members", len(lead.Members))
			}
			number := map[string]int{}
			for k, w := range workers {
				number[w.id] = k
			}
			for _, m := range lead.Members {
				if !slices.Equal(m.ProtocolMetadata, meta(number[m.MemberID])) {
					t.Errorf("member %d's metadata reached the leader as %x", number[m.MemberID], m.ProtocolMetadata)
				}
			}
			if *lead.ProtocolType != kind || *lead.Protocol != "sessioned" {
				t.Errorf("protocol %q %q", *lead.ProtocolType, *lead.Protocol)
			}
			var all sync.WaitGroup
			for _, w := range workers {
				all.Go(func() {
					req := kmsg.NewPtrSyncGroupRequest()
					req.Group, req.Generation, req.MemberID = group, lead.Generation, w.id
					req.ProtocolType, req.Protocol = &kind, lead.Protocol
					if w.id == lead.LeaderID {
						for id, k := range number {
							a := kmsg.NewSyncGroupRequestGroupAssignment()
							a.MemberID, a.MemberAssignment = id, share(k)
							req.GroupAssignment = append(req.GroupAssignment, a)
						}
					}
					w.sync, w.err = req.RequestWith(ctx, w.cl)
				})
			}
			all.Wait()
			for k, w := range workers {
				if w.err != nil || w.sync.ErrorCode != 0 || !slices.Equal(w.sync.MemberAssignment, share(k)) {
					t.Fatalf("worker %d: %v, %+v", k, w.err, w.sync)
				}
				hb := kmsg.NewPtrHeartbeatRequest()
				hb.Group, hb.Generation, hb.MemberID = group, lead.Generation, w.id
				if r, err := hb.RequestWith(ctx, w.cl); err != nil || r.ErrorCode != 0 {
					t.Fatalf("heartbeat: %v, %+v", err, r)
				}
			}
			if r, err := joinAs(workers[0].cl, "consumer", "", 0); err != nil || kerr.ErrorForCode(r.ErrorCode) != kerr.InconsistentGroupProtocol {
				t.Errorf("a consumer among them: %v, %+v", err, r)
			}
			d := kmsg.NewPtrDescribeGroupsRequest()
			d.Groups = []string{group}
			dr, err := d.RequestWith(ctx, workers[0].cl)
			if err != nil {
				t.Fatal(err)
			}
			g := dr.Groups[0]
			if g.State != "Stable" || g.ProtocolType != kind || g.Protocol != "sessioned" || len(g.Members) != 3 {
				t.Errorf("described as %+v", g)
			}
			for _, m := range g.Members {
				if k := number[m.MemberID]; !slices.Equal(m.ProtocolMetadata, meta(k)) || !slices.Equal(m.MemberAssignment, share(k)) {
					t.Errorf("member %d described with %x, %x", k, m.ProtocolMetadata, m.MemberAssignment)
				}
			}
			l, err := kmsg.NewPtrListGroupsRequest().RequestWith(ctx, workers[0].cl)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(l.Groups, func(g kmsg.ListGroupsResponseGroup) bool {
				return g.Group == group && g.ProtocolType == kind
			}) {
				t.Errorf("not listed with its type: %+v", l.Groups)
			}
			for _, w := range workers {
				req := kmsg.NewPtrLeaveGroupRequest()
				req.Group = group
				m := kmsg.NewLeaveGroupRequestMember()
				m.MemberID = w.id
				req.Members = append(req.Members, m)
				if r, err := req.RequestWith(ctx, w.cl); err != nil || r.ErrorCode != 0 {
					t.Errorf("leave: %v, %+v", err, r)
				}
			}
		})
	}
}

func leaderOf(joins ...*kmsg.JoinGroupResponse) *kmsg.JoinGroupResponse {
	for _, j := range joins {
		if j.MemberID == j.LeaderID {
			return j
		}
	}
	return joins[0]
}
