// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// Goal: offsets are committed, fetched, deleted and expired by Kafka's rules.
// Method: as in classic_test.go.

func TestSimpleCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.commitOffset("g", "", -1, "orders", 3, 42); err != nil {
		t.Fatal(err)
	}
	if o := r.fetch(Committed, "g", "orders", 3); o != 42 {
		t.Errorf("fetched %d", o)
	}
	if o := r.fetch(Committed, "g", "orders", 4); o != -1 {
		t.Errorf("fetched %d", o)
	}
	if o := r.fetch(Committed, "h", "orders", 3); o != -1 {
		t.Errorf("fetched %d", o)
	}
	if l := r.s.List(nil, nil); len(l) != 1 || l[0].ProtocolType != "" || l[0].GroupState != "Empty" {
		t.Errorf("lists %v", l)
	}
}

func TestCommitRules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := func(q *kmsg.OffsetCommitRequest) { q.Version = 8 }
	if err := r.commitOffset("none", "m", 1, "t", 0, 1); !errors.Is(err, kerr.GroupIDNotFound) {
		t.Errorf("unknown group: %v", err)
	}
	if err := r.commitOffset("none", "m", 1, "t", 0, 1, old); !errors.Is(err, kerr.IllegalGeneration) {
		t.Errorf("unknown group, version 8: %v", err)
	}
	ids := r.stable("g", 2)
	for _, c := range []struct {
		member     string
		generation int32
		want       error
	}{
		{ids[0], 1, nil},
		{ids[0], 2, kerr.IllegalGeneration},
		{"x", 1, kerr.UnknownMemberID},
		{"", -1, kerr.UnknownMemberID}, // the group is not empty
		{"x", -1, kerr.UnknownMemberID},
	} {
		if err := r.commitOffset("g", c.member, c.generation, "t", 0, 1); !errors.Is(err, c.want) {
			t.Errorf("member %q generation %d: %v, want %v", c.member, c.generation, err, c.want)
		}
	}
	fence := func(q *kmsg.OffsetCommitRequest) { q.InstanceID = kmsg.StringPtr("i") }
	if err := r.commitOffset("g", ids[0], 1, "t", 0, 1, fence); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("unknown instance: %v", err)
	}
	r.join("g", ids[0])
	if err := r.commitOffset("g", ids[1], 1, "t", 0, 2); err != nil {
		t.Errorf("while the group prepares: %v", err)
	}
	r.join("g", ids[1])
	if r.state("g") != "CompletingRebalance" {
		t.Fatal(r.state("g"))
	}
	if err := r.commitOffset("g", ids[1], 2, "t", 0, 2); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Errorf("while the group completes: %v", err)
	}
}

// A member that commits needs no heartbeat beside it.
func TestCommitRenewsSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 1)
	for i := range 5 {
		r.pass(9 * time.Second)
		if err := r.commitOffset("g", ids[0], 1, "t", 0, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	r.pass(10 * time.Second)
	if r.state("g") != "Empty" {
		t.Errorf("state is %s", r.state("g"))
	}
}

func TestMetadataTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	say := func(m string) func(*kmsg.OffsetCommitRequest) {
		return func(q *kmsg.OffsetCommitRequest) { q.Topics[0].Partitions[0].Metadata = &m }
	}
	if err := r.commitOffset("g", "", -1, "t", 0, 1, say(strings.Repeat("é", 20))); err != nil {
		t.Errorf("20 characters: %v", err)
	}
	// Java counts what is outside the basic plane twice.
	if err := r.commitOffset("g", "", -1, "t", 0, 1, say(strings.Repeat("\U0001F600", 11))); !errors.Is(err, kerr.OffsetMetadataTooLarge) {
		t.Errorf("22 units: %v", err)
	}
	if units(strings.Repeat("é", 2000)) != 2000 {
		t.Error("a long text is counted wrong")
	}
}

// Reads see what is committed; operations see what is written.
func TestTwoViews(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.commitOffset("g", "", -1, "t", 0, 1)
	r.hold = true
	r.commitOffset("g", "", -1, "t", 0, 2)
	r.commitOffset("g", "", -1, "t", 0, 3)
	r.commitOffset("h", "", -1, "t", 0, 9)
	see := func(want string) {
		t.Helper()
		got := fmt.Sprint(r.fetch(Committed, "g", "t", 0), r.fetch(Written, "g", "t", 0), r.fetch(Committed, "h", "t", 0), len(r.s.List(nil, nil)))
		if got != want {
			t.Errorf("sees %s, want %s", got, want)
		}
	}
	see("1 3 -1 1")
	r.commit(2)
	see("2 3 -1 1")
	r.commit(4)
	see("3 3 9 2")
	r.call(func(coord.Ticket) coord.Result { return r.s.DeleteGroups([]string{"g"}) })
	see("3 -1 9 2")
	r.commitOffset("g", "", -1, "t", 0, 4)
	see("3 4 9 2")
	r.commit(5) // the tombstone of the offset
	see("-1 4 9 2")
	r.commit(6) // that of the group
	see("-1 4 9 1")
	r.commit(len(r.log))
	see("4 4 9 2")
}

