// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/coord"
	"gregor/internal/seeds"
)

// Goal: whatever clients ask in whatever order, with commits that come late or
// not at all, appends that fail and coordinators that change:
//
//   - a shard that replays the log is in the state of the one that wrote it
//   - the committed view is that of a shard that replays what is committed
//   - a decision stands: after PrepareCommit comes CompleteCommit and nothing
//     else, under the same producer, and so for aborts
//   - producer and epoch only rise; two instances that were both initialised
//     never have the same
//   - no call is answered twice, and none stays without an answer
//   - in the end, with markers written, no transaction is under way
//   - two runs of one seed are the same, record for record
//
// Method: random requests from a seed; a failure names it.

type simClient struct {
	id      string
	version int16
	p       coord.Producer
	before  coord.Producer // what it had before p
	pending coord.Ticket
}

type sim struct {
	*rig
	rng     *rand.Rand
	clients []*simClient
	calls   map[coord.Ticket]bool
	given   map[string]bool // id, producer and epoch that an InitProducerId returned
	inits   map[coord.Ticket]*simClient
	retries map[coord.Ticket]bool
}

func TestSimRandomRequestsAndReplay(t *testing.T) {
	t.Parallel()
	for n := range seeds.All(t, 300, 1) {
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
	s := &sim{
		rig: newRig(t), rng: rand.New(rand.NewSource(seed)), calls: map[coord.Ticket]bool{},
		given: map[string]bool{}, inits: map[coord.Ticket]*simClient{}, retries: map[coord.Ticket]bool{},
	}
	s.s.SetLevel(int16(seed % 3))
	s.cfg.Level = int16(seed % 3)
	for i := range 6 {
		s.clients = append(s.clients, &simClient{id: fmt.Sprint("id", i%3), version: int16(i / 2 % 2 * 2)})
	}
	// Start some near the end of their epochs.
	if seed%4 == 0 {
		p := s.mustInit("id0")
		n := *s.s.written("id0")
		n.Epoch = lastEpoch - int16(s.rng.Intn(4))
		s.carry(0, coord.Result{Records: []coord.Record{record(&n)}})
		s.clients[0].p = coord.Producer{ID: p.ID, Epoch: n.Epoch}
	}
	for step := range 300 {
		s.step()
		if step%10 == 0 {
			s.check(fmt.Sprintf("seed %d, step %d", seed, step))
		}
	}
	// In the end the log is well, markers are written and clients are silent.
	s.fail, s.hold = nil, false
	s.commit(len(s.log))
	for range 3 {
		for len(s.orders) > 0 {
			s.complete()
		}
		s.pass(2 * time.Minute)
	}
	where := fmt.Sprintf("seed %d, end", seed)
	s.check(where)
	for tk := range s.calls {
		if _, ok := s.answers[tk]; !ok {
			t.Errorf("%s: call %d was never answered", where, tk)
		}
	}
	s.s.Each(func(x *Txn) {
		if !x.State.ended() {
			t.Errorf("%s: %+v", where, x)
		}
	})
	s.checkHistory(where)
	var all strings.Builder
	for _, r := range s.log {
		fmt.Fprintf(&all, "%x %x\n", r.Key, r.Value)
	}
	return all.String()
}

func (s *sim) did(t coord.Ticket, c *simClient) {
	s.calls[t] = true
	c.pending = t
}

func (s *sim) step() {
	c := s.clients[s.rng.Intn(len(s.clients))]
	s.learn()
	p := c.p
	switch s.rng.Intn(12) {
	case 0:
		p = c.before
	case 1:
		p.Epoch += int16(s.rng.Intn(3))
	case 2:
		p = s.clients[s.rng.Intn(len(s.clients))].p
	}
	switch s.rng.Intn(20) {
	case 0, 1:
		var t coord.Ticket
		if s.rng.Intn(3) == 0 {
			t = s.init(c.id, &p)
			s.retries[t] = true // may be a repetition, which gets what there is
		} else {
			t = s.init(c.id, nil)
		}
		s.inits[t] = c
		s.did(t, c)
	case 2, 3, 4, 5, 6, 7:
		var parts []Partition
		for range s.rng.Intn(3) {
			parts = append(parts, part(fmt.Sprint("t", s.rng.Intn(2)), int32(s.rng.Intn(3))))
		}
		s.did(s.add(c.id, p, c.version, time.Duration(s.rng.Intn(2))*time.Second, parts...), c)
	case 8, 9, 10, 11:
		s.did(s.end(c.id, p, c.version, s.rng.Intn(3) > 0), c)
	case 12:
		s.did(s.call(func(coord.Ticket) coord.Result { return s.s.Verify(c.id, p, []Partition{part("t0", 0)}) }), c)
	case 13, 14:
		if n := len(s.orders); n > 0 {
			i := s.rng.Intn(n)
			o := s.orders[i]
			if s.rng.Intn(4) > 0 { // else it will come again
				s.orders = slices.Delete(s.orders, i, i+1)
			}
			failing := s.fail != nil
			s.carry(0, s.s.Complete(s.now, o))
			if failing { // the markers loop tries again until it is written
				s.orders = append(s.orders, o)
			}
		}
	case 15:
		if s.hold = s.rng.Intn(2) == 0; !s.hold {
			s.commit(len(s.log))
		}
	case 16:
		if n := len(s.log) - s.committed; n > 0 {
			s.commit(s.committed + s.rng.Intn(n+1))
		}
	case 17:
		s.fail = nil
		if s.rng.Intn(4) == 0 {
			s.fail = kerr.KafkaStorageError
		}
	case 18:
		s.pass(time.Duration(s.rng.Intn(40)) * time.Second)
	case 19:
		switch s.rng.Intn(8) {
		case 0:
			s.restart()
		case 1:
			s.fail = nil
			s.pass(time.Duration(s.rng.Intn(40)) * time.Hour)
		}
	}
}

// learn lets clients take in what they were answered.
func (s *sim) learn() {
	for _, c := range s.clients {
		a, ok := s.answers[c.pending]
		if !ok || c.pending == 0 {
			continue
		}
		switch a := a.(type) {
		case Initialised:
			if a.Err == nil {
				s.checkGiven(c, a.Producer)
				c.before, c.p = c.p, a.Producer
			}
		case Ended:
			if a.Producer.ID != NoProducer {
				c.before, c.p = c.p, a.Producer
			}
		}
		c.pending = 0
	}
}

func (s *sim) checkGiven(c *simClient, p coord.Producer) {
	name := fmt.Sprint(c.id, " ", p)
	if s.given[name] && !s.retries[c.pending] {
		s.t.Errorf("two instances of %s got %+v", c.id, p)
	}
	s.given[name] = true
}

func (s *sim) check(where string) {
	s.t.Helper()
	if got, want := s.replay(len(s.log)).dump(false), s.s.dump(false); got != want {
		s.t.Fatalf("%s: replayed\n%s live\n%s", where, got, want)
	}
	if got, want := s.s.dump(true), s.replay(s.committed).dump(true); got != want {
		s.t.Fatalf("%s: committed view\n%s, the committed log says\n%s", where, got, want)
	}
}

// checkHistory goes through the log: each step must be one that may follow.
func (s *sim) checkHistory(where string) {
	last := map[string]*Txn{}
	for i, r := range s.log {
		id, n, err := Read(r)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := Follows(last[id], n); err != nil {
			s.t.Errorf("%s: record %d: %v", where, i, err)
		}
		last[id] = n
	}
}
