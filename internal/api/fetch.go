// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// Fetch, key 1, versions 4-18
//
// Behaviours:
//   - partitions are read in the order of the request, or of the session, which
//     puts those that gave records last; the sum stays within max bytes, but
//     the first that has records gives at least one batch (KIP-74)
//   - whole batches only; the first may begin before the offset asked for
//   - consumers read up to the high watermark, or the last stable offset, with
//     the aborted transactions that overlap
//   - fewer bytes than min bytes wait, at the gates of all partitions, up to
//     max wait; an error, a divergence or another replica to prefer answers
//     at once
//   - sessions: see fetch_session.go
//   - records are sent from the file, they never pass through here
//
// Versions:
//
//	4   isolation level, aborted transactions (KIP-98)
//	5   log start offset
//	7   sessions (KIP-227)
//	9   current leader epoch (KIP-320)
//	10  zstd (KIP-110)
//	11  rack, preferred replica (KIP-392)
//	12  flexible; last fetched epoch, diverging epoch, current leader (KIP-595)
//	13  topic ids (KIP-516)
//	14  OFFSET_MOVED_TO_TIERED_STORAGE (KIP-405)
//	15  replica state instead of replica id (KIP-903)
//	16  endpoints of current leaders (KIP-951)
//	17  directory id of the replica (KIP-853)
//	18  high watermark of the replica (KIP-1166)

// FetchConfig is what Fetch works with.
type FetchConfig struct {
	Partitions Partitions
	Sessions   *Sessions
	MaxBytes   int          // fetch.max.bytes of the broker; 55 MiB when 0
	Metrics    TopicMetrics // may be nil
	Memory     *Memory      // shared by all families; nil: one of its own
	// Failed is told of errors that are no answer of Kafka's. May be nil.
	Failed func(c *Call, err error)
	// Errors counts partitions that could not be read. May be nil.
	Errors func(key, code int16, n int)
	// Flushed takes news of followers' flushes. May be nil.
	Flushed flushNewsHandler
	// Inner tells whether replicas may fetch over a listener; nil: over all.
	Inner func(listener string) bool
}

// Fetch is the family of key 1.
//
// Concurrency: immutable but for pools and Sessions; a request's state belongs
// to its connection, and to whoever wakes it.
type Fetch struct {
	cfg    FetchConfig
	pool   sync.Pool    // of *fetched
	parked atomic.Int64 // partitions of the fetches that wait

	followers followers
}

// NewFetch makes the family.
func NewFetch(cfg FetchConfig) *Fetch {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 55 << 20
	}
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(0)
	}
	if cfg.Sessions == nil {
		cfg.Sessions = NewSessions(1000)
	}
	return &Fetch{cfg: cfg, followers: followers{byID: map[int32]*followSession{}}}
}

// Routes are the family's rows.
func (f *Fetch) Routes() []Route {
	return []Route{Private(keyFlushNews, f.flushNews), {Key: kmsg.Fetch, Min: 4, Max: 18, AdvertiseMin: 4, ParksLong: true, raw: f.serve}}
}

// fetchRequest is a request without its partitions.
type fetchRequest struct {
	version      int16
	replica      int32
	replicaEpoch int64
	maxWait      int32
	minBytes     int32
	maxBytes     int32
	isolation    int8
	sessionID    int32
	sessionEpoch int32
	rack         []byte // borrowed
	partitions   int    // in both lists, while scanning
}

// fetchPart is one partition of a request and what it is answered.
type fetchPart struct {
	key              partKey
	cached           *sessionPart
	maxBytes         int32
	offset           int64
	leaderEpoch      int32
	lastFetchedEpoch int32
	start            int64 // of a follower's log
	flushed, cut     int64 // of a follower, -1: not told

	follow    *followPart // of a replica's session
	mentioned bool        // by this request
	end       int64       // of the log, told to a follower with an error; -1

	partition Partition // nil when it could not be found
	read      Read
	code      int16
	leader    int // in leaders, -1
	omit      bool
}

