// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// generations are clients before and since KIP-890.
func generations(t *testing.T, test func(t *testing.T, opts ...kgo.Opt)) {
	t.Run("adding partitions", func(t *testing.T) {
		t.Parallel()
		v := kversion.V3_6_0()
		test(t, kgo.MaxVersions(v))
	})
	t.Run("adding implicitly", func(t *testing.T) {
		t.Parallel()
		test(t)
	})
}

// committed reads n values with read_committed, and says where that ends.
func committed(t *testing.T, b *Broker, n int, topics ...string) []string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	c := client(t, b, kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var out []string
	for len(out) < n {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d of %d: %v%s", len(out), n, err, openTransactions(t, b, topics...))
		}
		f.EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	}
	// Nothing more may come.
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	c.PollFetches(short).EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	slices.Sort(out)
	return out
}

// openTransactions says what holds readers back.
func openTransactions(t *testing.T, b *Broker, topics ...string) string {
	ctx := within(t, 10*time.Second)
	adm := kadm.NewClient(client(t, b))
	out := ""
	txns, err := adm.DescribeTransactions(ctx)
	for _, x := range txns {
		out += fmt.Sprintf("\n%+v", x)
	}
	for _, iso := range []func(context.Context, ...string) (kadm.ListedOffsets, error){adm.ListEndOffsets, adm.ListCommittedOffsets} {
		ends, err2 := iso(ctx, topics...)
		err = errors.Join(err, err2)
		ends.Each(func(o kadm.ListedOffset) { out += fmt.Sprintf("\n%s %d: %d", o.Topic, o.Partition, o.Offset) })
	}
	ps, err2 := adm.DescribeProducers(ctx, nil)
	ps.Each(func(p kadm.DescribedProducersTopic) { out += fmt.Sprintf("\n%+v", p) })
	return out + fmt.Sprint("\n", errors.Join(err, err2))
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, opts ...kgo.Opt) {
		b := Start(t)
		b.Topic("a", 3)
		b.Topic("b", 2)
		ctx := within(t, 60*time.Second)
		p := client(t, b, append(opts, kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
		var want []string
		for i := range 30 {
			if err := p.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			commit := i%3 != 1
			for j := range 7 {
				v := fmt.Sprintf("%02d-%d-%v", i, j, commit)
				if commit {
					want = append(want, v)
				}
				p.Produce(ctx, &kgo.Record{Topic: []string{"a", "b"}[j%2], Value: []byte(v)}, func(_ *kgo.Record, err error) {
					if err != nil && commit {
						t.Error(err)
					}
				})
			}
			if err := p.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			if err := p.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
				t.Fatalf("transaction %d: %v", i, err)
			}
		}
		slices.Sort(want)
		if got := committed(t, b, len(want), "a", "b"); !slices.Equal(got, want) {
			t.Errorf("read %d records, want %d", len(got), len(want))
		}
	})
}

// A transaction that is open holds back who reads committed records, and only
// them, until it ends; another instance of the producer ends it.
func TestOpenTransaction(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, opts ...kgo.Opt) {
		b := Start(t)
		b.Topic("a", 1)
		ctx := within(t, 60*time.Second)
		plain := client(t, b)
		old := client(t, b, append(opts, kgo.TransactionalID("tx"), kgo.TransactionTimeout(time.Minute))...)
		put := func(c *kgo.Client, v string) error {
			return c.ProduceSync(ctx, &kgo.Record{Topic: "a", Value: []byte(v)}).FirstErr()
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(put(plain, "1"))
		must(old.BeginTransaction())
		must(put(old, "open"))
		must(put(plain, "2"))
		if got := committed(t, b, 1, "a"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("read %v", got)
		}
		if got := read(t, b, "a", 3); len(got) != 3 {
			t.Errorf("uncommitted: %v", got)
		}
		adm := kadm.NewClient(plain)
		describe := func(want string) kadm.DescribedTransaction {
			t.Helper()
			all, err := adm.DescribeTransactions(ctx, "tx")
			if err != nil || all["tx"].Err != nil || all["tx"].State != want {
				t.Fatalf("described as %+v, %v; want %s", all, err, want)
			}
			return all["tx"]
		}
		d := describe("Ongoing")
		if !d.Topics.Lookup("a", 0) || d.TimeoutMillis != 60_000 {
			t.Errorf("%+v", d)
		}
		ps, err := adm.DescribeProducers(ctx, kadm.TopicsSet{"a": {0: {}}})
		open := 0
		for _, p := range ps["a"].Partitions[0].ActiveProducers {
			if p.CurrentTxnStartOffset == 1 {
				open++
			}
		}
		if err != nil || open != 1 {
			t.Errorf("producers %+v %v", ps, err)
		}
		listed, err := adm.ListTransactions(ctx, nil, []string{"Ongoing"})
		if err != nil || len(listed) != 1 {
			t.Errorf("%+v %v", listed, err)
		}
		young := client(t, b, append(opts, kgo.TransactionalID("tx"))...)
		must(young.BeginTransaction())
		must(put(young, "3"))
		err = put(old, "zombie")
		if !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) {
			t.Errorf("the old instance's write: %v", err)
		}
		must(young.EndTransaction(ctx, kgo.TryCommit))
		if got := committed(t, b, 3, "a"); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("read %v", got)
		}
		describe("CompleteCommit")
	})
}

