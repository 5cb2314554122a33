// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"
	"time"
)

// TestBudget: over any time no more passes than the rate allows, but for one
// request at its end.
func TestBudget(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var b budget
	passed, began := 0, now
	for range 500 {
		if wait := b.spend(0, 1000, now); wait > 0 {
			if wait > budgetLook {
				t.Fatalf("sent away for %v", wait)
			}
			now = now.Add(wait)
			continue
		}
		b.spend(700, 1000, now)
		passed += 700
	}
	if allowed := int(now.Sub(began).Seconds()*1000) + 700; passed > allowed || passed < allowed-1400 {
		t.Errorf("%d bytes in %v at 1000 B/s", passed, now.Sub(began))
	}
	b.spend(1<<30, 1, now)
	now = now.Add(budgetLook)
	if b.spend(0, 1<<40, now); b.spend(0, 1<<40, now) > 0 {
		t.Error("a rate that was raised does not count")
	}
}
