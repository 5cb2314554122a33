// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/replica"
	"gregor/internal/wire"
)

// Fetches of replicas.
//
// They are Fetch requests with a replica state, versions 15 and up, and what
// Kafka has no field for in tags of ours (docs/formats/replication.md). They
// differ from those of consumers in this:
//
//   - they read up to the log end, and tell the leader by where they read, and
//     by the tag, what the follower has written and flushed
//   - their sessions belong to a connection and end with it, and wait at the
//     gates of all their partitions for as long as they live: a request costs
//     what it names and what has moved since, not what the session holds
//   - one that waits is answered at once when records come, and hwLinger after
//     the high watermark has moved: followers serve readers up to it, but an
//     answer for each move would double the number of fetches
//   - a partition that a throttle holds back gives no records and wakes nobody
//     until that is over; its position is taken, and its watermark told
//   - key 32004 overtakes one that waits: it tells what the follower has flushed
//     since, or asks for the answer because the follower has more to name
//
// What a partition of a session goes through:
//
//	mentioned ──┐                          ┌ records, news ── in the answer
//	            ├─ read, position taken ───┤
//	moved ──────┘ (moved: no position)     ├ no room left ── moved, first in line
//	                                       └ error ── in the answer, out of the session
//
// Concurrency: a session's mu belongs to the request that it serves; it may be
// held while a partition's is taken. queueMu is a leaf, taken under a
// partition's mutex by whoever moves the partition.

// hwLinger is how long news of a high watermark waits for company.
const hwLinger = 5 * time.Millisecond

// maxReplicaSessions bounds the sessions of one replica: its lanes, and those
// whose connection has not been found dead yet.
const maxReplicaSessions = 32

// followers are the sessions of replicas.
type followers struct {
	mu   sync.Mutex // guards byID; a leaf but for nothing
	byID map[int32]*followSession
}

// followSession is one replica's session on one connection.
type followSession struct {
	id      int32
	replica int32
	epoch   atomic.Int32 // of the last request
	conn    *wire.Conn
	made    time.Time
	undo    func() bool // of the end with the connection

	mu    sync.Mutex
	parts map[partKey]*followPart
	turn  uint64 // counts requests, so that a partition is listed once
	ended bool

	queueMu  sync.Mutex
	queue    []*followPart // moved since they were read
	arrived  int           // bytes of those moves, while nobody was parked
	parked   *followWait
	released int32 // requests up to this epoch do not wait
}

// followPart is one partition of a session, and its Waker.
type followPart struct {
	s     *followSession
	key   partKey
	asked fetchPart // as last mentioned
	p     Partition // watched, nil: not found yet

	moved bool // in the queue; guarded by queueMu
	rests bool // a throttle holds its records back; guarded by queueMu
	turn  uint64

	highWatermark, logStart int64 // as last told
}

// Wake is called under the partition's mutex.
func (p *followPart) Wake(newBytes int) {
	s := p.s
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	if p.rests {
		return // it is read again when that is over
	}
	if !p.moved {
		p.moved = true
		s.queue = append(s.queue, p)
	}
	if w := s.parked; w != nil {
		if newBytes == 0 {
			w.linger()
		} else {
			w.Wake(newBytes)
		}
	} else {
		s.arrived = min(s.arrived+newBytes, 1<<30)
	}
}

// again puts a partition in line without waking anybody.
func (p *followPart) again() {
	p.s.queueMu.Lock()
	if !p.moved {
		p.moved = true
		p.s.queue = append(p.s.queue, p)
	}
	p.s.queueMu.Unlock()
}

// rest wakes nobody for the partition's sake until the time is over.
func (p *followPart) rest(d time.Duration) {
	p.s.queueMu.Lock()
	defer p.s.queueMu.Unlock()
	if p.rests {
		return
	}
	p.rests = true
	time.AfterFunc(d, func() {
		p.s.queueMu.Lock()
		p.rests = false
		p.s.queueMu.Unlock()
		p.Wake(1)
	})
}

// open makes a session.
func (x *followers) open(ctx context.Context, c *Call, replica int32) *followSession {
	s := &followSession{replica: replica, conn: c.Conn, made: time.Now(), parts: map[partKey]*followPart{}}
	x.mu.Lock()
	var oldest *followSession
	n := 0
	for _, o := range x.byID {
		if o.replica == replica {
			if n++; oldest == nil || o.made.Before(oldest.made) {
				oldest = o
			}
		}
	}
	for s.id == noSession || x.byID[s.id] != nil {
		s.id = rand.Int32()
	}
	x.byID[s.id] = s
	x.mu.Unlock()
	if n >= maxReplicaSessions {
		x.close(oldest)
	}
	s.undo = context.AfterFunc(ctx, func() { x.close(s) })
	return s
}

