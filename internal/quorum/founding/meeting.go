// SPDX-License-Identifier: Apache-2.0

package founding

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"gregor/internal/meta"
	"gregor/internal/quorum"
)

// Config of a Meeting.
type Config struct {
	Node      int32
	Directory meta.UUID
	// Incarnation is drawn by each process anew.
	Incarnation meta.UUID
	Cluster     string // that the directory was formatted for, "" for none
	// Fresh: the directory was never told how a cluster began, so nothing can
	// have been lost.
	Fresh bool
	// Seats are the static voters, this node among them if it is one.
	Seats []Seat
	// Others are addresses of nodes that know a cluster.
	Others []string
	// NewCluster draws an id.
	NewCluster func() string
	// Ask greets an address.
	Ask func(ctx context.Context, addr string, g Greeting) (Greeting, error)
	// Waiting is told now and then what is waited for; may be nil.
	Waiting func(why []string)
}

// Seat is a static voter: who, and where.
type Seat struct {
	Addr     string
	ID       int32
	Endpoint meta.Endpoint // Addr as an endpoint of the controllers' listener
}

// Outcome is how the cluster began.
type Outcome struct {
	Cluster string
	Voters  []quorum.Voter
}

// Meeting answers greetings and, in Run, finds out how the cluster begins.
type Meeting struct {
	cfg Config

	mu       sync.Mutex // leaf: guards what follows
	founded  *Outcome
	members  func() []quorum.Voter
	sawEmpty map[int32]meta.UUID // nodes that were empty when last heard of
}

const (
	roundInterval = 100 * time.Millisecond
	askTimeout    = time.Second
	// waitingEvery rounds it is told what is waited for.
	waitingEvery = 50
)

// New makes a Meeting that nobody has founded anything at.
func New(cfg Config) *Meeting { return &Meeting{cfg: cfg, sawEmpty: map[int32]meta.UUID{}} }

// Begin makes the outcome known to whoever greets.
func (m *Meeting) Begin(o Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.founded = &o
}

// Follow has members asked for who votes now.
func (m *Meeting) Follow(members func() []quorum.Voter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.members = members
}

// own is this node's greeting.
func (m *Meeting) own() Greeting {
	m.mu.Lock()
	founded, members := m.founded, m.members
	m.mu.Unlock()
	g := Greeting{Node: m.cfg.Node, Directory: m.cfg.Directory, Incarnation: m.cfg.Incarnation, Cluster: m.cfg.Cluster}
	if founded != nil {
		g.Cluster, g.Founded, g.Voters, g.Members = founded.Cluster, true, founded.Voters, founded.Voters
	}
	if members != nil {
		g.Members = members()
	}
	return g
}

// Answer is what another node's greeting is answered with.
func (m *Meeting) Answer(g Greeting) Greeting {
	a := m.own()
	switch {
	case g.Node == a.Node && g.Directory != a.Directory:
		a.Refusal = fmt.Sprintf("another node has node.id %d already: its directory is %s, yours %s", g.Node, meta.FormatUUID(a.Directory), meta.FormatUUID(g.Directory))
	case g.Node == a.Node && g.Incarnation != a.Incarnation:
		a.Refusal = fmt.Sprintf("another process runs node %d with a copy of the same directory, %s", g.Node, meta.FormatUUID(a.Directory))
	case a.Cluster != "" && g.Cluster != "" && a.Cluster != g.Cluster:
		a.Refusal = fmt.Sprintf("node %d belongs to cluster %s, not %s", a.Node, a.Cluster, g.Cluster)
	default:
		m.heard(g)
	}
	return a
}

func (m *Meeting) heard(g Greeting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !g.Founded {
		m.sawEmpty[g.Node] = g.Directory
	}
}

// Run greets until it is known how the cluster began.
func (m *Meeting) Run(ctx context.Context) (Outcome, error) {
	tick := time.NewTicker(roundInterval)
	defer tick.Stop()
	for round := 0; ; round++ {
		heard, missing := m.round(ctx)
		o, err := m.judge(heard)
		if err != nil {
			return o, err
		}
		if o.Voters != nil {
			m.Begin(o)
			return o, nil
		}
		if round%waitingEvery == waitingEvery-1 && m.cfg.Waiting != nil {
			m.cfg.Waiting(m.awaited(heard, missing))
		}
		select {
		case <-ctx.Done():
			return o, fmt.Errorf("%w while waiting for the cluster: %s", ctx.Err(), strings.Join(m.awaited(heard, missing), "; "))
		case <-tick.C:
		}
	}
}

// round greets everybody once.
func (m *Meeting) round(ctx context.Context) (heard map[string]Greeting, missing map[string]error) {
	var addrs []string
	for _, s := range m.cfg.Seats {
		addrs = append(addrs, s.Addr) // the own one too: another may sit there
	}
	addrs = append(addrs, m.cfg.Others...)
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	heard, missing = map[string]Greeting{}, map[string]error{}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, addr := range addrs {
		wg.Go(func() {
			g, err := m.cfg.Ask(ctx, addr, m.own())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing[addr] = err
				return
			}
			heard[addr] = g
			m.heard(g)
		})
	}
	wg.Wait()
	return heard, missing
}

