// SPDX-License-Identifier: Apache-2.0

package txn

// Describe tells of a committed transactional id; nil: there is none.
func (s *Shard) Describe(id string) *Txn {
	if e := s.ids[id]; e != nil {
		return e.committed
	}
	return nil
}

// Each calls fn for the committed transactional ids, in their order.
func (s *Shard) Each(fn func(t *Txn)) {
	for _, id := range s.sorted() {
		if t := s.ids[id].committed; t != nil {
			fn(t)
		}
	}
}
