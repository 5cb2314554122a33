// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/coord/markers"
	"gregor/internal/coord/txn"
	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/uplink"
	"gregor/internal/node/admin"
	"gregor/internal/node/loggers"
	"gregor/internal/node/metrics"
	"gregor/internal/quorum"
	"gregor/internal/quorum/carrier"
	"gregor/internal/quorum/founding"
	"gregor/internal/quorum/observer"
	"gregor/internal/replica"
	"gregor/internal/storage"
	"gregor/internal/vfs"
	"gregor/internal/wire"
	"gregor/internal/wire/peer"
)

// Config is what a node is made of.
type Config struct {
	Settings *config.Settings
	// FS holds the log directories; nil is the operating system's.
	FS vfs.FS
	// Log takes every line, whatever its level; nil drops them.
	Log slog.Handler
	// Listen and Dial are the network; nil is TCP. A simulation has one of its
	// own.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	// Around wraps the handler of all requests; nil leaves it. Tests put
	// faults there.
	Around func(wire.Handler) wire.Handler
	// Now is the clock of the machine; nil is time.Now. Its wall time, which an
	// operator may set, stamps and ages what is stored; durations go by the
	// monotonic one, there as everywhere. A simulation steps it.
	Now func() time.Time
	// Features are the features this program knows; nil: those it does. Tests
	// of upgrades say what an older or newer one knows.
	Features []meta.FeatureRange
	// Published is told of each image once it is in force, in order; nil
	// tells nobody. It must not block. Tests compare there what nodes see.
	Published func(*meta.Image)
}

// Node is one broker and controller. Start it once; Close or Kill it once.
type Node struct {
	cfg  Config
	live *config.Live
	fs   vfs.FS
	logs *loggers.Set
	log  *slog.Logger

	relistening sync.Mutex // one change of listeners at a time; before listenMu
	noMore      bool       // listeners are added: the node stops; guarded by relistening
	listenMu    sync.Mutex // guards listeners; a leaf
	listeners   []bound
	dirs        []*storage.Dir
	metaDir     *storage.Dir
	identity    identity
	begins      beginning
	front       *front
	meeting     atomic.Pointer[founding.Meeting]
	carrier     *carrier.Carrier
	observer    *observer.Observer
	seat        *seat
	// controllers are asked about the quorum, by node id.
	controllers *peer.Pool
	receiver    atomic.Pointer[carrier.Receiver]

	controller *controller.Controller
	quorum     *quorum.Node
	members    *controller.Members
	desk       *uplink.Desk
	uplink     *uplink.Uplink
	ids        *uplink.ProducerIDs
	raiser     *epochRaiser
	membership *membership
	// homesIn is the metadata that the directories of all logs were compared
	// with last; nil: to be compared again, for one has moved.
	homesIn  atomic.Pointer[meta.Image]
	balancer *balancer
	// formerLeader is the last active controller but this node, -1: none known.
	formerLeader atomic.Int32

	table  *replica.Table
	groups *coord.Runtime[*group.Shard]
	txns   *coord.Runtime[*txn.Shard]
	topics *creator
	image  atomic.Pointer[meta.Image]

	publishing chan struct{} // capacity 1: one image at a time
	caughtUp   bool          // whoever holds publishing may look, see publish

	// What ends transactions: markers carries orders to markerAPI here, or over
	// peers to other brokers.
	markers   *markers.Loop
	txnLoads  metrics.Loads
	markerAPI *api.Markers
	peers     *peer.Pool

	memory *api.Memory

	api    *api.API
	server *wire.Server
	ticker *ticker

	// What watchers look at; they look at nothing else before up is set.
	metrics  *metrics.Metrics
	registry *prometheus.Registry
	sessions *api.Sessions
	groupAPI *api.Groups
	admin    *admin.Server

	compaction atomic.Pointer[compaction] // nil: not there yet, or turned off
	telemetry  atomic.Pointer[api.TelemetrySubscriptions]
	up         atomic.Bool // Start is done, Close has not begun

	serving sync.WaitGroup // one Serve for each listener

	failOnce sync.Once
	failed   chan struct{}
	failure  error // written before failed is closed
}

// Components that log under a name of their own.
const (
	logNode       = "node"
	logController = "controller"
	logStorage    = "storage"
	logQuorum     = "quorum"
	logWire       = "network"
	logCoord      = "coordinator"
	logAPI        = "api"
	logCleaner    = "cleaner"
	logClients    = "clients"
	logReplica    = "replica"
)