func (r *rig) deleteOffsets(group, topic string, partitions ...int32) (errs []error) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	rt := kmsg.NewOffsetDeleteRequestTopic()
	rt.Topic = topic
	for _, p := range partitions {
		rt.Partitions = append(rt.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: p})
	}
	req.Topics = append(req.Topics, rt)
	t := r.call(func(coord.Ticket) coord.Result { return r.s.DeleteOffsets(req) })
	if err, ok := r.answers[t].(error); ok {
		return []error{err}
	}
	for _, p := range r.answers[t].(*kmsg.OffsetDeleteResponse).Topics[0].Partitions {
		errs = append(errs, kerr.ErrorForCode(p.ErrorCode))
	}
	return errs
}

func TestOffsetDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if errs := r.deleteOffsets("g", "t", 0); !errors.Is(errs[0], kerr.GroupIDNotFound) {
		t.Errorf("unknown group: %v", errs)
	}
	ids := r.stable("g", 1) // subscribes to orders
	r.commitOffset("g", ids[0], 1, "orders", 0, 1)
	r.commitOffset("g", ids[0], 1, "other", 0, 1)
	if errs := r.deleteOffsets("g", "orders", 0); !errors.Is(errs[0], kerr.GroupSubscribedToTopic) {
		t.Errorf("subscribed: %v", errs)
	}
	n := len(r.log)
	if errs := r.deleteOffsets("g", "other", 0, 1); errs[0] != nil || errs[1] != nil || len(r.log) != n+1 {
		t.Errorf("not subscribed: %v, %d records", errs, len(r.log)-n)
	}
	if r.fetch(Committed, "g", "other", 0) != -1 || r.fetch(Committed, "g", "orders", 0) != 1 {
		t.Error("deleted the wrong offset")
	}
	// What members of another type do is not known: their group must be empty.
	j := r.join("connect", "", version(3), ofType("connect"))
	r.pass(7 * time.Second)
	r.joined(j)
	if errs := r.deleteOffsets("connect", "t", 0); !errors.Is(errs[0], kerr.NonEmptyGroup) {
		t.Errorf("connect group: %v", errs)
	}
}

func TestDeleteGroups(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.stable("busy", 1)
	r.commitOffset("idle", "", -1, "t", 0, 1)
	r.commitOffset("idle", "", -1, "t", 1, 1)
	n := len(r.log)
	tk := r.call(func(coord.Ticket) coord.Result { return r.s.DeleteGroups([]string{"busy", "idle", "none"}) })
	want := []error{kerr.NonEmptyGroup, nil, kerr.GroupIDNotFound}
	for i, d := range r.answers[tk].([]kmsg.DeleteGroupsResponseGroup) {
		if err := kerr.ErrorForCode(d.ErrorCode); !errors.Is(err, want[i]) {
			t.Errorf("%s: %v", d.Group, err)
		}
	}
	if len(r.log) != n+3 || len(r.s.groups) != 1 {
		t.Errorf("%d records, %d groups left", len(r.log)-n, len(r.s.groups))
	}
}

func TestTopicDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, g := range []string{"a", "b"} {
		r.commitOffset(g, "", -1, "gone", 0, 1)
		r.commitOffset(g, "", -1, "stays", 0, 1)
	}
	r.call(func(coord.Ticket) coord.Result { return r.s.TopicDeleted("gone") })
	for _, g := range []string{"a", "b"} {
		if r.fetch(Committed, g, "gone", 0) != -1 || r.fetch(Committed, g, "stays", 0) != 1 {
			t.Errorf("group %s has %d and %d", g, r.fetch(Committed, g, "gone", 0), r.fetch(Committed, g, "stays", 0))
		}
	}
}

func TestTopicIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := [16]byte{1}, [16]byte{2}
	r.commitOffset("g", "", -1, "t", 0, 5, func(q *kmsg.OffsetCommitRequest) { q.Topics[0].TopicID = one })
	for id, want := range map[[16]byte]bool{one: true, two: false, {}: true} {
		if got := r.s.Fetch(Committed, "g", "t", id, 0) != nil; got != want {
			t.Errorf("id %x: found is %v", id[0], got)
		}
	}
}

