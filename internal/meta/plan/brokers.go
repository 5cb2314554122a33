// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

// Registration is how a broker presents itself when it starts.
type Registration struct {
	ID          int32
	ClusterID   string
	Incarnation meta.UUID
	Endpoints   []meta.Endpoint
	Rack        string
	Dirs        []meta.UUID
	Cordoned    []meta.UUID
	Features    []meta.FeatureRange
	// Voter is set when the process is a controller too.
	Voter *meta.Controller
	// Clean is the broker epoch under which it stopped cleanly, -1 after any
	// other stop.
	Clean int64
	// Checked: the broker looked at all its logs after an unclean stop, and
	// Losses are what it found. Otherwise an unclean stop counts as a lost tail
	// of each log.
	Checked bool
	Losses  []ReplicaLoss
}

// ReplicaLoss names a replica of the broker that is not what it was.
type ReplicaLoss struct {
	Topic     meta.UUID
	Partition int32
	Loss      Loss
}

// RegisterController tells of a controller; nothing where all is known. One
// that does not know the levels in force is refused.
//
// Differs from Kafka: it looks at the levels of brokers only.
func RegisterController(img *meta.Image, c meta.Controller) ([]meta.Record, error) {
	if err := checkLevels(img, c.Features, "controller"); err != nil {
		return nil, err
	}
	if old := img.Controller(c.ID); old != nil && old.Directory == c.Directory && old.Incarnation == c.Incarnation &&
		slices.Equal(old.Endpoints, c.Endpoints) && slices.Equal(old.Features, c.Features) {
		return nil, nil
	}
	return []meta.Record{meta.ControllerRecord{Controller: c}}, nil
}

// RegisterBroker decides on a starting broker. It comes in fenced; Heartbeat
// lets it serve once it has applied its own registration. The same incarnation
// may register again and gets the epoch that it has. A new one leaves the ISRs
// that the one before was in, and keeps a seat where it holds all that it
// should (R5).
func RegisterBroker(img *meta.Image, r Registration, env Env) ([]meta.Record, int64, error) {
	if err := checkRegistration(img, &r, env); err != nil {
		return nil, 0, err
	}
	var records []meta.Record
	if r.Voter != nil {
		var err error
		if records, err = RegisterController(img, *r.Voter); err != nil {
			return nil, 0, err
		}
	}
	b := meta.Broker{ID: r.ID, Incarnation: r.Incarnation, Endpoints: r.Endpoints, Rack: r.Rack,
		Dirs: sortedUUIDs(r.Dirs), Cordoned: sortedUUIDs(r.Cordoned), Features: r.Features, Fenced: true}
	old := img.Broker(r.ID)
	if old != nil && old.Incarnation == r.Incarnation {
		b.Epoch, b.Fenced, b.Stopping = old.Epoch, old.Fenced, old.Stopping
		return append(records, meta.BrokerRecord{Broker: b}), b.Epoch, nil
	}
	// Larger than every epoch given before: each registration is a version.
	b.Epoch = img.Version() + 1
	s := &scene{img: img, env: &env, out: map[int32]bool{r.ID: true}, lost: r.lost(img, old), departs: true}
	alone := img.BrokerCount() == 1 && old != nil
	// A broker alone goes on leading what it led: nobody else could have. What
	// lost its tail asks for a new leader epoch (RaiseLeaderEpochs). Where there
	// are other replicas they may come back, with more than it has.
	records = append(records, s.settleOn([]int32{r.ID}, func(p *meta.Partition) bool { return !alone || len(p.Replicas) > 1 })...)
	return append(records, meta.BrokerRecord{Broker: b}), b.Epoch, nil
}

