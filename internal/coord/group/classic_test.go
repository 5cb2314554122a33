// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// Goal: the classic group protocol behaves as Kafka's coordinator has it, seen
// through requests and answers. Method: a rig carries out the shard's results
// with time and commits in the test's hand; each test is one scenario.

func TestNewGroupNeedsMemberID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.newID("g")
	if id != "c-1" {
		t.Errorf("member id is %q", id)
	}
	if len(r.log) != 1 || r.state("g") != "Empty" {
		t.Fatalf("%d records, state %s", len(r.log), r.state("g"))
	}
	j := r.join("g", id)
	r.waiting(j)
	r.pass(3 * time.Second)
	a := r.joined(j)
	if a.ErrorCode != 0 || a.Generation != 1 || a.LeaderID != id || len(a.Members) != 1 || *a.Protocol != "range" || *a.ProtocolType != "consumer" {
		t.Errorf("answer is %+v", a)
	}
	if r.state("g") != "CompletingRebalance" {
		t.Errorf("state is %s", r.state("g"))
	}
}

func TestPendingMemberExpires(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.newID("g")
	r.pass(10 * time.Second)
	r.wantCode(r.joined(r.join("g", id)).ErrorCode, kerr.UnknownMemberID)
}

func TestOldClientJoinsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.join("g", "", version(3))
	r.waiting(j)
	r.pass(3 * time.Second)
	if a := r.joined(j); a.ErrorCode != 0 || a.MemberID != "c-1" || len(a.Members) != 1 {
		t.Errorf("answer is %+v", a)
	}
}

// Of members that come while the initial delay runs, the last one prolongs it,
// up to the rebalance timeout.
func TestInitialDelayIsExtended(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := r.join("g", "", version(3), timeouts(10_000, 7_000))
	r.pass(2 * time.Second)
	two := r.join("g", "", version(3), timeouts(10_000, 7_000))
	r.pass(3 * time.Second) // at 5 s: the first round ended at 3 s
	r.waiting(one)
	three := r.join("g", "", version(3), timeouts(10_000, 7_000))
	r.pass(1500 * time.Millisecond) // the second round ended at 6 s
	r.waiting(one)
	r.pass(time.Second) // the third may last 1 s only: 7 s are over
	for _, j := range []coord.Ticket{one, two, three} {
		if a := r.joined(j); a.ErrorCode != 0 || a.Generation != 1 {
			t.Errorf("answer is %+v", a)
		}
	}
	if n := len(r.joined(one).Members); n != 3 {
		t.Errorf("leader sees %d members", n)
	}
	if n := len(r.joined(two).Members); n != 0 {
		t.Errorf("follower sees %d members", n)
	}
}

func TestStableGroupOfThree(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 3)
	for _, id := range ids {
		if err := r.heartbeat("g", id, 1); err != nil {
			t.Errorf("heartbeat: %v", err)
		}
	}
	if err := r.heartbeat("g", ids[0], 2); !errors.Is(err, kerr.IllegalGeneration) {
		t.Errorf("heartbeat of another generation: %v", err)
	}
	if err := r.heartbeat("g", "nobody", 1); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("heartbeat of a stranger: %v", err)
	}
	if err := r.heartbeat("none", ids[0], 1); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("heartbeat to no group: %v", err)
	}
	// A sync that was lost on the way is answered again.
	if a := r.synced(r.sync("g", ids[1], 1, nil)); string(a.MemberAssignment) != "for "+ids[1] {
		t.Errorf("assignment is %q", a.MemberAssignment)
	}
	d, ok := r.s.Describe("g")
	if !ok || d.State != "Stable" || d.Protocol != "range" || d.ProtocolType != "consumer" || len(d.Members) != 3 || d.Members[0].ClientHost != "/127.0.0.1" {
		t.Errorf("described as %+v", d)
	}
}

