// SPDX-License-Identifier: Apache-2.0

package classic

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// Caller is what a join tells of the client beside its request. NewID is a
// random UUID, from which a member id is made if one is needed.
type Caller struct {
	ClientID string
	Host     string // as Kafka writes it: "/127.0.0.1"
	NewID    string
}

// Join handles a JoinGroup, which is t's: an answer may be in the result, or
// come with a later one.
func (g *Group) Join(now time.Time, t coord.Ticket, req *kmsg.JoinGroupRequest, who Caller) coord.Result {
	var r coord.Result
	refuse := func(id string, err error) coord.Result {
		r.Answers = append(r.Answers, coord.Answer{To: t, Reply: joinError(id, err)})
		return r
	}
	if !g.accepts(req.MemberID) {
		g.remove(&r, req.MemberID)
		return refuse("", kerr.GroupMaxSizeReached)
	}
	if !g.supports(req.ProtocolType, req.Protocols) {
		return refuse(req.MemberID, kerr.InconsistentGroupProtocol)
	}
	if req.MemberID == "" {
		g.joinNew(&r, now, t, req, who)
		return r
	}
	if _, ok := g.pending[req.MemberID]; ok {
		if req.InstanceID != nil { // the id was given to a dynamic member
			return refuse(req.MemberID, kerr.UnknownMemberID)
		}
		g.admit(&r, now, t, req, who, req.MemberID)
		return r
	}
	if err := g.check(req.MemberID, req.InstanceID); err != nil {
		return refuse(req.MemberID, err)
	}
	m := g.byID[req.MemberID]
	rejoin := func(why string) {
		g.update(&r, m, protocols(req), millis(req.RebalanceTimeoutMillis), millis(req.SessionTimeoutMillis), t)
		g.rebalanceOrComplete(&r, now, m.id, reason(why, req.Reason))
	}
	switch g.state {
	case PreparingRebalance:
		rejoin("member joins during a rebalance")
	case CompletingRebalance:
		if !m.matches(req.Protocols) {
			rejoin("member changed its metadata during a rebalance")
			break
		}
		// It may not have got the answer to its first join.
		r.Answers = append(r.Answers, coord.Answer{To: t, Reply: g.joinReply(m)})
	case Stable:
		switch {
		case g.leader == m.id:
			// How a leader asks for a new assignment, when topics changed say.
			rejoin("leader joins again")
		case !m.matches(req.Protocols):
			rejoin("member changed its metadata")
		default:
			r.Answers = append(r.Answers, coord.Answer{To: t, Reply: g.joinReply(m)})
		}
	default:
		return refuse(req.MemberID, kerr.UnknownMemberID)
	}
	return r
}

// joinNew handles a join without a member id.
func (g *Group) joinNew(r *coord.Result, now time.Time, t coord.Ticket, req *kmsg.JoinGroupRequest, who Caller) {
	if req.InstanceID != nil {
		id := *req.InstanceID + "-" + who.NewID
		if old, ok := g.static[*req.InstanceID]; ok {
			g.replace(r, now, t, req, old, id)
		} else {
			g.admit(r, now, t, req, who, id)
		}
		return
	}
	id := who.ClientID + "-" + who.NewID
	if req.Version < 4 {
		g.admit(r, now, t, req, who, id)
		return
	}
	// From version 4 on a member joins under the id that it was given, so that
	// a client that retries does not leave members behind (KIP-394).
	if g.pending == nil {
		g.pending = map[string]time.Time{}
	}
	g.pending[id] = g.schedule(now, millis(req.SessionTimeoutMillis))
	r.Answers = append(r.Answers, coord.Answer{To: t, Reply: joinError(id, kerr.MemberIDRequired)})
}

// admit makes the caller a member.
func (g *Group) admit(r *coord.Result, now time.Time, t coord.Ticket, req *kmsg.JoinGroupRequest, who Caller, id string) {
	m := &member{
		id: id, instance: req.InstanceID, clientID: who.ClientID, clientHost: who.Host,
		rebalance: millis(req.RebalanceTimeoutMillis), session: millis(req.SessionTimeoutMillis),
		protocols: protocols(req), join: t, fresh: true,
	}
	if g.state == PreparingRebalance && g.previous == Empty {
		g.newMember = true
	}
	if len(g.members) == 0 {
		g.protocolType = &req.ProtocolType
	}
	g.add(m)
	m.deadline = g.schedule(now, newMemberJoinTimeout)
	g.rebalanceOrComplete(r, now, id, reason("a member joins", req.Reason))
}

