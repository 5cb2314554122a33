// SPDX-License-Identifier: Apache-2.0

package classic

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// Sync handles a SyncGroup, which is t's. Followers wait for the leader's, and
// the leader's waits until the assignment is committed.
func (g *Group) Sync(now time.Time, t coord.Ticket, req *kmsg.SyncGroupRequest) coord.Result {
	var r coord.Result
	refuse := func(err error) coord.Result {
		r.Answers = append(r.Answers, coord.Answer{To: t, Reply: syncError(err)})
		return r
	}
	if g.state == Empty {
		return refuse(kerr.UnknownMemberID)
	}
	if err := g.check(req.MemberID, req.InstanceID); err != nil {
		return refuse(err)
	}
	switch {
	case req.Generation != g.generation:
		return refuse(kerr.IllegalGeneration)
	case differs(req.ProtocolType, g.protocolType) || differs(req.Protocol, g.protocol):
		return refuse(kerr.InconsistentGroupProtocol)
	case g.state == PreparingRebalance:
		return refuse(kerr.RebalanceInProgress)
	}
	m := g.byID[req.MemberID]
	delete(g.pendingSync, m.id)
	if len(g.pendingSync) == 0 {
		g.syncAt = time.Time{}
	}
	if g.state == Stable {
		r.Answers = append(r.Answers, coord.Answer{To: t, Reply: g.syncReply(m)})
		return r
	}
	if m.sync != 0 {
		// Differs from Kafka: the call that the client gave up on is answered.
		g.answerSync(&r, m, syncError(kerr.RebalanceInProgress))
	}
	m.sync = t
	if g.leader != m.id {
		return r
	}

	assignment := make(map[string][]byte, len(req.GroupAssignment))
	for _, a := range req.GroupAssignment {
		assignment[a.MemberID] = bytes.Clone(a.MemberAssignment)
	}
	r.Records = append(r.Records, g.record(func(m *member) []byte { return assignment[m.id] }))
	r.Applied = true
	// Differs from Kafka: of two assignments for one generation (the leader sent
	// its sync again) the last one counts, as it does for who replays the log.
	g.attempt++
	generation, attempt := g.generation, g.attempt
	r.Settled = func(now time.Time, _ bool, err error) coord.Result {
		var r coord.Result
		if g.state != CompletingRebalance || g.generation != generation || g.attempt != attempt {
			return r // something else has overtaken it
		}
		if err != nil {
			for _, m := range g.members {
				m.assignment = nil
			}
			g.propagate(&r, now, coord.ClientError(err))
			g.rebalance(&r, now, req.MemberID, "the assignment could not be stored: "+err.Error())
			return r
		}
		for _, m := range g.members {
			m.assignment = assignment[m.id]
		}
		g.propagate(&r, now, nil)
		g.become(Stable, now)
		r.Notes = append(r.Notes, coord.Note{Text: "group is stable", Subject: g.id, Generation: g.generation})
		return r
	}
	return r
}

// propagate answers all parked syncs, with the assignment or with err.
func (g *Group) propagate(r *coord.Result, now time.Time, err error) {
	for _, m := range g.members {
		reply := syncError(err)
		if err == nil {
			reply = g.syncReply(m)
		}
		if g.answerSync(r, m, reply) {
			// A session that ended while its member waited for us was let pass;
			// it begins anew.
			m.deadline = g.schedule(now, m.session)
		}
	}
}

func (g *Group) syncReply(m *member) *kmsg.SyncGroupResponse {
	reply := kmsg.NewPtrSyncGroupResponse()
	reply.ProtocolType, reply.Protocol = g.protocolType, g.protocol
	reply.MemberAssignment = m.assignment
	return reply
}

// differs: what a request does not say, it does not contradict.
func differs(request, ours *string) bool {
	return request != nil && ours != nil && *request != *ours
}

// Heartbeat renews a session. The error goes to the client.
func (g *Group) Heartbeat(now time.Time, req *kmsg.HeartbeatRequest) error {
	if err := g.check(req.MemberID, req.InstanceID); err != nil {
		return err
	}
	if req.Generation != g.generation {
		return kerr.IllegalGeneration
	}
	m := g.byID[req.MemberID]
	m.deadline = g.schedule(now, m.session)
	if g.state == PreparingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}

// Leave takes members out of the group, each with an error of its own.
func (g *Group) Leave(now time.Time, req *kmsg.LeaveGroupRequest) coord.Result {
	var r coord.Result
	reply := kmsg.NewPtrLeaveGroupResponse()
	left := ""
	why := ""
	for _, ask := range req.Members {
		id := ask.MemberID
		var err error
		switch _, pending := g.pending[id]; {
		case id == "": // an admin names the instance only
			if ask.InstanceID != nil {
				id = g.static[*ask.InstanceID]
			}
			if id == "" {
				err = kerr.UnknownMemberID
			}
		case pending:
		default:
			err = g.check(id, ask.InstanceID)
		}
		if err == nil {
			g.remove(&r, id)
			left, why = id, reason("member left", ask.Reason)
			r.Notes = append(r.Notes, coord.Note{
				Text: "member left the group", Subject: g.id, Member: id, Generation: g.generation, Reason: why,
			})
		}
		reply.Members = append(reply.Members, kmsg.LeaveGroupResponseMember{
			MemberID: ask.MemberID, InstanceID: ask.InstanceID, ErrorCode: coord.Code(err),
		})
	}
	if left != "" {
		switch g.state {
		case Stable, CompletingRebalance:
			g.rebalance(&r, now, left, why)
		case PreparingRebalance:
			g.completeIfAll(&r, now)
		}
	}
	r.Reply = reply
	return r
}
