// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gregor/internal/invariant"
	"gregor/internal/meta"
)

// core is one voter as a step machine: no goroutine, no clock. Node's loop
// drives it, and so do tests, from a seed.
type core struct {
	id    uint64
	rn    *raft.RawNode
	st    *stable
	cfg   coreConfig
	hooks hooks

	image   *meta.Image
	applied uint64
	bytes   int64 // of entries applied since the last snapshot

	conf     *pb.ConfState
	voters   map[uint64]Voter // those in conf, learners too
	leader   uint64
	leading  bool
	term     uint64
	announce bool // leading was told
	follower bool // following was told, since leading last was
	haste    haste

	heard    map[uint64]*hearing // by voter, while leading
	changing *changing           // nil: no change of voters is under way

	sequence uint64
	waiting  map[uint64]*meta.Proposal // by sequence; proposed in term by this voter
}

// hooks are what core tells; called on the loop, between disk and next step.
type hooks struct {
	send      func([]*pb.Message)
	committed func(*meta.Image, *meta.Delta)
	leading   func(term uint64, img *meta.Image)
	following func()
	members   func(Membership) // who votes has changed
	gone      func(leader uint64)
}

type coreConfig struct {
	electionTicks, heartbeatTicks int
}

func newCore(st *stable, cfg coreConfig, h hooks) (*core, error) {
	c := &core{id: st.state.raftID, st: st, cfg: cfg, hooks: h, image: st.image, waiting: map[uint64]*meta.Proposal{}}
	snap := st.lastSnapshot()
	c.applied, c.conf = snap.index, snap.conf
	c.learnVoters(snap.voters)
	return c, c.startRaft()
}

// startRaft makes Raft's part from what is on disk.
func (c *core) startRaft() error {
	rn, err := raft.NewRawNode(&raft.Config{
		ID:                        c.id,
		ElectionTick:              c.cfg.electionTicks,
		HeartbeatTick:             c.cfg.heartbeatTicks,
		Storage:                   c.st,
		Applied:                   c.applied,
		MaxSizePerMsg:             1 << 20,
		MaxCommittedSizePerReady:  4 << 20,
		MaxUncommittedEntriesSize: 64 << 20, // beyond it proposals are dropped, and told so
		MaxInflightMsgs:           64,
		MaxInflightBytes:          16 << 20,
		CheckQuorum:               true,
		PreVote:                   true,
		DisableProposalForwarding: true, // proposals are compared with this node's Image
		StepDownOnRemoval:         true,
		Logger:                    quiet{},
	})
	if err != nil {
		return err
	}
	c.rn = rn
	return nil
}

func (c *core) learnVoters(vs []Voter) {
	c.voters = make(map[uint64]Voter, len(vs))
	for _, v := range vs {
		c.voters[v.RaftID()] = v
	}
}

// members are those in the configuration, by id.
func (c *core) members() (vs []Voter) {
	for _, v := range c.voters {
		vs = append(vs, v)
	}
	return sortVoters(vs)
}

func (c *core) membership() Membership {
	m := Membership{Voters: c.members()}
	_, m.Self = c.voters[c.id]
	return m
}

// alone tells whether this voter is the whole quorum, so that it need not wait
// for anybody before it stands for election.
func (c *core) alone() bool {
	return len(c.conf.GetVoters()) == 1 && c.conf.GetVoters()[0] == c.id && len(c.conf.GetVotersOutgoing()) == 0
}

// propose hands a group to Raft at once: one append, one sync.
func (c *core) propose(group []*meta.Proposal) {
	group = slices.DeleteFunc(slices.Clone(group), func(p *meta.Proposal) bool {
		late := !c.leading || p.Term != c.term
		if late {
			p.Done(meta.ErrNotLeader)
		}
		return late
	})
	if len(group) == 0 {
		return
	}
	m := &pb.Message{Type: pb.MsgProp.Enum(), From: new(c.id)}
	for _, p := range group {
		c.sequence++
		ch := change{sequence: c.sequence, base: p.Base, ms: p.Time}
		for _, r := range p.Records {
			ch.frames = meta.AppendRecord(ch.frames, r)
		}
		c.waiting[c.sequence] = p
		m.Entries = append(m.Entries, &pb.Entry{Data: ch.encode()})
	}
	if err := c.rn.Step(m); err != nil {
		for i, p := range group {
			delete(c.waiting, c.sequence-uint64(len(group)-1-i))
			p.Done(fmt.Errorf("%w: %w", meta.ErrDropped, err))
		}
	}
}

