// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/vfs"
)

// TestScrubManySmall: small segments count for more than they hold, so that a
// round takes its time however many there are.
func TestScrubManySmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const logs, perSecond = 100, 10
		mem := vfs.NewMem()
		open := func(c DirConfig) *Dir {
			c.FS, c.Path, c.NodeID = mem, "/data", 1
			d, err := OpenDir(c)
			if err != nil {
				t.Fatal(err)
			}
			for i := range int32(logs) {
				l, err := d.Open(Name{"t", i}, testID, LogConfig{Create: true, Durable: true})
				if err != nil {
					t.Fatal(err)
				}
				if l.End() == 0 {
					appendAt(t, l, simNow, 1)
				}
			}
			return d
		}
		if err := open(DirConfig{}).Close(); err != nil {
			t.Fatal(err)
		}
		names := []string{"t-0", "t-99"} // the first and the last by name
		for _, n := range names {
			flip(t, mem, fmt.Sprintf("/data/%s/00000000000000000000.log", n), 70)
		}
		began := time.Now()
		found := make(chan time.Duration, len(names))
		d := open(DirConfig{ScrubRate: perSecond * scrubOpen,
			Events: Events{Corrupt: func(Name, *CorruptError) { found <- time.Since(began) }}})
		first, last := <-found, <-found
		if round := logs / perSecond * time.Second; first > 2*time.Second || last < round-2*time.Second || last > round+2*time.Second {
			t.Errorf("found after %v and %v", first, last)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
