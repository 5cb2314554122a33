// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// Changes of membership, as an operator makes them with Kafka's requests while
// all else goes wrong: controllers that lose their vote and get it back,
// brokers that are drained by balance, unregistered and come anew, replicas
// that are moved.
//
// What cannot be ended at once, because another fault is in the way, is owed:
// it is tried again all the time, and once all is healed it must come about.

// askFor bounds one request of the operator.
const askFor = 4 * time.Second

// drainFor is how long a broker has to get rid of its replicas before the
// operator changes his mind.
const drainFor = 20 * time.Second

// debt is a change that is not finished.
type debt struct {
	what string
	// pay goes on with it and tells whether it is done.
	pay func() (done bool, err error)
}

// settle goes on with what is owed.
func (c *Cluster) settle() (last error) {
	c.debts = slices.DeleteFunc(c.debts, func(d debt) bool {
		done, err := d.pay()
		if done {
			c.Note("done: %s", d.what)
		} else if last = fmt.Errorf("%s: %w", d.what, err); err == nil {
			last = errors.New(d.what)
		}
		return done
	})
	return last
}

// AwaitWhole waits until nothing is owed, every replica is in sync, none is
// being moved, and every broker is in service.
func (c *Cluster) AwaitWhole(d time.Duration) error {
	for limit := time.Now().Add(d); ; time.Sleep(100 * time.Millisecond) {
		err := c.settle()
		if err == nil {
			err = c.checks.whole(len(c.machines))
		}
		if err == nil || time.Now().After(limit) {
			return err
		}
	}
}

// whole tells what a cluster of so many brokers lacks.
func (c *checks) whole(brokers int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return errors.New("there are no metadata")
	}
	n := 0
	for b := range c.newest.Brokers() {
		if b.Active() {
			n++
		}
	}
	if n != brokers {
		return fmt.Errorf("%d of %d brokers are in service", n, brokers)
	}
	for t := range c.newest.Topics() {
		for i, p := range t.Partitions() {
			if len(p.ISR) != len(p.Replicas) || p.Leader < 0 || len(p.Adding)+len(p.Removing) > 0 {
				return fmt.Errorf("%s-%d: leader %d, replicas %v, in sync %v, adding %v, removing %v", t.Name, i, p.Leader, p.Replicas, p.ISR, p.Adding, p.Removing)
			}
		}
	}
	return nil
}

// hosts tells whether the newest metadata put a replica on a broker.
func (c *checks) hosts(id int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return true
	}
	for t := range c.newest.Topics() {
		for _, p := range t.Partitions() {
			if slices.Contains(p.Replicas, id) {
				return true
			}
		}
	}
	return false
}

// topic picks from the newest metadata.
func (c *checks) topic(name string) *meta.Topic {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return nil
	}
	return c.newest.Topic(name)
}

// operator is a client that does not insist.
func (c *Cluster) operator(f func(ctx context.Context, client *kgo.Client) error) error {
	if c.admin == nil {
		c.admin = c.Client(kgo.RequestRetries(3))
	}
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	return f(ctx, c.admin)
}

// quorum asks who votes and who follows.
func (c *Cluster) quorum() (voters, observers []kmsg.DescribeQuorumResponseTopicPartitionReplicaState, err error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	err = c.operator(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return errors.New("an answer without the partition")
		}
		p := resp.Topics[0].Partitions[0]
		voters, observers = p.CurrentVoters, p.Observers
		return kerr.ErrorForCode(p.ErrorCode)
	})
	return voters, observers, err
}

func of(rs []kmsg.DescribeQuorumResponseTopicPartitionReplicaState, id int32) *kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	var found *kmsg.DescribeQuorumResponseTopicPartitionReplicaState
	for i := range rs {
		if r := &rs[i]; r.ReplicaID == id && (found == nil || r.LastFetchTimestamp > found.LastFetchTimestamp) {
			found = r
		}
	}
	return found
}

