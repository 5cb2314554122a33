// SPDX-License-Identifier: Apache-2.0

package classic

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CheckCommit says whether a member may commit offsets, and renews its session.
// A commit without generation comes from an admin or from a consumer that
// assigns itself, which an empty group lets pass.
func (g *Group) CheckCommit(now time.Time, id string, instance *string, generation int32) error {
	if generation < 0 && g.state == Empty {
		return nil
	}
	if generation < 0 && id == "" && instance == nil {
		return kerr.UnknownMemberID
	}
	if err := g.check(id, instance); err != nil {
		return err
	}
	if generation != g.generation {
		return kerr.IllegalGeneration
	}
	if g.state == CompletingRebalance {
		return kerr.RebalanceInProgress
	}
	m := g.byID[id]
	m.deadline = g.schedule(now, m.session)
	return nil
}

// CheckTxnCommit says whether a member may commit offsets within a transaction.
// Old clients name neither member nor generation, and a rebalance that is under
// way does not matter: the transaction's own end decides. The session is not
// renewed.
func (g *Group) CheckTxnCommit(id string, instance *string, generation int32) error {
	if generation < 0 && (g.state == Empty || id == "" && instance == nil) {
		return nil
	}
	if err := g.check(id, instance); err != nil {
		return err
	}
	if generation != g.generation {
		return kerr.IllegalGeneration
	}
	return nil
}

// CheckDelete says whether the group may be deleted.
func (g *Group) CheckDelete() error {
	if g.state != Empty {
		return kerr.NonEmptyGroup
	}
	return nil
}

// CheckOffsetDelete says whether offsets may be deleted; Subscribes then has a
// word about each topic.
func (g *Group) CheckOffsetDelete() error {
	if g.state != Empty && deref(g.protocolType) != consumerType {
		return kerr.NonEmptyGroup
	}
	return nil
}

// Subscribes says whether a live member consumes the topic, or might.
func (g *Group) Subscribes(topic string) bool {
	if g.topicsKnown {
		_, ok := g.topics[topic]
		return ok
	}
	return deref(g.protocolType) == consumerType
}

// Retention says from when on the retention of the group's offsets counts:
// since, or each offset's own commit where that is -1. Offsets do not expire
// where ok is false.
func (g *Group) Retention() (since int64, ok bool) {
	switch {
	case g.protocolType == nil:
		return -1, true
	case g.state == Empty:
		return g.since, true
	case g.state == Stable && g.topicsKnown:
		return -1, true
	}
	return 0, false
}

// Describe fills in what DescribeGroups tells. Protocol and metadata are
// told of a stable group only.
func (g *Group) Describe() kmsg.DescribeGroupsResponseGroup {
	d := kmsg.NewDescribeGroupsResponseGroup()
	d.Group = g.id
	d.State = g.state.String()
	d.ProtocolType = deref(g.protocolType)
	if g.state == Stable {
		d.Protocol = deref(g.protocol)
	}
	for _, m := range g.members {
		dm := kmsg.NewDescribeGroupsResponseGroupMember()
		dm.MemberID, dm.InstanceID = m.id, m.instance
		dm.ClientID, dm.ClientHost = m.clientID, m.clientHost
		dm.MemberAssignment = m.assignment
		if g.state == Stable {
			dm.ProtocolMetadata = m.metadata(deref(g.protocol))
		}
		d.Members = append(d.Members, dm)
	}
	return d
}
