// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"encoding/base64"
	"fmt"
	"iter"
	"slices"
)

// UUID is a topic, directory or incarnation id. The zero value means "none".
type UUID = [16]byte

// FormatUUID gives Kafka's text form: URL-safe base64 without padding, 22
// characters.
func FormatUUID(u UUID) string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// ParseUUID reads Kafka's text form.
func ParseUUID(s string) (u UUID, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("%q is not an id of 16 bytes in URL-safe base64", s)
	}
	return UUID(b), nil
}

// NewUUID makes an id from 16 random bytes that random fills. Like Kafka's it
// is a version-4 UUID whose text does not begin with '-' (a shell would take it
// for an option), and is none of the ids that Kafka keeps for itself.
func NewUUID(random func([]byte)) UUID {
	for {
		var u UUID
		random(u[:])
		u[6] = u[6]&0x0f | 0x40
		u[8] = u[8]&0x3f | 0x80
		if FormatUUID(u)[0] != '-' {
			return u
		}
	}
}

// Directory ids with a meaning of their own (KIP-858): a replica whose
// directory is not chosen yet, was lost, or that predates directories.
var (
	DirUnassigned = UUID{15: 0}
	DirLost       = UUID{15: 1}
	DirMigrating  = UUID{15: 2}
)

// NoLeader is the Leader of a partition that has none.
const NoLeader int32 = -1

// Partition is the state of one partition. The slices are never changed.
type Partition struct {
	Replicas []int32 // the assignment; the first is the preferred leader
	Dirs     []UUID  // beside Replicas: the directory each of them uses, or DirUnassigned
	ISR      []int32 // in-sync replicas
	ELR      []int32 // eligible leader replicas (KIP-966): out of ISR, known to hold every committed record
	LastELR  []int32 // last known leader, kept when ISR and ELR are empty
	Adding   []int32 // replicas that a reassignment adds
	Removing []int32 // replicas that a reassignment takes away

	Leader         int32 // NoLeader when offline
	LeaderEpoch    int32 // grows with each new leader
	PartitionEpoch int32 // grows with each change
	Recovering     bool  // the leader was elected uncleanly and has not recovered yet
}

// HasReplica tells whether broker hosts the partition.
func (p *Partition) HasReplica(broker int32) bool { return slices.Contains(p.Replicas, broker) }

// InSync tells whether broker is in the ISR.
func (p *Partition) InSync(broker int32) bool { return slices.Contains(p.ISR, broker) }

// Dir is the directory that broker uses for the partition, DirUnassigned when
// it was not chosen or broker is no replica.
func (p *Partition) Dir(broker int32) UUID {
	if i := slices.Index(p.Replicas, broker); i >= 0 && i < len(p.Dirs) {
		return p.Dirs[i]
	}
	return DirUnassigned
}

// Equal compares two states of a partition.
func (p *Partition) Equal(q *Partition) bool {
	return p == q || p.Leader == q.Leader && p.LeaderEpoch == q.LeaderEpoch && p.PartitionEpoch == q.PartitionEpoch &&
		p.Recovering == q.Recovering && slices.Equal(p.Replicas, q.Replicas) && slices.Equal(p.Dirs, q.Dirs) &&
		slices.Equal(p.ISR, q.ISR) && slices.Equal(p.ELR, q.ELR) && slices.Equal(p.LastELR, q.LastELR) &&
		slices.Equal(p.Adding, q.Adding) && slices.Equal(p.Removing, q.Removing)
}

// Topic is one topic with its partitions, numbered from 0 without gaps. The
// partitions hang in chunks so that changing one of 10,000 copies a few
// kilobytes.
type Topic struct {
	Name string
	ID   UUID

	chunks [][]*Partition // each of chunkSize but the last
	n      int
	owner  *owner   // of the Topic and its list of chunks
	owners []*owner // of each chunk
}

const chunkSize = 64

// Len is the number of partitions.
func (t *Topic) Len() int { return t.n }

// Partition returns partition i, or nil if there is none.
func (t *Topic) Partition(i int32) *Partition {
	if i < 0 || int(i) >= t.n {
		return nil
	}
	return t.chunks[i/chunkSize][i%chunkSize]
}

// Partitions yields every partition in order.
func (t *Topic) Partitions() iter.Seq2[int32, *Partition] {
	return func(yield func(int32, *Partition) bool) {
		for i := range int32(t.n) {
			if !yield(i, t.chunks[i/chunkSize][i%chunkSize]) {
				return
			}
		}
	}
}

