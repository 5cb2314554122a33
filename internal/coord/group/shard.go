// SPDX-License-Identifier: Apache-2.0

// Package group is the shard of one partition of __consumer_offsets: the groups
// whose ids hash to it, and the offsets that they and their like committed. It
// routes each record to the kind of group that it belongs to and keeps the
// offsets itself; how a group's members agree is told in package classic.
//
// It is pure: no clock, lock, goroutine, network or randomness. Package coord's
// runtime calls it from one loop, gives it the time, and carries out what it
// decides. It speaks Kafka's requests and record formats (package kmsg) and
// knows nothing of connections, logs or the cluster.
//
// # Two views
//
// What is written but not yet committed may still be lost with the partition's
// leadership. Operations decide on the written state, for a second commit must
// see the first. Reads see the committed one, and never wait for it:
//
//	Replay(offset, r) --> written state ---+
//	                 \--> queue (offset)   | decide
//	Committed(upTo) ----> committed view --+ read
//
// A slot of an offset, and an entry of a group, holds both; the queue says what
// is to be moved over when the log is committed up to there.
//
// The inner state of a classic group (members, generation, who waits) is not in
// the log at all for the most part and has one view only, as in Kafka.
package group

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/alarm"
	"gregor/internal/coord/group/classic"
)

// Config is the broker's part of the rules.
type Config struct {
	Classic classic.Config

	OffsetRetention time.Duration // offsets.retention.minutes
	RetentionCheck  time.Duration // offsets.retention.check.interval.ms
	MaxMetadata     int           // offset.metadata.max.bytes
}

// Stats count what happened since the shard was loaded.
type Stats struct {
	OffsetCommits   int64
	OffsetDeletions int64
	OffsetsExpired  int64
	Rebalances      int64 // rebalances that ended in a stable group
}

// Add adds x to s.
func (s *Stats) Add(x Stats) {
	s.OffsetCommits += x.OffsetCommits
	s.OffsetDeletions += x.OffsetDeletions
	s.OffsetsExpired += x.OffsetsExpired
	s.Rebalances += x.Rebalances
}

// Shard is one partition's groups and offsets. Its loop owns it.
type Shard struct {
	cfg    *Config
	groups map[string]*entry
	queue  []change
	alarms alarm.Queue[*entry]
	expire time.Time         // when expired offsets are looked for next
	open   map[int64][]place // where producers have pending offsets
	stats  Stats
}

// entry is all that goes under one group id.
type entry struct {
	id      string
	group   *classic.Group             // written; nil: deleted
	visible *classic.Group             // committed; nil: not yet, or no more
	topics  map[string]map[int32]*slot // offsets
	queued  int                        // changes of it that are not committed yet
	open    int                        // pending offsets of open transactions
	alarm   time.Time                  // the earliest of the group's alarms; zero: none
}

// Name and Alarm meet alarm.Thing.
func (e *entry) Name() string { return e.id }

// Alarm is when the group wants to be looked at.
func (e *entry) Alarm() *time.Time { return &e.alarm }

// slot is the offset of one partition, in both views; nil is none.
type slot struct {
	written, committed *Offset
	queued             int // changes of it that are not committed yet
	pending            []pending
}

// change is what becomes visible when the log is committed beyond at.
type change struct {
	at        int64
	entry     *entry
	topic     string // "" for a change of the group itself
	partition int32
	slot      *slot
	offset    *Offset
	group     *classic.Group
}

// New makes an empty shard.
func New(cfg *Config) *Shard {
	return &Shard{cfg: cfg, groups: map[string]*entry{}, open: map[int64][]place{}}
}

func (s *Shard) entry(id string) *entry {
	e := s.groups[id]
	if e == nil {
		e = &entry{id: id}
		s.groups[id] = e
	}
	return e
}

// group returns the written group, or nil.
func (s *Shard) group(id string) *classic.Group {
	if e := s.groups[id]; e != nil {
		return e.group
	}
	return nil
}

// tidy forgets an entry of which nothing is left, and of which the queue does
// not speak any more.
func (s *Shard) tidy(e *entry) {
	if e.group == nil && e.visible == nil && len(e.topics) == 0 && e.queued == 0 {
		delete(s.groups, e.id)
	}
}

// --- Records

