// SPDX-License-Identifier: Apache-2.0

// Package observer pulls the committed metadata log from controllers, for nodes
// that do not vote. It knows whom to ask and how long to wait; what is pulled
// goes into a quorum.Node, which keeps log, snapshots and images as a voter
// does.
//
// It asks the leader where one is known, because that has new entries first and
// tells people who observes it; else whoever of the controllers answers. A long
// poll carries a change here as soon as it is committed there. A source whose
// log does not go with this node's is told to the operator and left for
// another; nothing is ever taken back.
//
// Shape: one goroutine, which Close ends and waits for. A voter has one too; it
// sleeps while there is a leader.
package observer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/wire/peer"
)

// Log is where pulled entries go; *quorum.Node meets it.
type Log interface {
	// Follows: this node has to pull.
	Follows() bool
	Position() quorum.Position
	Feed(quorum.PullAnswer) error
	FeedSnapshot(quorum.PullAnswer, []byte) error
}

// Config of an Observer.
type Config struct {
	Cluster    string
	Node       int32
	Directory  meta.UUID
	Controller bool // this node may become a voter
	Log        Log
	Peer       peer.Config
	// Sources are addresses of controllers, the leader's apart.
	Sources func() []string
	// Leader is where the leader is, if a voter of that kind has an address.
	Leader func(quorum.Voter) (string, error)
	// Trouble is told when nobody can be pulled from (err), and when that is
	// over (nil); may be nil.
	Trouble func(err error)
}

const (
	// wait of a long poll: below any idle time-out, above any rate that counts.
	wait = 500 * time.Millisecond
	// patience with an answer, beyond the wait.
	patience  = 2 * time.Second
	pullBytes = 1 << 20
	// maxSnapshot bounds what is assembled in memory.
	maxSnapshot = 1 << 30
	soon        = 5 * time.Millisecond
	backOff     = 50 * time.Millisecond
	maxBackOff  = time.Second
	// idle is how often a voter looks whether it still has a leader.
	idle = 200 * time.Millisecond
	// shun: a leader that others reach and this node does not is not tried
	// again for so long.
	shun = 10 * time.Second
)

// Observer is the puller.
type Observer struct {
	cfg    Config
	ctx    context.Context // of all requests; Close ends it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// Owned by the goroutine.
	peer     *peer.Peer
	addr     string
	atLeader bool // addr is where the leader was said to be
	verified bool
	missed   bool          // a snapshot could not be had, just now
	leader   *quorum.Voter // as last told
	turn     int           // in Sources
	failures int
	troubled bool
	shunned  string // an address of a leader that did not answer
	until    time.Time
}

// Start begins to pull.
func Start(cfg Config) *Observer {
	ctx, cancel := context.WithCancel(context.Background())
	o := &Observer{cfg: cfg, ctx: ctx, cancel: cancel}
	o.wg.Go(o.run)
	return o
}

// Close ends the goroutine and waits for it.
func (o *Observer) Close() {
	o.cancel()
	o.wg.Wait()
}

func (o *Observer) run() {
	defer o.leave()
	for o.ctx.Err() == nil {
		if !o.cfg.Log.Follows() {
			o.leave()
			o.failures = 0
			o.sleep(idle)
			continue
		}
		err := o.pull()
		if o.ctx.Err() != nil || errors.Is(err, quorum.ErrStopped) {
			return
		}
		o.note(err)
		if err == nil {
			continue
		}
		o.leave()
		if o.leader != nil && o.atLeader {
			o.shunned, o.until = o.addr, time.Now().Add(shun)
		}
		o.leader = nil
		o.sleep(pause(o.failures, len(o.cfg.Sources())))
		o.failures++
	}
}

// pause is how long to wait after so many failures in a row and another: hardly
// at all until every source was asked once, because whoever led may just have
// died, and others know or will know who leads now.
func pause(failures, sources int) time.Duration {
	if failures < sources {
		return soon
	}
	return min(backOff<<min(failures-sources, 10), maxBackOff)
}

func (o *Observer) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-o.ctx.Done():
	}
}

// note tells of trouble once every source was tried, and of its end.
func (o *Observer) note(err error) {
	switch {
	case err == nil:
		o.failures = 0
		if o.troubled {
			o.troubled = false
			o.tell(nil)
		}
	case !o.troubled && o.failures >= len(o.cfg.Sources()):
		o.troubled = true
		o.tell(err)
	}
}

