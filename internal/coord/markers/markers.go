// SPDX-License-Identifier: Apache-2.0

// Package markers carries what the transaction coordinator decided to the
// leaders of the partitions that take part: one marker for each partition of a
// transaction, by WriteTxnMarkers. When all are written it says so, and the
// coordinator completes the transaction.
//
// It decides nothing: an order that was taken is carried out, however long that
// takes, or until its coordinator is elsewhere (Forget) and the next one orders
// the same under its own epoch. It does not know how a marker gets into a log,
// here or on another node (Config.Send does), nor what a transaction is.
//
//	Order --> one item for each partition
//	          |  no such partition any more: done
//	          |  nobody leads it: waits for Wake, or a while
//	          v
//	          lane of the leader's node --> Send, many items in one request
//	          |                               written: done
//	          |                               else: waits, longer each time
//	          v
//	          the last item is done --> Done, until it is heard
//
// # Concurrency
//
// Loop: mu guards all state and is a leaf; nothing waits beneath it. A lane has
// up to maxInFlight goroutines, which end when its queue is empty. Each finished
// order has a goroutine until Done is heard. Close ends and awaits them all.
package markers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord/txn"
)

const (
	// maxInFlight is how many requests a node has at once. One would make a
	// transaction wait for the fsync of those before and then for its own.
	maxInFlight = 4

	// maxItems bounds the partitions of one request.
	maxItems = 1000

	// firstPause doubles with each attempt until lastPause.
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// Config is what a Loop works with.
type Config struct {
	// Leader is the node that leads a partition, -1 where none does at present;
	// exists is false when there is no such partition (any more).
	Leader func(p txn.Partition) (node int32, exists bool)

	// Send has a node write markers, and waits until they are committed there.
	Send func(ctx context.Context, node int32, req *kmsg.WriteTxnMarkersRequest) (*kmsg.WriteTxnMarkersResponse, error)

	// Done tells the coordinator of a partition of __transaction_state that all
	// is written. NOT_COORDINATOR ends the matter; after other errors it is
	// told again.
	Done func(ctx context.Context, partition int32, o txn.Order) error

	// Refused reports a marker that a partition will never take: it has seen a
	// later epoch of the producer, or of the coordinator. May be nil.
	Refused func(o txn.Order, p txn.Partition, err error)
}

// Loop carries orders out. Use New.
type Loop struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	jobs    map[*job]struct{} // not done yet
	floors  map[int32]int32   // by partition: what was forgotten ends below this epoch
	lanes   map[int32]*lane
	waiting []item // in no order
	timer   *time.Timer
	timerAt time.Time // zero: not set
}

// job is an order on its way. Its fields are guarded by Loop.mu.
type job struct {
	partition, epoch int32
	order            txn.Order
	left             int // partitions without a marker
	off              bool
	untold           bool // all markers are written, and the coordinator could not take note
}

// item is one marker of a job.
type item struct {
	job      *job
	to       txn.Partition
	attempts int
	due      time.Time // while it waits
}

// lane is what goes to one node.
type lane struct {
	node    int32
	queue   []item
	running int
	flights map[*flight]struct{}
}

// flight is a request that waits for its answer.
type flight struct {
	items  []item
	cancel context.CancelFunc
}

// New makes a loop that has nothing to do yet.
func New(cfg Config) *Loop {
	ctx, cancel := context.WithCancel(context.Background())
	return &Loop{cfg: cfg, ctx: ctx, cancel: cancel, jobs: map[*job]struct{}{}, floors: map[int32]int32{}, lanes: map[int32]*lane{}}
}

// Order takes an order of the coordinator that owns a partition of
// __transaction_state in an epoch. It does not wait. An order from before the
// last Forget comes too late: who gave it was still at work.
func (l *Loop) Order(partition, epoch int32, o txn.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || epoch < l.floors[partition] {
		return
	}
	j := &job{partition: partition, epoch: epoch, order: o, left: len(o.Partitions)}
	l.jobs[j] = struct{}{}
	if j.left == 0 {
		l.finishLocked(j)
	}
	for _, p := range o.Partitions {
		l.routeLocked(item{job: j, to: p})
	}
}

// Forget drops the orders for a partition of __transaction_state from before an
// epoch: its coordinator is elsewhere, or anew here.
func (l *Loop) Forget(partition, before int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floors[partition] = before
	for j := range l.jobs {
		if j.partition == partition && j.epoch < before {
			j.off = true
			delete(l.jobs, j)
		}
	}
}

