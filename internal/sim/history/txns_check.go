// SPDX-License-Identifier: Apache-2.0

package history

import "fmt"

// The anomalies of transactions. All but the last two need only that the clients
// told what they did; hanging is for the load to say, which waits.
const (
	// AbortedRead: a reader of committed records got one of a transaction that
	// was aborted, or whose commit nobody ever asked for.
	AbortedRead Kind = "aborted read"
	// EarlyRead: it got one before the commit was asked for.
	EarlyRead Kind = "early read"
	// Torn: some of a transaction's records are there in the end, and others,
	// or its offsets, are not.
	Torn Kind = "torn"
	// LostTxn: a transaction was committed, as its client was told, and nothing
	// of it is there in the end.
	LostTxn Kind = "lost transaction"
	// Repeated: a record is there twice, or more came of one input than should.
	Repeated Kind = "repeated"
	// Skipped: an input that the group's offsets have passed came to nothing.
	Skipped Kind = "skipped input"
	// Unfinished: an input is there and the group never passed it.
	Unfinished Kind = "unfinished input"
	// Vanished: a reader of committed records got one that is not there in the
	// end.
	Vanished Kind = "vanished"
	// Zombie: an instance wrote or committed after the next one of its id had
	// its producer.
	Zombie Kind = "zombie"
	// Hanging: a transaction that never ends.
	Hanging Kind = "hanging transaction"
)

// CheckTxns finds what must not be.
func CheckTxns(h *Txns) []Anomaly {
	c := newTxnCheck(h)
	c.reads()
	c.final()
	c.whole()
	c.zombies()
	for _, s := range h.Stages {
		c.stage(s)
	}
	return c.found
}

// origin is where a record came from.
type origin struct {
	txn   *Txn
	write *Write
}

type txnCheck struct {
	h      *Txns
	origin map[string]origin // by value
	there  map[string]int    // how often a value is there for readers of committed records
	fenced []int64           // by instance: when the next one of its id was ready; 0: never
	found  []Anomaly
}

func newTxnCheck(h *Txns) *txnCheck {
	c := &txnCheck{h: h, origin: map[string]origin{}, there: map[string]int{}, fenced: make([]int64, len(h.Instances))}
	for i := range h.Txns {
		t := &h.Txns[i]
		for j := range t.Writes {
			c.origin[t.Writes[j].Value] = origin{t, &t.Writes[j]}
		}
	}
	for _, f := range h.Committed {
		c.there[f.Value]++
	}
	// An instance fences those that had the id before it asked.
	for i, a := range h.Instances {
		for _, b := range h.Instances {
			if b.ID == a.ID && a.Ready > 0 && b.Began > a.Ready && b.Ready > 0 && (c.fenced[i] == 0 || b.Ready < c.fenced[i]) {
				c.fenced[i] = b.Ready
			}
		}
	}
	return c
}

func (c *txnCheck) add(k Kind, p Partition, format string, args ...any) {
	c.found = append(c.found, Anomaly{k, p, fmt.Sprintf(format, args...)})
}

// reads: what was read was committed before.
func (c *txnCheck) reads() {
	for _, f := range append(c.h.Finds[:len(c.h.Finds):len(c.h.Finds)], c.h.Committed...) {
		o, ok := c.origin[f.Value]
		switch {
		case !ok:
		case o.txn.Tried == 0 || o.txn.Outcome == Rejected:
			c.add(AbortedRead, f.Partition, "%s at offset %d, of transaction %s", f.Value, f.Offset, o.txn.Name)
		case f.At < o.txn.Tried:
			c.add(EarlyRead, f.Partition, "%s at offset %d, before the commit of transaction %s was asked for", f.Value, f.Offset, o.txn.Name)
		}
	}
}

// final: what was read is there, and once.
func (c *txnCheck) final() {
	for _, f := range c.h.Finds {
		if _, ours := c.origin[f.Value]; ours && c.there[f.Value] == 0 {
			c.add(Vanished, f.Partition, "%s was read at offset %d", f.Value, f.Offset)
		}
	}
	told := map[string]bool{}
	for _, f := range c.h.Committed {
		if _, ours := c.origin[f.Value]; ours && c.there[f.Value] > 1 && !told[f.Value] {
			told[f.Value] = true
			c.add(Repeated, f.Partition, "%s is there %d times", f.Value, c.there[f.Value])
		}
	}
}

