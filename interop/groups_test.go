//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// member is a consumer process and what it has told us.
type member struct {
	*proc
	mu       sync.Mutex
	assigned map[int]bool
	seen     map[int]int
	over     bool
}

func (c client) join(t *testing.T, args ...string) *member {
	m := &member{proc: c.start(t, "group", args...), assigned: map[int]bool{}, seen: map[int]int{}}
	go func() {
		for l := range m.lines {
			m.mu.Lock()
			switch {
			case l.Assigned != nil:
				m.assigned = map[int]bool{}
				for _, p := range *l.Assigned {
					m.assigned[p] = true
				}
			case l.Len > 0:
				m.seen[l.I]++
			}
			m.mu.Unlock()
		}
		m.mu.Lock()
		m.over = true
		m.mu.Unlock()
	}()
	return m
}

// balanced says whether the members own partitions 0..n-1, each one once,
// and nobody owns none while there is enough.
func balanced(members []*member, n int) (bool, string) {
	owner := map[int]int{}
	state := ""
	for k, m := range members {
		m.mu.Lock()
		state += fmt.Sprintf("%d:%v ", k, keys(m.assigned))
		idle := len(m.assigned) == 0
		for p := range m.assigned {
			owner[p]++
		}
		m.mu.Unlock()
		if idle && len(members) <= n {
			return false, state
		}
	}
	if len(owner) != n {
		return false, state
	}
	for _, times := range owner {
		if times != 1 {
			return false, state
		}
	}
	return true, state
}

func keys(m map[int]bool) (ks []int) {
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	const patience = 3 * time.Minute // for machines that have other things to do
	var state string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var good bool
		if good, state = ok(); good {
			return
		}
	}
	t.Fatalf("%s: not within %v; %s", what, patience, state)
}

// TestGroups: a group grows from one member to five, one dies without a word,
// one leaves, and every record is read.
func TestGroups(t *testing.T) {
	for _, c := range tested() {
		strategies := []string{"eager"}
		if c.cooperative {
			strategies = append(strategies, "cooperative")
		}
		for _, s := range strategies {
			t.Run(c.name+"-"+s, func(t *testing.T) {
				t.Parallel()
				groupLife(t, c, s)
			})
		}
	}
}

func groupLife(t *testing.T, c client, strategy string) {
	topic, group := newTopic(t, ""), name(t, "g")
	franz := clients()[4]
	sent := 0
	at := map[int]string{} // record → partition:offset
	send := func() {
		for _, l := range franz.run(t, "produce", "topic="+topic, "n=100", fmt.Sprintf("start=%d", sent), "keyed=1", "idempotent=1") {
			at[l.I] = fmt.Sprintf("%d:%d", l.P, l.O)
		}
		sent += 100
	}
	send()
	var all, live []*member
	join := func() {
		m := c.join(t, "topic="+topic, "group="+group, "strategy="+strategy)
		all, live = append(all, m), append(live, m)
	}
	settle := func(what string) {
		t.Helper()
		eventually(t, what, func() (bool, string) { return balanced(live, partitions) })
	}
	join()
	settle("one member")
	join()
	settle("two members")
	send()
	for len(live) < 5 {
		join()
	}
	settle("five members")
	send()
	if err := live[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	live = live[1:]
	settle("after a death")
	send()
	if err := live[0].stdin.Close(); err != nil {
		t.Fatal(err)
	}
	live = live[1:]
	settle("after one left")
	send()
	eventually(t, "every record read", func() (bool, string) {
		read := map[int]bool{}
		for _, m := range all {
			m.mu.Lock()
			for i := range m.seen {
				read[i] = true
			}
			m.mu.Unlock()
		}
		var missing []string
		for i := range sent {
			if !read[i] {
				missing = append(missing, at[i])
			}
		}
		return len(missing) == 0, fmt.Sprintf("missing %d of %d: %v", len(missing), sent, missing)
	})
	for _, m := range live {
		if err := m.stdin.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range live {
		eventually(t, "a clean leave", func() (bool, string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.over, ""
		})
		if err := m.wait(); err != nil {
			t.Errorf("%s: %v\n%s", m.name, err, m.errs.String())
		}
	}
}
