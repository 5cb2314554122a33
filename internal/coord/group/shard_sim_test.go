// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group/classic"
	"gregor/internal/seeds"
)

// Goal: whatever clients ask in whatever order, with commits that come late or
// not at all and appends that fail:
//
//   - a shard that replays the log is in the state of the one that wrote it
//   - the committed view is that of a shard that replays what is committed
//   - no call is answered twice, and none stays without an answer
//   - two runs of one seed are the same, record for record
//
// Method: random requests from a seed; a failure names it.

type simClient struct {
	group, id  string
	instance   string
	generation int32
	join, sync coord.Ticket
}

type sim struct {
	*rig
	rng     *rand.Rand
	clients []*simClient
	parked  map[coord.Ticket]bool // every join and sync

	reliable bool // appends do not fail
}

func TestSimRandomRequestsAndReplay(t *testing.T) {
	t.Parallel()
	for n := range seeds.All(t, 100, 1) {
		seed := int64(n)
		one := runSim(t, seed)
		if seed%10 == 0 {
			if two := runSim(t, seed); one != two {
				t.Fatalf("seed %d: two runs differ", seed)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// runSim returns all that was written.
func runSim(t *testing.T, seed int64) string {
	s := &sim{rig: newRig(t), rng: rand.New(rand.NewSource(seed)), parked: map[coord.Ticket]bool{}}
	s.reliable = seed%2 == 0
	s.cfg.Classic.MaxSize = 4
	for i := range 8 {
		c := &simClient{group: fmt.Sprintf("g%d", i%2)}
		if i%4 == 3 {
			c.instance = "static" // two of them: they fence each other
		}
		s.clients = append(s.clients, c)
	}
	for step := range 250 {
		s.step()
		if step%10 == 0 {
			s.check(fmt.Sprintf("seed %d, step %d", seed, step))
		}
	}
	// In the end the log is well and clients are silent: all must be answered,
	// and all groups empty out.
	s.fail, s.hold = nil, false
	s.commit(len(s.log))
	for producer := range int64(3) {
		s.endTxn(producer, true)
	}
	s.pass(15 * time.Minute)
	s.check(fmt.Sprintf("seed %d, end", seed))
	for tk := range s.parked {
		if _, ok := s.answers[tk]; !ok {
			t.Errorf("seed %d: call %d was never answered", seed, tk)
		}
	}
	for id, e := range s.s.groups {
		if e.group != nil && e.group.State() != classic.Empty {
			t.Errorf("seed %d: group %s ends %s with %d members", seed, id, e.group.State(), e.group.Size())
		}
	}
	var all strings.Builder
	for _, r := range s.log {
		fmt.Fprintf(&all, "%x %x\n", r.Key, r.Value)
	}
	return all.String()
}

func (s *sim) step() {
	c := s.clients[s.rng.Intn(len(s.clients))]
	s.learn(c)
	switch s.rng.Intn(24) {
	case 0, 1, 2, 3:
		var opts []joinOpt
		if c.instance != "" {
			opts = append(opts, instance(c.instance))
		}
		if s.rng.Intn(4) == 0 {
			opts = append(opts, version(int16(s.rng.Intn(10))))
		}
		switch s.rng.Intn(8) {
		case 0:
			opts = append(opts, offers("range", "sticky"))
		case 1:
			opts = append(opts, offers("sticky", "range"))
		}
		id := c.id
		if s.rng.Intn(10) == 0 {
			id = ""
		}
		c.join = s.join(c.group, id, opts...)
		s.parked[c.join] = true
	case 4, 5, 6, 7:
		assign := map[string]string{}
		for _, o := range s.clients {
			assign[o.id] = fmt.Sprint("part ", s.rng.Intn(100))
		}
		delete(assign, "")
		c.sync = s.syncSorted(c, assign)
		s.parked[c.sync] = true
	case 8, 9, 10:
		s.heartbeat(c.group, c.id, c.generation)
	case 11:
		if s.rng.Intn(3) == 0 {
			s.call(func(coord.Ticket) coord.Result {
				req := kmsg.NewPtrLeaveGroupRequest()
				req.Group = c.group
				req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: c.id}}
				return s.s.Leave(s.now, req)
			})
		}
	case 12, 13, 14:
		generation, id := c.generation, c.id
		if s.rng.Intn(3) == 0 {
			generation, id = -1, ""
		}
		s.commitOffset(c.group, id, generation, fmt.Sprint("t", s.rng.Intn(3)), int32(s.rng.Intn(3)), s.rng.Int63n(1000))
	case 15:
		s.pass(time.Duration(s.rng.Intn(7000)) * time.Millisecond)
	case 20, 21, 22:
		generation, id := c.generation, c.id
		if s.rng.Intn(3) == 0 {
			generation, id = -1, ""
		}
		s.txnCommit(c.group, id, generation, int64(s.rng.Intn(3)), fmt.Sprint("t", s.rng.Intn(3)), int32(s.rng.Intn(3)), s.rng.Int63n(1000))
	case 23:
		s.endTxn(int64(s.rng.Intn(3)), s.rng.Intn(3) > 0)
	case 16:
		switch s.hold = s.rng.Intn(2) == 0; {
		case !s.hold:
			s.commit(len(s.log))
		case len(s.waits) > 0 && s.rng.Intn(3) == 0:
			s.timeout()
		}
	case 17:
		if n := len(s.log) - s.committed; n > 0 {
			s.commit(s.committed + s.rng.Intn(n+1))
		}
	case 18:
		if s.reliable {
			break
		}
		s.fail = nil
		if s.rng.Intn(4) == 0 {
			s.fail = kerr.KafkaStorageError
		}
	case 19:
		switch s.rng.Intn(6) {
		case 0:
			s.call(func(coord.Ticket) coord.Result { return s.s.DeleteGroups([]string{c.group, "none"}) })
		case 1:
			s.call(func(coord.Ticket) coord.Result { return s.s.TopicDeleted("t1") })
		case 2:
			req := kmsg.NewPtrOffsetDeleteRequest()
			req.Group = c.group
			req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t2", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}
			s.call(func(coord.Ticket) coord.Result { return s.s.DeleteOffsets(req) })
		case 3:
			s.pass(time.Duration(s.rng.Intn(30)) * time.Minute)
		}
	}
}

// syncSorted sends a sync whose assignments are in a fixed order.
func (s *sim) syncSorted(c *simClient, assign map[string]string) coord.Ticket {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = c.group, c.id, c.generation
	for _, o := range s.clients {
		if a, ok := assign[o.id]; ok {
			req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: o.id, MemberAssignment: []byte(a)})
		}
	}
	return s.call(func(t coord.Ticket) coord.Result { return s.s.Sync(s.now, t, req) })
}

