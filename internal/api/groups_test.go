// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/coord/group/classic"
	"gregor/internal/wire"
)

// Goal: the group APIs say in every version what clients expect. Method: whole
// requests through the table, coordinators with logs in memory beneath, in a
// bubble with exact time.

// memLog is a coordinator's log that commits what is appended, unless held.
type memLog struct {
	mu      sync.Mutex
	batches []batch.View
	end     int64
	hw      int64
	held    bool
	waiting []chan struct{}
}

func (l *memLog) Append(b []byte, _ coord.AppendOptions) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := batch.View(slices.Clone(b))
	v.SetBaseOffset(l.end)
	l.batches = append(l.batches, v)
	l.end = v.NextOffset()
	if !l.held {
		l.hw = l.end
	}
	return l.end, nil
}

func (l *memLog) hold(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held = on; on {
		return
	}
	l.hw = l.end
	for _, ch := range l.waiting {
		close(ch)
	}
	l.waiting = nil
}

func (l *memLog) Bounds() (int64, int64) { l.mu.Lock(); defer l.mu.Unlock(); return 0, l.end }
func (l *memLog) Committed() int64       { l.mu.Lock(); defer l.mu.Unlock(); return l.hw }
func (l *memLog) MaxBatch() int          { return 1 << 20 }

func (l *memLog) Await(int64) (<-chan struct{}, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := make(chan struct{})
	l.waiting = append(l.waiting, ch)
	return ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiting = slices.DeleteFunc(l.waiting, func(c chan struct{}) bool { return c == ch })
	}
}

func (l *memLog) Read(from int64, _ int, buf []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if b.NextOffset() > from {
			buf = append(buf[:0], b...)
			return buf, nil
		}
	}
	return nil, nil
}

// groupWorld is a cluster of one broker, as the group APIs see it.
type groupWorld struct {
	partitions int32
	created    []string
	leaderless bool
	topics     map[string]int32
}

func (w *groupWorld) InternalPartitions(string) int32 { return w.partitions }
func (w *groupWorld) CreateInternal(topic string)     { w.created = append(w.created, topic) }
func (w *groupWorld) Coordinator(_ string, p int32, listener string) (int32, string, int32, bool) {
	return 1, fmt.Sprintf("host-%d", p), 9092, !w.leaderless
}
func (w *groupWorld) Leads(string, int32) (int32, bool)       { return 1, !w.leaderless }
func (w *groupWorld) HasPartition(topic string, p int32) bool { return p >= 0 && p < w.topics[topic] }
func (w *groupWorld) IDOf(topic string) [16]byte {
	if w.topics[topic] == 0 {
		return [16]byte{}
	}
	return [16]byte{7, topic[0]}
}

func (w *groupWorld) NameOf(id [16]byte) string {
	for name := range w.topics {
		if w.IDOf(name) == id {
			return name
		}
	}
	return ""
}

type groupFixture struct {
	t      *testing.T
	world  *groupWorld
	groups *Groups
	shards *coord.Runtime[*group.Shard]
	log    *memLog
	api    *API
}

// inGroups runs test in a bubble, with the one partition of the offsets topic
// owned and loaded.
func inGroups(t *testing.T, test func(t *testing.T, f *groupFixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := &group.Config{
			Classic:         classic.Config{InitialRebalanceDelay: 3 * time.Second, MaxSize: 100},
			OffsetRetention: 7 * 24 * time.Hour, RetentionCheck: 10 * time.Minute, MaxMetadata: 4096,
		}
		f := &groupFixture{t: t, world: &groupWorld{partitions: 1, topics: map[string]int32{"orders": 3, "payments": 1}}, log: &memLog{}}
		f.shards = coord.New(coord.Config[*group.Shard]{New: func(int32) *group.Shard { return group.New(cfg) }})
		ids := 0
		f.groups = &Groups{
			Shards: f.shards, Cluster: f.world, Topics: f.world,
			MinSession: 6 * time.Second, MaxSession: 30 * time.Minute,
			NewID: func() string { ids++; return fmt.Sprintf("uuid%d", ids) },
		}
		var err error
		if f.api, err = New(Config{}, f.groups.Routes()); err != nil {
			t.Fatal(err)
		}
		f.shards.Elect(0, 1, f.log)
		synctest.Wait()
		test(t, f)
		f.shards.Close()
	})
}

