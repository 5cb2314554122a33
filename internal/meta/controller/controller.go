// SPDX-License-Identifier: Apache-2.0

// Package controller is the active controller: one loop that hands requests to
// meta/plan and proposes what plan decides. It refuses to know how proposals
// are agreed upon (a Log is handed in) and who asks.
//
// The loop decides against pending, the Image as it will be once everything
// proposed so far is folded in, so that decisions need not wait for the disk:
// those that come in while one group is being synced make up the next. When a
// proposal fails, pending is thrown away: the loop waits until every proposal
// under way was answered, goes back to the committed Image, and decides anew
// what was dropped. Nothing is ever undone.
//
//	          proposed, not yet committed
//	committed ---v6---v7---v8--- pending     decide the next against v8
//	    v5                |
//	                      dropped: v8 cannot come either (it was decided on v7);
//	                      once both are answered pending = committed
//
// Invariants:
//   - Every proposal under way was decided on the Image that the one before
//     leads to.
//   - An answer leaves only after everything it was decided on is committed,
//     refusals and answers without records too.
//   - Every Submit is answered.
//
// Shape: loop-owned; Submit, and the methods that the Log calls, put messages
// into a mailbox.
package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/meta"
)

// Log agrees on proposals; *quorum.Node meets it. Propose takes them in order
// and calls each Done once, unless it returns an error.
type Log interface {
	Propose(group []*meta.Proposal) error
	// Stalled is closed while the log's disk hangs.
	Stalled() <-chan struct{}
}

// Decision looks at an Image and says which records to write. It runs on the
// loop, must be pure but for what it returns by its closure, and may run again
// when what it said was dropped: the last run counts. name is for brackets and
// errors.
type Decision func(img *meta.Image) ([]meta.Record, error)

// Config of a Controller.
type Config struct {
	// Found gives the first records of a cluster that has none.
	Found func() []meta.Record
	// Needs is the level that a record needs (meta.CheckLevel); nil: meta.Needs.
	Needs func(meta.Record) int16
	// Fault is told of records that contradict the Image: a bug of plan.
	Fault func(name string, err error)
	// Now is the clock whose wall time stamps changes; nil is time.Now.
	Now func() time.Time
}

var (
	// ErrNotController: this node is not the active controller; ask another.
	ErrNotController = errors.New("controller: this node is not the active controller")
	// ErrUnknown: leadership was lost or the disk hangs; the change may be made
	// or not.
	ErrUnknown = errors.New("controller: the outcome of the change is not known")
	// ErrClosed: the node stops.
	ErrClosed = errors.New("controller: closed")
)

// maxUnderWay bounds the proposals not answered yet, and the asks that were
// decided and wait for what they looked at to be committed; maxGroup those decided
// between two looks at the mailbox, maxAttempts how often one decision is made
// anew.
const (
	maxUnderWay = 4096
	maxGroup    = 256
	maxAttempts = 5
)

// Controller is the loop. Make it, give it to the Log as its follower, then
// Start it with the Log.
type Controller struct {
	cfg  Config
	done chan struct{}

	mu     sync.Mutex // leaf: guards the mailbox
	events []func()   // from the Log, bounded by what is under way there
	asked  []*ask     // from Submit, bounded by the number of callers
	closed bool
	log    Log
	wake   chan struct{} // capacity 1

	active atomic.Bool // leading, for whoever asks

	// Loop-owned from here on.
	members   *Members // nil: nobody keeps brokers
	known     bool     // leadership was told at least once
	leading   bool
	term      uint64 // of the leadership, while leading
	committed *meta.Image
	pending   *meta.Image
	underWay  int
	broken    bool   // a proposal failed: decide nothing until underWay is 0
	waiting   []*ask // answered, to be told when their version is committed
	again     []*ask // dropped, to be decided anew
}

// ask is one Submit.
type ask struct {
	name     string
	decide   Decision
	answer   chan answer // capacity 1
	attempts int

	version int64 // answer when this is committed
	parts   int   // proposals not answered yet
	err     error // of the decision
	failed  error // of a proposal
}

type answer struct {
	version int64
	err     error
}

// New makes a controller that waits for Start.
func New(cfg Config) *Controller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Needs == nil {
		cfg.Needs = meta.Needs
	}
	return &Controller{cfg: cfg, done: make(chan struct{}), wake: make(chan struct{}, 1), committed: meta.Empty(), pending: meta.Empty()}
}

// Start runs the loop.
func (c *Controller) Start(log Log) {
	c.mu.Lock()
	c.log = log
	c.mu.Unlock()
	go c.loop()
}