// whole: of each transaction all is there, or nothing.
func (c *txnCheck) whole() {
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		if len(t.Writes) == 0 {
			continue
		}
		var missing []*Write
		for j := range t.Writes {
			if c.there[t.Writes[j].Value] == 0 {
				missing = append(missing, &t.Writes[j])
			}
		}
		switch {
		case len(missing) == len(t.Writes):
			if t.Outcome == Done {
				c.add(LostTxn, missing[0].Partition, "transaction %s with %d records", t.Name, len(t.Writes))
			}
		case len(missing) > 0:
			c.add(Torn, missing[0].Partition, "of transaction %s of %s, commit %s, %d of %d records are not there: %s",
				t.Name, c.h.Instances[t.Instance].ID, t.Outcome, len(missing), len(t.Writes), c.tell(t))
		default:
			c.offsets(t)
		}
	}
}

// tell says where the records of a transaction are.
func (c *txnCheck) tell(t *Txn) string {
	s := ""
	for _, w := range t.Writes {
		s += fmt.Sprintf("; %s %s (%s)", w.Partition, w.Value, w.Outcome)
		for _, f := range c.h.Everything {
			if f.Value == w.Value {
				s += fmt.Sprintf(" at %d", f.Offset)
			}
		}
		if c.there[w.Value] > 0 {
			s += " committed"
		}
	}
	return s
}

// offsets: a transaction that is there has moved its group.
func (c *txnCheck) offsets(t *Txn) {
	for _, s := range c.h.Stages {
		for _, x := range t.Takes {
			if x.Partition.Topic == s.From && c.h.Offsets[s.Group][x.Partition] <= x.Offset {
				c.add(Torn, x.Partition, "transaction %s is there, and its offset %d is not: group %s stands at %d",
					t.Name, x.Offset, s.Group, c.h.Offsets[s.Group][x.Partition])
				return
			}
		}
	}
}

// zombies: from when an instance has its producer, nothing of those before it
// is written or committed any more.
func (c *txnCheck) zombies() {
	everything := map[string]bool{}
	for _, f := range c.h.Everything {
		everything[f.Value] = true
	}
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		fenced := c.fenced[t.Instance]
		if fenced == 0 {
			continue
		}
		id := c.h.Instances[t.Instance].ID
		for _, w := range t.Writes {
			if w.Began > fenced && (w.Outcome == Done || everything[w.Value]) {
				c.add(Zombie, w.Partition, "%s was written by an instance of %s that was fenced", w.Value, id)
			}
			if t.Tried > fenced && c.there[w.Value] > 0 {
				c.add(Zombie, w.Partition, "%s was committed by an instance of %s that was fenced", w.Value, id)
			}
		}
	}
}

// stage: offsets and outputs agree, exactly once.
func (c *txnCheck) stage(s Stage) {
	made := map[string]int{} // by input
	for _, f := range c.h.Committed {
		if o, ours := c.origin[f.Value]; ours && f.Partition.Topic == s.To {
			made[o.write.From]++
		}
	}
	for _, f := range c.h.Committed {
		if f.Partition.Topic != s.From {
			continue
		}
		at := c.h.Offsets[s.Group][f.Partition]
		switch n := made[f.Value]; {
		case n > s.Copies:
			c.add(Repeated, f.Partition, "offset %d, %s, came to %d records in %s, not %d", f.Offset, f.Value, n, s.To, s.Copies)
		case f.Offset < at && n < s.Copies:
			c.add(Skipped, f.Partition, "offset %d, %s, came to %d records in %s, not %d, and group %s stands at %d",
				f.Offset, f.Value, n, s.To, s.Copies, s.Group, at)
		case f.Offset >= at:
			c.add(Unfinished, f.Partition, "offset %d, %s: group %s stands at %d", f.Offset, f.Value, s.Group, at)
		}
	}
}