func (c *Cluster) removeVoter(id int32, directory [16]byte) error {
	req := kmsg.NewPtrRemoveRaftVoterRequest()
	req.VoterID, req.VoterDirectoryID = id, directory
	return c.operator(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

func (c *Cluster) addVoter(m *machine, directory [16]byte) error {
	req := kmsg.NewPtrAddRaftVoterRequest()
	req.VoterID, req.VoterDirectoryID, req.TimeoutMillis = m.id, directory, int32(askFor.Milliseconds())
	l := kmsg.NewAddRaftVoterRequestListener()
	l.Name, l.Host, l.Port = "CONTROLLER", ip(m.id), 9093
	req.Listeners = append(req.Listeners, l)
	return c.operator(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// seat gives a controller its vote: that of the directory it has now. Where
// controllers join by themselves it only waits.
func (c *Cluster) seat(m *machine) (done bool, err error) {
	voters, observers, err := c.quorum()
	if err != nil {
		return false, err
	}
	voter, observer := of(voters, m.id), of(observers, m.id)
	fresh := observer != nil && (voter == nil || observer.ReplicaDirectoryID != voter.ReplicaDirectoryID)
	switch {
	case m.id == c.strangerID && !fresh && voter != nil && voter.ReplicaDirectoryID == c.stranger:
		return false, fmt.Errorf("the voter %d is still the one with the lost disk, of the voters %d", m.id, len(voters))
	case voter != nil && !fresh:
		return true, nil
	case c.joins():
		return false, fmt.Errorf("node %d has not joined by itself, of the voters %d", m.id, len(voters))
	case voter != nil:
		return false, errors.Join(errors.New("its old self votes"), c.removeVoter(m.id, voter.ReplicaDirectoryID))
	case observer == nil:
		return false, errors.New("nobody has heard of it")
	default:
		return false, errors.Join(errors.New("it does not vote yet"), c.addVoter(m, observer.ReplicaDirectoryID))
	}
}

// joins tells whether controllers join by themselves in this cluster.
func (c *Cluster) joins() bool { return c.cfg.Seed%3 == 0 }

// settled tells whether no seat in the quorum is in question: then one may be.
func (c *Cluster) settled() bool { return len(c.debts) == 0 && !c.seatTaken }

// unseat takes a controller out of the quorum, which may lead it, and gives it
// its vote back.
func unseat(c *Cluster) (string, func()) {
	m := c.some(1)[0]
	if m.plain || !c.settled() {
		return "", nil
	}
	voters, _, err := c.quorum()
	v := of(voters, m.id)
	if err != nil || v == nil || len(voters) < c.cfg.Nodes {
		return "", nil
	}
	err = c.removeVoter(m.id, v.ReplicaDirectoryID) // after an error it may be out too
	c.seatTaken = true
	return fmt.Sprintf("node %d (%v)", m.id, err), func() {
		c.seatTaken = false
		c.debts = append(c.debts, debt{fmt.Sprintf("node %d votes again", m.id), func() (bool, error) { return c.seat(m) }})
	}
}

// reassign moves one partition to other brokers, or to the same in another
// order, and half the time thinks better of it.
func reassign(c *Cluster) (string, func()) {
	name := []string{"t", "t", "__consumer_offsets"}[c.random.IntN(3)]
	t := c.checks.topic(name)
	var to []int32
	for _, m := range c.some(len(c.machines)) {
		if m != c.leaving && len(to) < c.cfg.Replicas {
			to = append(to, m.id)
		}
	}
	if t == nil || len(to) < c.cfg.Replicas {
		return "", nil
	}
	n := int32(0)
	for range t.Partitions() {
		n++
	}
	p, back := c.random.Int32N(n), c.random.IntN(2) == 0
	ask := func(to []int32) error {
		return c.operator(func(ctx context.Context, client *kgo.Client) error {
			req := kadm.AlterPartitionAssignmentsReq{}
			req.Assign(name, p, to)
			resp, err := kadm.NewClient(client).AlterPartitionAssignments(ctx, req)
			if err != nil {
				return err
			}
			return resp.Error()
		})
	}
	err := ask(to)
	return fmt.Sprintf("%s-%d to %v (%v)", name, p, to, err), func() {
		if back {
			c.Note("reassign: never mind (%v)", ask(nil))
		}
	}
}

// leave drains a plain broker, which balance then does, unregisters it, and has
// it come back with nothing, as a new machine does. If it cannot be drained for
// some time it stays.
func leave(c *Cluster) (string, func()) {
	var m *machine
	for _, x := range c.some(len(c.machines)) {
		if x.plain {
			m = x
		}
	}
	if m == nil || m.life == nil || !c.settled() {
		return "", nil
	}
	if err := c.drain(m, true); err != nil {
		return "", nil
	}
	c.leaving = m
	return fmt.Sprintf("node %d is drained", m.id), func() {
		until := time.Now().Add(drainFor)
		c.debts = append(c.debts, debt{fmt.Sprintf("node %d is drained and replaced", m.id), func() (bool, error) {
			switch {
			case m.life == nil:
				return false, errors.New("it is down") // another fault has it
			case c.checks.hosts(m.id) && time.Now().Before(until):
				return false, errors.New("it has replicas still")
			case !c.checks.hosts(m.id) && c.leaving == m:
				if err := c.unregister(m); err != nil {
					return false, err
				}
			}
			c.leaving = nil
			err := c.drain(m, false)
			return err == nil, err
		}})
	}
}

// unregister ends a broker and takes it out; its machine then boots with an
// empty disk.
func (c *Cluster) unregister(m *machine) error {
	m.stop()
	defer m.revive()
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = m.id
	err := c.operator(func(ctx context.Context, client *kgo.Client) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	if err == nil || errors.Is(err, kerr.BrokerIDNotRegistered) {
		m.mem = vfs.NewMem()
		c.Note("node %d is unregistered and comes anew", m.id)
		return nil
	}
	return err
}

func (c *Cluster) drain(m *machine, on bool) error {
	op, value := kadm.SetConfig, "true"
	if !on {
		op = kadm.DeleteConfig
	}
	return c.operator(func(ctx context.Context, client *kgo.Client) error {
		resp, err := kadm.NewClient(client).AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: op, Name: "gregor.broker.drain", Value: &value}}, m.id)
		if err != nil {
			return err
		}
		for _, r := range resp {
			err = errors.Join(err, r.Err)
		}
		return err
	})
}
