// SPDX-License-Identifier: Apache-2.0

// Package uplink is the line between brokers and the active controller. Uplink
// is a broker's voice: what is to be changed in the metadata goes through it,
// to the controller in this process or, over the network, to the one that is
// active. Desk is the controller's ear: it has each request decided by plan on
// the controller's loop. Everything that is asked is a message, so both ways
// end at the same Desk.
//
//	broker             controller that is active
//	Uplink --(here)--> Desk --> plan --> quorum
//	   \--(32005 over a peer)--> api --> Desk
//
// Each call of an Uplink returns when the change is committed and this broker
// has followed it (its own Image shows it), so that a client that created a
// topic can produce to it through the same broker at once. While the controller
// moves, a call is tried again until its time is over, as Kafka's forwarding
// does; a change whose answer was lost may so meet itself. An error is a
// *kerr.Error or wraps one: NOT_CONTROLLER, REQUEST_TIMED_OUT.
//
// Invariant: a heartbeat goes over a connection that carries nothing else, so
// that its end says something of the broker and nothing holds it up.
//
// Shape: no state but this broker's id and epoch; safe for concurrent use.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/plan"
	"gregor/internal/wire/peer"
)

// Controller is the local controller's loop; *controller.Controller meets it.
type Controller interface {
	Submit(ctx context.Context, name string, d controller.Decision) (version int64, err error)
}

// Follower tells when this broker has followed a version; *quorum.Node meets it.
type Follower interface {
	Await(ctx context.Context, version int64) error
}

// Whereabouts tells where the active controller is.
type Whereabouts interface {
	// Controller is its node id, -1 while there is none that is known. Moved is
	// closed when the answer may be another.
	Controller() (id int32, moved <-chan struct{})
	// Address of a controller, host:port.
	Address(id int32) (string, error)
}

// Config of an Uplink.
type Config struct {
	// Node is this node's id.
	Node int32
	// Desk of the controller in this process; nil: there is none.
	Desk *Desk
	// Follower of the metadata in this process.
	Follower Follower
	// Whereabouts of the active controller; nil: it is always the local one.
	Whereabouts Whereabouts
	// Peer is how to reach others.
	Peer peer.Config
	// Timeout of calls that have no deadline of their own:
	// controller.socket.timeout.ms in older Kafkas, request.timeout.ms here.
	Timeout time.Duration
	// Caller tells on whose behalf ctx is; nil: the broker's own.
	Caller func(ctx context.Context) (principal, host string)
}

// Uplink of one broker.
type Uplink struct {
	cfg    Config
	beats  *peer.Pool // heartbeats and nothing else
	isr    *peer.Pool // what the data waits for
	others *peer.Pool
	epoch  atomic.Int64
}

// sharedPatience is how long the controller may be silent before a client's
// request whose time is over ends the connection that carries all clients'. The
// others on it are asked again then, and their changes may meet themselves.
const sharedPatience = 5 * time.Second

// New makes an uplink; nothing is dialled before it is asked.
func New(cfg Config) *Uplink {
	u := &Uplink{cfg: cfg}
	if u.cfg.Timeout <= 0 {
		u.cfg.Timeout = 30 * time.Second
	}
	u.epoch.Store(-1)
	if cfg.Whereabouts != nil {
		u.beats = peer.NewPool(cfg.Peer, cfg.Whereabouts.Address)
		u.isr = peer.NewPool(cfg.Peer, cfg.Whereabouts.Address)
		shared := cfg.Peer
		shared.Patience = sharedPatience
		u.others = peer.NewPool(shared, cfg.Whereabouts.Address)
	}
	return u
}

// Close ends the connections; calls under way fail.
func (u *Uplink) Close() {
	for _, p := range []*peer.Pool{u.beats, u.isr, u.others} {
		if p != nil {
			p.Close()
		}
	}
}

// retryAfter is how long to wait before a request is tried again when nobody
// tells that the controller moved.
const retryAfter = 20 * time.Millisecond

// ask has a request served by the active controller, wherever that is or goes,
// and waits until this broker follows what it changed.
func (u *Uplink) ask(ctx context.Context, pool *peer.Pool, req kmsg.Request) (kmsg.Response, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, u.cfg.Timeout)
		defer cancel()
	}
	for {
		resp, version, moved, err := u.once(ctx, pool, req)
		if err == nil {
			return resp, translate(nameOf(req), u.cfg.Follower.Await(ctx, version))
		}
		if u.cfg.Whereabouts == nil || !again(err) {
			return resp, err
		}
		t := time.NewTimer(retryAfter)
		select {
		case <-ctx.Done():
			t.Stop()
			return resp, fmt.Errorf("%s: %w", nameOf(req), err)
		case <-moved:
			t.Stop()
		case <-t.C:
		}
	}
}

// again tells whether another try, perhaps elsewhere, may help.
func again(err error) bool {
	return errors.Is(err, kerr.NotController) || errors.Is(err, errElsewhere) ||
		errors.Is(err, peer.ErrUnreachable) || errors.Is(err, peer.ErrLost)
}

