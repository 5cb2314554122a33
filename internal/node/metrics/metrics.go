// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gregor/internal/meta"
	"gregor/internal/wire"
)

// Sources are asked when Prometheus scrapes. Any may be nil.
type Sources struct {
	Node int32
	// Image is the cluster's metadata in force.
	Image func() *meta.Image
	// ActiveController: this node is it.
	ActiveController func() bool
	// State is Kafka's number for the broker's state: 1 starting, 3 running.
	State func() int
	// Hosted yields the partitions that have a replica here, in the order of
	// topic and number. It must not open logs that are not open.
	Hosted func(yield func(Hosted) bool)
	// Groups lists the groups coordinated here with their committed offsets.
	Groups func(ctx context.Context) []Group
	// Txns is what the transaction coordinators here tell.
	Txns func() Txns
	// Quorum is this node's view of the metadata quorum.
	Quorum func() Quorum
	// Sessions are the incremental fetch sessions.
	Sessions func() (sessions, partitions int, evictions int64)
	// BufferedBytes are in the network's buffers.
	BufferedBytes func() int64
	// PartitionLimit bounds the partitions with series of their own.
	PartitionLimit func() int
}

// Hosted is a partition with a replica here. Offsets and sizes are -1 when not
// known (the log is not open).
type Hosted struct {
	Topic                            string
	Partition                        int32
	Leads, Offline                   bool
	LogStart, LogEnd, HighWatermark  int64
	Bytes                            int64
	Segments                         int // 0: not known
	UnderReplicated, UnderMin, AtMin bool
	WaitingProduce, WaitingFetch     int
	Follows                          bool
	Lag                              int64 // of a follower, in records behind its leader's high watermark
	FetchFails                       bool  // of a follower: it cannot be fetched at the moment
}

// Group is a consumer group and what it committed.
type Group struct {
	ID      string
	State   string // as DescribeGroups tells it
	Members int
	Offsets []GroupOffset
}

// GroupOffset is one committed offset.
type GroupOffset struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Quorum is a node's view of the metadata quorum.
type Quorum struct {
	State         string // leader, follower, candidate, observer
	Leader, Vote  int32  // -1: none
	Epoch         int64
	HighWatermark int64
	LogEnd        int64
	Applied       int64

	LogEndEpoch       int64
	Voters, Observers int
	Unknown           int  // voters whose address is not known
	Changing          bool // a change of voters is not committed
	Measures          RaftMeasures
}

// RaftMeasures are quorum.Measures.
type RaftMeasures struct {
	CommitAvg, CommitMax, ElectionAvg, ElectionMax float64 // ms
	Appended, Fetched                              float64 // records a second
	Idle                                           float64 // share of time
}

// maxTopics bounds the topics with counters of their own.
const maxTopics = 5000

// maxKey bounds the API keys that are counted.
const maxKey = 128

// maxVersion bounds the versions that are told apart.
const maxVersion = 32

// Metrics is what one node counts.
type Metrics struct {
	descs map[string]*row

	keys [maxKey]atomic.Pointer[requestStats]

	// topics is published immutable; topicsMu serialises its replacement.
	topics   atomic.Pointer[map[string]*topicStats]
	topicsMu sync.Mutex
	all      topicStats // of all topics

	connsMu sync.Mutex // guards conns
	conns   map[string]*connStats

	ISRShrinks, ISRExpands, ISRFailed atomic.Int64
	replicatedIn, replicatedOut       atomic.Int64
	Corruptions, Rebuilt, Recovered   atomic.Int64
	UncleanElections                  atomic.Int64

	flushes *timings

	errorsMu sync.Mutex // guards errors
	errors   map[errorKey]int64

	dirsMu       sync.Mutex // guards full and failed
	full, failed map[string]bool

	idle    idleMeter
	sources atomic.Pointer[Sources]
}

type requestStats struct {
	name                       string
	versions                   [maxVersion]atomic.Int64
	in, out                    atomic.Int64
	total, local, remote, send *timings
}

type topicStats struct {
	records, bytesIn, bytesOut              atomic.Int64
	produced, fetched, badProduce, badFetch atomic.Int64
}

type connStats struct {
	open, created, closed int64
	createRate, closeRate rate
}

// rate is how fast a count grows, over the last half minute or more.
type rate struct {
	at    time.Time
	count int64
	per   float64
}

// rateSpan is how long a figure stands.
const rateSpan = 30 * time.Second

