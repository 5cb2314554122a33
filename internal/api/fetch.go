// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
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
	if q.sessionEpoch > 0 && q.replica < 0 {
		// All partitions of the session are read. It may have grown beyond what
		// can be claimed at once; then no other such request is served meanwhile.
		need = min(need+2*int64(f.cfg.Sessions.size(q.sessionID))*elementBytes, f.cfg.Memory.most())
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