// askGroups sends req in a version through the table, bytes to bytes.
func askGroups[R kmsg.Response](f *groupFixture, version int16, req kmsg.Request) R {
	f.t.Helper()
	req.SetVersion(version)
	reply, pending := f.api.Serve(f.t.Context(), &wire.Request{
		Key: req.Key(), Version: version, ClientID: "client", HasClientID: true, Body: req.AppendTo(nil),
	})
	if pending != nil || reply.None {
		f.t.Fatalf("%T version %d: closed: %s", req, version, reply.Why)
	}
	resp := req.ResponseKind().(R)
	resp.SetVersion(version)
	if err := resp.ReadFrom(reply.Body); err != nil {
		f.t.Fatalf("%T version %d: answer cannot be read: %v", req, version, err)
	}
	return resp
}

func (f *groupFixture) code(got int16, want error) {
	f.t.Helper()
	if err := kerr.ErrorForCode(got); !errors.Is(err, want) {
		f.t.Errorf("error %v, want %v", err, want)
	}
}

func joinRequest(id, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = id, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 20_000
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"orders"}
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
	return req
}

// member goes through a join of a version and returns the answer.
func (f *groupFixture) member(version int16, id string) *kmsg.JoinGroupResponse {
	f.t.Helper()
	req := joinRequest(id, "")
	resp := askGroups[*kmsg.JoinGroupResponse](f, version, req)
	if version >= 4 {
		f.code(resp.ErrorCode, kerr.MemberIDRequired)
		if version < 7 && (resp.Protocol == nil || *resp.Protocol != "") {
			f.t.Errorf("version %d: protocol is %v", version, resp.Protocol)
		}
		req.MemberID = resp.MemberID
		resp = askGroups[*kmsg.JoinGroupResponse](f, version, req)
	}
	f.code(resp.ErrorCode, nil)
	return resp
}

// Each version of the membership APIs, through a group's whole life.
func TestGroupLifeInAllVersions(t *testing.T) {
	t.Parallel()
	for v := int16(0); v <= 9; v++ {
		inGroups(t, func(t *testing.T, f *groupFixture) {
			began := time.Now()
			j := f.member(v, "g")
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("version %d: joined after %v", v, took)
			}
			if j.Generation != 1 || j.LeaderID != j.MemberID || len(j.Members) != 1 || *j.Protocol != "range" {
				t.Errorf("version %d: joined with %+v", v, j)
			}
			if v >= 7 && *j.ProtocolType != "consumer" {
				t.Errorf("version %d: type %v", v, j.ProtocolType)
			}

			s := kmsg.NewPtrSyncGroupRequest()
			s.Group, s.Generation, s.MemberID = "g", 1, j.MemberID
			s.ProtocolType, s.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
			s.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: j.MemberID, MemberAssignment: []byte("all")}}
			if a := askGroups[*kmsg.SyncGroupResponse](f, min(v, 5), s); a.ErrorCode != 0 || string(a.MemberAssignment) != "all" {
				t.Errorf("version %d: synced with %+v", v, a)
			}

			h := kmsg.NewPtrHeartbeatRequest()
			h.Group, h.Generation, h.MemberID = "g", 1, j.MemberID
			f.code(askGroups[*kmsg.HeartbeatResponse](f, min(v, 4), h).ErrorCode, nil)

			d := kmsg.NewPtrDescribeGroupsRequest()
			d.Groups, d.IncludeAuthorizedOperations = []string{"g", "none"}, true
			dv := min(v, 6)
			got := askGroups[*kmsg.DescribeGroupsResponse](f, dv, d).Groups
			if got[0].State != "Stable" || got[0].Protocol != "range" || len(got[0].Members) != 1 || got[0].Members[0].ClientID != "client" || string(got[0].Members[0].MemberAssignment) != "all" {
				t.Errorf("version %d: described as %+v", dv, got[0])
			}
			if dv >= 3 && got[0].AuthorizedOperations != groupOperations {
				t.Errorf("version %d: operations %x", dv, got[0].AuthorizedOperations)
			}
			if got[1].State != "Dead" || (got[1].ErrorCode != 0) != (dv >= 6) {
				t.Errorf("version %d: none is described as %+v", dv, got[1])
			}

			del := kmsg.NewPtrDeleteGroupsRequest()
			del.Groups = []string{"g", "g", "none"}
			gone := askGroups[*kmsg.DeleteGroupsResponse](f, min(v, 2), del).Groups
			if len(gone) != 2 {
				t.Fatalf("deleted %+v", gone)
			}
			f.code(gone[0].ErrorCode, kerr.NonEmptyGroup)
			f.code(gone[1].ErrorCode, kerr.GroupIDNotFound)

			l := kmsg.NewPtrLeaveGroupRequest()
			l.Group, l.MemberID = "g", j.MemberID
			l.Members = []kmsg.LeaveGroupRequestMember{{MemberID: j.MemberID}}
			left := askGroups[*kmsg.LeaveGroupResponse](f, min(v, 5), l)
			f.code(left.ErrorCode, nil)
			left = askGroups[*kmsg.LeaveGroupResponse](f, min(v, 5), l) // once more
			if v < 3 {
				f.code(left.ErrorCode, kerr.UnknownMemberID)
			} else {
				f.code(left.ErrorCode, nil)
				f.code(left.Members[0].ErrorCode, kerr.UnknownMemberID)
			}

			li := kmsg.NewPtrListGroupsRequest()
			listed := askGroups[*kmsg.ListGroupsResponse](f, min(v, 5), li).Groups
			if len(listed) != 1 || listed[0].Group != "g" || listed[0].ProtocolType != "consumer" || v >= 4 && listed[0].GroupState != "Empty" || v >= 5 && listed[0].GroupType != "classic" {
				t.Errorf("version %d: listed %+v", v, listed)
			}
			gone = askGroups[*kmsg.DeleteGroupsResponse](f, min(v, 2), del).Groups
			f.code(gone[0].ErrorCode, nil)
		})
	}
}

