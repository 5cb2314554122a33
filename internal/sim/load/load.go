// SPDX-License-Identifier: Apache-2.0

// Package load is clients at work on a cluster that is being broken, and what
// they saw: idempotent producers with acks=all, a group of consumers that
// commits what it has read, and a watcher of end offsets and commits. They fill
// a history, which package history judges. Simulations and tests of real
// processes use the same clients.
//
// Shape: each client is a goroutine; Start makes them, Finish or Abandon ends
// them and waits.
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
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/sim/history"
)

// Config says what the clients do.
type Config struct {
	// Client makes a franz-go client of the cluster with these options and
	// its own.
	Client func(...kgo.Opt) *kgo.Client
	Seed   uint64

	Topic      string
	Partitions int32
	Replicas   int16
	MinISR     int
	Producers  int
	Members    int // of the group of consumers
	// Pause is the mean time between two records of a producer.
	Pause time.Duration
}

// mostErrors bounds what is kept: the first errors tell the story.
const mostErrors = 20

// patience is how long after the last fault clients are served at the latest.
const patience = 2 * time.Minute

// group is the consumers' group.
const group = "readers"

// Load is clients at work and what they saw.
type Load struct {
	c       Config
	history history.Recorder
	admin   *kadm.Client

	producing, reading context.CancelFunc
	waiting            context.Context // ends when nobody need wait for an answer any more
	giveUp             context.CancelFunc
	producers, readers sync.WaitGroup
	sent, acked        atomic.Int64

	mu   sync.Mutex // guards errs; a leaf
	errs []string
}

// Start creates the topic and sends the clients to work. After an error there
// are none.
func Start(c Config) (*Load, error) {
	w := &Load{c: c, producing: func() {}, reading: func() {}}
	w.waiting, w.giveUp = context.WithCancel(context.Background())
	w.admin = kadm.NewClient(c.Client())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	minISR := strconv.Itoa(c.MinISR)
	if _, err := w.admin.CreateTopic(ctx, c.Partitions, c.Replicas, map[string]*string{"min.insync.replicas": &minISR, "segment.bytes": new("1048576")}, c.Topic); err != nil {
		w.admin.Close()
		return nil, fmt.Errorf("create the topic: %w", err)
	}
	var producing, reading context.Context
	producing, w.producing = context.WithCancel(context.Background())
	reading, w.reading = context.WithCancel(context.Background())
	for i := range c.Producers {
		w.producers.Go(func() { w.produce(producing, i) })
	}
	for i := range c.Members {
		w.readers.Go(func() { w.consume(reading, 100+i) })
	}
	w.readers.Go(func() { w.watch(reading) })
	return w, nil
}

func (w *Load) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) < mostErrors {
		w.errs = append(w.errs, fmt.Sprintf(format, args...))
	}
}

// produce is an idempotent producer with acks=all.
func (w *Load) produce(ctx context.Context, id int) {
	random := rand.New(rand.NewPCG(w.c.Seed, uint64(1000+id)))
	client := w.c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Duration(random.IntN(10))*time.Millisecond),
		kgo.MaxBufferedRecords(100), kgo.StopProducerOnDataLossDetected(), kgo.ProduceRequestTimeout(5*time.Second))
	defer client.Close()
	for n := 0; ctx.Err() == nil; n++ {
		p := history.Partition{Topic: w.c.Topic, Index: random.Int32N(w.c.Partitions)}
		value := fmt.Sprintf("%d/%d", id, n)
		answer := w.history.Send(id, p, value, true)
		w.sent.Add(1)
		client.Produce(w.waiting, &kgo.Record{Topic: p.Topic, Partition: p.Index, Value: []byte(value)}, func(r *kgo.Record, err error) {
			if err != nil {
				w.fail("producer %d: %s: %v", id, value, err)
				answer(history.Unknown, -1)
				return
			}
			w.acked.Add(1)
			answer(history.Done, r.Offset)
		})
		pause(ctx, time.Duration(random.ExpFloat64()*float64(w.c.Pause)))
	}
	if err := client.Flush(w.waiting); err != nil {
		w.fail("producer %d has %d records that nobody takes %v after the last fault", id, client.BufferedProduceRecords(), patience)
	}
}

// consume is a member of the group. It commits what it has read.
func (w *Load) consume(ctx context.Context, id int) {
	client := w.c.Client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(w.c.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(10*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			for topic, ps := range got {
				for _, p := range ps {
					w.history.Assign(id, group, history.Partition{Topic: topic, Index: p})
				}
			}
		}))
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { w.polled(id, p) })
		if fetches.NumRecords() > 0 {
			w.commit(ctx, client)
		}
		client.AllowRebalance()
	}
}