// parseFetch reads a body, and keeps its partitions in s; with nil it only
// checks and counts.
func parseFetch(version int16, body []byte, s *fetched) (fetchRequest, error) {
	c := cursor{b: body, flexible: version >= 12}
	q := fetchRequest{version: version, replica: -1, replicaEpoch: -1, sessionEpoch: finalEpoch}
	if version <= 14 {
		q.replica = c.i32()
	}
	q.maxWait, q.minBytes, q.maxBytes, q.isolation = c.i32(), c.i32(), c.i32(), c.i8()
	if version >= 7 {
		q.sessionID, q.sessionEpoch = c.i32(), c.i32()
	}
	topicMin := 3
	if version >= 13 {
		topicMin = 16
	}
	for topics := c.array(topicMin - 1); topics > 0 && !c.bad; topics-- {
		topic, id := fetchTopic(&c, version)
		for n := c.array(16); n > 0 && !c.bad; n-- {
			p := fetchPart{leaderEpoch: -1, lastFetchedEpoch: -1, start: -1, flushed: -1, end: -1, leader: -1}
			index := c.i32()
			if version >= 9 {
				p.leaderEpoch = c.i32()
			}
			p.offset = c.i64()
			if version >= 12 {
				p.lastFetchedEpoch = c.i32()
			}
			if version >= 5 {
				p.start = c.i64()
			}
			p.maxBytes = c.i32()
			c.tags(func(tag int, content *cursor) {
				if tag == tagFlushed {
					p.flushed, p.cut = content.i64(), content.i64()
				}
			})
			q.partitions++
			if s != nil {
				p.key = s.key(topic, id, index)
				s.parts = append(s.parts, p)
			}
		}
		c.tags(nil)
	}
	if version >= 7 {
		for topics := c.array(topicMin - 1); topics > 0 && !c.bad; topics-- {
			topic, id := fetchTopic(&c, version)
			for n := c.array(4); n > 0 && !c.bad; n-- {
				index := c.i32()
				q.partitions++
				if s != nil {
					s.forgotten = append(s.forgotten, s.key(topic, id, index))
				}
			}
			c.tags(nil)
		}
	}
	if version >= 11 {
		q.rack = c.name()
	}
	c.tags(func(tag int, content *cursor) {
		if tag == 1 && version >= 15 {
			q.replica, q.replicaEpoch = content.i32(), content.i64()
		}
	})
	if c.bad {
		return q, errMalformed
	}
	return q, nil
}

func fetchTopic(c *cursor, version int16) (name []byte, id [16]byte) {
	if version >= 13 {
		return nil, c.uuid()
	}
	return c.name(), id
}

// fetched is the state of one request.
type fetched struct {
	f         *Fetch
	q         fetchRequest
	held      int64
	listener  string
	rack      string
	clientID  string
	session   *session
	follow    *followSession // of a replica
	failure   int16          // of the whole request
	parts     []fetchPart
	forgotten []partKey
	leaders   []Leader
	names     map[string]string // topic names seen, to make each once
	bytes     int               // read
	urgent    bool              // an error, or another reason not to wait

	body  []byte
	cuts  []fetchCut
	out   []wire.Part
	asked time.Time
}

// fetchCut is a place in body where a partition's records go.
type fetchCut struct{ at, part int }

func (f *Fetch) state() *fetched {
	s, ok := f.pool.Get().(*fetched)
	if !ok {
		s = &fetched{f: f, names: map[string]string{}}
	}
	return s
}

// Release gives back records and state; wire calls it when the response is
// written.
func (s *fetched) Release() {
	s.drop()
	s.f.cfg.Memory.release(s.held)
	clear(s.parts)
	clear(s.forgotten)
	clear(s.leaders)
	clear(s.out)
	s.held, s.session, s.follow, s.failure = 0, nil, nil, 0
	s.parts, s.forgotten, s.leaders = s.parts[:0], s.forgotten[:0], s.leaders[:0]
	s.body, s.cuts, s.out = s.body[:0], s.cuts[:0], s.out[:0]
	if len(s.names) > 256 {
		clear(s.names)
	}
	if cap(s.parts) <= 4096 && cap(s.body) <= maxPooledBody {
		s.f.pool.Put(s)
	}
}

// drop releases the records read.
func (s *fetched) drop() {
	for i := range s.parts {
		if r := &s.parts[i].read; r.Release != nil {
			r.Release()
			r.Release = nil
		}
	}
}

func (s *fetched) key(topic []byte, id [16]byte, index int32) partKey {
	name, ok := s.names[string(topic)]
	if !ok && len(topic) > 0 {
		name = string(topic)
		s.names[name] = name
	}
	return partKey{name, id, index}
}

