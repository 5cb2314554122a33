// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

func TestCommitOfBothGenerations(t *testing.T) {
	t.Parallel()
	for _, version := range []int16{0, 2} {
		r := newRig(t)
		p := r.mustInit("a")
		if p.Epoch != 0 {
			t.Fatal(p)
		}
		r.want(r.add("a", p, version, 0, part("t", 1)), nil)
		r.want(r.add("a", p, version, 0, part("s", 0), part("t", 1)), nil)
		if got := r.state("a", Ongoing); len(got.Partitions) != 2 || got.Partitions[0] != part("s", 0) {
			t.Fatal(got)
		}
		n := len(r.log)
		r.want(r.add("a", p, version, 0, part("t", 1)), nil)
		if len(r.log) != n {
			t.Fatal("a partition that is there was written again")
		}
		got := r.want(r.end("a", p, version, true), nil).(coord.Producer)
		want, next := coord.Producer{ID: NoProducer, Epoch: NoEpoch}, p
		if version == 2 {
			next = coord.Producer{ID: p.ID, Epoch: 1}
			want = next
		}
		if got != want {
			t.Fatalf("version %d: %+v", version, got)
		}
		r.state("a", PrepareCommit)
		o := r.orders[0]
		if !o.Commit || o.Epoch != next.Epoch || o.Version != version || len(o.Partitions) != 2 {
			t.Fatalf("%+v", o)
		}
		// All wait while the markers are written.
		r.want(r.add("a", next, version, 0, part("t", 1)), kerr.ConcurrentTransactions)
		r.want(r.end("a", p, version, true), kerr.ConcurrentTransactions)
		r.want(r.init("a", nil), kerr.ConcurrentTransactions)
		waiting := r.add("a", next, version, time.Second, part("t", 3))
		if len(r.answers) == int(r.ticket) {
			t.Fatal("an answer came too early")
		}
		r.complete()
		r.want(waiting, nil)
		if got := r.state("a", Ongoing); len(got.Partitions) != 1 || got.Partitions[0] != part("t", 3) {
			t.Fatal(got)
		}
		r.want(r.end("a", next, version, false), nil)
		r.complete()
		r.state("a", CompleteAbort)
	}
}

// The tables of endV1 and endV2.
func TestEndsWithoutATransaction(t *testing.T) {
	t.Parallel()
	type row struct {
		version       int16
		after         string // "": never used, "c": committed, "a": aborted
		repeated      bool   // with the epoch of before
		commit, abort error
	}
	for _, c := range []row{
		{0, "", false, kerr.InvalidTxnState, kerr.InvalidTxnState},
		{0, "c", false, nil, kerr.InvalidTxnState},
		{0, "a", false, kerr.InvalidTxnState, nil},
		{2, "", true, kerr.ProducerFenced, kerr.ProducerFenced},
		{2, "", false, kerr.InvalidTxnState, nil},
		{2, "a", true, kerr.InvalidTxnState, nil},
		{2, "a", false, kerr.InvalidTxnState, nil},
		{2, "c", true, nil, kerr.InvalidTxnState},
		{2, "c", false, kerr.InvalidTxnState, nil},
	} {
		for _, commit := range []bool{true, false} {
			r := newRig(t)
			p := r.mustInit("a")
			if c.after == "" && c.repeated {
				p.Epoch--
			}
			if c.after != "" {
				r.want(r.add("a", p, c.version, 0, part("t", 0)), nil)
				got := r.want(r.end("a", p, c.version, c.after == "c"), nil).(coord.Producer)
				r.complete()
				if c.version == 2 && !c.repeated {
					p = got
				}
			}
			want, before := c.abort, len(r.log)
			if commit {
				want = c.commit
			}
			v := r.want(r.end("a", p, c.version, commit), want)
			if want != nil || c.version < 2 {
				continue
			}
			if got := v.(coord.Producer); got.Epoch != p.Epoch+1 {
				t.Errorf("%+v commit %v: %+v", c, commit, got)
			}
			if wrote := len(r.log) > before; wrote == c.repeated || len(r.orders) > 0 {
				t.Errorf("%+v commit %v: wrote %v, %d orders", c, commit, wrote, len(r.orders))
			}
		}
	}
}