// errElsewhere: the controller moved while it was asked.
var errElsewhere = fmt.Errorf("the controller moved: %w", kerr.NotController)

// once asks whoever is the active controller now.
func (u *Uplink) once(ctx context.Context, pool *peer.Pool, req kmsg.Request) (resp kmsg.Response, version int64, moved <-chan struct{}, err error) {
	id := u.cfg.Node
	if u.cfg.Whereabouts != nil {
		if id, moved = u.cfg.Whereabouts.Controller(); id < 0 {
			return nil, 0, moved, fmt.Errorf("%s: no controller is known: %w", nameOf(req), kerr.NotController)
		}
	}
	if id == u.cfg.Node && u.cfg.Desk != nil {
		resp, version, err = u.cfg.Desk.Serve(ctx, req, Caller{})
		return resp, version, moved, err
	}
	resp, version, err = u.remote(ctx, pool.To(id), req, moved)
	return resp, version, moved, err
}

// remote forwards a request, until the controller moves away from there.
func (u *Uplink) remote(ctx context.Context, to *peer.Peer, req kmsg.Request, moved <-chan struct{}) (kmsg.Response, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-moved:
			cancel(errElsewhere)
		case <-over:
		}
	}()
	f := Forward{Key: req.Key(), Version: req.GetVersion(), TimeoutMillis: 1000, Body: req.AppendTo(nil)}
	if d, ok := ctx.Deadline(); ok {
		f.TimeoutMillis = int32(max(time.Until(d).Milliseconds(), 1))
	}
	if u.cfg.Caller != nil {
		f.Principal, f.Host = u.cfg.Caller(ctx)
	}
	a, err := to.Do(ctx, peer.Request{Key: ForwardKey, Flexible: true, Body: f.AppendTo(nil)})
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errElsewhere) {
			err = cause
		}
		return nil, 0, u.unreached(req, err)
	}
	var got Forwarded
	if err := got.ReadFrom(a.Body); err != nil {
		return nil, 0, fmt.Errorf("%s: the controller's answer: %w", nameOf(req), err)
	}
	if got.Code != 0 {
		return nil, got.Version, &plan.Failure{Kind: kindOf(got.Code), Message: got.Message}
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	// Not released: kmsg's byte fields point into the body.
	if err := resp.ReadFrom(got.Body); err != nil {
		return nil, 0, fmt.Errorf("%s: the controller's answer: %w", nameOf(req), err)
	}
	return resp, got.Version, nil
}

// unreached keeps what tells whether to try again, and is Kafka's.
func (u *Uplink) unreached(req kmsg.Request, err error) error {
	if errors.Is(err, kerr.NotController) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", nameOf(req), kerr.RequestTimedOut, err)
}

func kindOf(code int16) *kerr.Error {
	var k *kerr.Error
	if errors.As(kerr.ErrorForCode(code), &k) {
		return k
	}
	return kerr.UnknownServerError
}

// Register tells the controller of this broker and returns the broker's epoch.
// It comes in fenced, and serves when a Beat says so; but ready, where it is the
// only broker, lets it serve at once.
func (u *Uplink) Register(ctx context.Context, r plan.Registration, ready bool) (epoch int64, err error) {
	resp, err := u.ask(ctx, u.others, requestOf(&registration{r, ready}))
	if err != nil {
		return 0, err
	}
	epoch = resp.(*kmsg.BrokerRegistrationResponse).BrokerEpoch
	u.epoch.Store(epoch)
	return epoch, nil
}

// CatchUp returns when this broker has followed everything that was committed
// when it was called.
func (u *Uplink) CatchUp(ctx context.Context) error {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{} // none: nil would be all
	_, err := u.ask(ctx, u.others, req)
	return err
}

// RegisterController tells of a controller that is no broker.
func (u *Uplink) RegisterController(ctx context.Context, c meta.Controller) error {
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID, req.IncarnationID = c.ID, c.Incarnation
	req.UnknownTags.Set(tagDirectory, c.Directory[:])
	for _, e := range c.Endpoints {
		l := kmsg.NewControllerRegistrationRequestListener()
		l.Name, l.Host, l.Port, l.SecurityProtocol = e.Listener, e.Host, e.Port, e.Protocol
		req.Listeners = append(req.Listeners, l)
	}
	for _, f := range c.Features {
		x := kmsg.NewControllerRegistrationRequestFeature()
		x.Name, x.MinSupportedVersion, x.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, x)
	}
	_, err := u.ask(ctx, u.others, req)
	return err
}

