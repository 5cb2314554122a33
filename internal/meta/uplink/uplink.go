// SPDX-License-Identifier: Apache-2.0

// Package uplink is a broker's voice to the active controller: what is to be
// changed in the metadata goes through it. Today the controller runs in the
// same process; a broker of a cluster sends the same requests over the network
// instead, which is why they are requests and not functions.
//
// Each call returns when the change is committed and this broker has followed
// it (its own Image shows it), so that a client that created a topic can
// produce to it through the same broker at once. An error is a *kerr.Error or
// wraps one: NOT_CONTROLLER, REQUEST_TIMED_OUT.
//
// Shape: no state of its own but the broker's epoch; safe for concurrent use.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/plan"
)

// Controller is the local controller's loop; *controller.Controller meets it.
type Controller interface {
	Submit(ctx context.Context, name string, d controller.Decision) (version int64, err error)
}

// Follower tells when this broker has followed a version; *quorum.Node meets it.
type Follower interface {
	Await(ctx context.Context, version int64) error
}

// Uplink of one broker.
type Uplink struct {
	controller Controller
	follower   Follower
	env        plan.Env
	epoch      atomic.Int64
	broker     atomic.Int32
}

// New makes an uplink to a controller in this process. env.Random is used on
// the controller's loop alone.
func New(c Controller, f Follower, env plan.Env) *Uplink {
	u := &Uplink{controller: c, follower: f, env: env}
	u.epoch.Store(-1)
	u.broker.Store(-1)
	return u
}

// submit has a change made and waits until this broker follows it.
func (u *Uplink) submit(ctx context.Context, name string, d controller.Decision) error {
	version, err := u.controller.Submit(ctx, name, d)
	if err == nil {
		err = u.follower.Await(ctx, version)
	}
	return translate(name, err)
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
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Register tells the controller of this broker and lets it serve; it returns
// the broker's epoch. The broker must have nothing left to do but to follow the
// metadata.
func (u *Uplink) Register(ctx context.Context, r plan.Registration) (epoch int64, err error) {
	err = u.submit(ctx, "RegisterBroker", func(img *meta.Image) ([]meta.Record, error) {
		if r.ClusterID == "" { // founded just now: whoever shares the process belongs to it
			r.ClusterID = img.ClusterID()
		}
		records, e, err := plan.RegisterBroker(img, r, u.env)
		if err != nil {
			return nil, err
		}
		epoch = e
		next, _, err := img.With(records)
		if err != nil {
			return nil, err
		}
		more, err := plan.UnfenceBroker(next, r.ID, e, u.env)
		return append(records, more...), err
	})
	if err == nil {
		u.epoch.Store(epoch)
		u.broker.Store(r.ID)
	}
	return epoch, err
}

// Epoch is this broker's epoch, -1 before Register.
func (u *Uplink) Epoch() int64 { return u.epoch.Load() }

// Do carries out a client's request and gives its answer; what is refused in
// part is told in the answer. ListPartitionReassignments is among them because
// only the controller is sure to have the newest Image.
func (u *Uplink) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	var resp kmsg.Response
	err := u.submit(ctx, kmsg.NameForKey(req.Key()), func(img *meta.Image) (rs []meta.Record, err error) {
		rs, resp, err = u.decide(img, req)
		return rs, err
	})
	return resp, err
}

func (u *Uplink) decide(img *meta.Image, req kmsg.Request) ([]meta.Record, kmsg.Response, error) {
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		rs, resp := plan.CreateTopics(img, req, u.env)
		return rs, resp, nil
	case *kmsg.DeleteTopicsRequest:
		rs, resp := plan.DeleteTopics(img, req)
		return rs, resp, nil
	case *kmsg.CreatePartitionsRequest:
		rs, resp := plan.CreatePartitions(img, req, u.env)
		return rs, resp, nil
	case *kmsg.IncrementalAlterConfigsRequest:
		rs, resp := plan.IncrementalAlterConfigs(img, req, u.env)
		return rs, resp, nil
	case *kmsg.AlterConfigsRequest:
		rs, resp := plan.AlterConfigs(img, req, u.env)
		return rs, resp, nil
	case *kmsg.ElectLeadersRequest:
		rs, resp, err := plan.ElectLeaders(img, req, u.env)
		return rs, resp, err
	case *kmsg.UpdateFeaturesRequest:
		rs, resp := plan.UpdateFeatures(img, req, u.env)
		return rs, resp, nil
	case *kmsg.UnregisterBrokerRequest:
		rs, err := plan.UnregisterBroker(img, req.BrokerID, u.env)
		return rs, req.ResponseKind(), err
	case *kmsg.AlterPartitionAssignmentsRequest:
		rs, resp := plan.AlterReassignments(img, req, u.env)
		return rs, resp, nil
	case *kmsg.ListPartitionReassignmentsRequest:
		return nil, plan.ListReassignments(img, req), nil
	}
	return nil, nil, kerr.UnsupportedVersion
}

