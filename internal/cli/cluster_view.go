// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/cli/kafka"
)

// clusterView is a cluster as a client can see it: put together from several
// answers, so parts of it may be a moment apart.
type clusterView struct {
	ID         string
	Controller int32
	Voters     []int32
	Late       []int32      // voters that do not keep up with the metadata log
	Brokers    []brokerView // by id
	Partitions []partitionView
	Moving     map[tp]kmsg.ListPartitionReassignmentsResponseTopicPartition
	Features   []featureStatus          // of which a higher level is known; asked by status alone
	dirs       map[int32][]dirView      // the log directories of brokers that answer
	lostVotes  []string                 // see noteLostVotes
	logs       map[tp]map[int32]logView // what brokers say they have
	silent     map[int32]error          // brokers that do not answer
	draining   map[int32]bool           // brokers that are being taken out
	stuck      map[route]bool           // see noteStuck; asked by status alone
}

type brokerView struct {
	ID      int32
	Address string
	Rack    string
	Fenced  bool
}

type partitionView struct {
	tp
	Leader        int32
	Replicas, ISR []int32
	Offline       []int32 // whose directory or broker is gone
	Eligible      []int32 // out of sync, but with every record; asked for where nobody leads
	Bytes         int64   // of the largest replica that was told
}

// tp names a partition.
type tp struct {
	Topic string
	Index int32
}

func (p tp) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// logView is one replica's log.
type logView struct{ bytes, lag int64 }

// brokerPatience bounds how long one broker may keep a view waiting.
const brokerPatience = 3 * time.Second

// connected runs do with a connection.
func (c *client) connected(ctx context.Context, do func(context.Context, *kgo.Client, *kadm.Client) error) error {
	cl, err := c.kgo()
	if err != nil {
		return err
	}
	defer cl.Close()
	return c.inWords(do(ctx, cl, kadm.NewClient(cl)))
}

func viewCluster(ctx context.Context, cl *kgo.Client, adm *kadm.Client) (*clusterView, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	v := &clusterView{dirs: map[int32][]dirView{}, logs: map[tp]map[int32]logView{}, silent: map[int32]error{}, draining: map[int32]bool{}}
	md, err := adm.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	v.ID, v.Controller = md.Cluster, md.Controller
	v.askBrokers(ctx, cl, md)
	v.askQuorum(ctx, cl, time.Now())
	if v.Moving, err = kafka.Reassignments(ctx, cl, func(topic string, i int32) tp { return tp{topic, i} }); err != nil {
		return nil, err
	}
	v.askLogs(ctx, cl)
	v.askDraining(ctx, adm)
	for _, t := range md.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			pv := partitionView{tp: tp{t.Topic, p.Partition}, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR, Offline: p.OfflineReplicas}
			for _, l := range v.logs[pv.tp] {
				pv.Bytes = max(pv.Bytes, l.bytes)
			}
			v.Partitions = append(v.Partitions, pv)
		}
	}
	v.askEligible(ctx, cl)
	return v, nil
}

// askEligible learns which replicas could lead where nobody does (KIP-966); a
// cluster that does not know the request has none.
func (v *clusterView) askEligible(ctx context.Context, cl *kgo.Client) {
	led := func(p partitionView) bool { return p.Leader >= 0 }
	var topics []string
	for _, p := range v.Partitions {
		if !led(p) && (len(topics) == 0 || topics[len(topics)-1] != p.Topic) {
			topics = append(topics, p.Topic)
		}
	}
	eligible := map[tp][]int32{}
	for names := range slices.Chunk(topics, 100) {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = 2000
		for _, n := range names {
			t := kmsg.NewDescribeTopicPartitionsRequestTopic()
			t.Topic = n
			req.Topics = append(req.Topics, t)
		}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				eligible[tp{deref(t.Topic), p.Partition}] = p.EligibleLeaderReplicas
			}
		}
	}
	for i := range v.Partitions {
		v.Partitions[i].Eligible = eligible[v.Partitions[i].tp]
	}
}

// askBrokers learns of brokers that are registered, fenced ones too where the
// cluster tells them.
func (v *clusterView) askBrokers(ctx context.Context, cl *kgo.Client, md kadm.Metadata) {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeFencedBrokers = true
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil { // an old cluster
		for _, b := range md.Brokers {
			v.Brokers = append(v.Brokers, brokerView{b.NodeID, fmt.Sprintf("%s:%d", b.Host, b.Port), deref(b.Rack), false})
		}
	} else {
		for _, b := range resp.Brokers {
			v.Brokers = append(v.Brokers, brokerView{b.NodeID, fmt.Sprintf("%s:%d", b.Host, b.Port), deref(b.Rack), b.IsFenced})
		}
	}
	slices.SortFunc(v.Brokers, func(a, b brokerView) int { return cmp.Compare(a.ID, b.ID) })
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// voterPatience is how long a voter may lag before it is told.
const voterPatience = 10 * time.Second

func (v *clusterView) askQuorum(ctx context.Context, cl *kgo.Client, now time.Time) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		return // nice to know, no more
	}
	p := resp.Topics[0].Partitions[0]
	if kerr.ErrorForCode(p.ErrorCode) == nil && p.LeaderID >= 0 {
		v.Controller = p.LeaderID
	}
	v.noteLostVotes(p, now)
	for _, r := range p.CurrentVoters {
		v.Voters = append(v.Voters, r.ReplicaID)
		if r.ReplicaID != p.LeaderID && r.LogEndOffset < p.HighWatermark && r.LastCaughtUpTimestamp < now.Add(-voterPatience).UnixMilli() {
			v.Late = append(v.Late, r.ReplicaID)
		}
	}
	slices.Sort(v.Voters)
	slices.Sort(v.Late)
}