// A new member makes the others rejoin; the one that does not is out.
func TestRebalanceExpelsWhoDoesNotRejoin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 2)
	third := r.newID("g")
	j3 := r.join("g", third)
	r.waiting(j3)
	if err := r.heartbeat("g", ids[0], 1); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Errorf("heartbeat: %v", err)
	}
	j1 := r.join("g", ids[0])
	r.waiting(j1)
	for range 3 { // the second keeps its session and never rejoins
		r.pass(9 * time.Second)
		if err := r.heartbeat("g", ids[1], 1); !errors.Is(err, kerr.RebalanceInProgress) {
			t.Errorf("heartbeat: %v", err)
		}
	}
	r.pass(3 * time.Second)
	if a := r.joined(j1); a.Generation != 2 || len(a.Members) != 2 {
		t.Errorf("leader gets %+v", a)
	}
	if a := r.joined(j3); a.Generation != 2 || a.LeaderID != ids[0] {
		t.Errorf("third gets %+v", a)
	}
	if err := r.heartbeat("g", ids[1], 2); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("heartbeat of the expelled: %v", err)
	}
}

func TestSessionEndRebalances(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 2)
	r.pass(9 * time.Second)
	if err := r.heartbeat("g", ids[1], 1); err != nil {
		t.Fatal(err)
	}
	r.pass(2 * time.Second)
	if err := r.heartbeat("g", ids[1], 1); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Errorf("heartbeat: %v", err)
	}
	a := r.joined(r.join("g", ids[1])) // alone: completes at once
	if a.Generation != 2 || a.LeaderID != ids[1] {
		t.Errorf("answer is %+v", a)
	}
}

func TestLastMemberLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 1)
	n := len(r.log)
	if errs := r.leave("g", kmsg.LeaveGroupRequestMember{MemberID: "x"}, kmsg.LeaveGroupRequestMember{MemberID: ids[0]}); !errors.Is(errs[0], kerr.UnknownMemberID) || errs[1] != nil {
		t.Errorf("leave: %v", errs)
	}
	if r.state("g") != "Empty" || len(r.log) != n+1 {
		t.Errorf("state %s, %d records more", r.state("g"), len(r.log)-n)
	}
	g := r.s.group("g")
	if g.Generation() != 2 || g.ProtocolType() != "consumer" {
		t.Errorf("generation %d, type %q", g.Generation(), g.ProtocolType())
	}
}

func TestLeaderRejoinForcesRebalance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 2)
	// A follower with nothing new is told of the generation that it knows.
	if a := r.joined(r.join("g", ids[1])); a.Generation != 1 || len(a.Members) != 0 {
		t.Errorf("follower gets %+v", a)
	}
	j := r.join("g", ids[0])
	r.waiting(j)
	if r.state("g") != "PreparingRebalance" {
		t.Errorf("state is %s", r.state("g"))
	}
}

func TestChangedMetadataForcesRebalance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 2)
	r.waiting(r.join("g", ids[1], offers("range", "sticky")))
	if r.state("g") != "PreparingRebalance" {
		t.Errorf("state is %s", r.state("g"))
	}
}

func TestProtocolChoice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.join("g", "", version(3), offers("a", "b", "c"))
	b := r.join("g", "", version(3), offers("c", "b"))
	c := r.join("g", "", version(3), offers("c", "b"))
	r.pass(7 * time.Second)
	for _, j := range []coord.Ticket{a, b, c} {
		if p := r.joined(j); *p.Protocol != "c" {
			t.Errorf("protocol is %s, want c: two votes against one for b", *p.Protocol)
		}
	}
	r.wantCode(r.joined(r.join("g", "", offers("a"))).ErrorCode, kerr.InconsistentGroupProtocol)
	r.wantCode(r.joined(r.join("g", "", ofType("connect"))).ErrorCode, kerr.InconsistentGroupProtocol)
	r.wantCode(r.joined(r.join("new", "", offers())).ErrorCode, kerr.InconsistentGroupProtocol)
	if r.s.group("new") != nil {
		t.Error("a refused join made a group")
	}
}

func TestSyncErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.wantCode(r.synced(r.sync("none", "x", 1, nil)).ErrorCode, kerr.UnknownMemberID)
	ids := r.stable("g", 2)
	r.wantCode(r.synced(r.sync("g", "x", 1, nil)).ErrorCode, kerr.UnknownMemberID)
	r.wantCode(r.synced(r.sync("g", ids[0], 7, nil)).ErrorCode, kerr.IllegalGeneration)
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation, req.Protocol = "g", ids[0], 1, kmsg.StringPtr("sticky")
	t1 := r.call(func(t coord.Ticket) coord.Result { return r.s.Sync(r.now, t, req) })
	r.wantCode(r.synced(t1).ErrorCode, kerr.InconsistentGroupProtocol)
	r.join("g", ids[0])
	r.wantCode(r.synced(r.sync("g", ids[0], 1, nil)).ErrorCode, kerr.RebalanceInProgress)
}

