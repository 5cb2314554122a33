// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/meta"
)

func decoderOf(class string) (func([]byte) string, error) {
	number := func(n int, text func([]byte) string) func([]byte) string {
		return func(b []byte) string {
			if len(b) != n {
				return ""
			}
			return text(b)
		}
	}
	switch class[strings.LastIndexAny(class, ".$")+1:] {
	case "StringDecoder":
		return func(b []byte) string { return string(b) }, nil
	case "LongDecoder":
		return number(8, func(b []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) }), nil
	case "IntegerDecoder":
		return number(4, func(b []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))) }), nil
	}
	return nil, failf("decoder class %s is not known", class)
}

// decodeOffsets shows a record of __consumer_offsets as two JSON objects.
func decodeOffsets(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool) {
	if r.Key == nil {
		return fmt.Sprintf("Error at offset %d, skipping. message had a missing key", offset), "", true, false
	}
	kind := (&kbin.Reader{Src: r.Key}).Int16()
	var k, v any
	var err error
	switch kind {
	case 0, 1:
		m := kmsg.NewOffsetCommitKey()
		if err = m.ReadFrom(r.Key); err == nil {
			k = ordered{{"group", m.Group}, {"topic", m.Topic}, {"partition", m.Partition}}
			v, err = offsetValue(r.Value)
		}
	case 2:
		m := kmsg.NewGroupMetadataKey()
		if err = m.ReadFrom(r.Key); err == nil {
			k = ordered{{"group", m.Group}}
			if v, err = groupValue(r.Value); v != nil {
				v = unpackMembers(v.(ordered))
			}
		}
	default:
		return fmt.Sprintf("Unknown record type %d at offset %d, skipping.", kind, offset), "", true, false
	}
	if err != nil {
		return fmt.Sprintf("Error at offset %d, skipping. %s", offset, err), "", true, false
	}
	raw, _ := plainJSON(ordered{{"type", strconv.Itoa(int(kind))}, {"data", k}})
	if r.Value == nil {
		return string(raw), "<DELETE>", true, true
	}
	version := (&kbin.Reader{Src: r.Value}).Int16()
	val, _ := plainJSON(ordered{{"version", strconv.Itoa(int(version))}, {"data", v}})
	return string(raw), string(val), true, true
}