// find is the session of a request, if it may have it.
func (x *followers) find(c *Call, q *fetchRequest) (*followSession, error) {
	x.mu.Lock()
	s := x.byID[q.sessionID]
	x.mu.Unlock()
	switch {
	case s == nil || s.conn != c.Conn || s.replica != q.replica:
		return nil, kerr.FetchSessionIDNotFound
	case q.sessionEpoch != nextEpoch(s.epoch.Load()):
		return nil, kerr.InvalidFetchSessionEpoch
	}
	s.epoch.Store(q.sessionEpoch)
	return s, nil
}

// close ends a session and leaves the gates.
func (x *followers) close(s *followSession) {
	x.mu.Lock()
	delete(x.byID, s.id)
	x.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, p := range s.parts {
		s.leave(p)
	}
}

// leave takes a partition out; mu is held.
func (s *followSession) leave(p *followPart) {
	if p.p != nil {
		p.p.Forget(p)
		p.p = nil
	}
	if s.parts[p.key] == p {
		delete(s.parts, p.key)
	}
}

// release lets the request with that epoch go, and those before it.
func (x *followers) release(replica, id, epoch int32) {
	x.mu.Lock()
	s := x.byID[id]
	x.mu.Unlock()
	if s == nil || s.replica != replica {
		return
	}
	s.queueMu.Lock()
	s.released = max(s.released, epoch)
	if s.parked != nil && s.epoch.Load() <= s.released {
		s.parked.finish()
	}
	s.queueMu.Unlock()
}

// serveReplica is serve for a replica. s holds the partitions named.
func (f *Fetch) serveReplica(ctx context.Context, c *Call, s *fetched) (wire.Reply, wire.Pending) {
	if f.cfg.Inner != nil && !f.cfg.Inner(c.Listener()) {
		return s.refuse(kerr.ClusterAuthorizationFailed), nil
	}
	q := &s.q
	switch q.sessionEpoch {
	case finalEpoch: // no session: a request for itself
		if q.sessionID != noSession {
			f.endSession(q)
		}
		s.follow = &followSession{replica: q.replica, parts: map[partKey]*followPart{}}
		defer func(x *followSession) { f.followers.close(x) }(s.follow)
	case initialEpoch:
		f.endSession(q)
		s.follow = f.followers.open(ctx, c, q.replica)
	default:
		session, err := f.followers.find(c, q)
		if err != nil {
			return s.refuse(err), nil
		}
		s.follow = session
	}
	x := s.follow
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return s.refuse(kerr.FetchSessionIDNotFound), nil
	}
	x.turn++
	for _, key := range s.forgotten {
		if p := x.parts[key]; p != nil {
			x.leave(p)
		}
	}
	for i := range s.parts {
		asked := &s.parts[i]
		p := x.parts[asked.key]
		if p == nil {
			p = &followPart{s: x, key: asked.key, highWatermark: -1, logStart: -1}
			x.parts[asked.key] = p
		}
		asked.mentioned, asked.follow = true, p
		p.asked, p.turn = *asked, x.turn
	}
	x.take(s)
	s.readFollowed(c)
	wait := time.Duration(q.maxWait) * time.Millisecond
	if wait <= 0 || s.urgent || s.bytes >= s.minBytes() || len(x.parts) == 0 || q.sessionEpoch == finalEpoch {
		return s.reply(), nil
	}
	w := &followWait{s: s, done: make(chan struct{})}
	w.missing.Store(int64(s.minBytes() - s.bytes))
	for i := range s.parts {
		if p := &s.parts[i]; p.read.Slice.N > 0 || p.news() {
			p.follow.again() // to be read again with the answer
			w.lingers = true
		}
	}
	s.drop()
	s.f.cfg.Memory.release(s.held)
	s.held = 0
	s.parts = s.parts[:0]
	x.queueMu.Lock()
	defer x.queueMu.Unlock()
	if x.released >= q.sessionEpoch {
		wait = 0
	}
	w.timer = time.AfterFunc(wait, w.finish)
	switch {
	case x.arrived > 0: // since it was read
		w.Wake(x.arrived)
		fallthrough
	case w.lingers, len(x.queue) > 0:
		w.lingers = false
		w.linger()
	}
	x.parked = w
	return wire.Reply{}, w
}

func (f *Fetch) endSession(q *fetchRequest) {
	f.followers.mu.Lock()
	old := f.followers.byID[q.sessionID]
	f.followers.mu.Unlock()
	if old != nil && old.replica == q.replica {
		old.undo()
		f.followers.close(old)
	}
}

// refuse answers with an error of the whole request.
func (s *fetched) refuse(err error) wire.Reply {
	s.failure = codeOf(err)
	s.parts = s.parts[:0]
	s.follow = nil
	return s.reply()
}

// take lists what has moved after what was mentioned. mu is held.
func (s *followSession) take(r *fetched) {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	for _, p := range s.queue {
		p.moved = false
		if p.turn == s.turn || s.parts[p.key] != p {
			continue
		}
		p.turn = s.turn
		part := p.asked
		part.mentioned = false
		r.parts = append(r.parts, part)
	}
	clear(s.queue)
	s.queue, s.arrived = s.queue[:0], 0
}

