// SPDX-License-Identifier: Apache-2.0

package partition

import (
	"slices"
	"testing"
	"time"
)

var t0 = time.Unix(1000, 0)

func at(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

// fetched is a fetch of r's first life.
func fetched(l *Leader, r Replica, end, flushed int64, now time.Time) Effects {
	e, _ := l.Fetched(r, Position{end, flushed, Life{Broker: 1}}, now)
	return e
}

func lead(t *testing.T, c Config, isr ...Replica) *Leader {
	t.Helper()
	if c.MaxLag == 0 {
		c.MaxLag = 30 * time.Second
	}
	l, _ := Lead(c, 1, State{Leader: 1, LeaderEpoch: 5, PartitionEpoch: 7, Replicas: []Replica{1, 2, 3}, ISR: isr}, 100, 100, 50, t0)
	return l
}

func TestAloneFollowsItsOwnLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		durable bool
		want    []int64
	}{{false, []int64{10, 10, 15}}, {true, []int64{0, 8, 15}}} {
		l, e := Lead(Config{MinISR: 1, Durable: c.durable}, 1, State{Leader: 1, Replicas: []Replica{1}, ISR: []Replica{1}}, 0, 0, 0, t0)
		if e.HW != 0 || e.Wake {
			t.Fatalf("an empty log moved: %+v", e)
		}
		got := []int64{l.Wrote(10, 0, t0).HW, l.Wrote(10, 8, t0).HW, l.Wrote(15, 15, t0).HW}
		if !slices.Equal(got, c.want) {
			t.Errorf("durable %v: high watermarks %v, want %v", c.durable, got, c.want)
		}
		if e := l.Wrote(12, 12, t0); e.Wake || e.HW != 15 {
			t.Errorf("a late event moved it: %+v", e)
		}
	}
}

func TestSlowestMemberBoundsTheHighWatermark(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2, 3)
	if e := fetched(l, 2, 100, 100, at(1)); e.Wake {
		t.Fatalf("moved without having heard of 3: %+v", e)
	}
	if e := fetched(l, 3, 80, 80, at(1)); e.HW != 80 || !e.Wake {
		t.Fatalf("%+v, want 80", e)
	}
	if e := fetched(l, 3, 100, 0, at(2)); e.HW != 100 {
		t.Fatalf("%+v: flushed ends count in durable partitions only", e)
	}
}

func TestDurableCountsFlushedEnds(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1, Durable: true}, 1, 2)
	if e := fetched(l, 2, 100, 70, at(1)); e.HW != 70 {
		t.Fatalf("%+v, want 70", e)
	}
	l.Wrote(120, 100, at(1))
	if e := fetched(l, 2, 120, 120, at(1)); e.HW != 100 {
		t.Fatalf("%+v: the leader has flushed only to 100", e)
	}
}

func TestStandsStillBelowMinISR(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 2}, 1)
	if err := l.Admit(true); err != ErrNotEnoughReplicas {
		t.Errorf("acks=all admitted: %v", err)
	}
	if err := l.Admit(false); err != nil {
		t.Errorf("acks=1 refused: %v", err)
	}
	if e := l.Wrote(150, 150, at(1)); e.Wake || e.HW != 50 || l.Kept() {
		t.Errorf("%+v, kept %v", e, l.Kept())
	}
	l.Broker(2, 1, at(1))
	e := fetched(l, 2, 150, 150, at(2))
	if e.Propose == nil || !slices.Equal(e.Propose.ISR, []Replica{1, 2}) || e.Propose.PartitionEpoch != 7 {
		t.Fatalf("no proposal to join: %+v", e)
	}
	if !l.Kept() {
		t.Error("the maximal set counts for what was appended")
	}
	if e := fetched(l, 2, 150, 150, at(3)); e.Propose != nil {
		t.Error("a second proposal while one is on its way")
	}
	if e := l.Changed(State{Leader: 1, LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []Replica{1, 2, 3}, ISR: []Replica{1, 2}}, at(4)); e.HW != 150 || !e.Wake {
		t.Fatalf("%+v: the committed set has two members now", e)
	}
}

