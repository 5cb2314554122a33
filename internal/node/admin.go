// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gregor/internal/meta"
	"gregor/internal/node/admin"
	"gregor/internal/node/metrics"
	"gregor/internal/storage"
	"gregor/internal/wire"
)

// newMetrics makes what counts. Counting needs no HTTP, so it is there always.
func (n *Node) newMetrics() {
	n.registry = prometheus.NewRegistry()
	n.metrics = metrics.New()
	n.registry.MustRegister(n.metrics, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.metrics.Observe(metrics.Sources{
		Node: n.live.Broker().NodeID, Image: n.Image,
		ActiveController: func() bool { return n.up.Load() && n.quorum.Status().Leading },
		State:            n.state,
		Hosted:           n.hostedStates,
		Groups:           n.groupStates,
		Txns:             n.txnStates,
		Quorum:           n.quorumState,
		Sessions:         n.sessionStats,
		BufferedBytes: func() int64 {
			if !n.up.Load() {
				return 0
			}
			return n.server.BufferedBytes()
		},
		PartitionLimit: func() int { return n.live.Broker().MetricPartitionLimit },
	})
}

func (n *Node) wireMetrics() wire.Metrics { return n.metrics }

// startAdmin serves metrics and health, from before the logs are opened: a
// long recovery can be watched.
func (n *Node) startAdmin(context.Context) error {
	h := n.live.Broker().HTTP
	if h.Addr == "" {
		return nil
	}
	s, err := admin.Start(admin.Config{
		Addr: h.Addr, Fallback: !h.Asked, Pprof: h.Pprof, Gatherer: n.registry,
		Live: n.alive, Ready: n.ready,
		Failed: func(err error) { n.log.Error("metrics are no longer served", "error", err) },
	})
	if err != nil {
		return err
	}
	n.admin = s
	if s.Moved() {
		n.log.Info("the port of metrics is taken; a free one is used", "wanted", h.Addr, "addr", s.Addr())
	}
	return nil
}

func (n *Node) closeAdmin(ctx context.Context) {
	n.up.Store(false)
	if n.admin != nil {
		_ = n.admin.Close(ctx) // a scrape that did not end in time was cut off
	}
}

// HTTPAddr is where metrics and health are served, "" when they are not.
func (n *Node) HTTPAddr() string {
	if n.admin == nil {
		return ""
	}
	return n.admin.Addr()
}

// alive: the process works; false tells a supervisor to start it again.
func (n *Node) alive() error {
	select {
	case <-n.failed:
		return n.failure
	default:
		return nil
	}
}

var errStarting = errors.New("the node is starting or stopping")

// ready: clients are served.
func (n *Node) ready() error {
	if err := n.alive(); err != nil {
		return err
	}
	if !n.up.Load() {
		return errStarting
	}
	if b := n.Image().Broker(n.live.Broker().NodeID); b == nil || b.Fenced {
		return errors.New("the broker is fenced")
	}
	return nil
}

// Kafka's numbers of a broker's states (BrokerState.java).
const (
	stateStarting = 1
	stateRunning  = 3
)

func (n *Node) state() int {
	if n.up.Load() {
		return stateRunning
	}
	return stateStarting
}

func (n *Node) hostedStates(yield func(metrics.Hosted) bool) {
	if !n.up.Load() {
		return
	}
	for _, p := range n.table.All() {
		s := p.Status()
		h := metrics.Hosted{
			Topic: p.Topic(), Partition: p.Index(), Leads: s.Leads, Offline: s.Offline,
			LogStart: p.LogStart(), LogEnd: p.LogEnd(), HighWatermark: p.HighWatermark(), Bytes: -1,
			UnderReplicated: s.UnderReplicated, UnderMin: s.UnderMin, AtMin: s.AtMin,
			WaitingProduce: s.Waiting - s.Readers, WaitingFetch: s.Readers,
			Follows: s.Follows, Lag: s.Lag, FetchFails: s.FetchFails,
		}
		if l := p.Log(); l != nil {
			h.Bytes, h.Segments = l.Size(), l.SegmentCount()
		}
		if !yield(h) {
			return
		}
	}
}

func (n *Node) groupStates(ctx context.Context) []metrics.Group {
	if !n.up.Load() {
		return nil
	}
	groups, offsets := n.groupAPI.Progress(ctx)
	out := make([]metrics.Group, len(groups))
	at := make(map[string]int, len(groups))
	for i, g := range groups {
		out[i] = metrics.Group{ID: g.Group, State: g.State, Members: g.Members}
		at[g.Group] = i
	}
	for _, o := range offsets {
		if i, ok := at[o.Group]; ok {
			out[i].Offsets = append(out[i].Offsets, metrics.GroupOffset{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset})
		}
	}
	return out
}

func (n *Node) sessionStats() (sessions, partitions int, evictions int64) {
	if !n.up.Load() {
		return 0, 0, 0
	}
	s := n.sessions.Stats()
	return s.Sessions, s.Partitions, s.Evictions
}

// quorumPatience bounds how long a scrape waits for the quorum's loop.
const quorumPatience = time.Second

func (n *Node) quorumState() metrics.Quorum {
	q := metrics.Quorum{State: "unattached", Leader: -1, Vote: -1, HighWatermark: -1, LogEnd: -1}
	if !n.up.Load() {
		return q
	}
	ctx, cancel := context.WithTimeout(context.Background(), quorumPatience)
	defer cancel()
	s := n.quorum.Status()
	if d, err := n.quorum.Describe(ctx); err == nil {
		s, q.HighWatermark, q.LogEnd = d.Status, d.HighWatermark, d.HighWatermark
		q.LogEndEpoch, q.Voters, q.Observers, q.Changing = int64(d.LastTerm), len(d.Voters), len(d.Observers), d.Changing
		for _, v := range d.Voters {
			if v.ID == s.ID && v.End >= 0 {
				q.LogEnd = v.End
			}
			if _, err := n.voterAddr(v.Voter); err != nil {
				q.Unknown++
			}
		}
	}
	q.Epoch = int64(s.Term)
	switch {
	case s.Leading:
		q.State, q.Leader, q.Vote = "leader", n.live.Broker().NodeID, n.live.Broker().NodeID
	case !n.quorum.Membership().Self:
		q.State = "observer"
	case s.Leader != 0:
		q.State = "follower"
	default:
		q.State = "candidate"
	}
	if id, _, ok := n.leader(); ok {
		q.Leader = id
	}
	q.Measures = metrics.RaftMeasures(n.quorum.Measures())
	return q
}

// counted adds counting to the lines that storage's events write.
func (n *Node) counted(e storage.Events) storage.Events {
	recovered, corrupt, rebuilt, failed, noSpace := e.Recovered, e.Corrupt, e.Rebuilt, e.DirFailed, e.NoSpace
	e.Recovered = func(l *storage.Log, r storage.Recovery) {
		n.metrics.Recovered.Add(1)
		recovered(l, r)
	}
	e.Corrupt = func(name storage.Name, c *storage.CorruptError) {
		n.metrics.Corruptions.Add(1)
		corrupt(name, c)
	}
	e.Committed = n.metrics.Flushed
	e.Rebuilt = func(path, reason string) {
		n.metrics.Rebuilt.Add(1)
		rebuilt(path, reason)
	}
	e.DirFailed = func(dir string, err error) {
		n.metrics.DirFailed(dir)
		failed(dir, err)
	}
	e.NoSpace = func(dir string, full bool) {
		n.metrics.DiskFull(dir, full)
		noSpace(dir, full)
	}
	return e
}

// forgetTopics drops the counters of topics that an image no longer has.
func (n *Node) forgetTopics(d *meta.Delta) {
	for c := range d.TopicChanges() {
		if c.New == nil {
			n.metrics.Forget(c.Name)
		}
	}
}

// countUnclean counts leaders that were elected from outside the in-sync set.
func (n *Node) countUnclean(d *meta.Delta) {
	if !n.up.Load() || !n.quorum.Status().Leading { // up: n.quorum is set
		return
	}
	for c := range d.TopicChanges() {
		if c.Old == nil || c.New == nil {
			continue
		}
		for _, p := range c.Partitions() {
			if p.Old != nil && p.New != nil && p.New.Recovering && p.New.LeaderEpoch > p.Old.LeaderEpoch && p.New.Leader != meta.NoLeader {
				n.metrics.UncleanElections.Add(1)
			}
		}
	}
}
