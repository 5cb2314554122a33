// SPDX-License-Identifier: Apache-2.0

// Package classic is the state machine of one group of the classic protocol:
// JoinGroup, SyncGroup, Heartbeat and LeaveGroup, for consumers, Connect
// workers, schema registries and any other protocol type. What members say to
// each other (subscriptions, assignments) is opaque bytes; only a consumer's
// list of topics is read, to know which offsets must not expire.
//
//	         first member joins         all (re)joined or time is up
//	Empty ----------------------> PreparingRebalance ----------------+
//	  ^                              ^   |                           v
//	  |    nobody is left            |   |                  CompletingRebalance
//	  +------------------------------|---+                           |
//	       a member is new, gone,    |                               | the leader's
//	       changed, or late          +--- Stable <-------------------+ assignment is
//	       (also from Completing)                                      committed
//
// It is pure: no clock, lock, goroutine, network or randomness. Time is an
// argument, timers are data (Next, Tick), member ids are made by the caller,
// and parked calls are tickets that a later result answers. Members are kept in
// the order in which they joined, so that equal inputs give equal results,
// whatever a map's order.
//
// What is durable is one record a group (record.go), written when the leader's
// assignment arrives, when a static member is replaced, when the group becomes
// empty and when it is first heard of. All else (who is waiting, timers,
// generations not yet assigned) is lost with the coordinator, and members then
// rejoin.
//
// Source of the rules: ClassicGroup.java and the classic parts of
// GroupMetadataManager.java, Kafka 4.2.
package classic

import (
	"bytes"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/invariant"
)

// State is where a group stands in its protocol.
type State int8

const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead // only told of groups that do not exist
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

func (s State) String() string { return stateNames[s] }

// newMemberJoinTimeout is how long a new member's JoinGroup may be parked: it
// cannot heartbeat yet, and a client that gave up cannot be told from one that
// waits.
const newMemberJoinTimeout = 5 * time.Minute

// consumerType is the protocol type whose subscriptions are understood.
const consumerType = "consumer"

// Config is the broker's part of the rules.
type Config struct {
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int           // group.max.size
}

// Protocol is one way of assigning that a member offers, with its metadata.
type Protocol struct {
	Name     string
	Metadata []byte
}

// member is one member of the group.
type member struct {
	id         string
	instance   *string // static member's name (KIP-345)
	clientID   string
	clientHost string
	rebalance  time.Duration
	session    time.Duration
	protocols  []Protocol // in the order of preference
	assignment []byte

	join, sync coord.Ticket // parked calls
	deadline   time.Time    // of its session; zero while none runs
	fresh      bool         // has not been part of a generation yet
}

func (m *member) offers(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) matches(ps []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(m.protocols, ps, func(a Protocol, b kmsg.JoinGroupRequestProtocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// alive says that an expired session is no reason to remove the member: it
// waits for an answer of ours. A fresh member can expire all the same.
func (m *member) alive() bool { return !m.fresh && (m.join != 0 || m.sync != 0) }

// Group is one group. It is owned by its shard's loop.
type Group struct {
	cfg *Config
	id  string

	state, previous State
	since           int64   // ms at which state was entered; -1: not known
	protocolType    *string // nil: a simple group, that only commits offsets
	protocol        *string
	generation      int32
	attempt         int    // counts the leader's assignments
	leader          string // "" for none

	members     []*member // in the order of joining
	byID        map[string]*member
	static      map[string]string    // instance id → member id
	pending     map[string]time.Time // ids given out and not yet joined → deadline
	pendingSync map[string]struct{}  // joined, and not yet synced
	topics      map[string]struct{}  // what consumers subscribe to
	topicsKnown bool                 // topics can be trusted
	joinAt      time.Time            // end of the join phase; zero: none runs
	initial     bool                 // joinAt is that of an initial rebalance
	delay, left time.Duration        // of an initial rebalance: this round's, and what may follow
	newMember   bool                 // joined during this round
	syncAt      time.Time            // end of the sync phase; zero: none runs
	next        time.Time            // no timer is due before this; zero: none is set
}

// New makes an empty group without a protocol type.
func New(cfg *Config, id string, now time.Time) *Group {
	return &Group{
		cfg: cfg, id: id, previous: Dead, since: now.UnixMilli(),
		byID: map[string]*member{}, static: map[string]string{},
	}
}

func (g *Group) State() State      { return g.state }
func (g *Group) Size() int         { return len(g.members) }
func (g *Group) Generation() int32 { return g.generation }

// ProtocolType is "" for a simple group.
func (g *Group) ProtocolType() string { return deref(g.protocolType) }

// Vacant says that nobody has joined the group or is about to.
func (g *Group) Vacant() bool { return len(g.members) == 0 && len(g.pending) == 0 }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// --- Membership

func (g *Group) add(m *member) {
	invariant.Holds(g.byID[m.id] == nil, "group %s: member %s is added twice", g.id, m.id)
	if m.instance != nil {
		_, taken := g.static[*m.instance]
		invariant.Holds(!taken, "group %s: instance %s is added twice", g.id, *m.instance)
		g.static[*m.instance] = m.id
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	delete(g.pending, m.id)
}

// remove takes a member, pending or not, out of the group. Calls of its that
// are still parked are told that it is gone.
//
// Differs from Kafka: there a parked SyncGroup of a member that is removed by
// an admin is never answered.
func (g *Group) remove(r *coord.Result, id string) {
	if m := g.byID[id]; m != nil {
		g.answerJoin(r, m, joinError("", kerr.UnknownMemberID))
		g.answerSync(r, m, syncError(kerr.UnknownMemberID))
		delete(g.byID, id)
		g.members = slices.DeleteFunc(g.members, func(x *member) bool { return x == m })
		if m.instance != nil {
			delete(g.static, *m.instance)
		}
	}
	if g.leader == id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
	delete(g.pending, id)
	delete(g.pendingSync, id)
}

// replaceStatic gives the place of a static member to a new member id. Whoever
// still waits under the old one is fenced.
func (g *Group) replaceStatic(r *coord.Result, instance, oldID, newID string) *member {
	old := g.byID[oldID]
	invariant.Holds(old != nil, "group %s: there is no member %s to replace", g.id, oldID)
	g.answerJoin(r, old, joinError(oldID, kerr.FencedInstanceID))
	g.answerSync(r, old, syncError(kerr.FencedInstanceID))
	m := &member{
		id: newID, instance: old.instance, clientID: old.clientID, clientHost: old.clientHost,
		rebalance: old.rebalance, session: old.session, protocols: old.protocols, assignment: old.assignment,
	}
	g.members[slices.Index(g.members, old)] = m
	delete(g.byID, oldID)
	g.byID[newID] = m
	// Differs from Kafka: there the old id stays in the list of those whose sync
	// is missing, and the group rebalances for it when the sync phase ends.
	if _, ok := g.pendingSync[oldID]; ok {
		delete(g.pendingSync, oldID)
		g.pendingSync[newID] = struct{}{}
	}
	if g.leader == oldID {
		g.leader = newID
	}
	g.static[instance] = newID
	return m
}

// update takes over what a rejoining member says, and parks its call t.
func (g *Group) update(r *coord.Result, m *member, ps []Protocol, rebalance, session time.Duration, t coord.Ticket) {
	m.protocols, m.rebalance, m.session = ps, rebalance, session
	g.parkJoin(r, m, t)
}

// check says whether a request may speak for the member id.
func (g *Group) check(id string, instance *string) error {
	if instance != nil {
		switch owner, ok := g.static[*instance]; {
		case !ok:
			return kerr.UnknownMemberID
		case owner != id:
			return kerr.FencedInstanceID
		}
	}
	if g.byID[id] == nil {
		return kerr.UnknownMemberID
	}
	return nil
}

func (g *Group) joined() int {
	n := 0
	for _, m := range g.members {
		if m.join != 0 {
			n++
		}
	}
	return n
}

func (g *Group) allJoined() bool {
	return len(g.pending) == 0 && g.joined() == len(g.members)
}

// accepts keeps the group within group.max.size. While members rejoin, those
// that already did are counted, so that a group above a lowered limit sheds its
// last ones.
func (g *Group) accepts(id string) bool {
	m := g.byID[id]
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.join != 0 || g.joined() < g.cfg.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < g.cfg.MaxSize
	}
	return true
}

// longestRebalance is the rebalance timeout of the group.
func (g *Group) longestRebalance() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalance)
	}
	return d
}

