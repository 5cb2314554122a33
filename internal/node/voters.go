// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/api"
	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/wire/peer"
)

// tagPassed marks a request about the quorum that a node passed on to whom it
// takes for the leader: that one does not pass it on again.
const tagPassed = 10010

func passed(tags *kmsg.Tags) (was bool) {
	tags.Each(func(tag uint32, _ []byte) { was = was || tag == tagPassed })
	return was
}

// leaderPatience is how long a request about the quorum waits for a leader.
const leaderPatience = 10 * time.Second

// atLeader has f done where the leader is, or passes req on to it and gives the
// answer. While the leader moves it tries again.
func (n *Node) atLeader(ctx context.Context, req kmsg.Request, tags *kmsg.Tags, f func(context.Context) error) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	once := passed(tags)
	if !once {
		tags.Set(tagPassed, nil)
	}
	for {
		moved := n.quorum.Moved()
		resp, err := n.tryLeader(ctx, req, once, f)
		if err == nil || once || !errors.Is(err, kerr.NotController) && !errors.Is(err, peer.ErrUnreachable) && !errors.Is(err, peer.ErrLost) {
			return resp, err
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-moved:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, says(kerr.RequestTimedOut, "The controllers have no leader: %v", err)
		}
		t.Stop()
	}
}

func (n *Node) tryLeader(ctx context.Context, req kmsg.Request, once bool, f func(context.Context) error) (kmsg.Response, error) {
	id, _, ok := n.leader()
	switch {
	case ok && id == n.live.Broker().NodeID:
		return nil, f(ctx)
	case !ok || once:
		return nil, kerr.NotController
	}
	resp, err := peer.Ask[kmsg.Response](ctx, n.controllers.To(id), req)
	if err == nil {
		err = refusalIn(resp)
	}
	return resp, err
}

// refusalIn is the error in a response about the quorum.
func refusalIn(resp kmsg.Response) error {
	switch r := resp.(type) {
	case *kmsg.AddRaftVoterResponse:
		return answered(r.ErrorCode, r.ErrorMessage)
	case *kmsg.RemoveRaftVoterResponse:
		return answered(r.ErrorCode, r.ErrorMessage)
	case *kmsg.UpdateRaftVoterResponse:
		return answered(r.ErrorCode, nil)
	case *kmsg.DescribeQuorumResponse:
		return answered(r.ErrorCode, r.ErrorMessage)
	}
	return fmt.Errorf("%T is no answer about the quorum", resp)
}

