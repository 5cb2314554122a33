// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"sync"
	"time"
)

// Source is a leader's broker as one fetcher sees it: a connection for its
// fetches, and a way past them for news. Both methods block; they are called
// by one goroutine each. Errors end the fetch session.
type Source interface {
	// Fetch asks and waits. The answer's records are borrowed until its
	// Release.
	Fetch(ctx context.Context, q *FetchRequest) (*FetchAnswer, error)
	// Tell overtakes a fetch that is parked there. It returns the indices of
	// what in n.Flushed the leader did not take.
	Tell(ctx context.Context, n *News) (left []int, err error)
	// Close ends the connections.
	Close()
}

// FetchRequest is a fetch of a session (KIP-227): session 0 with epoch 0 asks
// for a new one; of an old one only what changed is named.
type FetchRequest struct {
	BrokerEpoch  int64
	Session      int32
	SessionEpoch int32
	MaxWait      time.Duration
	MinBytes     int
	MaxBytes     int
	Partitions   []FetchPartition // those of one topic follow each other
	Forgotten    []PartitionID
}

// PartitionID names a partition by its topic's id.
type PartitionID struct {
	Topic [16]byte
	Index int32
}

// FetchPartition asks for one partition's records from From on.
type FetchPartition struct {
	PartitionID
	LeaderEpoch int32
	From        int64
	LastEpoch   int32 // leader epoch of the record before From, NoEpoch
	Start       int64 // of the follower's log
	MaxBytes    int32
	Flushed     int64
	Cut         int64
}

// FetchAnswer is what the leader has. Partitions without news are left out of a
// session's answer.
type FetchAnswer struct {
	Code       int16
	Session    int32
	Partitions []FetchedPartition
	Release    func()
}

// FetchedPartition is one partition's part of an answer.
type FetchedPartition struct {
	PartitionID
	Code          int16
	HighWatermark int64
	Start         int64 // of the leader's log
	End           int64 // of the leader's log, with OFFSET_OUT_OF_RANGE; -1: not told
	Diverging     *EpochEnd
	Records       []byte
}

// News tells a leader what its next fetch would tell too late.
type News struct {
	BrokerEpoch int64
	// Session 0: none. Else its fetch with that epoch is to be answered as it
	// is, for there is more to ask.
	Session, SessionEpoch int32
	Flushed               []FlushedEnd
}

// FetchConfig is how followers fetch. The zero value of a field is Kafka's
// default.
type FetchConfig struct {
	// Source connects to a broker; nil: this node never follows.
	Source   func(leader int32, lane int) Source
	Lanes    func() int    // num.replica.fetchers, for partitions that begin to follow; nil: 1
	MaxBytes int           // replica.fetch.max.bytes, of one partition
	MaxTotal int           // replica.fetch.response.max.bytes
	MinBytes int           // replica.fetch.min.bytes
	MaxWait  time.Duration // replica.fetch.wait.max.ms
	BackOff  time.Duration // replica.fetch.backoff.ms, the longest
	Events   FetchEvents
}

// FetchEvents are told of what an operator wants to know. They must not block.
type FetchEvents struct {
	// Fetched: n bytes were appended from a leader.
	Fetched func(topic string, n int)
	// Failed: a fetch of that leader failed; told once until one succeeds.
	Failed func(leader int32, err error)
	// Truncated: the log, which ended at from, was cut to end at to, because the
	// leader's differs. It begins anew at to where that is beyond from.
	Truncated func(topic string, partition int32, from, to int64)
	// BadBatch: what the leader sent was damaged.
	BadBatch func(topic string, partition, leader int32, err error)
}

func (c FetchConfig) withDefaults() FetchConfig {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.Lanes == nil {
		c.Lanes = func() int { return 1 }
	}
	def(&c.MaxBytes, 1<<20)
	def(&c.MaxTotal, 10<<20)
	def(&c.MinBytes, 1)
	if c.MaxWait <= 0 {
		c.MaxWait = 500 * time.Millisecond
	}
	if c.BackOff <= 0 {
		c.BackOff = time.Second
	}
	return c
}

// fetchers are the fetchers of a table, one for each leader and lane, made when
// first wanted and ended with the table.
type fetchers struct {
	cfg    FetchConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // a leaf; guards what follows
	lanes  map[laneID]*fetcher
	epoch  int64 // of this broker; -1: not registered, nobody fetches
	closed bool
}

type laneID struct {
	leader int32
	lane   int
}

func newFetchers(c FetchConfig) *fetchers {
	ctx, cancel := context.WithCancel(context.Background())
	return &fetchers{cfg: c.withDefaults(), ctx: ctx, cancel: cancel, lanes: map[laneID]*fetcher{}, epoch: -1}
}

// of finds the fetcher of a partition; nil when this node never follows.
func (s *fetchers) of(leader int32, p *Partition) *fetcher {
	if s.cfg.Source == nil {
		return nil
	}
	// Kafka spreads partitions over its fetchers in the same way: neighbours
	// of one topic apart.
	h := uint32(p.index)
	for _, b := range p.id {
		h = h*31 + uint32(b)
	}
	id := laneID{leader, int(h % uint32(max(1, s.cfg.Lanes())))}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	f := s.lanes[id]
	if f == nil {
		f = newFetcher(s, leader, s.cfg.Source(leader, id.lane))
		s.lanes[id] = f
		s.wg.Go(f.run)
		s.wg.Go(f.tell)
	}
	return f
}

// registered lets the fetchers begin, or go on under a new broker epoch.
func (s *fetchers) registered(epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = epoch
	for _, f := range s.lanes {
		f.poke()
	}
}

func (s *fetchers) brokerEpoch() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

func (s *fetchers) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}
