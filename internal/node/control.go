// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/coord/group/classic"
	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/plan"
	"gregor/internal/meta/schema"
	"gregor/internal/meta/uplink"
	"gregor/internal/quorum"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
)

// metadataLog is where the quorum's log lies, with the topic id that Kafka
// gives it (Uuid.METADATA_TOPIC_ID).
var (
	metadataLog = storage.Name{Topic: config.MetadataTopic, Partition: 0}
	metadataID  = meta.UUID{15: 1}
)

// startControl opens the metadata log, starts the controller and the quorum,
// and begins to follow the metadata.
func (n *Node) startControl(context.Context) error {
	b := n.live.Broker()
	q := b.Quorum
	n.caughtUp = !b.IsBroker // a controller hosts nothing
	log, err := n.metaDir.Open(metadataLog, metadataID, storage.LogConfig{
		Create: true, Durable: true, Reserve: true,
		SegmentBytes: int64(q.SegmentBytes), SegmentAge: q.SegmentAge, Retention: -1, FileDeleteDelay: -1,
	})
	if err != nil {
		return err
	}
	n.startGroups()
	n.startTxns()
	n.controller = controller.New(controller.Config{
		Found: n.foundingRecords, Now: n.cfg.Now,
		Fault: func(name string, err error) {
			n.log.Error("controller contradicts itself", "request", name, "error", err)
		},
	})
	env := plan.Env{
		Random: rand.NewPCG(rand.Uint64(), rand.Uint64()), Schema: schema.Schema{Live: n.live},
		Partitions: b.Creation.NumPartitions, Replication: b.Creation.ReplicationFactor,
		Supported: n.supported(), Voters: n.voterIDs,
	}
	n.members = n.newMembers(env)
	n.desk = uplink.NewDesk(n.controller, n.members, env)
	n.desk.Measure = api.Measure
	n.startCarrier()
	n.quorum, err = quorum.Open(quorum.Config{
		NodeID: b.NodeID, Directory: n.metaDir.ID(), FS: n.fs, Cluster: n.identity.cluster, Voters: n.begins.voters, Transport: n.carrier,
		Dir: filepath.Join(n.metaDir.Path(), metadataLog.String()), Log: log,
		Publish: n.publish, Controller: n.controller, Events: n.quorumEvents(),
		SnapshotBytes: q.SnapshotBytes, SnapshotAge: q.SnapshotInterval,
		Tick: electionTick(q), ElectionTicks: electionTicks, HeartbeatTicks: 2,
	})
	if err != nil {
		return err
	}
	n.connectQuorum()
	n.controller.Start(n.quorum)
	n.members.Start()
	n.uplink = uplink.New(uplink.Config{
		Node: b.NodeID, Desk: n.desk, Follower: n.quorum, Whereabouts: whereabouts{n},
		Peer: n.peerConfig(), Timeout: b.RequestTimeout, Caller: api.CallerOf,
	})
	n.ids = uplink.NewProducerIDs(n.uplink)
	n.topics = newCreator(n.live, n.uplink, &n.image, n.logs.Logger(logCoord))
	n.seat = n.takeSeat()
	n.startBalancer()
	return n.buildAPI()
}

// foundingRecords are the first of a cluster: its id, and who founded it.
func (n *Node) foundingRecords() []meta.Record {
	records := []meta.Record{meta.ClusterRecord{ID: n.identity.cluster, Created: n.cfg.Now().UnixMilli()}}
	for _, f := range n.supported() {
		records = append(records, meta.FeatureRecord{Name: f.Name, Level: n.foundingLevel(f)})
	}
	// One for all: who counts as eligible to lead depends on what leaders go by.
	if v, ok := n.live.Broker().TopicDefault(minISR); ok {
		records = append(records, meta.ConfigRecord{Resource: meta.Resource{Type: meta.BrokerResource}, Key: minISR, Value: &v})
	}
	for _, v := range n.begins.voters {
		if len(v.Endpoints) > 0 {
			records = append(records, meta.ControllerRecord{Controller: meta.Controller{ID: v.ID, Directory: v.Directory, Endpoints: v.Endpoints}})
		}
	}
	return records
}

