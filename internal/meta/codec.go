// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrUnknownRecord is wrapped by the error for a record type, version or flag
// that this program does not know: the log was written by a newer one.
var ErrUnknownRecord = errors.New("unknown metadata record")

// recordVersion is the one version of every body so far.
const recordVersion = 0

// maxListed bounds the elements of one list in a record; the largest real one
// (the replicas of a partition) is far below.
const maxListed = 1 << 16

// AppendRecord appends the frame of r to b.
func AppendRecord(b []byte, r Record) []byte {
	b = append(b, byte(r.kind()), recordVersion)
	// Bodies are nearly always below 128 bytes: leave one byte for the length
	// and make room when more is needed.
	at := len(b)
	b = append(b, 0)
	b = r.appendBody(b)
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	var l [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(l[:], uint64(n))
	b = append(b, l[1:w]...)
	copy(b[at+w:], b[at+1:at+1+n])
	copy(b[at:], l[:w])
	return b
}

// DecodeRecord reads the record at the start of b and returns the rest. The
// record borrows nothing from b.
func DecodeRecord(b []byte) (Record, []byte, error) {
	r := reader{b: b}
	k, version, n := r.uvarint(), r.uvarint(), r.uvarint()
	if r.err != nil {
		return nil, nil, r.err
	}
	if n > uint64(len(r.b)) {
		return nil, nil, fmt.Errorf("record of type %d has %d bytes, %d are left", k, n, len(r.b))
	}
	if version != recordVersion || k < uint64(kindCluster) || k > uint64(kindAbortChange) {
		return nil, nil, fmt.Errorf("%w: type %d version %d", ErrUnknownRecord, k, version)
	}
	rest := r.b[n:]
	r.b = r.b[:n]
	rec := r.body(kind(k))
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("record of type %d: %w", k, r.err)
	}
	return rec, rest, nil
}

func (r *reader) body(k kind) Record {
	switch k {
	case kindCluster:
		return ClusterRecord{ID: r.str(), Created: r.varint()}
	case kindFeature:
		return FeatureRecord{Name: r.str(), Level: r.int16()}
	case kindController:
		return ControllerRecord{Controller{ID: r.int32(), Directory: r.uuid(), Incarnation: r.uuid(), Endpoints: r.endpoints(), Features: r.features()}}
	case kindRemoveController:
		return RemoveControllerRecord{r.int32()}
	case kindBroker:
		b := Broker{ID: r.int32(), Epoch: r.varint(), Incarnation: r.uuid(), Endpoints: r.endpoints(), Rack: r.str(), Dirs: r.uuids(), Features: r.features()}
		flags := r.flags(brokerFenced | brokerStopping | brokerCordoned)
		b.Fenced, b.Stopping = flags&brokerFenced != 0, flags&brokerStopping != 0
		if flags&brokerCordoned != 0 {
			b.Cordoned = r.uuids()
		}
		return BrokerRecord{b}
	case kindRemoveBroker:
		return RemoveBrokerRecord{r.int32()}
	case kindTopic:
		return TopicRecord{Name: r.str(), ID: r.uuid()}
	case kindRemoveTopic:
		return RemoveTopicRecord{r.uuid()}
	case kindPartition:
		return r.partition()
	case kindConfig:
		c := ConfigRecord{Resource: Resource{ResourceType(r.byte()), r.str()}, Key: r.str()}
		if r.flags(1) != 0 {
			v := r.str()
			c.Value = &v
		}
		return c
	case kindProducerIDs:
		return ProducerIDsRecord{Broker: r.int32(), Epoch: r.varint(), Next: r.varint()}
	case kindBeginChange:
		return BeginChangeRecord{r.str()}
	case kindEndChange:
		return EndChangeRecord{}
	default:
		return AbortChangeRecord{}
	}
}

const (
	brokerFenced   = 1
	brokerStopping = 2
	brokerCordoned = 4 // cordoned directories follow

	partitionRecovering = 1
	partitionDirs       = 2 // a directory is named for each replica
	partitionISRIsAll   = 4 // ISR = Replicas, in that order: not written
	partitionRare       = 8 // ELR, LastELR, Adding, Removing follow
)

func (r ClusterRecord) appendBody(b []byte) []byte {
	return binary.AppendVarint(appendString(b, r.ID), r.Created)
}