func TestFencing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.want(r.add("a", coord.Producer{ID: 7}, 2, 0, part("t", 0)), kerr.InvalidProducerIDMapping)
	r.want(r.end("a", coord.Producer{ID: 7}, 2, true), kerr.InvalidProducerIDMapping)
	old := r.mustInit("a")
	r.want(r.add("a", old, 2, 0, part("t", 0)), nil)
	// A new instance: the transaction is aborted, then it gets its epoch.
	r.want(r.init("a", nil), kerr.ConcurrentTransactions)
	r.want(r.end("a", old, 2, true), kerr.ConcurrentTransactions)
	if o := r.orders[0]; o.Commit || o.Epoch != old.Epoch+1 {
		t.Fatalf("%+v", o)
	}
	r.complete()
	young := r.mustInit("a")
	if young.ID != old.ID || young.Epoch != old.Epoch+2 {
		t.Fatal(young)
	}
	r.want(r.add("a", old, 2, 0, part("t", 0)), kerr.ProducerFenced)
	r.want(r.end("a", old, 2, false), kerr.ProducerFenced)
	r.want(r.end("a", old, 0, false), kerr.ProducerFenced)
	r.want(r.add("a", coord.Producer{ID: old.ID + 1, Epoch: young.Epoch}, 2, 0, part("t", 0)), kerr.InvalidProducerIDMapping)
	r.want(r.add("a", young, 2, 0, part("t", 0)), nil)
	verify := func(p coord.Producer, parts ...Partition) coord.Ticket {
		return r.call(func(coord.Ticket) coord.Result { return r.s.Verify("a", p, parts) })
	}
	errs := r.want(verify(young, part("t", 0), part("t", 1)), nil).([]error)
	if errs[0] != nil || coord.Code(errs[1]) != kerr.TransactionAbortable.Code {
		t.Fatal(errs)
	}
	r.want(verify(old, part("t", 0)), kerr.ProducerFenced)
	r.want(r.end("a", young, 2, true), nil)
	young.Epoch++
	r.want(verify(young, part("t", 0)), kerr.ConcurrentTransactions)
}

// KIP-360: a producer goes on after an error with the epoch that it has.
func TestInitThatGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.mustInit("a")
	next := r.want(r.init("a", &p), nil).(coord.Producer)
	if next.ID != p.ID || next.Epoch != p.Epoch+1 {
		t.Fatal(next)
	}
	r.restart() // what a repeated request may bring survives
	if again := r.want(r.init("a", &p), nil).(coord.Producer); again != next {
		t.Fatal(again)
	}
	other := r.mustInit("a")
	r.want(r.init("a", &next), kerr.ProducerFenced)
	r.want(r.init("a", &p), kerr.ProducerFenced)
	r.want(r.init("a", &coord.Producer{ID: p.ID + 5, Epoch: other.Epoch}), kerr.ProducerFenced)
	// An id that is not known takes whoever comes.
	if got := r.want(r.init("b", &coord.Producer{ID: 5, Epoch: 3}), nil).(coord.Producer); got.Epoch != 0 {
		t.Fatal(got)
	}
	for _, timeout := range []int32{0, -1, 900_001} {
		r.want(r.call(func(coord.Ticket) coord.Result {
			return r.s.Init(r.now, Init{ID: "a", TimeoutMillis: timeout, NewProducer: 1})
		}), kerr.InvalidTransactionTimeout)
	}
}