// Close ends the loop and answers everybody who waits; the Log is closed
// first.
func (c *Controller) Close() {
	c.mu.Lock()
	c.closed = true
	started := c.log != nil
	c.mu.Unlock()
	c.ring()
	if started {
		<-c.done
	}
}

// Submit has a decision made and carried out and returns the version of the
// Image that holds it. Before anything is known of leadership it waits. err is
// the decision's own, or one of this package.
func (c *Controller) Submit(ctx context.Context, name string, d Decision) (version int64, err error) {
	a := &ask{name: name, decide: d, answer: make(chan answer, 1)}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, ErrClosed
	}
	c.asked = append(c.asked, a)
	c.mu.Unlock()
	c.ring()
	select {
	case r := <-a.answer:
		return r.version, r.err
	case <-ctx.Done():
		c.withdraw(a)
		return 0, ctx.Err()
	case <-c.stalled():
		c.withdraw(a)
		return 0, ErrUnknown
	}
}

// withdraw takes back what nobody waits for any more and was not decided yet:
// while the loop is held up, those who ask again and again would make a crowd.
func (c *Controller) withdraw(a *ask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.asked, a); i >= 0 {
		c.asked = slices.Delete(c.asked, i, i+1)
	}
}

// stalled is the Log's; nil (never) before Start.
func (c *Controller) stalled() <-chan struct{} {
	c.mu.Lock()
	log := c.log
	c.mu.Unlock()
	if log == nil {
		return nil
	}
	return log.Stalled()
}

// Leading, Committed and Following are called by the Log, in order.
func (c *Controller) Leading(term uint64, img *meta.Image) {
	c.post(func() {
		c.known, c.leading, c.term, c.committed = true, true, term, img
		if c.members != nil {
			c.members.lead(img)
		}
		c.active.Store(true)
		c.settle()
	})
}

func (c *Controller) Committed(img *meta.Image) {
	c.post(func() {
		c.committed = img
		if !c.leading {
			c.pending = img
		}
		if c.members != nil {
			c.members.committed(img)
		}
		c.tellWaiting()
	})
}

func (c *Controller) Following() {
	c.post(func() {
		c.known, c.leading = true, false
		c.active.Store(false)
		if c.members != nil {
			c.members.retire()
		}
		c.tellWaiting()
	})
}

// Active tells whether this node is the active controller, as far as it knows.
func (c *Controller) Active() bool { return c.active.Load() }

// enqueue has a decision made that nobody waits for. On the loop.
func (c *Controller) enqueue(name string, d Decision) {
	c.mu.Lock()
	if !c.closed {
		c.asked = append(c.asked, &ask{name: name, decide: d, answer: make(chan answer, 1)})
	}
	c.mu.Unlock()
	c.ring()
}

func (c *Controller) post(f func()) {
	c.mu.Lock()
	c.events = append(c.events, f)
	c.mu.Unlock()
	c.ring()
}

func (c *Controller) ring() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Controller) takeEvents() (events []func(), closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	events, c.events = c.events, nil
	return events, c.closed
}

// takeAsks gives the next group, none while too much is under way.
func (c *Controller) takeAsks() []*ask {
	if !c.known || c.broken || c.underWay >= maxUnderWay || len(c.waiting) >= maxUnderWay {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.asked), maxGroup)
	asks := c.asked[:n:n]
	if c.asked = c.asked[n:]; len(c.asked) > 0 {
		c.ring()
	}
	return asks
}

// loop looks at the mailbox whenever it is woken: every event, and every turn
// of broken and underWay, comes with a wake of its own.
func (c *Controller) loop() {
	defer close(c.done)
	for range c.wake {
		events, closed := c.takeEvents()
		for _, e := range events {
			e()
		}
		if closed {
			c.end()
			return
		}
		c.decideAll(c.takeAsks())
	}
}

func (c *Controller) end() {
	c.mu.Lock()
	asks := c.asked
	c.asked = nil
	c.mu.Unlock()
	for _, a := range append(asks, c.again...) {
		a.answer <- answer{err: ErrClosed}
	}
	for _, a := range c.waiting {
		a.answer <- answer{err: ErrUnknown}
	}
}

// decideAll decides on asks and proposes the outcome in one group.
func (c *Controller) decideAll(asks []*ask) {
	if len(asks) == 0 {
		return
	}
	if !c.leading {
		for _, a := range asks {
			a.answer <- answer{err: ErrNotController}
		}
		return
	}
	var group []*meta.Proposal
	for _, a := range asks {
		group = append(group, c.decide(a)...)
	}
	c.propose(group)
	c.tellWaiting()
}

