// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/plan"
)

// Members is what the controller knows of brokers beyond the metadata;
// *controller.Members meets it. Its methods are called within a Decision.
type Members interface {
	Beat(img *meta.Image, b plan.Beat) ([]meta.Record, plan.Pulse, error)
	Connected(id int32, epoch int64, conn any)
	Disconnected(id int32, epoch int64, conn any)
	Review()
	Env() plan.Env
}

// Desk is the controller's end of the line: requests of this process's broker
// and of others come here while this node is the active controller.
type Desk struct {
	controller Controller
	members    Members // nil: nobody keeps brokers
	env        plan.Env
	// Measure refuses the body of a request of Kafka's that would take too much
	// to decode; nil: none is. Set before anything is served.
	Measure func(key, version int16, body []byte) error

	mu    sync.Mutex // leaf: guards lines
	lines map[any]line
}

// line is a connection that heartbeats come over, with the last of them.
type line struct {
	id    int32
	epoch int64
}

// NewDesk makes the desk of a controller. members may be nil, env is used then.
func NewDesk(c Controller, members Members, env plan.Env) *Desk {
	if members != nil {
		env = members.Env()
	}
	return &Desk{controller: c, members: members, env: env, lines: map[any]line{}}
}

// Caller is who asks. Principal and Host are the client's on whose behalf a
// broker asks, "" where it asks for itself; who may ask what was settled there.
type Caller struct {
	Principal string
	Host      string
	// Conn is the connection that a heartbeat came over, compared only; nil
	// where the broker is in this process. Context ends with it.
	Conn    any
	Context context.Context //nolint:containedctx // the connection's life, not the call's
}

// Serve has a request decided and carried out, and returns the answer and the
// version of the metadata that holds what it changed. An error is a *kerr.Error
// or wraps one.
func (d *Desk) Serve(ctx context.Context, req kmsg.Request, from Caller) (resp kmsg.Response, version int64, err error) {
	name := nameOf(req)
	var beat *kmsg.BrokerHeartbeatRequest
	if r, ok := req.(*kmsg.BrokerHeartbeatRequest); ok {
		beat = r
	}
	// The decision may come after Submit gave up waiting for it.
	var answer atomic.Pointer[kmsg.Response]
	version, err = d.controller.Submit(ctx, name, func(img *meta.Image) ([]meta.Record, error) {
		rs, resp, err := d.decide(img, req)
		answer.Store(&resp)
		if beat != nil && err == nil && d.members != nil && from.Conn != nil {
			d.members.Connected(beat.BrokerID, beat.BrokerEpoch, from.Conn)
		}
		return rs, err
	})
	if beat != nil && err == nil && d.members != nil && from.Conn != nil && from.Context != nil {
		d.watch(line{beat.BrokerID, beat.BrokerEpoch}, from)
	}
	if err != nil {
		return nil, version, translate(name, err)
	}
	return *answer.Load(), version, nil
}

// watch has the end of a heartbeat's connection told.
func (d *Desk) watch(l line, from Caller) {
	d.mu.Lock()
	_, known := d.lines[from.Conn]
	d.lines[from.Conn] = l
	d.mu.Unlock()
	if known {
		return
	}
	context.AfterFunc(from.Context, func() {
		d.mu.Lock()
		last := d.lines[from.Conn]
		delete(d.lines, from.Conn)
		d.mu.Unlock()
		d.members.Disconnected(last.id, last.epoch, from.Conn)
	})
}

func nameOf(req kmsg.Request) string {
	switch req.Key() {
	case RaiseEpochsKey:
		return "RaiseLeaderEpochs"
	case LeaveSeatsKey:
		return "LeaveSeats"
	}
	return kmsg.NameForKey(req.Key())
}