// An epoch that cannot be raised takes a new producer id with it, at
// InitProducerId and, in version 2, at the end of a transaction.
func TestExhaustion(t *testing.T) {
	t.Parallel()
	at := func(r *rig, epoch int16) coord.Producer {
		p := r.mustInit("a")
		n := *r.s.written("a")
		n.Epoch = epoch
		r.carry(0, coord.Result{Records: []coord.Record{record(&n)}})
		return coord.Producer{ID: p.ID, Epoch: epoch}
	}
	r := newRig(t)
	p := at(r, lastEpoch)
	rotated := r.want(r.init("a", &p), nil).(coord.Producer)
	if rotated.ID == p.ID || rotated.Epoch != 0 {
		t.Fatal(rotated)
	}
	if again := r.want(r.init("a", &p), nil).(coord.Producer); again != rotated {
		t.Fatal(again)
	}
	for _, reload := range []bool{false, true} {
		r := newRig(t)
		p := at(r, lastEpoch)
		r.want(r.add("a", p, 2, 0, part("t", 0)), nil)
		next := r.want(r.end("a", p, 2, true), nil).(coord.Producer)
		if next.ID == p.ID || next.Epoch != 0 {
			t.Fatal(next)
		}
		if o := r.orders[0]; o.Epoch != math.MaxInt16 || o.Producer != p.ID {
			t.Fatalf("%+v", o)
		}
		if reload {
			r.restart()
		}
		waiting := r.add("a", next, 2, time.Second, part("t", 1))
		r.complete()
		r.want(waiting, nil)
		if again := r.want(r.end("a", next, 2, true), nil).(coord.Producer); again != (coord.Producer{ID: next.ID, Epoch: 1}) {
			t.Fatal(again)
		}
		r.complete()
		// The same with the answer lost: the repeated end gets it again.
		r = newRig(t)
		p = at(r, lastEpoch)
		r.want(r.add("a", p, 2, 0, part("t", 0)), nil)
		next = r.want(r.end("a", p, 2, true), nil).(coord.Producer)
		r.complete()
		if reload {
			r.restart()
		}
		if again := r.want(r.end("a", p, 2, true), nil).(coord.Producer); again != next {
			t.Fatal(again)
		}
		r.want(r.end("a", p, 2, false), kerr.InvalidTxnState)
	}
	// Fenced at the last epoch: the one above is for the marker only.
	r = newRig(t)
	p = at(r, lastEpoch)
	r.want(r.add("a", p, 2, 0, part("t", 0)), nil)
	r.want(r.init("a", nil), kerr.ConcurrentTransactions)
	r.complete()
	top := coord.Producer{ID: p.ID, Epoch: math.MaxInt16}
	r.want(r.add("a", top, 2, 0, part("t", 0)), kerr.ProducerFenced)
	r.want(r.end("a", top, 2, false), kerr.ProducerFenced)
	if p := r.mustInit("a"); p.ID == top.ID || p.Epoch != 0 {
		t.Fatal(p)
	}
	// The same when the client goes on with what it had: it is not given the
	// epoch that nobody may use, and an answer that was lost is given again.
	r = newRig(t)
	p = at(r, lastEpoch)
	r.want(r.add("a", p, 2, 0, part("t", 0)), nil)
	r.pass(2 * time.Minute)
	r.complete()
	rotated = r.want(r.init("a", &p), nil).(coord.Producer)
	if rotated.ID == p.ID || rotated.Epoch != 0 {
		t.Fatal(rotated)
	}
	r.restart()
	if again := r.want(r.init("a", &p), nil).(coord.Producer); again != rotated {
		t.Fatal(again)
	}
	r.want(r.add("a", rotated, 2, 0, part("t", 0)), nil)
}