// ChangeVoters meets api.VoterChanges.
func (n *Node) ChangeVoters(ctx context.Context, req kmsg.Request) error {
	var tags *kmsg.Tags
	var cluster *string
	var change func(context.Context) error
	switch req := req.(type) {
	case *kmsg.AddRaftVoterRequest:
		tags, cluster = &req.UnknownTags, req.ClusterID
		change = func(ctx context.Context) error { return n.addVoter(ctx, req) }
	case *kmsg.RemoveRaftVoterRequest:
		tags, cluster = &req.UnknownTags, req.ClusterID
		change = func(ctx context.Context) error {
			v := quorum.Voter{ID: req.VoterID, Directory: req.VoterDirectoryID}
			return n.changeVoters(ctx, quorum.VoterChange{Kind: quorum.RemoveVoter, Voter: v})
		}
	case *kmsg.UpdateRaftVoterRequest:
		tags, cluster = &req.UnknownTags, req.ClusterID
		change = func(ctx context.Context) error {
			v := quorum.Voter{ID: req.VoterID, Directory: req.VoterDirectoryID}
			for _, l := range req.Listeners {
				v.Endpoints = append(v.Endpoints, meta.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
			}
			if err := n.checkMove(ctx, v); err != nil {
				return err
			}
			return n.changeVoters(ctx, quorum.VoterChange{Kind: quorum.UpdateVoter, Voter: v})
		}
	default:
		return kerr.UnsupportedVersion
	}
	if cluster != nil && *cluster != n.identity.cluster {
		return says(kerr.InconsistentClusterID, "This is cluster %s, not %s", n.identity.cluster, *cluster)
	}
	_, err := n.atLeader(ctx, req, tags, change)
	return err
}

func answered(code int16, text *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || text == nil {
		return err
	}
	return &refusal{err, *text}
}

// refusal is one of Kafka's errors in words for this case.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func says(kind *kerr.Error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

func (n *Node) changeVoters(ctx context.Context, ch quorum.VoterChange) error {
	err := n.quorum.ChangeVoters(ctx, ch)
	for inner, outer := range map[error]*kerr.Error{
		meta.ErrNotLeader: kerr.NotController, meta.ErrUnknown: kerr.RequestTimedOut, meta.ErrDropped: kerr.RequestTimedOut,
		quorum.ErrChangeUnderWay: kerr.RequestTimedOut, quorum.ErrDuplicateVoter: kerr.DuplicateVoter,
		quorum.ErrVoterNotFound: kerr.VoterNotFound, quorum.ErrTooFew: kerr.InvalidRequest, quorum.ErrBadVoter: kerr.InvalidRequest,
	} {
		if errors.Is(err, inner) {
			return &refusal{outer, strings.TrimPrefix(err.Error(), "quorum: ")}
		}
	}
	return err
}

// addVoter lets a controller vote that follows already: it must be reached at
// the address given, be who it is said to be, and have the log.
func (n *Node) addVoter(ctx context.Context, req *kmsg.AddRaftVoterRequest) error {
	v := quorum.Voter{ID: req.VoterID, Directory: req.VoterDirectoryID}
	for _, l := range req.Listeners {
		v.Endpoints = append(v.Endpoints, meta.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
	}
	listener := controllerListener(n.live.Broker())
	if !slices.ContainsFunc(v.Endpoints, func(e meta.Endpoint) bool { return e.Listener == listener }) {
		return says(kerr.InvalidRequest, "The listeners given do not contain %s, by which controllers are reached", listener)
	}
	if old, ok := n.quorum.Membership().ByID(v.ID); ok {
		return says(kerr.DuplicateVoter, "The id of %s is among the voters already, as %s.", v, old)
	}
	e, _ := v.Endpoint(listener)
	addr := net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
	if err := n.checkVoter(ctx, v, addr); err != nil {
		return err
	}
	if err := n.awaitCaughtUp(ctx, v); err != nil {
		return err
	}
	return n.changeVoters(ctx, quorum.VoterChange{Kind: quorum.AddVoter, Voter: v, Early: !req.AckWhenCommitted})
}

// checkVoter asks an address who sits there.
func (n *Node) checkVoter(ctx context.Context, v quorum.Voter, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, n.live.Broker().Quorum.RequestTimeout)
	defer cancel()
	g, err := n.greet(ctx, addr, n.greeting())
	switch {
	case err != nil:
		return says(kerr.RequestTimedOut, "The new voter %s does not answer at %s: %v", v, addr, err)
	case g.Refusal != "":
		return says(kerr.InvalidRequest, "%s refuses: %s", addr, g.Refusal)
	case g.Node != v.ID || g.Directory != v.Directory:
		return says(kerr.InvalidRequest, "At %s is node %d with directory %s, not %s", addr, g.Node, meta.FormatUUID(g.Directory), v)
	case g.Cluster != n.identity.cluster:
		return says(kerr.InconsistentClusterID, "Node %d at %s is of cluster %s", g.Node, addr, g.Cluster)
	}
	return nil
}

// caughtUpLately: an observer that had everything so lately can vote at once.
const caughtUpLately = 3 * time.Second

// awaitCaughtUp waits until an observer has the log.
func (n *Node) awaitCaughtUp(ctx context.Context, v quorum.Voter) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		o, ok := n.quorum.Observer(v.ID, v.Directory)
		switch {
		case ok && !o.Controller:
			return says(kerr.InvalidRequest, "%s has no controller role", v)
		case ok && time.Since(o.LastCaughtUp) < caughtUpLately:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !ok {
				return says(kerr.RequestTimedOut, "%s does not follow this controller yet", v)
			}
			return says(kerr.RequestTimedOut, "%s is behind: its log ends at offset %d", v, o.End)
		}
	}
}