// --- Protocols

// supports says whether a member with these protocols could be of the group.
func (g *Group) supports(protocolType string, ps []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(ps) > 0
	}
	return g.protocolType != nil && *g.protocolType == protocolType &&
		slices.ContainsFunc(ps, func(p kmsg.JoinGroupRequestProtocol) bool { return g.common(p.Name) })
}

// common says whether all members offer the protocol.
func (g *Group) common(protocol string) bool {
	for _, m := range g.members {
		if !m.offers(protocol) {
			return false
		}
	}
	return true
}

// elect returns the protocol with the most votes, each member voting for the
// first of its own that all have in common. Of equals, the one that was voted
// for first wins.
func (g *Group) elect() string {
	votes := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.common(p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if n := votes[p.Name]; n > votes[best] {
				best = p.Name
			}
		}
	}
	return best
}

// --- States

func (g *Group) become(s State, now time.Time) {
	ok := false
	switch s {
	case Empty, CompletingRebalance:
		ok = g.state == PreparingRebalance
	case PreparingRebalance:
		ok = g.state != PreparingRebalance
	case Stable:
		ok = g.state == CompletingRebalance
	}
	invariant.Holds(ok, "group %s cannot go from %s to %s", g.id, g.state, s)
	g.previous, g.state = g.state, s
	g.since = now.UnixMilli()
}

// --- Parked calls

func (g *Group) parkJoin(r *coord.Result, m *member, t coord.Ticket) {
	if m.join != 0 && m.join != t {
		// The client gave up on that call and sent another.
		//
		// Differs from Kafka: there the first call is never answered.
		g.answerJoin(r, m, joinError(m.id, kerr.RebalanceInProgress))
	}
	m.join = t
}

func (g *Group) answerJoin(r *coord.Result, m *member, reply *kmsg.JoinGroupResponse) {
	if m.join != 0 {
		r.Answers = append(r.Answers, coord.Answer{To: m.join, Reply: reply})
		m.join = 0
	}
}

func (g *Group) answerSync(r *coord.Result, m *member, reply *kmsg.SyncGroupResponse) bool {
	if m.sync == 0 {
		return false
	}
	r.Answers = append(r.Answers, coord.Answer{To: m.sync, Reply: reply})
	m.sync = 0
	return true
}

// Drop answers all parked calls with err: the group was not to be.
func (g *Group) Drop(err error) coord.Result {
	var r coord.Result
	for _, m := range g.members {
		g.answerJoin(&r, m, joinError(m.id, err))
		g.answerSync(&r, m, syncError(err))
	}
	return r
}

func joinError(member string, err error) *kmsg.JoinGroupResponse {
	reply := kmsg.NewPtrJoinGroupResponse()
	reply.Generation = -1
	reply.MemberID = member
	reply.ErrorCode = coord.Code(err)
	return reply
}

func syncError(err error) *kmsg.SyncGroupResponse {
	reply := kmsg.NewPtrSyncGroupResponse()
	reply.ErrorCode = coord.Code(err)
	return reply
}
