// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"gregor/internal/sim/history"
)

// TxnConfig says what clients with transactions do.
type TxnConfig struct {
	// Options are those of a client of the cluster, on a host of its own.
	Options func() []kgo.Opt
	Seed    uint64

	Partitions int32 // of each topic
	Replicas   int16
	MinISR     int
	// Transformers are how many transactional ids each of the two stages has.
	Transformers int
	// Pause is the mean time between two inputs.
	Pause time.Duration
	// Timeout is the transactions'.
	Timeout time.Duration
}

// The chain: inputs, two copies of each, and one of each of those.
var stages = []history.Stage{{Group: "first", From: "in", To: "mid", Copies: 2}, {Group: "second", From: "mid", To: "out", Copies: 1}}

// Txns is a chain of programs that consume, transform and produce, each in
// transactions, and what they saw. They abort at random, crash in the middle of
// a transaction, let one time out, and are started twice with one id.
type Txns struct {
	c       TxnConfig
	history history.TxnRecorder
	admin   *kadm.Client

	producing, working, reading context.CancelFunc
	waiting                     context.Context // ends when nobody need wait for an answer any more
	giveUp                      context.CancelFunc
	producers, workers, readers sync.WaitGroup
	committed, aborted, unknown atomic.Int64
	zombies, crashes, overdue   atomic.Int64
	calm                        atomic.Bool // programs do nothing wrong any more

	mu    sync.Mutex // guards the rest; a leaf
	errs  []string
	hangs []history.Anomaly
}

// StartTxns creates the topics and sends the clients to work. After an error
// there are none.
func StartTxns(c TxnConfig) (*Txns, error) {
	w := &Txns{c: c}
	client, err := kgo.NewClient(c.Options()...)
	if err != nil {
		return nil, err
	}
	w.waiting, w.giveUp = context.WithCancel(context.Background())
	w.admin = kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	configs := map[string]*string{"min.insync.replicas": new(strconv.Itoa(c.MinISR)), "segment.bytes": new("1048576")}
	for _, topic := range []string{"in", "mid", "out"} {
		if _, err := w.admin.CreateTopic(ctx, c.Partitions, c.Replicas, configs, topic); err != nil {
			w.admin.Close()
			return nil, fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	var producing, working, reading context.Context
	producing, w.producing = context.WithCancel(context.Background())
	working, w.working = context.WithCancel(context.Background())
	reading, w.reading = context.WithCancel(context.Background())
	w.producers.Go(func() { w.feed(producing) })
	for i, s := range stages {
		w.history.Stage(s)
		for k := range c.Transformers {
			w.workers.Go(func() { w.transform(working, s, i*100+k) })
		}
	}
	w.readers.Go(func() { w.follow(reading) })
	return w, nil
}

func (w *Txns) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) < mostErrors {
		w.errs = append(w.errs, fmt.Sprintf(format, args...))
	}
}

// client makes a client that ends with ctx.
func (w *Txns) client(ctx context.Context, opts ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(slices.Concat(w.c.Options(), []kgo.Opt{kgo.WithContext(ctx)}, opts)...)
	if err != nil {
		panic(err) // an option of ours is wrong
	}
	return client
}

// feed is the producer of the inputs; it has no transactions.
func (w *Txns) feed(ctx context.Context) {
	random := rand.New(rand.NewPCG(w.c.Seed, 500))
	client := w.client(w.waiting, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(100), kgo.ProduceRequestTimeout(5*time.Second))
	defer client.Close()
	for n := 0; ctx.Err() == nil; n++ {
		client.Produce(w.waiting, &kgo.Record{Topic: "in", Partition: random.Int32N(w.c.Partitions), Value: []byte("i" + strconv.Itoa(n))}, func(_ *kgo.Record, err error) {
			if err != nil {
				w.fail("input %d: %v", n, err)
			}
		})
		pause(ctx, time.Duration(random.ExpFloat64()*float64(w.c.Pause)))
	}
	if err := client.Flush(w.waiting); err != nil {
		w.fail("there are %d inputs that nobody takes %v after the last fault", client.BufferedProduceRecords(), patience)
	}
}

// transform is a program that is started again whenever it ends.
func (w *Txns) transform(ctx context.Context, s history.Stage, id int) {
	random := rand.New(rand.NewPCG(w.c.Seed, uint64(2000+id)))
	for n := 0; ctx.Err() == nil; n++ {
		p := &program{w: w, stage: s, id: fmt.Sprintf("%s-%d", s.Group, id), name: fmt.Sprintf("%d.%d", id, n), random: rand.New(rand.NewPCG(random.Uint64(), 0))}
		p.run(ctx)
		pause(ctx, 100*time.Millisecond)
	}
}

