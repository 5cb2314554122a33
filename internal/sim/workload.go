// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/sim/history"
)

// Load says what the clients do.
type Load struct {
	Topic      string
	Partitions int32
	Replicas   int16
	MinISR     int
	Producers  int
	Members    int // of the group of consumers
	// Pause is the mean time between two records of a producer.
	Pause time.Duration
}

// patience is how long after the last fault clients are served at the latest.
const patience = 2 * time.Minute

// group is the consumers' group.
const group = "readers"

// workload is clients at work and what they saw.
type workload struct {
	c       *Cluster
	l       Load
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

// startLoad creates the topic and sends the clients to work.
func startLoad(c *Cluster, l Load) (*workload, error) {
	w := &workload{c: c, l: l, producing: func() {}, reading: func() {}}
	w.waiting, w.giveUp = context.WithCancel(context.Background())
	w.admin = kadm.NewClient(c.Client())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	minISR := strconv.Itoa(l.MinISR)
	if _, err := w.admin.CreateTopic(ctx, l.Partitions, l.Replicas, map[string]*string{"min.insync.replicas": &minISR, "segment.bytes": new("1048576")}, l.Topic); err != nil {
		w.admin.Close()
		return w, fmt.Errorf("create the topic: %w", err)
	}
	var producing, reading context.Context
	producing, w.producing = context.WithCancel(context.Background())
	reading, w.reading = context.WithCancel(context.Background())
	for i := range l.Producers {
		w.producers.Go(func() { w.produce(producing, i) })
	}
	for i := range l.Members {
		w.readers.Go(func() { w.consume(reading, 100+i) })
	}
	w.readers.Go(func() { w.watch(reading) })
	return w, nil
}

func (w *workload) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) < mostFound {
		w.errs = append(w.errs, fmt.Sprintf(format, args...))
	}
}

// produce is an idempotent producer with acks=all.
func (w *workload) produce(ctx context.Context, id int) {
	random := rand.New(rand.NewPCG(w.c.cfg.Seed, uint64(1000+id)))
	client := w.c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Duration(random.IntN(10))*time.Millisecond),
		kgo.MaxBufferedRecords(100), kgo.StopProducerOnDataLossDetected(), kgo.ProduceRequestTimeout(5*time.Second))
	defer client.Close()
	for n := 0; ctx.Err() == nil; n++ {
		p := history.Partition{Topic: w.l.Topic, Index: random.Int32N(w.l.Partitions)}
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
		pause(ctx, time.Duration(random.ExpFloat64()*float64(w.l.Pause)))
	}
	if err := client.Flush(w.waiting); err != nil {
		w.fail("producer %d has %d records that nobody takes %v after the last fault", id, client.BufferedProduceRecords(), patience)
	}
}

// consume is a member of the group. It commits what it has read.
func (w *workload) consume(ctx context.Context, id int) {
	client := w.c.Client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(w.l.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
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

func (w *workload) polled(reader int, p kgo.FetchTopicPartition) {
	if len(p.Records) == 0 {
		return
	}
	var rs []history.Record
	for _, r := range p.Records {
		rs = append(rs, history.Record{Offset: r.Offset, Value: string(r.Value)})
	}
	w.history.Poll(reader, history.Partition{Topic: p.Topic, Index: p.Partition}, rs)
}

func (w *workload) commit(ctx context.Context, client *kgo.Client) {
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
func (w *workload) watch(ctx context.Context) {
	for ctx.Err() == nil {
		w.look(ctx)
		pause(ctx, 200*time.Millisecond)
	}
}

func (w *workload) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ends, commits := map[history.Partition]func(int64){}, map[history.Partition]func(int64){}
	for i := range w.l.Partitions {
		p := history.Partition{Topic: w.l.Topic, Index: i}
		ends[p], commits[p] = w.history.Look("", p), w.history.Look(group, p)
	}
	listed, err := w.admin.ListEndOffsets(ctx, w.l.Topic)
	if err == nil || errors.As(err, new(*kadm.ShardErrors)) {
		listed.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				ends[history.Partition{Topic: o.Topic, Index: o.Partition}](o.Offset)
			}
		})
	}
	if fetched, err := w.admin.FetchOffsets(ctx, group); err == nil {
		fetched.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil {
				commits[history.Partition{Topic: o.Topic, Index: o.Partition}](o.At)
			}
		})
	}
}

// finish ends the load once all is healed: every record gets its answer, the
// whole log is read once more, and the clients go home.
func (w *workload) finish() {
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

// abandon ends the load without waiting for answers, for clusters that are
// known to be broken.
func (w *workload) abandon() {
	w.giveUp()
	w.producing()
	w.reading()
	w.producers.Wait()
	w.readers.Wait()
	w.admin.Close()
}

// readAll is one more reader, from the first record to the last.
func (w *workload) readAll() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := w.admin.ListEndOffsets(ctx, w.l.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		w.fail("end offsets after the last fault: %v", err)
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
	client := w.c.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.l.Topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
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

// pause sleeps until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
