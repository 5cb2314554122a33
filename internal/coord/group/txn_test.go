// SPDX-License-Identifier: Apache-2.0

package group

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/coord"
)

func TestOffsetsInTransactions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	check := func(at string, committed int64, unstable bool) {
		t.Helper()
		if got := r.fetch(Committed, "g", "t", 0); got != committed {
			t.Errorf("%s: committed %d, want %d", at, got, committed)
		}
		if got := r.s.Unstable("g", "t", 0); got != unstable {
			t.Errorf("%s: unstable %v", at, got)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.txnCommit("g", "", -1, 7, "t", 0, 10))
	check("open", -1, true)
	if r.s.Unstable("g", "t", 1) || r.s.Unstable("h", "t", 0) {
		t.Error("others are unstable too")
	}
	r.endTxn(8, true) // somebody else's
	check("another's end", -1, true)
	r.endTxn(7, false)
	check("aborted", -1, false)
	must(r.txnCommit("g", "", -1, 7, "t", 0, 11))
	must(r.txnCommit("g", "", -1, 7, "t", 0, 12)) // takes the place of the one before
	must(r.txnCommit("g", "", -1, 8, "t", 0, 20))
	r.endTxn(7, true)
	check("one of two", 12, true)
	must(r.commitOffset("g", "", -1, "t", 0, 30)) // later than 8's
	r.endTxn(8, true)
	check("the later record counts", 30, false)
	// Not visible before the marker is committed.
	must(r.txnCommit("g", "", -1, 7, "t", 0, 40))
	r.hold = true
	r.endTxn(7, true)
	check("marker under way", 30, false)
	if got := r.fetch(Written, "g", "t", 0); got != 40 {
		t.Errorf("written %d", got)
	}
	r.hold = false
	r.commit(len(r.log))
	check("marker committed", 40, false)
	// A tombstone takes pending offsets too.
	must(r.txnCommit("g", "", -1, 7, "t", 0, 50))
	must(r.txnCommit("g", "", -1, 7, "s", 3, 50))
	r.call(func(coord.Ticket) coord.Result { return r.s.TopicDeleted("t") })
	check("topic deleted", -1, false)
	r.pass(48 * time.Hour) // a group with a transaction open does not expire
	r.endTxn(7, true)
	check("ended", -1, false)
	if got := r.fetch(Committed, "g", "s", 3); got != 50 {
		t.Errorf("the other offset of the transaction is %d", got)
	}
	must(r.txnCommit("g", "", -1, 7, "s", 4, 1))
	r.call(func(coord.Ticket) coord.Result { return r.s.DeleteGroups([]string{"g"}) })
	r.endTxn(7, true)
	if len(r.s.groups) != 0 || len(r.s.open) != 0 {
		t.Errorf("left: %v %v", r.s.groups, r.s.open)
	}
}

func TestWhoMayCommitInTransactions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.txnCommit("none", "", 3, 7, "t", 0, 1); coord.Code(err) != kerr.IllegalGeneration.Code {
		t.Error(err)
	}
	id := r.stable("g", 1)[0]
	for _, c := range []struct {
		member     string
		generation int32
		want       error
	}{
		{"", -1, nil}, // old clients
		{id, 1, nil},
		{id, 0, kerr.IllegalGeneration},
		{id, -1, kerr.IllegalGeneration},
		{"stranger", 1, kerr.UnknownMemberID},
		{"", 1, kerr.UnknownMemberID},
	} {
		if err := r.txnCommit("g", c.member, c.generation, 7, "t", 0, 1); coord.Code(err) != coord.Code(c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
