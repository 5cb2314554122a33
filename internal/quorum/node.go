// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/meta"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// Config is what a Node needs. Zero durations and sizes take the defaults.
type Config struct {
	NodeID    int32
	Directory meta.UUID // id of the log directory that Dir is in
	// Cluster is the cluster's id, kept with the founding.
	Cluster string
	// Voters found the cluster when Dir is not formatted yet: all its first
	// voters, whether this node is one of them or only follows. Empty means
	// this node alone.
	Voters []Voter

	FS  vfs.FS
	Dir string // <metadata log dir>/__cluster_metadata-0
	Log Log

	// Transport sends to other voters; it may drop, delay and reorder. nil
	// where there are none.
	Transport Transport
	// Publish is told every Image, in order, from one goroutine of the Node;
	// when it is slow, several changes come as one Delta.
	Publish func(*meta.Image, *meta.Delta)
	// Controller is told of leadership and commits, on the Node's loop.
	Controller Controller
	Events     Events

	Tick           time.Duration // 50 ms
	ElectionTicks  int           // 10: an election after 0.5 to 1 s of silence
	HeartbeatTicks int           // 2
	// SnapshotBytes of entries, or SnapshotAge with any, make a snapshot:
	// metadata.log.max.record.bytes.between.snapshots, 20 MiB, and
	// metadata.log.max.snapshot.interval.ms, 1 h.
	SnapshotBytes int64
	SnapshotAge   time.Duration
}

// Transport carries messages to other voters. Send is called on the loop and
// must not block.
type Transport interface{ Send([]*pb.Message) }

// Controller follows the log as whoever decides: its methods are called on the
// Node's loop, in order, and must not block.
type Controller interface {
	// Leading: this node leads and img is everything that was ever committed.
	Leading(term uint64, img *meta.Image)
	// Committed: img is the newest committed Image.
	Committed(img *meta.Image)
	// Following: this node leads no more.
	Following()
}

// Events tell an operator; any may be nil. Called on the Node's goroutines.
type Events struct {
	// Warning: something was damaged and made up for.
	Warning func(error)
	// Stalled: the disk has not answered for that long; leadership is given up.
	Stalled func(time.Duration)
	// Recovered: the disk answers again.
	Recovered func(time.Duration)
	// Snapshot was written.
	Snapshot func(index uint64, bytes int64, took time.Duration)
	// Voters: who votes has changed. On the loop: it must not block.
	Voters func(*Membership)
	// Gone: the leader's process is gone for sure, and another is elected now. On
	// the loop: it must not block.
	Gone func(Voter)
	// Failed: the node cannot go on and stops.
	Failed func(error)
}

func (c *Config) setDefaults() {
	if c.Tick == 0 {
		c.Tick = 50 * time.Millisecond
	}
	if c.ElectionTicks == 0 {
		c.ElectionTicks = 10
	}
	if c.HeartbeatTicks == 0 {
		c.HeartbeatTicks = 2
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = 20 << 20
	}
	if c.SnapshotAge == 0 {
		c.SnapshotAge = time.Hour
	}
	if len(c.Voters) == 0 {
		c.Voters = []Voter{{ID: c.NodeID, Directory: c.Directory}}
	}
}

// Status is what this node knows of the quorum.
type Status struct {
	ID, Leader, Term uint64
	Leading          bool
	Stalled          bool
	Err              error // why the node stopped, nil while it runs
}

// Node runs one voter. Its loop owns core; calls come in as functions over a
// bounded channel and are carried out in order.
type Node struct {
	cfg  Config
	core *core

	calls  chan func() // bound: a full loop slows its callers; never closed
	stop   chan struct{}
	done   chan struct{} // closed when the loop has ended
	once   sync.Once
	others sync.WaitGroup // publisher, guard, snapshot writer

	status   atomic.Pointer[Status]
	moved    moved
	members  atomic.Pointer[Membership]
	served   atomic.Pointer[served]
	position atomic.Pointer[Position]
	told     atomic.Pointer[Voter] // who leads, as a source of pulls said
	// leaderless: how long after made no leader was known any more; 0: one is.
	// Not by the wall clock: that may be set.
	made       time.Time
	leaderless atomic.Int64
	meter      meter
	seenLast   uint64 // the log's last index when grown looked, and its end; the loop's own
	seenEnd    int64
	watch      watch
	after      []func() // loop-owned: to call once the step under way is done
	published  publication
	disk       guard
	lastSnap   time.Time // loop-owned
	snapping   bool      // loop-owned
}