// Wake looks again at what waits: leaders may have changed. It does not wait
// any more for the answer of a node that does not lead a partition now: one that
// lost its power never gives it.
//
// Differs from Kafka: it waits for request.timeout.ms before it asks the new
// leader.
func (l *Loop) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var queued []item
	for _, ln := range l.lanes {
		queued = append(queued, ln.queue...)
		ln.queue = nil
		for f := range ln.flights {
			if slices.ContainsFunc(f.items, func(it item) bool {
				node, exists := l.cfg.Leader(it.to)
				return !exists || node != ln.node
			}) {
				f.cancel()
			}
		}
	}
	for _, it := range queued {
		l.routeLocked(it)
	}
	l.wakeLocked(func(item) bool { return true })
}

// Len is the number of orders under way.
func (l *Loop) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.jobs)
}

// Stuck counts markers of partitions without a leader, and orders that are
// carried out and of which the coordinator could not take note yet.
func (l *Loop) Stuck() (homeless, untold int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range l.waiting {
		if node, exists := l.cfg.Leader(it.to); exists && node < 0 && !it.job.off {
			homeless++
		}
	}
	for j := range l.jobs {
		if j.untold {
			untold++
		}
	}
	return homeless, untold
}

// Pending are the partitions of a transactional id whose markers are not known
// to be written; false: no order for it is under way.
func (l *Loop) Pending(id string) (left []txn.Partition, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add := func(items []item) {
		for _, it := range items {
			if it.job.order.ID == id && !it.job.off {
				left = append(left, it.to)
			}
		}
	}
	for j := range l.jobs {
		ok = ok || j.order.ID == id
	}
	add(l.waiting)
	for _, ln := range l.lanes {
		add(ln.queue)
		for f := range ln.flights {
			add(f.items)
		}
	}
	return left, ok
}

// Close drops all orders and waits until everything has ended.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

func (l *Loop) routeLocked(it item) {
	if it.job.off || l.closed {
		return
	}
	node, exists := l.cfg.Leader(it.to)
	switch {
	case !exists:
		l.doneLocked(it)
	case node < 0:
		l.waitLocked(it)
	default:
		ln := l.lanes[node]
		if ln == nil {
			ln = &lane{node: node, flights: map[*flight]struct{}{}}
			l.lanes[node] = ln
		}
		ln.queue = append(ln.queue, it)
		if ln.running < maxInFlight {
			ln.running++
			l.wg.Go(func() { l.run(ln) })
		}
	}
}

// run empties a lane.
func (l *Loop) run(ln *lane) {
	for {
		l.mu.Lock()
		items := l.takeLocked(ln)
		if len(items) == 0 || l.closed {
			ln.running--
			l.mu.Unlock()
			return
		}
		req, first := request(items)
		ctx, cancel := context.WithCancel(l.ctx)
		f := &flight{items, cancel}
		ln.flights[f] = struct{}{}
		l.mu.Unlock()
		resp, err := l.cfg.Send(ctx, ln.node, req)
		cancel()
		l.mu.Lock()
		delete(ln.flights, f)
		l.settleLocked(items, first, resp, err)
		l.mu.Unlock()
	}
}

func (l *Loop) takeLocked(ln *lane) []item {
	ln.queue = slices.DeleteFunc(ln.queue, func(it item) bool { return it.job.off })
	n := min(len(ln.queue), maxItems)
	items := slices.Clone(ln.queue[:n])
	if ln.queue = ln.queue[n:]; len(ln.queue) == 0 {
		ln.queue = nil
	}
	return items
}

// request makes one of items, which it puts in the order of the request: by
// job. first is where in items each marker of the request begins.
func request(items []item) (req *kmsg.WriteTxnMarkersRequest, first []int) {
	place := map[*job]int{}
	for _, it := range items {
		if _, ok := place[it.job]; !ok {
			place[it.job] = len(place)
		}
	}
	slices.SortStableFunc(items, func(a, b item) int { return place[a.job] - place[b.job] })
	req = kmsg.NewPtrWriteTxnMarkersRequest()
	req.Version = 2
	for i, it := range items {
		if i == 0 || items[i-1].job != it.job {
			o := &it.job.order
			m := kmsg.NewWriteTxnMarkersRequestMarker()
			m.ProducerID, m.ProducerEpoch, m.Committed = o.Producer, o.Epoch, o.Commit
			m.CoordinatorEpoch, m.TransactionVersion = it.job.epoch, int8(o.Version)
			req.Markers = append(req.Markers, m)
			first = append(first, i)
		}
		m := &req.Markers[len(req.Markers)-1]
		if n := len(m.Topics); n == 0 || m.Topics[n-1].Topic != it.to.Topic {
			m.Topics = append(m.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: it.to.Topic})
		}
		t := &m.Topics[len(m.Topics)-1]
		t.Partitions = append(t.Partitions, it.to.Partition)
	}
	return req, append(first, len(items))
}

