// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group/classic"
)

var errUnknownKey = errors.New("record of __consumer_offsets: key has an unknown type")

// expireAtOnce bounds the tombstones of one Tick, so that the loop stays free
// for its clients while a million offsets expire.
const expireAtOnce = 10_000

// Commit stores offsets and answers with a *kmsg.OffsetCommitResponse that has
// the request's topics in their order. Topics must have names, also where the
// request came with ids.
func (s *Shard) Commit(now time.Time, req *kmsg.OffsetCommitRequest) coord.Result {
	if g := s.group(req.Group); g != nil {
		err := g.CheckCommit(now, req.MemberID, req.InstanceID, req.Generation)
		s.watch(s.groups[req.Group])
		if err != nil {
			return coord.Result{Err: err}
		}
	} else if req.Generation >= 0 {
		if req.Version >= 9 {
			return coord.Result{Err: kerr.GroupIDNotFound}
		}
		return coord.Result{Err: kerr.IllegalGeneration}
	}
	expires := int64(-1)
	if req.RetentionTimeMillis != -1 {
		expires = now.UnixMilli() + req.RetentionTimeMillis
	}
	var r coord.Result
	reply := kmsg.NewPtrOffsetCommitResponse()
	reply.Version = req.Version
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			metadata := ""
			if p.Metadata != nil {
				metadata = *p.Metadata
			}
			if units(metadata) > s.cfg.MaxMetadata {
				rp.ErrorCode = kerr.OffsetMetadataTooLarge.Code
			} else {
				r.Records = append(r.Records, offsetRecord(req.Group, t.Topic, p.Partition, Offset{
					Offset: p.Offset, LeaderEpoch: max(p.LeaderEpoch, -1), Metadata: metadata,
					CommittedAt: now.UnixMilli(), ExpiresAt: expires, TopicID: t.TopicID,
				}))
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		reply.Topics = append(reply.Topics, rt)
	}
	s.stats.OffsetCommits += int64(len(r.Records))
	r.Reply = reply
	return r
}

// units is the length that Java sees: UTF-16 code units.
func units(s string) int {
	if len(s) < 1024 { // no shorter limit is worth the count
		n := utf8.RuneCountInString(s)
		if n == len(s) {
			return n
		}
	}
	n := 0
	for _, r := range s {
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}

// View says which of the two states a read is about.
type View bool

const (
	Committed View = false
	Written   View = true
)

func (v View) of(sl *slot) *Offset {
	if v == Written {
		return sl.written
	}
	return sl.committed
}

// Fetch returns the offset of one partition, or nil. A topic id that is not
// that of the commit (the topic was made anew) means nil too; zero ids match.
func (s *Shard) Fetch(v View, group, topic string, id [16]byte, partition int32) *Offset {
	e := s.groups[group]
	if e == nil {
		return nil
	}
	sl := e.topics[topic][partition]
	if sl == nil {
		return nil
	}
	o := v.of(sl)
	if o == nil || o.TopicID != id && o.TopicID != [16]byte{} && id != [16]byte{} {
		return nil
	}
	return o
}

// FetchAll calls fn for all offsets of a group, by topic and partition.
func (s *Shard) FetchAll(v View, group string, fn func(topic string, partition int32, o *Offset)) {
	if e := s.groups[group]; e != nil {
		e.each(v, fn)
	}
}

func (e *entry) each(v View, fn func(topic string, partition int32, o *Offset)) {
	e.eachSlot(func(topic string, partition int32, sl *slot) {
		if o := v.of(sl); o != nil {
			fn(topic, partition, o)
		}
	})
}

func (e *entry) eachSlot(fn func(topic string, partition int32, sl *slot)) {
	for _, topic := range slices.Sorted(maps.Keys(e.topics)) {
		parts := e.topics[topic]
		for _, p := range slices.Sorted(maps.Keys(parts)) {
			fn(topic, p, parts[p])
		}
	}
}

// held: the log has an offset for the slot, which counts or may yet.
func (sl *slot) held() bool { return sl.written != nil || len(sl.pending) > 0 }

// DeleteOffsets handles an OffsetDelete and answers with a
// *kmsg.OffsetDeleteResponse. Topics that live members consume are refused.
func (s *Shard) DeleteOffsets(req *kmsg.OffsetDeleteRequest) coord.Result {
	g := s.group(req.Group)
	if g == nil {
		return coord.Result{Err: kerr.GroupIDNotFound}
	}
	if err := g.CheckOffsetDelete(); err != nil {
		return coord.Result{Err: err}
	}
	e := s.groups[req.Group]
	var r coord.Result
	reply := kmsg.NewPtrOffsetDeleteResponse()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		subscribed := g.Subscribes(t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			if subscribed {
				rp.ErrorCode = kerr.GroupSubscribedToTopic.Code
			} else if sl := e.topics[t.Topic][p.Partition]; sl != nil && sl.held() {
				r.Records = append(r.Records, offsetTombstone(req.Group, t.Topic, p.Partition))
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		reply.Topics = append(reply.Topics, rt)
	}
	s.stats.OffsetDeletions += int64(len(r.Records))
	r.Reply = reply
	return r
}

// TopicDeleted removes what all groups committed for a topic that is gone.
func (s *Shard) TopicDeleted(topic string) coord.Result {
	r := coord.Result{Divisible: true}
	for _, id := range s.sorted() {
		parts := s.groups[id].topics[topic]
		for _, p := range slices.Sorted(maps.Keys(parts)) {
			if parts[p].held() {
				r.Records = append(r.Records, offsetTombstone(id, topic, p))
			}
		}
	}
	return r
}

// expireOffsets removes what is older than its retention, and empty groups of
// which no offset is left.
func (s *Shard) expireOffsets(now time.Time) coord.Result {
	r := coord.Result{Divisible: true}
	s.expire = now.Add(s.cfg.RetentionCheck)
	for _, id := range s.sorted() {
		e := s.groups[id]
		g := e.group
		if g == nil {
			continue
		}
		if len(r.Records) >= expireAtOnce {
			// Go on when these are written; a log that refuses them is not asked
			// again at once.
			r.Settled = func(now time.Time, _ bool, err error) coord.Result {
				if err == nil {
					s.expire = now
				}
				return coord.Result{}
			}
			break
		}
		since, ok := g.Retention()
		left := e.open > 0
		e.each(Written, func(topic string, partition int32, o *Offset) {
			if !ok || g.Subscribes(topic) || !s.expired(now, since, o) || len(e.topics[topic][partition].pending) > 0 {
				left = true
				return
			}
			r.Records = append(r.Records, offsetTombstone(id, topic, partition))
			s.stats.OffsetsExpired++
		})
		if !left && g.CheckDelete() == nil && g.Vacant() {
			r.Records = append(r.Records, coord.Record{Key: classic.Key(id)})
			r.Notes = append(r.Notes, coord.Note{
				Text: "group deleted", Subject: id, Generation: g.Generation(), Reason: "it is empty and its offsets have expired",
			})
		}
	}
	return r
}

// expired: an offset of an old client says itself when; others count their
// retention from since, or from their commit where since is -1.
func (s *Shard) expired(now time.Time, since int64, o *Offset) bool {
	if o.ExpiresAt >= 0 {
		return now.UnixMilli() >= o.ExpiresAt
	}
	if since < 0 {
		since = o.CommittedAt
	}
	return now.UnixMilli()-since >= s.cfg.OffsetRetention.Milliseconds()
}
