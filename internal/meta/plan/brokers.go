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
	Features    []meta.FeatureRange
	// Voter is set when the process is a controller too.
	Voter *meta.Controller
}

// registerVoter tells of a controller, unless that is known.
func registerVoter(img *meta.Image, c *meta.Controller) []meta.Record {
	if c == nil {
		return nil
	}
	if old := img.Controller(c.ID); old != nil && old.Directory == c.Directory && old.Incarnation == c.Incarnation &&
		slices.Equal(old.Endpoints, c.Endpoints) && slices.Equal(old.Features, c.Features) {
		return nil
	}
	return []meta.Record{meta.ControllerRecord{Controller: *c}}
}

// RegisterBroker decides on a starting broker. It comes in fenced; UnfenceBroker
// lets it serve once it has applied its own registration. The same incarnation
// may register again and gets the epoch that it has.
func RegisterBroker(img *meta.Image, r Registration) ([]meta.Record, int64, error) {
	if r.ClusterID != img.ClusterID() {
		return nil, 0, fail(kerr.InconsistentClusterID, "Expected cluster ID %s, but got cluster ID %s", img.ClusterID(), r.ClusterID)
	}
	old := img.Broker(r.ID)
	if old != nil && old.Incarnation != r.Incarnation && !old.Fenced && !sameNode(img, old, r) {
		// Two processes with one id, or one that lost all its disks while its
		// predecessor still counts as alive.
		return nil, 0, fail(kerr.DuplicateBrokerRegistration, "Another broker is registered with that broker id and other log directories.")
	}
	for other := range img.Brokers() {
		for _, d := range r.Dirs {
			if other.ID != r.ID && slices.Contains(other.Dirs, d) {
				return nil, 0, fail(kerr.InvalidRequest, "Broker %d is already registered with directory %s", other.ID, meta.FormatUUID(d))
			}
		}
	}
	for name, level := range img.Features() {
		if f, ok := findFeature(r.Features, name); !ok || level < f.Min || level > f.Max {
			return nil, 0, fail(kerr.UnsupportedVersion, "Unable to register because the broker does not support finalized version %d of %s. The broker wants a version between %d and %d, inclusive.", level, name, f.Min, f.Max)
		}
	}
	b := meta.Broker{ID: r.ID, Incarnation: r.Incarnation, Endpoints: r.Endpoints, Rack: r.Rack,
		Dirs: sortedUUIDs(r.Dirs), Features: r.Features, Fenced: true}
	if old != nil && old.Incarnation == r.Incarnation {
		b.Epoch, b.Fenced, b.Stopping = old.Epoch, old.Fenced, old.Stopping
		return append(registerVoter(img, r.Voter), meta.BrokerRecord{Broker: b}), b.Epoch, nil
	}
	// Larger than every epoch given before: each registration is a version.
	b.Epoch = img.Version() + 1
	return append(registerVoter(img, r.Voter), meta.BrokerRecord{Broker: b}), b.Epoch, nil
}

// sameNode tells whether the process that registers is sure to have taken the
// place of the one registered: it holds the lock of one of its directories, or
// of its metadata log. Directories may come and go in between.
func sameNode(img *meta.Image, old *meta.Broker, r Registration) bool {
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

// UnfenceBroker lets a broker lead and be seen, and elects it where nobody
// leads and it may.
func UnfenceBroker(img *meta.Image, id int32, epoch int64) ([]meta.Record, error) {
	if err := checkBrokerEpoch(img, id, epoch); err != nil {
		return nil, err
	}
	b := *img.Broker(id)
	if !b.Fenced {
		return nil, nil
	}
	b.Fenced, b.Stopping = false, false
	records := []meta.Record{meta.BrokerRecord{Broker: b}}
	active := func(r int32) bool { return r == id || activeIn(img)(r) }
	for t := range img.Topics() {
		for i, p := range t.Partitions() {
			if p.Leader != meta.NoLeader || !p.HasReplica(id) {
				continue
			}
			if next, ok := elect(p, online, active); ok {
				records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: next})
			}
		}
	}
	return records, nil
}

// UnregisterBroker forgets a broker that is gone: it leaves every ISR, and
// where it led somebody else is elected.
//
// Differs from Kafka: a broker that is in service cannot be unregistered (it
// would come back at once, or its partitions would go down under its clients);
// Kafka carries that out.
func UnregisterBroker(img *meta.Image, id int32) ([]meta.Record, error) {
	b := img.Broker(id)
	if b == nil {
		return nil, fail(kerr.BrokerIDNotRegistered, "Broker ID %d is not currently registered", id)
	}
	if !b.Fenced {
		return nil, fail(kerr.InvalidRequest, "Broker %d is in service: stop it before it is unregistered.", id)
	}
	var records []meta.Record
	active := func(r int32) bool { return r != id && activeIn(img)(r) }
	for t := range img.Topics() {
		for i, p := range t.Partitions() {
			if p.Leader != id && (!p.InSync(id) || len(p.ISR) == 1) {
				continue
			}
			records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: without(p, id, active)})
		}
	}
	return append(records, meta.RemoveBrokerRecord{ID: id}), nil
}

// without takes a broker out of a partition's ISR and leadership. The last
// member of an ISR stays in it: it alone is known to have everything.
func without(p *meta.Partition, id int32, active func(int32) bool) meta.Partition {
	next := *p
	if len(p.ISR) > 1 {
		next.ISR = slices.DeleteFunc(slices.Clone(p.ISR), func(r int32) bool { return r == id })
	}
	if elected, ok := elect(&next, online, active); ok {
		return elected
	}
	if next.Leader == id {
		next.Leader = meta.NoLeader
		next.LeaderEpoch++
	}
	next.PartitionEpoch++
	return next
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
