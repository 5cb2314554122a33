// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
)

// TestSpoiledSnapshot: a bit flips in the leader's snapshot, and a voter that
// was away needs it. The voter must not fall over it, but gets another that the
// leader writes.
func TestSpoiledSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		lead, _ := tr.leader()
		var away *member
		for _, m := range tr.members {
			if m != lead {
				away = m
			}
		}
		if err := away.close(); err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			if err := lead.set(t.Context(), fmt.Sprint("f", i)); err != nil {
				t.Fatal(err)
			}
			if i%10 == 9 {
				done := make(chan struct{})
				_ = lead.node.do(func() { // as SnapshotBytes would
					lead.node.core.bytes = 1 << 40
					_ = lead.node.maybeSnapshot()
					close(done)
				})
				<-done
				synctest.Wait()
			}
		}
		names := snapshotFiles(t, lead.fs)
		flip(t, lead.fs, filepath.Join(simDir, names[len(names)-1]), 200)
		tr.start(away)
		tr.everywhere("f29")
		if err := away.node.Status().Err; err != nil {
			t.Errorf("the voter that was away stopped: %v", err)
		}
		tr.close()
	})
}