func TestTransactionTimesOut(t *testing.T) {
	t.Parallel()
	b := Start(t)
	b.Topic("a", 1)
	ctx := within(t, 60*time.Second)
	c := client(t, b, kgo.TransactionalID("tx"), kgo.TransactionTimeout(200*time.Millisecond))
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "a", Value: []byte("late")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	plain := client(t, b)
	if err := plain.ProduceSync(ctx, &kgo.Record{Topic: "a", Value: []byte("1")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, b, 1, "a"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("read %v", got)
	}
	if err := c.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("what was aborted is said to be committed")
	}
}

// Consume, transform, produce: over restarts of every kind, each input has one
// output among the committed ones.
func TestSimConsumeTransformProduce(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, opts ...kgo.Opt) {
		const n = 400
		b := Start(t)
		b.Topic("in", 3)
		b.Topic("out", 2)
		ctx := within(t, 120*time.Second)
		in := client(t, b, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
		var want []string
		for i := range n {
			v := strconv.Itoa(1000 + i)
			want = append(want, v)
			in.Produce(ctx, &kgo.Record{Topic: "in", Value: []byte(v)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		if err := in.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		s, err := kgo.NewGroupTransactSession(append(opts, kgo.SeedBrokers(b.Addr()), kgo.TransactionalID("etl"), kgo.ConsumerGroup("etl"),
			kgo.ConsumeTopics("in"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.MetadataMinAge(20*time.Millisecond), kgo.AlwaysRetryEOF(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), kgo.SessionTimeout(6*time.Second))...)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		seen := 0
		for round := 0; seen < n; round++ {
			f := s.PollRecords(ctx, 20)
			if err := ctx.Err(); err != nil {
				t.Fatalf("%d of %d records: %v", seen, n, err)
			}
			if f.NumRecords() == 0 {
				continue
			}
			if err := s.Begin(); err != nil {
				t.Fatal(err)
			}
			var failed kgo.FirstErrPromise
			f.EachRecord(func(r *kgo.Record) {
				s.Produce(ctx, &kgo.Record{Topic: "out", Value: r.Value}, failed.Promise())
			})
			switch round {
			case 3, 11:
				b.CutPower()
				b.Restart()
			case 7:
				b.Kill()
				b.Restart()
			case 9:
				b.Restart()
			}
			if err := failed.Err(); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			ok, err := s.End(ctx, kgo.TransactionEndTry(round%5 != 4))
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				seen += f.NumRecords()
			}
		}
		got := committed(t, b, n, "out")
		if !slices.Equal(got, want) {
			t.Errorf("%d outputs for %d inputs", len(got), n)
		}
	})
}

// Goal: a transaction is whole or not at all, and whole when its commit was
// acknowledged, wherever in it the power goes. Method: at a random moment of
// each of many transactions, over two topics and a group's offsets, the broker
// dies; the next instance of the producer then starts the next one.
func TestSimAtomicity(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, opts ...kgo.Opt) {
		const rounds, perTxn = 25, 12
		b := Start(t)
		b.Topic("a", 3)
		b.Topic("b", 2)
		ctx := within(t, 120*time.Second)
		rng := rand.New(rand.NewPCG(uint64(len(opts)), 1))
		acked := map[int]bool{}
		for round := range rounds {
			p := client(t, b, append(opts, kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.RecordDeliveryTimeout(10*time.Second))...)
			if err := p.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			cut := make(chan struct{})
			when, how := time.Duration(rng.IntN(12_000))*time.Microsecond, rng.IntN(3)
			go func() {
				defer close(cut)
				time.Sleep(when)
				if how == 0 {
					b.Kill()
				} else {
					b.CutPower()
				}
				b.Restart()
			}()
			var failed kgo.FirstErrPromise
			for i := range perTxn {
				p.Produce(ctx, &kgo.Record{Topic: []string{"a", "b"}[i%2], Value: fmt.Appendf(nil, "%03d/%02d", round, i)}, failed.Promise())
			}
			// Every other producer dies too, at a moment of its own.
			patience := 10 * time.Second
			if round%2 == 1 {
				patience = time.Duration(rng.IntN(4_000)) * time.Microsecond
			}
			ended := make(chan error, 1)
			go func() {
				err := failed.Err()
				if err == nil {
					short, cancel := context.WithTimeout(ctx, patience)
					defer cancel()
					err = p.EndTransaction(short, kgo.TryCommit)
				}
				ended <- err
			}()
			<-cut
			if err := <-ended; err == nil {
				acked[round] = true
			}
			p.Close()
		}
		last := client(t, b, append(opts, kgo.TransactionalID("tx"))...)
		if err := last.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"a", "b"} {
			if err := last.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("end")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := last.EndTransaction(ctx, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		seen, ends := map[int]int{}, 0
		cons := client(t, b, kgo.ConsumeTopics("a", "b"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for quiet := 0; quiet < 3; {
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			f := cons.PollFetches(short)
			cancel()
			if f.NumRecords() == 0 && ends == 2 {
				quiet++
			}
			if ctx.Err() != nil {
				t.Fatalf("%d ends are seen%s", ends, openTransactions(t, b, "a", "b"))
			}
			f.EachRecord(func(r *kgo.Record) {
				if string(r.Value) == "end" {
					ends++
					return
				}
				round, err := strconv.Atoi(string(r.Value[:3]))
				if err != nil {
					t.Fatal(err)
				}
				seen[round]++
			})
		}
		for round := range rounds {
			if n := seen[round]; n != 0 && n != perTxn || acked[round] && n == 0 {
				t.Errorf("transaction %d: %d of %d records, acknowledged %v", round, n, perTxn, acked[round])
			}
		}
		t.Logf("%d of %d transactions are there, %d were acknowledged", len(seen), rounds, len(acked))
	})
}
