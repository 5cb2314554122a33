// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// TestProposalOfAnEarlierLeadership: what was decided in one leadership and is
// handed over in the next (the controller was held up between the two) may meet
// the version that it names, which other changes led to. Nobody could fold it
// in: every node would stop at that entry, for ever.
func TestProposalOfAnEarlierLeadership(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		old, _ := tr.leader()
		if err := old.set(t.Context(), "before"); err != nil {
			t.Fatal(err)
		}
		// Of the two changes decided on in turn, the first is under way when the
		// leader is cut off.
		base, term := old.node.Image().Version(), old.node.Status().Term
		tr.cut(old, true)
		topic := meta.UUID{1}
		fate := make(chan error, 2)
		hand := func(base int64, r meta.Record) {
			err := old.node.Propose([]*meta.Proposal{{Base: base, Term: term, Records: []meta.Record{r}, Done: func(err error) { fate <- err }}})
			if err != nil {
				t.Fatal(err)
			}
		}
		hand(base, meta.TopicRecord{Name: "t", ID: topic})
		fresh, _ := tr.leader(old)
		if err := fresh.set(t.Context(), "instead"); err != nil {
			t.Fatal(err)
		}
		tr.cut(old, false)
		if err := <-fate; !errors.Is(err, meta.ErrUnknown) {
			t.Fatalf("the first: %v", err)
		}
		tr.everywhere("instead")
		for !old.node.Status().Leading {
			_ = fresh.node.do(func() { fresh.node.core.rn.TransferLeader(old.node.core.id) })
			time.Sleep(time.Second)
		}
		hand(base+1, meta.RemoveTopicRecord{ID: topic})
		select {
		case err := <-fate:
			if !errors.Is(err, meta.ErrNotLeader) {
				t.Errorf("the second: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the second was taken")
		}
		for _, m := range tr.members {
			if err := m.node.Status().Err; err != nil {
				t.Fatalf("node %d stopped: %v", m.cfg.NodeID, err)
			}
		}
		if err := old.set(t.Context(), "after"); err != nil {
			t.Fatal(err)
		}
		tr.everywhere("after")
		tr.close()
	})
}

// TestCutSnapshotCommitsNothingElse: a snapshot that supersedes entries which
// were never committed comes with a vote; the power fails before it is there.
// The commit index noted with the vote must not cover those entries.
func TestCutSnapshotCommitsNothingElse(t *testing.T) {
	t.Parallel()
	var voters []Voter
	for i := range int32(3) {
		voters = append(voters, Voter{ID: i, Directory: meta.UUID{1: byte(i)}})
	}
	mem, log := vfs.NewMem(), &fakeLog{}
	if err := mem.MkdirAll(simDir); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the power fails")
	fsys := vfs.NewFaulty(mem)
	cfg := Config{NodeID: 0, Directory: voters[0].Directory, Voters: voters, Dir: simDir, FS: fsys, Log: log}
	open := func() *core {
		t.Helper()
		st, _, err := openStable(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCore(st, coreConfig{10, 2}, hooks{send: func([]*pb.Message) {}, committed: func(*meta.Image, *meta.Delta) {},
			leading: func(uint64, *meta.Image) {}, following: func() {}, members: func(Membership) {}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := voters[1].RaftID(), voters[2].RaftID()
	c := open()
	// Node 1 leads in term 1 and appends what nobody else gets.
	var entries []*pb.Entry
	for i := range uint64(5) {
		data := change{sequence: i + 1, base: int64(i), frames: meta.AppendRecord(nil, meta.FeatureRecord{Name: "lost", Level: int16(i) + 1})}.encode()
		entries = append(entries, &pb.Entry{Term: new(uint64(1)), Index: new(i + 1), Type: pb.EntryNormal.Enum(), Data: data})
	}
	step := func(m *pb.Message) {
		t.Helper()
		m.To = new(c.id)
		if err := c.rn.Step(m); err != nil {
			t.Fatal(err)
		}
	}
	step(&pb.Message{Type: pb.MsgApp.Enum(), From: new(one), Term: new(uint64(1)), Index: new(uint64(0)), LogTerm: new(uint64(0)), Entries: entries, Commit: new(uint64(0))})
	if err := c.work(); err != nil {
		t.Fatal(err)
	}
	// Node 2 leads in term 2, and is heard of by a snapshot of what was agreed
	// upon instead.
	img, _, err := meta.Empty().With([]meta.Record{meta.FeatureRecord{Name: "agreed", Level: 1}})
	if err != nil {
		t.Fatal(err)
	}
	m := snapshotMeta{index: 20, term: 2, next: 60, version: img.Version(), conf: foundingConf(voters), voters: voters}
	var data []byte
	if err := encodeSnapshot(m, img, func(b []byte) error { data = append(data, b...); return nil }); err != nil {
		t.Fatal(err)
	}
	fsys.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.tmp", Err: broken})
	step(&pb.Message{Type: pb.MsgSnap.Enum(), From: new(two), Term: new(uint64(2)),
		Snapshot: &pb.Snapshot{Data: data, Metadata: &pb.SnapshotMetadata{ConfState: m.conf, Index: new(m.index), Term: new(m.term)}}})
	if err := c.work(); !errors.Is(err, broken) {
		t.Fatalf("installed: %v", err)
	}
	cfg.FS = mem
	c = open()
	if err := c.work(); err != nil {
		t.Fatal(err)
	}
	if got := c.image.Feature("lost"); got != 0 || c.applied != 0 {
		t.Errorf("after the restart index %d is applied, and the level of what was never committed is %d", c.applied, got)
	}
}