// New makes a node that has touched nothing yet.
func New(cfg Config) *Node {
	n := &Node{cfg: cfg, live: config.NewLive(cfg.Settings), fs: cfg.FS, failed: make(chan struct{}), publishing: make(chan struct{}, 1)}
	if n.fs == nil {
		n.fs = vfs.OS()
	}
	if n.cfg.Now == nil {
		n.cfg.Now = time.Now
	}
	h := cfg.Log
	if h == nil {
		h = slog.DiscardHandler
	}
	n.logs = loggers.New(h, level(n.live.Broker().LogLevel), logNode, logController, logStorage, logQuorum, logWire, logCoord, logAPI, logCleaner, logClients, logReplica)
	n.log = n.logs.Logger(logNode)
	n.image.Store(meta.Empty())
	n.formerLeader.Store(-1)
	n.newMetrics()
	return n
}

func level(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// Start brings the node up; when it returns nil, requests are served. On an
// error everything that was started is stopped again.
func (n *Node) Start(ctx context.Context) error {
	for _, w := range n.cfg.Settings.Warnings() {
		n.log.Warn("configuration", "warning", w)
	}
	for _, p := range n.phases() {
		if err := p.run(ctx); err != nil {
			err = fmt.Errorf("%s: %w", p.name, err)
			closeCtx, cancel := context.WithCancel(context.Background())
			cancel() // nothing is in flight yet
			return errors.Join(err, n.Close(closeCtx))
		}
	}
	n.up.Store(true)
	return nil
}

// phase is one step of the start.
type phase struct {
	name string
	run  func(context.Context) error
}

func (n *Node) phases() []phase {
	return []phase{
		{"listen", n.bind}, {"serve metrics", n.startAdmin}, {"open log directories", n.openDirs},
		{"serve other nodes", n.startServer}, {"find the cluster", n.findCluster}, {"read metadata", n.startControl},
		{"register with the controller", n.register}, {"serve", n.serve}, {"be let in", n.unfence},
	}
}

// Failed is closed when the node cannot go on; Err then tells why, and Close
// is still to be called.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err tells why Failed was closed.
func (n *Node) Err() error { return n.failure }

func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.failure = err
		close(n.failed)
	})
}

// Close stops cleanly: what is in flight is finished until ctx ends, and what
// the next start needs is written.
func (n *Node) Close(ctx context.Context) error {
	if n.membership != nil {
		n.membership.leave(ctx)
	}
	n.handOverQuorum(ctx)
	n.stopServing(ctx)
	var errs []error
	if n.table != nil {
		n.table.Close()
	}
	n.disconnectQuorum()
	if n.quorum != nil {
		errs = append(errs, n.quorum.Close())
	}
	n.stopController()
	for _, d := range n.dirs {
		if err := d.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", d.Path(), err))
		}
	}
	return errors.Join(errs...)
}

// Kill stops as a process that is killed does: nothing more is written.
func (n *Node) Kill() {
	for _, d := range n.dirs {
		d.Abandon()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n.membership != nil {
		n.membership.close()
	}
	n.stopServing(ctx)
	if n.table != nil {
		n.table.Close()
	}
	n.disconnectQuorum()
	if n.quorum != nil {
		_ = n.quorum.Close() // its log was taken from under it
	}
	n.stopController()
}

// stopController ends what decides, and the way to it.
func (n *Node) stopController() {
	if n.balancer != nil {
		n.balancer.close()
	}
	if n.controller != nil {
		n.controller.Close()
	}
	if n.members != nil {
		n.members.Close()
	}
	if n.uplink != nil {
		n.uplink.Close()
	}
}

// stopServing ends everything above the partitions.
func (n *Node) stopServing(ctx context.Context) {
	n.closeAdmin(ctx)
	if n.front != nil {
		n.front.close()
	}
	n.relistening.Lock()
	n.noMore = true
	n.relistening.Unlock()
	for _, b := range n.bounds() {
		_ = b.Close() // a second close, where the server has done it
	}
	if n.server != nil {
		_ = n.server.Close(ctx) // what did not finish in time was cut off
	}
	n.serving.Wait()
	if n.ticker != nil {
		n.ticker.close()
	}
	if c := n.compaction.Load(); c != nil {
		c.close()
	}
	if n.topics != nil {
		n.topics.close()
	}
	if n.markers != nil {
		n.markers.Close()
		n.txns.Close()
	}
	if n.groups != nil {
		n.groups.Close()
	}
	if n.peers != nil {
		n.peers.Close()
	}
	if n.raiser != nil {
		n.raiser.close()
	}
}

// Image is the newest metadata that this node has published.
func (n *Node) Image() *meta.Image { return n.image.Load() }

// newID draws an id as Kafka's tools do.
func newID() meta.UUID {
	return meta.NewUUID(func(b []byte) { _, _ = rand.Read(b) }) // crypto/rand never fails
}

// bound is a listener that was bound.
type bound struct {
	net.Listener
	name string
}

// Dirs are the paths of the log directories.
func (n *Node) Dirs() []string { return n.live.Broker().LogDirs }