// RaiseLeaderEpochs asks for new leader epochs of partitions that lost the end
// of their log in an unclean stop.
func (u *Uplink) RaiseLeaderEpochs(ctx context.Context, asked []plan.EpochRaise) error {
	return u.submit(ctx, "RaiseLeaderEpochs", func(img *meta.Image) ([]meta.Record, error) {
		return plan.RaiseLeaderEpochs(img, u.broker.Load(), u.epoch.Load(), asked)
	})
}

// AlterPartition proposes in-sync sets, of all partitions of a tick in one
// request. The results stand in the order of the proposals, and this broker has
// followed what was accepted.
func (u *Uplink) AlterPartition(ctx context.Context, asked []plan.ISRProposal) (results []plan.ISRResult, err error) {
	err = u.submit(ctx, "AlterPartition", func(img *meta.Image) (rs []meta.Record, err error) {
		rs, results, err = plan.AlterPartition(img, u.broker.Load(), u.epoch.Load(), asked, u.env)
		return rs, err
	})
	return results, err
}

// AssignDirs tells in which directories replicas of this broker lie.
func (u *Uplink) AssignDirs(ctx context.Context, asked []plan.DirAssignment) error {
	return u.submit(ctx, "AssignReplicasToDirs", func(img *meta.Image) ([]meta.Record, error) {
		rs, _, err := plan.AssignDirs(img, u.broker.Load(), u.epoch.Load(), asked, u.env)
		return rs, err
	})
}

// producerIDs asks for a block of producer ids, [first, first+n).
func (u *Uplink) producerIDs(ctx context.Context) (first int64, n int32, err error) {
	err = u.submit(ctx, "AllocateProducerIds", func(img *meta.Image) (rs []meta.Record, err error) {
		rs, first, n, err = plan.AllocateProducerIDs(img, u.broker.Load(), u.epoch.Load())
		return rs, err
	})
	return first, n, err
}

// ProducerIDs hands out producer ids one by one from blocks of 1,000, which are
// given to this broker for good: an id is never given twice, in no process.
//
// Leaf mutex, but for the one caller that fetches a block: others wait for it
// on fetching, so that no lock is held across the request.
type ProducerIDs struct {
	up       *Uplink
	mu       sync.Mutex
	next     int64
	end      int64
	fetching chan struct{} // closed when the fetch under way is over
}

// NewProducerIDs begins without a block.
func NewProducerIDs(up *Uplink) *ProducerIDs { return &ProducerIDs{up: up} }

// Next gives an id.
func (p *ProducerIDs) Next(ctx context.Context) (int64, error) {
	for {
		p.mu.Lock()
		if p.next < p.end {
			id := p.next
			p.next++
			p.mu.Unlock()
			return id, nil
		}
		if wait := p.fetching; wait != nil {
			p.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return 0, translate("AllocateProducerIds", ctx.Err())
			}
		}
		over := make(chan struct{})
		p.fetching = over
		p.mu.Unlock()
		first, n, err := p.up.producerIDs(ctx)
		p.mu.Lock()
		if err == nil {
			p.next, p.end = first, first+int64(n)
		}
		p.fetching = nil
		p.mu.Unlock()
		close(over)
		if err != nil {
			return 0, err
		}
	}
}

// ElectLeaders is Do for elections.
func (u *Uplink) ElectLeaders(ctx context.Context, req *kmsg.ElectLeadersRequest) (*kmsg.ElectLeadersResponse, error) {
	resp, err := u.Do(ctx, req)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.ElectLeadersResponse), nil
}
