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

// Produce, key 0, versions 3-13 (0-2 are advertised, for a bug in librdkafka,
// and refused)
//
// Behaviours:
//   - partitions are appended in the order of the request, one batch each;
//     each has its own error, and a malformed request appends nothing
//   - acks=1 is answered after the append, acks=-1 when the high watermark has
//     passed it or the timeout has; the connection reads on meanwhile
//   - acks=0 has no answer; any error closes the connection instead
//   - other acks: INVALID_REQUIRED_ACKS for every partition
//   - internal topics may be written by client id __admin_client only
//   - transactional batches need a transactional id, else all partitions get
//     TRANSACTIONAL_ID_AUTHORIZATION_FAILED, and must all be of one producer
//   - before the first batch of a transaction in a partition, its coordinator
//     is asked whether the partition belongs to it (3-11), or adds it (12-13);
//     the connection reads nothing meanwhile. What producers do not know is
//     NOT_ENOUGH_REPLICAS, which they retry
//
// Versions:
//
//	3   transactional id; record batches v2 only (KIP-98)
//	4   KAFKA_STORAGE_ERROR
//	5   log start offset
//	7   zstd (KIP-110)
//	8   record errors and messages (KIP-467)
//	9   flexible
//	10  current leader and its endpoint (KIP-951)
//	11  TRANSACTION_ABORTABLE (KIP-890)
//	12  adds partitions to transactions (KIP-890)
//	13  topic ids (KIP-516)

// TopicMetrics counts per topic. Methods must not block; topic is borrowed
// from the partition.
type TopicMetrics interface {
	Produced(topic string, bytes, records int)
	Fetched(topic string, bytes int)
	Replicated(topic string, bytes int) // fetched by a follower
	ProduceFailed(topic string)
	FetchFailed(topic string)
}

// ProduceConfig is what Produce works with.
type ProduceConfig struct {
	Partitions Partitions
	Metrics    TopicMetrics // may be nil
	Memory     *Memory      // shared by all families; nil: one of its own
	Admission  *Admission   // lets transactional batches in; nil: none
	// Failed is told of errors that are no answer of Kafka's. May be nil.
	Failed func(c *Call, err error)
	// Errors counts partitions that were refused. May be nil.
	Errors func(key, code int16, n int)
}

// Produce is the family of key 0.
//
// Concurrency: immutable but for pools; a request's state belongs to its
// connection, and to whoever wakes it.
type Produce struct {
	cfg  ProduceConfig
	pool sync.Pool // of *produced
}

// NewProduce makes the family.
func NewProduce(cfg ProduceConfig) *Produce {
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(0)
	}
	return &Produce{cfg: cfg}
}

// Routes are the family's rows.
func (p *Produce) Routes() []Route {
	return []Route{{Key: kmsg.Produce, Min: 3, Max: 13, AdvertiseMin: 0, quick: true, raw: p.serve}}
}

// produceRequest is what stands before the topics of a request.
type produceRequest struct {
	version         int16
	acks            int16
	timeoutMillis   int32
	transactionalID []byte
	topics          cursor // at the topics' array
	partitions      int
	transactional   bool // some batch is
}

// parseProduce checks a whole body without keeping anything of it.
func parseProduce(version int16, body []byte) (produceRequest, error) {
	c := cursor{b: body, flexible: version >= 9}
	q := produceRequest{version: version, transactionalID: c.str(), acks: c.i16(), timeoutMillis: c.i32()}
	q.topics = c
	topicMin := 6
	if version >= 13 {
		topicMin = 16
	} else if c.flexible {
		topicMin = 3
	}
	for topics := c.array(topicMin); topics > 0 && !c.bad; topics-- {
		produceTopic(&c, version)
		for n := c.array(5); n > 0 && !c.bad; n-- {
			c.i32()
			if r := c.bytes(); len(r) >= 23 && r[22]&(1<<4) != 0 {
				q.transactional = true
			}
			c.tags(nil)
			q.partitions++
		}
		c.tags(nil)
	}
	c.tags(nil)
	if c.bad {
		return q, errMalformed
	}
	return q, nil
}