func (n *Node) startGroups() {
	b := n.live.Broker()
	shard := &group.Config{
		Classic:         classic.Config{InitialRebalanceDelay: b.Groups.InitialRebalanceDelay, MaxSize: b.Groups.MaxSize},
		OffsetRetention: b.Offsets.Retention, RetentionCheck: b.Offsets.RetentionCheck, MaxMetadata: b.Offsets.MetadataMaxBytes,
	}
	n.groups = coord.New(coord.Config[*group.Shard]{
		New:          func(int32) *group.Shard { return group.New(shard) },
		WriteTimeout: b.Offsets.CommitTimeout, LoadBytes: b.Offsets.LoadBufferBytes,
		Events: coordEvents(n.logs.Logger(logCoord)), Now: n.cfg.Now,
	})
}

// flushRecovered makes durable what recovery found, before the first client
// asks: until then the high watermark would be behind what was told before an
// unclean stop.
func (n *Node) flushRecovered() {
	var behind []*storage.Log
	for _, p := range n.table.All() {
		if l := p.Log(); l != nil && l.Flushed() < l.End() && l.Config().Durable {
			behind = append(behind, l)
			_ = l.Flush(false) // a directory that fails says so by an event
		}
	}
	for _, l := range behind {
		_ = l.Flush(true) // as above
	}
}

// publish takes a new image: the settings at once, because the way to the
// controller may need them. The rest waits until this broker has caught up. A
// restart follows the metadata from some time ago on, and nothing of then may be
// done again: to delete a topic that has been made anew since would delete its
// records.
func (n *Node) publish(img *meta.Image, d *meta.Delta) {
	n.publishing <- struct{}{}
	defer func() { <-n.publishing }()
	n.checkLevel(img)
	n.applySettings(img, d)
	if !n.caughtUp {
		n.image.Store(img)
		return
	}
	n.carryOut(img, d)
}

// catchUp follows what is committed by now, and then begins to do what it says.
func (n *Node) catchUp(ctx context.Context) error {
	if err := n.uplink.CatchUp(ctx); err != nil {
		return err
	}
	n.publishing <- struct{}{}
	defer func() { <-n.publishing }()
	n.caughtUp = true
	img := n.image.Load()
	n.carryOut(img, meta.Diff(meta.Empty(), img))
	n.compareMinISR(img)
	return nil
}

const minISR = "min.insync.replicas"

// compareMinISR tells the operator that what the file says does not count: the
// cluster has one value since its founding.
func (n *Node) compareMinISR(img *meta.Image) {
	written, where, ok := n.cfg.Settings.Written(minISR)
	if counts, has := img.Settings(meta.BrokerResource, "").Get(minISR); ok && has && counts != written {
		n.log.Warn("this setting is not in force: the cluster has a value of its own, which kafka-configs --entity-type brokers --entity-default changes",
			"setting", minISR, "written", written, "in", where, "in_force", counts)
	}
}

// carryOut carries an image to every room, in this order: partitions, because a
// request that sees a new topic wants to find it; the pointer that requests
// read; coordinators, whose clients look up their place by that pointer.
func (n *Node) carryOut(img *meta.Image, d *meta.Delta) {
	n.subscribeTelemetry(img, d)
	gone := n.gone(d)
	if err := n.table.Apply(d); err != nil {
		n.log.Error("not all of the metadata could be carried out", "error", err)
	}
	gone()
	n.image.Store(img)
	n.forgetTopics(d)
	n.countUnclean(d)
	for c := range d.TopicChanges() {
		switch {
		case c.Name == config.OffsetsTopic:
			n.elect(c)
		case c.Name == config.TxnTopic:
			n.electTxns(c)
		case c.Old != nil && (c.New == nil || c.Recreated()):
			n.groups.Post(func(s *group.Shard, _ time.Time) coord.Result { return s.TopicDeleted(c.Name) })
		}
	}
	n.publishTxns(img, d)
	if n.cfg.Published != nil {
		n.cfg.Published(img)
	}
}

// applySettings makes dynamic broker settings the ones in force.
func (n *Node) applySettings(img *meta.Image, d *meta.Delta) {
	own := strconv.Itoa(int(n.live.Broker().NodeID))
	for _, r := range d.Configs {
		if r.Type != meta.BrokerResource || r.Name != "" && r.Name != own {
			continue
		}
		for _, err := range n.live.Apply(img.Settings(meta.BrokerResource, "").Map(), img.Settings(meta.BrokerResource, own).Map()) {
			n.log.Warn("a dynamic setting cannot be used", "error", err)
		}
		return
	}
}

