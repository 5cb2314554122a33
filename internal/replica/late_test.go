// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/storage"
)

// Word of a flush that comes late, when the log was cut and is led since then,
// is no word of what is flushed now.
func TestLateFlushOfACutLog(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	defer c.close()
	disk := newHeldSyncs()
	m := c.start(2, disk)
	held, goes := make(chan struct{}), make(chan struct{})
	m.table.config.Events.Flushed = func(l *storage.Log, end int64) {
		if l.Name().Topic == "a" && end == 3 {
			close(held)
			<-goes
		}
	}
	var ps []*Partition
	for i, name := range []string{"a", "b"} {
		id := byte(i + 1)
		c.topic(id, name, 1, nil)
		c.elect(id, 2, 1, 2)
		if _, err := c.produce(m, name, records(t, 0, 1)); err != nil {
			t.Fatal(err)
		}
		c.same(name, 1)
		ps = append(ps, m.table.Named(name, 0))
	}
	c.link(1, 2, false)
	a, b := ps[0], ps[1]
	write := func(p *Partition, n int) {
		if _, err := p.Append(records(t, 1, n), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil {
			t.Fatal(err)
		}
	}
	disk.hold()
	write(a, 1)
	c.eventually("a commit", func() bool { return !m.dir.Flushing().IsZero() })
	write(a, 1) // both wait for the next commit, in this order
	write(b, 10)
	disk.let()
	<-held // b is flushed up to 11, and its partition does not know yet
	c.elect(2, 1, 1)
	c.eventually("the cut", func() bool { return b.LogEnd() == 1 })
	c.elect(2, 2, 2)
	c.eventually("the lead", func() bool { _, leads := b.LeaderEpoch(); return leads && b.HighWatermark() == 1 })
	close(goes)
	c.eventually("the commit's end", func() bool { return m.dir.Flushing().IsZero() && a.Log().Flushed() == 3 })
	write(a, 1) // its commit comes after that one's end
	c.eventually("the next commit", func() bool { return a.Log().Flushed() == 4 })
	if hw, end := b.HighWatermark(), b.LogEnd(); hw > end {
		t.Errorf("high watermark %d of a log that ends at %d", hw, end)
	}
}

// A fetch that was being served when the lead went and came back tells of a log
// that may have been cut since then.
func TestFetchOfAnEarlierLead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	defer c.close()
	c.topic(1, "t", 1, nil)
	if _, err := c.produce(c.member(1), "t", records(t, 0, 10)); err != nil {
		t.Fatal(err)
	}
	c.same("t", 10)
	p := c.member(1).table.Named("t", 0)
	was, _ := p.LeaderEpoch()
	asked := FollowerPosition{Replica: 2, BrokerEpoch: c.member(2).epoch, Cut: 1, Flushed: 15, Start: 0}
	c.link(2, 1, false)
	c.elect(1, 2, 1, 2)
	c.elect(1, 1, 1, 2)
	r, err := p.Append(records(t, 10, 5), 1, AppendOptions{ExpectedEpoch: NoEpoch})
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("the flush", func() bool { return p.Log().Flushed() == 15 })
	wantCode(t, "a fetch of before", p.heardOf(asked, 15, was), kerr.NotLeaderForPartition)
	wantCode(t, "what it would have committed", p.Committed(15, r.LeaderEpoch), kerr.RequestTimedOut)
}