// own returns t itself if o made it, else a copy that o may change.
func (t *Topic) own(o *owner) *Topic {
	if t.owner == o {
		return t
	}
	return &Topic{Name: t.Name, ID: t.ID, chunks: slices.Clone(t.chunks), n: t.n, owner: o, owners: slices.Clone(t.owners)}
}

// set binds partition i, which must exist or be the next; t is owned by o.
func (t *Topic) set(o *owner, i int32, p *Partition) {
	c := int(i / chunkSize)
	if c == len(t.chunks) {
		t.chunks = append(t.chunks, make([]*Partition, 0, min(chunkSize, 4)))
		t.owners = append(t.owners, o)
	}
	if t.owners[c] != o {
		t.chunks[c], t.owners[c] = slices.Clone(t.chunks[c]), o
	}
	if int(i) == t.n {
		t.chunks[c] = append(t.chunks[c], p)
		t.n++
		return
	}
	t.chunks[c][i%chunkSize] = p
}

// Endpoint is where a listener of a node is reached.
type Endpoint struct {
	Listener string // name, such as PLAINTEXT
	Host     string
	Port     uint16
	Protocol int16 // Kafka's security protocol id: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL
}

// FeatureRange is what a node supports of one feature.
type FeatureRange struct {
	Name     string
	Min, Max int16
}

// Holds tells whether level is in the range.
func (f FeatureRange) Holds(level int16) bool { return level >= f.Min && level <= f.Max }

// Broker is a registration.
type Broker struct {
	ID          int32
	Epoch       int64 // grows with each registration of this id
	Incarnation UUID  // of the process
	Endpoints   []Endpoint
	Rack        string // "" = none
	Dirs        []UUID // its log directories that are online, sorted
	Cordoned    []UUID // those of Dirs that take no new replicas, sorted
	Features    []FeatureRange
	Fenced      bool // must lead nothing, is hidden from clients
	Stopping    bool // in controlled shutdown
}

// Active tells whether the broker may lead and take replicas.
func (b *Broker) Active() bool { return !b.Fenced && !b.Stopping }

// Endpoint returns the endpoint of the named listener.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	return findEndpoint(b.Endpoints, listener)
}

// Controller is a node that votes, or may vote, on metadata.
type Controller struct {
	ID          int32
	Directory   UUID // of its metadata log
	Incarnation UUID
	Endpoints   []Endpoint
	Features    []FeatureRange
}

// Endpoint returns the endpoint of the named listener.
func (c *Controller) Endpoint(listener string) (Endpoint, bool) {
	return findEndpoint(c.Endpoints, listener)
}

func findEndpoint(es []Endpoint, listener string) (Endpoint, bool) {
	for _, e := range es {
		if e.Listener == listener {
			return e, true
		}
	}
	return Endpoint{}, false
}

// ResourceType is the kind of a thing that has settings; the numbers are
// Kafka's.
type ResourceType int8

const (
	TopicResource         ResourceType = 2
	BrokerResource        ResourceType = 4 // name "" = the default of all brokers
	ClientMetricsResource ResourceType = 16
	GroupResource         ResourceType = 32
)

// Resource names a thing that has settings.
type Resource struct {
	Type ResourceType
	Name string
}

// Setting is one key that was set on a resource.
type Setting struct{ Key, Value string }

// Settings are the keys set on one resource, sorted by key. Never changed.
type Settings []Setting

// Get returns the value of key.
func (s Settings) Get(key string) (string, bool) {
	if i, ok := s.find(key); ok {
		return s[i].Value, true
	}
	return "", false
}

// Map copies the settings into a map.
func (s Settings) Map() map[string]string {
	m := make(map[string]string, len(s))
	for _, e := range s {
		m[e.Key] = e.Value
	}
	return m
}

func (s Settings) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s, key, func(e Setting, k string) int { return compareString(e.Key, k) })
}

func (s Settings) with(key string, value *string) Settings {
	i, ok := s.find(key)
	switch {
	case value == nil && !ok:
		return s
	case value == nil:
		return slices.Delete(slices.Clone(s), i, i+1)
	case ok:
		s = slices.Clone(s)
		s[i].Value = *value
		return s
	default:
		return slices.Insert(slices.Clip(slices.Clone(s)), i, Setting{key, *value})
	}
}
