// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"gregor/internal/vfs"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestTrace keeps the file calls of a short life in testdata/trace.txt: which
// files are touched, in which order, and what is synced before what. go test
// -rewrite makes it anew; the diff is for review.
func TestTrace(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	synctest.Test(t, func(t *testing.T) {
		f := vfs.NewFaulty(vfs.NewMem())
		var mu sync.Mutex
		f.Trace(func(c vfs.Call) {
			if c.Op == vfs.OpClose {
				return // in no order, and of no consequence
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&got, "  %s %s", c.Op, strings.TrimPrefix(c.Path, "/data"))
			if c.Path2 != "" {
				fmt.Fprintf(&got, " -> %s", strings.TrimPrefix(c.Path2, "/data"))
			}
			if c.Op == vfs.OpWrite || c.Op == vfs.OpTruncate {
				fmt.Fprintf(&got, " [%d, +%d)", c.Off, c.N)
			}
			got.WriteByte('\n')
		})
		step := func(what string, do func() error) {
			t.Helper()
			mu.Lock()
			fmt.Fprintf(&got, "%s\n", what)
			mu.Unlock()
			if err := do(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			synctest.Wait() // until the committer and the keeper rest
		}
		var d *Dir
		var l *Log
		open := func() (err error) {
			d, err = OpenDir(DirConfig{FS: f, Path: "/data", NodeID: 1, ClusterID: "c", DirectoryID: testID})
			return err
		}
		openLog := func() (err error) {
			l, err = d.Open(Name{"t", 0}, testID, LogConfig{Create: true, Durable: true})
			return err
		}
		add := func() error {
			_, err := l.Append(testBatch(2, 1000, 20), Append{LeaderEpoch: 1})
			return err
		}
		step("open a new directory", open)
		step("make a log", openLog)
		step("append", add)
		step("append again", add)
		step("roll", func() error { return l.Roll() })
		step("append to the new segment", add)
		step("truncate into the old segment", func() error { return l.TruncateTo(2) })
		step("append once more", add)
		step("stop", func() error { return d.Close() })
		step("start", open)
		step("open the log", openLog)
		step("append after the start", add)
		step("die", func() error { d.Abandon(); return nil })
		step("start after that", open)
		step("recover the log", openLog)
		step("stop again", func() error { return d.Close() })
	})
	// The two random names in it are the same length every time; their content
	// does not show.
	golden := filepath.Join("testdata", "trace.txt")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("the file calls changed; run with -rewrite and look at the diff. Now:\n%s", got.String())
	}
}