func TestTimeOut(t *testing.T) {
	t.Parallel()
	for _, level := range []int16{0, 2} {
		r := newRig(t)
		r.s.SetLevel(level)
		p := r.mustInit("a")
		r.pass(time.Hour) // nothing is open: nothing to abort
		r.want(r.add("a", p, level, 0, part("t", 0)), nil)
		r.pass(time.Minute)
		r.state("a", Ongoing)
		r.want(r.add("a", p, level, 0, part("t", 1)), nil)
		r.pass(time.Millisecond)
		if got := r.state("a", PrepareAbort); got.Epoch != p.Epoch+1 || len(got.Partitions) != 2 {
			t.Fatalf("%+v", got)
		}
		waiting := r.add("a", p, level, time.Second, part("t", 3))
		r.pass(999 * time.Millisecond)
		if _, early := r.answers[waiting]; early {
			t.Fatal("the wait ended too early")
		}
		r.pass(time.Millisecond)
		r.want(waiting, kerr.ConcurrentTransactions)
		r.complete()
		r.want(r.add("a", p, level, 0, part("t", 0)), kerr.ProducerFenced)
		if level == 2 {
			// Its abort is what has happened; it learns its new epoch.
			if got := r.want(r.end("a", p, 2, false), nil).(coord.Producer); got.Epoch != p.Epoch+1 {
				t.Fatal(got)
			}
			r.want(r.end("a", p, 2, true), kerr.InvalidTxnState)
		}
	}
}

// Very many transactions time out at once, and the log takes only the first of
// several batches: whatever it took gets its markers.
func TestManyTimeOutsHalfWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		r.want(r.add(id, r.mustInit(id), 2, 0, part("t", 0)), nil)
	}
	r.fail, r.room = kerr.NotEnoughReplicas, 1
	r.pass(2 * time.Minute)
	r.fail = nil
	r.commit(len(r.log))
	r.pass(2 * time.Minute)
	for len(r.orders) > 0 {
		r.complete()
	}
	for _, id := range ids {
		r.state(id, CompleteAbort)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.mustInit("a")
	q := r.mustInit("open")
	r.want(r.add("open", q, 0, 0, part("t", 0)), nil)
	r.pass(23 * time.Hour)
	r.want(r.end("a", p, 2, false), nil) // uses it
	r.pass(90 * time.Minute)
	if r.s.Describe("a") == nil || r.s.Describe("open") == nil {
		t.Fatal("forgotten too early")
	}
	r.pass(24 * time.Hour)
	if r.s.Describe("a") != nil || len(r.s.ids) != 1 {
		t.Fatal("not forgotten")
	}
	r.state("open", PrepareAbort) // its markers are not written yet
	r.want(r.add("a", p, 2, 0, part("t", 0)), kerr.InvalidProducerIDMapping)
}

// More ids than go at once: the rest follows when the first are written, and not
// at once, again and again, when the log takes none.
func TestExpiryThatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range atOnce + 1 {
		r.write([]coord.Record{record(&Txn{ID: fmt.Sprint(i), Producer: 5, Prev: 5, Next: NoProducer, Updated: 1, Started: -1})})
	}
	r.commit(len(r.log))
	r.fail = kerr.NotEnoughReplicas
	now := r.now.Add(r.cfg.ExpirationCheck)
	r.now = now
	r.carry(0, r.s.Tick(now))
	if next := r.s.Next(); next.Sub(now) < time.Second {
		t.Fatalf("tried again after %v", next.Sub(now))
	}
	r.fail = nil
	r.pass(r.cfg.ExpirationCheck)
	left := 0
	r.s.Each(func(*Txn) { left++ })
	if left != 0 {
		t.Fatalf("%d are left", left)
	}
}