func checkRegistration(img *meta.Image, r *Registration, env Env) error {
	if r.ClusterID != img.ClusterID() {
		return fail(kerr.InconsistentClusterID, "Expected cluster ID %s, but got cluster ID %s", img.ClusterID(), r.ClusterID)
	}
	old := img.Broker(r.ID)
	if old != nil && old.Incarnation != r.Incarnation && !old.Fenced && !sameNode(img, old, r) {
		// Two processes with one id, or one that lost all its disks while its
		// predecessor still counts as alive.
		return fail(kerr.DuplicateBrokerRegistration, "Another broker is registered with that broker id and other log directories.")
	}
	if old != nil && old.Incarnation != r.Incarnation && old.Active() && env.Heard != nil && env.Heard(r.ID) {
		// The same directories, and the predecessor lives: one disk was copied,
		// and the copy has not what was acknowledged since. One that was killed
		// is not heard of any more as soon as its connection is closed.
		return fail(kerr.DuplicateBrokerRegistration, "Another broker is registered with that broker id and the same log directories, and was heard of just now: if it was not stopped a moment ago, one of the two runs on a copy of the other's disk.")
	}
	for i, d := range r.Dirs {
		switch {
		case d == meta.DirUnassigned || d == meta.DirLost || d == meta.DirMigrating:
			return fail(kerr.InvalidRegistration, "Reserved directory ID in request")
		case slices.Contains(r.Dirs[:i], d):
			return fail(kerr.InvalidRegistration, "Duplicate directory ID in request")
		}
	}
	for other := range img.Brokers() {
		for _, d := range r.Dirs {
			if other.ID != r.ID && slices.Contains(other.Dirs, d) {
				return fail(kerr.InvalidRegistration, "Broker %d is already registered with directory %s", other.ID, meta.FormatUUID(d))
			}
		}
	}
	return checkLevels(img, r.Features, "broker")
}

// lost tells what the broker that registers, and its predecessor old, lost.
func (r *Registration) lost(img *meta.Image, old *meta.Broker) func(meta.UUID, int32, int32) Loss {
	type place struct {
		topic meta.UUID
		index int32
	}
	losses := make(map[place]Loss, len(r.Losses))
	for _, l := range r.Losses {
		losses[place{l.Topic, l.Partition}] = l.Loss
	}
	clean := old != nil && old.Epoch == r.Clean
	return func(topic meta.UUID, index, broker int32) Loss {
		if broker != r.ID {
			return LostNothing
		}
		p := img.TopicByID(topic).Partition(index)
		if d := p.Dir(r.ID); d != meta.DirUnassigned && d != meta.DirMigrating && !slices.Contains(r.Dirs, d) {
			return LostAll // or offline, until the directory comes back
		}
		if l := losses[place{topic, index}]; l != LostNothing {
			return l
		}
		if !clean && !r.Checked {
			return LostTail
		}
		return LostNothing
	}
}

// sameNode tells whether the process that registers is sure to have taken the
// place of the one registered: it holds the lock of one of its directories, or
// of its metadata log. Directories may come and go in between.
func sameNode(img *meta.Image, old *meta.Broker, r *Registration) bool {
	if c := img.Controller(r.ID); c != nil && r.Voter != nil && c.Directory == r.Voter.Directory {
		return true
	}
	return slices.ContainsFunc(r.Dirs, func(d meta.UUID) bool { return slices.Contains(old.Dirs, d) })
}

func findFeature(fs []meta.FeatureRange, name string) (meta.FeatureRange, bool) {
	for _, f := range fs {
		if f.Name == name {
			return f, true
		}
	}
	return meta.FeatureRange{}, false
}

func sortedUUIDs(us []meta.UUID) []meta.UUID {
	us = slices.Clone(us)
	slices.SortFunc(us, func(a, b meta.UUID) int { return slices.Compare(a[:], b[:]) })
	return us
}

func checkBrokerEpoch(img *meta.Image, id int32, epoch int64) error {
	b := img.Broker(id)
	if b == nil {
		return bare(kerr.BrokerIDNotRegistered)
	}
	if b.Epoch != epoch {
		return fail(kerr.StaleBrokerEpoch, "Expected broker epoch %d, but got broker epoch %d", b.Epoch, epoch)
	}
	return nil
}