func produceTopic(c *cursor, version int16) (name []byte, id [16]byte) {
	if version >= 13 {
		return nil, c.uuid()
	}
	return c.name(), id
}

// produced is the state of one request: the results in the order of the
// request, from which the response is encoded.
type produced struct {
	p       *Produce
	version int16
	held    int64
	names   []byte
	topics  []producedTopic
	results []producedPartition
	leaders []Leader
	first   []admitted // by result, when the request begins transactions
	failed  bool
	buf     []byte
}

type producedTopic struct {
	nameEnd int // in names; it starts where the one before ends
	id      [16]byte
	upTo    int // in results
}

type producedPartition struct {
	partition Partition // set while its commit is awaited
	index     int32
	code      int16
	done      Appended
	leader    int // in leaders, -1
	message   string
	records   []RecordError
}

func (p *Produce) state(version int16) *produced {
	s, ok := p.pool.Get().(*produced)
	if !ok {
		s = &produced{p: p}
	}
	s.version = version
	return s
}

// Release gives the state back; wire calls it when the response is written.
func (s *produced) Release() {
	s.p.cfg.Memory.release(s.held)
	clear(s.results)
	clear(s.leaders)
	s.held, s.failed, s.first = 0, false, nil
	s.names, s.topics, s.results, s.leaders, s.buf = s.names[:0], s.topics[:0], s.results[:0], s.leaders[:0], s.buf[:0]
	if cap(s.results) <= 4096 && cap(s.buf) <= maxPooledBody {
		s.p.pool.Put(s)
	}
}

func (p *Produce) serve(ctx context.Context, c *Call, body []byte) (wire.Reply, wire.Pending) {
	q, err := parseProduce(c.Version, body)
	if err != nil {
		return wire.Reply{None: true, Close: true, Why: "Produce: " + err.Error()}, nil
	}
	need := int64(q.partitions) * elementBytes
	if !p.cfg.Memory.fits(need) || q.partitions > maxElements {
		return wire.Reply{None: true, Close: true, Why: "Produce: too many partitions"}, nil
	}
	held, err := p.cfg.Memory.acquire(ctx, need)
	if err != nil {
		return wire.Reply{None: true, Close: true}, nil
	}
	s := p.state(c.Version)
	s.held = held
	waits := s.append(ctx, c, &q)
	if q.acks == 0 {
		failed := s.failed
		s.Release()
		if failed {
			return wire.Reply{None: true, Close: true, Why: "Produce with acks=0 failed"}, nil
		}
		return wire.Reply{None: true}, nil
	}
	if waits {
		if w := s.await(c, &q); w != nil {
			return wire.Reply{}, w
		}
	}
	return s.reply(), nil
}

// append does the request's work; it tells whether a commit is to be awaited.
func (s *produced) append(ctx context.Context, c *Call, q *produceRequest) bool {
	o := AppendOptions{Acks: q.acks, Version: q.version, InternalTopics: c.ClientID == adminClient}
	var refusal error
	switch {
	case q.acks < -1 || q.acks > 1:
		refusal = kerr.InvalidRequiredAcks
	case q.transactional && q.transactionalID == nil:
		refusal = kerr.TransactionalIDAuthorizationFailed
	case q.transactional:
		refusal = s.admit(ctx, q)
		o.Unguarded = s.p.cfg.Admission != nil && !s.p.cfg.Admission.Enabled()
	}
	waits := false
	t := q.topics
	for topics := t.array(1); topics > 0; topics-- {
		name, id := produceTopic(&t, q.version)
		s.names = append(s.names, name...)
		for n := t.array(1); n > 0; n-- {
			index := t.i32()
			records := t.bytes()
			t.tags(nil)
			s.results = append(s.results, producedPartition{index: index, leader: -1})
			r := &s.results[len(s.results)-1]
			r.done = Appended{BaseOffset: -1, LogAppendTime: -1, LogStart: -1}
			if refusal != nil {
				s.refuse(c, r, refusal)
				continue
			}
			var part Partition
			var err error
			if q.version >= 13 {
				part, err = s.p.cfg.Partitions.GetByID(id, index)
			} else {
				part, err = s.p.cfg.Partitions.Get(name, index)
			}
			if i := len(s.results) - 1; i < len(s.first) && err == nil {
				o.Guard, err = s.first[i].guard, s.first[i].err
			}
			if err == nil {
				waits = s.appendOne(c, part, r, records, o) || waits
				continue
			}
			s.refuse(c, r, err)
			if r.code == kerr.NotLeaderForPartition.Code && q.version >= 10 {
				topic := string(name)
				if q.version >= 13 {
					topic = s.p.cfg.Partitions.TopicName(id)
				}
				s.lead(c.Listener(), r, topic)
			}
		}
		t.tags(nil)
		s.topics = append(s.topics, producedTopic{nameEnd: len(s.names), id: id, upTo: len(s.results)})
	}
	return waits
}

