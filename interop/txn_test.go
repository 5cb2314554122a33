//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Transactional clients copy a topic, consuming, producing and committing
// offsets in transactions of which every fourth is aborted, while the broker
// and the copiers are killed with -9: what a read_committed consumer of each
// library then finds in the copy is each input once.
func TestExactlyOnce(t *testing.T) {
	if os.Getenv("BOOTSTRAP") != "" {
		t.Log("the broker is killed: this needs one of our own")
		return
	}
	const n = 4000
	s := startGregor()
	defer func() { s.stop(); s.remove() }()
	whole := bootstrap
	bootstrap = s.addr
	defer func() { bootstrap = whole }()
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
				var l line
				ok := false
				select {
				case l, ok = <-p.lines:
				case <-time.After(20 * time.Second):
					_ = p.cmd.Process.Kill()
				}
				if !ok {
					// Some libraries give up, or hang, when their broker goes away in the
					// middle of something; a supervisor would start them again too.
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
					_ = s.cmd.Process.Kill()
					_ = s.cmd.Wait()
					s.start()
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
					case <-time.After(20 * time.Second):
						_ = p.cmd.Process.Kill()
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

// A Kafka Streams application counts words and joins a stream with itself in a
// window, exactly once, while the broker and it are killed with -9: each word's
// counts go up by one from one to the truth, and each record meets itself once.
func TestStreams(t *testing.T) {
	if os.Getenv("BOOTSTRAP") != "" {
		t.Log("the broker is killed: this needs one of our own")
		return
	}
	const n = 2000
	s := startGregor()
	defer func() { s.stop(); s.remove() }()
	whole := bootstrap
	bootstrap = s.addr
	defer func() { bootstrap = whole }()
	franz := clients()[4]
	in, counts, joined := newTopic(t, "in"), newTopic(t, "counts"), newTopic(t, "joined")
	app := client{name: "streams", argv: append(append([]string{"java"}, javaFlags...), "WordCount")}
	args := []string{"in=" + in, "counts=" + counts, "joined=" + joined, "id=" + name(t, "app"), "dir=" + t.TempDir()}
	p := app.start(t, "verb=run", args...)
	p.ready()
	half := []string{"topic=" + in, fmt.Sprintf("n=%d", n/4), "idempotent=1", "keyed=1"}
	for i := range 4 {
		franz.run(t, "produce", append(half, fmt.Sprintf("start=%d", i*n/4))...)
		switch i {
		case 0, 2:
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
			s.start()
		case 1:
			_ = p.cmd.Process.Kill()
			_ = p.wait()
			p = app.start(t, "verb=run", args...)
			p.ready()
		}
	}
	got := franz.run(t, "consume", "topic="+counts, fmt.Sprintf("n=%d", n), "isolation=read_committed", "timeout=120")
	next, total := map[string]int{}, 0
	for _, l := range got {
		if next[l.Key]++; l.I != next[l.Key] {
			t.Fatalf("count %d of %.10s comes where %d is due", l.I, l.Key, next[l.Key])
		}
		total++
	}
	if total != n || len(next) != 4 {
		t.Errorf("%d counts of %d words", total, len(next))
	}
	wantOnce(t, franz.run(t, "consume", "topic="+joined, fmt.Sprintf("n=%d", n), "isolation=read_committed", "timeout=120"), n)
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