const maxCalls = 256

// Open reads the directory (or prepares to format it), starts the node's
// goroutines and, when this voter is the whole quorum, stands for election at
// once. The Log must be open, CheckDirectory asked before.
func Open(cfg Config) (*Node, error) {
	cfg.setDefaults()
	st, warnings, err := openStable(cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{
		made:  time.Now(),
		cfg:   cfg,
		calls: make(chan func(), maxCalls),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	for _, w := range warnings {
		if cfg.Events.Warning != nil {
			cfg.Events.Warning(w)
		}
	}
	st.again = n.again
	n.core, err = newCore(st, coreConfig{cfg.ElectionTicks, cfg.HeartbeatTicks}, hooks{
		send:      n.send,
		committed: n.committed,
		leading:   func(term uint64, img *meta.Image) { n.tell(func(c Controller) { c.Leading(term, img) }) },
		following: func() { n.tell(Controller.Following) },
		members:   n.membersChanged,
		gone:      n.leaderGone,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), st.state.close())
	}
	n.status.Store(&Status{ID: n.core.id})
	m := n.core.membership()
	n.members.Store(&m)
	n.publishServed(false)
	n.publishPosition()
	n.leaderless.Store(int64(max(1, time.Since(n.made))))
	n.published.start()
	if n.core.image.Version() > 0 {
		n.published.add(n.core.image, meta.Diff(meta.Empty(), n.core.image))
	}
	n.disk.start()
	n.lastSnap = time.Now()
	go n.loop()
	n.others.Go(n.publish)
	n.others.Go(n.watchDisk)
	return n, nil
}

func openStable(cfg Config) (*stable, []error, error) {
	formatted, err := CheckDirectory(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, nil, err
	}
	if err := CheckVoters(cfg.Voters); err != nil {
		return nil, nil, fmt.Errorf("found the cluster: %w", err)
	}
	fd := founding{cfg.NodeID, cfg.Directory, RaftID(cfg.NodeID, cfg.Directory), cfg.Cluster, sortVoters(cfg.Voters)}
	st := &stable{fs: cfg.FS, dir: cfg.Dir, log: cfg.Log}
	var warnings []error
	if formatted {
		var mended bool
		st.state, mended, err = openState(cfg.FS, cfg.Dir)
		var damage *DamageError
		switch {
		case errors.As(err, &damage) && cfg.Log.End() == 0:
			// Formatting was cut off: nothing was promised yet.
			formatted = false
		case err != nil:
			return nil, nil, err
		case mended:
			warnings = append(warnings, fmt.Errorf("%s: a damaged copy was restored from its twin", st.state.path))
		}
	}
	if !formatted {
		if end := cfg.Log.End(); end != 0 {
			return nil, nil, &DamageError{filepath.Join(cfg.Dir, StateFile), 0, fmt.Sprintf("the file is gone, but the log beside it holds %d records", end)}
		}
		st.state = newState(cfg.FS, cfg.Dir, fd)
	}
	if own := st.state; own.node != cfg.NodeID || own.directory != cfg.Directory {
		return nil, nil, errors.Join(fmt.Errorf("%s was formatted for node %d in directory %s, this is node %d in %s",
			own.path, own.node, meta.FormatUUID(own.directory), cfg.NodeID, meta.FormatUUID(cfg.Directory)), own.close())
	}
	more, err := st.open()
	if err != nil {
		return nil, nil, errors.Join(err, st.state.close())
	}
	return st, append(warnings, more...), nil
}

// Status tells what this node knows; it never waits.
func (n *Node) Status() Status {
	s := *n.status.Load()
	if n.disk.isStalled() {
		s.Stalled, s.Leading = true, false
	}
	return s
}

// Image is the newest committed Image that was handed to Publish.
func (n *Node) Image() *meta.Image { return n.published.image() }

// Await returns when Publish was done with version, or ctx ends.
func (n *Node) Await(ctx context.Context, version int64) error {
	return n.published.await(ctx, n.done, version)
}

// Propose hands over a group that is appended and synced in one act; each
// proposal's Done is called, if need be with ErrNotLeader. It blocks only while
// the loop is behind by maxCalls; the error means that nothing was proposed and
// no Done will be called.
func (n *Node) Propose(group []*meta.Proposal) error {
	n.timed(group)
	return n.do(func() { n.core.propose(group) })
}

func (n *Node) membersChanged(m Membership) {
	n.members.Store(&m)
	if n.cfg.Events.Voters != nil {
		n.cfg.Events.Voters(&m)
	}
}

// Membership is who votes; it never waits.
func (n *Node) Membership() *Membership { return n.members.Load() }

// Leader is the voter that leads, as far as this node knows; it never waits.
func (n *Node) Leader() (Voter, bool) {
	s, m := n.status.Load(), n.members.Load()
	if !m.Self {
		if v := n.told.Load(); v != nil {
			return *v, true
		}
		return Voter{}, false
	}
	if s.Leader == raft.None || s.Leader == s.ID && n.disk.isStalled() {
		return Voter{}, false
	}
	return m.Voter(s.Leader)
}

// Step takes a message from another voter. One that is meant for another voter
// (this node's directory was another once) is dropped.
func (n *Node) Step(m *pb.Message) error {
	if m.GetTo() != n.core.id {
		return nil
	}
	return n.do(func() {
		_ = n.core.rn.Step(m) // Raft's refusals are for nobody
		n.core.hear(m, time.Now())
	})
}

// Unreachable tells that a message to a voter could not be sent, so that Raft
// probes before it sends more. It does not wait: the next message will tell
// again.
func (n *Node) Unreachable(to uint64) {
	select {
	case n.calls <- func() { n.core.rn.ReportUnreachable(to) }:
	default:
	}
}

// SnapshotSent tells what became of a snapshot message to a voter. A Transport
// must tell: Raft sends that voter nothing else until it knows.
func (n *Node) SnapshotSent(to uint64, ok bool) error {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	return n.do(func() { n.core.rn.ReportSnapshot(to, status) })
}

// ErrStopped: the node was closed, or failed.
var ErrStopped = errors.New("quorum: stopped")

func (n *Node) do(f func()) error {
	select {
	case n.calls <- f:
		return nil
	case <-n.done:
		return ErrStopped
	case <-n.stop:
		return ErrStopped
	}
}

// Stalled is closed while the disk has not answered for two election timeouts:
// whoever waits for a proposal should wait no more. Ask again afterwards.
func (n *Node) Stalled() <-chan struct{} { return n.disk.stalled() }

// Close stops the node and waits for its goroutines. The Log stays open.
func (n *Node) Close() error {
	n.once.Do(func() { close(n.stop) })
	<-n.done
	n.others.Wait()
	return n.Status().Err
}

func (n *Node) send(ms []*pb.Message) {
	if n.cfg.Transport != nil && len(ms) > 0 {
		n.cfg.Transport.Send(ms)
	}
}

func (n *Node) tell(f func(Controller)) {
	if n.cfg.Controller != nil {
		f(n.cfg.Controller)
	}
}

func (n *Node) committed(img *meta.Image, d *meta.Delta) {
	n.published.add(img, d)
	n.tell(func(c Controller) { c.Committed(img) })
}

// loop owns core. It ends at Close or when the disk fails.
func (n *Node) loop() {
	defer close(n.done)
	tick := time.NewTicker(n.cfg.Tick)
	defer tick.Stop()
	err := n.begin()
	for err == nil {
		idle := time.Now()
		select {
		case <-n.stop:
			err = ErrStopped
			continue
		case <-tick.C:
			n.meter.note(&n.meter.idle, time.Since(idle).Seconds())
			n.core.tick()
		case f := <-n.calls:
			n.meter.note(&n.meter.idle, time.Since(idle).Seconds())
			f()
			n.drain()
		}
		err = n.work()
	}
	n.end(err)
}

// begin stands for election when there is nobody to wait for.
func (n *Node) begin() error {
	if n.core.alone() {
		if err := n.core.rn.Campaign(); err != nil {
			return err
		}
	}
	return n.work()
}

// drain takes what came in meanwhile, so that it shares one sync.
func (n *Node) drain() {
	for range maxCalls {
		select {
		case f := <-n.calls:
			f()
		default:
			return
		}
	}
}

func (n *Node) work() error {
	n.disk.begin()
	err := n.core.work()
	stalled, took := n.disk.finish()
	if err != nil {
		return err
	}
	if stalled {
		if n.cfg.Events.Recovered != nil {
			n.cfg.Events.Recovered(took)
		}
		n.stepDown()
		if err := n.core.work(); err != nil {
			return err
		}
	}
	n.publishStatus()
	n.publishServed(false)
	n.publishPosition()
	n.grown()
	for _, f := range n.after {
		f()
	}
	n.after = n.after[:0]
	return n.maybeSnapshot()
}

// again is asked when the disk is full: the append was undone and is tried
// again until there is room. Meanwhile the node counts as stalled: who waits
// is answered, others may elect, and what is committed is served on.
func (n *Node) again(err error) bool {
	if !errors.Is(err, storage.ErrNoSpace) {
		return false
	}
	t := time.NewTimer(roomInterval)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.stop:
		return false
	}
}