func TestMinISRIsAtMostTheReplicas(t *testing.T) {
	t.Parallel()
	l, _ := Lead(Config{MinISR: 2}, 1, State{Leader: 1, Replicas: []Replica{1}, ISR: []Replica{1}}, 0, 0, 0, t0)
	if e := l.Wrote(5, 5, t0); e.HW != 5 || l.Admit(true) != nil {
		t.Errorf("one replica cannot have two in sync: %+v", e)
	}
}

func TestJoinsOnlyFromTheEpochStartOn(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2)
	l.Broker(3, 1, at(1))
	if e := fetched(l, 3, 60, 60, at(1)); e.Propose != nil {
		t.Error("joined at 60, where the epoch began at 100")
	}
	if e := fetched(l, 3, 100, 100, at(2)); e.Propose == nil {
		t.Error("did not join at the start of the epoch")
	}
	m := lead(t, Config{MinISR: 1}, 1, 2)
	if e := fetched(m, 3, 100, 100, at(2)); e.Propose != nil {
		t.Error("joined though not eligible")
	}
}

func TestLaggardLeavesAndTheProposalIsConservative(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2, 3)
	fetched(l, 2, 100, 100, at(1))
	fetched(l, 3, 90, 90, at(1))
	l.Wrote(200, 200, at(20))
	fetched(l, 2, 200, 200, at(25))
	if e := l.Tick(at(29)); e.Propose != nil {
		t.Fatalf("3 was caught up by the election at 0: %+v", e)
	}
	e := l.Tick(at(31))
	if e.Propose == nil || !slices.Equal(e.Propose.ISR, []Replica{1, 2}) {
		t.Fatalf("%+v", e)
	}
	if e.HW != 90 {
		t.Errorf("high watermark %d passed replica 3, which is a member until the controller says no", e.HW)
	}
	if e := l.Refused(e.Propose, at(32)); e.HW != 90 || l.Proposed() {
		t.Errorf("%+v", e)
	}
	l.Tick(at(33))
	if e := l.Changed(State{Leader: 1, LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []Replica{1, 2, 3}, ISR: []Replica{1, 2}}, at(34)); e.HW != 200 {
		t.Errorf("%+v, want 200 without replica 3", e)
	}
}

// A follower that always fetches up to where the leader was a fetch ago never
// reaches the end of a busy log, and is in sync all the same.
func TestSteadyFollowerIsCaughtUp(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2)
	end := int64(100)
	for s := range 100 {
		fetched(l, 2, end, end, at(s))
		end += 10
		l.Wrote(end, end, at(s))
		if e := l.Tick(at(s)); e.Propose != nil {
			t.Fatalf("thrown out after %d s: %+v", s, e.Propose)
		}
	}
}

func TestCaughtUpOutsiderHoldsTheHighWatermarkBack(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1)
	if l.HW() != 100 {
		t.Fatalf("high watermark %d", l.HW())
	}
	l.Broker(2, 1, at(1))
	fetched(l, 2, 100, 100, at(1))
	if e := l.Wrote(150, 150, at(2)); e.HW != 100 {
		t.Errorf("%+v: replica 2 is about to join and would be left behind", e)
	}
	if e := l.Broker(2, NoBroker, at(3)); e.HW != 100 {
		t.Errorf("%+v: it is a member of the proposed set still", e)
	}
}

// Of one life the largest position counts, of several the newest life.
// TestDroppedMemberIsNotWaitedForIdle: the same where nothing is written until it
// is dropped.
func TestDroppedMemberIsNotWaitedForIdle(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 2}, 1, 2, 3)
	for _, r := range []Replica{2, 3} {
		fetched(l, r, 100, 100, at(1))
		l.Broker(r, 1, at(1))
	}
	l.Changed(State{Leader: 1, LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []Replica{1, 2, 3}, ISR: []Replica{1, 2}}, at(2))
	l.Wrote(110, 110, at(3))
	if e := fetched(l, 2, 110, 110, at(3)); e.HW != 110 {
		t.Fatalf("%+v", e)
	}
}

