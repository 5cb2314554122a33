// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func produceTo(version, acks int16, topic string, id byte, partitions ...int32) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	req.Acks, req.TimeoutMillis = acks, 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, [16]byte{id}
	for _, p := range partitions {
		q := kmsg.NewProduceRequestTopicPartition()
		q.Partition, q.Records = p, testBatch(3, 100)
		t.Partitions = append(t.Partitions, q)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func codes(resp kmsg.Response) (out []int16) {
	for _, t := range resp.(*kmsg.ProduceResponse).Topics {
		for _, p := range t.Partitions {
			out = append(out, p.ErrorCode)
		}
	}
	return out
}

// Every version is understood and answered, field by field, as kmsg reads it.
func TestProduceVersions(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	logs := parts.add("orders", 1, 2)
	logs[1].fail = kerr.NotLeaderForPartition
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes())
	c := dial()
	for version := int16(3); version <= 13; version++ {
		resp := c.ask(produceTo(version, -1, "orders", 1, 0, 1, 5)).(*kmsg.ProduceResponse)
		ps := resp.Topics[0].Partitions
		if got := fmt.Sprint(codes(resp)); got != "[0 6 3]" {
			t.Fatalf("v%d: codes %s", version, got)
		}
		if want := int64(version-3) * 3; ps[0].BaseOffset != want || ps[0].LogAppendTime != -1 {
			t.Fatalf("v%d: %+v, want base offset %d", version, ps[0], want)
		}
		if version >= 10 {
			if l := ps[1].CurrentLeader; l.LeaderID != 7 || l.LeaderEpoch != 9 {
				t.Fatalf("v%d: leader %+v", version, l)
			}
			if len(resp.Brokers) != 1 || resp.Brokers[0].Host != "elsewhere" || resp.Brokers[0].NodeID != 7 {
				t.Fatalf("v%d: endpoints %+v", version, resp.Brokers)
			}
		}
	}
}

func TestProduceRefusals(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	logs := parts.add("orders", 1, 1)
	parts.add("__consumer_offsets", 2, 1)
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes())
	c := dial()
	check := func(req *kmsg.ProduceRequest, want *kerr.Error) {
		t.Helper()
		if got := codes(c.ask(req)); len(got) != 1 || got[0] != want.Code {
			t.Errorf("codes %v, want %s", got, want.Message)
		}
	}
	check(produceTo(9, 2, "orders", 1, 0), kerr.InvalidRequiredAcks)
	check(produceTo(9, -2, "orders", 1, 0), kerr.InvalidRequiredAcks)
	check(produceTo(13, 1, "", 99, 0), kerr.UnknownTopicID)
	check(produceTo(12, 1, "nobody", 0, 0), kerr.UnknownTopicOrPartition)
	check(produceTo(12, 1, "__consumer_offsets", 0, 0), kerr.InvalidTopicException)
	null := produceTo(9, 1, "orders", 1, 0)
	null.Topics[0].Partitions[0].Records = nil
	check(null, kerr.InvalidRecord)

	txn := produceTo(9, 1, "orders", 1, 0)
	txn.Topics[0].Partitions[0].Records[22] |= 1 << 4
	check(txn, kerr.TransactionalIDAuthorizationFailed)
	id := "t"
	txn.TransactionID = &id
	logs[0].fail = kerr.InvalidTxnState
	check(txn, kerr.InvalidTxnState)
	txn.SetVersion(11)
	check(txn, kerr.InvalidTxnState)

	logs[0].fail = &RecordErrors{Err: kerr.InvalidRecord, Message: "one record is bad",
		Records: []RecordError{{Index: 2, Message: "it has no key"}}}
	resp := c.ask(produceTo(9, 1, "orders", 1, 0)).(*kmsg.ProduceResponse)
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != kerr.InvalidRecord.Code || *p.ErrorMessage != "one record is bad" ||
		len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 2 || *p.ErrorRecords[0].ErrorMessage != "it has no key" {
		t.Errorf("record errors: %+v", p)
	}
	logs[0].fail = fmt.Errorf("%w: %s", kerr.CorruptMessage, strings.Repeat("long ", 20_000))
	check(produceTo(3, 1, "orders", 1, 0), kerr.CorruptMessage)
	check(produceTo(8, 1, "orders", 1, 0), kerr.CorruptMessage)
}

// acks=0 has no answer; on an error the connection is closed instead.
func TestProduceNoAcks(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	parts.add("orders", 1, 1)
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes())
	c := dial()
	c.send(produceTo(9, 0, "orders", 1, 0))
	resp := c.ask(produceTo(9, 1, "orders", 1, 0)).(*kmsg.ProduceResponse)
	if got := resp.Topics[0].Partitions[0].BaseOffset; got != 3 {
		t.Fatalf("base offset %d after an append with acks=0 of 3 records", got)
	}
	c.send(produceTo(9, 0, "nobody", 1, 0))
	c.wantClosed()
}

// While an acks=all waits for its commit, the next request is read and
// appended; the answers come in order.
func TestProduceReadsOn(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	log := parts.add("orders", 1, 1)[0]
	log.held = true
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes())
	c := dial()
	for range 3 {
		c.send(produceTo(9, -1, "orders", 1, 0))
	}
	c.send(produceTo(9, 1, "orders", 1, 0))
	for appended := 0; appended < 4; {
		log.mu.Lock()
		appended = log.appended
		log.mu.Unlock()
	}
	log.commit()
	for i := range int64(4) {
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(9)
		c.receive(resp)
		if p := resp.Topics[0].Partitions[0]; p.BaseOffset != 3*i || p.ErrorCode != 0 {
			t.Fatalf("answer %d: %+v", i, p)
		}
	}
}

// An acks=all that is not committed in time, or cannot be, says so, and leaves
// nobody waiting.
func TestProduceTimeout(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	log := parts.add("orders", 1, 1)[0]
	log.held = true
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes())
	c := dial()
	req := produceTo(9, -1, "orders", 1, 0)
	req.TimeoutMillis = 1
	if got := codes(c.ask(req)); got[0] != kerr.RequestTimedOut.Code {
		t.Fatalf("codes %v", got)
	}
	log.after = kerr.NotEnoughReplicasAfterAppend
	if got := codes(c.ask(req)); got[0] != kerr.NotEnoughReplicasAfterAppend.Code {
		t.Fatalf("codes %v", got)
	}
	if n := log.waiting(); n != 0 {
		t.Fatalf("%d wait still", n)
	}
}

// A malformed request appends nothing, whatever stands before the damage.
func TestProduceMalformed(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	log := parts.add("orders", 1, 1)[0]
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes())
	for _, version := range []int16{3, 9, 13} {
		body := produceTo(version, 1, "orders", 1, 0, 0).AppendTo(nil)
		for cut := range len(body) {
			if _, err := parseProduce(version, body[:cut]); err == nil {
				t.Fatalf("v%d: cut at %d of %d passes", version, cut, len(body))
			}
		}
	}
	c := dial()
	req := produceTo(9, 1, "orders", 1, 0, 0)
	body := req.AppendTo(nil)
	frame := append([]byte{0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0}, body[:len(body)-5]...)
	frame[2], frame[3] = byte((len(frame)-4)>>8), byte(len(frame)-4)
	if _, err := c.nc.Write(frame); err != nil {
		t.Fatal(err)
	}
	c.wantClosed()
	if log.appended != 0 {
		t.Fatal("a malformed request was appended")
	}
}