// adminClient is the client id that may write internal topics.
const adminClient = "__admin_client"

func internalTopic(name string) bool {
	switch name {
	case "__consumer_offsets", "__transaction_state", "__share_group_state":
		return true
	}
	return false
}

func (s *produced) appendOne(c *Call, part Partition, r *producedPartition, records []byte, o AppendOptions) bool {
	var err error
	var done Appended
	topic := part.Topic()
	if internalTopic(topic) && !o.InternalTopics {
		err = kerr.InvalidTopicException
	} else {
		done, err = part.Append(records, o)
	}
	m := s.p.cfg.Metrics
	if err != nil {
		s.refuse(c, r, err)
		if m != nil {
			m.ProduceFailed(topic)
		}
		if r.code == kerr.NotLeaderForPartition.Code && s.version >= 10 {
			s.lead(c.Listener(), r, topic)
		}
		return false
	}
	if m != nil && len(records) >= 61 {
		count := cursor{b: records[57:61]}
		m.Produced(topic, len(records), int(count.i32()))
	}
	r.done = done
	if o.Acks == -1 {
		r.partition = part
	}
	return o.Acks == -1
}

// refuse notes a partition's error.
func (s *produced) refuse(c *Call, r *producedPartition, err error) {
	s.failed = true
	var code *kerr.Error
	if !errors.As(err, &code) {
		if s.p.cfg.Failed != nil {
			s.p.cfg.Failed(c, err)
		}
		code = kerr.UnknownServerError
	}
	r.code = code.Code
	if s.p.cfg.Errors != nil {
		s.p.cfg.Errors(int16(kmsg.Produce), r.code, 1)
	}
	var records *RecordErrors
	if errors.As(err, &records) {
		r.records, r.message = records.Records, records.Message
	} else if bare, ok := err.(*kerr.Error); !ok || bare != code { //nolint:errorlint // is there a cause around it?
		// Kafka leaves the message out here; it costs nothing and helps.
		r.message = err.Error()
	}
}

// lead notes who leads instead.
func (s *produced) lead(listener string, r *producedPartition, topic string) {
	r.leader = len(s.leaders)
	s.leaders = append(s.leaders, s.p.cfg.Partitions.Leader(topic, r.index, listener))
}

// reply encodes the response.
func (s *produced) reply() wire.Reply {
	flexible := s.version >= 9
	b := putArray(s.buf, flexible, len(s.topics))
	from, nameFrom := 0, 0
	for i := range s.topics {
		t := &s.topics[i]
		if s.version >= 13 {
			b = append(b, t.id[:]...)
		} else {
			b = putString(b, flexible, s.names[nameFrom:t.nameEnd])
		}
		b = putArray(b, flexible, t.upTo-from)
		for j := from; j < t.upTo; j++ {
			b = s.encode(b, &s.results[j])
		}
		if flexible {
			b = append(b, 0)
		}
		from, nameFrom = t.upTo, t.nameEnd
	}
	b = put32(b, 0) // throttle time
	if s.version >= 10 {
		b = putEndpoints(b, s.leaders)
	} else if flexible {
		b = append(b, 0)
	}
	s.buf = b
	return wire.Reply{Body: b, Flexible: flexible, Owner: s}
}

