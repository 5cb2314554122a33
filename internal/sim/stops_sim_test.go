// SPDX-License-Identifier: Apache-2.0

//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"gregor/internal/wire"
)

// Goal: a transaction whose coordinator, producer or partition leader dies at
// any step ends as one or the other, never half; as its client was told, where
// it was told; soon, while who died is still away; and the next instance of the
// producer goes on. For commits and aborts, of clients before and since KIP-890.
//
// Method: three nodes, of which one coordinates and the two others lead a
// partition each. A trap stops the world at a step: it holds the request that
// is that step, before it is served or before its answer is sent, somebody dies,
// and the request goes on as a late one.

// step is where somebody dies: at the nth request of a kind.
type step struct {
	name  string
	key   kmsg.Key
	nth   int
	after bool
}

var steps = []step{
	{"partitions are not added", kmsg.AddPartitionsToTxn, 1, false},
	{"partitions are added", kmsg.AddPartitionsToTxn, 1, true},
	{"nothing is appended", kmsg.Produce, 1, false},
	{"one partition has its records", kmsg.Produce, 1, true},
	{"both partitions have them", kmsg.Produce, 2, true},
	{"the end is not decided", kmsg.EndTxn, 1, false},
	{"the end is decided", kmsg.EndTxn, 1, true},
	{"no marker is written", kmsg.WriteTxnMarkers, 1, false},
	{"one marker of two is written", kmsg.WriteTxnMarkers, 2, false},
	{"all markers are written", kmsg.WriteTxnMarkers, 2, true},
	{"all is over", -1, 0, false},
}

// trap holds the nth request of a kind. They are served one after another.
type trap struct {
	step
	turn         chan struct{} // capacity 1; in it: nobody is at it
	seen         int
	hit, release chan struct{}
}

func newTrap(s step) *trap {
	t := &trap{step: s, turn: make(chan struct{}, 1), hit: make(chan struct{}), release: make(chan struct{})}
	t.turn <- struct{}{}
	return t
}

func (t *trap) serve(ctx context.Context, h wire.Handler, r *wire.Request) (wire.Reply, wire.Pending) {
	select {
	case <-t.turn:
	case <-t.release:
		return h.Serve(ctx, r)
	}
	defer func() { t.turn <- struct{}{} }()
	t.seen++
	here := t.seen == t.nth
	hold := func() {
		close(t.hit)
		<-t.release
	}
	if here && !t.after {
		hold()
	}
	reply, pending := h.Serve(ctx, r)
	if pending != nil {
		<-pending.Done()
	}
	if here && t.after {
		hold()
	}
	return reply, pending
}

// traps are before every node; one is set at most.
type traps struct{ set chan *trap } // capacity 1, never empty

type trapped struct {
	*traps
	h wire.Handler
}

func (x trapped) Serve(ctx context.Context, r *wire.Request) (wire.Reply, wire.Pending) {
	t := <-x.set
	x.set <- t
	if t == nil || int16(t.key) != r.Key {
		return x.h.Serve(ctx, r)
	}
	return t.serve(ctx, x.h, r)
}

func (x *traps) put(t *trap) {
	<-x.set
	x.set <- t
}

func TestSimTransactionStops(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprintf("old=%v,commit=%v", old, commit), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { stops(t, old, commit) })
			})
		}
	}
}

func stops(t *testing.T, old, commit bool) {
	x := &traps{set: make(chan *trap, 1)}
	x.set <- nil
	c, err := Start(Config{Seed: 1, Nodes: 3, Replicas: 3, Around: func(_ int32, h wire.Handler) wire.Handler { return trapped{x, h} }})
	t.Cleanup(c.Close)
	if err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(c.Client())
	defer admin.Close()
	for i, s := range steps {
		for k, who := range []string{"coordinator", "leader", "producer"} {
			s := &stop{T: t, c: c, x: x, admin: admin, step: s, who: who, crash: (i+k)%2 == 0, old: old, commit: commit, id: fmt.Sprintf("%s-%d", who, i)}
			began := time.Now()
			s.run()
			t.Logf("the %s dies when %s: %v", who, s.step.name, time.Since(began))
			if t.Failed() {
				for _, m := range c.machines {
					t.Logf("node %d:\n%s", m.id, m.log)
				}
				t.Fatalf("the %s dies when %s", who, s.step.name)
			}
		}
	}
}

// stop is one row of the table.
type stop struct {
	*testing.T
	c           *Cluster
	x           *traps
	admin       *kadm.Client
	step        step
	who         string
	crash       bool // power is lost; else the process ends
	old, commit bool
	id          string // of the transaction, and the topic's name
}

// txnTimeout is what open transactions get: shorter than what is waited.
const txnTimeout = 5 * time.Second