func (r FeatureRecord) appendBody(b []byte) []byte {
	return binary.AppendVarint(appendString(b, r.Name), int64(r.Level))
}

func (r ControllerRecord) appendBody(b []byte) []byte {
	b = binary.AppendVarint(b, int64(r.ID))
	b = append(b, r.Directory[:]...)
	b = append(b, r.Incarnation[:]...)
	b = appendEndpoints(b, r.Endpoints)
	return appendFeatures(b, r.Features)
}

func (r RemoveControllerRecord) appendBody(b []byte) []byte {
	return binary.AppendVarint(b, int64(r.ID))
}

func (r BrokerRecord) appendBody(b []byte) []byte {
	b = binary.AppendVarint(b, int64(r.ID))
	b = binary.AppendVarint(b, r.Epoch)
	b = append(b, r.Incarnation[:]...)
	b = appendEndpoints(b, r.Endpoints)
	b = appendString(b, r.Rack)
	b = appendUUIDs(b, r.Dirs)
	b = appendFeatures(b, r.Features)
	b = append(b, flag(r.Fenced, brokerFenced)|flag(r.Stopping, brokerStopping)|flag(len(r.Cordoned) > 0, brokerCordoned))
	if len(r.Cordoned) > 0 {
		b = appendUUIDs(b, r.Cordoned)
	}
	return b
}

func appendUUIDs(b []byte, us []UUID) []byte {
	b = binary.AppendUvarint(b, uint64(len(us)))
	for _, u := range us {
		b = append(b, u[:]...)
	}
	return b
}

func (r RemoveBrokerRecord) appendBody(b []byte) []byte { return binary.AppendVarint(b, int64(r.ID)) }

func (r TopicRecord) appendBody(b []byte) []byte { return append(appendString(b, r.Name), r.ID[:]...) }

func (r RemoveTopicRecord) appendBody(b []byte) []byte { return append(b, r.ID[:]...) }

func (r PartitionRecord) appendBody(b []byte) []byte {
	b = append(b, r.Topic[:]...)
	b = binary.AppendVarint(b, int64(r.Index))
	hasDirs := false
	for _, d := range r.Dirs {
		hasDirs = hasDirs || d != DirUnassigned
	}
	allInSync := equalInts(r.Replicas, r.ISR)
	rare := len(r.ELR)+len(r.LastELR)+len(r.Adding)+len(r.Removing) > 0
	b = append(b, flag(r.Recovering, partitionRecovering)|flag(hasDirs, partitionDirs)|
		flag(allInSync, partitionISRIsAll)|flag(rare, partitionRare))
	b = appendInts(b, r.Replicas)
	if hasDirs {
		for _, d := range r.Dirs {
			b = append(b, d[:]...)
		}
	}
	if !allInSync {
		b = appendInts(b, r.ISR)
	}
	b = binary.AppendVarint(b, int64(r.Leader))
	b = binary.AppendVarint(b, int64(r.LeaderEpoch))
	b = binary.AppendVarint(b, int64(r.PartitionEpoch))
	if rare {
		b = appendInts(b, r.ELR)
		b = appendInts(b, r.LastELR)
		b = appendInts(b, r.Adding)
		b = appendInts(b, r.Removing)
	}
	return b
}

func (r *reader) partition() PartitionRecord {
	p := PartitionRecord{Topic: r.uuid(), Index: r.int32()}
	flags := r.flags(partitionRecovering | partitionDirs | partitionISRIsAll | partitionRare)
	p.Recovering = flags&partitionRecovering != 0
	p.Replicas = r.ints()
	p.Dirs = make([]UUID, len(p.Replicas))
	if flags&partitionDirs != 0 {
		for i := range p.Dirs {
			p.Dirs[i] = r.uuid()
		}
	}
	if flags&partitionISRIsAll != 0 {
		p.ISR = p.Replicas
	} else {
		p.ISR = r.ints()
	}
	p.Leader, p.LeaderEpoch, p.PartitionEpoch = r.int32(), r.int32(), r.int32()
	if flags&partitionRare != 0 {
		p.ELR, p.LastELR, p.Adding, p.Removing = r.ints(), r.ints(), r.ints(), r.ints()
	}
	return p
}