func (f *Fetch) serve(ctx context.Context, c *Call, body []byte) (wire.Reply, wire.Pending) {
	q, err := parseFetch(c.Version, body, nil)
	if err != nil {
		return wire.Reply{None: true, Close: true, Why: "Fetch: " + err.Error()}, nil
	}
	need := 2 * int64(q.partitions) * elementBytes
	if !f.cfg.Memory.fits(need) || q.partitions > maxElements {
		return wire.Reply{None: true, Close: true, Why: "Fetch: too many partitions"}, nil
	}
	held, err := f.cfg.Memory.acquire(ctx, need)
	if err != nil {
		return wire.Reply{None: true, Close: true}, nil
	}
	s := f.state()
	s.held = held
	s.q, s.listener, s.clientID, s.asked = q, c.Listener(), c.ClientID, c.Received
	if len(q.rack) > 0 {
		s.rack = string(q.rack)
	} else {
		s.rack = ""
	}
	_, _ = parseFetch(c.Version, body, s) // it passed a moment ago
	s.q.rack = nil
	if q.replica >= 0 {
		return f.serveReplica(ctx, c, s)
	}
	if err := s.open(); err != nil {
		s.failure = codeOf(err)
		s.parts = s.parts[:0]
		return s.reply(), nil
	}
	s.read(c)
	wait := time.Duration(q.maxWait) * time.Millisecond
	if wait <= 0 || len(s.parts) == 0 || s.urgent || s.bytes >= s.minBytes() {
		return s.reply(), nil
	}
	w := s.await(wait)
	if w == nil {
		// Something has moved since it was read.
		s.read(c)
		if s.urgent || s.bytes >= s.minBytes() {
			return s.reply(), nil
		}
		if w = s.await(wait); w == nil {
			s.read(c)
			return s.reply(), nil
		}
	}
	return wire.Reply{}, w
}

func (s *fetched) minBytes() int { return min(int(s.q.minBytes), s.maxBytes()) }
func (s *fetched) maxBytes() int { return min(int(s.q.maxBytes), s.f.cfg.MaxBytes) }

// open finds the request's place among the sessions.
func (s *fetched) open() error {
	q := &s.q
	if q.sessionEpoch == initialEpoch || q.sessionEpoch == finalEpoch {
		if q.sessionID != noSession {
			s.f.cfg.Sessions.forget(q.sessionID)
		}
		return nil
	}
	session, parts, err := s.f.cfg.Sessions.incremental(time.Now(), q, s.parts, s.forgotten)
	if err != nil {
		return err
	}
	s.session, s.parts = session, parts
	return nil
}

func (s *fetched) isolation() Isolation {
	switch {
	case s.q.replica >= 0:
		return ReadLogEnd
	case s.q.isolation == 1:
		return ReadCommitted
	}
	return ReadUncommitted
}

// read reads every partition, within the limits.
func (s *fetched) read(c *Call) {
	s.drop()
	s.bytes, s.urgent = 0, false
	s.leaders = s.leaders[:0]
	left := s.maxBytes()
	r := ReadRequest{Isolation: s.isolation(), Replica: s.q.replica, ReplicaEpoch: s.q.replicaEpoch,
		Rack: s.rack, ClientID: s.clientID, MinOne: true, AnyReplica: s.q.version >= 11}
	for i := range s.parts {
		p := &s.parts[i]
		p.code, p.leader = 0, -1
		var err error
		if s.q.version >= 13 {
			p.partition, err = s.f.cfg.Partitions.GetByID(p.key.id, p.key.index)
		} else {
			p.partition, err = s.f.cfg.Partitions.GetName(p.key.topic, p.key.index)
		}
		if err == nil {
			r.From, r.LeaderEpoch, r.LastFetchedEpoch = p.offset, p.leaderEpoch, p.lastFetchedEpoch
			r.MaxBytes = max(0, min(int(p.maxBytes), left))
			p.read, err = p.partition.Read(r)
		}
		if err != nil {
			s.fail(c, p, err)
			continue
		}
		if n := p.read.Slice.N; n > 0 {
			s.bytes += n
			left = max(0, left-n)
			r.MinOne = false
		}
		if p.read.Diverging != nil || p.read.PreferredReplica >= 0 {
			s.urgent = true
		}
	}
}

