// SPDX-License-Identifier: Apache-2.0

package api

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Incremental fetch sessions (KIP-227): the broker remembers the partitions a
// client fetches and what it was last told of each, so that requests name only
// what changed and responses leave out what did not.
//
//	session id, epoch   meaning
//	(0, -1)             no session wanted (and versions below 7)
//	(0, 0)              make one
//	(id, 0)             forget that one and make another
//	(id, -1)            forget that one
//	(id, n)             the n-th request of that session
//
// A cache holds so many sessions. A new one takes the place of the one unused
// for longest, if that is for two minutes; else of the smallest, if the new
// one is larger, and if that was made two minutes ago or the new one is a
// follower's and that a consumer's.
//
// Concurrency: the cache's mutex guards the map and what decides evictions; a
// session's own guards its partitions and epoch. Order: cache, then session.

const (
	noSession    = 0
	finalEpoch   = -1
	initialEpoch = 0
	// sessionEviction is how long a session is safe.
	sessionEviction = 2 * time.Minute
	// maxSessionPartitions bounds what all sessions remember together.
	// Differs from Kafka: it has no bound. Beyond it a client gets no session,
	// and works without.
	maxSessionPartitions = 200_000
)

func nextEpoch(epoch int32) int32 {
	switch {
	case epoch < 0:
		return finalEpoch
	case epoch == 1<<31-1:
		return 1
	}
	return epoch + 1
}

// partKey is how a session names a partition: by name, or by id from version
// 13 on, the other being zero.
type partKey struct {
	topic string
	id    [16]byte
	index int32
}

// sessionPart is one remembered partition, in a ring in the order of serving.
type sessionPart struct {
	key              partKey
	maxBytes         int32
	offset           int64
	leaderEpoch      int32
	lastFetchedEpoch int32
	highWatermark    int64 // as last told
	logStart         int64 // as last told

	prev, next *sessionPart
}

func (p *sessionPart) update(q *fetchPart) {
	p.maxBytes, p.offset = q.maxBytes, q.offset
	p.leaderEpoch, p.lastFetchedEpoch = q.leaderEpoch, q.lastFetchedEpoch
}

type session struct {
	id         int32
	privileged bool
	usesIDs    bool
	created    time.Time
	lastUsed   time.Time // guarded by the cache
	size       int       // as the cache knows it; guarded by the cache

	mu    sync.Mutex
	epoch int32 // of the next request
	parts map[partKey]*sessionPart
	ring  sessionPart // sentinel
}

func (s *session) add(p *sessionPart) {
	s.parts[p.key] = p
	s.pushBack(p)
}

func (s *session) pushBack(p *sessionPart) {
	last := s.ring.prev
	p.prev, p.next = last, &s.ring
	last.next, s.ring.prev = p, p
}

func (p *sessionPart) unlink() {
	p.prev.next, p.next.prev = p.next, p.prev
	p.prev, p.next = nil, nil
}

// Sessions is the cache of fetch sessions.
type Sessions struct {
	max int

	mu         sync.Mutex
	byID       map[int32]*session
	partitions int
	evictions  int64
}

// NewSessions makes a cache for so many sessions
// (max.incremental.fetch.session.cache.slots).
func NewSessions(slots int) *Sessions {
	return &Sessions{max: slots, byID: map[int32]*session{}}
}

// SessionStats are for metrics.
type SessionStats struct {
	Sessions, Partitions int
	Evictions            int64
}

func (c *Sessions) Stats() SessionStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return SessionStats{len(c.byID), c.partitions, c.evictions}
}

func (c *Sessions) removeLocked(s *session) {
	if c.byID[s.id] == s {
		delete(c.byID, s.id)
		c.partitions -= s.size
	}
}

// size is how many partitions a session has; 0 when there is no such one.
func (c *Sessions) size(id int32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil {
		return s.size
	}
	return 0
}

// forget removes a session, if there is such a one.
func (c *Sessions) forget(id int32) {
	c.mu.Lock()
	if s := c.byID[id]; s != nil {
		c.removeLocked(s)
	}
	c.mu.Unlock()
}

// create makes a session of what a full fetch asked and was told; nil when
// there is no room.
func (c *Sessions) create(now time.Time, privileged, usesIDs bool, parts []fetchPart) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fitsLocked(now, len(parts)) {
		return nil
	}
	if len(c.byID) >= c.max && !c.evictLocked(now, privileged, len(parts)) {
		return nil
	}
	id := rand.Int32()
	for id == noSession || c.byID[id] != nil {
		id = rand.Int32()
	}
	s := &session{id: id, privileged: privileged, usesIDs: usesIDs, created: now, lastUsed: now,
		epoch: nextEpoch(initialEpoch), parts: make(map[partKey]*sessionPart, len(parts))}
	s.ring.prev, s.ring.next = &s.ring, &s.ring
	for i := range parts {
		q := &parts[i]
		if s.parts[q.key] != nil {
			continue
		}
		p := &sessionPart{key: q.key}
		p.update(q)
		p.highWatermark, p.logStart = q.read.HighWatermark, q.read.LogStart
		s.add(p)
	}
	s.size = len(s.parts)
	c.partitions += s.size
	c.byID[id] = s
	return s
}