func (s *produced) encode(b []byte, r *producedPartition) []byte {
	flexible := s.version >= 9
	b = put32(b, r.index)
	b = put16(b, r.code)
	b = put64(b, r.done.BaseOffset)
	b = put64(b, r.done.LogAppendTime)
	if s.version >= 5 {
		b = put64(b, r.done.LogStart)
	}
	if s.version >= 8 {
		b = putArray(b, flexible, len(r.records))
		for i := range r.records {
			b = put32(b, r.records[i].Index)
			b = putString(b, flexible, short(r.records[i].Message))
			if flexible {
				b = append(b, 0)
			}
		}
		if r.message == "" {
			b = putNullable(b, flexible, nil)
		} else {
			b = putString(b, flexible, short(r.message))
		}
	}
	if flexible {
		if r.leader >= 0 && s.version >= 10 {
			b = append(b, 1)
			b = putLeader(b, 0, s.leaders[r.leader])
		} else {
			b = append(b, 0)
		}
	}
	return b
}

// short keeps a message within a classic string's length.
func short(s string) string { return s[:min(len(s), 1<<12)] }

// await waits for the commits of acks=all; nil when there is nothing to wait
// for any more.
func (s *produced) await(c *Call, q *produceRequest) *produceWait {
	w := &produceWait{s: s, listener: c.Listener(), done: make(chan struct{})}
	w.left.Store(1) // this function's own
	for i := range s.results {
		if r := &s.results[i]; r.partition != nil {
			w.left.Add(1)
			if !r.partition.AwaitCommitted(r.done.UpTo, r.done.LeaderEpoch, w) {
				w.left.Add(-1)
			}
		}
	}
	if w.left.Load() == 1 {
		w.settle()
		return nil
	}
	timeout := max(0, time.Duration(q.timeoutMillis)*time.Millisecond)
	w.timer = time.AfterFunc(timeout, w.finish)
	w.Wake(0)
	return w
}

// produceWait is a Produce that waits for its commits: woken once by each
// partition, or by its timer. It is not pooled, so that a late Wake meets
// nobody else's request.
type produceWait struct {
	s        *produced
	listener string
	left     atomic.Int32
	over     atomic.Bool
	done     chan struct{}
	timer    *time.Timer
}

func (w *produceWait) Wake(int) {
	if w.left.Add(-1) == 0 {
		w.finish()
	}
}

func (w *produceWait) finish() {
	if !w.over.Swap(true) {
		close(w.done)
	}
}

func (w *produceWait) Done() <-chan struct{} { return w.done }
func (w *produceWait) ReadOn() bool          { return true }

// Reply is called on the connection's writer.
func (w *produceWait) Reply() wire.Reply {
	w.timer.Stop()
	w.settle()
	return w.s.reply()
}

// settle asks each partition how its append came out.
func (w *produceWait) settle() {
	s := w.s
	for i := range s.results {
		r := &s.results[i]
		if r.partition == nil {
			continue
		}
		if err := r.partition.Committed(r.done.UpTo, r.done.LeaderEpoch); err != nil {
			r.partition.Forget(w)
			s.refuse(&Call{}, r, err)
			if r.code == kerr.NotLeaderForPartition.Code && s.version >= 10 {
				s.lead(w.listener, r, r.partition.Topic())
			}
		}
		r.partition = nil
	}
}

// Cancel is called instead of Reply when the connection has died.
func (w *produceWait) Cancel() {
	w.timer.Stop()
	for i := range w.s.results {
		if p := w.s.results[i].partition; p != nil {
			p.Forget(w)
		}
	}
	w.s.Release()
}
