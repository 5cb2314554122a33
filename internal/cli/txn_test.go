// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"gregor/broker/brokertest"
	"gregor/internal/batch"
)

// Goal: whoever holds readers back is named, and ended, whether a coordinator
// knows of it or not. Method: a real broker that does not verify partitions, so
// that a transaction can be made to hang.
func TestTxnHoldersAndEnd(t *testing.T) {
	t.Parallel()
	b := brokertest.Start(t, brokertest.Override("transaction.partition.verification.enable=false"))
	b.Topic("orders", 2)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	run := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := newTxn(&Env{In: strings.NewReader(""), Out: &out, Err: io.Discard})
		cmd.SetArgs(append(args, "--brokers", b.Addr()))
		cmd.SetOut(&out)
		cmd.SetErr(&errs)
		if err := cmd.ExecuteContext(ctx); err != nil {
			return "error: " + err.Error()
		}
		return out.String()
	}
	if got := run("holders", "orders"); strings.Count(got, "\n") != 1 {
		t.Errorf("nothing is open: %s", got)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID("billing-3"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Partition: 1}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	// An old client writes into a transaction that its coordinator never heard of.
	v := batch.NewBuilder(batch.None)
	v.SetProducer(4711, 0, 0)
	v.SetTransactional(true)
	v.Append(time.Now().UnixMilli(), nil, []byte("hanging"))
	records, err := v.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis, req.TransactionID = 9, -1, 5000, kmsg.StringPtr("nobody")
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: "orders", Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
	old, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.MaxVersions(kversion.V3_0_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	raw, err := old.Broker(1).Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if code := raw.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("code %d", code)
	}
	got := run("holders")
	for _, want := range []string{"billing-3", "Ongoing", "producer 4711", "hanging"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if got := run("holders", "orders/1"); strings.Contains(got, "4711") {
		t.Errorf("the other partition is shown too:\n%s", got)
	}
	if got := run("list"); !strings.Contains(got, "billing-3") {
		t.Error(got)
	}
	for _, c := range []struct{ args, want string }{
		{"end --at orders/0", "aborted the transaction of producer 4711 in orders/0\n"},
		{"end --at orders/0", "error: no transaction is open in orders/0"},
		{"end billing-3", "aborted what billing-3 had open\n"},
		{"end stranger", "error: The transactionalId could not be found."},
		{"end", "error: name transactional ids, or a partition with --at"},
	} {
		if got := run(strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	// The marker of billing-3 follows its decision.
	for range 100 {
		if got = run("holders"); strings.Count(got, "\n") == 1 {
			return
		}
	}
	t.Errorf("still held:\n%s", got)
}
