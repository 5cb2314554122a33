// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gregor/internal/wire/peer"
)

// Raft is told what became of messages; *quorum.Node meets it. No method may
// block for long.
type Raft interface {
	Unreachable(to uint64)
	SnapshotSent(to uint64, ok bool) error
	// Leads tells whether a voter leads; Gone, that its process is gone.
	Leads(voter uint64) bool
	Gone(voter uint64) error
}

// Config of a Carrier.
type Config struct {
	// Cluster is the cluster's id.
	Cluster string
	// Address is where a voter is reached.
	Address func(voter uint64) (string, error)
	Peer    peer.Config
	// Timeout of a request; 2 s, as controller.quorum.request.timeout.ms.
	Timeout time.Duration
	// Refused dials an address and tells whether its host refuses connections;
	// any other outcome is false. nil: nobody is dialled.
	Refused func(ctx context.Context, addr string) bool
	// Tick is between two such dials; 50 ms.
	Tick time.Duration
	// State is told when a voter can be sent to no more (err says why), and
	// again (nil). Called on the Carrier's goroutines; may be nil.
	State func(voter uint64, err error)
}

// Carrier is the sending half.
type Carrier struct {
	cfg    Config
	ctx    context.Context // of all requests; Close ends it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // leaf: guards what follows
	raft  Raft       // nil before Start: messages are dropped
	links map[uint64]*link
	ended bool
}

const (
	// A link holds what is under way to one voter: more than Raft's own window
	// (16 MiB), so that only a voter that is gone loses messages.
	maxQueued      = 4096
	maxQueuedBytes = 32 << 20
	// maxBatchBytes bounds a request, but for a single larger message.
	maxBatchBytes = 4 << 20
	chunkBytes    = 1 << 20
)

// New makes a Carrier; it sends once Start has given it the other half.
func New(cfg Config) *Carrier {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Tick <= 0 {
		cfg.Tick = 50 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Carrier{cfg: cfg, ctx: ctx, cancel: cancel, links: map[uint64]*link{}}
}

// Start tells who is to hear of losses.
func (c *Carrier) Start(r Raft) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raft = r
}

// Send queues messages; it meets quorum.Transport.
func (c *Carrier) Send(ms []*pb.Message) {
	for _, m := range ms {
		l, raft := c.link(m.GetTo())
		switch {
		case l == nil:
		case m.GetType() == pb.MsgSnap:
			l.sendSnapshot(m, raft)
		default:
			l.queue(m)
		}
	}
}

// Keep forgets the links of whom keep does not name, so that a voter that left
// is not dialled for ever.
func (c *Carrier) Keep(keep func(voter uint64) bool) {
	c.mu.Lock()
	var gone []*link
	for id, l := range c.links {
		if !keep(id) {
			gone = append(gone, l)
			delete(c.links, id)
		}
	}
	c.mu.Unlock()
	for _, l := range gone {
		l.cancel()
	}
}

// Close ends all links and waits for them.
func (c *Carrier) Close() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

func (c *Carrier) link(to uint64) (*link, Raft) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.raft == nil {
		return nil, nil
	}
	l := c.links[to]
	if l == nil {
		l = &link{c: c, to: to, raft: c.raft, wake: make(chan struct{}, 1)}
		l.ctx, l.cancel = context.WithCancel(c.ctx)
		cfg := c.cfg.Peer
		cfg.Ended = func(error) { l.suspect() }
		l.peer = peer.New(cfg, func() (string, error) { return c.cfg.Address(to) })
		c.links[to] = l
		c.wg.Go(l.run)
	}
	return l, c.raft
}

// link is the way to one voter.
type link struct {
	c      *Carrier
	to     uint64
	raft   Raft
	peer   *peer.Peer
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // capacity 1
	wg     sync.WaitGroup

	mu       sync.Mutex // leaf: guards what follows
	waiting  []*pb.Message
	bytes    int
	snapping bool
	failing  bool
	probing  bool
	ended    bool
}