func (s *stop) run() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	coordinator := s.coordinator(ctx)
	var leaders []*machine
	for _, m := range s.c.machines {
		if m != coordinator {
			leaders = append(leaders, m)
		}
	}
	s.create(ctx, leaders[0].id, leaders[1].id, coordinator.id)

	trap := newTrap(s.step)
	s.x.put(trap)
	life, die := context.WithCancel(ctx)
	defer die()
	type outcome struct {
		asked bool // to be committed
		err   error
	}
	ended := make(chan outcome, 1)
	go func() {
		asked, err := s.transaction(life, "1", s.commit)
		ended <- outcome{asked, err}
	}()
	victim := map[string]*machine{"coordinator": coordinator, "leader": leaders[0]}[s.who]
	if s.step.key >= 0 {
		select {
		case <-trap.hit:
		case <-ctx.Done():
			s.Fatalf("it never came to that: %v", (<-ended).err)
		}
	} else {
		ended <- <-ended
		s.settled(ctx)
	}
	go func() { // when who dies hears and writes no more
		time.Sleep(10 * time.Millisecond)
		s.x.put(nil)
		close(trap.release)
	}()
	switch {
	case victim == nil:
		die()
	case s.crash:
		victim.crash()
	default:
		victim.kill()
	}
	was := <-ended
	s.settled(ctx)
	got := s.read(ctx)
	whole := []string{"1-0", "1-1"}
	switch {
	case len(got) != 0 && !slices.Equal(got, whole):
		s.Errorf("half of it is there: %q", got)
	case len(got) != 0 && !was.asked:
		s.Errorf("nobody asked to commit it, and it is there: %q", got)
	case len(got) == 0 && was.asked && was.err == nil:
		s.Error("it was committed, and is not there")
	}
	if victim != nil {
		victim.revive()
		if err := s.c.AwaitUp(time.Minute); err != nil {
			s.Fatal(err)
		}
	}
	for !s.c.checks.allInSync() && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := s.transaction(ctx, "2", true); err != nil {
		s.Errorf("the next instance: %v", err)
	}
	s.settled(ctx)
	want := slices.Concat(got, []string{"2-0", "2-1"})
	if again := s.read(ctx); !slices.Equal(again, want) {
		s.Errorf("in the end %q is there, not %q", again, want)
	}
}

func (s *stop) coordinator(ctx context.Context) *machine {
	for {
		found := s.admin.FindTxnCoordinators(ctx, s.id)
		if x := found[s.id]; x.Err == nil && x.NodeID > 0 {
			return s.c.machines[x.NodeID-1]
		}
		if ctx.Err() != nil {
			s.Fatalf("no coordinator: %v", found)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// create makes a topic of two partitions, led by a and b.
func (s *stop) create(ctx context.Context, a, b, c int32) {
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = s.id, -1, -1
	for i, replicas := range [][]int32{{a, b, c}, {b, a, c}} {
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: replicas})
	}
	minISR := "2"
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "min.insync.replicas", Value: &minISR}}
	req.Topics = append(req.Topics, topic)
	req.TimeoutMillis = 10_000
	client := s.c.Client()
	defer client.Close()
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// transaction is what one instance of the producer does; ctx is its life. asked
// tells whether it came to ask for the commit.
func (s *stop) transaction(ctx context.Context, name string, commit bool) (asked bool, err error) {
	opts := []kgo.Opt{
		kgo.WithContext(ctx), kgo.TransactionalID(s.id), kgo.TransactionTimeout(txnTimeout), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProduceRequestTimeout(5 * time.Second),
	}
	if s.old {
		opts = append(opts, kgo.MaxVersions(kversion.V3_6_0()))
	}
	client := s.c.Client(opts...)
	defer client.Close()
	// A record that was sent keeps franz-go busy after its context has ended.
	defer context.AfterFunc(ctx, client.Close)()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return false, err
	}
	if err := client.BeginTransaction(); err != nil {
		return false, err
	}
	err = client.ProduceSync(ctx,
		&kgo.Record{Topic: s.id, Partition: 0, Value: []byte(name + "-0")}, &kgo.Record{Topic: s.id, Partition: 1, Value: []byte(name + "-1")}).FirstErr()
	commit = commit && err == nil
	return commit, errors.Join(err, client.EndTransaction(ctx, kgo.TransactionEndTry(commit)))
}

// settled waits until nothing is open any more.
func (s *stop) settled(ctx context.Context) {
	limit := time.Now().Add(txnTimeout + 20*time.Second)
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		open := ""
		stable, err := s.admin.ListCommittedOffsets(ask, s.id)
		ends, err2 := s.admin.ListEndOffsets(ask, s.id)
		txns, err3 := s.admin.DescribeTransactions(ask, s.id)
		cancel()
		if err = errors.Join(err, err2, err3, stable.Error(), ends.Error(), txns[s.id].Err); errors.Is(err, kerr.TransactionalIDNotFound) {
			err = nil // it was never told to anybody
		}
		ends.Each(func(o kadm.ListedOffset) {
			if at, _ := stable.Lookup(o.Topic, o.Partition); at.Offset < o.Offset {
				open += fmt.Sprintf(" partition %d up to %d of %d,", o.Partition, at.Offset, o.Offset)
			}
		})
		switch txns[s.id].State {
		case "Ongoing", "PrepareCommit", "PrepareAbort":
			open += " " + txns[s.id].State
		}
		if err == nil && open == "" {
			return
		}
		if time.Now().After(limit) {
			s.Fatalf("it does not end:%s %v", open, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// read gives what readers of committed records find, in order.
func (s *stop) read(ctx context.Context) []string {
	ends, err := s.admin.ListCommittedOffsets(ctx, s.id)
	if err != nil {
		s.Fatal(err)
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().At(0)
		}
	})
	if len(left) == 0 {
		return nil
	}
	client := s.c.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.id: from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer client.Close()
	var out []string
	for len(left) > 0 {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, string(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
		if ctx.Err() != nil {
			s.Fatalf("cannot be read: %v are missing", left)
		}
	}
	slices.Sort(out)
	return out
}