// program is one run of one: an instance of its transactional id.
type program struct {
	w        *Txns
	stage    history.Stage
	id, name string
	random   *rand.Rand

	session  *kgo.GroupTransactSession
	crash    context.CancelFunc // ends it as kill -9 does: without a word to anybody
	instance int
	count    int
}

const (
	// oneTxn is how long a program tries one transaction, apart from its time-out;
	// then it ends itself.
	oneTxn = 20 * time.Second
	// goingHome is how long a program may take for its good-byes.
	goingHome = 10 * time.Second
)

// run works until ctx ends or something goes wrong.
func (p *program) run(ctx context.Context) {
	life, crash := context.WithCancel(context.Background())
	p.crash = crash
	opts := slices.Concat(p.w.c.Options(), []kgo.Opt{
		kgo.WithContext(life), kgo.TransactionalID(p.id), kgo.TransactionTimeout(p.w.c.Timeout),
		kgo.ConsumerGroup(p.stage.Group), kgo.ConsumeTopics(p.stage.From), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(10 * time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProduceRequestTimeout(5 * time.Second),
	})
	if p.random.IntN(2) == 0 { // a client from before KIP-890
		p.name += "old"
		opts = append(opts, kgo.MaxVersions(kversion.V3_6_0()))
	}
	session, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		panic(err) // an option of ours is wrong
	}
	p.session = session
	home := p.close
	defer func() { home() }()
	instance, ready := p.w.history.Start(p.id)
	p.instance = instance
	short, cancel := context.WithTimeout(ctx, oneTxn)
	_, _, err = session.Client().ProducerID(short)
	cancel()
	if err != nil {
		return
	}
	ready()
	for ctx.Err() == nil {
		goOn, zombie := p.transaction(ctx)
		if zombie {
			home = func() {}
		}
		if !goOn {
			return
		}
	}
}

// close ends the program: politely, as long as that takes a reasonable time.
func (p *program) close() {
	late := time.AfterFunc(goingHome, p.crash)
	p.session.Close()
	late.Stop()
	p.crash()
}

// transaction tries one. goOn is false when the program is to end; zombie, when
// something of it lives on and will close the session.
func (p *program) transaction(ctx context.Context) (goOn, zombie bool) {
	short, cancel := context.WithTimeout(ctx, time.Second)
	fetches := p.session.PollRecords(short, 1+p.random.IntN(10))
	cancel()
	if fetches.IsClientClosed() || ctx.Err() != nil {
		return false, false
	}
	var takes []history.Take
	fetches.EachPartition(func(t kgo.FetchTopicPartition) {
		for _, r := range p.w.found(t) {
			takes = append(takes, history.Take{Partition: history.Partition{Topic: t.Topic, Index: t.Partition}, Offset: r.Offset, Value: r.Value})
		}
	})
	if len(takes) == 0 {
		return true, false
	}
	if p.session.Begin() != nil {
		return false, false
	}
	p.count++
	name := fmt.Sprintf("%s.%d", p.name, p.count)
	txn := p.w.history.Begin(p.instance, name, takes)
	var failed kgo.FirstErrPromise
	trying, cancel := context.WithTimeout(p.w.waiting, oneTxn+p.w.c.Timeout)
	defer func() {
		if !zombie {
			cancel()
		}
	}()
	for _, x := range takes {
		for k := range p.stage.Copies {
			p.send(trying, txn, fmt.Sprintf("%s:%s:%d", name, x.Value, k), x.Value, &failed)
		}
	}
	fate := p.random.IntN(100)
	if p.w.calm.Load() {
		fate = 99
	}
	switch {
	case fate < 3:
		p.w.crashes.Add(1)
		if p.random.IntN(2) == 0 {
			_ = p.session.Client().Flush(trying)
		}
		p.crash()
		return false, false
	case fate < 6: // it stands still, is started again elsewhere, and comes back
		p.w.zombies.Add(1)
		still := time.Duration(p.random.IntN(4000)) * time.Millisecond
		late := fmt.Sprintf("%s:%s:late", name, takes[0].Value)
		p.w.workers.Go(func() {
			defer cancel()
			defer p.close()
			pause(p.w.waiting, still)
			p.send(trying, txn, late, "", &failed)
			p.end(trying, txn, failed.Err() == nil)
		})
		return false, true
	case fate < 8: // it takes too long
		p.w.overdue.Add(1)
		ok := failed.Err() == nil
		pause(ctx, p.w.c.Timeout+time.Duration(p.random.IntN(3000))*time.Millisecond)
		return p.end(trying, txn, ok), false
	case fate < 18:
		return p.end(trying, txn, false), false
	}
	return p.end(trying, txn, failed.Err() == nil), false
}