func TestFindCoordinator(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		f.world.partitions = 0
		for v := int16(0); v <= 6; v++ {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey, req.CoordinatorKeys = "my-group", []string{"my-group", "orders"}
			one := func() (code int16, node int32, host string, port int32) {
				r := askGroups[*kmsg.FindCoordinatorResponse](f, v, req)
				if v < 4 {
					return r.ErrorCode, r.NodeID, r.Host, r.Port
				}
				if len(r.Coordinators) != 2 || r.Coordinators[1].Key != "orders" {
					t.Errorf("version %d: %+v", v, r)
				}
				c := r.Coordinators[0]
				return c.ErrorCode, c.NodeID, c.Host, c.Port
			}
			f.world.partitions, f.world.created = 0, nil
			code, node, host, port := one()
			f.code(code, kerr.CoordinatorNotAvailable)
			if node != -1 || host != "" || port != -1 || len(f.world.created) == 0 || f.world.created[0] != "__consumer_offsets" {
				t.Errorf("version %d: %d %q %d, created %v", v, node, host, port, f.world.created)
			}
			f.world.partitions = 50
			code, node, host, port = one()
			f.code(code, nil)
			if node != 1 || host != "host-12" || port != 9092 {
				t.Errorf("version %d: %d %q %d", v, node, host, port)
			}
			f.world.leaderless = true
			code, _, _, _ = one()
			f.code(code, kerr.CoordinatorNotAvailable)
			f.world.leaderless = false
			if v >= 1 {
				req.CoordinatorType = 1
				code, node, _, _ = one()
				f.code(code, nil)
				f.world.partitions, f.world.created = 0, nil
				code, _, _, _ = one()
				f.code(code, kerr.CoordinatorNotAvailable)
				if node != 1 || len(f.world.created) == 0 || f.world.created[0] != "__transaction_state" {
					t.Errorf("version %d: transactions at %d, created %v", v, node, f.world.created)
				}
				f.world.partitions = 50
				for _, kind := range []int8{2, 3} {
					req.CoordinatorType = kind
					code, _, _, _ = one()
					f.code(code, kerr.InvalidRequest)
				}
			}
		}
	})
}