// A follower that waits for the assignment when the group rebalances is told to
// rejoin.
func TestRebalanceInterruptsSync(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.newID("g")
	b := r.newID("g")
	ja, jb := r.join("g", a), r.join("g", b)
	r.pass(7 * time.Second)
	if r.joined(ja).Generation != 1 || r.joined(jb).Generation != 1 {
		t.Fatal("no generation")
	}
	s := r.sync("g", b, 1, nil)
	r.waiting(s)
	if errs := r.leave("g", kmsg.LeaveGroupRequestMember{MemberID: a}); errs[0] != nil {
		t.Fatal(errs)
	}
	r.wantCode(r.synced(s).ErrorCode, kerr.RebalanceInProgress)
}

// A member that is thrown out by an admin while it syncs hears of it.
func TestRemovedWhileSyncing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.newID("g"), r.newID("g")
	r.join("g", a)
	r.join("g", b)
	r.pass(7 * time.Second)
	s := r.sync("g", b, 1, nil)
	r.leave("g", kmsg.LeaveGroupRequestMember{MemberID: b})
	r.wantCode(r.synced(s).ErrorCode, kerr.UnknownMemberID)
}

// Who joins and never syncs is out when the rebalance timeout ends.
func TestSyncTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.newID("g", timeouts(100_000, 30_000)), r.newID("g", timeouts(100_000, 30_000))
	r.join("g", a, timeouts(100_000, 30_000))
	r.join("g", b, timeouts(100_000, 30_000))
	r.pass(6 * time.Second) // two rounds of the initial delay
	r.sync("g", a, 1, map[string]string{a: "x"})
	if r.state("g") != "Stable" {
		t.Fatalf("state is %s", r.state("g"))
	}
	r.pass(30 * time.Second)
	if r.state("g") != "PreparingRebalance" {
		t.Errorf("state is %s", r.state("g"))
	}
	if err := r.heartbeat("g", b, 1); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("heartbeat of who did not sync: %v", err)
	}
	if err := r.heartbeat("g", a, 1); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Errorf("heartbeat of who did: %v", err)
	}
}

func TestMaxSize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Classic.MaxSize = 2
	ids := r.stable("g", 2)
	r.wantCode(r.joined(r.join("g", "")).ErrorCode, kerr.GroupMaxSizeReached)
	r.join("g", ids[0])
	// While rejoining the count starts anew: the first two to come are in.
	third := r.newID("g")
	r.waiting(r.join("g", third))
	r.wantCode(r.joined(r.join("g", ids[1])).ErrorCode, kerr.GroupMaxSizeReached)
	if err := r.heartbeat("g", ids[1], 1); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("heartbeat of the one too many: %v", err)
	}
}

// --- Static members (KIP-345)

func staticPair(t *testing.T) (r *rig, ids []string) {
	r = newRig(t)
	j1, j2 := r.join("g", "", instance("one")), r.join("g", "", instance("two"))
	r.pass(7 * time.Second)
	ids = []string{r.joined(j1).MemberID, r.joined(j2).MemberID}
	s2 := r.sync("g", ids[1], 1, nil)
	r.sync("g", ids[0], 1, map[string]string{ids[0]: "A", ids[1]: "B"})
	if string(r.synced(s2).MemberAssignment) != "B" {
		t.Fatal("no assignment")
	}
	return r, ids
}

func TestStaticMemberReturns(t *testing.T) {
	t.Parallel()
	r, ids := staticPair(t)
	n := len(r.log)
	a := r.joined(r.join("g", "", instance("two")))
	if a.ErrorCode != 0 || a.Generation != 1 || a.MemberID == ids[1] || a.SkipAssignment || r.state("g") != "Stable" {
		t.Fatalf("follower gets %+v, state %s", a, r.state("g"))
	}
	if len(r.log) != n+1 {
		t.Errorf("%d records", len(r.log)-n)
	}
	if s := r.synced(r.sync("g", a.MemberID, 1, nil)); string(s.MemberAssignment) != "B" {
		t.Errorf("assignment is %q", s.MemberAssignment)
	}
	// The old id, with the instance's name, is fenced; alone it is unknown.
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation, req.InstanceID = "g", ids[1], 1, kmsg.StringPtr("two")
	if err := r.s.group("g").Heartbeat(r.now, req); !errors.Is(err, kerr.FencedInstanceID) {
		t.Errorf("heartbeat of the old id: %v", err)
	}
	if err := r.heartbeat("g", ids[1], 1); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("heartbeat of the old id alone: %v", err)
	}
}