// decide makes one decision against pending and moves pending on.
func (c *Controller) decide(a *ask) (group []*meta.Proposal) {
	a.attempts++
	a.failed, a.parts = nil, 0
	before := c.pending
	var records []meta.Record
	if records, a.err = a.decide(c.pending); a.err == nil {
		// Nodes that know no more than the level in force could not read on.
		a.err = c.pending.CheckLevel(records, c.cfg.Needs)
	}
	if a.err == nil && len(records) > 0 {
		for _, run := range meta.Split(a.name, records) {
			next, _, err := c.pending.With(run)
			if err != nil {
				// The decision contradicts the Image it was made on.
				c.pending, a.err, group, a.parts = before, err, nil, 0
				if c.cfg.Fault != nil {
					c.cfg.Fault(a.name, err)
				}
				break
			}
			group = append(group, c.proposal(a, run))
			c.pending = next
			a.parts++
		}
	}
	a.version = c.pending.Version()
	c.waiting = append(c.waiting, a)
	return group
}

func (c *Controller) proposal(a *ask, records []meta.Record) *meta.Proposal {
	return &meta.Proposal{
		Base: c.pending.Version(), Term: c.term, Time: c.cfg.Now().UnixMilli(), Records: records,
		Done: func(err error) { c.post(func() { c.answered(a, err) }) },
	}
}

func (c *Controller) propose(group []*meta.Proposal) {
	if len(group) == 0 {
		return
	}
	c.underWay += len(group)
	if err := c.agree().Propose(group); err != nil {
		for _, p := range group {
			p.Done(errors.Join(meta.ErrNotLeader, err))
		}
	}
}

func (c *Controller) agree() Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log
}

// answered notes the fate of one proposal.
func (c *Controller) answered(a *ask, err error) {
	c.underWay--
	a.parts--
	if err != nil {
		c.broken = true
		// Worse news win: an unknown part makes the whole unknown.
		if a.failed == nil || errors.Is(err, meta.ErrUnknown) {
			a.failed = err
		}
	}
	c.tellWaiting()
	if c.broken {
		c.settle()
	}
}

// tellWaiting answers those whose version is committed, and those that failed
// and need not wait for anything.
func (c *Controller) tellWaiting() {
	kept := c.waiting[:0]
	for _, a := range c.waiting {
		switch {
		case a.parts > 0:
			kept = append(kept, a)
		case a.failed != nil:
			c.fail(a)
		case a.version <= c.committed.Version():
			a.answer <- answer{a.version, a.err}
		case c.broken:
			// It wrote nothing itself, but looked at what failed.
			c.again = append(c.again, a)
		case !c.leading:
			a.answer <- answer{err: ErrNotController}
		default:
			kept = append(kept, a)
		}
	}
	clear(c.waiting[len(kept):])
	c.waiting = kept
}

func (c *Controller) fail(a *ask) {
	switch {
	case errors.Is(a.failed, meta.ErrUnknown):
		a.answer <- answer{err: ErrUnknown}
	case errors.Is(a.failed, meta.ErrNotLeader):
		a.answer <- answer{err: ErrNotController}
	case a.attempts >= maxAttempts:
		a.answer <- answer{err: ErrUnknown}
	default:
		c.again = append(c.again, a)
	}
}

// settle goes back to the committed Image once nothing is under way any more,
// and begins with what must come first.
func (c *Controller) settle() {
	if c.underWay > 0 {
		c.broken = true
		return
	}
	c.broken = false
	c.pending = c.committed
	again := c.again
	c.again = nil
	c.ring() // asks may be taken again
	if !c.leading {
		for _, a := range again {
			a.answer <- answer{err: ErrNotController}
		}
		return
	}
	// Decisions on brokers ask which partitions those have.
	c.pending = c.pending.Indexed()
	first := &ask{name: "begin", decide: c.begin, answer: make(chan answer, 1)}
	c.decideAll(append([]*ask{first}, again...))
}

// begin founds the cluster, and drops a bracketed change whose author was lost
// in the middle.
func (c *Controller) begin(img *meta.Image) ([]meta.Record, error) {
	var records []meta.Record
	if _, open := img.ChangeOpen(); open {
		records = append(records, meta.AbortChangeRecord{})
	}
	if img.ClusterID() == "" && c.cfg.Found != nil {
		records = append(records, c.cfg.Found()...)
	}
	return records, nil
}