func TestJoinRefusals(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		req := joinRequest("", "me")
		r := askGroups[*kmsg.JoinGroupResponse](f, 9, req)
		f.code(r.ErrorCode, kerr.InvalidGroupID)
		if r.MemberID != "me" || r.Generation != -1 {
			t.Errorf("answer %+v", r)
		}
		for _, ms := range []int32{5_999, 1_800_001, -1} {
			req = joinRequest("g", "")
			req.SessionTimeoutMillis = ms
			f.code(askGroups[*kmsg.JoinGroupResponse](f, 9, req).ErrorCode, kerr.InvalidSessionTimeout)
		}
		s := kmsg.NewPtrSyncGroupRequest()
		s.Group = "g"
		f.code(askGroups[*kmsg.SyncGroupResponse](f, 5, s).ErrorCode, kerr.InconsistentGroupProtocol)
		f.code(askGroups[*kmsg.SyncGroupResponse](f, 4, s).ErrorCode, kerr.UnknownMemberID)
		s.Group = ""
		f.code(askGroups[*kmsg.SyncGroupResponse](f, 4, s).ErrorCode, kerr.InvalidGroupID)
		f.code(askGroups[*kmsg.HeartbeatResponse](f, 4, kmsg.NewPtrHeartbeatRequest()).ErrorCode, kerr.InvalidGroupID)
		f.code(askGroups[*kmsg.LeaveGroupResponse](f, 4, kmsg.NewPtrLeaveGroupRequest()).ErrorCode, kerr.InvalidGroupID)
	})
}

// Requests to the wrong broker, or before the topic exists, say so where their
// version has a place for it.
func TestNotCoordinator(t *testing.T) {
	t.Parallel()
	for _, missing := range []bool{true, false} {
		inGroups(t, func(t *testing.T, f *groupFixture) {
			f.shards.Resign(0, 1)
			synctest.Wait()
			if missing {
				f.world.partitions = 0
			}
			want := kerr.NotCoordinator
			f.code(askGroups[*kmsg.JoinGroupResponse](f, 9, joinRequest("g", "")).ErrorCode, want)
			h := kmsg.NewPtrHeartbeatRequest()
			h.Group = "g"
			f.code(askGroups[*kmsg.HeartbeatResponse](f, 4, h).ErrorCode, want)
			d := kmsg.NewPtrDescribeGroupsRequest()
			d.Groups = []string{"g"}
			f.code(askGroups[*kmsg.DescribeGroupsResponse](f, 5, d).Groups[0].ErrorCode, want)
			del := kmsg.NewPtrDeleteGroupsRequest()
			del.Groups = []string{"g"}
			f.code(askGroups[*kmsg.DeleteGroupsResponse](f, 2, del).Groups[0].ErrorCode, want)
			f.code(askGroups[*kmsg.ListGroupsResponse](f, 5, kmsg.NewPtrListGroupsRequest()).ErrorCode, nil)
			c := offsetCommit("g", "orders", 0, 5)
			f.code(askGroups[*kmsg.OffsetCommitResponse](f, 9, c).Topics[0].Partitions[0].ErrorCode, want)
			o := offsetFetch(1, "g", map[string][]int32{"orders": {0}})
			f.code(askGroups[*kmsg.OffsetFetchResponse](f, 1, o).Topics[0].Partitions[0].ErrorCode, want)
			o = offsetFetch(5, "g", nil)
			f.code(askGroups[*kmsg.OffsetFetchResponse](f, 5, o).ErrorCode, want)
			o = offsetFetch(8, "g", nil)
			f.code(askGroups[*kmsg.OffsetFetchResponse](f, 8, o).Groups[0].ErrorCode, want)
		})
	}
}

// A client that hangs up while it is parked ends its request, not its membership.
func TestHangUpWhileJoining(t *testing.T) {
	t.Parallel()
	inGroups(t, func(t *testing.T, f *groupFixture) {
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := f.groups.join(ctx, &Call{Version: 3}, joinRequest("g", ""))
			done <- err
		}()
		synctest.Wait()
		hangUp()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		groups, _ := f.groups.Progress(t.Context())
		if len(groups) != 1 || groups[0].Members != 1 || groups[0].State != "PreparingRebalance" {
			t.Errorf("groups %+v", groups)
		}
		time.Sleep(2 * time.Minute)
		if groups, _ = f.groups.Progress(t.Context()); groups[0].Members != 0 {
			t.Errorf("groups %+v", groups)
		}
	})
}
