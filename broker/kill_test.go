// SPDX-License-Identifier: Apache-2.0

// Goal: a server that is killed in the middle of a load, KILLS times in a row
// (3; 50 in make soak), starts by itself each time; no record acknowledged with
// acks=all is lost, none of an idempotent producer is there twice or out of
// order, offsets are dense, and a group's commits never go back.
// Method: the real process, SIGKILL after a random number of acknowledgements
// and, every other time, once more as soon as the next process has its port,
// which is while it recovers. Each producer numbers the records of each
// partition, notes the offset of every acknowledgement, and in the end the
// whole log is read and compared.
package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const killPartitions = 3

// load is a producer that numbers the records of each partition.
type load struct {
	topic string
	acks  atomic.Int64
	mu    sync.Mutex
	sent  [killPartitions]int           // the next number
	acked [killPartitions]map[int]int64 // number -> offset
}

// run produces until stop is closed, and then waits for the last answer.
func (l *load) run(ctx context.Context, t *testing.T, c *kgo.Client, stop <-chan struct{}) {
	for p := range l.acked {
		l.acked[p] = map[int]int64{}
	}
	padding := make([]byte, 1000)
	for i := 0; !t.Failed(); i++ {
		select {
		case <-stop:
			if err := c.Flush(ctx); err != nil {
				t.Errorf("%s: %v", l.topic, err)
			}
			return
		default:
		}
		p := i % killPartitions
		n := l.sent[p]
		l.sent[p]++
		c.Produce(ctx, &kgo.Record{Topic: l.topic, Partition: int32(p), Key: []byte(strconv.Itoa(n)), Value: padding}, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("%s-%d record %d: %v", l.topic, p, n, err)
				return
			}
			l.mu.Lock()
			l.acked[p][n] = r.Offset
			l.mu.Unlock()
			l.acks.Add(1)
		})
	}
}

// check reads the topic and compares. once: each record exactly once, in order.
func (l *load) check(ctx context.Context, t *testing.T, addr string, once bool) {
	t.Helper()
	for p := range l.acked {
		got := readPartition(ctx, t, addr, l.topic, int32(p))
		for n := range l.sent[p] {
			o, ok := l.acked[p][n]
			switch {
			case !ok:
				t.Errorf("%s-%d: record %d was never acknowledged", l.topic, p, n)
			case o >= int64(len(got)):
				t.Fatalf("%s-%d: record %d, acknowledged at offset %d, is lost: the log ends at %d", l.topic, p, n, o, len(got))
			case got[o] != strconv.Itoa(n):
				t.Fatalf("%s-%d: offset %d holds record %s, acknowledged was %d", l.topic, p, o, got[o], n)
			}
		}
		if once && len(got) != l.sent[p] {
			t.Fatalf("%s-%d: %d records sent, %d in the log", l.topic, p, l.sent[p], len(got))
		}
	}
}

// readPartition returns the keys of a partition from offset 0 to its end,
// and fails where offsets are not dense.
func readPartition(ctx context.Context, t testing.TB, addr, topic string, partition int32) []string {
	t.Helper()
	c := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(0)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, partition)
	if end.Err != nil {
		t.Fatal(end.Err)
	}
	var out []string
	for int64(len(out)) < end.Offset {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%s-%d: %d of %d read: %v", topic, partition, len(out), end.Offset, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(len(out)) {
				t.Fatalf("%s-%d: offset %d follows %d", topic, partition, r.Offset, len(out)-1)
			}
			out = append(out, string(r.Key))
		})
	}
	return out
}

// member is a group of one that commits what it reads.
type member struct {
	mu        sync.Mutex
	committed map[int32]int64 // answered without an error
}

func (m *member) run(ctx context.Context, c *kgo.Client) {
	for {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		f.EachRecord(func(*kgo.Record) {})
		c.CommitOffsetsSync(ctx, c.UncommittedOffsets(), func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				return
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			for i, topic := range resp.Topics {
				for k, p := range topic.Partitions {
					if p.ErrorCode == 0 {
						m.committed[p.Partition] = req.Topics[i].Partitions[k].Offset
					}
				}
			}
		})
	}
}

func (m *member) known() map[int32]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[int32]int64{}
	for p, o := range m.committed {
		out[p] = o
	}
	return out
}

func TestKill(t *testing.T) {
	t.Parallel()
	kills := fromEnv("KILLS", 3)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ctx := within(t, time.Minute+time.Duration(kills)*20*time.Second)
	server := newProcess(t)
	server.start()

	// Small segments, so that kills meet rolls as well.
	segment, group := "1048576", "readers"
	admin := kadm.NewClient(client(t, server.addr))
	created, err := admin.CreateTopics(ctx, killPartitions, 1, map[string]*string{"segment.bytes": &segment}, "once", "plain")
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		t.Fatal(err)
	}

	once, plain := &load{topic: "once"}, &load{topic: "plain"}
	stop := make(chan struct{})
	var producers sync.WaitGroup
	common := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(200), kgo.ProducerBatchCompression(kgo.NoCompression())}
	idempotent := client(t, server.addr, append(common, kgo.StopProducerOnDataLossDetected())...)
	producers.Go(func() { once.run(ctx, t, idempotent, stop) })
	acksAll := client(t, server.addr, append(common, kgo.DisableIdempotentWrite(), kgo.RecordRetries(1<<30))...)
	producers.Go(func() { plain.run(ctx, t, acksAll, stop) })

	reader := client(t, server.addr, kgo.ConsumerGroup(group), kgo.ConsumeTopics("once"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	reading, stopReading := context.WithCancel(ctx)
	m := &member{committed: map[int32]int64{}}
	var readers sync.WaitGroup
	readers.Go(func() { m.run(reading, reader) })

	for kill := range kills {
		for _, l := range []*load{once, plain} {
			want := l.acks.Load() + 100 + random.Int64N(3000)
			await(ctx, t, func() bool { return l.acks.Load() >= want }, "acknowledgements of "+l.topic)
		}
		await(ctx, t, func() bool { return len(m.known()) == killPartitions }, "commits")
		server.kill()
		if kill%2 == 1 {
			server.launch()
			awaitPort(ctx, t, server.addr)
			server.kill()
		}
		server.start()
		before := m.known()
		fetched, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			t.Fatalf("after kill %d: %v", kill, err)
		}
		for p, o := range before {
			if got, ok := fetched.Lookup("once", p); !ok || got.Err != nil || got.At < o {
				t.Fatalf("after kill %d: group at %+v in partition %d, committed was %d", kill, got, p, o)
			}
		}
	}
	close(stop)
	producers.Wait()
	stopReading()
	readers.Wait()
	once.check(ctx, t, server.addr, true)
	plain.check(ctx, t, server.addr, false)
	t.Logf("%d kills, %d and %d records acknowledged", kills, once.acks.Load(), plain.acks.Load())
}

// await looks until cond holds.
func await(ctx context.Context, t testing.TB, cond func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		}
	}
}

func awaitPort(ctx context.Context, t testing.TB, addr string) {
	t.Helper()
	await(ctx, t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}, fmt.Sprintf("port %s", addr))
}