// Beat is one heartbeat of a broker.
type Beat struct {
	Broker   int32
	Epoch    int64
	Applied  int64 // the version of the metadata that it has applied
	Fence    bool  // it wants to be fenced, or to stay so
	ShutDown bool  // it wants to stop
	// Offline are directories that failed.
	Offline []meta.UUID
	// Cordoned are the directories that take no new replicas, nil: as they are.
	Cordoned []meta.UUID
}

// Pulse is the answer to a Beat.
type Pulse struct {
	CaughtUp bool
	Fenced   bool
	// ShutDown: the broker leads nothing any more and may stop.
	ShutDown bool
}

// Heartbeat decides on what a broker asks for. settled tells whether every
// broker in service has applied the version with which this one began to stop:
// until then somebody may still send requests its way.
func Heartbeat(img *meta.Image, b Beat, settled bool, env Env) ([]meta.Record, Pulse, error) {
	if err := checkBrokerEpoch(img, b.Broker, b.Epoch); err != nil {
		return nil, Pulse{}, err
	}
	now := *img.Broker(b.Broker)
	pulse := Pulse{CaughtUp: b.Applied >= now.Epoch, Fenced: now.Fenced}
	var records []meta.Record
	next := now
	next.Dirs = dropDirs(now.Dirs, func(d meta.UUID) bool { return slices.Contains(b.Offline, d) })
	if b.Cordoned != nil {
		next.Cordoned = dropDirs(sortedUUIDs(b.Cordoned), func(d meta.UUID) bool { return !slices.Contains(next.Dirs, d) })
	}
	switch {
	case now.Fenced && b.ShutDown:
		pulse.ShutDown = true
	case now.Fenced && !b.Fence && pulse.CaughtUp:
		next.Fenced, next.Stopping = false, false
	case now.Fenced:
	case b.Fence:
		next.Fenced = true
		pulse.ShutDown = b.ShutDown
	case b.ShutDown && alone(img, b.Broker):
		// Nobody could take over. It stays what it is: a stop of everything is
		// no reason to touch every partition.
		pulse.ShutDown = true
	case b.ShutDown && !now.Stopping && leads(img, b.Broker):
		next.Stopping = true
	case b.ShutDown && (!now.Stopping || settled && !leads(img, b.Broker)):
		next.Fenced, next.Stopping = true, false
		pulse.ShutDown = true
	}
	pulse.Fenced = next.Fenced
	if same := next; !same.Equal(&now) {
		s := &scene{img: img, env: &env, in: &next}
		unfenced := now.Fenced && !next.Fenced
		records = s.settleOn([]int32{b.Broker}, func(p *meta.Partition) bool {
			return !unfenced || p.Leader == meta.NoLeader || p.Leader == b.Broker || moving(p)
		})
		records = append(records, meta.BrokerRecord{Broker: next})
	}
	return records, pulse, nil
}

func alone(img *meta.Image, id int32) bool {
	for b := range img.Brokers() {
		if b.ID != id && b.Active() {
			return false
		}
	}
	return true
}

// leads tells whether a broker leads a partition that another could lead.
func leads(img *meta.Image, id int32) bool {
	for t, i := range img.Hosted(id) {
		if t.Partition(i).Leader == id {
			return true
		}
	}
	return false
}

// UnfenceBroker lets a broker lead and be seen, and elects it where nobody
// leads and it may.
func UnfenceBroker(img *meta.Image, id int32, epoch int64, env Env) ([]meta.Record, error) {
	records, _, err := Heartbeat(img, Beat{Broker: id, Epoch: epoch, Applied: epoch}, true, env)
	return records, err
}

