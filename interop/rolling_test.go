//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"testing"
	"time"
)

// TestRolling: the Java client does what the suite asks of every client while
// three nodes are restarted in turn, and notices nothing. With INTEROP_NODES=3
// the whole suite, and so every client, runs like that; codecs are left to it.
func TestRolling(t *testing.T) {
	if number("INTEROP_NODES", 1) > 1 {
		t.Log("the whole suite runs so")
		return
	}
	brokers := ownCluster(t, 3)
	if brokers == nil {
		return
	}
	restarts := brokers.roll(3 * time.Second)
	defer func() {
		if restarts() == 0 {
			t.Error("no node was restarted")
		}
	}()
	only = "java"
	defer func() { only = "" }()
	t.Run("large", TestLarge)
	t.Run("positions", TestPositions)
	t.Run("groups", TestGroups)
	t.Run("admin", TestAdmin)
}