func (r ConfigRecord) appendBody(b []byte) []byte {
	b = append(b, byte(r.Type))
	b = appendString(b, r.Name)
	b = appendString(b, r.Key)
	if r.Value == nil {
		return append(b, 0)
	}
	return appendString(append(b, 1), *r.Value)
}

func (r ProducerIDsRecord) appendBody(b []byte) []byte {
	b = binary.AppendVarint(b, int64(r.Broker))
	b = binary.AppendVarint(b, r.Epoch)
	return binary.AppendVarint(b, r.Next)
}

func (r BeginChangeRecord) appendBody(b []byte) []byte { return appendString(b, r.Name) }
func (EndChangeRecord) appendBody(b []byte) []byte     { return b }
func (AbortChangeRecord) appendBody(b []byte) []byte   { return b }

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func equalInts(a, b []int32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendInts(b []byte, s []int32) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	for _, v := range s {
		b = binary.AppendVarint(b, int64(v))
	}
	return b
}

func appendEndpoints(b []byte, es []Endpoint) []byte {
	b = binary.AppendUvarint(b, uint64(len(es)))
	for _, e := range es {
		b = appendString(b, e.Listener)
		b = appendString(b, e.Host)
		b = binary.AppendUvarint(b, uint64(e.Port))
		b = binary.AppendVarint(b, int64(e.Protocol))
	}
	return b
}

func appendFeatures(b []byte, fs []FeatureRange) []byte {
	b = binary.AppendUvarint(b, uint64(len(fs)))
	for _, f := range fs {
		b = appendString(b, f.Name)
		b = binary.AppendVarint(b, int64(f.Min))
		b = binary.AppendVarint(b, int64(f.Max))
	}
	return b
}

// reader takes fields off b. After the first error every read returns zero, so
// callers check once.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("cut short")

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int32() int32 {
	v := r.varint()
	if int64(int32(v)) != v {
		r.fail(fmt.Errorf("%d does not fit 32 bits", v))
	}
	return int32(v)
}

func (r *reader) int16() int16 {
	v := r.varint()
	if int64(int16(v)) != v {
		r.fail(fmt.Errorf("%d does not fit 16 bits", v))
	}
	return int16(v)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

// flags reads a byte in which only the known bits may be set.
func (r *reader) flags(known byte) byte {
	v := r.byte()
	if v&^known != 0 {
		r.fail(fmt.Errorf("%w: flags %#x", ErrUnknownRecord, v))
	}
	return v
}

func (r *reader) uuid() (u UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// count reads the length of a list whose elements take least bytes each.
func (r *reader) count(least int) int {
	n := r.uvarint()
	if n > maxListed || n*uint64(least) > uint64(len(r.b)) {
		r.fail(fmt.Errorf("a list of %d in %d bytes", n, len(r.b)))
		return 0
	}
	return int(n)
}

func (r *reader) str() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return ""
	}
	return string(r.take(int(n)))
}

func (r *reader) ints() []int32 {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	s := make([]int32, n)
	for i := range s {
		s[i] = r.int32()
	}
	return s
}

func (r *reader) uuids() []UUID {
	n := r.count(16)
	if n == 0 {
		return nil
	}
	s := make([]UUID, n)
	for i := range s {
		s[i] = r.uuid()
	}
	return s
}

func (r *reader) endpoints() []Endpoint {
	n := r.count(4)
	if n == 0 {
		return nil
	}
	s := make([]Endpoint, n)
	for i := range s {
		s[i].Listener, s[i].Host = r.str(), r.str()
		port := r.uvarint()
		if port > 0xffff {
			r.fail(fmt.Errorf("port %d", port))
		}
		s[i].Port, s[i].Protocol = uint16(port), r.int16()
	}
	return s
}

func (r *reader) features() []FeatureRange {
	n := r.count(3)
	if n == 0 {
		return nil
	}
	s := make([]FeatureRange, n)
	for i := range s {
		s[i] = FeatureRange{Name: r.str(), Min: r.int16(), Max: r.int16()}
	}
	return s
}

// NextFrame cuts the frame of the first record off b without reading its body.
func NextFrame(b []byte) (frame, rest []byte, err error) {
	r := reader{b: b}
	_, _, n := r.uvarint(), r.uvarint(), r.uvarint()
	if r.err == nil && n > uint64(len(r.b)) {
		r.err = errShort
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	end := len(b) - len(r.b) + int(n)
	return b[:end:end], b[end:], nil
}
