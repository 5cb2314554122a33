// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
)

// fetcher pulls the partitions of one lane from one leader's broker.
//
// Its loop (run) owns the list of partitions and the session. Others reach it
// by commands under mu, a leaf, and by wake. A second goroutine (tell) carries
// news past a parked fetch: which of its partitions have been flushed, and that
// there is more to ask. Both end with the set's context.
//
//	            ┌──────── fetch, parked until there is something ────────┐
//	run ────────┤                                                         ├─ append ─ …
//	            └ Fetch{session, changed partitions, their flushed ends} ─┘
//	committer ─ flushed ─ tell ── News{flushed ends} ── (another connection) ──
type fetcher struct {
	set    *fetchers
	leader int32
	src    Source

	mu       sync.Mutex
	commands []command
	flushed  []*Partition  // with news to tell
	parked   [2]int32      // session id and epoch of the fetch under way
	cancel   func()        // of that fetch
	members  int           // partitions given, commands included
	release  bool          // the parked fetch is to be let go
	wake     chan struct{} // capacity 1: commands have come
	wakeTell chan struct{} // capacity 1

	// Of run alone.
	parts       map[PartitionID]*followed
	mention     []*followed // those whose place the leader does not know
	delayed     []*followed // those that wait for their time
	forgotten   []PartitionID
	session     int32
	epoch       int32 // of the session's next request; 0: a new session
	broker      int64 // the broker epoch of the session
	sessionless bool  // the leader made none
	failures    int
	views       []batch.View
	request     FetchRequest
}

type command struct {
	p     *Partition
	epoch int32
	add   bool // to the fetcher
	again bool // look at it again
}

// followed is one partition as its fetcher knows it.
type followed struct {
	p         *Partition
	id        PartitionID
	epoch     int32 // leader epoch
	queued    bool  // in mention
	inSession bool
	until     time.Time // in delayed until then; zero: it is not
	failures  int
	gone      bool
}

func newFetcher(s *fetchers, leader int32, src Source) *fetcher {
	return &fetcher{set: s, leader: leader, src: src, wake: make(chan struct{}, 1), wakeTell: make(chan struct{}, 1),
		parts: map[PartitionID]*followed{}}
}

// add and remove are called under a partition's mutex.
func (f *fetcher) add(p *Partition, epoch int32) { f.command(command{p: p, epoch: epoch, add: true}) }
func (f *fetcher) again(p *Partition)            { f.command(command{p: p, again: true}) }
func (f *fetcher) remove(p *Partition)           { f.command(command{p: p}) }

func (f *fetcher) command(c command) {
	f.mu.Lock()
	f.commands = append(f.commands, c)
	switch {
	case c.add:
		f.members++
		fallthrough
	case c.again:
		f.release = f.parked[0] != 0
	default:
		f.members--
	}
	if f.members == 0 && f.cancel != nil {
		f.cancel() // whoever led there leads nothing of ours: do not wait for it
	}
	release := f.release
	f.mu.Unlock()
	f.poke()
	if release {
		poke(f.wakeTell)
	}
}

// news queues p, which has been flushed further than the leader was told. It
// is called under p's mutex.
func (f *fetcher) news(p *Partition) {
	f.mu.Lock()
	f.flushed = append(f.flushed, p)
	f.mu.Unlock()
	poke(f.wakeTell)
}

func (f *fetcher) poke() { poke(f.wake) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run fetches until the set is closed.
func (f *fetcher) run() {
	defer f.src.Close()
	ctx := f.set.ctx
	for ctx.Err() == nil {
		f.take()
		now := time.Now()
		next := f.due(now)
		if broker := f.set.brokerEpoch(); broker != f.broker {
			f.broker = broker
			f.restart()
		}
		if f.broker < 0 || len(f.parts) == 0 || !f.any() {
			f.sleep(ctx, next)
			continue
		}
		if wait := f.fetch(ctx, next); wait > 0 {
			f.sleep(ctx, time.Now().Add(wait))
		}
	}
}

// any: there is a partition to ask for.
func (f *fetcher) any() bool { return len(f.mention) > 0 || len(f.delayed) < len(f.parts) }

// sleep waits for commands, or until a time if that is not zero.
func (f *fetcher) sleep(ctx context.Context, until time.Time) {
	var due <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-f.wake:
	case <-due:
	case <-ctx.Done():
	}
}

