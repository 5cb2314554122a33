// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

// A leader that was cut off has written what nobody else has. When it comes
// back as a follower, that goes.
func TestDivergedLogIsCut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	defer c.close()
	c.topic(1, "t", 1, nil)
	old := c.member(1)
	if _, err := c.produce(old, "t", records(t, 0, 10)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 10)
	c.link(2, 1, false)
	c.link(3, 1, false)
	for i := range 3 { // acks=1: written here alone
		if _, err := old.table.Named("t", 0).Append(records(t, 100+i, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil {
			t.Fatal(err)
		}
	}
	// Two elections without a record between: epochs that begin at one offset.
	c.elect(1, 2, 2, 3)
	c.elect(1, 3, 2, 3)
	if _, err := c.produce(c.member(3), "t", records(t, 10, 5)); err != nil {
		t.Fatal(err)
	}
	c.link(2, 1, true)
	c.link(3, 1, true)
	c.same("t", 15)
	c.eventually("all in sync", func() bool { return len(c.isr(1)) == 3 })
	if got, err := readAll(c.member(3).table.Named("t", 0), 0, ReadUncommitted); err != nil || len(got) != 15 || got[14].text != "14" {
		t.Errorf("%v, %v", got, err)
	}
}

// A log that is cut to where its leader's ends hears of the high watermark all
// the same: the answer that told it to cut was no news of that.
func TestCutToTheLeadersEndHearsTheHighWatermark(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	defer c.close()
	c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.Durable = false })
	if _, err := c.produce(c.member(1), "t", records(t, 0, 10)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 10)
	c.link(2, 1, false)
	c.link(3, 1, false)
	old := c.member(1)
	if _, err := old.table.Named("t", 0).Append(records(t, 10, 3), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil {
		t.Fatal(err)
	}
	old.stop(false) // what it knew of the high watermark is gone
	c.elect(1, 2, 2, 3)
	c.eventually("the new leader's high watermark", func() bool { return c.member(2).table.Named("t", 0).HighWatermark() == 10 })
	c.start(1, old.fs)
	c.same("t", 10)
}

// Records that come below a high watermark heard before move the follower's.
func TestCatchingUpMovesTheHighWatermark(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.Durable = false })
	c.link(2, 1, false)
	p := c.member(2).table.Named("t", 0)
	var views []batch.View
	for i := range int64(3) {
		b := records(t, int(i), 1)
		batch.View(b).SetBaseOffset(i)
		if err := p.grow(0, b, 3, 0, &views); err != nil {
			t.Fatal(err)
		}
		if got := p.HighWatermark(); got != i+1 {
			t.Errorf("high watermark %d with %d records of the leader's 3", got, i+1)
		}
	}
}

// A partition that leaves a fetcher while the next request is being made is
// forgotten by the leader with that request.
func TestFetcherForgetsWhatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, nil)
	m := c.member(2)
	p := m.table.Named("t", 0)
	src := &scripted{}
	f := newFetcher(m.table.fetchers, 1, src)
	f.add(p, 0)
	f.take()
	f.fetch(t.Context(), time.Time{})
	if x := f.parts[PartitionID{p.id, 0}]; x == nil || !x.inSession || len(src.forgotten) > 0 {
		t.Fatalf("%+v, forgotten %v", x, src.forgotten)
	}
	f.add(p, 7) // an epoch in which it does not follow any more, or not yet
	f.take()
	f.fetch(t.Context(), time.Time{})
	if len(f.parts) != 0 || len(src.forgotten) != 1 {
		t.Errorf("%d partitions are fetched, forgotten %v", len(f.parts), src.forgotten)
	}
}

// scripted is a leader's broker that has nothing to tell.
type scripted struct{ forgotten []PartitionID }

func (s *scripted) Fetch(_ context.Context, q *FetchRequest) (*FetchAnswer, error) {
	s.forgotten = append(s.forgotten, q.Forgotten...)
	return &FetchAnswer{Session: 5}, nil
}
func (s *scripted) Tell(context.Context, *News) ([]int, error) { return nil, nil }
func (s *scripted) Close()                                     {}

// Epochs in which nothing was written are no reason to go round in circles.
func TestEmptyEpochsAreForgotten(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, nil)
	if _, err := c.produce(c.member(1), "t", records(t, 0, 4)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 4)
	c.link(2, 1, false)
	c.elect(1, 2, 1, 2) // 2 leads in an epoch of which 1 never hears by a record
	c.elect(1, 1, 1, 2)
	c.link(2, 1, true)
	if _, err := c.produce(c.member(1), "t", records(t, 4, 1)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 5)
}

