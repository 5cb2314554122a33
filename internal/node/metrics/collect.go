// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"cmp"
	"context"
	"maps"
	"net"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// keyName is the name of an API as Kafka's metrics spell it.
func keyName(key int16) string {
	name := kmsg.Key(key).Name()
	if name == "" || name == "Unknown" {
		return strconv.Itoa(int(key))
	}
	return spelling.Replace(name)
}

// spelling turns kmsg's names into Kafka's.
var spelling = strings.NewReplacer("ID", "Id", "ACL", "Acl", "SASL", "Sasl", "SCRAM", "Scram", "ISR", "Isr",
	"AlterPartitionAssignments", "AlterPartitionReassignments")

var (
	shares = []float64{0.5, 0.75, 0.95, 0.98, 0.99, 0.999}
	// quantileLabels are what Strimzi's rules make of 50thPercentile and so on.
	quantileLabels = []string{"0.50", "0.75", "0.95", "0.98", "0.99", "0.999"}
)

func (c *collection) requests() {
	for key := range c.m.keys {
		s := c.m.keys[key].Load()
		if s == nil {
			continue
		}
		names := []string{s.name}
		if kmsg.Key(key) == kmsg.Fetch {
			// Kafka tells consumers' fetches apart from followers'. All come
			// from consumers as long as there is one node.
			names = append(names, "FetchConsumer")
		}
		for _, name := range names {
			for version := range s.versions {
				if n := s.versions[version].Load(); n > 0 {
					c.send(requests, float64(n), "request", name, "version", strconv.Itoa(version))
				}
			}
			c.send(requestBytes, float64(s.in.Load()), "request", name)
			c.send(responseBytes, float64(s.out.Load()), "request", name)
			c.timings(totalTime, s.total, name)
			c.timings(localTime, s.local, name)
			c.timings(remoteTime, s.remote, name)
			c.timings(sendTime, s.send, name)
			for _, q := range quantileLabels {
				c.send(queueTime, 0, "request", name, "quantile", q)
			}
		}
	}
}

// errors come in the order of keys and codes, so that a page can be compared
// with the one before.
func (c *collection) errors() {
	c.m.errorsMu.Lock()
	counts := maps.Clone(c.m.errors)
	c.m.errorsMu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(counts), func(a, b errorKey) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.code, b.code))
	}) {
		name := strconv.Itoa(int(k.code))
		if e := kerr.TypedErrorForCode(k.code); e != nil {
			name = e.Message
		}
		c.send(errorsTotal, float64(counts[k]), "request", keyName(k.key), "error", name)
	}
}

func (c *collection) timings(family string, t *timings, request string) {
	values := make([]float64, len(shares))
	t.quantiles(c.now, shares, values)
	for i, v := range values {
		c.send(family, v, "request", request, "quantile", quantileLabels[i])
	}
	c.send(family+"_count", float64(t.count.Load()), "request", request)
	c.send(family+"_sum", float64(t.sum.Load())/float64(time.Millisecond), "request", request)
}

func (c *collection) network() {
	c.m.connsMu.Lock()
	for _, listener := range slices.Sorted(maps.Keys(c.m.conns)) {
		s := c.m.conns[listener]
		labels := []string{"listener", listener, "networkProcessor", "0"}
		c.send(connections, float64(s.open), labels...)
		c.send(connsCreated, float64(s.created), labels...)
		c.send(connsClosed, float64(s.closed), labels...)
		c.send(createRate, s.createRate.read(c.now, s.created), labels...)
		c.send(closeRate, s.closeRate.read(c.now, s.closed), labels...)
	}
	c.m.connsMu.Unlock()
	if c.s.BufferedBytes != nil {
		c.send(bufferedBytes, float64(c.s.BufferedBytes()))
	}
	if c.s.Sessions != nil {
		sessions, partitions, evictions := c.s.Sessions()
		c.send(sessionCount, float64(sessions))
		c.send(sessionParts, float64(partitions))
		c.send(sessionEvicted, float64(evictions))
	}
}

func (c *collection) storage() {
	c.send(corruptions, float64(c.m.Corruptions.Load()))
	c.send(rebuiltFiles, float64(c.m.Rebuilt.Load()))
	c.send(recoveredLogs, float64(c.m.Recovered.Load()))
	c.send(isrShrinks, float64(c.m.ISRShrinks.Load()))
	c.send(isrExpands, float64(c.m.ISRExpands.Load()))
	c.send(isrFailed, float64(c.m.ISRFailed.Load()))
	values := make([]float64, len(shares))
	c.m.flushes.quantiles(c.now, shares, values)
	for i, v := range values {
		c.send(flushTime, v, "quantile", quantileLabels[i])
	}
	c.send(flushTime+"_count", float64(c.m.flushes.count.Load()))
	c.send(flushTime+"_sum", float64(c.m.flushes.sum.Load())/float64(time.Millisecond))
	c.m.dirsMu.Lock()
	defer c.m.dirsMu.Unlock()
	c.send(offlineDirs, float64(len(c.m.failed)))
	for dir, full := range c.m.full {
		c.flag(diskFull, full, "dir", dir)
	}
}

