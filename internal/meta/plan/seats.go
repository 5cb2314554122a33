// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strconv"

	"gregor/internal/meta"
)

// scene is how one decision sees the brokers: the Image, and what the decision
// itself is about to change. It is made for one decision and thrown away.
//
// It decides who keeps a seat (in the ISR, or among the eligible leader
// replicas of KIP-966, the ELR) and who leads. The rules:
//
//	R1  Whoever may not lead (fenced, stopping, its directory offline) leaves
//	    the ISR, and the first replica that stays and may lead is elected.
//	R2  Below min.insync.replicas the leader commits nothing, so whoever leaves
//	    then keeps an ELR seat: it holds all that was ever committed.
//	R3  Where nobody of the ISR may lead, nothing is committed either, so the
//	    whole ISR becomes ELR, and the first of it that comes back is elected.
//	R4  A broker that was not heard of lately may be dead, or may lead on. While
//	    such a one leads nothing is changed, and while only such ones are left
//	    nobody is elected and the ISR stays: taking a seat away now might leave
//	    it to replicas that died at the same moment. The next heartbeat, or the
//	    end of the session, decides. What was heard of one may be from before
//	    those died who leave now, so nobody gets the only seat that is left,
//	    where others had one, but after a sign of life from then on.
//	R5  A replica that lost what it had has no seat, whatever else holds.
//	R6  Where ISR and ELR are empty the last known leader is elected when it is
//	    back (it may lack some records: the partition is marked as recovering),
//	    unless it lost all it had.
//	R7  Anybody else only by an unclean election: asked for, or by the topic's
//	    unclean.leader.election.enable.
//
// R4 is ours. Kafka takes the members of an ISR out one by one as their
// sessions end; when all brokers die at one moment only the last min.insync
// of them stay eligible, with min.insync.replicas=1 a single one.
type scene struct {
	img *meta.Image
	env *Env
	// out are brokers that must not lead, in and its registration one that may
	// although img says fenced.
	out map[int32]bool
	in  *meta.Broker
	// lost tells of replicas without what they had (R5); may be nil.
	lost func(topic meta.UUID, partition, broker int32) Loss
	// departs: brokers die or come anew, which they may do with others.
	departs bool
	// deferred counts the partitions that R4 left as they are.
	deferred int
}

// Loss is what a replica lost.
type Loss int8

const (
	LostNothing Loss = iota
	// LostTail: the log may end before where it ended.
	LostTail
	// LostAll: the log is gone.
	LostAll
)

func (s *scene) broker(id int32) *meta.Broker {
	if s.in != nil && s.in.ID == id {
		return s.in
	}
	return s.img.Broker(id)
}

// mayLead: the broker is in service, and so is the replica's directory.
func (s *scene) mayLead(p *meta.Partition, id int32) bool {
	if s.out[id] {
		return false
	}
	b := s.broker(id)
	return b != nil && b.Active() && dirOnline(b, p.Dir(id))
}

func (s *scene) heard(id int32) bool {
	return s.in != nil && s.in.ID == id || s.env == nil || s.env.Heard == nil || s.env.Heard(id)
}

// sole tells whether r may have the only seat of those in seated.
func (s *scene) sole(t *meta.Topic, p *meta.Partition, r int32, seated []int32) bool {
	if len(seated) <= 1 || s.env == nil || s.env.Await == nil || s.in != nil && s.in.ID == r || s.minISR(t, p) > 1 {
		return true // above one the ELR has seats for others
	}
	if s.departs {
		s.env.Await(r)
	}
	return !s.env.Awaited(r)
}

// dirOnline: directories that are not chosen yet count as online.
func dirOnline(b *meta.Broker, d meta.UUID) bool {
	switch d {
	case meta.DirUnassigned, meta.DirMigrating:
		return true
	case meta.DirLost:
		return false
	}
	return slices.Contains(b.Dirs, d)
}