const roomInterval = 100 * time.Millisecond

// stepDown gives leadership up after a stall that others may have noticed: a
// message of the next term makes Raft a follower, as any voter's would.
func (n *Node) stepDown() {
	c := n.core
	st := c.rn.BasicStatus()
	if st.RaftState != raft.StateLeader || c.alone() {
		return
	}
	for _, v := range c.conf.GetVoters() {
		if v != c.id {
			_ = c.rn.Step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(v), To: new(c.id), Term: new(st.GetTerm() + 1)})
			return
		}
	}
}

func (n *Node) publishStatus() {
	st := n.core.rn.BasicStatus()
	s := Status{ID: n.core.id, Leader: n.core.leader, Term: st.GetTerm(), Leading: n.core.leading}
	if old := *n.status.Load(); old != s {
		n.status.Store(&s)
		switch {
		case s.Leader != raft.None:
			if since := n.leaderless.Swap(0); since != 0 {
				n.meter.note(&n.meter.election, ms(time.Since(n.made)-time.Duration(since)))
			}
		case old.Leader != raft.None:
			n.leaderless.Store(int64(max(1, time.Since(n.made))))
		}
		n.moved.tell()
	}
}

// end answers everybody who waits.
func (n *Node) end(err error) {
	n.core.retire()
	s := Status{ID: n.core.id}
	if !errors.Is(err, ErrStopped) {
		s.Err = err
		if n.cfg.Events.Failed != nil {
			n.cfg.Events.Failed(err)
		}
	}
	n.status.Store(&s)
	n.once.Do(func() { close(n.stop) })
	n.publishServed(true)
	// Callers that got in before stop was closed are answered too.
	n.core.leading = false
	n.drain()
	n.core.retire()
	if err := n.core.st.state.close(); err != nil && n.cfg.Events.Warning != nil {
		n.cfg.Events.Warning(err)
	}
	n.published.stop()
	n.disk.stop()
}

