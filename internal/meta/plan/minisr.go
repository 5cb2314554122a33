// SPDX-License-Identifier: Apache-2.0

package plan

import "gregor/internal/meta"

const setMinISR = "min.insync.replicas"

// unseated takes the seats of eligible leader replicas (ELR) away where
// settings lower min.insync.replicas to what is in sync: from then on the
// leader commits what they have not. It belongs into the change that holds the
// settings, since a leader acts on those as soon as it sees them.
//
// Differs from Kafka: it takes them away at any change of that setting, also
// where the leader goes on committing nothing.
func unseated(img *meta.Image, settings []meta.Record, env Env) []meta.Record {
	every, names := false, map[string]bool{}
	for _, r := range settings {
		if c, ok := r.(meta.ConfigRecord); ok && c.Key == setMinISR {
			every = every || c.Type == meta.BrokerResource && c.Name == ""
			if c.Type == meta.TopicResource {
				names[c.Name] = true
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
	for t := range next.Topics() {
		if !every && !names[t.Name] {
			continue
		}
		for i, p := range t.Partitions() {
			if len(p.ELR) == 0 {
				continue
			}
			if settled, changed := s.settle(t, i, p, *p, online); changed {
				records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: settled})
			}
		}
	}
	return records
}
