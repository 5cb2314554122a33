// SPDX-License-Identifier: Apache-2.0

package group

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// The kinds of record in __consumer_offsets by the first two bytes of the key.
// Those above are of the newer group protocols, which have records here too.
const (
	keyOffsetOld = 0
	keyOffset    = 1
	keyGroup     = 2
	keyLastKnown = 23
)

// What Kafka 4.2 writes for a committed offset: key version 1; value version 4,
// or 1 for the old clients that send a retention time of their own.
//
//	key      | 1 i16 | group string | topic string | partition i32 |
//
//	value 4  | 4 i16 | offset i64 | leader epoch i32 | metadata compact string
//	         | commit time i64 | tags: 0 = topic id uuid, when it is known |
//
//	value 1  | 1 i16 | offset i64 | metadata string | commit time i64
//	         | expire time i64 |
//
// Values of versions 0 to 4 are read.
const (
	valueOffset        = 4
	valueOffsetExpires = 1
)

// Offset is a committed offset with what was said along with it.
type Offset struct {
	Offset      int64
	LeaderEpoch int32  // -1: not known
	Metadata    string // of the client's own
	CommittedAt int64  // ms
	ExpiresAt   int64  // ms; -1: by the retention of the broker
	TopicID     [16]byte

	at int64 // of the record in the log
}

func offsetKey(group, topic string, partition int32) []byte {
	k := kmsg.OffsetCommitKey{Version: keyOffset, Group: group, Topic: topic, Partition: partition}
	return k.AppendTo(make([]byte, 0, 10+len(group)+len(topic)))
}

func offsetRecord(group, topic string, partition int32, o Offset) coord.Record {
	v := kmsg.OffsetCommitValue{
		Version: valueOffset, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
		CommitTimestamp: o.CommittedAt, ExpireTimestamp: -1, TopicID: o.TopicID,
	}
	if o.ExpiresAt >= 0 {
		v.Version, v.ExpireTimestamp = valueOffsetExpires, o.ExpiresAt
	}
	return coord.Record{Key: offsetKey(group, topic, partition), Value: v.AppendTo(make([]byte, 0, 64+len(o.Metadata)))}
}

func offsetTombstone(group, topic string, partition int32) coord.Record {
	return coord.Record{Key: offsetKey(group, topic, partition)}
}

var errKeyShort = errors.New("record of __consumer_offsets: key is too short")

// keyKind is the first two bytes of a key.
func keyKind(key []byte) (int16, error) {
	if len(key) < 2 {
		return 0, errKeyShort
	}
	return int16(binary.BigEndian.Uint16(key)), nil
}

func readOffset(value []byte) (*Offset, error) {
	if len(value) < 2 {
		return nil, errors.New("offset record: value is too short")
	}
	if v := int16(binary.BigEndian.Uint16(value)); v < 0 || v > valueOffset {
		return nil, fmt.Errorf("offset record: value has the unknown version %d", v)
	}
	v := kmsg.NewOffsetCommitValue()
	if err := v.ReadFrom(value); err != nil {
		return nil, fmt.Errorf("offset record: %w", err)
	}
	o := &Offset{
		Offset: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata,
		CommittedAt: v.CommitTimestamp, ExpiresAt: v.ExpireTimestamp, TopicID: v.TopicID,
	}
	if v.Version < 3 {
		o.LeaderEpoch = -1
	}
	if v.Version != valueOffsetExpires {
		o.ExpiresAt = -1
	}
	return o, nil
}
