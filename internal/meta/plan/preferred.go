// SPDX-License-Identifier: Apache-2.0

package plan

import "gregor/internal/meta"

// PreferLeaders gives leadership back to the first replicas that are in sync
// and in service again, of at most limit partitions; more tells that others are
// left. Partitions without a leader are looked at too.
func PreferLeaders(img *meta.Image, limit int, env Env) (records []meta.Record, more bool) {
	s := &scene{img: img, env: &env}
	for t, i := range img.Hosted(meta.NotPreferred) {
		p := t.Partition(i)
		next, changed := s.settle(t, i, p, *p, preferred)
		if !changed {
			continue
		}
		if len(records) == limit {
			return records, true
		}
		records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: next})
	}
	return records, false
}