// decide is the table of what the controller does. ListPartitionReassignments
// is among it because only the controller is sure to have the newest Image.
func (d *Desk) decide(img *meta.Image, req kmsg.Request) ([]meta.Record, kmsg.Response, error) {
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		rs, resp := plan.CreateTopics(img, req, d.env)
		return rs, resp, nil
	case *kmsg.DeleteTopicsRequest:
		rs, resp := plan.DeleteTopics(img, req)
		return rs, resp, nil
	case *kmsg.CreatePartitionsRequest:
		rs, resp := plan.CreatePartitions(img, req, d.env)
		return rs, resp, nil
	case *kmsg.IncrementalAlterConfigsRequest:
		rs, resp := plan.IncrementalAlterConfigs(img, req, d.env)
		d.review(rs)
		return rs, resp, nil
	case *kmsg.AlterConfigsRequest:
		rs, resp := plan.AlterConfigs(img, req, d.env)
		d.review(rs)
		return rs, resp, nil
	case *kmsg.ElectLeadersRequest:
		rs, resp, err := plan.ElectLeaders(img, req, d.env)
		return rs, resp, err
	case *kmsg.AlterPartitionAssignmentsRequest:
		rs, resp := plan.AlterReassignments(img, req, d.env)
		return rs, resp, nil
	case *kmsg.UpdateFeaturesRequest:
		rs, resp := plan.UpdateFeatures(img, req, d.env)
		return rs, resp, nil
	case *kmsg.UnregisterBrokerRequest:
		rs, err := plan.UnregisterBroker(img, req.BrokerID, d.env)
		return rs, req.ResponseKind(), err
	case *kmsg.ListPartitionReassignmentsRequest:
		return nil, plan.ListReassignments(img, req), nil
	case *kmsg.BrokerRegistrationRequest:
		return d.register(img, req)
	case *kmsg.BrokerHeartbeatRequest:
		return d.heartbeat(img, req)
	case *kmsg.AlterPartitionRequest:
		return d.alterPartition(img, req)
	case *kmsg.AllocateProducerIDsRequest:
		rs, first, n, err := plan.AllocateProducerIDs(img, req.BrokerID, req.BrokerEpoch)
		resp := req.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
		resp.ProducerIDStart, resp.ProducerIDLen = first, n
		return rs, resp, err
	case *kmsg.AssignReplicasToDirsRequest:
		return d.assignDirs(img, req)
	case *kmsg.ControllerRegistrationRequest:
		return d.registerController(img, req)
	case *RaiseEpochsRequest:
		rs, err := plan.RaiseLeaderEpochs(img, req.Broker, req.BrokerEpoch, req.Asked)
		return rs, &RaiseEpochsResponse{}, err
	case *LeaveSeatsRequest:
		rs, err := plan.LeaveSeats(img, req.Broker, req.BrokerEpoch, req.Asked, d.env)
		return rs, &LeaveSeatsResponse{}, err
	}
	return nil, nil, fmt.Errorf("%w: the controller does not serve api key %d", kerr.UnsupportedVersion, req.Key())
}

// review looks at partitions without a leader again: unclean elections may be
// allowed now.
func (d *Desk) review(rs []meta.Record) {
	if d.members != nil && len(rs) > 0 {
		d.members.Review()
	}
}

func (d *Desk) register(img *meta.Image, req *kmsg.BrokerRegistrationRequest) ([]meta.Record, kmsg.Response, error) {
	r, err := registrationOf(req)
	if err != nil {
		return nil, nil, err
	}
	// Nobody else may be there who would have to hear of it first.
	others := img.BrokerCount() > 1 || img.BrokerCount() == 1 && img.Broker(r.ID) == nil
	r.Ready = r.Ready && !others
	rs, epoch, err := plan.RegisterBroker(img, r.Registration, d.env)
	if err != nil {
		return nil, nil, err
	}
	if r.Ready {
		next, _, err := img.With(rs)
		if err != nil {
			return nil, nil, err
		}
		more, err := plan.UnfenceBroker(next, r.ID, epoch, d.env)
		if err != nil {
			return nil, nil, err
		}
		rs = append(rs, more...)
	}
	resp := req.ResponseKind().(*kmsg.BrokerRegistrationResponse)
	resp.BrokerEpoch = epoch
	return rs, resp, nil
}