// Beat sends one heartbeat to whoever is the active controller now. It is not
// tried again: the next one is. The broker and its epoch are filled in.
func (u *Uplink) Beat(ctx context.Context, b plan.Beat) (plan.Pulse, error) {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version = 2 // Kafka 4.3's, for the cordoned directories
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset = u.cfg.Node, u.epoch.Load(), b.Applied
	req.WantFence, req.WantShutdown = b.Fence, b.ShutDown
	req.OfflineLogDirs = append(req.OfflineLogDirs, b.Offline...)
	if b.Cordoned != nil {
		req.CordonedLogDirs = append([][16]byte{}, b.Cordoned...)
	}
	resp, _, _, err := u.once(ctx, u.beats, req)
	if err != nil {
		return plan.Pulse{}, err
	}
	r := resp.(*kmsg.BrokerHeartbeatResponse)
	return plan.Pulse{CaughtUp: r.IsCaughtUp, Fenced: r.IsFenced, ShutDown: r.ShouldShutdown}, nil
}

// Moved is closed when the active controller may be another; nil (never) where
// it is always the local one.
func (u *Uplink) Moved() <-chan struct{} {
	if u.cfg.Whereabouts == nil {
		return nil
	}
	_, moved := u.cfg.Whereabouts.Controller()
	return moved
}

// Epoch is this broker's epoch, -1 before Register.
func (u *Uplink) Epoch() int64 { return u.epoch.Load() }

// Do carries out a client's request and gives its answer; what is refused in
// part is told in the answer.
func (u *Uplink) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	return u.ask(ctx, u.others, req)
}

// RaiseLeaderEpochs asks for new leader epochs of partitions that lost the end
// of their log in an unclean stop.
func (u *Uplink) RaiseLeaderEpochs(ctx context.Context, asked []plan.InEpoch) error {
	_, err := u.ask(ctx, u.isr, &RaiseEpochsRequest{seats: u.seats(asked)})
	return err
}

// AlterPartition proposes in-sync sets, of all partitions of a tick in one
// request. The results stand in the order of the proposals, and this broker has
// followed what was accepted.
func (u *Uplink) AlterPartition(ctx context.Context, asked []plan.ISRProposal) ([]plan.ISRResult, error) {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = 3, u.cfg.Node, u.epoch.Load()
	for i := range asked {
		a := &asked[i]
		if n := len(req.Topics); n == 0 || req.Topics[n-1].TopicID != a.Topic {
			t := kmsg.NewAlterPartitionRequestTopic()
			t.TopicID = a.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewAlterPartitionRequestTopicPartition()
		p.Partition, p.LeaderEpoch, p.PartitionEpoch, p.LeaderRecoveryState = a.Partition, a.LeaderEpoch, a.PartitionEpoch, recoveryState(a.Recovering)
		for _, m := range a.ISR {
			x := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
			x.BrokerID, x.BrokerEpoch = m.Broker, m.Epoch
			p.NewEpochISR = append(p.NewEpochISR, x)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	answer, err := u.ask(ctx, u.isr, req)
	if err != nil {
		return nil, err
	}
	resp, ok := answer.(*kmsg.AlterPartitionResponse)
	if !ok {
		return nil, fmt.Errorf("AlterPartition was answered with %T", answer)
	}
	results := make([]plan.ISRResult, 0, len(asked))
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			r := plan.ISRResult{Topic: t.TopidID, Partition: p.Partition}
			if p.ErrorCode != 0 {
				r.Err = kindOf(p.ErrorCode)
			}
			r.State = meta.Partition{Leader: p.LeaderID, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: p.ISR, Recovering: p.LeaderRecoveryState != 0}
			results = append(results, r)
		}
	}
	if len(results) != len(asked) {
		return nil, fmt.Errorf("AlterPartition: %d answers to %d proposals", len(results), len(asked))
	}
	return results, nil
}

// AssignDirs tells in which directories replicas of this broker lie. What the
// controller refuses is passed over: it knows of later changes.
func (u *Uplink) AssignDirs(ctx context.Context, asked []plan.DirAssignment) error {
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = u.cfg.Node, u.epoch.Load()
	for _, a := range asked {
		if n := len(req.Directories); n == 0 || req.Directories[n-1].ID != a.Dir {
			d := kmsg.NewAssignReplicasToDirsRequestDirectory()
			d.ID = a.Dir
			req.Directories = append(req.Directories, d)
		}
		d := &req.Directories[len(req.Directories)-1]
		if n := len(d.Topics); n == 0 || d.Topics[n-1].TopicID != a.Topic {
			t := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
			t.TopicID = a.Topic
			d.Topics = append(d.Topics, t)
		}
		p := kmsg.NewAssignReplicasToDirsRequestDirectoryTopicPartition()
		p.Partition = a.Partition
		t := &d.Topics[len(d.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	_, err := u.ask(ctx, u.others, req)
	return err
}

// producerIDs asks for a block of producer ids, [first, first+n).
func (u *Uplink) producerIDs(ctx context.Context) (first int64, n int32, err error) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = u.cfg.Node, u.epoch.Load()
	answer, err := u.ask(ctx, u.others, req)
	if err != nil {
		return 0, 0, err
	}
	resp, ok := answer.(*kmsg.AllocateProducerIDsResponse)
	if !ok {
		return 0, 0, fmt.Errorf("AllocateProducerIds was answered with %T", answer)
	}
	return resp.ProducerIDStart, resp.ProducerIDLen, nil
}
