// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

// ISRProposal is a leader's wish for another ISR, or to end the recovery after
// an unclean election. It holds for the named epochs only.
type ISRProposal struct {
	Topic          meta.UUID
	Partition      int32
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []ISRMember
	// Recovering: the leader was elected uncleanly and is not done yet.
	Recovering bool
}

// ISRMember is a replica with the broker epoch that its leader knows, -1 where
// it knows none.
type ISRMember struct {
	Broker int32
	Epoch  int64
}

// ISRResult is the answer to one ISRProposal: Err, or the partition as it then
// is.
type ISRResult struct {
	Topic     meta.UUID
	Partition int32
	Err       *kerr.Error
	State     meta.Partition
}

// AlterPartition decides on the proposals of one broker. What is refused
// changes nothing, but for NEW_LEADER_ELECTED: there the ISR completed a
// reassignment that leaves the proposer out.
func AlterPartition(img *meta.Image, broker int32, epoch int64, asked []ISRProposal, env Env) ([]meta.Record, []ISRResult, error) {
	if err := checkBrokerEpoch(img, broker, epoch); err != nil {
		return nil, nil, err
	}
	// Who proposes is heard of.
	s := &scene{img: img, env: &env, in: img.Broker(broker)}
	var records []meta.Record
	results := make([]ISRResult, 0, len(asked))
	type place struct {
		topic meta.UUID
		index int32
	}
	seen := make(map[place]bool, len(asked))
	for i := range asked {
		a := &asked[i]
		r := ISRResult{Topic: a.Topic, Partition: a.Partition}
		t := img.TopicByID(a.Topic)
		switch {
		case t == nil:
			r.Err = kerr.UnknownTopicID
		case seen[place{a.Topic, a.Partition}]:
			r.Err = kerr.InvalidRequest
		default:
			seen[place{a.Topic, a.Partition}] = true
			if r.Err = s.checkProposal(t.Partition(a.Partition), broker, a); r.Err != nil {
				break
			}
			p := t.Partition(a.Partition)
			next, changed := s.settle(t, a.Partition, p, proposed(p, a), online)
			if changed {
				records = append(records, meta.PartitionRecord{Topic: t.ID, Index: a.Partition, Partition: next})
			}
			if r.State = next; next.Leader != broker {
				r.Err = kerr.NewLeaderElected
			}
		}
		results = append(results, r)
	}
	return records, results, nil
}

// proposed is the partition as the proposal has it.
func proposed(p *meta.Partition, a *ISRProposal) meta.Partition {
	next := *p
	next.ISR = make([]int32, 0, len(a.ISR))
	// In the order of the ISR there is, then of the replicas, so that equal
	// sets are equal.
	for _, list := range [][]int32{p.ISR, p.Replicas} {
		for _, r := range list {
			if !slices.Contains(next.ISR, r) && slices.ContainsFunc(a.ISR, func(m ISRMember) bool { return m.Broker == r }) {
				next.ISR = append(next.ISR, r)
			}
		}
	}
	next.Recovering = a.Recovering
	return next
}

// checkProposal refuses what was decided on another state than p, and ISRs
// that cannot be. Epochs above ours tell that this controller is behind.
//
// Differs from Kafka: a reassignment may come down to who joins here, so that
// one has to have been heard of lately.
func (s *scene) checkProposal(p *meta.Partition, broker int32, a *ISRProposal) *kerr.Error {
	switch {
	case p == nil:
		return kerr.UnknownTopicOrPartition
	case a.LeaderEpoch > p.LeaderEpoch || a.PartitionEpoch > p.PartitionEpoch:
		return kerr.NotController
	case a.LeaderEpoch < p.LeaderEpoch:
		return kerr.FencedLeaderEpoch
	case broker != p.Leader:
		return kerr.InvalidRequest
	case a.PartitionEpoch < p.PartitionEpoch:
		return kerr.InvalidUpdateVersion
	case a.Recovering && (len(a.ISR) > 1 || !p.Recovering):
		return kerr.InvalidRequest
	}
	leads := false
	for i, m := range a.ISR {
		if !p.HasReplica(m.Broker) || slices.ContainsFunc(a.ISR[:i], func(o ISRMember) bool { return o.Broker == m.Broker }) {
			return kerr.InvalidRequest
		}
		leads = leads || m.Broker == broker
	}
	if !leads {
		return kerr.InvalidRequest
	}
	for _, m := range a.ISR {
		b := s.img.Broker(m.Broker)
		if b == nil || !b.Active() || m.Epoch != -1 && m.Epoch != b.Epoch || !dirOnline(b, p.Dir(m.Broker)) {
			return kerr.IneligibleReplica
		}
		if moving(p) && !p.InSync(m.Broker) && !s.heard(m.Broker) {
			return kerr.IneligibleReplica
		}
	}
	return nil
}