// replace lets a static member come back under a new id (KIP-345). In a stable
// group it takes its old assignment up again, without a rebalance, unless the
// protocol would change.
func (g *Group) replace(r *coord.Result, now time.Time, t coord.Ticket, req *kmsg.JoinGroupRequest, oldID, id string) {
	leader := g.leader
	m := g.replaceStatic(r, *req.InstanceID, oldID, id)
	m.deadline = g.schedule(now, m.session)
	before := *m
	g.update(r, m, protocols(req), millis(req.RebalanceTimeoutMillis), millis(req.SessionTimeoutMillis), t)
	switch g.state {
	case Stable:
		if g.protocol == nil || g.elect() != *g.protocol {
			g.rebalanceOrComplete(r, now, id, reason("a static member's return changes the protocol", req.Reason))
			return
		}
	case CompletingRebalance:
		// The leader may already be assigning to the old id.
		g.rebalance(r, now, id, reason("a static member returns during a rebalance", req.Reason))
		return
	default:
		g.completeIfAll(r, now)
		return
	}
	r.Records = append(r.Records, g.record(func(m *member) []byte { return m.assignment }))
	r.Applied = true
	r.Settled = func(now time.Time, written bool, err error) coord.Result {
		var r coord.Result
		if g.byID[id] != m || m.join != t || g.state != Stable {
			return r // replaced again, gone, or a rebalance answers it
		}
		// A session that ended while its member waited for us was let pass.
		m.deadline = g.schedule(now, m.session)
		if err != nil {
			reply := joinError("", coord.ClientError(err))
			reply.Generation, reply.Protocol, reply.ProtocolType, reply.LeaderID = g.generation, g.protocol, g.protocolType, leader
			g.answerJoin(&r, m, reply)
			if written {
				// Differs from Kafka: it goes back to the old id here too, though
				// the log has the new one and may yet be committed.
				return r
			}
			m.protocols, m.rebalance, m.session = before.protocols, before.rebalance, before.session
			old := g.replaceStatic(&r, *m.instance, id, oldID)
			old.deadline = g.schedule(now, old.session)
			return r
		}
		reply := g.joinReply(m)
		reply.Members, reply.LeaderID = nil, leader
		if req.Version >= 9 {
			// The leader is told that it need not assign again (KIP-814).
			reply.LeaderID = g.leader
			if reply.SkipAssignment = g.leader == id; reply.SkipAssignment {
				reply.Members = g.roster()
			}
		}
		g.answerJoin(&r, m, reply)
		return r
	}
}

// joinReply tells a member of the current generation.
func (g *Group) joinReply(m *member) *kmsg.JoinGroupResponse {
	reply := kmsg.NewPtrJoinGroupResponse()
	reply.Generation = g.generation
	reply.ProtocolType, reply.Protocol = g.protocolType, g.protocol
	reply.LeaderID = g.leader
	reply.MemberID = m.id
	if g.leader == m.id && g.state == CompletingRebalance {
		reply.Members = g.roster()
	}
	return reply
}

// roster is what the leader assigns from.
func (g *Group) roster() []kmsg.JoinGroupResponseMember {
	all := make([]kmsg.JoinGroupResponseMember, 0, len(g.members))
	for _, m := range g.members {
		all = append(all, kmsg.JoinGroupResponseMember{
			MemberID: m.id, InstanceID: m.instance, ProtocolMetadata: m.metadata(deref(g.protocol)),
		})
	}
	return all
}

// --- The join phase

// rebalanceOrComplete begins a rebalance, or if one is under way ends its join
// phase where nobody is missing.
func (g *Group) rebalanceOrComplete(r *coord.Result, now time.Time, id, why string) {
	if g.state != PreparingRebalance {
		g.rebalance(r, now, id, why)
		return
	}
	g.completeIfAll(r, now)
}

