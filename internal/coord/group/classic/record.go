// SPDX-License-Identifier: Apache-2.0

package classic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// The group's record in __consumer_offsets, as Kafka 4.2 writes it: key version
// 2 and value version 3. All integers are big-endian, strings have an int16
// length (-1: null) and bytes an int32 length.
//
//	key    | 2 i16 | group string |
//
//	value  | 3 i16 | protocol type string | generation i32 | protocol string?
//	       | leader string? | time of state i64 | n i32 | member ... |
//	member | id string | instance string? | client id string | host string
//	       | rebalance timeout i32 | session timeout i32
//	       | subscription bytes | assignment bytes |
//
// Values of versions 0 to 4 are read; 4 has compact lengths and tags.
const (
	keyVersion   = 2
	valueVersion = 3
	newestValue  = 4
)

// Key returns the key of the group's record; with a nil value it deletes it.
func Key(group string) []byte {
	k := kmsg.GroupMetadataKey{Version: keyVersion, Group: group}
	return k.AppendTo(nil)
}

// Record is what of the group is to be durable. Members have the assignments
// that assignment gives.
func (g *Group) record(assignment func(*member) []byte) coord.Record {
	v := kmsg.GroupMetadataValue{
		Version: valueVersion, ProtocolType: deref(g.protocolType), Generation: g.generation,
		Protocol: g.protocol, CurrentStateTimestamp: g.since,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, m := range g.members {
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMillis: int32(m.rebalance.Milliseconds()),
			SessionTimeoutMillis:   int32(m.session.Milliseconds()),
			Subscription:           m.metadata(deref(g.protocol)),
			Assignment:             assignment(m),
		})
	}
	return coord.Record{Key: Key(g.id), Value: v.AppendTo(nil)}
}

// Fresh is the record of a group that is first heard of: nothing is known yet
// but its name.
func (g *Group) Fresh() coord.Record {
	v := kmsg.GroupMetadataValue{Version: valueVersion, CurrentStateTimestamp: g.since}
	return coord.Record{Key: Key(g.id), Value: v.AppendTo(nil)}
}

// Restore makes the group that a record's value tells of. Sessions do not run
// until Loaded.
func Restore(cfg *Config, id string, value []byte) (*Group, error) {
	if len(value) < 2 {
		return nil, errors.New("group record: value is too short")
	}
	if v := int16(binary.BigEndian.Uint16(value)); v < 0 || v > newestValue {
		return nil, fmt.Errorf("group record: value has the unknown version %d", v)
	}
	// kmsg takes the default where a version lacks a field.
	v := kmsg.NewGroupMetadataValue()
	if err := v.ReadFrom(value); err != nil {
		return nil, fmt.Errorf("group record: %w", err)
	}
	if v.Version < 2 {
		v.CurrentStateTimestamp = -1
	}
	g := New(cfg, id, time.UnixMilli(v.CurrentStateTimestamp))
	g.since = v.CurrentStateTimestamp
	g.generation = v.Generation
	g.protocol = v.Protocol
	if v.ProtocolType != "" {
		g.protocolType = &v.ProtocolType
	}
	g.leader = deref(v.Leader)
	for i := range v.Members {
		vm := &v.Members[i]
		if g.byID[vm.MemberID] != nil {
			return nil, fmt.Errorf("group record: member %s is there twice", vm.MemberID)
		}
		if vm.InstanceID != nil && g.static[*vm.InstanceID] != "" {
			return nil, fmt.Errorf("group record: instance %s is there twice", *vm.InstanceID)
		}
		if v.Version < 1 || vm.RebalanceTimeoutMillis == -1 {
			vm.RebalanceTimeoutMillis = vm.SessionTimeoutMillis
		}
		g.add(&member{
			id: vm.MemberID, instance: vm.InstanceID, clientID: vm.ClientID, clientHost: vm.ClientHost,
			rebalance:  time.Duration(vm.RebalanceTimeoutMillis) * time.Millisecond,
			session:    time.Duration(vm.SessionTimeoutMillis) * time.Millisecond,
			protocols:  []Protocol{{Name: deref(v.Protocol), Metadata: bytes.Clone(vm.Subscription)}},
			assignment: bytes.Clone(vm.Assignment),
		})
	}
	if len(g.members) > 0 {
		g.state = Stable
	}
	g.computeTopics()
	return g, nil
}

// computeTopics reads what a consumer group subscribes to.
func (g *Group) computeTopics() {
	g.topics, g.topicsKnown = nil, false
	if deref(g.protocolType) != consumerType {
		return
	}
	if len(g.members) == 0 {
		g.topicsKnown = true
		return
	}
	if g.protocol == nil {
		return
	}
	all := map[string]struct{}{}
	for _, m := range g.members {
		if !subscription(m.metadata(*g.protocol), all) {
			return
		}
	}
	g.topics, g.topicsKnown = all, true
}

// subscription adds the topics of a consumer's metadata to all. Only the first
// fields are read, which every version of the consumer protocol begins with:
//
//	| version i16 | n i32 | topic string ... | user data bytes? | ...
func subscription(b []byte, all map[string]struct{}) bool {
	if len(b) < 6 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return false
	}
	n := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	for range n {
		if len(b) < 2 {
			return false
		}
		l := int(int16(binary.BigEndian.Uint16(b)))
		if l < 0 || l > len(b)-2 {
			return false
		}
		all[string(b[2:2+l])] = struct{}{}
		b = b[2+l:]
	}
	return n >= 0
}