// take carries out the commands.
func (f *fetcher) take() {
	f.mu.Lock()
	cs := f.commands
	f.commands = nil
	f.release = false
	f.mu.Unlock()
	for _, c := range cs {
		id := PartitionID{c.p.id, c.p.index}
		x := f.parts[id]
		switch {
		case c.add:
			if x == nil || x.p != c.p {
				f.drop(x)
				x = &followed{p: c.p, id: id}
				f.parts[id] = x
			}
			x.epoch, x.failures = c.epoch, 0
			f.ask(x)
		case x == nil || x.p != c.p:
		case c.again:
			f.ask(x)
		default:
			f.drop(x)
		}
	}
}

// ask names the partition in the next request.
func (f *fetcher) ask(x *followed) {
	x.until = time.Time{}
	if !x.queued && !x.gone {
		x.queued = true
		f.mention = append(f.mention, x)
	}
}

// later takes the partition out of the session for a while.
func (f *fetcher) later(x *followed, now time.Time) {
	if x.failures++; x.failures > 3 {
		x.p.fails.Store(true)
	}
	if x.inSession {
		x.inSession = false
		f.forgotten = append(f.forgotten, x.id)
	}
	if x.until.IsZero() {
		f.delayed = append(f.delayed, x)
	}
	x.until = now.Add(f.backOff(x.failures))
}

// rest takes a partition out of the session until a throttle lets it go on.
func (f *fetcher) rest(x *followed, until time.Time) {
	if x.inSession {
		x.inSession = false
		f.forgotten = append(f.forgotten, x.id)
	}
	if x.until.IsZero() {
		f.delayed = append(f.delayed, x)
	}
	x.until = until
}

// backOff grows from 20 ms to replica.fetch.backoff.ms. Differs from Kafka,
// which waits that long at once: after an election the new leader may hear of
// it a moment after its followers, and producers with acks=all wait for them.
func (f *fetcher) backOff(failures int) time.Duration {
	return min(20*time.Millisecond<<min(failures-1, 10), f.set.cfg.BackOff)
}

// drop forgets the partition.
func (f *fetcher) drop(x *followed) {
	if x == nil || x.gone {
		return
	}
	x.gone = true
	if f.parts[x.id] == x {
		delete(f.parts, x.id)
	}
	if x.inSession {
		x.inSession = false
		f.forgotten = append(f.forgotten, x.id)
	}
}

// due lets partitions whose time has come be asked for, and gives the time of
// the next.
func (f *fetcher) due(now time.Time) (next time.Time) {
	keep := f.delayed[:0]
	for _, x := range f.delayed {
		switch {
		case x.gone || x.until.IsZero():
		case !x.until.After(now):
			f.ask(x)
		default:
			keep = append(keep, x)
			if next.IsZero() || x.until.Before(next) {
				next = x.until
			}
		}
	}
	clear(f.delayed[len(keep):])
	f.delayed = keep
	return next
}

// restart begins a new session with the next request.
func (f *fetcher) restart() {
	f.epoch = 0
	f.forgotten = f.forgotten[:0]
	for _, x := range f.parts {
		x.inSession = false
		if x.until.IsZero() {
			f.ask(x)
		}
	}
}

