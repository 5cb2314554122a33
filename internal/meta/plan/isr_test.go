// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// minSchema is stubSchema with a min.insync.replicas, and unclean elections.
type minSchema struct {
	stubSchema
	min     string
	unclean string
}

func (s minSchema) Default(t meta.ResourceType, key string) (string, bool) {
	switch key {
	case "min.insync.replicas":
		return s.min, true
	case "unclean.leader.election.enable":
		return s.unclean, true
	}
	return s.stubSchema.Default(t, key)
}

func envMin(n int) Env {
	e := env()
	e.Schema = minSchema{min: fmt.Sprint(n), unclean: "false"}
	return e
}

// trio is a cluster of 4 with the topic "trio" on brokers 1 to 3, led by 1.
func trio(t testing.TB) *meta.Image {
	img := cluster(t, 4)
	id := meta.UUID{15: 3}
	return with(t, img, meta.TopicRecord{Name: "trio", ID: id}, meta.PartitionRecord{Topic: id, Index: 0, Partition: meta.Partition{
		Replicas: []int32{1, 2, 3}, Dirs: []meta.UUID{dir(1), dir(2), dir(3)}, ISR: []int32{1, 2, 3}, Leader: 1, LeaderEpoch: 5, PartitionEpoch: 9}})
}

func seatsOf(img *meta.Image) string {
	p := img.Partition("trio", 0)
	return fmt.Sprintf("leader %d epoch %d.%d isr %v elr %v last %v", p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR, p.ELR, p.LastELR)
}