// settleLocked takes in how a request came out. An item that the answer does not
// name is sent again: a second marker does no harm.
func (l *Loop) settleLocked(items []item, first []int, resp *kmsg.WriteTxnMarkersResponse, err error) {
	for i := range first[1:] {
		part := items[first[i]:first[i+1]]
		codes := map[txn.Partition]int16{}
		if err == nil {
			// Several markers may be of one producer; their answers then are in
			// the order of the request, or merged.
			for j := range resp.Markers {
				m := &resp.Markers[j]
				if m.ProducerID != part[0].job.order.Producer {
					continue
				}
				for _, t := range m.Topics {
					for _, p := range t.Partitions {
						codes[txn.Partition{Topic: t.Topic, Partition: p.Partition}] = p.ErrorCode
					}
				}
			}
		}
		for _, it := range part {
			code, ok := codes[it.to]
			if !ok {
				l.waitLocked(it)
				continue
			}
			l.settleOneLocked(it, code)
		}
	}
}

func (l *Loop) settleOneLocked(it item, code int16) {
	switch err := kerr.ErrorForCode(code); {
	case it.job.off:
	case err == nil, errors.Is(err, kerr.UnsupportedForMessageFormat):
		l.doneLocked(it)
	case errors.Is(err, kerr.TransactionCoordinatorFenced):
		// A later coordinator has decided here. Its news will come, and Forget.
		l.refused(it, err)
		l.waitLocked(it)
	case errors.Is(err, kerr.InvalidProducerEpoch):
		// The partition has seen the producer go on, which it can do only after
		// an end: this marker was written before.
		//
		// Differs from Kafka: it gives up the whole transaction, which then stays
		// undone until its coordinator moves.
		l.refused(it, err)
		l.doneLocked(it)
	default:
		l.waitLocked(it)
	}
}

func (l *Loop) refused(it item, err error) {
	if l.cfg.Refused != nil && it.attempts == 0 {
		l.cfg.Refused(it.job.order, it.to, err)
	}
}

func (l *Loop) doneLocked(it item) {
	if it.job.left--; it.job.left == 0 {
		l.finishLocked(it.job)
	}
}

// finishLocked tells the coordinator, until it hears.
func (l *Loop) finishLocked(j *job) {
	if l.closed {
		return
	}
	l.wg.Go(func() {
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			err := l.cfg.Done(l.ctx, j.partition, j.order)
			l.mu.Lock()
			if err == nil || errors.Is(err, kerr.NotCoordinator) || j.off || l.closed {
				delete(l.jobs, j)
				l.mu.Unlock()
				return
			}
			j.untold = true
			l.mu.Unlock()
			select {
			case <-time.After(pause):
			case <-l.ctx.Done():
				return
			}
		}
	})
}

func (l *Loop) waitLocked(it item) {
	if it.job.off || l.closed {
		return
	}
	pause := lastPause
	if it.attempts < 6 {
		pause = min(firstPause<<it.attempts, lastPause)
	}
	it.attempts++
	it.due = time.Now().Add(pause)
	l.waiting = append(l.waiting, it)
	l.armLocked(it.due)
}

func (l *Loop) armLocked(at time.Time) {
	if !l.timerAt.IsZero() && !at.Before(l.timerAt) {
		return
	}
	l.timerAt = at
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(at), l.fire)
		return
	}
	l.timer.Reset(time.Until(at))
}

func (l *Loop) fire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timerAt = time.Time{}
	now := time.Now()
	l.wakeLocked(func(it item) bool { return !it.due.After(now) })
	for _, it := range l.waiting {
		l.armLocked(it.due)
	}
}

func (l *Loop) wakeLocked(due func(item) bool) {
	waiting := l.waiting
	l.waiting = nil
	for _, it := range waiting {
		if due(it) {
			l.routeLocked(it)
		} else {
			l.waiting = append(l.waiting, it)
		}
	}
}
