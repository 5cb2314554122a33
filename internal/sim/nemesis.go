// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"time"

	"gregor/internal/sim/vnet"
	"gregor/internal/vfs"
)

// fault is one thing that the nemesis does and undoes.
type fault struct {
	name string
	// needs is the smallest cluster in which it makes sense.
	needs int
	// do breaks something and returns what was done and how to undo it.
	do func(c *Cluster) (what string, undo func())
}

// faults are all there are; the seed draws from them.
var faults = []fault{
	{"kill", 1, func(c *Cluster) (string, func()) { return c.down("killed", c.some(c.minority()), (*machine).kill) }},
	{"crash", 1, func(c *Cluster) (string, func()) { return c.down("lost power", c.some(c.minority()), (*machine).crash) }},
	{"stop", 1, func(c *Cluster) (string, func()) { return c.down("stopped", c.some(1), (*machine).stop) }},
	{"crash most", 3, func(c *Cluster) (string, func()) {
		return c.down("lost power", c.some(len(c.machines)-c.minority()), (*machine).crash)
	}},
	{"crash all", 1, func(c *Cluster) (string, func()) { return c.down("lost power", c.machines, (*machine).crash) }},
	{"kill all", 1, func(c *Cluster) (string, func()) { return c.down("killed", c.machines, (*machine).kill) }},
	{"weather", 1, badWeather},
	{"resets", 1, resets},
	{"duplicates", 1, func(c *Cluster) (string, func()) {
		c.duplicates.set(2 + c.random.Int64N(20))
		return "requests are served twice", func() { c.duplicates.set(0) }
	}},
	{"clock", 1, steppedClock},
	{"slow disk", 1, slowDisk},
	{"full disk", 1, fullDisk},
	{"lost disk", 3, lostDisk},
	{"isolate", 3, func(c *Cluster) (string, func()) {
		some := c.some(c.minority())
		return c.parted(some, c.others(some))
	}},
	{"one way out", 3, func(c *Cluster) (string, func()) { return c.oneWay(true) }},
	{"one way in", 3, func(c *Cluster) (string, func()) { return c.oneWay(false) }},
	{"one link", 3, func(c *Cluster) (string, func()) {
		some := c.some(2)
		return c.parted(some[:1], some[1:])
	}},
	{"ring", 5, ring},
	{"unseat", 3, unseat},
	{"reassign", 3, reassign},
	{"leave", 4, leave},
}

// torment draws faults for as long as d, and undoes all of them.
func (c *Cluster) torment(d time.Duration) {
	type active struct {
		until time.Time
		undo  func()
		what  string
	}
	var now []active
	lift := func(all bool) {
		now = slices.DeleteFunc(now, func(a active) bool {
			if !all && time.Now().Before(a.until) {
				return false
			}
			c.Note("over: %s", a.what)
			a.undo()
			return true
		})
	}
	for end := time.Now().Add(d); time.Now().Before(end) && len(c.checks.violations()) == 0; {
		time.Sleep(time.Duration(200+c.random.IntN(3000)) * time.Millisecond)
		lift(false)
		_ = c.settle() // else it is tried again
		if len(now) >= 2 {
			continue
		}
		f := faults[c.random.IntN(len(faults))]
		if f.needs > len(c.machines) {
			continue
		}
		what, undo := f.do(c)
		if what == "" {
			continue
		}
		lasts := time.Duration(100+c.random.IntN(8000)) * time.Millisecond
		c.Note("%s: %s, for %v", f.name, what, lasts)
		now = append(now, active{time.Now().Add(lasts), undo, f.name + ": " + what})
	}
	lift(true)
	c.net.HealAll()
	c.net.SetWeather(vnet.Fair())
	c.duplicates.set(0)
	c.Note("everything is healed")
}

func (c *Cluster) minority() int { return max(1, (len(c.machines)-1)/2) }

// some draws n machines.
func (c *Cluster) some(n int) []*machine {
	out := slices.Clone(c.machines)
	c.random.Shuffle(len(out), func(i, k int) { out[i], out[k] = out[k], out[i] })
	return out[:n]
}

func (c *Cluster) others(some []*machine) []*machine {
	return slices.DeleteFunc(slices.Clone(c.machines), func(m *machine) bool { return slices.Contains(some, m) })
}

func names(ms []*machine) string {
	s := "node"
	for _, m := range ms {
		s += fmt.Sprintf(" %d", m.id)
	}
	return s
}

func ips(ms []*machine) []string {
	var out []string
	for _, m := range ms {
		out = append(out, m.host.IP())
	}
	return out
}

// down takes those machines down that are up.
func (c *Cluster) down(what string, ms []*machine, way func(*machine)) (string, func()) {
	ms = slices.DeleteFunc(slices.Clone(ms), func(m *machine) bool { return m.life == nil })
	if len(ms) == 0 {
		return "", nil
	}
	for _, m := range ms {
		way(m)
	}
	return names(ms) + " " + what, func() {
		for _, m := range ms {
			m.revive()
		}
	}
}

func (c *Cluster) parted(some, others []*machine) (string, func()) {
	c.net.Part(ips(some), ips(others))
	return names(some) + " cut off from " + names(others), func() {
		for _, a := range ips(some) {
			for _, b := range ips(others) {
				c.net.Heal(a, b)
				c.net.Heal(b, a)
			}
		}
	}
}

