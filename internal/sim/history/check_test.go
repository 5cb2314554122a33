// SPDX-License-Identifier: Apache-2.0

// Goal: each anomaly is found where it is, and no other; a sound history has
// none. Method: histories of a few events, written by hand; and a long sound
// one made by a model, into which one anomaly each is planted.
package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"gregor/internal/seeds"
)

var p0 = Partition{"t", 0}

// script builds a history one act after the other.
type script struct{ r Recorder }

func (s *script) sent(process int, value string, offset int64) *script {
	s.r.Send(process, p0, value, true)(Done, offset)
	return s
}

func (s *script) refused(value string) *script {
	s.r.Send(1, p0, value, true)(Rejected, -1)
	return s
}

func (s *script) unknown(value string) *script {
	s.r.Send(1, p0, value, true)
	return s
}

func (s *script) poll(process int, records ...any) *script {
	var rs []Record
	for i := 0; i < len(records); i += 2 {
		rs = append(rs, Record{Offset: int64(records[i].(int)), Value: records[i+1].(string)})
	}
	s.r.Poll(process, p0, rs)
	return s
}

func (s *script) assign(process int, group string) *script {
	s.r.Assign(process, group, p0)
	return s
}

func (s *script) commit(offset int64, o Outcome) *script {
	s.r.Commit("g", p0, offset)(o)
	return s
}

func (s *script) look(group string, offset int64) *script { return s.lookIn(1, group, offset) }

func (s *script) lookIn(epoch int32, group string, offset int64) *script {
	s.r.Look(group, p0)(offset, epoch)
	return s
}

func TestCheck(t *testing.T) {
	t.Parallel()
	late := func() *script { // two sends at once, answered in either order
		s := &script{}
		a := s.r.Send(1, p0, "a", true)
		b := s.r.Send(2, p0, "b", true)
		b(Done, 0)
		a(Done, 1)
		return s
	}
	for name, c := range map[string]struct {
		s    *script
		want []Kind
	}{
		"sound":           {new(script).sent(1, "a", 0).sent(1, "b", 1).poll(9, 0, "a", 1, "b"), nil},
		"gap of nothing":  {new(script).sent(1, "a", 0).sent(1, "b", 5).poll(9, 0, "a", 5, "b"), nil},
		"unknown, there":  {new(script).unknown("a").sent(2, "b", 1).poll(9, 0, "a", 1, "b"), nil},
		"unknown, absent": {new(script).unknown("a").sent(2, "b", 0).poll(9, 0, "b"), nil},
		"both at once":    {late().poll(9, 0, "b", 1, "a"), nil},

		"lost":              {new(script).sent(1, "a", 0).sent(1, "b", 1).poll(9, 1, "b"), []Kind{Lost}},
		"lost, overwritten": {new(script).sent(1, "a", 0).sent(2, "b", 1).unknown("c").poll(9, 0, "c", 1, "b"), []Kind{Inconsistent, Lost}},
		"unseen":            {new(script).sent(1, "a", 0).sent(1, "b", 1).poll(9, 0, "a"), []Kind{Unseen}},
		"duplicate":         {new(script).sent(1, "a", 0).poll(9, 0, "a", 1, "a"), []Kind{Duplicate}},
		"inconsistent":      {new(script).unknown("a").unknown("b").poll(8, 0, "a").poll(9, 0, "b"), []Kind{Inconsistent}},
		"phantom":           {new(script).poll(9, 0, "a"), []Kind{Phantom}},
		"refused":           {new(script).refused("a").poll(9, 0, "a"), []Kind{Phantom}},
		"nonmonotonic send": {new(script).sent(1, "a", 1).sent(1, "b", 0).poll(9, 0, "b", 1, "a"), []Kind{NonmonotonicSend}},
		"overtaken":         {new(script).sent(1, "a", 1).sent(2, "b", 0).poll(9, 0, "b", 1, "a"), []Kind{Overtaken}},
		"skipped in a poll": {
			new(script).sent(1, "a", 0).sent(1, "b", 1).sent(1, "c", 2).poll(8, 0, "a", 2, "c").poll(9, 0, "a", 1, "b", 2, "c"), []Kind{SkippedPoll},
		},
		"skipped between polls": {
			new(script).sent(1, "a", 0).sent(1, "b", 1).sent(1, "c", 2).poll(8, 0, "a").poll(8, 2, "c").poll(9, 0, "a", 1, "b", 2, "c"), []Kind{SkippedPoll},
		},
		"nonmonotonic poll": {new(script).sent(1, "a", 0).sent(1, "b", 1).poll(8, 0, "a", 1, "b").poll(8, 1, "b"), []Kind{NonmonotonicPoll}},
		"back by assignment": {
			new(script).sent(1, "a", 0).sent(1, "b", 1).poll(8, 0, "a", 1, "b").assign(8, "").poll(8, 0, "a"), nil,
		},

		"end":                                  {new(script).sent(1, "a", 0).look("", 1).poll(9, 0, "a").look("", 1), nil},
		"end below a poll":                     {new(script).unknown("a").poll(9, 0, "a").look("", 0), []Kind{FallenEnd}}, // of epoch 0
		"end of a deposed leader below a poll": {new(script).unknown("a").poll(9, 0, "a").lookIn(0, "", 0), nil},
		"end below another":                    {new(script).look("", 7).look("", 6), []Kind{FallenEnd}},
		"end below an earlier leader's":        {new(script).lookIn(1, "", 7).lookIn(2, "", 6), []Kind{FallenEnd}},
		"end of a deposed leader":              {new(script).lookIn(2, "", 7).lookIn(1, "", 6), nil},

		"commit":      {new(script).commit(5, Done).look("g", 5).commit(7, Unknown).look("g", 5), nil},
		"commit lost": {new(script).commit(5, Done).look("g", 4), []Kind{LostCommit}},
		"commit unknown to a deposed coordinator": {new(script).commit(5, Done).look("g", 4).look("g", 5), nil},
		"commit of another":                       {new(script).commit(5, Done).look("h", 4), nil},
		"member goes on": {
			new(script).sent(1, "a", 0).sent(1, "b", 1).assign(8, "g").poll(8, 0, "a").commit(1, Done).assign(9, "g").poll(9, 1, "b"), nil,
		},
		"member repeats what was not committed": {
			new(script).sent(1, "a", 0).assign(8, "g").poll(8, 0, "a").commit(1, Unknown).assign(9, "g").poll(9, 0, "a"), nil,
		},
		"member repeats what was committed": {
			new(script).sent(1, "a", 0).assign(8, "g").poll(8, 0, "a").commit(1, Done).assign(9, "g").poll(9, 0, "a"), []Kind{LostCommit},
		},
		"member skips": {
			new(script).sent(1, "a", 0).sent(1, "b", 1).assign(8, "g").poll(8, 1, "b").poll(9, 0, "a"), []Kind{SkippedPoll},
		},
		"member skips over a refused commit": {
			new(script).sent(1, "a", 0).sent(1, "b", 1).commit(1, Rejected).assign(8, "g").poll(8, 1, "b").poll(9, 0, "a"), []Kind{SkippedPoll},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, c.s.r.History(), c.want...)
		})
	}
}

