// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

const setMinISR = "min.insync.replicas"

// checkMinISR refuses what would have a leader go by another
// min.insync.replicas than the controller: it would commit what replicas have
// not that the controller takes for eligible.
func checkMinISR(r meta.Resource, changes map[string]*string) error {
	v, ok := changes[setMinISR]
	switch {
	case !ok || r.Type != meta.BrokerResource:
		return nil
	case r.Name != "" && v != nil:
		return fail(kerr.InvalidConfig, "Broker-level %s cannot be altered while ELR is enabled.", setMinISR)
	case r.Name == "" && v == nil:
		return fail(kerr.InvalidConfig, "Cluster-level %s cannot be removed while ELR is enabled.", setMinISR)
	}
	return nil
}

// unseated takes the seats of eligible leader replicas (ELR) away where
// settings lower min.insync.replicas to what is in sync: from then on the
// leader commits what they have not. It belongs into the change that holds the
// settings, since a leader acts on those as soon as it sees them.
//
// Differs from Kafka: it takes them away at any change of that setting, also
// where the leader goes on committing nothing.
func unseated(img *meta.Image, settings []meta.Record, env Env) []meta.Record {
	every := false
	var names []string
	for _, r := range settings {
		if c, ok := r.(meta.ConfigRecord); ok && c.Key == setMinISR {
			every = every || c.Type == meta.BrokerResource && c.Name == ""
			if c.Type == meta.TopicResource {
				names = append(names, c.Name)
			}
		}
	}
	if !every && len(names) == 0 {
		return nil
	}
	next, _, err := img.With(settings)
	if err != nil {
		return nil // whoever proposes the settings is told
	}
	s := &scene{img: next, env: &env}
	var records []meta.Record
	if every {
		for t := range next.Topics() {
			records = append(records, s.unseatIn(t)...)
		}
		return records
	}
	for _, n := range names {
		records = append(records, s.unseatIn(next.Topic(n))...)
	}
	return records
}

func (s *scene) unseatIn(t *meta.Topic) (records []meta.Record) {
	for i, p := range t.Partitions() {
		if len(p.ELR) == 0 {
			continue
		}
		if settled, changed := s.settle(t, i, p, *p, online); changed {
			records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: settled})
		}
	}
	return records
}
