// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/api"
	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/plan"
	"gregor/internal/meta/uplink"
)

// membership is this broker's life in the cluster: let in, heard of, let go.
//
//	catch up   the metadata log is followed up to what was committed: all logs
//	           that belong here are open, and what they lost is known
//	register   fenced; the broker waits until its own image shows it
//	ready      the front opens; heartbeats ask to be unfenced
//	serve      a heartbeat every broker.heartbeat.interval.ms, and at once when
//	           the controller moves; a fenced broker is unfenced by the next
//	stop       heartbeats ask to shut down until the controller has moved what
//	           this broker led (controlled.shutdown.enable)
//
// Concurrency: one goroutine beats; close ends it. mu guards wants.
type membership struct {
	n    *Node
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	wants plan.Beat // Fence and ShutDown only

	dirs dirNews

	unfenced chan struct{} // closed by the first answer that says so
	let      chan struct{} // closed when the controller lets this broker go
	once     sync.Once
	onceLet  sync.Once
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// whereabouts tells the uplink where the active controller is.
type whereabouts struct{ n *Node }

func (w whereabouts) Controller() (int32, <-chan struct{}) {
	moved := w.n.quorum.Moved()
	id, _, ok := w.n.leader()
	if !ok {
		return -1, moved
	}
	if id != w.n.live.Broker().NodeID {
		w.n.formerLeader.Store(id)
	}
	return id, moved
}

func (w whereabouts) Address(id int32) (string, error) {
	leader, addr, ok := w.n.leader()
	if !ok || leader != id {
		return "", fmt.Errorf("node %d is not the active controller", id)
	}
	return addr, nil
}

// alone: this node is its whole cluster, by an image that has caught up.
func (n *Node) alone() bool {
	img, id := n.image.Load(), n.live.Broker().NodeID
	for b := range img.Brokers() {
		if b.ID != id {
			return false
		}
	}
	leader, _, ok := n.leader()
	return ok && leader == id
}

// newMembers makes what the active controller keeps brokers with.
func (n *Node) newMembers(env plan.Env) *controller.Members {
	b := n.live.Broker()
	log := n.logs.Logger(logController)
	return controller.NewMembers(n.controller, controller.MembersConfig{
		Env: env, Session: b.Quorum.BrokerSession,
		Rebalance: func() time.Duration {
			if b := n.live.Broker(); b.Quorum.LeaderRebalance {
				return b.Quorum.LeaderCheck
			}
			return 0
		},
		Before: n.formerLeader.Load,
		Dial:   n.probe,
		Events: controller.MemberEvents{
			Fenced: func(ids []int32, refused bool) {
				log.Warn("brokers are taken out of service", "brokers", ids, "connection_refused", refused)
			},
			Alarm: func(id int32) {
				log.Info("a broker's heartbeat connection was closed, but the broker is there", "broker", id)
			},
			Preferred: func(partitions int) {
				log.Info("leaders go back to their preferred replicas", "partitions", partitions)
			},
		},
	})
}

// probe tells whether a broker's process is gone: its host refuses connections
// to the listener that brokers use.
func (n *Node) probe(ctx context.Context, b *meta.Broker) bool {
	e, ok := b.Endpoint(n.live.Broker().InterBrokerListener)
	if !ok {
		return false
	}
	return n.refused(ctx, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
}

// registration is how this broker presents itself.
func (n *Node) registration() plan.Registration {
	b := n.live.Broker()
	r := plan.Registration{
		ID: b.NodeID, ClusterID: n.identity.cluster, Incarnation: n.identity.incarnation,
		Endpoints: endpoints(n.Advertised()), Rack: b.Rack, Features: n.supported(),
		Clean: n.cleanEpoch(), Checked: true, Voter: n.asController(), Cordoned: n.cordonedDirs(),
	}
	for _, d := range n.table.Dirs() {
		if d.Err() == nil {
			r.Dirs = append(r.Dirs, d.ID())
		}
	}
	for _, p := range n.table.Losses() {
		r.Losses = append(r.Losses, plan.ReplicaLoss{Topic: p.Topic, Partition: p.Partition, Loss: plan.LostTail})
	}
	return r
}

// cleanEpoch is the broker epoch of the last stop if that was clean in every
// directory, else -1.
func (n *Node) cleanEpoch() int64 {
	epoch := int64(-1)
	for i, d := range n.table.Dirs() {
		e := d.PreviousBrokerEpoch()
		if !d.Clean() || i > 0 && e != epoch {
			return -1
		}
		epoch = e
	}
	return epoch
}

// register lets this broker into the cluster and waits until its own image
// says so.
func (n *Node) register(ctx context.Context) error {
	b := n.live.Broker()
	if !b.IsBroker {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.Quorum.RegistrationTimeout)
	defer cancel()
	go func() { // ends with ctx
		select {
		case <-n.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := n.enter(ctx); err != nil {
		select {
		case <-n.failed:
			return n.failure
		default:
			return err
		}
	}
	return nil
}

// enter is the way into the cluster, which a node that fails gives up.
func (n *Node) enter(ctx context.Context) error {
	if err := n.catchUp(ctx); err != nil {
		return fmt.Errorf("the active controller is not reached (initial.broker.registration.timeout.ms): %w", err)
	}
	ready := n.alone() // then nobody waits for this broker's heartbeats to begin
	epoch, err := n.enrol(ctx, ready)
	if err != nil {
		return err
	}
	for _, d := range n.dirs {
		d.SetBrokerEpoch(epoch)
	}
	n.table.Strays(n.image.Load(), metadataLog)
	// What lost its tail in an unclean stop gets its new leader epoch before
	// the first client asks, so that none has to retry.
	if err := n.raiser.raise(ctx, n.uplink); err != nil {
		return err
	}
	for _, d := range n.dirs {
		d.NoteBoot() // the controller knows now what a power cut before it took
	}
	n.raiser.start(n.uplink)
	n.raiser.isr.start(n.uplink, n.table)
	n.table.Registered(epoch)
	n.flushRecovered()
	n.startMembership(ready)
	return nil
}

// enrol registers. While another process holds the id, which may be one that
// died just now, it tries again until ctx ends.
func (n *Node) enrol(ctx context.Context, ready bool) (int64, error) {
	inUse := func(err error) error {
		return fmt.Errorf("node.id %d is in use by another broker: %w", n.live.Broker().NodeID, err)
	}
	var before error
	for {
		epoch, err := n.uplink.Register(ctx, n.registration(), ready)
		if !errors.Is(err, kerr.DuplicateBrokerRegistration) {
			if err != nil && before != nil && ctx.Err() != nil { // the time ended within a later try
				return 0, inUse(before)
			}
			return epoch, err
		}
		if before == nil {
			n.log.Warn("another process is registered under this node.id; waiting for its session to end", "node_id", n.live.Broker().NodeID, "error", err)
		}
		before = err
		t := time.NewTimer(250 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return 0, inUse(err)
		}
	}
}

func (n *Node) startMembership(ready bool) {
	ctx, cancel := context.WithCancel(context.Background())
	m := &membership{n: n, wake: make(chan struct{}, 1), wants: plan.Beat{Fence: !ready},
		unfenced: make(chan struct{}), let: make(chan struct{}), cancel: cancel}
	n.membership = m
	m.wg.Go(func() { m.beat(ctx) })
}

// unfence asks to be let in, now that requests are served, and waits for it.
func (n *Node) unfence(ctx context.Context) error {
	m := n.membership
	if m == nil { // a controller has no partitions to serve
		return nil
	}
	m.want(func(b *plan.Beat) { b.Fence = false })
	ctx, cancel := context.WithTimeout(ctx, n.live.Broker().Quorum.RegistrationTimeout)
	defer cancel()
	select {
	case <-m.unfenced:
		return nil
	case <-n.failed:
		return n.failure
	case <-ctx.Done():
		return fmt.Errorf("the controller does not let this broker serve: %w", ctx.Err())
	}
}

func (m *membership) want(f func(*plan.Beat)) {
	m.mu.Lock()
	f(&m.wants)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// beatAgain is how long after a failed heartbeat, and between those of a broker
// that waits for something, the next is sent.
const beatAgain = 50 * time.Millisecond

// beat sends heartbeats until ctx ends.
func (m *membership) beat(ctx context.Context) {
	n := m.n
	log := n.logs.Logger(logNode)
	fenced := false
	for {
		b := n.live.Broker()
		m.mu.Lock()
		beat := m.wants
		m.mu.Unlock()
		beat.Applied = n.image.Load().Version()
		beat.Offline, beat.Cordoned = n.offlineDirs(), n.cordonedDirs()
		moved := n.uplink.Moved()
		pulse, err := m.send(ctx, beat, b.Quorum.BrokerSession)
		wait := b.Quorum.BrokerHeartbeat
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(wait, beatAgain)
			m.refused(ctx, err)
		case beat.ShutDown && pulse.ShutDown:
			m.onceLet.Do(func() { close(m.let) })
		case !pulse.Fenced:
			m.once.Do(func() { close(m.unfenced) })
			if fenced {
				log.Info("this broker is in service again")
			}
			fenced = false
		case !beat.Fence && !fenced && m.was():
			fenced = true
			log.Warn("the controller has taken this broker out of service; it asks to be let in again")
		}
		m.tellDirs(ctx, beat.Offline, err == nil)
		if err == nil {
			m.amend(ctx)
		}
		if err == nil && (pulse.Fenced && !beat.Fence || beat.ShutDown) {
			wait = min(wait, beatAgain)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-moved:
		case <-m.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// was tells whether this broker was in service before.
func (m *membership) was() bool {
	select {
	case <-m.unfenced:
		return true
	default:
		return false
	}
}

func (m *membership) send(ctx context.Context, b plan.Beat, session time.Duration) (plan.Pulse, error) {
	ctx, cancel := context.WithTimeout(ctx, max(session/2, time.Second))
	defer cancel()
	return m.n.uplink.Beat(ctx, b)
}

// refused deals with a controller that does not know this broker any more.
func (m *membership) refused(ctx context.Context, err error) {
	n := m.n
	if !errors.Is(err, kerr.StaleBrokerEpoch) && !errors.Is(err, kerr.BrokerIDNotRegistered) {
		return
	}
	if cerr := n.uplink.CatchUp(ctx); cerr != nil {
		return // asked again with the next heartbeat
	}
	id := n.live.Broker().NodeID
	if b := n.image.Load().Broker(id); b != nil && b.Incarnation != n.identity.incarnation {
		n.fail(fmt.Errorf("another process has registered as broker %d: two nodes must not share a node.id", id))
		m.cancel()
		return
	}
	n.logs.Logger(logNode).Warn("the controller does not know this broker's epoch; it registers again", "error", err)
	// Nothing was lost while the process lived.
	r := n.registration()
	r.Losses = nil
	epoch, rerr := n.uplink.Register(ctx, r, false)
	if rerr != nil {
		return
	}
	for _, d := range n.dirs {
		d.SetBrokerEpoch(epoch)
	}
	n.table.Registered(epoch)
}

// amend tells of listeners that came or went since this broker registered.
func (m *membership) amend(ctx context.Context) {
	n := m.n
	b := n.image.Load().Broker(n.live.Broker().NodeID)
	if b == nil || b.Incarnation != n.identity.incarnation || slices.Equal(b.Endpoints, endpoints(n.Advertised())) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.live.Broker().Quorum.BrokerSession/2)
	defer cancel()
	r := n.registration()
	r.Losses = nil
	if _, err := n.uplink.Register(ctx, r, false); err != nil && ctx.Err() == nil {
		n.log.Warn("the controller was not told of other listeners", "error", err)
	}
}

// leave hands over what this broker leads, for at most as long as ctx and the
// bound allow, and ends the heartbeats.
func (m *membership) leave(ctx context.Context) {
	defer m.close()
	n := m.n
	if !n.live.Broker().ControlledShutdown || !m.was() || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	began := time.Now()
	m.want(func(b *plan.Beat) { b.ShutDown = true })
	select {
	case <-m.let:
		n.log.Info("leaderships are handed over", "took", time.Since(began).Round(time.Millisecond))
	case <-n.failed:
	case <-n.deserted(ctx):
		n.log.Info("most controllers are gone, so nobody can take leaderships over; this broker stops without", "waited", time.Since(began).Round(time.Millisecond))
	case <-ctx.Done():
		n.log.Warn("the controller did not let this broker go in time; it stops all the same", "waited", leaveWithin)
	}
}

// leaveWithin bounds controlled shutdown, within the bound of the whole stop.
const leaveWithin = 10 * time.Second

func (m *membership) close() {
	m.cancel()
	m.wg.Wait()
}

// desk shows uplink's Desk to the table of requests.
type desk struct{ d *uplink.Desk }

var _ api.Desk = desk{}

func (d desk) Serve(ctx context.Context, c *api.Call, req kmsg.Request) (kmsg.Response, error) {
	resp, _, err := d.d.Serve(ctx, req, uplink.Caller{Principal: c.Principal(), Host: c.Host(), Conn: c.Conn, Context: ctx})
	return resp, err
}

func (d desk) Forward(life context.Context, c *api.Call, body []byte) []byte {
	return d.d.Forward(life, body, c.Conn)
}

func (d desk) Envelope(life context.Context, _ *api.Call, req *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error) {
	return d.d.Envelope(life, req)
}