// fail notes a partition's error.
func (s *fetched) fail(c *Call, p *fetchPart, err error) {
	s.urgent = true
	if p.read.Release != nil {
		p.read.Release()
	}
	hw, lso, start := int64(-1), int64(-1), int64(-1)
	p.read = Read{HighWatermark: hw, LastStable: lso, LogStart: start, PreferredReplica: -1}
	var ke *kerr.Error
	if !errors.As(err, &ke) && s.f.cfg.Failed != nil {
		s.f.cfg.Failed(c, err)
	}
	p.code = codeOf(err)
	if p.code == kerr.KafkaStorageError.Code && s.q.version <= 5 {
		p.code = kerr.NotLeaderForPartition.Code
	}
	if s.f.cfg.Errors != nil {
		s.f.cfg.Errors(int16(kmsg.Fetch), p.code, 1)
	}
	topic := p.key.topic
	if p.partition != nil {
		topic = p.partition.Topic()
		if m := s.f.cfg.Metrics; m != nil {
			m.FetchFailed(topic)
		}
	}
	if s.q.version >= 16 && (p.code == kerr.NotLeaderForPartition.Code || p.code == kerr.FencedLeaderEpoch.Code) {
		if topic == "" {
			topic = s.f.cfg.Partitions.TopicName(p.key.id)
		}
		p.leader = len(s.leaders)
		s.leaders = append(s.leaders, s.f.cfg.Partitions.Leader(topic, p.key.index, s.listener))
	}
}

func codeOf(err error) int16 {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Code
	}
	return kerr.UnknownServerError.Code
}

// reply encodes the response, without records, and lays the records between.
func (s *fetched) reply() wire.Reply {
	q := &s.q
	var sessionID int32
	switch {
	case s.failure != 0:
	case s.follow != nil:
		s.tellFollower()
		sessionID = s.follow.id
	case s.session != nil:
		sessionID = s.session.id
		if err := s.session.told(q.sessionEpoch, s.parts); err != nil {
			s.failure = codeOf(err)
			s.drop()
			s.parts = s.parts[:0]
		}
	case q.version >= 7 && q.sessionEpoch == initialEpoch:
		if made := s.f.cfg.Sessions.create(time.Now(), false, q.version >= 13, s.parts); made != nil {
			sessionID = made.id
		}
	}
	flexible := q.version >= 12
	b := put32(s.body, 0) // throttle time
	if q.version >= 7 {
		b = put16(b, s.failure)
		b = put32(b, sessionID)
	}
	// Partitions of one topic that follow each other stand under one heading.
	topics := 0
	last := -1
	for i := range s.parts {
		if s.parts[i].omit {
			continue
		}
		if last < 0 || !s.sameTopic(last, i) {
			topics++
		}
		last = i
	}
	b = putArray(b, flexible, topics)
	for i := 0; i < len(s.parts); {
		if s.parts[i].omit {
			i++
			continue
		}
		n, end := 0, i
		for ; end < len(s.parts) && (s.parts[end].omit || s.sameTopic(i, end)); end++ {
			if !s.parts[end].omit {
				n++
			}
		}
		if q.version >= 13 {
			b = append(b, s.parts[i].key.id[:]...)
		} else {
			b = putString(b, flexible, s.parts[i].key.topic)
		}
		b = putArray(b, flexible, n)
		for ; i < end; i++ {
			if !s.parts[i].omit {
				b = s.encode(b, i)
			}
		}
		if flexible {
			b = append(b, 0)
		}
	}
	if q.version >= 16 {
		b = putEndpoints(b, s.leaders)
	} else if flexible {
		b = append(b, 0)
	}
	s.body = b
	return s.lay(flexible)
}

func (s *fetched) sameTopic(i, j int) bool {
	a, b := &s.parts[i].key, &s.parts[j].key
	return a.id == b.id && a.topic == b.topic
}