func TestStaticLeaderReturns(t *testing.T) {
	t.Parallel()
	r, ids := staticPair(t)
	a := r.joined(r.join("g", "", instance("one")))
	if !a.SkipAssignment || a.LeaderID != a.MemberID || len(a.Members) != 2 {
		t.Errorf("version 9: leader gets %+v", a)
	}
	b := r.joined(r.join("g", "", instance("one"), version(8)))
	if b.SkipAssignment || b.LeaderID == b.MemberID || len(b.Members) != 0 {
		t.Errorf("version 8: leader gets %+v", b)
	}
	_ = ids
}

func TestStaticReturnWithOtherProtocol(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.join("g", "", instance("one"), offers("range", "sticky"))
	r.pass(7 * time.Second)
	id := r.joined(1).MemberID
	r.sync("g", id, 1, nil)
	a := r.joined(r.join("g", "", instance("one"), offers("sticky", "range")))
	if a.Generation != 2 || *a.Protocol != "sticky" {
		t.Errorf("answer is %+v", a)
	}
}

// The place of a static member that is away is kept until its session ends.
func TestStaticMemberSkipsRebalance(t *testing.T) {
	t.Parallel()
	r, ids := staticPair(t)
	j := r.join("g", ids[0], instance("one"), timeouts(100_000, 5_000))
	r.waiting(j)
	r.heartbeat("g", ids[1], 1)
	r.join("g", ids[1], instance("two"), timeouts(100_000, 5_000)) // both shorten the rebalance timeout
	if a := r.joined(j); a.Generation != 2 || len(a.Members) != 2 {
		t.Fatalf("answer is %+v", a)
	}
	r.sync("g", ids[0], 2, nil)
	r.sync("g", ids[1], 2, nil)
	j = r.join("g", ids[0], instance("one"), timeouts(100_000, 5_000))
	r.pass(6 * time.Second)
	if a := r.joined(j); a.Generation != 3 || len(a.Members) != 2 {
		t.Errorf("without the second: %+v", a)
	}
}

func TestStaticMemberRemovedByAdmin(t *testing.T) {
	t.Parallel()
	r, _ := staticPair(t)
	errs := r.leave("g", kmsg.LeaveGroupRequestMember{InstanceID: kmsg.StringPtr("two")}, kmsg.LeaveGroupRequestMember{InstanceID: kmsg.StringPtr("six")})
	if errs[0] != nil || !errors.Is(errs[1], kerr.UnknownMemberID) {
		t.Errorf("leave: %v", errs)
	}
	if r.state("g") != "PreparingRebalance" {
		t.Errorf("state is %s", r.state("g"))
	}
}

// --- Writes that fail

func TestNewGroupIsNotWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fail = kerr.KafkaStorageError
	j := r.join("g", "", version(3))
	r.wantCode(r.joined(j).ErrorCode, kerr.NotCoordinator)
	if len(r.s.groups) != 0 {
		t.Errorf("%d groups", len(r.s.groups))
	}
	r.fail = nil
	r.waiting(r.join("g", "", version(3)))
}

func TestAssignmentIsNotWritten(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		r := newRig(t)
		a, b := r.newID("g"), r.newID("g")
		r.join("g", a)
		r.join("g", b)
		r.pass(7 * time.Second)
		sb := r.sync("g", b, 1, nil)
		want := error(kerr.NotCoordinator)
		var sa coord.Ticket
		if late { // written, but its commit takes too long
			r.hold = true
			sa = r.sync("g", a, 1, map[string]string{a: "x"})
			r.timeout()
			r.hold, want = false, kerr.CoordinatorNotAvailable
		} else {
			r.fail = kerr.NotLeaderForPartition
			sa = r.sync("g", a, 1, map[string]string{a: "x"})
			r.fail = nil
		}
		r.wantCode(r.synced(sa).ErrorCode, want)
		r.wantCode(r.synced(sb).ErrorCode, want)
		if r.state("g") != "PreparingRebalance" {
			t.Errorf("state is %s", r.state("g"))
		}
	}
}