// elect begins and ends coordinators with the leadership of their partitions.
func (n *Node) elect(c meta.TopicChange) {
	me := n.live.Broker().NodeID
	if c.Recreated() { // epochs begin anew, and the groups of old are gone
		for _, p := range n.groups.Owned() {
			n.groups.Resign(p, math.MaxInt32)
		}
	}
	for i, pc := range c.Partitions() {
		switch {
		case pc.New != nil && pc.New.Leader == me:
			if p := n.table.ByID(c.New.ID, i); p != nil {
				n.groups.Elect(i, pc.New.LeaderEpoch, coordLog{p: p, epoch: pc.New.LeaderEpoch, max: n.maxOffsetsBatch, guarded: n.verifies})
			}
		case pc.New != nil:
			n.groups.Resign(i, pc.New.LeaderEpoch)
		default:
			n.groups.Resign(i, pc.Old.LeaderEpoch)
		}
	}
}

// verifies is transaction.partition.verification.enable.
func (n *Node) verifies() bool { return n.live.Broker().Txn.VerifyPartitions }

// maxOffsetsBatch is max.message.bytes of the offsets topic.
func (n *Node) maxOffsetsBatch() int {
	return n.topicConfig(n.image.Load(), config.OffsetsTopic).MaxMessageBytes
}

func (n *Node) quorumEvents() quorum.Events {
	log := n.logs.Logger(logQuorum)
	return quorum.Events{
		Warning: func(err error) { log.Warn("metadata log", "warning", err) },
		Stalled: func(d time.Duration) { log.Error("the metadata log's disk does not answer", "for", d) },
		Recovered: func(d time.Duration) {
			log.Info("the metadata log's disk answers again", "after", d)
		},
		Gone: func(v quorum.Voter) {
			log.Warn("the process of the active controller is gone; another is elected", "controller", v.ID)
		},
		Snapshot: func(index uint64, bytes int64, took time.Duration) {
			log.Debug("metadata snapshot written", "index", index, "bytes", bytes, "took", took)
		},
		Failed: func(err error) { n.fail(fmt.Errorf("metadata log: %w", err)) },
		Voters: n.votersChanged,
	}
}

// epochRaiser asks the controller for new leader epochs, off the goroutine
// that publishes metadata, which must not wait for the next.
type epochRaiser struct {
	isr *isrProposals

	mu     sync.Mutex // guards asked
	asked  map[plan.InEpoch]bool
	wake   chan struct{} // capacity 1
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (n *Node) startRaiser() *epochRaiser {
	ctx, cancel := context.WithCancel(context.Background())
	n.raiser = &epochRaiser{isr: newISRProposals(n.live.Broker().NodeID, n.metrics, n.logs.Logger(logReplica)), asked: map[plan.InEpoch]bool{}, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel}
	return n.raiser
}

// RaiseEpoch meets replica.Controller.
func (r *epochRaiser) RaiseEpoch(topic [16]byte, index, epoch int32) {
	r.mu.Lock()
	r.asked[plan.InEpoch{Topic: topic, Partition: index, Epoch: epoch}] = true
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// LeaveSeats meets replica.Controller.
func (r *epochRaiser) LeaveSeats(topic [16]byte, index, epoch int32) {
	r.isr.leave(plan.InEpoch{Topic: topic, Partition: index, Epoch: epoch})
}

// ChangeISR meets replica.Controller.
func (r *epochRaiser) ChangeISR(topic [16]byte, index int32, c *partition.ISRChange) {
	r.isr.propose(topic, index, c)
}

// start begins to ask, once this broker is registered.
func (r *epochRaiser) start(up *uplink.Uplink) {
	r.wg.Go(func() {
		for {
			select {
			case <-r.wake:
			case <-r.ctx.Done():
				return
			}
			// A refusal is asked again by the table's next tick.
			_ = r.raise(r.ctx, up)
		}
	})
}

// raise asks for all that is wanted now and returns when it is published.
func (r *epochRaiser) raise(ctx context.Context, up *uplink.Uplink) error {
	r.mu.Lock()
	var asked []plan.InEpoch
	for a := range r.asked {
		asked = append(asked, a)
	}
	clear(r.asked)
	r.mu.Unlock()
	if len(asked) == 0 {
		return nil
	}
	return up.RaiseLeaderEpochs(ctx, asked)
}

func (r *epochRaiser) close() {
	r.isr.close()
	r.cancel()
	r.wg.Wait()
}