// read takes the count as it is now. The first figure is that since the start.
func (r *rate) read(now time.Time, count int64) float64 {
	if r.at.IsZero() {
		r.at = now
	}
	if span := now.Sub(r.at); span >= rateSpan {
		r.per = float64(count-r.count) / span.Seconds()
		r.at, r.count = now, count
	} else if r.per == 0 && span > 0 {
		return float64(count-r.count) / span.Seconds()
	}
	return r.per
}

type errorKey struct{ key, code int16 }

// Errors counts errors in answers.
func (m *Metrics) Errors(key, code int16, n int) {
	m.errorsMu.Lock()
	defer m.errorsMu.Unlock()
	m.errors[errorKey{key, code}] += int64(n)
}

// Flushed counts a group commit.
func (m *Metrics) Flushed(took time.Duration) { m.flushes.add(took) }

// New makes the metrics, a prometheus.Collector to be registered.
func New() *Metrics {
	m := &Metrics{descs: map[string]*row{}, conns: map[string]*connStats{}, errors: map[errorKey]int64{}, flushes: newTimings(), full: map[string]bool{}, failed: map[string]bool{}}
	m.topics.Store(&map[string]*topicStats{})
	m.sources.Store(&Sources{})
	for i := range catalogue {
		m.descs[catalogue[i].name] = &catalogue[i]
	}
	return m
}

// Observe tells where to ask what is so; until then such series are missing.
func (m *Metrics) Observe(s Sources) { m.sources.Store(&s) }

var (
	_ wire.Metrics         = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

// Request counts one answered request.
func (m *Metrics) Request(t *wire.Timing) {
	if t.Key < 0 || t.Key >= maxKey {
		return
	}
	s := m.keys[t.Key].Load()
	if s == nil {
		s = m.firstOf(t.Key)
	}
	s.versions[uint16(t.Version)%maxVersion].Add(1)
	s.in.Add(int64(t.In))
	s.out.Add(int64(t.Out))
	s.total.add(t.Local + t.Remote + t.Send)
	s.local.add(t.Local)
	s.remote.add(t.Remote)
	s.send.add(t.Send)
}

func (m *Metrics) firstOf(key int16) *requestStats {
	s := &requestStats{name: keyName(key), total: newTimings(), local: newTimings(), remote: newTimings(), send: newTimings()}
	if m.keys[key].CompareAndSwap(nil, s) {
		return s
	}
	return m.keys[key].Load()
}

// ConnOpened counts a connection.
func (m *Metrics) ConnOpened(listener string) {
	m.connsMu.Lock()
	defer m.connsMu.Unlock()
	c := m.conns[listener]
	if c == nil {
		c = &connStats{createRate: rate{at: time.Now()}, closeRate: rate{at: time.Now()}}
		m.conns[listener] = c
	}
	c.open++
	c.created++
}

// ConnClosed counts a connection's end.
func (m *Metrics) ConnClosed(listener string) {
	m.connsMu.Lock()
	defer m.connsMu.Unlock()
	if c := m.conns[listener]; c != nil {
		c.open--
		c.closed++
	}
}

// topic finds a topic's counters; nil once there are too many topics.
func (m *Metrics) topic(name string) *topicStats {
	if t, ok := (*m.topics.Load())[name]; ok {
		return t
	}
	m.topicsMu.Lock()
	defer m.topicsMu.Unlock()
	old := *m.topics.Load()
	if t, ok := old[name]; ok {
		return t
	}
	if len(old) >= maxTopics {
		return nil
	}
	next := maps.Clone(old)
	t := &topicStats{}
	next[strings.Clone(name)] = t
	m.topics.Store(&next)
	return t
}

// Forget drops the counters of a deleted topic.
func (m *Metrics) Forget(topic string) {
	m.topicsMu.Lock()
	defer m.topicsMu.Unlock()
	if _, ok := (*m.topics.Load())[topic]; ok {
		next := maps.Clone(*m.topics.Load())
		delete(next, topic)
		m.topics.Store(&next)
	}
}

// Produced counts a write to a partition.
func (m *Metrics) Produced(topic string, bytes, records int) {
	m.both(topic, func(t *topicStats) {
		t.produced.Add(1)
		t.bytesIn.Add(int64(bytes))
		t.records.Add(int64(records))
	})
}

// Fetched counts a read of a partition that gave records.
func (m *Metrics) Fetched(topic string, bytes int) {
	m.both(topic, func(t *topicStats) {
		t.fetched.Add(1)
		t.bytesOut.Add(int64(bytes))
	})
}

// Replicated counts a read of a partition by a follower.
func (m *Metrics) Replicated(_ string, bytes int) { m.replicatedOut.Add(int64(bytes)) }

// Followed counts what was fetched from a leader.
func (m *Metrics) Followed(bytes int) { m.replicatedIn.Add(int64(bytes)) }

// ProduceFailed counts a write that was refused.
func (m *Metrics) ProduceFailed(topic string) {
	m.both(topic, func(t *topicStats) {
		t.produced.Add(1)
		t.badProduce.Add(1)
	})
}

// FetchFailed counts a read that was refused.
func (m *Metrics) FetchFailed(topic string) {
	m.both(topic, func(t *topicStats) {
		t.fetched.Add(1)
		t.badFetch.Add(1)
	})
}

func (m *Metrics) both(topic string, count func(t *topicStats)) {
	count(&m.all)
	if t := m.topic(topic); t != nil {
		count(t)
	}
}

// DiskFull notes that a directory has no room, or has room again.
func (m *Metrics) DiskFull(dir string, full bool) {
	m.dirsMu.Lock()
	defer m.dirsMu.Unlock()
	m.full[dir] = full
}

// DirFailed notes that a log directory went offline; it stays so.
func (m *Metrics) DirFailed(dir string) {
	m.dirsMu.Lock()
	defer m.dirsMu.Unlock()
	m.failed[dir] = true
}

// Describe sends nothing: as in Kafka, series of one family differ in their
// labels (with and without topic), which Prometheus's registry permits only to
// collectors that do not announce themselves.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends all series.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	c := &collection{m: m, ch: ch, now: now, s: m.sources.Load(), descs: map[*row][]labelled{}}
	c.topics()
	c.requests()
	c.errors()
	c.network()
	c.storage()
	c.hosted()
	c.image()
	c.quorum()
	c.groups()
	c.txns()
	idle := m.idle.read()
	c.send(handlerIdle, idle)
	c.send(networkIdle, idle)
}