// maybeSnapshot has a snapshot written aside when one is due.
func (n *Node) maybeSnapshot() error {
	c := n.core
	age := time.Since(n.lastSnap)
	spoiled := c.st.spoiled
	if spoiled != nil && age < time.Second {
		return nil // a disk that does not let it be written is not asked all the time
	}
	if n.snapping || spoiled == nil && c.bytes < n.cfg.SnapshotBytes && (c.bytes == 0 || age < n.cfg.SnapshotAge) {
		return nil
	}
	m, img := c.snapshotAt(), c.image
	if m.index == c.st.lastSnapshot().index && spoiled == nil {
		return nil
	}
	if spoiled != nil && n.cfg.Events.Warning != nil {
		n.cfg.Events.Warning(spoiled)
	}
	n.snapping, n.lastSnap, c.bytes = true, time.Now(), 0
	n.others.Go(func() {
		began := time.Now()
		size, err := writeSnapshot(n.cfg.FS, n.cfg.Dir, m, img)
		_ = n.do(func() { n.snapshotted(m, size, time.Since(began), err) }) // too late when stopped: the next start finds the file
	})
	return nil
}

func (n *Node) snapshotted(m snapshotMeta, size int64, took time.Duration, err error) {
	n.snapping, n.core.st.spoiled = false, nil
	if err == nil {
		err = n.core.st.snapshotted(m)
	}
	switch {
	case err != nil:
		// The log is whole without it; another is tried when due.
		if n.cfg.Events.Warning != nil {
			n.cfg.Events.Warning(err)
		}
	case n.cfg.Events.Snapshot != nil:
		n.cfg.Events.Snapshot(m.index, size, took)
	}
}

