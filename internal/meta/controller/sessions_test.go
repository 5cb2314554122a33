// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gregor/internal/meta"
)

func brokersOf(t *testing.T, bs ...meta.Broker) *meta.Image {
	t.Helper()
	var rs []meta.Record
	for _, b := range bs {
		rs = append(rs, meta.BrokerRecord{Broker: b})
	}
	img, _, err := meta.Empty().With(rs)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestSessions(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	at := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	img := brokersOf(t, meta.Broker{ID: 1, Epoch: 11}, meta.Broker{ID: 2, Epoch: 12}, meta.Broker{ID: 3, Epoch: 13}, meta.Broker{ID: 4, Epoch: 14, Fenced: true})
	s := newSessions(2 * time.Second)
	s.lead(img, 3, now)
	if s.heard(1, now) || !slices.Equal(s.silent(), []int32{1, 2, 3}) {
		t.Errorf("at the start: %v", s.silent())
	}
	if !s.beat(1, 11, 5, at(100)) || s.beat(1, 11, 6, at(500)) || s.beat(1, 10, 6, at(600)) || s.beat(4, 14, 6, at(600)) {
		t.Error("who comes back")
	}
	if !s.heard(1, at(1499)) || s.heard(1, at(1500)) {
		t.Error("heard of for half a session")
	}
	// The node that led before has half a session, the others a whole one.
	if got := fmt.Sprint(s.expired(at(999)), s.expired(at(1000)), s.expired(at(2000)), s.expired(at(2500))); got != "[] [3] [2 3] [1 2 3]" {
		t.Errorf("expired: %s", got)
	}
	s.extend(time.Second)
	if got := fmt.Sprint(s.expired(at(2000)), s.expired(at(3000))); got != "[3] [2 3]" {
		t.Errorf("expired after an extension: %s", got)
	}
	s.disconnected(1, 10)
	if !s.heard(1, at(600)) {
		t.Error("the connection of an earlier process counts")
	}
	s.disconnected(1, 11)
	if s.heard(1, at(600)) || !s.beat(1, 11, 6, at(700)) || !s.heard(1, at(700)) {
		t.Error("an ended connection, and another")
	}
	// 2 stops: everybody else must have applied the version that says so.
	img, _, _ = img.With([]meta.Record{meta.BrokerRecord{Broker: meta.Broker{ID: 2, Epoch: 12, Stopping: true}}, meta.BrokerRecord{Broker: meta.Broker{ID: 4, Epoch: 14}}})
	s.follow(img, at(800), at(800))
	if !s.heard(4, at(800)) || s.settled(2) {
		t.Error("4 is in service, and nobody applied the stop of 2")
	}
	s.beat(1, 11, img.Version(), at(900))
	s.beat(3, 13, img.Version(), at(900))
	if s.settled(2) {
		t.Error("4 has not applied it")
	}
	s.beat(4, 14, img.Version()+3, at(900))
	if !s.settled(2) || s.settled(1) {
		t.Error("all have applied it")
	}
	img, _, _ = img.With([]meta.Record{meta.RemoveBrokerRecord{ID: 1}, meta.BrokerRecord{Broker: meta.Broker{ID: 3, Epoch: 20}}})
	s.follow(img, at(950), at(950))
	if s.heard(1, at(950)) || s.beat(3, 13, 1, at(950)) || !s.heard(3, at(950)) {
		t.Error("one is gone, another registered anew")
	}
}

func TestNews(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	at := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	fresh := func(conns int32) *news {
		var n news
		n.init(2 * time.Second)
		n.lead(now)
		for id := range conns {
			n.beat(id, int64(id)+10, int(id)+100)
		}
		return &n
	}
	who := func(n *news, ms int) int32 {
		if c, ok := n.due(at(ms)); ok {
			return c.id
		}
		return -1
	}
	n := fresh(4)
	n.close(1, 11, 7, at(0))   // not its connection
	n.close(1, 10, 101, at(0)) // another epoch
	if got := who(n, 1000); got != -1 {
		t.Errorf("dials %d without news", got)
	}
	n.close(1, 11, 101, at(1000))
	if got := who(n, 1099); got != -1 {
		t.Errorf("dials %d within the grace", got)
	}
	if got := who(n, 1100); got != 1 {
		t.Errorf("dials %d after it", got)
	}
	if got := who(n, 1300); got != -1 {
		t.Errorf("dials %d again", got)
	}
	// It was a false alarm: not again for 5 s, then for 10.
	n.alarmed(1, at(1300))
	for _, c := range []struct {
		close, look int
		want        int32
	}{{2000, 3000, -1}, {6400, 7000, 1}} {
		n.beat(1, 11, c.close)
		n.close(1, 11, c.close, at(c.close))
		if got := who(n, c.look); got != c.want {
			t.Errorf("closed at %d: dials %d, want %d", c.close, got, c.want)
		}
	}
	if n.alarmed(1, at(7000)); n.conns[1].quiet != at(17000) {
		t.Errorf("quiet until %v", n.conns[1].quiet)
	}
	// A heartbeat over another connection ends the matter.
	n = fresh(4)
	n.close(2, 12, 102, at(0))
	n.beat(2, 12, 202)
	if got := who(n, 500); got != -1 {
		t.Errorf("dials %d, which is connected", got)
	}
	// Most at once: it is the network.
	n = fresh(4)
	for i, id := range []int32{0, 1, 2} {
		n.close(id, int64(id)+10, int(id)+100, at(10*i))
	}
	if got := who(n, 500); got != -1 {
		t.Errorf("dials %d though most were closed", got)
	}
	// Half of them: one after the other.
	n = fresh(4)
	n.close(0, 10, 100, at(0))
	n.close(3, 13, 103, at(10))
	if got := who(n, 500); got != 0 {
		t.Errorf("dials %d", got)
	}
	n.dialing = newsDials
	if got := who(n, 600); got != -1 {
		t.Errorf("dials %d beside many others", got)
	}
	n.dialing = newsDials - 1
	if got := who(n, 600); got != 3 {
		t.Errorf("dials %d", got)
	}
}

// TestRollCall: a new controller has dialled at once who led before, and who is
// silent once most have come.
func TestRollCall(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	at := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	var n news
	n.init(2 * time.Second)
	silent := []int32{1, 2, 3, 4}
	epoch := func(id int32) int64 { return int64(id) + 10 }
	who := func(ms int) (ids []int32) {
		n.call(func() []int32 { return silent }, epoch, 5, at(ms))
		for {
			c, ok := n.due(at(ms))
			if !ok {
				return ids
			}
			ids = append(ids, c.id)
		}
	}
	n.lead(now)
	n.miss(4, 14)
	if got := who(0); !slices.Equal(got, []int32{4}) {
		t.Errorf("dials %v at once", got)
	}
	if got := who(500); got != nil {
		t.Errorf("dials %v though most are silent", got)
	}
	n.beat(1, 11, "a")
	n.beat(2, 12, "b")
	silent = []int32{3, 4}
	if got := who(550); !slices.Equal(got, []int32{3}) {
		t.Errorf("dials %v when most have come", got)
	}
	if got := who(600); got != nil {
		t.Errorf("dials %v again", got)
	}
	// Who came before its turn is not dialled; who came in good time neither.
	n.lead(now)
	n.miss(4, 14)
	n.beat(4, 14, "d")
	silent = []int32{3}
	if got := who(50); got != nil {
		t.Errorf("dials %v", got)
	}
	n.beat(3, 13, "c")
	silent = nil
	if got := who(100); got != nil {
		t.Errorf("dials %v", got)
	}
}