func expect(t *testing.T, h *History, want ...Kind) {
	t.Helper()
	var got []Kind
	found := Check(h)
	for _, a := range found {
		got = append(got, a.Kind)
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

// TestNotIdempotent: without idempotence records may come twice and out of
// order, but are not lost.
func TestNotIdempotent(t *testing.T) {
	t.Parallel()
	var s script
	s.r.Send(1, p0, "a", false)(Done, 1)
	s.r.Send(1, p0, "b", false)(Done, 0)
	expect(t, s.poll(9, 0, "b", 1, "a", 2, "a").r.History())
	s.r.Send(1, p0, "c", false)(Done, 3)
	expect(t, s.r.History(), Unseen)
}

// sound is a history of a log that works, with many clients at once.
func sound(random *rand.Rand) (*Recorder, []string) {
	var (
		r       Recorder
		log     []string
		pending []func()
		at      [3]int64
		group   int64
	)
	for i := range 2000 {
		switch random.IntN(8) {
		case 0, 1, 2: // sent; written at once or never, and answered later
			v := fmt.Sprint(i)
			answer := r.Send(i%5+100*i, p0, v, true)
			switch o := int64(len(log)); random.IntN(4) {
			case 0:
			case 1:
				log = append(log, v)
			default:
				log = append(log, v)
				pending = append(pending, func() { answer(Done, o) })
			}
		case 3:
			for _, f := range pending {
				f()
			}
			pending = nil
		case 4, 5:
			who := random.IntN(len(at))
			var rs []Record
			for n := random.IntN(5); n > 0 && at[who] < int64(len(log)); n-- {
				rs = append(rs, Record{Offset: at[who], Value: log[at[who]]})
				at[who]++
			}
			r.Poll(who, p0, rs)
		case 6:
			r.Look("", p0)(int64(len(log)), 1)
		case 7:
			r.Commit("g", p0, group)(Done)
			r.Look("g", p0)(group, 0)
			group++
		}
	}
	for _, f := range pending {
		f()
	}
	var rest []Record
	for o, v := range log {
		rest = append(rest, Record{Offset: int64(o), Value: v})
	}
	r.Poll(99, p0, rest)
	return &r, log
}

func TestSimSoundHistories(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 20, 5) {
		r, log := sound(rand.New(rand.NewPCG(seed, 0)))
		expect(t, r.History())

		h := r.History() // the last reader misses one record: known from acknowledgements or others
		last := h.Polls[len(h.Polls)-1].Records
		k := len(last) / 2
		h.Polls[len(h.Polls)-1].Records = slices.Delete(slices.Clone(last), k, k+1)
		known := slices.ContainsFunc(h.Sends, func(s Send) bool { return s.Outcome == Done && s.Offset == int64(k) }) ||
			slices.ContainsFunc(h.Polls, func(q Poll) bool {
				return slices.ContainsFunc(q.Records, func(r Record) bool { return r.Offset == int64(k) })
			})
		if found := Check(h); known != slices.ContainsFunc(found, func(a Anomaly) bool { return a.Kind == SkippedPoll }) {
			t.Fatalf("seed %d: record %q at %d left out, known %v: %v", seed, log[k], k, known, found)
		}
	}
}