// oneWay cuts what one node sends to the others, or what they send to it.
func (c *Cluster) oneWay(out bool) (string, func()) {
	one := c.some(1)
	from, to := ips(one), ips(c.others(one))
	what := names(one) + " is not heard"
	if !out {
		from, to = to, from
		what = names(one) + " hears nobody"
	}
	for _, a := range from {
		for _, b := range to {
			c.net.Cut(a, b)
		}
	}
	return what, func() {
		for _, a := range from {
			for _, b := range to {
				c.net.Heal(a, b)
			}
		}
	}
}

// ring leaves each node its two neighbours: everybody sees a majority, and no
// two see the same one.
func ring(c *Cluster) (string, func()) {
	ms := c.some(len(c.machines))
	each := func(f func(a, b string)) {
		n := len(ms)
		for i := range ms {
			for k := range ms {
				if d := (i - k + n) % n; d > 1 && d < n-1 {
					f(ms[i].host.IP(), ms[k].host.IP())
				}
			}
		}
	}
	each(c.net.Cut)
	return "of " + names(ms), func() { each(c.net.Heal) }
}

func badWeather(c *Cluster) (string, func()) {
	w := vnet.Weather{
		MinDelay: time.Duration(c.random.IntN(20)) * time.Millisecond, MaxDelay: time.Duration(20+c.random.IntN(300)) * time.Millisecond,
		StallOneIn: 10 + c.random.Int64N(100), Stall: 200 * time.Millisecond, ResetOneIn: c.random.Int64N(2) * (50 + c.random.Int64N(2000)),
	}
	c.net.SetWeather(w)
	return fmt.Sprintf("%+v", w), func() { c.net.SetWeather(vnet.Fair()) }
}

// resets ends all connections between two nodes.
func resets(c *Cluster) (string, func()) {
	some := c.some(min(2, len(c.machines)))
	if len(some) < 2 {
		return "", nil
	}
	c.net.ResetBetween(some[0].host.IP(), some[1].host.IP())
	c.net.ResetBetween(some[1].host.IP(), some[0].host.IP())
	return names(some), func() {}
}

// How far a clock may be from what the others show: not so far ahead that
// records of the run would be past their retention or their producers
// forgotten, nor so far behind that they would be refused as too new.
const (
	farthestAhead  = 20 * time.Hour
	farthestBehind = 50 * time.Minute
)

// steppedClock sets the wall clock of a node forwards or back, and half the
// time sets it right again.
func steppedClock(c *Cluster) (string, func()) {
	m := c.some(1)[0]
	to := time.Duration(c.random.Int64N(int64(farthestAhead+farthestBehind))) - farthestBehind
	if c.random.IntN(2) == 0 { // what ntpd does to a machine that was asleep
		to = time.Duration(c.random.Int64N(int64(time.Minute))) - 30*time.Second
	}
	by, right := to-m.clock.offset(), c.random.IntN(2) == 0
	m.clock.step(by)
	return fmt.Sprintf("node %d by %v", m.id, by), func() {
		if right {
			m.clock.step(-m.clock.offset())
		}
	}
}

// slowDisk makes every sync and read of a node wait.
func slowDisk(c *Cluster) (string, func()) {
	m := c.some(1)[0]
	if m.life == nil {
		return "", nil
	}
	d := time.Duration(10<<c.random.IntN(8)) * time.Millisecond
	lift := m.disk.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Before: func(vfs.Call) { time.Sleep(d) }})
	return fmt.Sprintf("node %d by %v", m.id, d), lift
}

// lostDisk has a node come back with nothing. One node of a run, and only while
// every replica is in sync: acknowledged records are on two disks at least. A
// controller then votes no longer, so a second one would end the quorum, until
// the operator has replaced the voter.
func lostDisk(c *Cluster) (string, func()) {
	m := c.some(1)[0]
	if c.diskLost || m.life == nil || !c.settled() || !c.checks.allInSync() {
		return "", nil
	}
	if !m.plain {
		voters, _, err := c.quorum()
		v := of(voters, m.id)
		if err != nil || v == nil || len(voters) < c.cfg.Nodes {
			return "", nil
		}
		c.strangerID, c.stranger = m.id, v.ReplicaDirectoryID
	}
	if !c.checks.allInSync() { // still, after the time that took
		return "", nil
	}
	c.diskLost = true
	m.kill()
	m.mem = vfs.NewMem()
	c.seatTaken = !m.plain
	return fmt.Sprintf("node %d", m.id), func() {
		m.revive()
		if c.seatTaken = false; !m.plain {
			c.debts = append(c.debts, debt{fmt.Sprintf("node %d votes with its new disk", m.id), func() (bool, error) { return c.seat(m) }})
		}
	}
}

func fullDisk(c *Cluster) (string, func()) {
	m := c.some(1)[0]
	if m.life == nil {
		return "", nil
	}
	disk := m.disk
	disk.Limit(c.random.Int64N(1 << 16))
	return fmt.Sprintf("node %d", m.id), func() { disk.Limit(-1) }
}