// Status meets api.Quorum: what the leader says.
func (n *Node) Status(ctx context.Context, req *kmsg.DescribeQuorumRequest) (api.QuorumStatus, error) {
	var out api.QuorumStatus
	resp, err := n.atLeader(ctx, req, &req.UnknownTags, func(ctx context.Context) (err error) {
		out, err = n.describeQuorum(ctx)
		return err
	})
	if err != nil || resp == nil {
		return out, err
	}
	r, ok := resp.(*kmsg.DescribeQuorumResponse)
	if !ok {
		return out, fmt.Errorf("%T answered with %T", req, resp)
	}
	return out, fromResponse(r, &out)
}

func fromResponse(r *kmsg.DescribeQuorumResponse, out *api.QuorumStatus) error {
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return kerr.UnknownServerError
	}
	p := r.Topics[0].Partitions[0]
	if err := answered(p.ErrorCode, p.ErrorMessage); err != nil {
		return err
	}
	replicas := func(rs []kmsg.DescribeQuorumResponseTopicPartitionReplicaState) (out []api.QuorumReplica) {
		for _, s := range rs {
			out = append(out, api.QuorumReplica{Node: s.ReplicaID, Directory: s.ReplicaDirectoryID, LogEnd: s.LogEndOffset, LastFetch: s.LastFetchTimestamp, LastCaughtUp: s.LastCaughtUpTimestamp})
		}
		return out
	}
	*out = api.QuorumStatus{Leader: p.LeaderID, LeaderEpoch: p.LeaderEpoch, HighWatermark: p.HighWatermark, Voters: replicas(p.CurrentVoters), Observers: replicas(p.Observers)}
	for _, nd := range r.Nodes {
		c := api.QuorumNode{Node: nd.NodeID}
		for _, l := range nd.Listeners {
			c.Endpoints = append(c.Endpoints, meta.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port})
		}
		out.Nodes = append(out.Nodes, c)
	}
	return nil
}

func (n *Node) describeQuorum(ctx context.Context) (api.QuorumStatus, error) {
	d, err := n.quorum.Describe(ctx)
	if err != nil {
		return api.QuorumStatus{}, err
	}
	ms := func(t time.Time) int64 {
		if t.IsZero() {
			return -1
		}
		return t.UnixMilli()
	}
	out := api.QuorumStatus{Leader: -1, LeaderEpoch: int32(d.Term), HighWatermark: d.HighWatermark}
	for _, v := range d.Voters {
		out.Voters = append(out.Voters, api.QuorumReplica{Node: v.Voter.ID, Directory: v.Voter.Directory, LogEnd: v.End, LastFetch: ms(v.LastFetch), LastCaughtUp: ms(v.LastCaughtUp)})
		out.Nodes = append(out.Nodes, api.QuorumNode{Node: v.Voter.ID, Endpoints: v.Voter.Endpoints})
		if v.ID == d.Leader {
			out.Leader = v.Voter.ID
		}
	}
	slices.SortFunc(out.Voters, func(a, b api.QuorumReplica) int { return int(a.Node) - int(b.Node) })
	slices.SortFunc(out.Nodes, func(a, b api.QuorumNode) int { return int(a.Node) - int(b.Node) })
	for _, o := range d.Observers {
		out.Observers = append(out.Observers, api.QuorumReplica{Node: o.ID, Directory: o.Directory, LogEnd: o.End, LastFetch: ms(o.LastFetch), LastCaughtUp: ms(o.LastCaughtUp)})
		if c := n.image.Load().Controller(o.ID); c != nil && c.Directory == o.Directory {
			out.Nodes = append(out.Nodes, api.QuorumNode{Node: o.ID, Endpoints: c.Endpoints})
		}
	}
	return out, nil
}