func (c *collection) limit() int {
	if c.s.PartitionLimit == nil {
		return 2000
	}
	return c.s.PartitionLimit()
}

func (c *collection) hosted() {
	if c.s.State != nil {
		c.send(brokerState, float64(c.s.State()))
	}
	if c.s.Hosted == nil {
		return
	}
	var lag int64
	var failing, leads, all, offline, underRepl, underMin, atMin, produce, fetch int
	limit := c.limit()
	c.ends = map[partitionKey]int64{}
	c.s.Hosted(func(h Hosted) bool {
		all++
		produce, fetch = produce+h.WaitingProduce, fetch+h.WaitingFetch
		if h.Offline {
			offline++
		}
		if h.Follows {
			lag = max(lag, h.Lag)
			if h.FetchFails {
				failing++
			}
		}
		if h.Leads {
			leads++
			if h.HighWatermark >= 0 {
				c.ends[partitionKey{h.Topic, h.Partition}] = h.HighWatermark
			}
			count := func(n *int, yes bool) {
				if yes {
					*n++
				}
			}
			count(&underRepl, h.UnderReplicated)
			count(&underMin, h.UnderMin)
			count(&atMin, h.AtMin)
		}
		if all <= limit {
			c.partition(h)
		}
		return true
	})
	c.send(leaderCount, float64(leads))
	c.send(partitionCount, float64(all))
	c.send(offlineReplicas, float64(offline))
	c.send(underReplicated, float64(underRepl))
	c.send(underMinISR, float64(underMin))
	c.send(atMinISR, float64(atMin))
	c.send(fetcherMaxLag, float64(lag), "clientId", "Replica")
	c.send(fetcherFailed, float64(failing), "clientId", "Replica")
	c.send(purgatorySize, float64(produce), "delayedOperation", "Produce")
	c.send(purgatorySize, float64(fetch), "delayedOperation", "Fetch")
	c.send(partitionsLeft, float64(max(0, all-limit)))
}

func (c *collection) partition(h Hosted) {
	labels := []string{"topic", h.Topic, "partition", strconv.Itoa(int(h.Partition))}
	for _, v := range []struct {
		name  string
		value int64
	}{{logSize, h.Bytes}, {logStart, h.LogStart}, {logEnd, h.LogEnd}} {
		if v.value >= 0 {
			c.send(v.name, float64(v.value), labels...)
		}
	}
	if h.Segments > 0 {
		c.send(logSegments, float64(h.Segments), labels...)
	}
	if h.Follows {
		c.send(fetcherLag, float64(h.Lag), "clientId", "Replica", "topic", h.Topic, "partition", strconv.Itoa(int(h.Partition)))
	}
	if !h.Leads {
		return
	}
	c.flag(partUnderMin, h.UnderMin, labels...)
	c.flag(partAtMin, h.AtMin, labels...)
	c.flag(partUnderRepl, h.UnderReplicated, labels...)
	if h.HighWatermark >= 0 {
		c.send(topicEnd, float64(h.HighWatermark), labels...)
	}
	if h.LogStart >= 0 {
		c.send(topicOldest, float64(h.LogStart), labels...)
	}
}