// errUnknownName means that code names a series that is not in the catalogue.
var errUnknownName = errors.New("metrics: not in the catalogue")

// collection is one scrape.
type collection struct {
	m   *Metrics
	ch  chan<- prometheus.Metric
	now time.Time
	s   *Sources

	descs map[*row][]labelled

	// high watermarks of partitions led here, for the groups' lag.
	ends map[partitionKey]int64
}

type partitionKey struct {
	topic     string
	partition int32
}

// send sends one series; labels are name, value, name, value.
func (c *collection) send(name string, value float64, labels ...string) {
	r := c.m.descs[name]
	if r == nil {
		c.ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errUnknownName), errUnknownName)
		return
	}
	values := make([]string, len(labels)/2)
	for i := range values {
		values[i] = strings.ToValidUTF8(labels[2*i+1], "\uFFFD")
	}
	metric, err := prometheus.NewConstMetric(c.desc(name, r, labels), r.kind, value, values...)
	if err != nil {
		metric = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
	}
	c.ch <- metric
}

// desc is the description of a series with these labels, made once in a scrape:
// it costs more than all the rest of a series.
func (c *collection) desc(name string, r *row, labels []string) *prometheus.Desc {
next:
	for _, d := range c.descs[r] {
		if len(d.names) != len(labels)/2 {
			continue
		}
		for i, n := range d.names {
			if n != labels[2*i] {
				continue next
			}
		}
		return d.desc
	}
	names := make([]string, len(labels)/2)
	for i := range names {
		names[i] = labels[2*i]
	}
	d := labelled{names, prometheus.NewDesc(name, r.help, names, nil)}
	c.descs[r] = append(c.descs[r], d)
	return d.desc
}

// labelled is the description of a series with some labels.
type labelled struct {
	names []string
	desc  *prometheus.Desc
}

func (c *collection) flag(name string, yes bool, labels ...string) {
	v := 0.0
	if yes {
		v = 1
	}
	c.send(name, v, labels...)
}

func (c *collection) topics() {
	each := func(t *topicStats, labels ...string) {
		c.send(messagesIn, float64(t.records.Load()), labels...)
		c.send(bytesIn, float64(t.bytesIn.Load()), labels...)
		c.send(bytesOut, float64(t.bytesOut.Load()), labels...)
		c.send(produceTotal, float64(t.produced.Load()), labels...)
		c.send(fetchTotal, float64(t.fetched.Load()), labels...)
		c.send(produceFailed, float64(t.badProduce.Load()), labels...)
		c.send(fetchFailed, float64(t.badFetch.Load()), labels...)
	}
	each(&c.m.all)
	for name, t := range *c.m.topics.Load() {
		each(t, "topic", name)
	}
	c.send(replicatedIn, float64(c.m.replicatedIn.Load()))
	c.send(replicatedOut, float64(c.m.replicatedOut.Load()))
}
