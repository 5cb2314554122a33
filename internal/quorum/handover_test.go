// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"testing"
	"testing/synctest"
	"time"
)

// A leader that hands over is followed at once, not after an election timeout;
// one that nobody hears, or that does not lead, does not wait for anybody.
func TestHandOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		first, _ := tr.leader()
		if err := first.set(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		tr.everywhere("one")
		began := time.Now()
		first.node.HandOver(t.Context())
		second, _ := tr.leader(first)
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("another led after %v", took)
		}
		if first.node.Status().Leading {
			t.Error("leads after it handed over")
		}
		began = time.Now()
		first.node.HandOver(t.Context())
		if took := time.Since(began); took != 0 {
			t.Errorf("who does not lead waited %v", took)
		}
		if err := second.set(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		for _, m := range tr.members {
			if m != second {
				tr.cut(m, true)
			}
		}
		time.Sleep(600 * time.Millisecond) // an election timeout; it still leads, by its own clock
		began = time.Now()
		second.node.HandOver(t.Context())
		if took := time.Since(began); took != 0 {
			t.Errorf("who is not heard waited %v", took)
		}
		for _, m := range tr.members {
			tr.cut(m, false)
		}
		tr.everywhere("two")
		tr.close()
	})
}