func (s *fetched) encode(b []byte, i int) []byte {
	p, v := &s.parts[i], s.q.version
	r := &p.read
	flexible := v >= 12
	b = put32(b, p.key.index)
	b = put16(b, p.code)
	b = put64(b, r.HighWatermark)
	b = put64(b, r.LastStable)
	if v >= 5 {
		b = put64(b, r.LogStart)
	}
	switch {
	case s.isolation() == ReadCommitted:
		b = putArray(b, flexible, len(r.Aborted))
		for _, t := range r.Aborted {
			b = put64(b, t.ProducerID)
			b = put64(b, t.FirstOffset)
			if flexible {
				b = append(b, 0)
			}
		}
	case flexible:
		b = append(b, 0)
	default:
		b = put32(b, -1)
	}
	if v >= 11 {
		b = put32(b, r.PreferredReplica)
	}
	if flexible {
		b = binary.AppendUvarint(b, uint64(r.Slice.N+1))
	} else {
		b = put32(b, int32(r.Slice.N))
	}
	if r.Slice.N > 0 {
		s.cuts = append(s.cuts, fetchCut{len(b), i})
		switch m := s.f.cfg.Metrics; {
		case m == nil:
		case s.q.replica >= 0:
			m.Replicated(p.partition.Topic(), r.Slice.N)
		default:
			m.Fetched(p.partition.Topic(), r.Slice.N)
		}
	}
	if !flexible {
		return b
	}
	tags := 0
	if r.Diverging != nil {
		tags++
	}
	if p.leader >= 0 {
		tags++
	}
	if p.end >= 0 {
		tags++
	}
	b = append(b, byte(tags))
	if r.Diverging != nil {
		b = append(b, 0, 13)
		b = put32(b, r.Diverging.Epoch)
		b = put64(b, r.Diverging.End)
		b = append(b, 0)
	}
	if p.leader >= 0 {
		b = putLeader(b, 1, s.leaders[p.leader])
	}
	if p.end >= 0 {
		b = binary.AppendUvarint(b, tagLogEnd)
		b = append(b, 8)
		b = put64(b, p.end)
	}
	return b
}

// lay makes the reply: body up to the first records, then records and the
// body's other pieces in turn.
func (s *fetched) lay(flexible bool) wire.Reply {
	reply := wire.Reply{Flexible: flexible, Owner: s}
	if len(s.cuts) == 0 {
		reply.Body = s.body
		return reply
	}
	reply.Body = s.body[:s.cuts[0].at]
	for i, cut := range s.cuts {
		s.out = append(s.out, s.parts[cut.part].read.Slice)
		end := len(s.body)
		if i+1 < len(s.cuts) {
			end = s.cuts[i+1].at
		}
		if end > cut.at {
			s.out = append(s.out, wire.Part{Bytes: s.body[cut.at:end]})
		}
	}
	reply.Parts = s.out
	return reply
}

// await waits at the gates of all partitions; nil when one has moved already.
// Records read so far are let go: what is answered is read again then.
func (s *fetched) await(wait time.Duration) *fetchWait {
	n := int64(len(s.parts))
	if s.f.parked.Add(n) > maxParked {
		// Differs from Kafka, which would run out of memory: this client polls.
		s.f.parked.Add(-n)
		return nil
	}
	w := &fetchWait{s: s, done: make(chan struct{})}
	w.missing.Store(int64(s.minBytes() - s.bytes))
	iso := s.isolation()
	for i := range s.parts {
		p := &s.parts[i]
		if !p.partition.AwaitReadable(iso, p.read.ReadableEnd, w) {
			for j := range i {
				s.parts[j].partition.Forget(w)
			}
			s.f.parked.Add(-n)
			return nil
		}
	}
	s.drop()
	// The claim is for work at hand; those who wait are bounded by number.
	s.f.cfg.Memory.release(s.held)
	s.held = 0
	w.timer = time.AfterFunc(wait, w.finish)
	return w
}

// maxParked bounds the partitions of all fetches that wait, some 300 bytes
// each. More are answered at once, with what there is.
const maxParked = 200_000

// fetchWait is a Fetch that waits for bytes or for its time. It is not pooled,
// so that a late Wake meets nobody else's request.
type fetchWait struct {
	s       *fetched
	missing atomic.Int64 // bytes until min bytes are there
	over    atomic.Bool
	done    chan struct{}
	timer   *time.Timer
}

func (w *fetchWait) Wake(newBytes int) {
	if w.missing.Add(-int64(newBytes)) <= 0 {
		w.finish()
	}
}

func (w *fetchWait) finish() {
	if !w.over.Swap(true) {
		close(w.done)
	}
}

func (w *fetchWait) Done() <-chan struct{} { return w.done }
func (w *fetchWait) ReadOn() bool          { return false }

// Reply reads again and answers with what there is.
func (w *fetchWait) Reply() wire.Reply {
	w.leave()
	w.s.read(&Call{})
	return w.s.reply()
}

// Cancel is called instead of Reply when the connection has died.
func (w *fetchWait) Cancel() {
	w.leave()
	w.s.Release()
}

func (w *fetchWait) leave() {
	w.timer.Stop()
	w.s.f.parked.Add(-int64(len(w.s.parts)))
	for i := range w.s.parts {
		w.s.parts[i].partition.Forget(w)
	}
}
