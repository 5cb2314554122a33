// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta/balance"
	"gregor/internal/meta/plan"
)

// balancer spreads load by itself while this node is the active controller and
// gregor.balance.enable is on: plan.Spread says what is next, an ordinary
// AlterPartitionReassignments has it done. It knows nothing that the metadata
// does not hold, so another controller goes on where this one stopped.
//
// One goroutine, which ends with close. It plans off the controller's loop, for
// a plan of 10,000 partitions takes longer than a heartbeat may wait; what has
// changed in between shows when the request is decided.
type balancer struct {
	n      *Node
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// balanceLook is how often the settings and leadership are looked at, and how
// soon a batch follows the one before it.
const balanceLook = time.Second

func (n *Node) startBalancer() {
	ctx, cancel := context.WithCancel(context.Background())
	n.balancer = &balancer{n: n, cancel: cancel}
	n.balancer.wg.Go(func() { n.balancer.run(ctx) })
}

func (b *balancer) close() {
	b.cancel()
	b.wg.Wait()
}

func (b *balancer) run(ctx context.Context) {
	t := time.NewTicker(balanceLook)
	defer t.Stop()
	var looked time.Time // zero: look at once
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s := b.n.live.Broker().Balance
		if !s.Enabled || !b.n.controller.Active() {
			looked, said = time.Time{}, ""
			continue
		}
		if time.Since(looked) < s.Every {
			continue
		}
		moves, why := plan.Spread(b.n.image.Load(), s.Batch, s.Slack)
		if len(moves) == 0 {
			if why != said {
				b.n.log.Info("load is not spread now", "because", why)
				said = why
			}
			// A batch under way may end soon; else there is time.
			if !b.busy() {
				looked = time.Now()
			}
			continue
		}
		said = ""
		if !b.ask(ctx, moves) {
			looked = time.Now()
		}
	}
}

// busy tells whether anything is being moved.
func (b *balancer) busy() bool {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	return len(plan.ListReassignments(b.n.image.Load(), req).Topics) > 0
}

// ask has moves done and tells whether any of them was begun.
func (b *balancer) ask(ctx context.Context, moves []balance.Move) bool {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	copies := 0
	for _, m := range moves {
		if k := len(req.Topics); k == 0 || req.Topics[k-1].Topic != m.Topic {
			rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			rt.Topic = m.Topic
			req.Topics = append(req.Topics, rt)
		}
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = m.Index, m.To
		last := &req.Topics[len(req.Topics)-1]
		last.Partitions = append(last.Partitions, p)
		copies += m.Copies()
	}
	ctx, cancel := context.WithTimeout(ctx, b.n.live.Broker().RequestTimeout)
	defer cancel()
	raw, err := b.n.uplink.Do(ctx, req)
	if err != nil {
		b.n.log.Warn("load cannot be spread", "error", err)
		return false
	}
	begun := 0
	for _, t := range raw.(*kmsg.AlterPartitionAssignmentsResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				begun++
			}
		}
	}
	b.n.log.Info("load is being spread", "partitions", begun, "copies", copies)
	return begun > 0
}
