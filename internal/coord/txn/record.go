// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// The records of __transaction_state, as Kafka 4.2 has them: one key for each
// transactional id; the last value is its state; a tombstone forgets it.
//
//	key 0    | 0 i16 | transactional id string |
//
//	value 1  | 1 i16 | producer id i64 | epoch i16 | timeout ms i32 | state i8
//	         | partitions: compact nullable array of
//	         |   { topic compact string, compact array of i32, tags }
//	         | last update ms i64 | start ms i64
//	         | tags: 0 = previous producer id i64, 1 = next producer id i64,
//	         |       2 = client's transaction version i16,
//	         |       3 = next producer epoch i16 (KIP-939, not used),
//	         |       10000 = last epoch i16 (ours) |
//
//	value 0  | 0 i16 | the same without tags, plain strings and arrays |
//
// Both are read, 1 is written.
//
// Differs from Kafka: it writes value 0 while transaction.version is 0, neither
// of the tags 0 and 1, and the last epoch nowhere. So a coordinator that takes
// over forgets which producer id a client was given at the end of an exhausted
// one, and which epoch a repeated InitProducerId may bring.
const (
	keyTxn       = 0
	valueTxn     = 1
	tagLastEpoch = 10000
)

func key(id string) []byte {
	k := kmsg.TxnMetadataKey{Version: keyTxn, TransactionalID: id}
	return k.AppendTo(make([]byte, 0, 4+len(id)))
}

func record(t *Txn) coord.Record {
	v := kmsg.NewTxnMetadataValue()
	v.Version = valueTxn
	v.ProducerID, v.PreviousProducerID, v.NextProducerID = t.Producer, t.Prev, t.Next
	v.ProducerEpoch, v.TimeoutMillis = t.Epoch, t.TimeoutMillis
	v.State = kmsg.TransactionState(t.State)
	v.LastUpdateTimestamp, v.StartTimestamp = t.Updated, t.Started
	v.ClientTransactionVersion = t.Version
	if t.State != Empty {
		v.Topics = []kmsg.TxnMetadataValueTopic{}
	}
	for _, p := range t.Partitions {
		if n := len(v.Topics); n == 0 || v.Topics[n-1].Topic != p.Topic {
			v.Topics = append(v.Topics, kmsg.TxnMetadataValueTopic{Topic: p.Topic})
		}
		last := &v.Topics[len(v.Topics)-1]
		last.Partitions = append(last.Partitions, p.Partition)
	}
	if t.LastEpoch != NoEpoch {
		v.UnknownTags.Set(tagLastEpoch, binary.BigEndian.AppendUint16(nil, uint16(t.LastEpoch)))
	}
	return coord.Record{Key: key(t.ID), Value: v.AppendTo(make([]byte, 0, 96+12*len(t.Partitions)))}
}

var errKeyShort = errors.New("record of __transaction_state: key is too short")

// readKey returns the transactional id, or false for a key of a kind that is
// not known, which is passed over.
func readKey(b []byte) (string, bool, error) {
	if len(b) < 2 {
		return "", false, errKeyShort
	}
	if int16(binary.BigEndian.Uint16(b)) != keyTxn {
		return "", false, nil
	}
	k := kmsg.NewTxnMetadataKey()
	if err := k.ReadFrom(b); err != nil {
		return "", false, fmt.Errorf("record of __transaction_state: key: %w", err)
	}
	return k.TransactionalID, true, nil
}

func readValue(id string, b []byte) (*Txn, error) {
	if len(b) < 2 {
		return nil, errors.New("transaction record: value is too short")
	}
	if v := int16(binary.BigEndian.Uint16(b)); v < 0 || v > valueTxn {
		return nil, fmt.Errorf("transaction record: value has the unknown version %d", v)
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(b); err != nil {
		return nil, fmt.Errorf("transaction record: %w", err)
	}
	if v.State < 0 || State(v.State) >= Dead || v.ProducerID < 0 {
		return nil, fmt.Errorf("transaction record: state %d of producer %d", v.State, v.ProducerID)
	}
	t := &Txn{
		ID: id, Producer: v.ProducerID, Prev: v.PreviousProducerID, Next: v.NextProducerID,
		Epoch: v.ProducerEpoch, LastEpoch: NoEpoch, TimeoutMillis: v.TimeoutMillis, State: State(v.State),
		Started: v.StartTimestamp, Updated: v.LastUpdateTimestamp, Version: v.ClientTransactionVersion,
	}
	var ps []Partition
	for _, topic := range v.Topics {
		for _, p := range topic.Partitions {
			ps = append(ps, Partition{topic.Topic, p})
		}
	}
	if t.State != Empty && len(ps) > 0 {
		t.Partitions = t.with(ps)
	}
	v.UnknownTags.Each(func(tag uint32, b []byte) {
		if tag == tagLastEpoch && len(b) == 2 {
			t.LastEpoch = int16(binary.BigEndian.Uint16(b))
		}
	})
	return t, nil
}