// Replay applies a record that is in the log at offset.
func (s *Shard) Replay(offset int64, r coord.Record) error {
	kind, err := keyKind(r.Key)
	if err != nil {
		return err
	}
	switch {
	case kind == keyOffset || kind == keyOffsetOld:
		k := kmsg.NewOffsetCommitKey()
		if err := k.ReadFrom(r.Key); err != nil {
			return err
		}
		var o *Offset
		if r.Value != nil {
			if o, err = readOffset(r.Value); err != nil {
				return err
			}
		}
		s.replayOffset(offset, k.Group, k.Topic, k.Partition, o)
	case kind == keyGroup:
		k := kmsg.NewGroupMetadataKey()
		if err := k.ReadFrom(r.Key); err != nil {
			return err
		}
		var g *classic.Group
		if r.Value != nil {
			if g, err = classic.Restore(&s.cfg.Classic, k.Group, r.Value); err != nil {
				return err
			}
		} else if s.groups[k.Group] == nil {
			return nil
		}
		s.setGroup(offset, s.entry(k.Group), g)
	case kind < 0 || kind > keyLastKnown:
		return errUnknownKey
	}
	return nil
}

func (s *Shard) setGroup(at int64, e *entry, g *classic.Group) {
	e.group = g
	e.alarm = time.Time{}
	s.enqueue(change{at: at, entry: e, group: g})
}

func (s *Shard) replayOffset(at int64, group, topic string, partition int32, o *Offset) {
	if o == nil {
		e := s.groups[group]
		if e == nil {
			return
		}
		if sl := e.topics[topic][partition]; sl != nil {
			sl.written = nil
			e.open -= len(sl.pending)
			sl.pending = nil
			s.enqueue(change{at: at, entry: e, topic: topic, partition: partition, slot: sl})
		}
		return
	}
	o.at = at
	e, sl := s.makeSlot(at, group, topic, partition, o)
	sl.written = o
	s.enqueue(change{at: at, entry: e, topic: topic, partition: partition, slot: sl, offset: o})
}

// makeSlot finds the slot that a record for offset o is for, or makes it.
func (s *Shard) makeSlot(at int64, group, topic string, partition int32, o *Offset) (*entry, *slot) {
	e := s.entry(group)
	if e.group == nil {
		// Offsets of a group that nobody is a member of: a simple group.
		s.setGroup(at, e, classic.New(&s.cfg.Classic, group, time.UnixMilli(o.CommittedAt)))
	}
	sl := e.topics[topic][partition]
	if sl == nil {
		sl = &slot{}
		if e.topics == nil {
			e.topics = map[string]map[int32]*slot{}
		}
		if e.topics[topic] == nil {
			e.topics[topic] = map[int32]*slot{}
		}
		e.topics[topic][partition] = sl
	}
	return e, sl
}

// tidySlot forgets a slot of which nothing is left.
func (s *Shard) tidySlot(at place) {
	sl := at.slot
	if sl.committed == nil && sl.written == nil && sl.queued == 0 && len(sl.pending) == 0 {
		parts := at.entry.topics[at.topic]
		delete(parts, at.partition)
		if len(parts) == 0 {
			delete(at.entry.topics, at.topic)
		}
	}
	s.tidy(at.entry)
}

func (s *Shard) enqueue(c change) {
	c.entry.queued++
	if c.slot != nil {
		c.slot.queued++
	}
	s.queue = append(s.queue, c)
}

// Committed moves the committed view to upTo.
func (s *Shard) Committed(upTo int64) {
	n := 0
	for n < len(s.queue) && s.queue[n].at < upTo {
		c := s.queue[n]
		s.queue[n] = change{}
		n++
		c.entry.queued--
		if c.slot == nil {
			c.entry.visible = c.group
			s.tidy(c.entry)
			continue
		}
		c.slot.queued--
		c.slot.committed = c.offset
		s.tidySlot(place{c.entry, c.slot, c.topic, c.partition})
	}
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
}

// --- Timers

// watch sets the alarm of a group that may have set a timer.
func (s *Shard) watch(e *entry) {
	if e.group == nil {
		return
	}
	s.alarms.Set(e, e.group.Next())
}

// Next is when Tick wants to be called.
func (s *Shard) Next() time.Time {
	if at := s.alarms.Next(); !at.IsZero() && (s.expire.IsZero() || at.Before(s.expire)) {
		return at
	}
	return s.expire
}