// fetch makes one request and carries out its answer. It returns how long to
// wait before the next.
func (f *fetcher) fetch(ctx context.Context, next time.Time) time.Duration {
	cfg := &f.set.cfg
	q := &f.request
	*q = FetchRequest{
		BrokerEpoch: f.broker, Session: f.session, SessionEpoch: f.epoch,
		MaxWait: cfg.MaxWait, MinBytes: cfg.MinBytes, MaxBytes: cfg.MaxTotal,
		Partitions: q.Partitions[:0], Forgotten: q.Forgotten[:0],
	}
	if !next.IsZero() { // somebody's back-off ends sooner
		q.MaxWait = max(0, min(q.MaxWait, time.Until(next)))
	}
	slices.SortStableFunc(f.mention, func(a, b *followed) int {
		return bytesCompare(&a.id.Topic, &b.id.Topic)
	})
	for _, x := range f.mention {
		x.queued = false
		if x.gone || !x.until.IsZero() {
			continue
		}
		if err := x.p.renew(x.epoch); err != nil && !errors.Is(err, errNotFollowing) {
			f.later(x, time.Now())
			continue
		}
		if wait := x.p.table.config.Throttle.copy(x.p, 0); wait > 0 {
			f.rest(x, time.Now().Add(wait))
			continue
		}
		at, err := x.p.stands(x.epoch)
		if err != nil {
			f.drop(x) // a command about it is on its way
			continue
		}
		x.inSession = true
		q.Partitions = append(q.Partitions, FetchPartition{
			PartitionID: x.id, LeaderEpoch: x.epoch, From: at.end, LastEpoch: at.lastEpoch,
			Start: at.start, MaxBytes: int32(cfg.MaxBytes), Flushed: at.flushed, Cut: at.cut,
		})
	}
	clear(f.mention)
	f.mention = f.mention[:0]
	// After those above, some of which go. What the leader serves on in vain it
	// would take for told.
	q.Forgotten = append(q.Forgotten, f.forgotten...)
	f.forgotten = f.forgotten[:0]

	fctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	if len(f.commands) > 0 || f.epoch == 0 && !f.sessionless {
		q.MaxWait = 0 // there is more to ask; a new session is wanted at once
	}
	f.cancel = cancel
	if f.epoch > 0 {
		f.parked = [2]int32{f.session, f.epoch}
	}
	f.mu.Unlock()
	a, err := f.src.Fetch(fctx, q)
	f.mu.Lock()
	f.parked, f.cancel, f.release = [2]int32{}, nil, false
	f.mu.Unlock()
	if err != nil {
		return f.failed(ctx, err)
	}
	if a.Release != nil {
		defer a.Release()
	}
	if a.Code != 0 {
		err := kerr.ErrorForCode(a.Code)
		f.session = 0
		if errors.Is(err, kerr.FetchSessionIDNotFound) || errors.Is(err, kerr.InvalidFetchSessionEpoch) || errors.Is(err, kerr.FetchSessionTopicIDError) {
			// The leader has none such any more, for whatever reason.
			if f.failures++; f.failures == 1 {
				f.restart()
				return 0
			}
			f.failures--
		}
		return f.failed(ctx, err)
	}
	f.failures = 0
	switch {
	case f.epoch == 0 && a.Session == 0:
		f.sessionless = true
		f.restart() // everything is named each time
	case f.epoch == 0:
		f.session, f.epoch, f.sessionless = a.Session, 1, false
	case f.epoch == 1<<31-1:
		f.epoch = 1
	default:
		f.epoch++
	}
	now := time.Now()
	for i := range a.Partitions {
		part := &a.Partitions[i]
		if x := f.parts[part.PartitionID]; x != nil && x.until.IsZero() {
			f.apply(x, part, now)
		}
	}
	return 0
}

// failed: the leader's broker cannot be asked.
func (f *fetcher) failed(ctx context.Context, err error) time.Duration {
	f.restart()
	f.failures++
	if ctx.Err() == nil && f.failures == 1 && !errors.Is(err, context.Canceled) {
		if tell := f.set.cfg.Events.Failed; tell != nil {
			tell(f.leader, err)
		}
	}
	return f.backOff(f.failures)
}