// image sends what the cluster's metadata tells. Figures of the whole cluster
// come from the active controller alone, so that they can be summed.
func (c *collection) image() {
	active := c.s.ActiveController != nil && c.s.ActiveController()
	c.flag(activeControllers, active)
	if c.s.Image == nil {
		return
	}
	img := c.s.Image()
	c.send(lastApplied, float64(img.Version()))
	var live, fenced int
	for b := range img.Brokers() {
		if b.Fenced {
			fenced++
			continue
		}
		live++
		if len(b.Endpoints) > 0 {
			e := b.Endpoints[0]
			c.send(brokerInfo, 1, "id", strconv.Itoa(int(b.ID)), "address", net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		}
	}
	c.send(brokers, float64(live))
	offline, unbalanced, moving := c.assignments(img)
	c.send(reassigning, float64(moving))
	if active {
		c.send(activeBrokers, float64(live))
		c.send(fencedBrokers, float64(fenced))
		c.send(globalTopics, float64(img.TopicCount()))
		c.send(globalPartitions, float64(img.PartitionCount()))
		c.send(offlinePartitions, float64(offline))
		c.send(imbalance, float64(unbalanced))
		c.send(uncleanElections, float64(c.m.UncleanElections.Load()))
		c.send(controllerApplied, float64(img.Version()))
		if c.s.Quorum != nil {
			c.send(controllerEnd, float64(c.s.Quorum().HighWatermark))
		}
	}
}

func (c *collection) assignments(img *meta.Image) (offline, unbalanced, moving int) {
	limit := c.limit()
	for t := range img.Topics() {
		if limit > 0 {
			c.send(topicPartitions, float64(t.Len()), "topic", t.Name)
		}
		for i, p := range t.Partitions() {
			if p.Leader == meta.NoLeader {
				offline++
			}
			preferred := len(p.Replicas) > 0 && p.Leader == p.Replicas[0]
			if !preferred {
				unbalanced++
			}
			here := p.Leader == c.s.Node
			if here && len(p.Adding)+len(p.Removing) > 0 {
				moving++
			}
			if limit--; limit < 0 {
				continue
			}
			labels := []string{"topic", t.Name, "partition", strconv.Itoa(int(i))}
			c.send(topicLeader, float64(p.Leader), labels...)
			c.flag(topicPreferred, preferred, labels...)
			c.send(topicReplicas, float64(len(p.Replicas)), labels...)
			c.send(topicISR, float64(len(p.ISR)), labels...)
			c.flag(topicUnderRepl, len(p.ISR) < len(p.Replicas), labels...)
			if here {
				c.send(partISR, float64(len(p.ISR)), labels...)
				c.send(partReplicas, float64(len(p.Replicas)), labels...)
			}
		}
	}
	return offline, unbalanced, moving
}

func (c *collection) quorum() {
	if c.s.Quorum == nil {
		return
	}
	q := c.s.Quorum()
	c.send(raftState, 1, "current_state", q.State)
	c.send(raftLeader, float64(q.Leader))
	c.send(raftVote, float64(q.Vote))
	c.send(raftEpoch, float64(q.Epoch))
	c.send(raftHW, float64(q.HighWatermark))
	c.send(raftLogEnd, float64(q.LogEnd))
	c.send(raftLogEpoch, float64(q.LogEndEpoch))
	c.send(raftVoters, float64(q.Voters))
	c.send(raftUnknown, float64(q.Unknown))
	m := q.Measures
	if q.State == "leader" {
		c.send(raftObservers, float64(q.Observers))
		c.flag(raftChanging, q.Changing)
	}
	c.send(raftCommitAvg, m.CommitAvg)
	c.send(raftCommitMax, m.CommitMax)
	c.send(raftElectAvg, m.ElectionAvg)
	c.send(raftElectMax, m.ElectionMax)
	c.send(raftAppended, m.Appended)
	c.send(raftFetched, m.Fetched)
	c.send(raftIdle, m.Idle)
}

// groupsPatience bounds how long a scrape waits for the coordinators.
const groupsPatience = 2 * time.Second

func (c *collection) groups() {
	if c.s.Groups == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupsPatience)
	defer cancel()
	all := c.s.Groups(ctx)
	states := map[string]int{}
	offsets, room := 0, c.limit()
	for _, g := range all {
		states[g.State]++
		offsets += len(g.Offsets)
		if room > 0 {
			room -= len(g.Offsets)
			c.group(g)
		}
	}
	c.send(groupCount, float64(len(all)))
	c.send(offsetCount, float64(offsets))
	c.send(groupsStable, float64(states["Stable"]))
	c.send(groupsEmpty, float64(states["Empty"]))
	c.send(groupsDead, float64(states["Dead"]))
	c.send(groupsPrepare, float64(states["PreparingRebalance"]))
	c.send(groupsFinish, float64(states["CompletingRebalance"]))
}

// group sends one group's offsets and lag. Lag is known for partitions led
// here; with one node these are all.
func (c *collection) group(g Group) {
	c.send(groupMembers, float64(g.Members), "consumergroup", g.ID)
	type sum struct {
		offset, lag int64
		lagKnown    bool
	}
	sums := map[string]*sum{}
	for _, o := range g.Offsets {
		labels := []string{"consumergroup", g.ID, "topic", o.Topic, "partition", strconv.Itoa(int(o.Partition))}
		s := sums[o.Topic]
		if s == nil {
			s = &sum{}
			sums[o.Topic] = s
		}
		s.offset += o.Offset
		c.send(groupOffset, float64(o.Offset), labels...)
		if end, ok := c.ends[partitionKey{o.Topic, o.Partition}]; ok {
			lag := max(0, end-o.Offset)
			s.lag += lag
			s.lagKnown = true
			c.send(groupLag, float64(lag), labels...)
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(sums)) {
		c.send(groupOffsetSum, float64(sums[topic].offset), "consumergroup", g.ID, "topic", topic)
		if sums[topic].lagKnown {
			c.send(groupLagSum, float64(sums[topic].lag), "consumergroup", g.ID, "topic", topic)
		}
	}
}

// idleMeter tells the share of the process's processors that was idle between
// two readings, from the Go scheduler's own account.
type idleMeter struct {
	mu          sync.Mutex // guards all
	idle, total float64
	share       float64
}

func (m *idleMeter) read() float64 {
	samples := []metrics.Sample{{Name: "/cpu/classes/idle:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}}
	metrics.Read(samples)
	if samples[0].Value.Kind() != metrics.KindFloat64 || samples[1].Value.Kind() != metrics.KindFloat64 {
		return 1
	}
	idle, total := samples[0].Value.Float64(), samples[1].Value.Float64()
	m.mu.Lock()
	defer m.mu.Unlock()
	// The account moves with each garbage collection; between two of them the
	// last share stands.
	if total > m.total {
		m.share = min(1, max(0, (idle-m.idle)/(total-m.total)))
		m.idle, m.total = idle, total
	} else if m.total == 0 {
		m.share = 1
	}
	return m.share
}