// seat looks after this controller's place among the voters: it tells where it
// is reached now, and asks to be let in where it is to join by itself
// (controller.quorum.auto.join.enable). A controller that is no broker tells of
// itself here too.
//
// Concurrency: one goroutine; close ends it and waits.
type seat struct {
	n      *Node
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// seatInterval is how often the place is looked at.
const seatInterval = time.Second

func (n *Node) takeSeat() *seat {
	ctx, cancel := context.WithCancel(context.Background())
	s := &seat{n: n, cancel: cancel}
	if n.live.Broker().IsController {
		s.wg.Go(func() { s.keep(ctx) })
	}
	return s
}

func (s *seat) close() {
	s.cancel()
	s.wg.Wait()
}

func (s *seat) keep(ctx context.Context) {
	log := s.n.logs.Logger(logQuorum)
	tick := time.NewTicker(seatInterval)
	defer tick.Stop()
	last := ""
	for i := 0; ; i++ {
		if i%twinEvery == 0 && s.n.lookForTwin(ctx) {
			return
		}
		err := s.look(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != last {
			log.Warn("this controller's place in the quorum could not be changed; it is tried again", "error", err)
		}
		if last = ""; err != nil {
			last = err.Error()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look changes what is not as it should be.
func (s *seat) look(ctx context.Context) error {
	n := s.n
	b := n.live.Broker()
	m := n.quorum.Membership()
	if _, _, ok := n.leader(); !ok {
		return nil
	}
	if !b.IsBroker {
		own := n.asController()
		c := n.image.Load().Controller(own.ID)
		if n.image.Load().ClusterID() != "" && (c == nil || c.Incarnation != own.Incarnation || c.Directory != own.Directory) {
			if err := n.uplink.RegisterController(ctx, *own); err != nil {
				return err
			}
		}
	}
	self := quorum.Voter{ID: b.NodeID, Directory: n.metaDir.ID(), Endpoints: n.controllerEndpoints()}
	old, there := m.ByID(self.ID)
	switch {
	case m.Self && len(b.QuorumVoters) == 0 && !slices.Equal(old.Endpoints, self.Endpoints):
		return n.ChangeVoters(ctx, updateRequest(n.identity.cluster, self))
	case m.Self || !b.Quorum.AutoJoin:
		return nil
	case there: // this node in an earlier life
		req := kmsg.NewPtrRemoveRaftVoterRequest()
		req.ClusterID, req.VoterID, req.VoterDirectoryID = &n.identity.cluster, old.ID, old.Directory
		if err := n.ChangeVoters(ctx, req); err != nil && !errors.Is(err, kerr.VoterNotFound) {
			return err
		}
	}
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.Version, req.ClusterID, req.VoterID, req.VoterDirectoryID = 1, &n.identity.cluster, self.ID, self.Directory
	for _, e := range self.Endpoints {
		l := kmsg.NewAddRaftVoterRequestListener()
		l.Name, l.Host, l.Port = e.Listener, e.Host, e.Port
		req.Listeners = append(req.Listeners, l)
	}
	err := n.ChangeVoters(ctx, req)
	if err == nil {
		n.logs.Logger(logQuorum).Info("this controller votes now")
	}
	return err
}

func updateRequest(cluster string, v quorum.Voter) *kmsg.UpdateRaftVoterRequest {
	req := kmsg.NewPtrUpdateRaftVoterRequest()
	req.ClusterID, req.CurrentLeaderEpoch, req.VoterID, req.VoterDirectoryID = &cluster, -1, v.ID, v.Directory
	for _, e := range v.Endpoints {
		l := kmsg.NewUpdateRaftVoterRequestListener()
		l.Name, l.Host, l.Port = e.Listener, e.Host, e.Port
		req.Listeners = append(req.Listeners, l)
	}
	req.KRaftVersionFeature.MaxSupportedVersion = 1
	return req
}
