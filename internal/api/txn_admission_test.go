// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/txn"
)

// A guard that nobody asked about after it was taken lets nothing in: a marker
// that comes with each question leaves none that may be used, however often the
// coordinator says yes.
func TestGuardsAreAskedFor(t *testing.T) {
	t.Parallel()
	for losses := range 5 {
		var parts fakePartitions
		log := parts.add("orders", 1, 1)[0]
		guard, vouched, asks := uint64(1), uint64(0), 0
		log.begin = func() uint64 { return guard }
		a := &Admission{
			Cluster: &groupWorld{partitions: 50}, Self: 9, Enabled: func() bool { return true }, Timeout: time.Minute,
			Ask: func(_ context.Context, _ int32, req *kmsg.AddPartitionsToTxnRequest) (*kmsg.AddPartitionsToTxnResponse, error) {
				vouched = guard
				if asks++; asks <= losses {
					guard++ // a marker and the next request of the producer
				}
				resp := kmsg.NewPtrAddPartitionsToTxnResponse()
				rt := kmsg.NewAddPartitionsToTxnResponseTransaction()
				rt.Topics = []kmsg.AddPartitionsToTxnResponseTransactionTopic{{
					Topic:      "orders",
					Partitions: []kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{{Partition: 0}},
				}}
				resp.Transactions = append(resp.Transactions, rt)
				return resp, nil
			},
		}
		_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts, Admission: a}).Routes())
		req := produceTo(11, 1, "orders", 1, 0)
		b := batch.NewBuilder(batch.None)
		b.SetProducer(5, 2, 0)
		b.SetTransactional(true)
		b.Append(1, nil, []byte("x"))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		id := "tx"
		req.TransactionID, req.Topics[0].Partitions[0].Records = &id, v
		dial().ask(req)
		if log.appended != 1 || log.guard == guard && vouched != guard {
			t.Errorf("with %d guards lost the append has guard %d, which counts; asked for was %d", losses, log.guard, vouched)
		}
	}
}

// Goal: what a partition's leader is told by a coordinator on another node
// becomes what a producer of its generation understands. Method: a coordinator
// that answers as it is told.
func TestAdmissionAtAnotherNode(t *testing.T) {
	t.Parallel()
	ps := []txn.Partition{{Topic: "a", Partition: 0}, {Topic: "a", Partition: 1}, {Topic: "b", Partition: 7}}
	var asked *kmsg.AddPartitionsToTxnRequest
	var resp *kmsg.AddPartitionsToTxnResponse
	var fail error
	a := &Admission{
		Cluster: &groupWorld{partitions: 50}, Self: 9, Enabled: func() bool { return true }, Timeout: time.Minute,
		Ask: func(_ context.Context, node int32, req *kmsg.AddPartitionsToTxnRequest) (*kmsg.AddPartitionsToTxnResponse, error) {
			if node != 1 {
				t.Errorf("node %d is asked", node)
			}
			asked = req
			return resp, fail
		},
	}
	answer := func(codes ...int16) {
		resp = kmsg.NewPtrAddPartitionsToTxnResponse()
		rt := kmsg.NewAddPartitionsToTxnResponseTransaction()
		rt.TransactionalID = "tx"
		for i, code := range codes {
			topic := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
			topic.Topic = ps[i].Topic
			topic.Partitions = []kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{{Partition: ps[i].Partition, ErrorCode: code}}
			rt.Topics = append(rt.Topics, topic)
		}
		resp.Transactions = []kmsg.AddPartitionsToTxnResponseTransaction{rt}
	}
	check := func(what string, g generation, want ...error) {
		t.Helper()
		got := a.Admit(context.Background(), "tx", coord.Producer{ID: 5, Epoch: 2}, ps, g)
		for i := range want {
			if coord.Code(got[i]) != coord.Code(want[i]) {
				t.Errorf("%s, partition %d: %v, want %v", what, i, got[i], want[i])
			}
		}
	}
	answer(0, 0, 0)
	check("all let in", adding, nil, nil, nil)
	if x := asked.Transactions[0]; asked.Version != 5 || x.VerifyOnly || x.ProducerID != 5 || x.ProducerEpoch != 2 || len(x.Topics) != 2 {
		t.Errorf("%+v", asked)
	}
	check("verified", abortable, nil, nil, nil)
	if !asked.Transactions[0].VerifyOnly {
		t.Error("partitions of an old client are added")
	}
	answer(kerr.TransactionAbortable.Code, kerr.ProducerFenced.Code, kerr.ConcurrentTransactions.Code)
	check("old", oldClient, kerr.InvalidTxnState, kerr.InvalidProducerEpoch, kerr.ConcurrentTransactions)
	check("newer", abortable, kerr.TransactionAbortable, kerr.InvalidProducerEpoch, kerr.ConcurrentTransactions)
	answer(0) // the others are not named, so they were not let in
	check("part", adding, nil, kerr.NetworkException, kerr.NetworkException)
	resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
	check("not allowed", adding, kerr.InvalidTxnState, kerr.InvalidTxnState, kerr.InvalidTxnState)
	fail = errors.New("connection lost")
	check("lost", adding, kerr.NetworkException, kerr.NetworkException, kerr.NetworkException)
	a.Cluster = &groupWorld{partitions: 50, leaderless: true}
	check("nobody coordinates", adding, kerr.CoordinatorNotAvailable)
	a.Cluster = &groupWorld{}
	check("no topic", adding, kerr.InvalidProducerIDMapping)

	// What producers do not know they are told as something that they retry.
	for _, c := range []struct {
		err  error
		g    generation
		want error
	}{
		{nil, adding, nil},
		{kerr.NetworkException, adding, kerr.NotEnoughReplicas},
		{kerr.CoordinatorLoadInProgress, oldClient, kerr.NotEnoughReplicas},
		{kerr.NotCoordinator, abortable, kerr.NotEnoughReplicas},
		{kerr.ConcurrentTransactions, abortable, kerr.NotEnoughReplicas},
		{kerr.ConcurrentTransactions, adding, kerr.ConcurrentTransactions},
		{kerr.TransactionAbortable, adding, kerr.TransactionAbortable},
		{kerr.InvalidTxnState, oldClient, kerr.InvalidTxnState},
	} {
		if got := producerError(c.err, c.g); coord.Code(got) != coord.Code(c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for v, want := range map[int16]generation{3: oldClient, 10: oldClient, 11: abortable, 12: adding, 13: adding} {
		if got := produceGeneration(v); got != want {
			t.Errorf("Produce version %d is %d", v, got)
		}
	}
	for v, want := range map[int16]generation{0: oldClient, 3: oldClient, 4: abortable, 5: adding} {
		if got := commitGeneration(v); got != want {
			t.Errorf("TxnOffsetCommit version %d is %d", v, got)
		}
	}
}