func (g *Group) completeIfAll(r *coord.Result, now time.Time) {
	if g.state == PreparingRebalance && g.previous != Empty && g.allJoined() {
		g.completeJoin(r, now)
	}
}

// rebalance begins the join phase. That of an empty group lasts for the initial
// delay, so that members started together are assigned together.
func (g *Group) rebalance(r *coord.Result, now time.Time, id, why string) {
	if g.state == CompletingRebalance {
		for _, m := range g.members {
			m.assignment = nil
		}
		g.propagate(r, now, kerr.RebalanceInProgress)
	}
	g.pendingSync, g.syncAt = nil, time.Time{}
	r.Notes = append(r.Notes, coord.Note{
		Text: "group rebalances", Subject: g.id, Member: id, Generation: g.generation, Reason: why,
	})
	first := g.state == Empty
	g.become(PreparingRebalance, now)
	switch {
	case first:
		g.initial, g.newMember = true, false
		g.delay = g.cfg.InitialRebalanceDelay
		g.left = max(g.longestRebalance()-g.delay, 0)
		g.joinAt = g.schedule(now, g.delay)
	case g.allJoined():
		g.completeJoin(r, now)
	default:
		g.initial = false
		g.joinAt = g.schedule(now, g.longestRebalance())
	}
}

// extend ends a round of the initial delay: another one follows while members
// keep coming, up to the rebalance timeout.
func (g *Group) extend(r *coord.Result, now time.Time) {
	if !g.newMember || g.left == 0 {
		g.completeJoin(r, now)
		return
	}
	g.newMember = false
	next := min(g.cfg.InitialRebalanceDelay, g.left)
	g.left = max(g.left-g.delay, 0)
	g.delay = next
	g.joinAt = g.schedule(now, next)
}

// completeJoin ends the join phase: dynamic members that did not rejoin are
// out, a new generation begins, and all are told of it.
func (g *Group) completeJoin(r *coord.Result, now time.Time) {
	g.joinAt, g.initial = time.Time{}, false
	var late []string
	for _, m := range g.members {
		if m.join == 0 && m.instance == nil {
			late = append(late, m.id)
		}
	}
	for _, id := range late {
		g.remove(r, id)
		r.Notes = append(r.Notes, coord.Note{
			Text: "member left the group", Subject: g.id, Member: id, Generation: g.generation,
			Reason: "it did not rejoin in time",
		})
	}
	if len(g.members) > 0 && !g.electLeader() {
		// None but static members, and none of them is here: wait until they
		// come or their sessions end.
		g.joinAt = g.schedule(now, g.longestRebalance())
		return
	}
	g.generation++
	g.pendingSync = nil
	if len(g.members) == 0 {
		g.protocol = nil
		g.computeTopics()
		g.become(Empty, now)
		r.Records = append(r.Records, g.record(nil))
		r.Applied = true
		r.Notes = append(r.Notes, coord.Note{Text: "group is empty", Subject: g.id, Generation: g.generation})
		return
	}
	elected := g.elect()
	g.protocol = &elected
	g.computeTopics()
	g.become(CompletingRebalance, now)
	g.pendingSync = make(map[string]struct{}, len(g.members))
	for _, m := range g.members {
		g.answerJoin(r, m, g.joinReply(m))
		m.deadline = g.schedule(now, m.session)
		m.fresh = false
		g.pendingSync[m.id] = struct{}{}
	}
	g.syncAt = g.schedule(now, g.longestRebalance())
}

// electLeader keeps the leader if it has joined, or takes the oldest member
// that has. It returns false when nobody has.
func (g *Group) electLeader() bool {
	if m := g.byID[g.leader]; m != nil && m.join != 0 {
		return true
	}
	for _, m := range g.members {
		if m.join != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

// protocols copies what a request, whose bytes are not ours, offers.
func protocols(req *kmsg.JoinGroupRequest) []Protocol {
	ps := make([]Protocol, len(req.Protocols))
	for i, p := range req.Protocols {
		ps[i] = Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)}
	}
	return ps
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// reason adds what the client says to what we see (KIP-800).
func reason(ours string, client *string) string {
	if client == nil || *client == "" {
		return ours
	}
	return ours + "; client reason: " + *client
}