// send is one record of a transaction.
func (p *program) send(ctx context.Context, txn int, value, from string, failed *kgo.FirstErrPromise) {
	to := history.Partition{Topic: p.stage.To, Index: p.random.Int32N(p.w.c.Partitions)}
	answer := p.w.history.Write(txn, to, value, from)
	done := failed.Promise()
	p.session.Produce(ctx, &kgo.Record{Topic: to.Topic, Partition: to.Index, Value: []byte(value)}, func(r *kgo.Record, err error) {
		if err == nil {
			answer(history.Done)
		}
		done(r, err)
	})
}

// end ends a transaction, and tells whether the program can go on.
func (p *program) end(ctx context.Context, txn int, commit bool) bool {
	if commit {
		p.w.history.Try(txn)
	}
	committed, err := p.session.End(ctx, kgo.TransactionEndTry(commit))
	switch {
	case err != nil:
		p.w.unknown.Add(1)
		return false
	case committed:
		p.w.committed.Add(1)
		p.w.history.End(txn, history.Done)
	default:
		p.w.aborted.Add(1)
		p.w.history.End(txn, history.Rejected)
	}
	return true
}

// found notes what a reader of committed records got.
func (w *Txns) found(t kgo.FetchTopicPartition) []history.Record {
	var rs []history.Record
	for _, r := range t.Records {
		if !r.Attrs.IsControl() {
			rs = append(rs, history.Record{Offset: r.Offset, Value: string(r.Value), Epoch: r.LeaderEpoch})
		}
	}
	if len(rs) > 0 {
		w.history.Find(history.Partition{Topic: t.Topic, Index: t.Partition}, rs)
	}
	return rs
}

// follow is a reader of committed records.
func (w *Txns) follow(ctx context.Context) {
	client := w.client(ctx, kgo.ConsumeTopics("mid", "out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500*time.Millisecond))
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachPartition(func(t kgo.FetchTopicPartition) { w.found(t) })
	}
}

// Finish ends the load once all is healed: each stage finishes what is there,
// every transaction ends, and what is in the logs is read once more.
func (w *Txns) Finish() {
	w.calm.Store(true)
	w.producing()
	impatient := time.AfterFunc(patience, w.giveUp)
	w.producers.Wait()
	for _, s := range stages {
		w.await(s)
	}
	w.working()
	w.workers.Wait()
	impatient.Stop()
	w.giveUp()
	w.reading()
	w.readers.Wait()
	w.settle()
	for _, topic := range []string{"in", "mid", "out"} {
		for _, committed := range []bool{true, false} {
			records, err := w.readTopic(topic, committed)
			if err != nil {
				w.fail("topic %s cannot be read to its end after the last fault: %v", topic, err)
			}
			for p, rs := range records {
				w.history.Finish(history.Partition{Topic: topic, Index: p}, rs, committed)
			}
		}
	}
	for _, s := range stages {
		w.offsets(s, func(p history.Partition, at int64) { w.history.Offset(s.Group, p, at) })
	}
	w.admin.Close()
}

// Abandon ends the load without waiting for answers, for clusters that are
// known to be broken.
func (w *Txns) Abandon() {
	w.giveUp()
	w.producing()
	w.working()
	w.reading()
	w.producers.Wait()
	w.workers.Wait()
	w.readers.Wait()
	w.admin.Close()
}

// await waits until a stage has passed all that is there.
func (w *Txns) await(s history.Stage) {
	for w.waiting.Err() == nil {
		records, err := w.readTopic(s.From, true)
		behind := 0
		if err == nil {
			at := map[int32]int64{}
			w.offsets(s, func(p history.Partition, offset int64) { at[p.Index] = offset })
			for p, rs := range records {
				if n := len(rs); n > 0 && rs[n-1].Offset >= at[p] {
					behind++
				}
			}
			if behind == 0 && len(at) > 0 {
				return
			}
		}
		pause(w.waiting, time.Second)
	}
	w.fail("group %s has not passed all of %s %v after the last fault", s.Group, s.From, patience)
}

// offsets are where a stage's group stands.
func (w *Txns) offsets(s history.Stage, fn func(p history.Partition, at int64)) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fetched, err := w.admin.FetchOffsets(ctx, s.Group)
	if err != nil {
		return
	}
	fetched.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.Topic == s.From {
			fn(history.Partition{Topic: o.Topic, Index: o.Partition}, o.At)
		}
	})
}

