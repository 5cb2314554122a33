//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"testing"
)

// Transactional clients copy a topic, consuming, producing and committing
// offsets in transactions of which every fourth is aborted, while the broker
// and the copiers are killed with -9: what a read_committed consumer of each
// library then finds in the copy is each input once.
func TestExactlyOnce(t *testing.T) {
	const n = 4000
	brokers := ownCluster(t, number("INTEROP_NODES", 1))
	if brokers == nil {
		return
	}
	all := clients()
	for _, c := range []client{all[0], all[1], all[4]} {
		t.Run(c.name, func(t *testing.T) {
			in, out := newTopic(t, "in"), newTopic(t, "out")
			all[4].run(t, "produce", "topic="+in, fmt.Sprintf("n=%d", n), "idempotent=1", "keyed=1")
			args := []string{"in=" + in, "out=" + out, "group=" + name(t, "copy"), "id=" + name(t, "copier"), "size=40"}
			copied, restarts := 0, 0
			p := c.start(t, "copy", args...)
			// What a kill took the answer of is not counted, so the last tenth is
			// not waited for here.
			for copied < n*9/10 {
				l, ok := p.next()
				if !ok {
					// Some libraries give up when their broker goes away in the middle of
					// something; a supervisor would start them again too.
					if restarts++; restarts > 20 {
						_ = p.wait()
						t.Fatalf("%s ends again and again:\n%s", c.name, p.errs.String())
					}
					p = c.start(t, "copy", args...)
					continue
				}
				before := copied
				if l.Step == "commit" {
					copied += l.I
				}
				at := func(share int) bool { return before < n*share/10 && copied >= n*share/10 }
				switch {
				case at(2), at(6):
					brokers.kill()
				case at(4), at(8):
					_ = p.cmd.Process.Kill()
					_ = p.wait()
					p = c.start(t, "copy", args...)
				}
			}
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-stop:
						_ = p.cmd.Process.Kill()
						_ = p.wait()
						return
					case _, ok := <-p.lines:
						if !ok {
							_ = p.wait()
							p = c.start(t, "copy", args...)
						}
					}
				}
			}()
			consume := []string{"topic=" + out, fmt.Sprintf("n=%d", n), "isolation=read_committed", "timeout=60"}
			wantOnce(t, c.run(t, "consume", consume...), n)
			close(stop)
			<-stopped
			for _, other := range []client{all[0], all[1], all[4]} {
				wantOnce(t, other.run(t, "consume", consume...), n)
			}
		})
	}
}

func wantOnce(t *testing.T, got []line, n int) {
	t.Helper()
	seen := map[int]int{}
	for _, l := range got {
		seen[l.I]++
	}
	if len(got) != n || len(seen) != n {
		t.Errorf("%d records, %d different ones, want %d", len(got), len(seen), n)
	}
}