// decodeTransactions shows a record of __transaction_state as two JSON objects.
func decodeTransactions(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool) {
	if r.Key == nil {
		return fmt.Sprintf("Error at offset %d, skipping. message had a missing key", offset), "", true, false
	}
	kind := (&kbin.Reader{Src: r.Key}).Int16()
	if kind != 0 {
		return fmt.Sprintf("Unknown record type %d at offset %d, skipping.", kind, offset), "", true, false
	}
	k := kmsg.NewTxnMetadataKey()
	if err := k.ReadFrom(r.Key); err != nil {
		return fmt.Sprintf("Error at offset %d, skipping. %s", offset, err), "", true, false
	}
	raw, _ := plainJSON(ordered{{"type", "0"}, {"data", ordered{{"transactionalId", k.TransactionalID}}}})
	if r.Value == nil {
		return string(raw), "<DELETE>", true, true
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(r.Value); err != nil {
		return fmt.Sprintf("Error at offset %d, skipping. %s", offset, err), "", true, false
	}
	data := ordered{{"producerId", v.ProducerID}}
	if v.PreviousProducerID != -1 {
		data = append(data, member{"previousProducerId", v.PreviousProducerID})
	}
	if v.NextProducerID != -1 {
		data = append(data, member{"nextProducerId", v.NextProducerID})
	}
	data = append(data, member{"producerEpoch", v.ProducerEpoch})
	if v.NextProducerEpoch != -1 {
		data = append(data, member{"nextProducerEpoch", v.NextProducerEpoch})
	}
	var parts any
	if v.Topics != nil {
		list := []any{}
		for _, t := range v.Topics {
			list = append(list, ordered{{"topic", t.Topic}, {"partitionIds", t.Partitions}})
		}
		parts = list
	}
	data = append(data, member{"transactionTimeoutMs", v.TimeoutMillis}, member{"transactionStatus", int8(v.State)},
		member{"transactionPartitions", parts}, member{"transactionLastUpdateTimestampMs", v.LastUpdateTimestamp},
		member{"transactionStartTimestampMs", v.StartTimestamp})
	if v.ClientTransactionVersion != 0 {
		data = append(data, member{"clientTransactionVersion", v.ClientTransactionVersion})
	}
	val, _ := plainJSON(ordered{{"version", strconv.Itoa(int(v.Version))}, {"data", data}})
	return string(raw), string(val), true, true
}

// unpackMembers replaces the base64 of subscriptions and assignments of
// consumers by what they say.
func unpackMembers(group ordered) ordered {
	if group[0].value != "consumer" {
		return group
	}
	members := group[len(group)-1].value.([]any)
	for _, m := range members {
		for i, f := range m.(ordered) {
			raw, ok := f.value.(string)
			if !ok {
				continue
			}
			b, err := base64.StdEncoding.DecodeString(raw)
			if err != nil {
				continue
			}
			switch f.name {
			case "subscription":
				if v, ok := subscription(b); ok {
					m.(ordered)[i].value = v
				}
			case "assignment":
				if v, ok := assignment(b); ok {
					m.(ordered)[i].value = v
				}
			}
		}
	}
	return group
}

func assignedList[T any](list []T, at func(T) (string, []int32)) []any {
	out := []any{}
	for _, t := range list {
		topic, ps := at(t)
		if ps == nil {
			ps = []int32{}
		}
		out = append(out, ordered{{"topic", topic}, {"partitions", ps}})
	}
	return out
}

func userData(b []byte) any {
	if b == nil {
		return nil
	}
	return base64.StdEncoding.EncodeToString(b)
}

func subscription(b []byte) (any, bool) {
	s := kmsg.NewConsumerMemberMetadata()
	if len(b) < 2 || s.ReadFrom(b) != nil {
		return nil, false
	}
	if s.Topics == nil {
		s.Topics = []string{}
	}
	o := ordered{{"topics", s.Topics}, {"userData", userData(s.UserData)}}
	if s.Version >= 1 {
		o = append(o, member{"ownedPartitions", assignedList(s.OwnedPartitions, func(p kmsg.ConsumerMemberMetadataOwnedPartition) (string, []int32) { return p.Topic, p.Partitions })})
	}
	if s.Version >= 2 {
		o = append(o, member{"generationId", s.Generation})
	}
	if s.Version >= 3 {
		o = append(o, member{"rackId", s.Rack})
	}
	return o, true
}

func assignment(b []byte) (any, bool) {
	a := kmsg.NewConsumerMemberAssignment()
	if len(b) < 2 || a.ReadFrom(b) != nil {
		return nil, false
	}
	return ordered{
		{"assignedPartitions", assignedList(a.Topics, func(p kmsg.ConsumerMemberAssignmentTopic) (string, []int32) { return p.Topic, p.Partitions })},
		{"userData", userData(a.UserData)},
	}, true
}

// decodeMetadata shows a value of the metadata log. The log's records are
// gregor's own; see decodeRecord.
func decodeMetadata(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool) {
	text, err := metadataText(r.Value)
	if err != nil {
		text = fmt.Sprintf("Error at %d, skipping. %s", offset, err)
	}
	return "", text, false, true
}

// metadataText prints the records of a value, one JSON object each: type and
// fields as docs/formats/metadata.md names them.
func metadataText(b []byte) (string, error) {
	if len(b) == 0 {
		return "", errShort
	}
	var out []string
	for len(b) > 0 {
		r, rest, err := meta.DecodeRecord(b)
		if err != nil {
			return "", err
		}
		kind := strings.TrimPrefix(fmt.Sprintf("%T", r), "meta.")
		line, err := plainJSON(ordered{{"type", kind}, {"data", r}})
		if err != nil {
			return "", err
		}
		out, b = append(out, string(line)), rest
	}
	return strings.Join(out, " "), nil
}