func (d *Desk) heartbeat(img *meta.Image, req *kmsg.BrokerHeartbeatRequest) ([]meta.Record, kmsg.Response, error) {
	b := plan.Beat{Broker: req.BrokerID, Epoch: req.BrokerEpoch, Applied: req.CurrentMetadataOffset,
		Fence: req.WantFence, ShutDown: req.WantShutdown, Offline: req.OfflineLogDirs, Cordoned: req.CordonedLogDirs}
	var rs []meta.Record
	var pulse plan.Pulse
	var err error
	if d.members != nil {
		rs, pulse, err = d.members.Beat(img, b)
	} else {
		rs, pulse, err = plan.Heartbeat(img, b, true, d.env)
	}
	resp := req.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
	resp.IsCaughtUp, resp.IsFenced, resp.ShouldShutdown = pulse.CaughtUp, pulse.Fenced, pulse.ShutDown
	return rs, resp, err
}

func (d *Desk) alterPartition(img *meta.Image, req *kmsg.AlterPartitionRequest) ([]meta.Record, kmsg.Response, error) {
	var asked []plan.ISRProposal
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			a := plan.ISRProposal{Topic: t.TopicID, Partition: p.Partition, LeaderEpoch: p.LeaderEpoch,
				PartitionEpoch: p.PartitionEpoch, Recovering: p.LeaderRecoveryState != 0}
			for _, m := range p.NewEpochISR {
				a.ISR = append(a.ISR, plan.ISRMember{Broker: m.BrokerID, Epoch: m.BrokerEpoch})
			}
			if req.Version < 3 {
				for _, id := range p.NewISR {
					a.ISR = append(a.ISR, plan.ISRMember{Broker: id, Epoch: -1})
				}
			}
			asked = append(asked, a)
		}
	}
	rs, results, err := plan.AlterPartition(img, req.BrokerID, req.BrokerEpoch, asked, d.env)
	if err != nil {
		return nil, nil, err
	}
	resp := req.ResponseKind().(*kmsg.AlterPartitionResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionResponseTopic()
		rt.TopidID = t.TopicID
		for range t.Partitions {
			r := results[0]
			results = results[1:]
			rp := kmsg.NewAlterPartitionResponseTopicPartition()
			rp.Partition = r.Partition
			if r.Err != nil {
				rp.ErrorCode = r.Err.Code
			} else {
				rp.LeaderID, rp.LeaderEpoch, rp.PartitionEpoch, rp.ISR = r.State.Leader, r.State.LeaderEpoch, r.State.PartitionEpoch, r.State.ISR
				rp.LeaderRecoveryState = recoveryState(r.State.Recovering)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return rs, resp, nil
}

func recoveryState(recovering bool) int8 {
	if recovering {
		return 1
	}
	return 0
}

func (d *Desk) assignDirs(img *meta.Image, req *kmsg.AssignReplicasToDirsRequest) ([]meta.Record, kmsg.Response, error) {
	var asked []plan.DirAssignment
	for _, dir := range req.Directories {
		for _, t := range dir.Topics {
			for _, p := range t.Partitions {
				asked = append(asked, plan.DirAssignment{Dir: dir.ID, Topic: t.TopicID, Partition: p.Partition})
			}
		}
	}
	rs, errs, err := plan.AssignDirs(img, req.BrokerID, req.BrokerEpoch, asked, d.env)
	if err != nil {
		return nil, nil, err
	}
	resp := req.ResponseKind().(*kmsg.AssignReplicasToDirsResponse)
	for _, dir := range req.Directories {
		rd := kmsg.NewAssignReplicasToDirsResponseDirectory()
		rd.ID = dir.ID
		for _, t := range dir.Topics {
			rt := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			rt.TopicID = t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
				rp.Partition = p.Partition
				if errs[0] != nil {
					rp.ErrorCode = errs[0].Code
				}
				errs = errs[1:]
				rt.Partitions = append(rt.Partitions, rp)
			}
			rd.Topics = append(rd.Topics, rt)
		}
		resp.Directories = append(resp.Directories, rd)
	}
	return rs, resp, nil
}

// registerController is how a controller that is no broker tells of itself.
// The directory, which Kafka's request does not carry, stands in a tag.
func (d *Desk) registerController(img *meta.Image, req *kmsg.ControllerRegistrationRequest) ([]meta.Record, kmsg.Response, error) {
	c := meta.Controller{ID: req.ControllerID, Incarnation: req.IncarnationID}
	if old := img.Controller(c.ID); old != nil {
		c.Directory = old.Directory
	}
	req.UnknownTags.Each(func(tag uint32, v []byte) {
		if tag == tagDirectory && len(v) == len(c.Directory) {
			c.Directory = meta.UUID(v)
		}
	})
	for _, l := range req.Listeners {
		c.Endpoints = append(c.Endpoints, meta.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port, Protocol: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		c.Features = append(c.Features, meta.FeatureRange{Name: f.Name, Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion})
	}
	rs, err := plan.RegisterController(img, c)
	return rs, req.ResponseKind(), err
}

// translate is where the controller's errors become Kafka's.
func translate(name string, err error) error {
	var k *kerr.Error
	switch {
	case err == nil || errors.As(err, &k):
		return err
	case errors.Is(err, controller.ErrNotController):
		return fmt.Errorf("%s: %w", name, kerr.NotController)
	case errors.Is(err, controller.ErrUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", name, kerr.RequestTimedOut)
	case errors.Is(err, controller.ErrClosed):
		return fmt.Errorf("%s: %w", name, kerr.BrokerNotAvailable)
	case errors.As(err, new(*meta.LevelError)):
		return fmt.Errorf("%w: %s: %w", kerr.UnsupportedVersion, name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// decode reads the body of a request, which has been measured.
func (d *Desk) decode(req kmsg.Request, version int16, body []byte) error {
	if d.Measure != nil {
		if err := d.Measure(req.Key(), version, body); err != nil {
			return err
		}
	}
	req.SetVersion(version)
	return req.ReadFrom(body)
}

// Forward serves a request that another broker forwards. body is a Forward,
// the answer a Forwarded; conn is the connection it came over and life ends
// with that.
func (d *Desk) Forward(life context.Context, body []byte, conn any) []byte {
	var f Forward
	if err := f.ReadFrom(body); err != nil {
		return answerError(0, fmt.Errorf("%w: %w", kerr.InvalidRequest, err))
	}
	req := requestFor(f.Key)
	if req == nil || f.Version < 0 || f.Version > req.MaxVersion() {
		return answerError(0, fmt.Errorf("%w: api key %d version %d", kerr.UnsupportedVersion, f.Key, f.Version))
	}
	// A copy: kmsg's byte fields point into what they are read from.
	if err := d.decode(req, f.Version, append([]byte(nil), f.Body...)); err != nil {
		return answerError(0, fmt.Errorf("%w: %s: %w", kerr.InvalidRequest, nameOf(req), err))
	}
	ctx, cancel := context.WithTimeout(life, time.Duration(max(f.TimeoutMillis, 1))*time.Millisecond)
	defer cancel()
	resp, version, err := d.Serve(ctx, req, Caller{Principal: f.Principal, Host: f.Host, Conn: conn, Context: life})
	if err != nil {
		return answerError(version, err)
	}
	resp.SetVersion(f.Version)
	return (&Forwarded{Version: version, Body: resp.AppendTo(nil)}).AppendTo(nil)
}

func answerError(version int64, err error) []byte {
	var k *kerr.Error
	if !errors.As(err, &k) {
		k = kerr.UnknownServerError
	}
	out := Forwarded{Code: k.Code, Message: err.Error(), Version: version}
	var f *plan.Failure
	if errors.As(err, &f) {
		out.Message = f.Message
	}
	return out.AppendTo(nil)
}