// readFollowed reads the partitions listed. mu of the session is held.
func (s *fetched) readFollowed(c *Call) {
	s.bytes, s.urgent = 0, false
	s.leaders = s.leaders[:0]
	left := s.maxBytes()
	var at replica.FollowerPosition
	for i := range s.parts {
		p := &s.parts[i]
		p.code, p.leader = 0, -1
		now, err := s.find(&p.key)
		if err == nil && now != p.follow.p {
			if p.follow.p != nil {
				p.follow.p.Forget(p.follow)
				p.follow.p = nil
			}
			if now.Watch(p.follow) {
				p.follow.p = now
			}
		}
		p.partition = now
		if err == nil {
			r := ReadRequest{
				From: p.offset, MaxBytes: max(0, min(int(p.maxBytes), left)), MinOne: s.bytes == 0, Isolation: ReadLogEnd,
				LeaderEpoch: p.leaderEpoch, LastFetchedEpoch: p.lastFetchedEpoch, Replica: s.q.replica, ReplicaEpoch: s.q.replicaEpoch,
			}
			if p.mentioned {
				at = replica.FollowerPosition{Replica: s.q.replica, BrokerEpoch: s.q.replicaEpoch, Cut: p.cut, Flushed: p.flushed, Start: p.start}
				r.Follower = &at
			}
			p.read, err = now.Read(r)
		}
		if err != nil {
			start, end := p.read.LogStart, p.read.ReadableEnd
			s.fail(c, p, err)
			if p.code == kerr.OffsetOutOfRange.Code { // a follower goes on there
				p.read.LogStart, p.end = start, end
			}
			s.follow.leave(p.follow)
			continue
		}
		switch n := p.read.Slice.N; {
		case n > 0:
			s.bytes += n
			left = max(0, left-n)
		case p.read.Diverging != nil:
			s.urgent = true
		case p.read.Rest > 0:
			p.follow.rest(p.read.Rest)
		case p.read.ReadableEnd > p.offset:
			p.follow.again() // no room was left
		}
	}
}

// find is the partition of a key.
func (s *fetched) find(k *partKey) (Partition, error) {
	if s.q.version >= 13 {
		return s.f.cfg.Partitions.GetByID(k.id, k.index)
	}
	return s.f.cfg.Partitions.GetName(k.topic, k.index)
}

// news: the follower does not know where the leader is.
func (p *fetchPart) news() bool {
	return p.follow.highWatermark != p.read.HighWatermark || p.follow.logStart != p.read.LogStart
}

// tellFollower marks which parts an answer has to name, and remembers what
// they are told.
func (s *fetched) tellFollower() {
	for i := range s.parts {
		p := &s.parts[i]
		p.omit = s.follow.id != noSession && p.code == 0 && p.read.Slice.N == 0 && p.read.Diverging == nil && !p.news()
		switch {
		case p.omit || p.code != 0:
		case p.read.Diverging != nil:
			// The follower cuts its log, and the watermarks are no use to it
			// yet. Differs from Kafka: there they count as told, and a log that
			// is cut to the leader's end hears of them when they move next.
			p.follow.highWatermark, p.follow.logStart = -1, -1
		default:
			p.follow.highWatermark, p.follow.logStart = p.read.HighWatermark, p.read.LogStart
		}
	}
}

// followWait is a replica's fetch that waits.
type followWait struct {
	s       *fetched
	missing atomic.Int64
	over    atomic.Bool
	done    chan struct{}
	timer   *time.Timer
	lingers bool // guarded by the session's queueMu
}

func (w *followWait) Wake(newBytes int) {
	if w.missing.Add(-int64(newBytes)) <= 0 {
		w.finish()
	}
}

// linger lets the request wait for hwLinger at most; queueMu is held.
func (w *followWait) linger() {
	if !w.lingers {
		w.lingers = true
		w.timer.Reset(hwLinger)
	}
}

func (w *followWait) finish() {
	if !w.over.Swap(true) {
		close(w.done)
	}
}

func (w *followWait) Done() <-chan struct{} { return w.done }
func (w *followWait) ReadOn() bool          { return false }

func (w *followWait) leave() {
	w.timer.Stop()
	x := w.s.follow
	x.queueMu.Lock()
	if x.parked == w {
		x.parked = nil
	}
	x.queueMu.Unlock()
}

// Reply reads what has moved.
func (w *followWait) Reply() wire.Reply {
	w.leave()
	s, x := w.s, w.s.follow
	x.mu.Lock()
	defer x.mu.Unlock()
	x.turn++
	if !x.ended {
		x.take(s)
		s.readFollowed(&Call{})
	}
	return s.reply()
}

// Cancel is called instead of Reply when the connection has died.
func (w *followWait) Cancel() {
	w.leave()
	w.s.Release()
}