// judge says what a round has shown; no voters: nothing yet.
func (m *Meeting) judge(heard map[string]Greeting) (Outcome, error) {
	cluster := m.cfg.Cluster
	for _, addr := range slices.Sorted(maps.Keys(heard)) {
		g := heard[addr]
		switch {
		case g.Node == m.cfg.Node && g.Directory == m.cfg.Directory:
			continue // this node itself, by another name
		case g.Refusal != "":
			return Outcome{}, fmt.Errorf("%s refuses this node: %s", addr, g.Refusal)
		case cluster != "" && g.Cluster != "" && cluster != g.Cluster:
			return Outcome{}, fmt.Errorf("node %d at %s belongs to cluster %s, but this node or another that it knows to cluster %s", g.Node, addr, g.Cluster, cluster)
		}
		if cluster == "" {
			cluster = g.Cluster
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(heard)) {
		if g := heard[addr]; g.Founded {
			return m.adopt(addr, g, heard)
		}
	}
	return m.found(cluster, heard), nil
}

// adopt takes over a founding; no voters: the founder has to be heard first.
func (m *Meeting) adopt(addr string, g Greeting, heard map[string]Greeting) (Outcome, error) {
	names := func(vs []quorum.Voter) bool {
		return slices.ContainsFunc(vs, func(v quorum.Voter) bool { return v.ID == m.cfg.Node && v.Directory == m.cfg.Directory })
	}
	if (names(g.Voters) || names(g.Members)) && !m.cfg.Fresh {
		switch m.sinceStart(g.Voters, heard) {
		case unheard:
			return Outcome{}, nil
		case before:
			return Outcome{}, fmt.Errorf("node %d at %s knows this directory (id %s) as a voter, but its metadata log is gone; a voter that forgot its votes must not come back under its name: remove meta.properties from the metadata log directory, so that it gets a new id, then add this controller anew (kafka-metadata-quorum add-controller)",
				g.Node, addr, meta.FormatUUID(m.cfg.Directory))
		}
	}
	return Outcome{Cluster: g.Cluster, Voters: g.Voters}, nil
}

// When a founding was, seen from this node's start.
type when int

const (
	before  when = iota
	unheard      // it cannot be told without the founder
	since
)

// sinceStart tells when voters founded: since this node's start if the founder
// was empty then and says now that it has. Others may tell of an earlier time,
// in which the founder had a log that it has lost as well.
func (m *Meeting) sinceStart(voters []quorum.Voter, heard map[string]Greeting) when {
	if len(voters) == 0 {
		return before
	}
	first := voters[0] // they are sorted
	m.mu.Lock()
	dir, ok := m.sawEmpty[first.ID]
	m.mu.Unlock()
	if !ok || dir != first.Directory {
		return before
	}
	for _, g := range heard {
		if g.Node == first.ID && g.Directory == first.Directory {
			if g.Founded {
				return since
			}
			return before
		}
	}
	return unheard
}

// found founds the cluster if that is this node's part and all are there.
func (m *Meeting) found(cluster string, heard map[string]Greeting) Outcome {
	var voters []quorum.Voter
	mine := false
	for _, s := range m.cfg.Seats {
		v := quorum.Voter{ID: s.ID, Directory: m.cfg.Directory, Endpoints: []meta.Endpoint{s.Endpoint}}
		if s.ID < m.cfg.Node {
			return Outcome{}
		}
		if s.ID == m.cfg.Node {
			mine = true
		} else {
			g, ok := heard[s.Addr]
			if !ok || g.Node != s.ID {
				return Outcome{}
			}
			v.Directory = g.Directory
		}
		voters = append(voters, v)
	}
	if !mine {
		return Outcome{}
	}
	slices.SortFunc(voters, func(a, b quorum.Voter) int { return int(a.ID) - int(b.ID) })
	if cluster == "" {
		cluster = m.cfg.NewCluster()
	}
	return Outcome{Cluster: cluster, Voters: voters}
}

// awaited says what is still missing, for people.
func (m *Meeting) awaited(heard map[string]Greeting, missing map[string]error) (why []string) {
	for _, s := range m.cfg.Seats {
		if g, ok := heard[s.Addr]; ok && g.Node != s.ID && s.ID != m.cfg.Node {
			why = append(why, fmt.Sprintf("at %s, where node %d should be, is node %d", s.Addr, s.ID, g.Node))
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(missing)) {
		if slices.ContainsFunc(m.cfg.Seats, func(s Seat) bool { return s.ID == m.cfg.Node && s.Addr == addr }) {
			continue
		}
		why = append(why, fmt.Sprintf("%s: %v", addr, missing[addr]))
	}
	if len(why) == 0 {
		why = append(why, "nobody that was reached knows of a cluster, and none of them is to found it: format one controller with --standalone, or several with --initial-controllers")
		if len(m.cfg.Seats) > 0 {
			why[0] = "the voter with the least id founds the cluster"
		}
	}
	return why
}