// work carries out everything that Raft has ready.
func (c *core) work() error {
	for c.rn.HasReady() {
		rd := c.rn.Ready()
		if err := c.persist(rd); err != nil {
			return err
		}
		// Only now may others hear what the disk holds.
		if len(rd.Messages) > 0 {
			c.hooks.send(rd.Messages)
		}
		c.follow(rd.SoftState)
		for _, e := range rd.CommittedEntries {
			if err := c.apply(e); err != nil {
				return err
			}
		}
		if len(rd.CommittedEntries) > 0 {
			c.st.log.SetHighWatermark(c.st.next(c.applied))
		}
		c.rn.Advance(rd)
		c.lead()
	}
	return nil
}

// persist makes term and vote durable, then a snapshot, then entries.
func (c *core) persist(rd raft.Ready) error {
	if hs := rd.HardState; !raft.IsEmptyHardState(hs) {
		h := c.st.state.hard
		if hs.GetTerm() != h.term || hs.GetVote() != h.vote {
			// Entries of this Ready are not durable yet: a commit index past
			// them must not be.
			commit := min(hs.GetCommit(), c.st.lastIndex())
			if n := len(rd.Entries); n > 0 {
				commit = min(commit, rd.Entries[0].GetIndex()-1)
			}
			if !raft.IsEmptySnap(rd.Snapshot) {
				commit = 0 // it speaks of the snapshot: what is in the log until then need not be agreed upon
			}
			if err := c.st.state.save(hs.GetTerm(), hs.GetVote(), max(commit, h.commit)); err != nil {
				return err
			}
		}
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := c.install(rd.Snapshot); err != nil {
			return err
		}
	}
	return c.st.append(rd.Entries)
}

func (c *core) install(p *pb.Snapshot) error {
	img, err := c.st.install(p)
	if err != nil {
		return err
	}
	old := c.image
	c.image, c.applied, c.conf, c.bytes = img, p.GetMetadata().GetIndex(), p.GetMetadata().GetConfState(), 0
	c.learnVoters(c.st.lastSnapshot().voters)
	c.hooks.members(c.membership())
	c.hooks.committed(img, meta.Diff(old, img))
	return nil
}

// follow notes a change of leader. Proposals of a leadership that is over are
// answered: whether they are folded in is for others to decide.
func (c *core) follow(s *raft.SoftState) {
	if s == nil {
		return
	}
	c.leader = s.Lead
	was := c.leading
	c.leading = false
	if s.RaftState == raft.StateLeader {
		term := c.rn.BasicStatus().GetTerm()
		if was && term == c.term {
			c.leading = true
			return
		}
	}
	c.retire()
}

// retire ends this node's leadership, if it had one.
func (c *core) retire() {
	c.leading = false
	// A node that never led tells once it knows who does: until then nobody can
	// say whether it will.
	if c.announce || !c.follower && c.leader != raft.None && c.leader != c.id {
		c.announce, c.follower = false, true
		c.hooks.following()
	}
	c.abandonChange()
	waiting := c.waiting
	c.waiting = map[uint64]*meta.Proposal{}
	for _, p := range waiting {
		p.Done(meta.ErrUnknown)
	}
}

// lead announces leadership once everything before it is applied: the empty
// entry of the own term is the last there is.
func (c *core) lead() {
	st := c.rn.BasicStatus()
	if st.RaftState != raft.StateLeader || c.leading && c.term == st.GetTerm() {
		return
	}
	if c.leading {
		c.retire()
	}
	if last := c.st.lastIndex(); c.applied != last || c.st.lastTerm() != st.GetTerm() {
		return
	}
	c.leading, c.term, c.announce, c.follower = true, st.GetTerm(), true, false
	c.hooks.leading(c.term, c.image)
}