func says(t *testing.T, what string, img *meta.Image, want string) {
	t.Helper()
	if got := seatsOf(img); got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func members(ids ...int32) (out []ISRMember) {
	for _, id := range ids {
		out = append(out, ISRMember{id, int64(id) + 9}) // cluster's epochs
	}
	return out
}

func TestAlterPartition(t *testing.T) {
	t.Parallel()
	img := trio(t)
	id := img.Topic("trio").ID
	ask := func(img *meta.Image, broker int32, change func(*ISRProposal)) (*meta.Image, *kerr.Error) {
		t.Helper()
		a := ISRProposal{Topic: id, LeaderEpoch: 5, PartitionEpoch: 9, ISR: members(1, 2)}
		change(&a)
		rs, results, err := AlterPartition(img, broker, int64(broker)+9, []ISRProposal{a}, envMin(2))
		if err != nil || len(results) != 1 {
			t.Fatalf("%v %v", results, err)
		}
		return with(t, img, rs...), results[0].Err
	}
	stopping := *img.Broker(3)
	stopping.Stopping = true
	for _, c := range []struct {
		what   string
		img    *meta.Image
		broker int32
		change func(*ISRProposal)
		want   *kerr.Error
	}{
		{"an unknown topic", img, 1, func(a *ISRProposal) { a.Topic = meta.UUID{9} }, kerr.UnknownTopicID},
		{"an unknown partition", img, 1, func(a *ISRProposal) { a.Partition = 7 }, kerr.UnknownTopicOrPartition},
		{"a leader epoch to come", img, 1, func(a *ISRProposal) { a.LeaderEpoch = 6 }, kerr.NotController},
		{"a partition epoch to come", img, 1, func(a *ISRProposal) { a.PartitionEpoch = 10 }, kerr.NotController},
		{"an old leader epoch", img, 1, func(a *ISRProposal) { a.LeaderEpoch = 4 }, kerr.FencedLeaderEpoch},
		{"an old partition epoch", img, 1, func(a *ISRProposal) { a.PartitionEpoch = 8 }, kerr.InvalidUpdateVersion},
		{"who does not lead", img, 2, func(*ISRProposal) {}, kerr.InvalidRequest},
		{"without the leader", img, 1, func(a *ISRProposal) { a.ISR = members(2, 3) }, kerr.InvalidRequest},
		{"a stranger", img, 1, func(a *ISRProposal) { a.ISR = members(1, 4) }, kerr.InvalidRequest},
		{"one twice", img, 1, func(a *ISRProposal) { a.ISR = members(1, 2, 2) }, kerr.InvalidRequest},
		{"recovering again", img, 1, func(a *ISRProposal) { a.Recovering, a.ISR = true, members(1) }, kerr.InvalidRequest},
		{"another process of a broker", img, 1, func(a *ISRProposal) { a.ISR[1].Epoch = 3 }, kerr.IneligibleReplica},
		{"a fenced one", with(t, img, fence(img, 2)), 1, func(*ISRProposal) {}, kerr.IneligibleReplica},
		{"one that stops", with(t, img, meta.BrokerRecord{Broker: stopping}), 1, func(a *ISRProposal) { a.ISR = members(1, 3) }, kerr.IneligibleReplica},
	} {
		if next, got := ask(c.img, c.broker, c.change); got != c.want || next.Version() != c.img.Version()+1 || seatsOf(next) != seatsOf(c.img) {
			t.Errorf("%s: %v, %s", c.what, got, seatsOf(next))
		}
	}
	next, err := ask(img, 1, func(*ISRProposal) {})
	if says(t, "one leaves", next, "leader 1 epoch 5.10 isr [1 2] elr [] last []"); err != nil {
		t.Error(err)
	}
	next, _ = ask(next, 1, func(a *ISRProposal) { a.PartitionEpoch, a.ISR = 10, members(1) })
	says(t, "below min.insync who leaves stays eligible", next, "leader 1 epoch 5.11 isr [1] elr [2] last []")
	next, _ = ask(next, 1, func(a *ISRProposal) { a.PartitionEpoch, a.ISR = 11, members(3, 1) })
	says(t, "at min.insync nobody else is", next, "leader 1 epoch 5.12 isr [1 3] elr [] last []")

	if _, _, err := AlterPartition(img, 1, 3, nil, envMin(2)); !errors.Is(err, kerr.StaleBrokerEpoch) {
		t.Errorf("an old broker epoch: %v", err)
	}
	a := ISRProposal{Topic: id, LeaderEpoch: 5, PartitionEpoch: 9, ISR: members(1)}
	rs, results, _ := AlterPartition(img, 1, 10, []ISRProposal{a, a}, envMin(1))
	if len(rs) != 1 || results[0].Err != nil || results[1].Err != kerr.InvalidRequest {
		t.Errorf("one partition twice: %d records, %+v", len(rs), results)
	}

	// A reassignment to 4 alone is completed by the leader that it leaves out.
	p := *img.Partition("trio", 0)
	p.Replicas, p.Dirs, p.Adding, p.Removing = []int32{4, 1, 2, 3}, append([]meta.UUID{dir(4)}, p.Dirs...), []int32{4}, []int32{1, 2, 3}
	moving := with(t, img, meta.PartitionRecord{Topic: id, Partition: p})
	next, err = ask(moving, 1, func(a *ISRProposal) { a.ISR = members(1, 2, 3, 4) })
	if says(t, "completed", next, "leader 4 epoch 6.10 isr [4] elr [] last []"); err != kerr.NewLeaderElected || !slices.Equal(next.Partition("trio", 0).Replicas, []int32{4}) {
		t.Errorf("%v %+v", err, next.Partition("trio", 0))
	}
}

// TestELR is the life of KIP-966's eligible leader replicas, worked through.
func TestELR(t *testing.T) {
	t.Parallel()
	e := envMin(2)
	img := trio(t)
	step := func(rs []meta.Record) { t.Helper(); img = with(t, img, rs...) }
	back := func(id int32, loss Loss) {
		t.Helper()
		old := img.Broker(id)
		r := Registration{ID: id, ClusterID: "c", Incarnation: meta.UUID{0: 0xee, 1: byte(img.Version()), 2: byte(id)}, Dirs: old.Dirs, Features: old.Features, Clean: -1, Checked: true}
		if loss != LostNothing {
			r.Losses = []ReplicaLoss{{img.Topic("trio").ID, 0, loss}}
		}
		rs, epoch, err := RegisterBroker(img, r, e)
		if err != nil {
			t.Fatal(err)
		}
		step(rs)
		rs, err = UnfenceBroker(img, id, epoch, e)
		if err != nil {
			t.Fatal(err)
		}
		step(rs)
	}
	step(FenceBrokers(img, []int32{3}, e))
	says(t, "3 dies", img, "leader 1 epoch 5.10 isr [1 2] elr [] last []")
	step(FenceBrokers(img, []int32{1}, e))
	says(t, "1 dies", img, "leader 2 epoch 6.11 isr [2] elr [1] last []")
	step(FenceBrokers(img, []int32{2}, e))
	says(t, "2 dies", img, "leader -1 epoch 7.12 isr [] elr [1 2] last [2]")
	back(3, LostNothing)
	says(t, "3 is back, but out of date", img, "leader -1 epoch 7.12 isr [] elr [1 2] last [2]")
	saved := img
	back(1, LostNothing)
	says(t, "1 is back", img, "leader 1 epoch 8.13 isr [1] elr [2] last []")
	back(2, LostTail)
	says(t, "2 is back without its tail", img, "leader 1 epoch 8.14 isr [1] elr [] last []")
	if img.Partition("trio", 0).Recovering {
		t.Error("a clean election is recovering")
	}

	img = saved
	back(1, LostTail)
	says(t, "1 is back without its tail: 2 is the last that holds all", img, "leader -1 epoch 7.13 isr [] elr [2] last [2]")
	back(2, LostTail)
	says(t, "so is 2: the last known leader leads", img, "leader 2 epoch 8.15 isr [2] elr [] last []")
	if !img.Partition("trio", 0).Recovering {
		t.Error("an unclean election is not recovering")
	}

	img = saved
	back(1, LostTail)
	back(2, LostAll)
	says(t, "the last known leader lost its disk", img, "leader -1 epoch 7.14 isr [] elr [] last []")
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType = 1
	rs, _, err := ElectLeaders(img, req, e)
	if err != nil {
		t.Fatal(err)
	}
	step(rs)
	says(t, "an unclean election is asked for", img, "leader 1 epoch 8.15 isr [1] elr [] last []")

	img = saved
	allowed := e
	allowed.Schema = minSchema{min: "2", unclean: "true"}
	rs, _ = Settle(img, 10, allowed)
	step(rs)
	says(t, "the topic allows an unclean election", img, "leader 3 epoch 8.13 isr [3] elr [] last []")
}

// TestSilentBrokers: while only brokers are left that were not heard of, nobody
// loses a seat; all that are fenced together keep theirs.
func TestSilentBrokers(t *testing.T) {
	t.Parallel()
	e := envMin(1)
	heard := map[int32]bool{}
	e.Heard = func(id int32) bool { return heard[id] }
	img := trio(t)
	fenced := with(t, img, FenceBrokers(img, []int32{1}, e)...)
	says(t, "2 and 3 may be dead", fenced, "leader -1 epoch 6.10 isr [1 2 3] elr [] last [1]")
	heard[3] = true
	rs, more := Settle(fenced, 10, e)
	says(t, "3 is not", with(t, fenced, rs...), "leader 3 epoch 7.11 isr [2 3] elr [] last []")
	if more {
		t.Error("more than all")
	}
	says(t, "a leader that was not heard of keeps what it has", with(t, img, FenceBrokers(img, []int32{2}, e)...), "leader 1 epoch 5.9 isr [1 2 3] elr [] last []")
	heard[1] = true
	says(t, "one that was does not", with(t, img, FenceBrokers(img, []int32{2}, e)...), "leader 1 epoch 5.10 isr [1 3] elr [] last []")
	says(t, "all at once", with(t, img, FenceBrokers(img, []int32{1, 2, 3}, e)...), "leader -1 epoch 6.10 isr [] elr [1 2 3] last [1]")
	if rs := FenceBrokers(fenced, []int32{1, 9}, e); len(rs) > 0 {
		t.Errorf("fenced twice: %v", rs)
	}
}

// TestSoleSeat: nobody gets the only seat of several on news from before the
// others went; the next news decides.
func TestSoleSeat(t *testing.T) {
	t.Parallel()
	e := envMin(1)
	awaited := map[int32]bool{}
	e.Await, e.Awaited = func(id int32) { awaited[id] = true }, func(id int32) bool { return awaited[id] }
	img := trio(t)
	img = with(t, img, FenceBrokers(img, []int32{3}, e)...)
	says(t, "two are left", img, "leader 1 epoch 5.10 isr [1 2] elr [] last []")
	left := with(t, img, FenceBrokers(img, []int32{2}, e)...)
	says(t, "was 1 there after 2 had gone?", left, "leader 1 epoch 5.10 isr [1 2] elr [] last []")
	gone := with(t, left, FenceBrokers(left, []int32{1}, e)...)
	says(t, "no", gone, "leader -1 epoch 6.11 isr [] elr [1 2] last [1]")
	delete(awaited, 1)
	rs, _ := Settle(left, 10, e)
	says(t, "yes", with(t, left, rs...), "leader 1 epoch 5.11 isr [1] elr [] last []")

	dead := with(t, img, FenceBrokers(img, []int32{1}, e)...)
	says(t, "was 2 there after 1 had gone?", dead, "leader -1 epoch 6.11 isr [1 2] elr [] last [1]")
	delete(awaited, 2)
	rs, _ = Settle(dead, 10, e)
	says(t, "yes", with(t, dead, rs...), "leader 2 epoch 7.12 isr [2] elr [] last []")

	e.Schema = minSchema{min: "2", unclean: "false"}
	says(t, "where the ELR keeps the others' seats nobody waits", with(t, img, FenceBrokers(img, []int32{1}, e)...), "leader 2 epoch 6.11 isr [2] elr [1] last []")
}

// TestReassignmentWaitsForService: what R4 left in the ISR does not become all
// there is of a partition.
func TestReassignmentWaitsForService(t *testing.T) {
	t.Parallel()
	e := envMin(1)
	e.Heard = func(int32) bool { return false }
	img := trio(t)
	img = with(t, img, FenceBrokers(img, []int32{2}, e)...)
	says(t, "2 is out of service and keeps its seat", img, "leader 1 epoch 5.9 isr [1 2 3] elr [] last []")
	p := *img.Partition("trio", 0)
	p.Removing, p.PartitionEpoch = []int32{1, 3}, p.PartitionEpoch+1
	img = with(t, img, meta.PartitionRecord{Topic: meta.UUID{15: 3}, Partition: p})
	rs, _ := Settle(img, 10, e)
	img = with(t, img, rs...)
	says(t, "nobody goes before it is back", img, "leader 1 epoch 5.10 isr [1 2 3] elr [] last []")
	rs, err := UnfenceBroker(img, 2, 11, e)
	if err != nil {
		t.Fatal(err)
	}
	says(t, "it is", with(t, img, rs...), "leader 2 epoch 6.11 isr [2] elr [] last []")
}

func TestControlledShutdown(t *testing.T) {
	t.Parallel()
	e := envMin(2)
	img := trio(t)
	beat := func(id int32, settled bool, change func(*Beat)) Pulse {
		t.Helper()
		b := Beat{Broker: id, Epoch: int64(id) + 9, Applied: 100}
		change(&b)
		rs, pulse, err := Heartbeat(img, b, settled, e)
		if err != nil {
			t.Fatal(err)
		}
		img = with(t, img, rs...)
		return pulse
	}
	stop := func(b *Beat) { b.ShutDown = true }
	if p := beat(1, false, stop); p.ShutDown || p.Fenced || !img.Broker(1).Stopping {
		t.Errorf("%+v", p)
	}
	says(t, "1 stops", img, "leader 2 epoch 6.10 isr [2 3] elr [] last []")
	if p := beat(1, false, stop); p.ShutDown {
		t.Error("let go before the others know")
	}
	if p := beat(1, true, stop); !p.ShutDown || !img.Broker(1).Fenced || img.Broker(1).Stopping {
		t.Errorf("%+v", p)
	}
	if p := beat(4, false, stop); !p.ShutDown || !img.Broker(4).Fenced {
		t.Errorf("one that leads nothing: %+v", p)
	}
	if p := beat(4, true, stop); !p.ShutDown {
		t.Errorf("one that is fenced: %+v", p)
	}
	if p := beat(4, true, func(b *Beat) { b.Applied = 1 }); p.CaughtUp || !p.Fenced {
		t.Errorf("one that lags: %+v", p)
	}
	if p := beat(4, true, func(*Beat) {}); !p.CaughtUp || p.Fenced {
		t.Errorf("one that wants to be let in: %+v", p)
	}
	if p := beat(4, true, func(b *Beat) { b.Fence = true }); !p.Fenced {
		t.Errorf("one that wants to be fenced: %+v", p)
	}
	img = with(t, img, FenceBrokers(img, []int32{3}, e)...)
	before := seatsOf(img)
	if p := beat(2, false, stop); !p.ShutDown || seatsOf(img) != before || img.Broker(2).Fenced {
		t.Errorf("the last one: %+v, %s", p, seatsOf(img))
	}
	if _, _, err := Heartbeat(img, Beat{Broker: 2, Epoch: 1}, true, e); !errors.Is(err, kerr.StaleBrokerEpoch) {
		t.Errorf("an old epoch: %v", err)
	}
}

func TestDirectories(t *testing.T) {
	t.Parallel()
	e := envMin(2)
	img := trio(t)
	id := img.Topic("trio").ID
	two := *img.Broker(1)
	two.Dirs = []meta.UUID{dir(1), dir(30)}
	img = with(t, img, meta.BrokerRecord{Broker: two})
	rs, pulse, err := Heartbeat(img, Beat{Broker: 1, Epoch: 10, Offline: []meta.UUID{dir(1)}}, true, e)
	if err != nil || pulse.Fenced {
		t.Fatalf("%+v %v", pulse, err)
	}
	failed := with(t, img, rs...)
	says(t, "its directory failed", failed, "leader 2 epoch 6.10 isr [2 3] elr [] last []")
	if !slices.Equal(failed.Broker(1).Dirs, []meta.UUID{dir(30)}) || failed.Partition("old", 0).Leader != meta.NoLeader {
		t.Errorf("%+v, old: %+v", failed.Broker(1), failed.Partition("old", 0))
	}
	assign := func(img *meta.Image, as ...DirAssignment) (*meta.Image, []*kerr.Error) {
		rs, errs, err := AssignDirs(img, 1, 10, as, e)
		if err != nil {
			t.Fatal(err)
		}
		return with(t, img, rs...), errs
	}
	moved, errs := assign(img, DirAssignment{dir(30), id, 0}, DirAssignment{dir(30), id, 0}, DirAssignment{dir(30), meta.UUID{9}, 0},
		DirAssignment{dir(30), id, 5}, DirAssignment{dir(30), img.Topic("old").ID, 1})
	if says(t, "moved between directories", moved, "leader 1 epoch 5.10 isr [1 2 3] elr [] last []"); !slices.Equal(errs, []*kerr.Error{nil, kerr.InvalidRequest, kerr.UnknownTopicID, kerr.UnknownTopicOrPartition, nil}) {
		t.Errorf("%v", errs)
	}
	if moved.Partition("trio", 0).Dir(1) != dir(30) || moved.Partition("old", 1).Dir(1) != dir(30) {
		t.Error("not moved")
	}
	gone, _ := assign(failed, DirAssignment{dir(30), img.Topic("old").ID, 0})
	if p := gone.Partition("old", 0); p.Leader != meta.NoLeader || len(p.ELR)+len(p.LastELR) > 0 {
		t.Errorf("a replica made anew elsewhere leads what it does not have: %+v", p)
	}
	away, _ := assign(img, DirAssignment{dir(77), id, 0})
	says(t, "now in a directory that is not online", away, "leader 2 epoch 6.10 isr [2 3] elr [] last []")
}

func TestPreferLeaders(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2) // wide is led by 2, its first replica is 1
	rs, more := PreferLeaders(img, 10, env())
	if p := with(t, img, rs...).Partition("wide", 0); p.Leader != 1 || p.LeaderEpoch != 5 || more {
		t.Errorf("%+v", p)
	}
	if rs, more := PreferLeaders(img, 0, env()); len(rs) > 0 || !more {
		t.Errorf("%d records, more: %v", len(rs), more)
	}
	if rs, _ := PreferLeaders(with(t, img, fence(img, 1)), 10, env()); len(rs) > 1 {
		t.Errorf("%v", rs)
	}
}