func (l *link) queue(m *pb.Message) {
	size := proto.Size(m)
	l.mu.Lock()
	if len(l.waiting) < maxQueued && l.bytes+size <= maxQueuedBytes {
		l.waiting = append(l.waiting, m)
		l.bytes += size
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take encodes what waits, up to maxBatchBytes.
func (l *link) take() (out [][]byte) {
	l.mu.Lock()
	ms := l.waiting
	n, size := 0, 0
	for n < len(ms) && n < maxMessages && (n == 0 || size+proto.Size(ms[n]) <= maxBatchBytes) {
		size += proto.Size(ms[n])
		n++
	}
	l.waiting = ms[n:]
	if len(l.waiting) == 0 {
		l.waiting = nil
	}
	l.bytes -= size
	l.mu.Unlock()
	for _, m := range ms[:n] {
		b, err := proto.Marshal(m)
		if err != nil {
			continue // Raft made it, so it encodes; it repeats what matters
		}
		out = append(out, b)
	}
	return out
}

// drop empties the queue: what waited behind a message that was lost is stale
// by the time that the voter answers again.
func (l *link) drop() {
	l.mu.Lock()
	l.waiting, l.bytes = nil, 0
	l.mu.Unlock()
}

// run is the link's goroutine.
func (l *link) run() {
	defer l.end()
	for {
		ms := l.take()
		if len(ms) == 0 {
			select {
			case <-l.wake:
				continue
			case <-l.ctx.Done():
				return
			}
		}
		err := l.ask(StepKey, appendStep(nil, l.c.cfg.Cluster, ms))
		if l.ctx.Err() != nil {
			return
		}
		l.note(err)
		if err != nil {
			l.drop()
			l.raft.Unreachable(l.to)
		}
	}
}

func (l *link) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.wg.Wait()
	l.peer.Close()
}

// refusedError is an answer that is no.
type refusedError struct {
	code code
	text string
}

func (e *refusedError) Error() string {
	if e.text != "" {
		return e.text
	}
	return fmt.Sprintf("refused with code %d", e.code)
}

func (l *link) ask(key int16, body []byte) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.c.cfg.Timeout)
	defer cancel()
	a, err := l.peer.Do(ctx, peer.Request{Key: key, Flexible: true, Body: body})
	if err != nil {
		return err
	}
	defer a.Release()
	k, text, err := decodeAnswer(a.Body)
	if err == nil && k != taken {
		err = &refusedError{k, text}
	}
	return err
}

// note tells of the first failure after a success, and the other way round.
func (l *link) note(err error) {
	l.mu.Lock()
	changed := l.failing != (err != nil)
	l.failing = err != nil
	l.mu.Unlock()
	if changed && l.c.cfg.State != nil {
		l.c.cfg.State(l.to, err)
	}
}

// sendSnapshot sends one aside; Raft waits for SnapshotSent before another.
func (l *link) sendSnapshot(m *pb.Message, raft Raft) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.snapping || l.ended { // after the older one Raft tries again
		return
	}
	l.snapping = true
	l.wg.Go(func() {
		err := l.snapshot(m)
		l.mu.Lock()
		l.snapping = false
		l.mu.Unlock()
		l.note(err)
		_ = raft.SnapshotSent(l.to, err == nil) // a node that stopped needs no news
	})
}

func (l *link) snapshot(m *pb.Message) error {
	data := m.GetSnapshot().GetData()
	head := proto.CloneOf(m)
	head.Snapshot.Data = nil
	message, err := proto.Marshal(head)
	if err != nil {
		return err
	}
	meta := m.GetSnapshot().GetMetadata()
	k := chunk{cluster: l.c.cfg.Cluster, from: m.GetFrom(), to: m.GetTo(), index: meta.GetIndex(), term: meta.GetTerm(), size: uint64(len(data))}
	for range maxBegins {
		for at := 0; ; {
			k.at, k.piece, k.message = uint64(at), data[at:min(len(data), at+chunkBytes)], nil
			if k.last() {
				k.message = message
			}
			err = l.ask(ChunkKey, k.encode())
			if at += len(k.piece); err != nil || k.last() {
				break
			}
		}
		var refused *refusedError
		if !errors.As(err, &refused) || refused.code != outOfLine {
			return err
		}
	}
	return err
}

// maxBegins bounds how often one snapshot is begun anew, where another sender's
// got between.
const maxBegins = 3
