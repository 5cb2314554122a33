// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta/plan"
	"gregor/internal/node/metrics"
	"gregor/internal/replica"
	"gregor/internal/replica/partition"
)

// isrController decides on in-sync sets; *uplink.Uplink meets it.
type isrController interface {
	AlterPartition(ctx context.Context, asked []plan.ISRProposal) ([]plan.ISRResult, error)
	LeaveSeats(ctx context.Context, asked []plan.InEpoch) error
}

// isrProposals carries leaders' proposals to the controller, all that have
// come in one request, one request at a time. One goroutine, from start to
// close; mu is a leaf, taken under partitions' mutexes.
type isrProposals struct {
	self    int32
	metrics *metrics.Metrics
	log     *slog.Logger

	mu    sync.Mutex
	asked map[isrPlace]*partition.ISRChange
	left  map[plan.InEpoch]bool
	wake  chan struct{} // capacity 1

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type isrPlace struct {
	topic [16]byte
	index int32
}

func newISRProposals(self int32, m *metrics.Metrics, log *slog.Logger) *isrProposals {
	ctx, cancel := context.WithCancel(context.Background())
	return &isrProposals{self: self, metrics: m, log: log, asked: map[isrPlace]*partition.ISRChange{}, left: map[plan.InEpoch]bool{}, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel}
}

// propose takes a proposal; a newer one of the same partition replaces it.
func (q *isrProposals) propose(topic [16]byte, index int32, c *partition.ISRChange) {
	q.mu.Lock()
	q.asked[isrPlace{topic, index}] = c
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// leave takes word of a seat to be given up. It is asked once: the table says it
// again while that holds.
func (q *isrProposals) leave(s plan.InEpoch) {
	q.mu.Lock()
	q.left[s] = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

const (
	isrRetryFirst = 50 * time.Millisecond
	isrRetryLast  = time.Second
)

// start begins to ask, once this broker is registered.
func (q *isrProposals) start(c isrController, t *replica.Table) {
	q.wg.Go(func() {
		wait := isrRetryFirst
		for {
			select {
			case <-q.wake:
			case <-q.ctx.Done():
				return
			}
			if q.round(c, t) {
				wait = isrRetryFirst
				continue
			}
			select {
			case <-time.After(wait):
				wait = min(2*wait, isrRetryLast)
			case <-q.ctx.Done():
				return
			}
			select {
			case q.wake <- struct{}{}:
			default:
			}
		}
	})
}

// round asks for all that is wanted now; false when it has to be asked again.
func (q *isrProposals) round(c isrController, t *replica.Table) bool {
	q.mu.Lock()
	changes := q.asked
	q.asked = map[isrPlace]*partition.ISRChange{}
	left := slices.SortedFunc(maps.Keys(q.left), func(a, b plan.InEpoch) int {
		return cmp.Or(slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Epoch, b.Epoch))
	})
	clear(q.left)
	q.mu.Unlock()
	if len(left) > 0 {
		q.log.Warn("replicas give up their seats: their logs are damaged, or their disk does not answer", "partitions", len(left))
		if err := c.LeaveSeats(q.ctx, left); err != nil {
			q.log.Warn("the controller did not take the seats back; it is asked again", "error", err)
		}
	}
	if len(changes) == 0 {
		return true
	}
	asked := make([]plan.ISRProposal, 0, len(changes))
	for at, ch := range changes {
		p := plan.ISRProposal{Topic: at.topic, Partition: at.index, LeaderEpoch: ch.LeaderEpoch, PartitionEpoch: ch.PartitionEpoch}
		for i, r := range ch.ISR {
			p.ISR = append(p.ISR, plan.ISRMember{Broker: int32(r), Epoch: ch.Epochs[i]})
		}
		asked = append(asked, p)
	}
	slices.SortFunc(asked, func(a, b plan.ISRProposal) int {
		return cmp.Or(slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
	})
	results, err := c.AlterPartition(q.ctx, asked)
	if err != nil {
		q.again(changes)
		return false
	}
	done := true
	for _, r := range results {
		at := isrPlace{r.Topic, r.Partition}
		ch := changes[at]
		switch {
		case r.Err == nil:
			q.count(t, at, ch)
		case errors.Is(r.Err, kerr.NotController), errors.Is(r.Err, kerr.RequestTimedOut):
			q.again(map[isrPlace]*partition.ISRChange{at: ch})
			done = false
			continue
		default:
			q.metrics.ISRFailed.Add(1)
			q.log.Debug("an in-sync set was refused", "partition", r.Partition, "isr", ch.ISR, "error", r.Err)
		}
		// Of what was accepted this broker has heard before; then this ends
		// nothing.
		t.Refused(at.topic, at.index, ch)
	}
	return done
}

// again keeps proposals for another round, where no newer one has come.
func (q *isrProposals) again(changes map[isrPlace]*partition.ISRChange) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for at, ch := range changes {
		if q.asked[at] == nil {
			q.asked[at] = ch
		}
	}
}

// count tells shrinks from expansions for the operator.
func (q *isrProposals) count(t *replica.Table, at isrPlace, ch *partition.ISRChange) {
	topic := ""
	if p := t.ByID(at.topic, at.index); p != nil {
		topic = p.Topic()
	}
	if ch.Shrinks {
		q.metrics.ISRShrinks.Add(1)
		q.log.Warn("replicas fell out of sync", "topic", topic, "partition", at.index, "isr", ch.ISR)
		return
	}
	q.metrics.ISRExpands.Add(1)
	q.log.Info("replicas are in sync again", "topic", topic, "partition", at.index, "isr", ch.ISR)
}

func (q *isrProposals) close() {
	q.cancel()
	q.wg.Wait()
}