// TestCordoned: a broker whose directories are all cordoned gets no new
// replicas, and keeps what it has.
func TestCordoned(t *testing.T) {
	t.Parallel()
	img := trio(t)
	rs, _, err := Heartbeat(img, Beat{Broker: 1, Epoch: 10, Cordoned: []meta.UUID{dir(1), dir(99)}}, true, env())
	if err != nil {
		t.Fatal(err)
	}
	before := seatsOf(img)
	img = with(t, img, rs...)
	if says(t, "cordoned", img, before); !slices.Equal(img.Broker(1).Cordoned, []meta.UUID{dir(1)}) {
		t.Errorf("%+v", img.Broker(1))
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic("a", 20, 3), topic("b", 1, 4))
	rs, resp := CreateTopics(img, req, env())
	if resp.Topics[0].ErrorCode != 0 || resp.Topics[1].ErrorCode != kerr.InvalidReplicationFactor.Code {
		t.Errorf("%+v", resp.Topics)
	}
	for _, p := range with(t, img, rs...).Topic("a").Partitions() {
		if p.HasReplica(1) {
			t.Errorf("a new replica on a cordoned broker: %v", p.Replicas)
		}
	}
	rs, _, _ = Heartbeat(img, Beat{Broker: 1, Epoch: 10, Cordoned: []meta.UUID{}}, true, env())
	if img = with(t, img, rs...); len(img.Broker(1).Cordoned) > 0 {
		t.Error("still cordoned")
	}
}
