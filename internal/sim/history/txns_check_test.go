// SPDX-License-Identifier: Apache-2.0

package history

import "testing"

// Goal: each anomaly of transactions is found, and nothing where there is none.
// Method: one good history of two transactions and a zombie, spoilt in one way
// after another.
func TestCheckTxns(t *testing.T) {
	t.Parallel()
	in, out0, out1 := Partition{"in", 0}, Partition{"out", 0}, Partition{"out", 1}
	good := func() *Txns {
		return &Txns{
			Stages:    []Stage{{"g", "in", "out", 2}},
			Instances: []Instance{{"x", 1, 2}, {"x", 20, 21}},
			Txns: []Txn{
				{Instance: 0, Name: "one", Tried: 7, Ended: 8, Outcome: Done, Takes: []Take{{in, 0, "a"}}, Writes: []Write{
					{out0, "one:a:0", "a", 3, 5, Done}, {out1, "one:a:1", "a", 4, 6, Done},
				}},
				{Instance: 0, Name: "two", Takes: []Take{{in, 1, "b"}}, Writes: []Write{{out0, "two:b:0", "b", 10, 11, Done}}},
				{Instance: 1, Name: "three", Tried: 30, Ended: 32, Outcome: Done, Takes: []Take{{in, 1, "b"}}, Writes: []Write{
					{out0, "three:b:0", "b", 22, 23, Done}, {out1, "three:b:1", "b", 24, 25, Done},
				}},
			},
			Finds: []Find{{out0, 0, "one:a:0", 9}, {out1, 0, "one:a:1", 9}, {out0, 4, "three:b:0", 31}},
			Committed: []Find{
				{in, 0, "a", 40}, {in, 1, "b", 40}, {out0, 0, "one:a:0", 40}, {out1, 0, "one:a:1", 40}, {out0, 4, "three:b:0", 40}, {out1, 2, "three:b:1", 40},
			},
			Everything: []Find{{out0, 0, "one:a:0", 41}, {out1, 0, "one:a:1", 41}, {out0, 2, "two:b:0", 41}, {out0, 4, "three:b:0", 41}, {out1, 2, "three:b:1", 41}},
			Offsets:    map[string]map[Partition]int64{"g": {in: 2}},
		}
	}
	if found := CheckTxns(good()); len(found) > 0 {
		t.Fatalf("a good history: %v", found)
	}
	tests := []struct {
		want  Kind
		spoil func(h *Txns)
	}{
		{AbortedRead, func(h *Txns) { h.Finds = append(h.Finds, Find{out0, 2, "two:b:0", 15}) }},
		{AbortedRead, func(h *Txns) { h.Txns[0].Outcome = Rejected }},
		{EarlyRead, func(h *Txns) { h.Finds[0].At = 5 }},
		{Torn, func(h *Txns) { h.Committed = h.Committed[:5] }},
		{Torn, func(h *Txns) { h.Offsets["g"][in] = 1 }},
		{LostTxn, func(h *Txns) { h.Committed = h.Committed[:4] }},
		{Repeated, func(h *Txns) { h.Committed = append(h.Committed, Find{out0, 9, "one:a:0", 40}) }},
		{Repeated, func(h *Txns) { h.Txns[2].Writes[0].From = "a" }},
		{Skipped, func(h *Txns) { h.Committed = append(h.Committed, Find{in, -1, "c", 40}) }},
		{Unfinished, func(h *Txns) { h.Committed = append(h.Committed, Find{in, 2, "c", 40}) }},
		{Vanished, func(h *Txns) { h.Committed = h.Committed[:4] }},
		{Zombie, func(h *Txns) { h.Txns[1].Writes[0].Began = 22 }},
		{Zombie, func(h *Txns) { h.Txns[1].Writes[0].Began, h.Txns[1].Writes[0].Outcome = 22, Unknown }},
		{Zombie, func(h *Txns) { h.Txns[0].Tried = 26 }},
	}
	for i, test := range tests {
		h := good()
		test.spoil(h)
		found := CheckTxns(h)
		ok := false
		for _, a := range found {
			ok = ok || a.Kind == test.want
		}
		if !ok {
			t.Errorf("%d: %q is not in %v", i, test.want, found)
		}
	}
}
