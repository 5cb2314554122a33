// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"gregor/internal/meta"
	"gregor/internal/meta/balance"
)

// full is n brokers, of which the last holds nothing, with 24 partitions of
// two replicas on the others.
func full(t *testing.T, n int) *meta.Image {
	t.Helper()
	img := cluster(t, n)
	id := meta.UUID{15: 77}
	rs := []meta.Record{meta.RemoveTopicRecord{ID: img.Topic("old").ID}, meta.RemoveTopicRecord{ID: img.Topic("wide").ID}, meta.TopicRecord{Name: "t", ID: id}}
	for i := range int32(24) {
		a, b := i%int32(n-1)+1, (i+1)%int32(n-1)+1
		rs = append(rs, meta.PartitionRecord{Topic: id, Index: i, Partition: meta.Partition{Replicas: []int32{a, b}, Dirs: make([]meta.UUID, 2), ISR: []int32{a, b}, Leader: a}})
	}
	return with(t, img, rs...)
}

// carry makes one batch happen: asked for, then caught up.
func carry(t *testing.T, img *meta.Image, moves []balance.Move) *meta.Image {
	t.Helper()
	for _, m := range moves {
		var code int16
		if img, code = reassign(t, img, m.Topic, m.Index, m.To); code != 0 {
			t.Fatalf("%+v: code %d", m, code)
		}
		if p := img.Partition(m.Topic, m.Index); moving(p) {
			img = joinISR(t, img, m.Topic, m.Index, p.Replicas...)
		}
	}
	return img
}

func held(img *meta.Image) map[int32]int {
	n := map[int32]int{}
	for topic := range img.Topics() {
		for _, p := range topic.Partitions() {
			for _, r := range p.Replicas {
				n[r]++
			}
		}
	}
	return n
}

// TestSpread: batch after batch a new broker gets its share, a drained one
// hands over all it has, and then nothing moves any more.
func TestSpread(t *testing.T) {
	t.Parallel()
	img := full(t, 4)
	settle := func(what string) {
		t.Helper()
		copies := 0
		for round := 0; ; round++ {
			moves, why := Spread(img, 5, 10)
			if len(moves) == 0 {
				if why != "load is even enough" {
					t.Errorf("%s: ends with %q", what, why)
				}
				break
			}
			if len(moves) > 5 || round > 30 {
				t.Fatalf("%s: round %d has %d moves", what, round, len(moves))
			}
			for _, m := range moves {
				copies += m.Copies()
			}
			img = carry(t, img, moves)
		}
		if copies > 16 {
			t.Errorf("%s: %d copies", what, copies)
		}
	}
	settle("a new broker")
	for b, n := range held(img) {
		if n < 11 || n > 13 {
			t.Errorf("a new broker: broker %d has %d, even were 12", b, n)
		}
	}
	yes := "true"
	img = with(t, img, meta.ConfigRecord{Resource: meta.Resource{Type: meta.BrokerResource, Name: "2"}, Key: setDrain, Value: &yes})
	settle("a drained broker")
	if h := held(img); h[2] != 0 || h[1]+h[3]+h[4] != 48 || max(h[1], h[3], h[4])-min(h[1], h[3], h[4]) > 2 {
		t.Errorf("a drained broker: %v", h)
	}
	for _, factor := range []int{1, 2, 3} {
		for range 40 {
			p := newPlacer(img, env().Random)
			for range 7 {
				if r := p.place(factor); len(minus([]int32{2}, r)) == 0 {
					t.Fatalf("a new partition goes to %v", r)
				}
			}
		}
	}
	if r := newPlacer(img, env().Random).place(4); len(r) != 4 || r[3] != 2 {
		t.Errorf("where all are needed: %v", r)
	}
}

// TestSpreadWaits: nothing is begun while something is amiss.
func TestSpreadWaits(t *testing.T) {
	t.Parallel()
	img := full(t, 4)
	asked, _ := reassign(t, img, "t", 3, []int32{4, 1})
	behind := *img.Partition("t", 5)
	behind.ISR = behind.ISR[:1]
	lost := *img.Partition("t", 6)
	lost.Leader = meta.NoLeader
	id := img.Topic("t").ID
	for _, c := range []struct {
		img *meta.Image
		why string
	}{
		{with(t, img, fence(img, 4)), "broker 4 is not in service"},
		{asked, "t-3 is being moved"},
		{with(t, img, meta.PartitionRecord{Topic: id, Index: 5, Partition: behind}), "t-5 is not in sync on broker"},
		{with(t, img, meta.PartitionRecord{Topic: id, Index: 6, Partition: lost}), "t-6 has no leader"},
	} {
		if moves, why := Spread(c.img, 5, 10); len(moves) > 0 || !strings.HasPrefix(why, c.why) {
			t.Errorf("%d moves, %q, want %q", len(moves), why, c.why)
		}
	}
	if moves, why := Spread(full(t, 4), 5, 1000); len(moves) > 0 || why != "load is even enough" {
		t.Errorf("within a wide slack: %d moves, %q", len(moves), why)
	}
	// A replica on a broker that is registered no more is made anew.
	gone := behind
	gone.Replicas = []int32{gone.ISR[0], 9}
	moves, why := Spread(with(t, img, meta.PartitionRecord{Topic: id, Index: 5, Partition: gone}), 100, 1000)
	found := false
	for _, m := range moves {
		found = found || m.Index == 5 && m.Copies() > 0
	}
	if !found {
		t.Errorf("unregistered: %q %+v", why, moves)
	}
}