func (c *core) apply(e *pb.Entry) error {
	invariant.Holds(e.GetIndex() == c.applied+1, "entry %d applied after %d", e.GetIndex(), c.applied)
	c.applied = e.GetIndex()
	c.bytes += int64(len(e.GetData())) + 100
	switch kindOf(e) {
	case entryVoters:
		return c.applyVoters(e)
	case entryChange:
		return c.applyChange(e)
	}
	return nil
}

func (c *core) applyVoters(e *pb.Entry) error {
	bad := func(err error) error {
		return &DamageError{c.st.dir, 0, fmt.Sprintf("change of voters at index %d: %v", e.GetIndex(), err)}
	}
	v1, v2 := &pb.ConfChange{}, &pb.ConfChangeV2{}
	if e.GetType() == pb.EntryConfChange {
		if err := proto.Unmarshal(e.GetData(), v1); err != nil {
			return bad(err)
		}
		v2 = v1.AsV2()
	} else if err := proto.Unmarshal(e.GetData(), v2); err != nil {
		return bad(err)
	}
	for _, ch := range v2.GetChanges() {
		if ch.GetType() == pb.ConfChangeRemoveNode {
			delete(c.voters, ch.GetNodeId())
			continue
		}
		v, rest, err := cutVoter(v2.GetContext())
		if err != nil || len(rest) > 0 || v.RaftID() != ch.GetNodeId() {
			return bad(fmt.Errorf("it does not say who %x is", ch.GetNodeId()))
		}
		c.voters[v.RaftID()] = v
	}
	c.conf = c.rn.ApplyConfChange(v2)
	c.hooks.members(c.membership())
	// So that a restart does not go back to voters that may be gone: a quorum
	// that shrank to one must not wait for the other.
	if h := c.st.state.hard; h.commit < e.GetIndex() && h.term >= e.GetTerm() {
		if err := c.st.state.save(h.term, h.vote, e.GetIndex()); err != nil {
			return err
		}
	}
	if c.leading && e.GetTerm() == c.term {
		for _, ch := range v2.GetChanges() {
			c.changed(ch)
		}
	}
	return nil
}

func (c *core) applyChange(e *pb.Entry) error {
	ch, _, err := cutChange(e.GetData())
	var records []meta.Record
	if err == nil {
		records, err = ch.records()
	}
	if err != nil {
		return &DamageError{c.st.dir, 0, fmt.Sprintf("entry at index %d: %v", e.GetIndex(), err)}
	}
	var p *meta.Proposal
	if c.leading && e.GetTerm() == c.term {
		p = c.waiting[ch.sequence]
		delete(c.waiting, ch.sequence)
	}
	answer := func(err error) {
		if p != nil {
			p.Done(err)
		}
	}
	if ch.base != c.image.Version() {
		// Decided on an Image that never came to be, or that is no more.
		answer(meta.ErrDropped)
		return nil
	}
	next, delta, err := c.image.With(records)
	if err != nil {
		return &DamageError{c.st.dir, 0, fmt.Sprintf("entry at index %d cannot be folded in: %v", e.GetIndex(), err)}
	}
	c.image = next
	c.hooks.committed(next, delta)
	answer(nil)
	return nil
}

// snapshotAt describes the snapshot that could be taken now.
func (c *core) snapshotAt() snapshotMeta {
	term, err := c.st.Term(c.applied)
	invariant.Holds(err == nil, "term of applied index %d: %v", c.applied, err)
	return snapshotMeta{c.applied, term, c.st.next(c.applied), c.image.Version(), proto.Clone(c.conf).(*pb.ConfState), c.members()}
}

// quiet keeps Raft's own log lines away: what an operator acts on, Node tells.
type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (quiet) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