// fitsLocked tells whether so many partitions more can be remembered. Sessions
// that have been unused for long give way to them.
func (c *Sessions) fitsLocked(now time.Time, more int) bool {
	if c.partitions+more <= maxSessionPartitions {
		return true
	}
	for _, s := range c.byID {
		if now.Sub(s.lastUsed) > sessionEviction {
			c.removeLocked(s)
			c.evictions++
			if c.partitions+more <= maxSessionPartitions {
				return true
			}
		}
	}
	return false
}

// evictLocked makes room for one session of so many partitions.
func (c *Sessions) evictLocked(now time.Time, privileged bool, size int) bool {
	var oldest, least *session
	for _, s := range c.byID {
		if oldest == nil || s.lastUsed.Before(oldest.lastUsed) || s.lastUsed.Equal(oldest.lastUsed) && s.id < oldest.id {
			oldest = s
		}
		old := s.lastUsed.Sub(s.created) > sessionEviction
		if old || privileged && !s.privileged {
			if least == nil || s.lessValuable(least.privileged, least.size, least.id) {
				least = s
			}
		}
	}
	switch {
	case oldest == nil:
		return false
	case now.Sub(oldest.lastUsed) > sessionEviction:
		least = oldest
	case least == nil || !least.lessValuable(privileged, size, 0):
		return false
	}
	c.removeLocked(least)
	c.evictions++
	return true
}

// lessValuable orders sessions by privilege, size and id.
func (s *session) lessValuable(privileged bool, size int, id int32) bool {
	switch {
	case s.privileged != privileged:
		return !s.privileged
	case s.size != size:
		return s.size < size
	}
	return s.id < id
}

// incremental finds the session of a request that continues one, takes over
// the request's changes, and lists all its partitions in parts. A session left
// without partitions ends, and nil is returned: the request is then served as
// it stands, without one.
func (c *Sessions) incremental(now time.Time, q *fetchRequest, parts []fetchPart, forgotten []partKey) (*session, []fetchPart, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byID[q.sessionID]
	if s == nil {
		return nil, nil, kerr.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != q.sessionEpoch {
		return nil, nil, kerr.InvalidFetchSessionEpoch
	}
	if s.usesIDs != (q.version >= 13) {
		return nil, nil, kerr.FetchSessionTopicIDError
	}
	for i := range parts {
		p := s.parts[parts[i].key]
		if p == nil {
			p = &sessionPart{key: parts[i].key, highWatermark: -1, logStart: -1}
			s.add(p)
		}
		p.update(&parts[i])
	}
	for _, key := range forgotten {
		if p := s.parts[key]; p != nil {
			p.unlink()
			delete(s.parts, key)
		}
	}
	c.partitions += len(s.parts) - s.size
	s.size = len(s.parts)
	if s.size == 0 {
		c.removeLocked(s)
		return nil, parts, nil
	}
	s.lastUsed = now
	if !c.fitsLocked(now, 0) {
		c.removeLocked(s)
		return nil, nil, kerr.FetchSessionIDNotFound
	}
	s.epoch = nextEpoch(s.epoch)
	parts = parts[:0]
	for p := s.ring.next; p != &s.ring; p = p.next {
		parts = append(parts, fetchPart{key: p.key, cached: p, maxBytes: p.maxBytes, offset: p.offset,
			leaderEpoch: p.leaderEpoch, lastFetchedEpoch: p.lastFetchedEpoch})
	}
	return s, parts, nil
}

// told marks which parts a response of the session has to name, and remembers
// what they are told. Parts with records go to the end of the ring, so that
// all get their turn. It is an error when another request of the session has
// come meanwhile.
func (s *session) told(asked int32, parts []fetchPart) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != nextEpoch(asked) {
		return kerr.InvalidFetchSessionEpoch
	}
	for i := range parts {
		q := &parts[i]
		p := q.cached
		r := &q.read
		q.omit = q.code == 0 && r.Slice.N == 0 && r.PreferredReplica < 0 && r.Diverging == nil &&
			p.highWatermark == r.HighWatermark && p.logStart == r.LogStart
		if q.omit {
			continue
		}
		p.highWatermark, p.logStart = r.HighWatermark, r.LogStart
		if q.code != 0 {
			p.highWatermark = -1 // so that it is told when the error is gone
		}
		if r.Slice.N > 0 && s.parts[p.key] == p {
			p.unlink()
			s.pushBack(p)
		}
	}
	return nil
}