// VoterState is one voter in Describe's answer.
type VoterState struct {
	ID uint64
	// End is the offset up to which the voter is known to have the log; -1
	// when this node does not lead.
	End int64
	// Active: it was heard of within the last election timeout (leader only).
	Active bool
	Voter  Voter
	// When the leader heard of it, and when it last had all that the leader
	// had; zero: never, or this node does not lead.
	LastFetch, LastCaughtUp time.Time
}

// Description is a picture of the quorum for DescribeQuorum.
type Description struct {
	Status
	HighWatermark int64  // offset up to which the log is committed
	LastTerm      uint64 // of the log's last entry
	Changing      bool   // this node leads, and a change of voters is not committed
	Voters        []VoterState
	Observers     []Observer // that pull from this node
}

// Describe asks the loop.
func (n *Node) Describe(ctx context.Context) (Description, error) {
	got := make(chan Description, 1)
	if err := n.do(func() { got <- n.describe() }); err != nil {
		return Description{}, err
	}
	select {
	case d := <-got:
		return d, nil
	case <-ctx.Done():
		return Description{}, ctx.Err()
	case <-n.done:
		return Description{}, ErrStopped
	}
}

func (n *Node) describe() Description {
	c := n.core
	st := c.rn.Status()
	d := Description{Status: *n.status.Load(), HighWatermark: c.st.next(max(c.applied, c.st.floor.index))}
	d.LastTerm, _ = c.st.Term(c.st.lastIndex()) // at or above the floor, so it is known
	d.Changing = d.Leading && c.changing != nil
	for _, v := range c.conf.GetVoters() {
		s := VoterState{ID: v, End: -1, Voter: c.voters[v]}
		if h := c.heard[v]; h != nil && d.Leading {
			s.LastFetch, s.LastCaughtUp = h.last, h.caughtUp
		}
		if v == c.id && d.Leading {
			s.LastFetch, s.LastCaughtUp = time.Now(), time.Now()
		}
		if p, ok := st.Progress[v]; ok {
			s.Active = p.RecentActive || v == c.id
			if p.Match >= c.st.floor.index && p.Match <= c.st.lastIndex() {
				s.End = c.st.next(p.Match)
			}
		}
		d.Voters = append(d.Voters, s)
	}
	d.Observers = n.Observers()
	slices.SortFunc(d.Voters, func(a, b VoterState) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return d
}

var _ Log = (*storage.Log)(nil)