// minISR is the effective min.insync.replicas: never more than there are
// replicas.
func (s *scene) minISR(t *meta.Topic, p *meta.Partition) int {
	n := 1
	if v, ok := s.setting(t, setMinISR); ok {
		if parsed, err := strconv.Atoi(v); err == nil {
			n = parsed
		}
	}
	return max(1, min(n, len(p.Replicas)))
}

// uncleanAllowed: the topic prefers being written to over what was written.
func (s *scene) uncleanAllowed(t *meta.Topic) bool {
	v, ok := s.setting(t, setUncleanElection)
	return ok && v == "true"
}

func (s *scene) setting(t *meta.Topic, key string) (string, bool) {
	for _, r := range []meta.Resource{{Type: meta.TopicResource, Name: t.Name}, {Type: meta.BrokerResource}} {
		if v, ok := s.img.Settings(r.Type, r.Name).Get(key); ok {
			return v, true
		}
	}
	if s.env == nil || s.env.Schema == nil {
		return "", false
	}
	return s.env.Schema.Default(meta.TopicResource, key)
}

type election int

const (
	online    election = iota // keep the leader if it may lead, else the first that may
	preferred                 // the first replica, if it may lead
	unclean                   // as online, then anyone alive
)

// settle gives a partition the ISR, ELR and leader that the rules say. Target
// is the partition as somebody wants it: the old one, or one with another ISR
// (a leader's proposal), assignment or directories; a reassignment that it
// completes is finished. It returns false when nothing differs from old.
func (s *scene) settle(t *meta.Topic, index int32, old *meta.Partition, target meta.Partition, kind election) (meta.Partition, bool) {
	// R4 leaves brokers that are out of service in the ISR: it must not come
	// down to such ones.
	if slices.ContainsFunc(target.ISR, func(r int32) bool { return !slices.Contains(target.Removing, r) && s.mayLead(&target, r) }) {
		FinishReassignment(&target)
	}
	next := target
	lost := func(r int32) Loss {
		if s.lost == nil {
			return LostNothing
		}
		return s.lost(t.ID, index, r)
	}
	seated := without(target.ISR, func(r int32) bool { return lost(r) != LostNothing || !slices.Contains(target.Replicas, r) })
	may := func(r int32) bool { return s.mayLead(&next, r) }
	rest := without(seated, func(r int32) bool { return !may(r) })
	next.ISR, next.Leader = s.lead(t, old, seated, rest)
	if kind == preferred && len(rest) > 0 && next.Leader != meta.NoLeader {
		if first := target.Replicas[0]; slices.Contains(rest, first) && s.heard(first) {
			next.Leader = first
		}
	}
	s.eligible(t, &next, old, func(r int32) bool { return lost(r) != LostNothing })
	if len(next.ISR) == 0 {
		s.electOutside(t, &next, old, kind, lost)
	}
	switch {
	case next.Leader == meta.NoLeader && len(old.LastELR) == 0 && old.Leader != meta.NoLeader:
		next.LastELR = []int32{old.Leader}
	case next.Leader != meta.NoLeader:
		next.LastELR = nil
	}
	// Whose log is gone must not be taken for the last known leader.
	next.LastELR = without(next.LastELR, func(r int32) bool { return lost(r) == LostAll })
	next.LeaderEpoch, next.PartitionEpoch = old.LeaderEpoch, old.PartitionEpoch
	if next.Leader != old.Leader || ReplicasLeft(old, &next) {
		next.LeaderEpoch++
	}
	if next.Equal(old) {
		return *old, false
	}
	next.PartitionEpoch++
	return next, true
}

