// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/coord"
)

// rig carries out a shard's results as package coord's loop does, step by step:
// the log is a slice, it is committed when the test says so (or at once), and
// appends fail on demand. Orders pile up until the test completes them.
type rig struct {
	t         *testing.T
	s         *Shard
	cfg       Config
	now       time.Time
	log       []coord.Record
	committed int
	hold      bool  // do not commit by itself
	fail      error // of the next appends
	room      int   // so many records of divisible ones are written before fail
	waits     []rigWait
	answers   map[coord.Ticket]any
	ticket    coord.Ticket
	orders    []Order
	ids       int64
}

type rigWait struct {
	end     int
	to      coord.Ticket
	reply   any
	settled func(time.Time, bool, error) coord.Result
	effects []coord.Effect
}

func newRig(t *testing.T) *rig {
	r := &rig{
		t: t, now: time.UnixMilli(1_700_000_000_000), answers: map[coord.Ticket]any{}, ids: 1000,
		cfg: Config{MaxTimeout: 15 * time.Minute, Expiration: 24 * time.Hour, ExpirationCheck: time.Hour, Level: 2},
	}
	r.s = New(&r.cfg)
	r.carry(0, r.s.Loaded(r.now))
	return r
}

func (r *rig) answer(t coord.Ticket, reply any) {
	if t == 0 {
		return
	}
	if _, twice := r.answers[t]; twice {
		r.t.Errorf("call %d is answered twice, now with %+v", t, reply)
	}
	r.answers[t] = reply
}

func (r *rig) carry(t coord.Ticket, res coord.Result) {
	if res.Err != nil {
		r.answer(t, res.Err)
		return
	}
	for _, a := range res.Answers {
		r.answer(a.To, a.Reply)
	}
	if len(res.Records) > 0 && r.fail != nil {
		if res.Divisible {
			r.write(res.Records[:min(r.room, len(res.Records))])
		}
		if res.Reply != nil {
			r.answer(t, r.fail)
		}
		if res.Settled != nil {
			r.carry(0, res.Settled(r.now, false, r.fail))
		}
		return
	}
	r.write(res.Records)
	r.waits = append(r.waits, rigWait{len(r.log), t, res.Reply, res.Settled, res.Effects})
	if !r.hold {
		r.commit(len(r.log))
	}
}

func (r *rig) write(records []coord.Record) {
	for _, rec := range records {
		r.log = append(r.log, rec)
		if err := r.s.Replay(int64(len(r.log)-1), rec); err != nil {
			r.t.Fatalf("replay of what was just written: %v", err)
		}
	}
}

// commit commits the log up to end, lets effects happen and settles who waited.
func (r *rig) commit(end int) {
	r.committed = max(r.committed, end)
	r.s.Committed(int64(r.committed))
	for len(r.waits) > 0 && r.waits[0].end <= r.committed {
		w := r.waits[0]
		r.waits = r.waits[1:]
		for _, e := range w.effects {
			r.orders = append(r.orders, e.(Order))
		}
		if w.reply != nil {
			r.answer(w.to, w.reply)
		}
		if w.settled != nil {
			r.carry(0, w.settled(r.now, true, nil))
		}
	}
}

// pass lets time go by, firing timers at their times.
func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for {
		next := r.s.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(r.now) {
			r.now = next
		}
		r.carry(0, r.s.Tick(r.now))
	}
	r.now = end
}

func (r *rig) call(op func(t coord.Ticket) coord.Result) coord.Ticket {
	r.ticket++
	t := r.ticket
	r.carry(t, op(t))
	return t
}

// outcome is the answer to a call as a value and an error.
func (r *rig) outcome(t coord.Ticket) (any, error) {
	switch a := r.answers[t].(type) {
	case error:
		return nil, a
	case Initialised:
		return a.Producer, a.Err
	case Ended:
		return a.Producer, nil
	case Added:
		return nil, a.Err
	default:
		return a, nil
	}
}

func (r *rig) need(op func(next int64) coord.Result) coord.Result {
	res := op(NoProducer)
	if res.Err == ErrNeedProducer { //nolint:errorlint // bare by contract
		r.ids++
		res = op(r.ids)
	}
	return res
}

// init initialises a producer; expected may be nil.
func (r *rig) init(id string, expected *coord.Producer) coord.Ticket {
	return r.call(func(coord.Ticket) coord.Result {
		return r.need(func(next int64) coord.Result {
			return r.s.Init(r.now, Init{ID: id, TimeoutMillis: 60_000, Expected: expected, NewProducer: next})
		})
	})
}

func (r *rig) add(id string, p coord.Producer, version int16, wait time.Duration, parts ...Partition) coord.Ticket {
	return r.call(func(t coord.Ticket) coord.Result {
		return r.s.Add(r.now, t, Add{ID: id, Producer: p, Partitions: parts, Version: version, Wait: wait})
	})
}

func (r *rig) end(id string, p coord.Producer, version int16, commit bool) coord.Ticket {
	return r.call(func(coord.Ticket) coord.Result {
		return r.need(func(next int64) coord.Result {
			return r.s.End(r.now, End{ID: id, Producer: p, Commit: commit, Version: version, NewProducer: next})
		})
	})
}

// complete ends the oldest order.
func (r *rig) complete() {
	r.t.Helper()
	if len(r.orders) == 0 {
		r.t.Fatal("no markers were ordered")
	}
	o := r.orders[0]
	r.orders = r.orders[1:]
	r.carry(0, r.s.Complete(r.now, o))
}

// mustInit initialises a producer that must be given.
func (r *rig) mustInit(id string) coord.Producer {
	r.t.Helper()
	p, err := r.outcome(r.init(id, nil))
	if err != nil {
		r.t.Fatal(err)
	}
	return p.(coord.Producer)
}

func (r *rig) want(t coord.Ticket, err error) any {
	r.t.Helper()
	v, got := r.outcome(t)
	if _, ok := r.answers[t]; !ok {
		r.t.Fatalf("call %d is not answered", t)
	}
	if coord.Code(got) != coord.Code(err) {
		r.t.Fatalf("error %v, want %v", got, err)
	}
	return v
}

func (r *rig) state(id string, want State) *Txn {
	r.t.Helper()
	t := r.s.Describe(id)
	if t == nil || t.State != want {
		r.t.Fatalf("%s is %+v, want %s", id, t, want)
	}
	return t
}

// replay makes a shard from the first n records, all committed.
func (r *rig) replay(n int) *Shard {
	fresh := New(&r.cfg)
	for i, rec := range r.log[:n] {
		if err := fresh.Replay(int64(i), rec); err != nil {
			r.t.Fatalf("replay: %v", err)
		}
	}
	fresh.Committed(int64(n))
	return fresh
}

// restart loads a new shard from the committed log, as a new coordinator does.
func (r *rig) restart() {
	for t := coord.Ticket(1); t <= r.ticket; t++ {
		if _, ok := r.answers[t]; !ok {
			r.answer(t, error(kerr.NotCoordinator))
		}
	}
	r.waits, r.orders, r.log = nil, nil, r.log[:r.committed]
	r.s = r.replay(r.committed)
	r.carry(0, r.s.Loaded(r.now))
}

func part(topic string, p int32) Partition { return Partition{topic, p} }

func (s *Shard) dump(committed bool) string {
	out := ""
	for _, id := range s.sorted() {
		t := s.ids[id].written
		if committed {
			t = s.ids[id].committed
		}
		if t != nil {
			out += fmt.Sprintf("%+v\n", *t)
		}
	}
	return out
}