func TestStaticReplacementIsNotWritten(t *testing.T) {
	t.Parallel()
	r, ids := staticPair(t)
	r.fail = kerr.KafkaStorageError
	a := r.joined(r.join("g", "", instance("two")))
	r.wantCode(a.ErrorCode, kerr.NotCoordinator)
	r.fail = nil
	if err := r.heartbeat("g", ids[1], 1); err != nil {
		t.Errorf("the old member is gone: %v", err)
	}
}

// The leader's assignment counts when it is committed, not before.
func TestSyncWaitsForCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.newID("g")
	r.join("g", id)
	r.pass(7 * time.Second)
	r.hold = true
	s := r.sync("g", id, 1, map[string]string{id: "x"})
	r.waiting(s)
	if r.state("g") != "CompletingRebalance" {
		t.Errorf("state is %s", r.state("g"))
	}
	r.commit(len(r.log))
	if string(r.synced(s).MemberAssignment) != "x" || r.state("g") != "Stable" {
		t.Errorf("state is %s", r.state("g"))
	}
}

// A group is listed when it is committed, and until its end is.
func TestListShowsCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold = true
	r.newID("g")
	if l := r.s.List(nil, nil); len(l) != 0 {
		t.Errorf("lists %v", l)
	}
	r.commit(len(r.log))
	if l := r.s.List([]string{"stable", " EMPTY"}, []string{"Classic"}); len(l) != 1 || l[0].GroupState != "Empty" || l[0].GroupType != "classic" {
		t.Errorf("lists %v", l)
	}
	if l := r.s.List([]string{"Stable"}, nil); len(l) != 0 {
		t.Errorf("lists %v", l)
	}
	if l := r.s.List(nil, []string{"consumer"}); len(l) != 0 {
		t.Errorf("lists %v", l)
	}
	r.call(func(coord.Ticket) coord.Result { return r.s.DeleteGroups([]string{"g"}) })
	if l := r.s.List(nil, nil); len(l) != 1 {
		t.Errorf("lists %v", l)
	}
	r.commit(len(r.log))
	if l := r.s.List(nil, nil); len(l) != 0 || len(r.s.groups) != 0 {
		t.Errorf("lists %v, %d groups", l, len(r.s.groups))
	}
}

// A call that a client gave up on and sent again is not left without answer.
func TestSupersededJoin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 2)
	first := r.join("g", ids[0])
	second := r.join("g", ids[0])
	r.wantCode(r.joined(first).ErrorCode, kerr.RebalanceInProgress)
	r.waiting(second)
}

func TestLoadedGroupRunsOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.stable("g", 2)
	r2 := newRig(t)
	r2.now = r.now
	for i, rec := range r.log {
		if err := r2.s.Replay(int64(i), rec); err != nil {
			t.Fatal(err)
		}
	}
	r2.log = slices.Clone(r.log)
	r2.carry(0, r2.s.Loaded(r2.now))
	if err := r2.heartbeat("g", ids[0], 1); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	r2.pass(9 * time.Second)
	r2.heartbeat("g", ids[0], 1)
	r2.pass(2 * time.Second)
	if err := r2.heartbeat("g", ids[0], 1); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Errorf("the second's session did not end: %v", err)
	}
}

func TestLoadedGroupAboveMaxSize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.stable("g", 3)
	r2 := newRig(t)
	r2.cfg.Classic.MaxSize = 2
	for i, rec := range r.log {
		if err := r2.s.Replay(int64(i), rec); err != nil {
			t.Fatal(err)
		}
	}
	r2.carry(0, r2.s.Loaded(r2.now))
	if r2.state("g") != "PreparingRebalance" {
		t.Errorf("state is %s", r2.state("g"))
	}
}

// A static member whose return took longer to be committed than its session
// lasts has a session afterwards.
func TestSessionAfterSlowReturn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.join("g", "", instance("one"))
	r.pass(7 * time.Second)
	r.sync("g", r.joined(j).MemberID, 1, nil)
	r.hold = true
	j = r.join("g", "", instance("one"))
	r.pass(11 * time.Second)
	r.waiting(j)
	r.hold = false
	r.commit(len(r.log))
	r.wantCode(r.joined(j).ErrorCode, nil)
	r.pass(9 * time.Second)
	if r.state("g") != "Stable" {
		t.Errorf("state is %s", r.state("g"))
	}
	r.pass(time.Second)
	if r.state("g") != "Empty" {
		t.Errorf("state is %s: the session never ends", r.state("g"))
	}
}