// FenceBrokers takes brokers out of service that were not heard of for too
// long: all of them at once, so that they do not inherit from each other what
// nobody can lead. Those that are fenced already or unknown are passed over.
func FenceBrokers(img *meta.Image, ids []int32, env Env) []meta.Record {
	s := &scene{img: img, env: &env, out: map[int32]bool{}, departs: true}
	var brokers []meta.Record
	var out []int32
	for _, id := range ids {
		if b := img.Broker(id); b != nil && !b.Fenced && !s.out[id] {
			s.out[id] = true
			out = append(out, id)
			fenced := *b
			fenced.Fenced, fenced.Stopping = true, false
			brokers = append(brokers, meta.BrokerRecord{Broker: fenced})
		}
	}
	if len(brokers) == 0 {
		return nil
	}
	records := s.settleOn(out, func(p *meta.Partition) bool {
		return s.out[p.Leader] || slices.ContainsFunc(p.ISR, func(r int32) bool { return s.out[r] })
	})
	return append(records, brokers...)
}

// Settle makes up for what R4 put off, once a broker was heard of again: where
// the ISR holds somebody out of service, or nobody leads. It emits at most
// limit records; more tells that there is more to do.
func Settle(img *meta.Image, limit int, env Env) (records []meta.Record, more bool) {
	s := &scene{img: img, env: &env}
	for t, i := range img.Hosted(s.unwell()...) {
		p := t.Partition(i)
		if p.Leader != meta.NoLeader && !slices.ContainsFunc(p.ISR, func(r int32) bool { return !s.mayLead(p, r) }) {
			continue
		}
		if next, changed := s.settle(t, i, p, *p, online); changed {
			if len(records) == limit {
				return records, true
			}
			records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: next})
		}
	}
	return records, false
}

// unwell are the brokers that have a replica which may not lead, and NoLeader.
func (s *scene) unwell() []int32 {
	ids := []int32{meta.NoLeader}
	for id, dirs := range s.img.Hosts() {
		b := s.broker(id)
		if b == nil || !b.Active() || slices.ContainsFunc(dirs, func(d meta.UUID) bool { return !dirOnline(b, d) }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// UnregisterBroker forgets a broker that is gone: it leaves every ISR, and
// where it led somebody else is elected. What it alone is known to hold stays
// its to bring back.
//
// The registration of a controller that has no vote goes with it: it would hold
// feature levels back for ever.
//
// Differs from Kafka: a broker that is in service cannot be unregistered (it
// would come back at once, or its partitions would go down under its clients);
// Kafka carries that out. Kafka cannot forget controllers.
func UnregisterBroker(img *meta.Image, id int32, env Env) ([]meta.Record, error) {
	b := img.Broker(id)
	var records []meta.Record
	if img.Controller(id) != nil && env.Voters != nil && !slices.Contains(env.Voters(), id) {
		records = append(records, meta.RemoveControllerRecord{ID: id})
	}
	if b == nil && len(records) > 0 {
		return records, nil
	}
	if b == nil {
		return nil, fail(kerr.BrokerIDNotRegistered, "Broker ID %d is not currently registered", id)
	}
	if !b.Fenced {
		return nil, fail(kerr.InvalidRequest, "Broker %d is in service: stop it before it is unregistered.", id)
	}
	s := &scene{img: img, env: &env, out: map[int32]bool{id: true}}
	records = append(records, s.settleOn([]int32{id}, func(p *meta.Partition) bool { return p.Leader == id || p.InSync(id) })...)
	return append(records, meta.RemoveBrokerRecord{ID: id}), nil
}

// producerBlock is how many producer ids are given away at a time.
const producerBlock = 1000

// AllocateProducerIDs gives a broker a block of ids [first, first+n).
func AllocateProducerIDs(img *meta.Image, broker int32, epoch int64) (records []meta.Record, first int64, n int32, err error) {
	if err := checkBrokerEpoch(img, broker, epoch); err != nil {
		return nil, 0, 0, err
	}
	first = img.NextProducerID()
	if first > 1<<63-1-producerBlock {
		return nil, 0, 0, fail(kerr.UnknownServerError, "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit")
	}
	return []meta.Record{meta.ProducerIDsRecord{Broker: broker, Epoch: epoch, Next: first + producerBlock}}, first, producerBlock, nil
}

func dropDirs(list []meta.UUID, drop func(meta.UUID) bool) []meta.UUID {
	return slices.DeleteFunc(slices.Clone(list), drop)
}