// A new coordinator finishes what the one before decided, and what was not
// committed has not happened.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p, q := r.mustInit("a"), r.mustInit("b")
	r.want(r.add("a", p, 2, 0, part("t", 0)), nil)
	r.want(r.add("b", q, 2, 0, part("t", 0)), nil)
	r.want(r.end("a", p, 2, true), nil)
	r.hold = true
	lost := r.end("b", q, 2, true)
	if _, ok := r.answers[lost]; ok || len(r.orders) != 1 {
		t.Fatal("the decision counts before it is committed")
	}
	r.restart()
	r.hold = false
	r.commit(len(r.log))
	r.want(lost, kerr.NotCoordinator)
	if len(r.orders) != 1 || r.orders[0].ID != "a" || !r.orders[0].Commit {
		t.Fatalf("%+v", r.orders)
	}
	r.state("b", Ongoing)
	o := r.orders[0]
	r.complete()
	r.state("a", CompleteCommit)
	// The orders of before come too late to change anything.
	n := len(r.log)
	r.carry(0, r.s.Complete(r.now, o))
	r.carry(0, r.s.Complete(r.now, Order{ID: "nobody"}))
	if len(r.log) != n {
		t.Fatal("an old order was completed again")
	}
	r.want(r.end("b", q, 2, true), nil)
}

// An order completes the decision that it came from and no other: not the next
// transaction's of a producer whose epoch stays, when the markers' loop tells
// twice because the first answer took too long; and not the one of a new
// coordinator, whose own markers are still on their way.
func TestOrdersCompleteTheirOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.mustInit("a")
	once := func() Order {
		t.Helper()
		r.want(r.add("a", p, 0, 0, part("t", 0)), nil)
		r.want(r.end("a", p, 0, true), nil)
		return r.orders[0]
	}
	first := once()
	r.complete()
	r.state("a", CompleteCommit)
	second := once()
	r.carry(0, r.s.Complete(r.now, first))
	r.state("a", PrepareCommit) // no marker of the second is written yet
	r.restart()
	r.carry(0, r.s.Complete(r.now, second))
	r.state("a", PrepareCommit)
	r.complete()
	r.state("a", CompleteCommit)
}

func TestWriteThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.mustInit("a")
	r.want(r.add("a", p, 2, 0, part("t", 0)), nil)
	r.fail = kerr.NotEnoughReplicas
	r.want(r.end("a", p, 2, true), kerr.NotEnoughReplicas)
	r.fail = nil
	if len(r.orders) != 0 {
		t.Fatal("markers without a decision")
	}
	r.want(r.end("a", p, 2, true), nil)
	waiting := r.add("a", coord.Producer{ID: p.ID, Epoch: p.Epoch + 1}, 2, time.Minute, part("t", 0))
	r.fail = kerr.NotEnoughReplicas
	o := r.orders[0]
	r.complete()
	r.want(waiting, kerr.ConcurrentTransactions)
	r.fail, r.orders = nil, []Order{o}
	r.complete()
	r.state("a", CompleteCommit)
}

// Both versions of Kafka's values are read.
func TestOldValues(t *testing.T) {
	t.Parallel()
	v := kmsg.NewTxnMetadataValue()
	v.ProducerID, v.ProducerEpoch, v.TimeoutMillis, v.State = 7, 3, 60_000, 2
	v.Topics = []kmsg.TxnMetadataValueTopic{{Topic: "t", Partitions: []int32{2, 1}}, {Topic: "a", Partitions: []int32{0}}}
	v.StartTimestamp, v.LastUpdateTimestamp = 10, 11
	got, err := readValue("x", v.AppendTo(nil))
	if err != nil || got.Producer != 7 || got.Epoch != 3 || got.State != PrepareCommit || got.Prev != NoProducer ||
		len(got.Partitions) != 3 || got.Partitions[0] != part("a", 0) || got.Started != 10 || got.Version != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	s := New(&Config{})
	for _, bad := range []coord.Record{
		{Key: nil}, {Key: []byte{0}}, {Key: []byte{0, 0, 0}},
		{Key: key("x"), Value: []byte{}}, {Key: key("x"), Value: []byte{0, 9}}, {Key: key("x"), Value: []byte{0, 1, 3}},
	} {
		if s.Replay(0, bad) == nil {
			t.Errorf("%x was read", bad)
		}
	}
	if err := s.Replay(0, coord.Record{Key: []byte{0, 9, 1}}); err != nil {
		t.Error(err) // a kind of later times
	}
}