// lead applies R1, R3 and R4 to the seats: rest are those of seated that may
// lead.
func (s *scene) lead(t *meta.Topic, old *meta.Partition, seated, rest []int32) (isr []int32, leader int32) {
	alone := len(rest) == 1 && !s.sole(t, old, rest[0], seated)
	if old.Leader != meta.NoLeader && slices.Contains(rest, old.Leader) {
		if s.heard(old.Leader) && !alone || len(rest) == len(seated) {
			return rest, old.Leader
		}
		s.deferred++
		return seated, old.Leader
	}
	if alone {
		s.deferred++
		return seated, meta.NoLeader
	}
	others := slices.ContainsFunc(rest, s.heard)
	if b := s.broker(old.Leader); !others && len(rest) > 0 && b != nil && b.Stopping && !b.Fenced && !s.out[b.ID] && s.heard(b.ID) {
		s.deferred++ // it leads on until there is somebody to take over
		return seated, old.Leader
	}
	for _, r := range old.Replicas {
		if slices.Contains(rest, r) && s.heard(r) {
			return rest, r
		}
	}
	for _, r := range rest { // a reassignment may have brought replicas that old had not
		if s.heard(r) {
			return rest, r
		}
	}
	if len(rest) > 0 {
		s.deferred++
		return seated, meta.NoLeader
	}
	return nil, meta.NoLeader
}

// eligible applies R2, R3 and R5 to the ELR.
func (s *scene) eligible(t *meta.Topic, next, old *meta.Partition, lost func(int32) bool) {
	elr := next.ELR
	switch {
	case len(next.ISR) > 0 && next.Leader == meta.NoLeader:
		// Nothing is committed, so the ELR stays as it is.
	case len(next.ISR) >= s.minISR(t, next):
		elr = nil
	default:
		elr = slices.Clone(elr)
		for _, r := range old.ISR {
			if !slices.Contains(elr, r) {
				elr = append(elr, r)
			}
		}
	}
	next.ELR = without(elr, func(r int32) bool {
		return lost(r) || slices.Contains(next.ISR, r) || !slices.Contains(next.Replicas, r)
	})
}

// electOutside looks for a leader where the ISR is empty: in the ELR, then as
// R6 and R7 say.
func (s *scene) electOutside(t *meta.Topic, next, old *meta.Partition, kind election, lost func(int32) Loss) {
	may := func(r int32) bool { return s.mayLead(next, r) && s.heard(r) }
	for _, r := range next.Replicas {
		if slices.Contains(next.ELR, r) && may(r) {
			next.Leader, next.ISR = r, []int32{r}
			next.ELR = without(next.ELR, func(x int32) bool { return x == r })
			if s.minISR(t, next) <= 1 {
				next.ELR = nil
			}
			return
		}
	}
	dirty := meta.NoLeader
	last := old.LastELR
	if len(last) == 0 && old.Leader != meta.NoLeader {
		last = []int32{old.Leader}
	}
	switch {
	case len(next.ELR) == 0 && len(last) == 1 && may(last[0]) && lost(last[0]) != LostAll && slices.Contains(next.Replicas, last[0]):
		dirty = last[0]
	case kind == unclean || s.uncleanAllowed(t):
		if i := slices.IndexFunc(next.Replicas, may); i >= 0 {
			dirty = next.Replicas[i]
		}
	}
	if dirty != meta.NoLeader {
		next.Leader, next.ISR, next.ELR, next.Recovering = dirty, []int32{dirty}, nil, true
	}
}

// settleOn settles the partitions of some brokers that concerns tells of, in
// order.
func (s *scene) settleOn(brokers []int32, concerns func(*meta.Partition) bool) []meta.Record {
	var records []meta.Record
	for t, i := range s.img.Hosted(brokers...) {
		p := t.Partition(i)
		if !concerns(p) {
			continue
		}
		if next, changed := s.settle(t, i, p, *p, online); changed {
			records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: next})
		}
	}
	return records
}

// without copies a list but for what drop tells of; an empty list is nil.
func without(list []int32, drop func(int32) bool) []int32 {
	var out []int32
	for i, r := range list {
		if !drop(r) {
			if out == nil {
				out = make([]int32, 0, len(list)-i)
			}
			out = append(out, r)
		}
	}
	return out
}