// settle waits until no transaction is open or under way any more.
func (w *Txns) settle() {
	var open []history.Anomaly
	for end := time.Now().Add(w.c.Timeout + patience); time.Now().Before(end); pause(context.Background(), 500*time.Millisecond) {
		var err error
		if open, err = w.open(); err == nil && len(open) == 0 {
			return
		}
		if err != nil {
			open = append(open, history.Anomaly{Kind: history.Hanging, Text: err.Error()})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hangs = open
}

// open are the transactions that are not over, and the partitions that they
// hold back.
func (w *Txns) open() ([]history.Anomaly, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var open []history.Anomaly
	stable, err := w.admin.ListCommittedOffsets(ctx, "in", "mid", "out", "__consumer_offsets")
	ends, err2 := w.admin.ListEndOffsets(ctx, "in", "mid", "out", "__consumer_offsets")
	if err := errors.Join(err, err2, stable.Error(), ends.Error()); err != nil {
		return nil, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := stable.Lookup(o.Topic, o.Partition); ok && s.Offset < o.Offset {
			open = append(open, history.Anomaly{Kind: history.Hanging, Partition: history.Partition{Topic: o.Topic, Index: o.Partition},
				Text: fmt.Sprintf("committed up to %d of %d", s.Offset, o.Offset)})
		}
	})
	txns, err := w.admin.DescribeTransactions(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range txns {
		switch x.State {
		case "Ongoing", "PrepareCommit", "PrepareAbort":
			open = append(open, history.Anomaly{Kind: history.Hanging, Text: fmt.Sprintf("%+v", x)})
		}
	}
	return open, nil
}

// readTopic reads a topic from its beginning to its end.
func (w *Txns) readTopic(topic string, committed bool) (map[int32][]history.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, isolation := w.admin.ListEndOffsets, kgo.ReadUncommitted()
	if committed {
		list, isolation = w.admin.ListCommittedOffsets, kgo.ReadCommitted()
	}
	var ends kadm.ListedOffsets
	for {
		ask, cancel := context.WithTimeout(ctx, 10*time.Second)
		var err error
		if ends, err = list(ask, topic); err == nil {
			err = ends.Error()
		}
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil, err
		}
		pause(ctx, 100*time.Millisecond)
	}
	missing, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			missing[o.Partition] = o.Offset
			from[o.Partition] = kgo.NewOffset().At(0)
		}
	})
	out := map[int32][]history.Record{}
	if len(from) == 0 {
		return out, nil
	}
	// Markers are kept, so that the last offset of a partition is seen.
	client := w.client(ctx, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords())
	defer client.Close()
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return out, fmt.Errorf("missing before offset, by partition: %v", missing)
		}
		fetches.EachPartition(func(t kgo.FetchTopicPartition) {
			for _, r := range t.Records {
				if !r.Attrs.IsControl() {
					out[t.Partition] = append(out[t.Partition], history.Record{Offset: r.Offset, Value: string(r.Value), Epoch: r.LeaderEpoch})
				}
				if r.Offset+1 >= missing[t.Partition] {
					delete(missing, t.Partition)
				}
			}
		})
	}
	return out, nil
}

// Committed counts the transactions that were committed, as their clients were
// told.
func (w *Txns) Committed() int64 { return w.committed.Load() }

// String tells what the clients did.
func (w *Txns) String() string {
	return fmt.Sprintf("transactions: %d committed, %d aborted, %d open to doubt; %d crashes, %d zombies, %d time-outs",
		w.committed.Load(), w.aborted.Load(), w.unknown.Load(), w.crashes.Load(), w.zombies.Load(), w.overdue.Load())
}

// Wrong are the errors and the anomalies of the history; call it when the load
// has ended.
func (w *Txns) Wrong() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := slices.Clone(w.errs)
	found := append(slices.Clone(w.hangs), history.CheckTxns(w.history.Txns())...)
	for i, a := range found {
		if i == mostErrors {
			return append(out, fmt.Sprintf("and %d more", len(found)-i))
		}
		out = append(out, a.String())
	}
	return out
}
