// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// Goal: a cluster goes from one version of the program to the next while it is
// used, and what the next one brings begins when it is asked for. Method: nodes
// whose program is said to know less, stopped in turn and started with all.

// olderFeatures are what the program before this one could have known.
func olderFeatures() []meta.FeatureRange {
	fs := SupportedFeatures()
	for i := range fs {
		switch fs[i].Name {
		case meta.MetadataVersion:
			fs[i].Min, fs[i].Max = fs[i].Max-1, fs[i].Max-1
		case txnVersion:
			fs[i].Max = 1
		}
	}
	return fs
}

// newerFeatures are what this one knows, where it follows the older.
func newerFeatures() []meta.FeatureRange {
	fs := SupportedFeatures()
	for i := range fs {
		if fs[i].Name == meta.MetadataVersion {
			fs[i].Min = fs[i].Max - 1
		}
	}
	return fs
}

// level asks for levels through a node, as a client would.
func (v *voters) level(n *Node, levels map[string]int16) error {
	v.t.Helper()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version, req.TimeoutMillis = 1, 10_000
	for name, l := range levels {
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = name, l, 1
		req.FeatureUpdates = append(req.FeatureUpdates, u)
	}
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
	defer cancel()
	raw, err := n.uplink.Do(ctx, req)
	if err != nil {
		return err
	}
	resp := raw.(*kmsg.UpdateFeaturesResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fmt.Errorf("%w: %s", err, *resp.ErrorMessage)
	}
	return nil
}

// work writes and reads until stop is closed: an idempotent producer, one with
// transactions, and a group that reads what is committed. Whatever a client
// gives up on fails the test. It tells how much was written to each topic.
func (v *voters) work(ctx context.Context, stop <-chan struct{}, wg *sync.WaitGroup) *[2]atomic.Int64 {
	client := func(more ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append(more, kgo.SeedBrokers(v.addrs...), kgo.ProducerLinger(0), kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.MetadataMinAge(20*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))...)
		if err != nil {
			v.t.Fatal(err)
		}
		v.t.Cleanup(c.Close)
		return c
	}
	var wrote [2]atomic.Int64
	until := func(what string, once func(i int) error) {
		wg.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond) // other tests want the machine too
			defer pace.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				if err := once(i); err != nil {
					v.t.Errorf("%s, %d: %v", what, i, err)
					return
				}
			}
		})
	}
	plain := client(kgo.DefaultProduceTopic("plain"))
	until("produce", func(i int) error {
		err := plain.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr()
		wrote[0].Store(int64(i + 1))
		return err
	})
	txns := client(kgo.DefaultProduceTopic("txns"), kgo.TransactionalID("x"))
	until("transaction", func(i int) error {
		if err := txns.BeginTransaction(); err != nil {
			return err
		}
		if err := txns.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			return err
		}
		wrote[1].Store(int64(i + 1))
		return txns.EndTransaction(ctx, kgo.TryCommit)
	})
	group := client(kgo.ConsumeTopics("plain", "txns"), kgo.ConsumerGroup("g"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.DisableAutoCommit())
	until("consume", func(int) error {
		poll, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		fs := group.PollFetches(poll)
		for _, e := range fs.Errors() {
			var session *kgo.ErrGroupSession // told, and tried again by the client
			if poll.Err() == nil && !errors.As(e.Err, &session) {
				return e.Err
			}
		}
		if fs.Empty() {
			return nil
		}
		return group.CommitRecords(ctx, fs.Records()...)
	})
	return &wrote
}

func TestRollToTheNextVersion(t *testing.T) {
	t.Parallel()
	v := newVoters(t, 3)
	v.more = []string{"min.insync.replicas=2", "offsets.topic.replication.factor=3", "offsets.topic.num.partitions=3",
		"transaction.state.log.replication.factor=3", "transaction.state.log.num.partitions=3"}
	v.features = olderFeatures()
	defer v.close()
	v.startAllWhole()
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })
	v.create(v.nodes[0], "plain", 3, 3)
	v.create(v.nodes[0], "txns", 3, 3)
	next := int16(kafka42)
	newest := map[string]int16{txnVersion: 2, meta.MetadataVersion: next}
	at := func(txn, metadata int16) func(*Node) bool {
		return func(n *Node) bool {
			return n.Image().Feature(txnVersion) == txn && n.Image().Feature(meta.MetadataVersion) == metadata
		}
	}
	v.await("the older levels", at(1, next-1))

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wrote := v.work(ctx, stop, &wg)
	well := func(n *Node) bool {
		for topic := range n.Image().Topics() {
			for _, p := range topic.Partitions() {
				if len(p.ISR) != 3 || p.Leader < 0 {
					return false
				}
			}
		}
		return inService(n) == 3
	}
	v.features = newerFeatures()
	for i := range v.nodes {
		v.await("all in sync", well)
		// One by one they are stopped as SIGTERM stops them.
		bye, done := context.WithTimeout(ctx, 20*time.Second)
		if err := v.nodes[i].Close(bye); err != nil {
			t.Error(err)
		}
		done()
		v.nodes[i] = nil
		v.startWhole(i)
		if i == 2 {
			break
		}
		err := v.level(v.nodes[0], newest)
		if err == nil || !strings.Contains(err.Error(), "Broker 3 only supports versions") {
			t.Errorf("raised while broker 3 is older: %v", err)
		}
		if i == 1 && strings.Contains(err.Error(), "Broker 2") {
			t.Errorf("broker 2 holds nothing back any more: %v", err)
		}
	}
	v.await("all in sync", well)
	if !at(1, next-1)(v.nodes[0]) {
		t.Error("a level went up by itself")
	}
	if err := v.level(v.nodes[1], newest); err != nil {
		t.Error(err)
	}
	v.await("the newer levels", at(2, next))
	before := [2]int64{wrote[0].Load(), wrote[1].Load()}
	for deadline := time.Now().Add(30 * time.Second); !t.Failed() && time.Now().Before(deadline); {
		if wrote[0].Load() > before[0]+20 && wrote[1].Load() > before[1]+5 {
			break
		}
		time.Sleep(5 * time.Millisecond) // polls counters; bounded above
	}
	close(stop)
	wg.Wait()
	all := int(wrote[0].Load() + wrote[1].Load())
	t.Logf("%d records, %v before the levels", all, before)

	// Every record is there, once.
	c, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.ConsumeTopics("plain", "txns"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := map[string]int{}
	for got := 0; got < all; {
		fs := c.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("read %d of %d: %v", got, all, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			got++
			if seen[r.Topic+string(r.Value)]++; seen[r.Topic+string(r.Value)] > 1 {
				t.Errorf("%s: record %s again", r.Topic, r.Value)
			}
		})
	}

	// The one after it knows the older level no more, which stands in the log.
	v.features = nil
	v.kill(1)
	v.startWhole(1)
	v.await("three brokers", func(n *Node) bool { return inService(n) == 3 })

	// The older program does not come back.
	v.features = olderFeatures()
	v.kill(2)
	n := v.make(2)
	bye, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	if err := n.Start(bye); err == nil || !strings.Contains(err.Error(), "finalized version") {
		t.Errorf("an older program in a newer cluster: %v", err)
	}
}
