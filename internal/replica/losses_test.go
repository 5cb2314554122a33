// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"testing"

	"gregor/internal/vfs"
)

// TestLostLogLeadsInNoEpochOfBefore: a node with a new disk follows the metadata
// from the beginning, through all the epochs in which it led. It must lead in
// none of them: what it would note of those is not what the others have.
func TestLostLogLeadsInNoEpochOfBefore(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	w.table.settled.Store(false) // it has not registered yet
	p := w.topic(1, "t", 1, nil)[0]
	for epoch, leader := range []int32{1, 2, 1, 3, 1} {
		if epoch > 0 {
			w.elect(1, leader, int32(epoch))
		}
		if _, leads := p.LeaderEpoch(); leads || p.Log().LatestEpoch() >= 0 {
			t.Fatalf("epoch %d: leads %v, the log's latest is %d", epoch, leads, p.Log().LatestEpoch())
		}
	}
	if len(w.table.Losses()) != 1 {
		t.Error("the loss is not told")
	}
	w.table.Strays(w.img)
	w.elect(1, 2, 5)
	w.elect(1, 1, 6)
	if _, leads := p.LeaderEpoch(); !leads {
		t.Error("it does not lead in the epochs after")
	}
	w.stop()
}