// learn takes in what the client was answered.
func (s *sim) learn(c *simClient) {
	if a, ok := s.answers[c.join].(*kmsg.JoinGroupResponse); ok {
		switch a.ErrorCode {
		case 0, kerr.MemberIDRequired.Code:
			c.id, c.generation = a.MemberID, a.Generation
		case kerr.UnknownMemberID.Code, kerr.FencedInstanceID.Code:
			c.id, c.generation = "", -1
		}
	}
}

// replay makes a shard from the first n records, all committed.
func (s *sim) replay(n int) *Shard {
	fresh := New(&s.cfg)
	for i := range s.log[:n] {
		if err := s.feed(fresh, i); err != nil {
			s.t.Fatalf("replay: %v", err)
		}
	}
	fresh.Committed(int64(n))
	return fresh
}

func (s *sim) check(where string) {
	s.t.Helper()
	all := s.replay(len(s.log))
	if got, want := offsetsOf(all, Committed), offsetsOf(s.s, Written); got != want {
		s.t.Fatalf("%s: replayed offsets\n%s live\n%s", where, got, want)
	}
	if got, want := pendingOf(all), pendingOf(s.s); got != want {
		s.t.Fatalf("%s: replayed pending offsets\n%s live\n%s", where, got, want)
	}
	if got, want := offsetsOf(s.s, Committed), offsetsOf(s.replay(s.committed), Committed); got != want {
		s.t.Fatalf("%s: committed view\n%s, the committed log says\n%s", where, got, want)
	}
	for _, id := range []string{"g0", "g1"} {
		live, replayed := s.s.group(id), all.group(id)
		if (live == nil) != (replayed == nil) {
			s.t.Fatalf("%s: group %s: live is %v, replayed %v", where, id, live != nil, replayed != nil)
		}
		if live == nil || live.State() != classic.Stable && live.State() != classic.Empty {
			continue // not durable before it is stable again
		}
		if live.State() == classic.Empty && s.failed > 0 {
			// As in Kafka: that a group has become empty may fail to be written.
			// After a restart its last members then are thought alive until their
			// sessions end.
			continue
		}
		if got, want := durable(replayed), durable(live); got != want {
			s.t.Fatalf("%s: group %s replayed\n%s live\n%s", where, id, got, want)
		}
	}
}

// durable is what of a group must survive.
func durable(g *classic.Group) string {
	d := g.Describe()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %q generation %d\n", d.State, d.ProtocolType, d.Protocol, g.Generation())
	for _, m := range d.Members {
		instance := ""
		if m.InstanceID != nil {
			instance = *m.InstanceID
		}
		fmt.Fprintf(&b, "  %s %q %s %s %x %q\n", m.MemberID, instance, m.ClientID, m.ClientHost, m.ProtocolMetadata, m.MemberAssignment)
	}
	return b.String()
}

// pendingOf tells of pending offsets, and checks that they are counted right.
func pendingOf(s *Shard) string {
	var b strings.Builder
	for _, id := range s.sorted() {
		e, open := s.groups[id], 0
		e.eachSlot(func(topic string, partition int32, sl *slot) {
			for _, p := range sl.pending {
				fmt.Fprintf(&b, "%s %s %d of %d: %+v\n", id, topic, partition, p.producer, *p.offset)
				open++
			}
			if !sl.held() && sl.committed == nil && sl.queued == 0 {
				fmt.Fprintf(&b, "%s %s %d: an empty slot stays\n", id, topic, partition)
			}
		})
		if open != e.open {
			fmt.Fprintf(&b, "%s has %d pending offsets, not %d\n", id, open, e.open)
		}
	}
	return b.String()
}

func offsetsOf(s *Shard, v View) string {
	var b strings.Builder
	for _, id := range s.sorted() {
		s.FetchAll(v, id, func(topic string, partition int32, o *Offset) {
			fmt.Fprintf(&b, "%s %s %d: %+v\n", id, topic, partition, *o)
		})
	}
	return b.String()
}