// apply carries out one partition's part of an answer.
func (f *fetcher) apply(x *followed, part *FetchedPartition, now time.Time) {
	ev := &f.set.cfg.Events
	p := x.p
	var err error
	switch err = kerr.ErrorForCode(part.Code); {
	case errors.Is(err, kerr.OffsetOutOfRange) && part.Start >= 0 && part.End >= part.Start:
		if err = p.outOfRange(x.epoch, part.Start, part.End); err == nil {
			f.truncated(x)
		}
	case err != nil:
		// Not the leader (yet), fenced, unknown: metadata will tell, or time.
		f.later(x, now)
		return
	case part.Diverging != nil:
		if err = p.diverged(x.epoch, *part.Diverging); err == nil {
			f.truncated(x)
		}
	default:
		if err = f.grow(x, part); err == nil && len(part.Records) > 0 {
			if ev.Fetched != nil {
				ev.Fetched(p.topic, len(part.Records))
			}
			if wait := p.table.config.Throttle.copy(p, len(part.Records)); wait > 0 {
				f.rest(x, now.Add(wait))
			} else {
				f.ask(x)
			}
		}
	}
	switch {
	case err == nil:
		x.failures = 0
		if p.fails.Load() {
			p.fails.Store(false)
		}
	case errors.Is(err, errNotFollowing):
		f.drop(x)
	case errors.Is(err, errBadBatch):
		if ev.BadBatch != nil {
			ev.BadBatch(p.topic, p.index, f.leader, err)
		}
		f.later(x, now)
	default: // the disk: full, or failed
		f.later(x, now)
	}
}

// grow appends what came, and where the log is to begin with it lets it begin
// there first.
func (f *fetcher) grow(x *followed, part *FetchedPartition) error {
	err := x.p.grow(x.epoch, part.Records, part.HighWatermark, part.Start, &f.views)
	var within beginsWithin
	if !errors.As(err, &within) {
		return err
	}
	if err = x.p.beginAt(x.epoch, within.base); err != nil {
		return err
	}
	return x.p.grow(x.epoch, part.Records, part.HighWatermark, part.Start, &f.views)
}

func (f *fetcher) truncated(x *followed) {
	if tell := f.set.cfg.Events.Truncated; tell != nil {
		tell(x.p.topic, x.p.index, x.p.LogEnd())
	}
	f.ask(x)
}

// tell carries news to the leader until the set is closed. While one message is
// under way more gathers for the next.
func (f *fetcher) tell() {
	ctx := f.set.ctx
	var ps, told []*Partition
	var n News
	failures := 0
	for {
		select {
		case <-f.wakeTell:
		case <-ctx.Done():
			return
		}
		f.mu.Lock()
		ps = append(ps[:0], f.flushed...)
		clear(f.flushed)
		f.flushed = f.flushed[:0]
		n = News{Flushed: n.Flushed[:0]}
		if f.release {
			n.Session, n.SessionEpoch, f.release = f.parked[0], f.parked[1], false
		}
		f.mu.Unlock()
		n.BrokerEpoch = f.set.brokerEpoch()
		slices.SortFunc(ps, func(a, b *Partition) int { return bytesCompare(&a.id, &b.id) })
		told = told[:0]
		for _, p := range ps {
			if e, ok := p.untold(); ok {
				n.Flushed, told = append(n.Flushed, e), append(told, p)
			}
		}
		if n.Session == 0 && len(n.Flushed) == 0 {
			continue
		}
		left, err := f.src.Tell(ctx, &n)
		for i, p := range told {
			if err != nil || slices.Contains(left, i) {
				p.retell(n.Flushed[i])
			}
		}
		if err == nil && len(left) == 0 {
			failures = 0
			continue
		}
		failures++
		select {
		case <-time.After(f.backOff(failures) / 4):
		case <-ctx.Done():
		}
	}
}

func bytesCompare(a, b *[16]byte) int {
	for i := range a {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}
