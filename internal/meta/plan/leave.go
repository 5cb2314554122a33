// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"gregor/internal/meta"
)

// LeaveSeats takes a broker's replicas out of the ISR and the ELR, by its own
// word: the log is damaged, or the disk does not answer. Others are elected where
// it led. A partition that nobody else could lead is left as it is: a damaged log
// serves what is not damaged. What was asked of another leader epoch is passed
// over.
func LeaveSeats(img *meta.Image, broker int32, epoch int64, asked []InEpoch, env Env) ([]meta.Record, error) {
	if err := checkBrokerEpoch(img, broker, epoch); err != nil {
		return nil, err
	}
	s := &scene{img: img, env: &env, in: img.Broker(broker), lost: func(_ meta.UUID, _, id int32) Loss {
		if id == broker {
			return LostTail
		}
		return LostNothing
	}}
	var records []meta.Record
	for i, a := range asked {
		t := img.TopicByID(a.Topic)
		if t == nil || slices.Contains(asked[:i], a) {
			continue
		}
		p := t.Partition(a.Partition)
		if p == nil || p.LeaderEpoch != a.Epoch || !p.InSync(broker) && !slices.Contains(p.ELR, broker) {
			continue
		}
		if !slices.ContainsFunc(p.ISR, func(r int32) bool { return r != broker && s.mayLead(p, r) && s.heard(r) }) {
			continue
		}
		if next, changed := s.settle(t, a.Partition, p, *p, online); changed {
			records = append(records, meta.PartitionRecord{Topic: t.ID, Index: a.Partition, Partition: next})
		}
	}
	return records, nil
}
