// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/vfs"
)

// Goal: the Node that runs alone runs as one of three, unchanged: it elects by
// its own clock, hands over when the leader dies, and gives leadership up when
// its disk hangs. Method: three Nodes with their controllers in a bubble of
// fake time, joined by a transport that copies messages.
type wires struct {
	mu    sync.Mutex
	nodes map[uint64]*Node
	cut   map[uint64]bool
}

func (w *wires) Send(ms []*pb.Message) {
	for _, m := range ms {
		w.mu.Lock()
		to := w.nodes[m.GetTo()]
		gone := w.cut[m.GetTo()] || w.cut[m.GetFrom()]
		from := w.nodes[m.GetFrom()]
		w.mu.Unlock()
		if to == nil || gone {
			continue
		}
		b, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		go func() {
			time.Sleep(time.Millisecond)
			m := &pb.Message{}
			if err := proto.Unmarshal(b, m); err != nil {
				panic(err)
			}
			err := to.Step(m)
			if m.GetType() == pb.MsgSnap {
				_ = from.SnapshotSent(m.GetTo(), err == nil)
			}
		}()
	}
}

type member struct {
	rig
	hang atomic.Bool
	free chan struct{}
}

type trio struct {
	t       *testing.T
	net     *wires
	members []*member
}

func newTrio(t *testing.T) *trio {
	tr := &trio{t: t, net: &wires{nodes: map[uint64]*Node{}, cut: map[uint64]bool{}}}
	var ids []Voter
	for i := range int32(3) {
		ids = append(ids, Voter{ID: i, Directory: meta.UUID{1: byte(i)}})
	}
	for i := range int32(3) {
		m := &member{rig: rig{fs: vfs.NewMem(), log: &fakeLog{}}, free: make(chan struct{})}
		_ = m.fs.MkdirAll(simDir)
		m.cfg = Config{NodeID: i, Directory: meta.UUID{1: byte(i)}, Voters: ids, Dir: simDir, Transport: tr.net}
		m.log.fail = func(op string) error {
			if op == "flush" && m.hang.Load() {
				<-m.free
			}
			return nil
		}
		tr.members = append(tr.members, m)
		tr.start(m)
	}
	return tr
}

func (tr *trio) start(m *member) {
	if err := m.open(); err != nil {
		tr.t.Fatal(err)
	}
	tr.net.mu.Lock()
	tr.net.nodes[m.node.Status().ID] = m.node
	tr.net.mu.Unlock()
}

func (tr *trio) cut(m *member, on bool) {
	tr.net.mu.Lock()
	tr.net.cut[m.node.core.id] = on
	tr.net.mu.Unlock()
}

// leader waits for one among those not in except and tells how long it took.
func (tr *trio) leader(except ...*member) (*member, time.Duration) {
	tr.t.Helper()
	began := time.Now()
	for time.Since(began) < 20*time.Second {
	next:
		for _, m := range tr.members {
			for _, e := range except {
				if m == e {
					continue next
				}
			}
			if m.node.Status().Leading {
				return m, time.Since(began)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	tr.t.Fatal("no leader in 20 s")
	return nil, 0
}

func (tr *trio) close() {
	for _, m := range tr.members {
		if err := m.close(); err != nil {
			tr.t.Error(err)
		}
	}
}

func (tr *trio) everywhere(name string) {
	tr.t.Helper()
	for _, m := range tr.members {
		for n := 0; m.node.Image().Feature(name) != 1; n++ {
			if n > 2000 {
				tr.t.Fatalf("node %d has no %s", m.cfg.NodeID, name)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		first, took := tr.leader()
		if took > 3*time.Second {
			t.Errorf("the first election took %v", took)
		}
		if err := first.set(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		tr.everywhere("one")
		for _, m := range tr.members {
			if m != first {
				if err := m.set(t.Context(), "x"); !errors.Is(err, controller.ErrNotController) {
					t.Errorf("a follower said %v", err)
				}
			}
		}
		// The leader is cut off: the others go on, and what it had under way
		// it does not promise.
		tr.cut(first, true)
		under := make(chan error, 1)
		go func() { under <- first.set(context.Background(), "lost") }()
		second, took := tr.leader(first)
		if took > 3*time.Second {
			t.Errorf("the second election took %v", took)
		}
		if err := second.set(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		if err := <-under; !errors.Is(err, controller.ErrUnknown) {
			t.Errorf("the leader that was cut off said %v", err)
		}
		if first.node.Status().Leading {
			t.Error("the leader that was cut off still leads")
		}
		tr.cut(first, false)
		tr.everywhere("two")
		if second.node.Image().Feature("lost") != 0 {
			t.Error("a change that nobody else had was folded in")
		}
		d, err := second.node.Describe(t.Context())
		if err != nil || len(d.Voters) != 3 {
			t.Fatalf("%+v %v", d, err)
		}
		tr.close()
	})
}

// TestHangingDisk: a leader whose disk hangs answers who waits, is replaced,
// and does not lead when the disk comes back.
func TestHangingDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		old, _ := tr.leader()
		if err := old.set(t.Context(), "before"); err != nil {
			t.Fatal(err)
		}
		old.hang.Store(true)
		began := time.Now()
		if err := old.set(t.Context(), "hangs"); !errors.Is(err, controller.ErrUnknown) {
			t.Errorf("on a hanging disk: %v", err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("the answer took %v", d)
		}
		if old.node.Status().Leading {
			t.Error("leads with a hanging disk")
		}
		fresh, _ := tr.leader(old)
		if err := fresh.set(t.Context(), "after"); err != nil {
			t.Fatal(err)
		}
		old.hang.Store(false)
		close(old.free)
		tr.everywhere("after")
		leaders := 0
		for _, m := range tr.members {
			if m.node.Status().Leading {
				leaders++
			}
		}
		if leaders != 1 || !fresh.node.Status().Leading {
			t.Errorf("%d leaders", leaders)
		}
		tr.close()
	})
}

// TestLaggardGetsSnapshot: a voter that was away while the log was trimmed
// catches up from a snapshot, also when it restarts.
func TestLaggardGetsSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		lead, _ := tr.leader()
		var away *member
		for _, m := range tr.members {
			if m != lead {
				away = m
			}
		}
		if err := away.close(); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			if err := lead.set(t.Context(), fmt.Sprint("f", i)); err != nil {
				t.Fatal(err)
			}
			if i%100 == 99 {
				done := make(chan struct{})
				_ = lead.node.do(func() { // as SnapshotBytes would
					lead.node.core.bytes = 1 << 40
					_ = lead.node.maybeSnapshot()
					close(done)
				})
				<-done
				synctest.Wait()
			}
		}
		if lead.log.Start() == 0 {
			t.Fatal("the leader's log was not trimmed")
		}
		tr.start(away)
		if err := lead.set(t.Context(), "last"); err != nil {
			t.Fatal(err)
		}
		tr.everywhere("last")
		if away.node.Image().Feature("f0") != 1 || away.log.Start() == 0 {
			t.Error("no snapshot was installed")
		}
		if err := away.close(); err != nil {
			t.Fatal(err)
		}
		tr.start(away)
		tr.everywhere("f7")
		tr.close()
	})
}