// Tick fires the timers of groups, or looks for expired offsets.
func (s *Shard) Tick(now time.Time) coord.Result {
	var r coord.Result
	ticked := false
	for e, ok := s.alarms.Due(now); ok; e, ok = s.alarms.Due(now) {
		if e.group == nil {
			continue
		}
		s.merge(&r, e.group.Tick(now))
		s.watch(e)
		ticked = true
	}
	if !ticked && !s.expire.IsZero() && !s.expire.After(now) {
		return s.expireOffsets(now)
	}
	return r
}

// merge joins what several groups decided at one time. Their records do not
// depend on each other.
func (s *Shard) merge(r *coord.Result, x coord.Result) {
	r.Records = append(r.Records, x.Records...)
	r.Applied, r.Divisible = true, true
	r.Answers = append(r.Answers, x.Answers...)
	r.Notes = append(r.Notes, x.Notes...)
}

// Loaded starts all timers.
func (s *Shard) Loaded(now time.Time) coord.Result {
	var r coord.Result
	for _, id := range s.sorted() {
		if e := s.groups[id]; e.group != nil {
			s.merge(&r, e.group.Loaded(now))
			s.watch(e)
		}
	}
	s.expire = now.Add(s.cfg.RetentionCheck)
	return r
}

func (s *Shard) sorted() []string { return slices.Sorted(maps.Keys(s.groups)) }

// --- Groups

// settle lets a group be seen once a record of it is in the log.
func (s *Shard) settle(e *entry, g *classic.Group, r coord.Result) coord.Result {
	s.watch(e)
	if len(r.Records) == 0 {
		return r
	}
	then := r.Settled
	r.Settled = func(now time.Time, written bool, err error) coord.Result {
		if written && e.group == g {
			e.visible = g
		}
		if then == nil {
			return coord.Result{}
		}
		before := g.State()
		next := then(now, written, err)
		if before != classic.Stable && g.State() == classic.Stable {
			s.stats.Rebalances++
		}
		return s.settle(e, g, next)
	}
	return r
}

func joinAnswer(t coord.Ticket, member string, err error) coord.Result {
	reply := kmsg.NewPtrJoinGroupResponse()
	reply.Generation = -1
	reply.MemberID = member
	reply.ErrorCode = coord.Code(err)
	return coord.Result{Answers: []coord.Answer{{To: t, Reply: reply}}}
}

// Join handles a JoinGroup of the call t, which is answered with a
// *kmsg.JoinGroupResponse.
func (s *Shard) Join(now time.Time, t coord.Ticket, req *kmsg.JoinGroupRequest, who classic.Caller) coord.Result {
	e := s.groups[req.Group]
	if e == nil || e.group == nil {
		if req.MemberID != "" {
			return joinAnswer(t, req.MemberID, kerr.UnknownMemberID)
		}
		return s.joinFresh(now, t, req, who)
	}
	return s.settle(e, e.group, e.group.Join(now, t, req, who))
}

// joinFresh handles the first join of a group. A record makes it known.
//
// Differs from Kafka: a join that is refused leaves no group behind.
func (s *Shard) joinFresh(now time.Time, t coord.Ticket, req *kmsg.JoinGroupRequest, who classic.Caller) coord.Result {
	g := classic.New(&s.cfg.Classic, req.Group, now)
	fresh := g.Fresh()
	r := g.Join(now, t, req, who)
	if g.Vacant() {
		return r
	}
	e := s.entry(req.Group)
	e.group, e.alarm = g, time.Time{}
	r.Records = []coord.Record{fresh}
	r.Applied = true
	r.Settled = func(now time.Time, written bool, err error) coord.Result {
		if written || e.group != g {
			return coord.Result{}
		}
		e.group = nil // there is no such group after all
		s.tidy(e)
		return g.Drop(coord.ClientError(err))
	}
	return s.settle(e, g, r)
}

// Sync handles a SyncGroup of the call t, which is answered with a
// *kmsg.SyncGroupResponse.
func (s *Shard) Sync(now time.Time, t coord.Ticket, req *kmsg.SyncGroupRequest) coord.Result {
	e := s.groups[req.Group]
	if e == nil || e.group == nil {
		reply := kmsg.NewPtrSyncGroupResponse()
		reply.ErrorCode = kerr.UnknownMemberID.Code
		return coord.Result{Answers: []coord.Answer{{To: t, Reply: reply}}}
	}
	return s.settle(e, e.group, e.group.Sync(now, t, req))
}