func (w *Load) polled(reader int, p kgo.FetchTopicPartition) {
	if len(p.Records) == 0 {
		return
	}
	var rs []history.Record
	for _, r := range p.Records {
		rs = append(rs, history.Record{Offset: r.Offset, Value: string(r.Value), Epoch: r.LeaderEpoch})
	}
	w.history.Poll(reader, history.Partition{Topic: p.Topic, Index: p.Partition}, rs)
}

func (w *Load) commit(ctx context.Context, client *kgo.Client) {
	offsets := client.UncommittedOffsets()
	answers := map[history.Partition]func(history.Outcome){}
	for topic, ps := range offsets {
		for p, at := range ps {
			k := history.Partition{Topic: topic, Index: p}
			answers[k] = w.history.Commit(group, k, at.Offset)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return // unknown, as it began
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if f := answers[history.Partition{Topic: t.Topic, Index: p.Partition}]; f != nil && p.ErrorCode == 0 {
					f(history.Done)
				}
			}
		}
	})
}

// watch asks for end offsets and commits all the time.
func (w *Load) watch(ctx context.Context) {
	for ctx.Err() == nil {
		w.look(ctx)
		pause(ctx, 200*time.Millisecond)
	}
}

func (w *Load) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ends, commits := map[history.Partition]func(int64, int32){}, map[history.Partition]func(int64, int32){}
	for i := range w.c.Partitions {
		p := history.Partition{Topic: w.c.Topic, Index: i}
		ends[p], commits[p] = w.history.Look("", p), w.history.Look(group, p)
	}
	listed, err := w.admin.ListEndOffsets(ctx, w.c.Topic)
	if err == nil || errors.As(err, new(*kadm.ShardErrors)) {
		listed.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				ends[history.Partition{Topic: o.Topic, Index: o.Partition}](o.Offset, o.LeaderEpoch)
			}
		})
	}
	if fetched, err := w.admin.FetchOffsets(ctx, group); err == nil {
		fetched.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil {
				commits[history.Partition{Topic: o.Topic, Index: o.Partition}](o.At, 0)
			}
		})
	}
}

// Finish ends the load once all is healed: every record gets its answer, the
// whole log is read once more, and the clients go home.
func (w *Load) Finish() {
	w.producing()
	impatient := time.AfterFunc(patience, w.giveUp)
	w.producers.Wait()
	impatient.Stop()
	w.giveUp()
	w.reading()
	w.readers.Wait()
	w.readAll()
	w.look(context.Background())
	w.admin.Close()
}

// Abandon ends the load without waiting for answers, for clusters that are
// known to be broken.
func (w *Load) Abandon() {
	w.giveUp()
	w.producing()
	w.reading()
	w.producers.Wait()
	w.readers.Wait()
	w.admin.Close()
}

// readAll is one more reader, from the first record to the last.
func (w *Load) readAll() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := w.ends(ctx)
	if err != nil {
		w.fail("no end offsets %v after the last fault: %v", patience, err)
		return
	}
	missing := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			missing[o.Partition] = o.Offset
			from[o.Partition] = kgo.NewOffset().At(0)
		}
	})
	client := w.c.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.c.Topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer client.Close()
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			w.fail("the log cannot be read to its end after the last fault: ends %v", missing)
			return
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			w.polled(999, p)
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= missing[p.Partition] {
				delete(missing, p.Partition)
			}
		})
	}
}

// ends asks until every partition answers.
func (w *Load) ends(ctx context.Context) (kadm.ListedOffsets, error) {
	for {
		ask, cancel := context.WithTimeout(ctx, 10*time.Second)
		ends, err := w.admin.ListEndOffsets(ask, w.c.Topic)
		cancel()
		if err == nil {
			err = ends.Error()
		}
		if err == nil || ctx.Err() != nil {
			return ends, err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// Errors are what clients were told that must not be.
func (w *Load) Errors() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errs)
}

// Sent and Acknowledged count records.
func (w *Load) Sent() int64 { return w.sent.Load() }

// Acknowledged counts the records that were acknowledged.
func (w *Load) Acknowledged() int64 { return w.acked.Load() }

// History is what the clients saw so far.
func (w *Load) History() *history.History { return w.history.History() }

// Wrong are the errors and the anomalies of the history; call it when the load
// has ended.
func (w *Load) Wrong() []string {
	out := w.Errors()
	found := history.Check(w.History())
	for i, a := range found {
		if i == mostErrors {
			return append(out, fmt.Sprintf("and %d more", len(found)-i))
		}
		out = append(out, a.String())
	}
	return out
}

// pause sleeps until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