// What a follower lacks may be gone at the leader: it begins where that begins.
func TestFollowerBeginsWhereTheLeaderDoes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, nil)
	lead := c.member(1)
	if _, err := c.produce(lead, "t", records(t, 0, 10)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 10)
	c.link(2, 1, false)
	c.elect(1, 1, 1)
	for i := range 5 {
		if _, err := c.produce(lead, "t", records(t, 10+10*i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lead.table.Named("t", 0).DeleteRecords(30); err != nil {
		t.Fatal(err)
	}
	c.link(2, 1, true)
	c.eventually("the follower's start", func() bool {
		p := c.member(2).table.Named("t", 0)
		return p.LogStart() == 30 && p.LogEnd() == 60
	})
	c.same("t", 60)
	// And a start that moves while it keeps up moves there too.
	if _, err := lead.table.Named("t", 0).DeleteRecords(50); err != nil {
		t.Fatal(err)
	}
	if _, err := c.produce(lead, "t", records(t, 60, 1)); err != nil {
		t.Fatal(err)
	}
	c.eventually("the follower's start", func() bool { return c.member(2).table.Named("t", 0).LogStart() == 50 })
}

// A leader's log may begin within a batch: records were deleted up to there. Who
// begins to follow takes that batch whole, and begins there too.
func TestFollowerBeginsWithinABatch(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, nil)
	lead := c.member(1)
	if _, err := c.produce(lead, "t", records(t, 0, 10)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 10)
	c.link(2, 1, false)
	c.elect(1, 1, 1)
	for i := range 5 {
		if _, err := c.produce(lead, "t", records(t, 10+10*i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lead.table.Named("t", 0).DeleteRecords(35); err != nil {
		t.Fatal(err)
	}
	c.link(2, 1, true)
	c.eventually("the follower's start", func() bool {
		p := c.member(2).table.Named("t", 0)
		return p.LogStart() == 35 && p.LogEnd() == 60
	})
	c.same("t", 60)
}

// A node that was away catches up, in segments smaller than a fetch, and is in
// sync again.
func TestReturningNodeCatchesUp(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		c := newCluster(t, 2)
		c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.SegmentBytes = 2000; x.Log.FileDeleteDelay = -1 })
		if _, err := c.produce(c.member(1), "t", records(t, 0, 10)); err != nil {
			t.Fatal(err)
		}
		c.same("t", 10)
		m := c.member(2)
		m.stop(clean)
		c.elect(1, 1, 1)
		for i := range 100 {
			if _, err := c.produce(c.member(1), "t", records(t, 10+10*i, 10)); err != nil {
				t.Fatal(err)
			}
		}
		c.start(2, m.fs)
		c.same("t", 1010)
		c.eventually("all in sync", func() bool { return len(c.isr(1)) == 2 })
		c.close()
	}
}

// acks=all ends as soon as the lead is lost.
func TestWaitEndsWithTheLead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, nil)
	c.same("t", 0)
	c.link(2, 1, false)
	p := c.member(1).table.Named("t", 0)
	r, err := p.Append(records(t, 0, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch) }()
	c.eventually("the wait", func() bool { return p.Status().Waiting == 1 })
	c.elect(1, 2, 2)
	wantCode(t, "the wait", <-over, kerr.NotLeaderForPartition)
}

// On a durable topic a record is committed when followers have flushed it, and
// the news of that overtakes their parked fetch.
func TestFollowersFlushCounts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	defer c.close()
	disk := newHeldSyncs()
	c.start(2, disk)
	c.topic(1, "t", 1, nil)
	c.same("t", 0)
	disk.hold()
	lead := c.member(1).table.Named("t", 0)
	r, err := lead.Append(records(t, 0, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	follower := c.member(2).table.Named("t", 0)
	c.eventually("the write", func() bool { return follower.LogEnd() == 1 && lead.Log().Flushed() == 1 })
	wantCode(t, "before the follower's flush", lead.Committed(r.LastOffset+1, r.LeaderEpoch), kerr.RequestTimedOut)
	begun := time.Now()
	disk.let()
	if err := lead.Wait(t.Context(), 1, r.LeaderEpoch); err != nil {
		t.Fatal(err)
	}
	// Not a time that is asserted but a path: parked fetches end after 500 ms.
	t.Logf("the news took %v", time.Since(begun))
	c.same("t", 1)
}

// A failed directory of a follower ends its following and nobody else's.
func TestFollowersDiskFails(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	defer c.close()
	disk := vfs.NewFaulty(vfs.NewMem())
	m := c.start(2, disk)
	c.topic(1, "t", 1, func(x *TopicConfig) { x.Log.Durable = false })
	if _, err := c.produce(c.member(1), "t", records(t, 0, 1)); err != nil {
		t.Fatal(err)
	}
	disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Err: syscall.EIO})
	if _, err := c.member(1).table.Named("t", 0).Append(records(t, 1, 1), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil {
		t.Fatal(err)
	}
	c.eventually("offline", func() bool { return m.table.Named("t", 0).Status().Offline })
	c.elect(1, 1, 1)
	if _, err := c.produce(c.member(1), "t", records(t, 2, 1)); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	delete(c.members, 2)
	c.mu.Unlock()
	m.table.Close()
	m.dir.Abandon()
}