// TestDroppedMemberIsNotWaitedFor: a member whose log directory failed leaves the
// in-sync set by the controller's word, while its broker lives.
func TestDroppedMemberIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 2}, 1, 2, 3)
	for _, r := range []Replica{2, 3} {
		fetched(l, r, 100, 100, at(1))
		l.Broker(r, 1, at(1))
	}
	l.Wrote(150, 150, at(2))
	if e := fetched(l, 2, 150, 150, at(2)); e.HW != 100 {
		t.Fatalf("%+v: 3 is a member", e)
	}
	without := State{Leader: 1, LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []Replica{1, 2, 3}, ISR: []Replica{1, 2}}
	if e := l.Changed(without, at(2)); e.HW != 150 || !e.Wake {
		t.Fatalf("%+v: who was dropped is waited for", e)
	}
	fetched(l, 3, 100, 100, at(3)) // a fetch that was parked before is looked at again
	l.Wrote(155, 155, at(3))
	if e := fetched(l, 2, 155, 155, at(3)); e.HW != 155 {
		t.Fatalf("%+v: who was dropped is waited for again", e)
	}
	l.Wrote(160, 160, at(4))
	if e := fetched(l, 3, 160, 160, at(4)); e.Propose == nil || !slices.Equal(e.Propose.ISR, []Replica{1, 2, 3}) {
		t.Fatalf("%+v: it fetches again, and does not join", e)
	}
}

func TestLateMessagesTellNothing(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1, Durable: true}, 1, 2)
	now := Life{Broker: 7, Cut: 2}
	if e, ok := l.Fetched(2, Position{100, 60, now}, at(1)); !ok || e.HW != 60 {
		t.Fatalf("%+v, %v", e, ok)
	}
	if e, ok := l.Fetched(2, Position{80, 40, now}, at(2)); !ok || l.Reached(2) != 60 {
		t.Errorf("a delayed fetch took the position back: %+v", e)
	}
	for _, old := range []Life{{Broker: 6, Cut: 9}, {Broker: 7, Cut: 1}} {
		if e, ok := l.Fetched(2, Position{100, 100, old}, at(3)); ok || e.HW != 60 {
			t.Errorf("a fetch of life %v counted: %+v", old, e)
		}
		if e, ok := l.Flushed(2, old, 100, at(3)); ok || e.HW != 60 {
			t.Errorf("news of life %v counted: %+v", old, e)
		}
	}
	if e, ok := l.Flushed(2, now, 90, at(4)); !ok || e.HW != 90 || !e.Wake {
		t.Errorf("%+v: news of the flush is as good as a fetch", e)
	}
	next := Life{Broker: 7, Cut: 3}
	if e, ok := l.Flushed(2, next, 100, at(5)); ok || e.HW != 90 {
		t.Errorf("%+v: no fetch of that life has come yet", e)
	}
	l.Fetched(2, Position{70, 70, next}, at(6))
	if got := l.Reached(2); got != 70 {
		t.Errorf("position %d after a truncation to 70", got)
	}
	if e, ok := l.Flushed(2, next, 95, at(7)); !ok || e.HW != 95 || l.Reached(2) != 95 {
		t.Errorf("%+v: news overtook the fetch that tells of the write", e)
	}
}

func TestNewsOfAFlushJoins(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1, Durable: true}, 1)
	l.Broker(2, 1, at(1))
	if e := fetched(l, 2, 100, 50, at(1)); e.Propose != nil {
		t.Fatalf("joined with 50 of 100 flushed: %+v", e)
	}
	e, _ := l.Flushed(2, Life{Broker: 1}, 100, at(2))
	if e.Propose == nil || !slices.Equal(e.Propose.Epochs, []int64{NoBroker, 1}) {
		t.Fatalf("%+v", e.Propose)
	}
}

func TestOldIncarnationDoesNotJoin(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1)
	l.Broker(2, 2, at(1)) // registered again since its last fetch
	if e := fetched(l, 2, 100, 100, at(1)); e.Propose != nil {
		t.Fatalf("%+v", e.Propose)
	}
	if e, _ := l.Fetched(2, Position{100, 100, Life{Broker: 2}}, at(2)); e.Propose == nil {
		t.Fatal("did not join under its new epoch")
	}
}