// askLogs asks every broker that is up for its logs, all at once.
func (v *clusterView) askLogs(ctx context.Context, cl *kgo.Client) {
	var mu sync.Mutex // guards v.logs, v.dirs and v.silent
	var wg sync.WaitGroup
	for _, b := range v.Brokers {
		if b.Fenced {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, brokerPatience)
			defer cancel()
			raw, err := cl.Broker(int(b.ID)).Request(ctx, kmsg.NewPtrDescribeLogDirsRequest())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				v.silent[b.ID] = err
				return
			}
			for _, d := range raw.(*kmsg.DescribeLogDirsResponse).Dirs {
				v.dirs[b.ID] = append(v.dirs[b.ID], dirView{d.Dir, d.ErrorCode != 0, d.IsCordoned, d.TotalBytes, d.UsableBytes})
				for _, t := range d.Topics {
					for _, p := range t.Partitions {
						if p.IsFuture {
							continue
						}
						at := tp{t.Topic, p.Partition}
						if v.logs[at] == nil {
							v.logs[at] = map[int32]logView{}
						}
						v.logs[at][b.ID] = logView{p.Size, p.OffsetLag}
					}
				}
			}
		})
	}
	wg.Wait()
}

// askDraining learns which brokers are being taken out; a cluster that does not
// know the setting has none.
func (v *clusterView) askDraining(ctx context.Context, adm *kadm.Client) {
	var up []int32
	for _, b := range v.Brokers {
		if !b.Fenced && v.silent[b.ID] == nil {
			up = append(up, b.ID)
		}
	}
	if len(up) == 0 {
		return
	}
	confs, err := adm.DescribeBrokerConfigs(ctx, up...)
	if err != nil {
		return
	}
	for _, c := range confs {
		for _, s := range c.Configs {
			if s.Key == drainSetting && s.Value != nil && *s.Value == "true" {
				if id, err := strconv.ParseInt(c.Name, 10, 32); err == nil {
					v.draining[int32(id)] = true
				}
			}
		}
	}
}

func (v *clusterView) broker(id int32) (brokerView, bool) {
	for _, b := range v.Brokers {
		if b.ID == id {
			return b, true
		}
	}
	return brokerView{}, false
}

// whyBehind says why replica r of p is not in sync.
func (v *clusterView) whyBehind(p partitionView, r int32) string {
	b, known := v.broker(r)
	switch {
	case !known:
		return fmt.Sprintf("broker %d is not registered", r)
	case b.Fenced:
		return fmt.Sprintf("broker %d is down", r)
	case v.silent[r] != nil:
		return fmt.Sprintf("broker %d does not answer", r)
	case slices.Contains(p.Offline, r):
		return fmt.Sprintf("the log directory on broker %d failed", r)
	}
	l, told := v.logs[p.tp][r]
	adding := slices.Contains(v.Moving[p.tp].AddingReplicas, r)
	switch {
	case !told && slices.ContainsFunc(v.dirs[r], func(d dirView) bool { return d.failed }):
		return fmt.Sprintf("broker %d has lost a log directory, and shows no log of it", r)
	case !told && adding:
		return fmt.Sprintf("broker %d was just added", r)
	case !told:
		return fmt.Sprintf("broker %d has no log of it yet", r)
	}
	doing := "catches up"
	if adding {
		doing = "is being filled"
	}
	if v.stuck[route{p.Leader, r}] {
		doing = fmt.Sprintf("gets nothing from broker %d", p.Leader)
	}
	if l.lag > 0 {
		return fmt.Sprintf("broker %d %s, %d records behind", r, doing, l.lag)
	}
	if lead := v.logs[p.tp][p.Leader].bytes; lead > l.bytes {
		return fmt.Sprintf("broker %d %s, %s behind", r, doing, sizeText(lead-l.bytes))
	}
	return fmt.Sprintf("broker %d %s", r, doing)
}

// factor is how many replicas p is to have.
func (v *clusterView) factor(p partitionView) int {
	return len(p.Replicas) - len(v.Moving[p.tp].AddingReplicas)
}

// missing are the replicas of p that are out of sync though they are to stay,
// or to come.
func missing(p partitionView) (out []int32) {
	for _, r := range p.Replicas {
		if !slices.Contains(p.ISR, r) {
			out = append(out, r)
		}
	}
	return out
}

// minInSync is min.insync.replicas of topics.
func minInSync(ctx context.Context, adm *kadm.Client, topics map[string]bool) map[string]int {
	out := map[string]int{}
	if len(topics) == 0 {
		return out
	}
	confs, err := adm.DescribeTopicConfigs(ctx, slices.Sorted(maps.Keys(topics))...)
	if err != nil && len(confs) == 0 {
		return out
	}
	for _, c := range confs {
		for _, s := range c.Configs {
			if s.Key == "min.insync.replicas" && s.Value != nil {
				var n int
				if _, err := fmt.Sscan(*s.Value, &n); err == nil {
					out[c.Name] = n
				}
			}
		}
	}
	return out
}

// joinIDs is a list of ids for people.
func joinIDs(ids []int32) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, id)
	}
	return b.String()
}