func (o *Observer) tell(err error) {
	if o.cfg.Trouble != nil {
		o.cfg.Trouble(err)
	}
}

func (o *Observer) leave() {
	if o.peer != nil {
		o.peer.Close()
		o.peer = nil
	}
}

// choose connects to the leader, or to the next source.
func (o *Observer) choose() error {
	addr := ""
	if l := o.leader; l != nil && l.ID != o.cfg.Node {
		a, err := o.cfg.Leader(*l)
		if err == nil && (a != o.shunned || time.Now().After(o.until)) {
			addr = a
		}
	}
	if addr == "" && o.peer != nil {
		return nil
	}
	o.atLeader = addr != ""
	if addr == "" {
		sources := o.cfg.Sources()
		if len(sources) == 0 {
			return errors.New("no controller's address is known")
		}
		addr = sources[o.turn%len(sources)]
		o.turn++
	}
	if o.peer != nil && o.addr == addr {
		return nil
	}
	o.leave()
	o.addr, o.verified, o.missed = addr, false, false
	o.peer = peer.New(o.cfg.Peer, func() (string, error) { return addr, nil })
	return nil
}

// pull asks once and hands on what comes.
func (o *Observer) pull() error {
	if err := o.choose(); err != nil {
		return err
	}
	p := o.cfg.Log.Position()
	a, release, err := o.ask(quorum.PullRequest{Index: p.Index, Term: p.Term, At: p.Next, Wait: wait, MaxBytes: pullBytes, Verify: !o.verified})
	if err != nil {
		return fmt.Errorf("%s: %w", o.addr, err)
	}
	defer release()
	o.leader = a.Leader
	switch a.Code {
	case quorum.PullRefused:
		return fmt.Errorf("%s: %s", o.addr, a.Bytes)
	case quorum.PullBehind:
		o.verified = true
		return o.pullSnapshot(a)
	case quorum.PullEntries, quorum.PullNothing:
		o.verified = true
		if a.Code == quorum.PullNothing && a.Index < p.Index && a.Leader == nil {
			return fmt.Errorf("%s is behind this node and knows of no leader", o.addr)
		}
		if a.Code == quorum.PullNothing && a.Index > p.Index {
			return fmt.Errorf("%s has neither the entries after index %d any more nor its snapshot", o.addr, p.Index)
		}
		if err := o.cfg.Log.Feed(a); err != nil {
			return fmt.Errorf("%s: %w", o.addr, err)
		}
		return nil
	}
	return fmt.Errorf("%s: an answer of kind %d", o.addr, a.Code)
}

func (o *Observer) pullSnapshot(of quorum.PullAnswer) error {
	if of.Size > maxSnapshot {
		return fmt.Errorf("%s: a snapshot of %d bytes", o.addr, of.Size)
	}
	var data []byte
	for int64(len(data)) < of.Size {
		a, release, err := o.ask(quorum.PullRequest{Snapshot: true, Index: of.Index, Term: of.SnapshotOf, At: int64(len(data)), MaxBytes: pullBytes})
		if err != nil {
			return fmt.Errorf("%s: %w", o.addr, err)
		}
		if a.Code != quorum.PullPiece || a.Size != of.Size || len(a.Bytes) == 0 {
			release()
			if o.missed = !o.missed; o.missed {
				return nil // another has taken its place; the next pull will say which
			}
			return fmt.Errorf("%s does not give its snapshot of index %d", o.addr, of.Index)
		}
		data = append(data, a.Bytes...)
		release()
	}
	o.missed = false
	return o.cfg.Log.FeedSnapshot(of, data)
}

func (o *Observer) ask(q quorum.PullRequest) (quorum.PullAnswer, func(), error) {
	q.Cluster, q.Node, q.Directory, q.Controller = o.cfg.Cluster, o.cfg.Node, o.cfg.Directory, o.cfg.Controller
	ctx, cancel := context.WithTimeout(o.ctx, q.Wait+patience)
	defer cancel()
	answer, err := o.peer.Do(ctx, peer.Request{Key: quorum.PullKey, Flexible: true, Body: q.Append(nil)})
	if err != nil {
		return quorum.PullAnswer{}, nil, err
	}
	a, err := quorum.DecodePullAnswer(answer.Body)
	if err != nil {
		answer.Release()
		return a, nil, err
	}
	return a, answer.Release, nil
}