// --- Expiry: the rig keeps offsets for an hour and looks every ten minutes.

func TestSimpleGroupExpires(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.commitOffset("g", "", -1, "t", 0, 1)
	r.pass(30 * time.Minute)
	r.commitOffset("g", "", -1, "t", 1, 1)
	r.pass(31 * time.Minute) // the first offset's hour is over
	if r.fetch(Committed, "g", "t", 0) != -1 || r.fetch(Committed, "g", "t", 1) != 1 {
		t.Error("not the first alone has expired")
	}
	r.pass(40 * time.Minute)
	if len(r.s.groups) != 0 {
		t.Errorf("%d groups left", len(r.s.groups))
	}
}

// Of a group with members only topics that nobody consumes expire; when it has
// become empty, its hour begins then.
func TestLiveGroupExpires(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := timeouts(3_600_000*5, 30_000)
	id := r.newID("g", long)
	r.join("g", id, long)
	r.pass(7 * time.Second)
	r.sync("g", id, 1, nil)
	r.commitOffset("g", id, 1, "orders", 0, 1) // subscribed
	r.commitOffset("g", id, 1, "left", 0, 1)
	r.pass(75 * time.Minute)
	if r.fetch(Committed, "g", "left", 0) != -1 || r.fetch(Committed, "g", "orders", 0) != 1 {
		t.Error("not the unsubscribed topic alone has expired")
	}
	r.leave("g", kmsg.LeaveGroupRequestMember{MemberID: id})
	r.pass(55 * time.Minute)
	if r.fetch(Committed, "g", "orders", 0) != 1 {
		t.Error("expired by its commit, not by when the group became empty")
	}
	r.pass(20 * time.Minute)
	if len(r.s.groups) != 0 {
		t.Errorf("%d groups left", len(r.s.groups))
	}
}

// Clients before 2.1's protocol say themselves how long.
func TestRetentionOfOldClients(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.commitOffset("g", "", -1, "t", 0, 1, func(q *kmsg.OffsetCommitRequest) {
		q.Version, q.RetentionTimeMillis = 4, 5*60_000
	})
	r.pass(11 * time.Minute)
	if r.fetch(Committed, "g", "t", 0) != -1 {
		t.Error("has not expired")
	}
}

// A great expiry is done in parts, with the loop free in between.
func TestExpiryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 30 {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = fmt.Sprintf("g%02d", i), -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		for p := range 1000 {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			rp.Partition = int32(p)
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		r.call(func(coord.Ticket) coord.Result { return r.s.Commit(r.now, req) })
	}
	r.now = r.now.Add(2 * time.Hour)
	res := r.s.Tick(r.now)
	if n := len(res.Records); n < 1000 || n > expireAtOnce+1001 || !res.Divisible {
		t.Errorf("%d records at once", n)
	}
	// It goes on when these are written, and not at once when they are refused.
	r.fail = kerr.NotEnoughReplicas
	r.carry(0, res)
	if next := r.s.Next(); next.Sub(r.now) < time.Second {
		t.Errorf("refused, and tried again after %v", next.Sub(r.now))
	}
	r.fail = nil
	r.now = r.s.Next()
	r.carry(0, r.s.Tick(r.now))
	if !r.s.Next().Equal(r.now) {
		t.Errorf("goes on at %v", r.s.Next())
	}
	r.pass(0)
	if len(r.s.groups) != 0 {
		t.Errorf("%d groups left", len(r.s.groups))
	}
}

// An offset that is deleted, committed and deleted again, all before anything is
// committed, is seen in each of its states on the way.
func TestCommittedViewGoesThroughAllStates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold = true
	for i := range 3 {
		r.commitOffset("g", "", -1, "t", 0, int64(i))
		r.deleteOffsetsOnHold("g", "t", 0)
	}
	for end := 1; end <= 6; end++ {
		want := int64(-1)
		if end%2 == 1 {
			want = int64(end / 2)
		}
		if r.commit(end); r.fetch(Committed, "g", "t", 0) != want {
			t.Errorf("committed to %d: sees %d, want %d", end, r.fetch(Committed, "g", "t", 0), want)
		}
	}
	if n := len(r.s.groups["g"].topics); n != 0 {
		t.Errorf("%d topics left", n)
	}
}

// deleteOffsetsOnHold asks for a deletion whose answer will come later.
func (r *rig) deleteOffsetsOnHold(group, topic string, partition int32) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}}}
	r.call(func(coord.Ticket) coord.Result { return r.s.DeleteOffsets(req) })
}