// A follower whose flushes take longer than its fetches are apart is never at
// the mark of the fetch before, and keeps up all the same.
func TestSlowFlushesAreCaughtUp(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1, Durable: true}, 1, 2)
	for s := range 200 {
		end := int64(100 + 10*s)
		l.Wrote(end, end, at(s))
		fetched(l, 2, end, max(100, end-50), at(s))
		if e := l.Tick(at(s)); e.Propose != nil {
			t.Fatalf("thrown out after %d s, always 5 s behind: %+v", s, e.Propose)
		}
	}
}

// Sessions do not mention idle partitions: a follower that was at the end
// until a write was caught up then.
func TestIdleIsCaughtUp(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2)
	fetched(l, 2, 100, 100, at(0))
	l.Wrote(110, 110, at(1000))
	if e := l.Tick(at(1001)); e.Propose != nil {
		t.Fatalf("thrown out one second after the write: %+v", e.Propose)
	}
	l.Wrote(120, 120, at(1020))
	if e := l.Tick(at(1031)); e.Propose == nil {
		t.Fatal("31 seconds behind, and still in sync")
	}
}

func TestStaleStateIsIgnored(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2, 3)
	if e := l.Changed(State{Leader: 1, LeaderEpoch: 5, PartitionEpoch: 7, Replicas: []Replica{1}, ISR: []Replica{1}}, at(1)); e.Wake || len(l.State().ISR) != 3 {
		t.Errorf("%+v", e)
	}
}

func TestLowWatermark(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2)
	l.Broker(2, 1, t0)
	l.Started(2, 20)
	l.Started(3, 10) // dead
	if got := l.LowWatermark(40); got != 20 {
		t.Errorf("low watermark %d, want 20", got)
	}
}

func TestFollower(t *testing.T) {
	t.Parallel()
	f := Follow(true, 100, 80, 50)
	if e := f.Heard(90); e.HW != 80 || !e.Wake {
		t.Errorf("%+v: only 80 is flushed", e)
	}
	if e := f.Wrote(100, 100); e.HW != 90 || !e.Wake {
		t.Errorf("%+v: the flush lets it reach what it heard", e)
	}
	if cut, again := f.Diverged(4, 70, 4, 95); cut != 70 || again {
		t.Errorf("cut %d, again %v", cut, again)
	}
	if cut, again := f.Diverged(4, 70, 3, 60); cut != 60 || !again {
		t.Errorf("cut %d, again %v: epoch 4 is not known here", cut, again)
	}
	if cut, again := f.Diverged(4, 70, -1, -1); cut != 70 || !again {
		t.Errorf("cut %d, again %v: no epoch is known here", cut, again)
	}
	f.Truncated(70)
	if f.HW() != 70 || f.Flushed() != 70 {
		t.Errorf("high watermark %d, flushed %d past the end 70", f.HW(), f.Flushed())
	}
	if e := f.Wrote(80, 200); e.HW != 80 || f.Flushed() != 80 {
		t.Errorf("%+v: flushed %d of 80", e, f.Flushed())
	}
	if e := f.Started(200); e.HW != 80 {
		t.Errorf("%+v: past the end", e)
	}
	f.Restarted(500)
	if f.HW() != 500 || f.Lag() != 0 {
		t.Errorf("high watermark %d, lag %d", f.HW(), f.Lag())
	}
}

// A leader that hears of several changes at once may have missed that a replica
// was taken away and given back: what it had then is gone. It joins by what it
// fetches from now on.
func TestReplicaGivenBackJoinsByANewFetch(t *testing.T) {
	t.Parallel()
	l := lead(t, Config{MinISR: 1}, 1, 2, 3)
	for _, r := range []Replica{2, 3} {
		l.Broker(r, 1, at(1))
		fetched(l, r, 100, 100, at(1))
	}
	s := l.State()
	s.ISR = []Replica{1, 2}
	s.PartitionEpoch += 2 // taken away, given back
	if e := l.Changed(s, at(2)); e.Propose != nil {
		t.Fatalf("%+v: by what it had before", e.Propose)
	}
	if e := l.Wrote(110, 110, at(2)); e.Wake {
		t.Fatalf("%+v", e)
	}
	if e := fetched(l, 2, 110, 110, at(3)); e.HW != 110 {
		t.Errorf("%+v: replica 3 holds the high watermark back", e)
	}
	if e := fetched(l, 3, 110, 110, at(3)); e.Propose == nil {
		t.Error("it does not join")
	}
}
