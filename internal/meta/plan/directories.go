// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

// DirAssignment is a broker's news that one of its replicas lies in Dir.
type DirAssignment struct {
	Dir       meta.UUID
	Topic     meta.UUID
	Partition int32
}

// AssignDirs notes where a broker keeps replicas. An error of the second result
// is that of the assignment at its place. A replica that passes from a directory
// which is not online to another begins there with nothing: it loses its seat,
// if it has one. Where the new directory is offline, so is the replica.
func AssignDirs(img *meta.Image, broker int32, epoch int64, asked []DirAssignment, env Env) ([]meta.Record, []*kerr.Error, error) {
	if err := checkBrokerEpoch(img, broker, epoch); err != nil {
		return nil, nil, err
	}
	b := img.Broker(broker)
	var emptied bool
	s := &scene{img: img, env: &env, lost: func(_ meta.UUID, _, id int32) Loss {
		if emptied && id == broker {
			return LostAll
		}
		return LostNothing
	}}
	var records []meta.Record
	errs := make([]*kerr.Error, len(asked))
	type place struct {
		topic meta.UUID
		index int32
	}
	seen := make(map[place]bool, len(asked))
	for i, a := range asked {
		t := img.TopicByID(a.Topic)
		if t == nil {
			errs[i] = kerr.UnknownTopicID
			continue
		}
		p := t.Partition(a.Partition)
		switch {
		case p == nil:
			errs[i] = kerr.UnknownTopicOrPartition
		case !p.HasReplica(broker):
			errs[i] = kerr.NotLeaderForPartition
		case seen[place{a.Topic, a.Partition}]:
			errs[i] = kerr.InvalidRequest
		}
		if errs[i] != nil {
			continue
		}
		seen[place{a.Topic, a.Partition}] = true
		from := p.Dir(broker)
		emptied = from != a.Dir && !dirOnline(b, from)
		target := *p
		target.Dirs = slices.Clone(p.Dirs)
		target.Dirs[slices.Index(p.Replicas, broker)] = a.Dir
		if next, changed := s.settle(t, a.Partition, p, target, online); changed {
			records = append(records, meta.PartitionRecord{Topic: t.ID, Index: a.Partition, Partition: next})
		}
	}
	return records, errs, nil
}