// Heartbeat answers with a *kmsg.HeartbeatResponse.
func (s *Shard) Heartbeat(now time.Time, req *kmsg.HeartbeatRequest) coord.Result {
	e := s.groups[req.Group]
	if e == nil || e.group == nil {
		return coord.Result{Err: kerr.UnknownMemberID}
	}
	reply := kmsg.NewPtrHeartbeatResponse()
	reply.ErrorCode = coord.Code(e.group.Heartbeat(now, req))
	s.watch(e)
	return coord.Result{Reply: reply}
}

// Leave answers with a *kmsg.LeaveGroupResponse that has an error for each
// member, whatever the request's version.
func (s *Shard) Leave(now time.Time, req *kmsg.LeaveGroupRequest) coord.Result {
	e := s.groups[req.Group]
	if e == nil || e.group == nil {
		reply := kmsg.NewPtrLeaveGroupResponse()
		for _, m := range req.Members {
			reply.Members = append(reply.Members, kmsg.LeaveGroupResponseMember{
				MemberID: m.MemberID, InstanceID: m.InstanceID, ErrorCode: kerr.UnknownMemberID.Code,
			})
		}
		return coord.Result{Reply: reply}
	}
	return s.settle(e, e.group, e.group.Leave(now, req))
}

// DeleteGroups deletes the empty ones of the groups with all their offsets, and
// answers with a []kmsg.DeleteGroupsResponseGroup.
//
// Differs from Kafka: the records may be spread over several batches, the
// group's own last, so that a group with very many offsets can be deleted.
func (s *Shard) DeleteGroups(ids []string) coord.Result {
	r := coord.Result{Divisible: true}
	replies := make([]kmsg.DeleteGroupsResponseGroup, 0, len(ids))
	for _, id := range ids {
		reply := kmsg.NewDeleteGroupsResponseGroup()
		reply.Group = id
		if g := s.group(id); g == nil {
			reply.ErrorCode = kerr.GroupIDNotFound.Code
		} else if err := g.CheckDelete(); err != nil {
			reply.ErrorCode = coord.Code(err)
		} else {
			n := len(r.Records)
			s.groups[id].eachSlot(func(topic string, partition int32, sl *slot) {
				if sl.held() {
					r.Records = append(r.Records, offsetTombstone(id, topic, partition))
				}
			})
			s.stats.OffsetDeletions += int64(len(r.Records) - n)
			r.Records = append(r.Records, coord.Record{Key: classic.Key(id)})
			r.Notes = append(r.Notes, coord.Note{Text: "group deleted", Subject: id, Generation: g.Generation()})
		}
		replies = append(replies, reply)
	}
	r.Reply = replies
	return r
}

// Describe tells of a committed group; false: there is none.
func (s *Shard) Describe(id string) (kmsg.DescribeGroupsResponseGroup, bool) {
	if e := s.groups[id]; e != nil && e.visible != nil {
		return e.visible.Describe(), true
	}
	d := kmsg.NewDescribeGroupsResponseGroup()
	d.Group, d.State = id, classic.Dead.String()
	return d, false
}

// List tells of the committed groups that pass the filters, which are
// case-insensitive; an empty filter passes all.
func (s *Shard) List(states, types []string) []kmsg.ListGroupsResponseGroup {
	var all []kmsg.ListGroupsResponseGroup
	if !passes(types, "classic") {
		return nil
	}
	for _, id := range s.sorted() {
		g := s.groups[id].visible
		if g == nil || !passes(states, g.State().String()) {
			continue
		}
		l := kmsg.NewListGroupsResponseGroup()
		l.Group, l.ProtocolType = id, g.ProtocolType()
		l.GroupState, l.GroupType = g.State().String(), "classic"
		all = append(all, l)
	}
	return all
}

func passes(filter []string, s string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return strings.EqualFold(strings.TrimSpace(f), s)
	})
}

// EachGroup calls fn for the committed groups, in the order of their ids.
func (s *Shard) EachGroup(fn func(id string, g *classic.Group)) {
	for _, id := range s.sorted() {
		if g := s.groups[id].visible; g != nil {
			fn(id, g)
		}
	}
}

// Stats returns the counts.
func (s *Shard) Stats() Stats { return s.stats }
