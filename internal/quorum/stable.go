// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/batch"
	"gregor/internal/invariant"
	"gregor/internal/meta"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// Log keeps the entries; *storage.Log meets it.
type Log interface {
	AppendAll(vs []batch.View, a storage.Append) (storage.Appended, error)
	Read(from, upTo int64, maxBytes int, minOne bool) (storage.Slice, error)
	Start() int64
	End() int64
	Flush(wait bool) error
	TruncateTo(off int64) error
	TruncateFully(start int64) error
	IncrementStart(off int64) error
	// SetHighWatermark tells below which offset entries are committed: only
	// those may be given away.
	SetHighWatermark(off int64)
}

// stable is Raft's stable storage: the hard state's file, the log, snapshots,
// and a map from index to offset. It meets raft.Storage. Loop-owned.
//
// Worked example, after a snapshot at index 7 that left the log from 5 on
// (the snapshot before was at 4):
//
//	floor = {index 4, term 1, next 30}
//	slots = [{term 1, off 30, end 33}, {1, 33, 34}, {2, 34, 35}, ...]   index 5, 6, 7, ...
//	snaps = [4, 7]
//
// Invariants: slots[i] is the entry of index floor.index+1+i; offsets touch;
// terms never fall; every entry in slots is in the log and flushed, unless
// Append is running.
type stable struct {
	fs    vfs.FS
	dir   string
	log   Log
	state *stateFile

	floor snapshotMeta // the entry before the first in slots
	slots []slot
	// settled is the index, at open, of the last change of voters but one: a
	// leader proposes a change only after the one before is committed, so a log
	// that has both knows that of the first. 0: it has not two.
	//
	// The commit index is not made durable with every entry, and a restart goes
	// back to an older one. Were it to go back by two changes of voters, this
	// node could be elected by a majority of voters that were, which need not
	// meet one of those that are (TestSimMembership showed it); by one it must.
	settled uint64
	snaps   []snapshotMeta // on disk, oldest first, at most keepSnapshots
	image   *meta.Image    // of the last snapshot, at open
	spoiled error          // why the last snapshot is to be written anew, nil: it is not

	tail      []*pb.Entry // the last entries, so that peers and apply need no disk
	tailBytes int

	again   func(error) bool // asked after a failed append whether to repeat it; may wait
	build   batch.Builder
	scratch []byte
}

type slot struct {
	term     uint64
	off, end int64
}

const (
	// keepSnapshots: the one before the last stays, with the log from there
	// on, so that a damaged snapshot can be made up for.
	keepSnapshots = 2
	// maxTailBytes bounds the entries kept decoded in memory.
	maxTailBytes = 4 << 20
	readBytes    = 1 << 20
)

var _ raft.Storage = (*stable)(nil)

func (s *stable) lastIndex() uint64 { return s.floor.index + uint64(len(s.slots)) }

func (s *stable) lastTerm() uint64 {
	if n := len(s.slots); n > 0 {
		return s.slots[n-1].term
	}
	return s.floor.term
}

// next is the offset after the entry at index, which is floor's or in slots.
func (s *stable) next(index uint64) int64 {
	if index == s.floor.index {
		return s.floor.next
	}
	return s.slots[index-s.floor.index-1].end
}

// lastSnapshot is the newest on disk, or the founding one that is not.
func (s *stable) lastSnapshot() snapshotMeta {
	if n := len(s.snaps); n > 0 {
		return s.snaps[n-1]
	}
	return snapshotMeta{conf: foundingConf(s.state.voters), voters: s.state.voters}
}

func foundingConf(voters []Voter) *pb.ConfState { return &pb.ConfState{Voters: raftIDs(voters)} }

// InitialState, Entries, Term, LastIndex, FirstIndex and Snapshot are Raft's
// questions; see raft.Storage.
func (s *stable) InitialState() (*pb.HardState, *pb.ConfState, error) {
	h := s.state.hard
	hs := &pb.HardState{Term: new(h.term), Vote: new(h.vote), Commit: new(max(h.commit, s.lastSnapshot().index, s.settled))}
	return hs, s.lastSnapshot().conf, nil
}

func (s *stable) LastIndex() (uint64, error)  { return s.lastIndex(), nil }
func (s *stable) FirstIndex() (uint64, error) { return s.floor.index + 1, nil }

func (s *stable) Term(i uint64) (uint64, error) {
	switch {
	case i < s.floor.index:
		return 0, raft.ErrCompacted
	case i == s.floor.index:
		return s.floor.term, nil
	case i > s.lastIndex():
		return 0, raft.ErrUnavailable
	}
	return s.slots[i-s.floor.index-1].term, nil
}

func (s *stable) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= s.floor.index {
		return nil, raft.ErrCompacted
	}
	if hi > s.lastIndex()+1 {
		return nil, raft.ErrUnavailable
	}
	var out []*pb.Entry
	size := uint64(0)
	add := func(e *pb.Entry) bool {
		size += uint64(len(e.GetData())) + 16
		if len(out) > 0 && size > maxSize {
			return false
		}
		out = append(out, e)
		return e.GetIndex()+1 < hi
	}
	inTail := s.lastIndex() + 1 - uint64(len(s.tail)) // the first index in tail
	if lo < inTail {
		more := true
		err := s.read(s.next(lo-1), s.next(min(hi, inTail)-1), func(_ batch.View, e *pb.Entry) error {
			more = more && add(e)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !more || hi <= inTail {
			return out, nil
		}
		lo = inTail
	}
	for _, e := range s.tail[lo-inTail:] {
		if !add(e) {
			break
		}
	}
	return out, nil
}

// Snapshot gives Raft the newest snapshot for a peer that is too far behind:
// its file as it is. One that was damaged since it was written is not given
// away, since whoever installs it would stop; another is to be written.
func (s *stable) Snapshot() (*pb.Snapshot, error) {
	if len(s.snaps) == 0 || s.spoiled != nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	m := s.lastSnapshot()
	path := filepath.Join(s.dir, m.fileName())
	data, err := vfs.ReadFile(s.fs, path)
	if err == nil {
		err = checkSnapshotBytes(path, data)
	}
	if err != nil {
		s.spoiled = fmt.Errorf("the snapshot for a controller that is behind does not read: %w", err)
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &pb.Snapshot{Data: data, Metadata: &pb.SnapshotMetadata{ConfState: m.conf, Index: new(m.index), Term: new(m.term)}}, nil
}

// read calls fn for the entries in [from, upTo) of the log.
func (s *stable) read(from, upTo int64, fn func(batch.View, *pb.Entry) error) error {
	for from < upTo {
		next, err := s.readSome(from, upTo, fn)
		if err != nil {
			return err
		}
		if next <= from {
			return fmt.Errorf("metadata log ends at offset %d, before %d", from, upTo)
		}
		from = next
	}
	return nil
}

func (s *stable) readSome(from, upTo int64, fn func(batch.View, *pb.Entry) error) (next int64, err error) {
	sl, err := s.log.Read(from, upTo, readBytes, true)
	if err != nil {
		return 0, fmt.Errorf("read metadata log at offset %d: %w", from, err)
	}
	if sl.Release != nil {
		defer sl.Release()
	}
	b := sl.Bytes
	if b == nil && sl.N > 0 {
		b = make([]byte, sl.N)
		if n, err := sl.File.ReadAt(b, sl.Off); n < len(b) && err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read metadata log at offset %d: %w", from, err)
		}
	}
	next = from
	for all := len(b); len(b) > 0; {
		v, rest, err := batch.Next(b)
		if err != nil {
			return 0, s.damaged(sl, all-len(b), fmt.Errorf("offset %d: %w", next, err))
		}
		e, err := decodeEntry(v)
		if err != nil {
			return 0, s.damaged(sl, all-len(b), fmt.Errorf("offset %d: %w", v.BaseOffset(), err))
		}
		err = fn(v, e)
		var misplaced misplacedError
		if errors.As(err, &misplaced) {
			return 0, s.damaged(sl, all-len(b), err)
		}
		if err != nil {
			return 0, err
		}
		next, b = v.NextOffset(), rest
	}
	return next, nil
}

// misplacedError says that an entry does not belong where it stands.
type misplacedError string

func (e misplacedError) Error() string { return string(e) }

// damaged names what is wrong at a position of a slice.
func (s *stable) damaged(sl storage.Slice, at int, why error) error {
	d := &DamageError{Path: sl.Path, Pos: sl.Off + int64(at), Reason: why.Error()}
	if d.Path == "" {
		d.Path = s.dir
	}
	return d
}

// open reads what is on disk and checks that its parts belong together.
func (s *stable) open() (warnings []error, err error) {
	if warnings, err = s.openSnapshots(); err != nil {
		return warnings, err
	}
	if err := s.openLog(); err != nil {
		return warnings, err
	}
	h := s.state.hard
	switch last := s.lastIndex(); {
	case h.commit > last:
		return warnings, &DamageError{s.dir, 0, fmt.Sprintf("the log ends at index %d, but %d were committed", last, h.commit)}
	case h.term < s.lastTerm():
		return warnings, &DamageError{s.state.path, 2 * statePage, fmt.Sprintf("term %d is below the log's %d", h.term, s.lastTerm())}
	}
	return warnings, nil
}

// openSnapshots loads the newest snapshot that reads. A damaged one is told,
// and the one before serves if the log still begins there.
func (s *stable) openSnapshots() (warnings []error, err error) {
	entries, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	s.image = meta.Empty()
	for _, e := range slices.Backward(entries) {
		name := e.Name()
		if filepath.Ext(name) == ".tmp" {
			_ = s.fs.Remove(filepath.Join(s.dir, name)) // a snapshot that was never finished
			continue
		}
		index, term, ok := parseSnapshotName(name)
		if !ok {
			continue
		}
		path := filepath.Join(s.dir, name)
		b, err := vfs.ReadFile(s.fs, path)
		if err != nil {
			return warnings, err
		}
		m, img, err := decodeSnapshot(path, b)
		if err == nil && (m.index != index || m.term != term) {
			err = &DamageError{path, 0, fmt.Sprintf("the file holds the snapshot of index %d, term %d", m.index, m.term)}
		}
		if err != nil {
			if errors.Is(err, meta.ErrUnknownRecord) {
				return warnings, err
			}
			warnings = append(warnings, err)
			continue
		}
		if m.voters == nil { // written by a node that was alone
			m.voters = s.state.voters
		}
		if len(s.snaps) == 0 {
			s.image = img
		}
		s.snaps = slices.Insert(s.snaps, 0, m)
	}
	return warnings, nil
}

// openLog builds the map from index to offset.
func (s *stable) openLog() error {
	s.findFloor()
	lastChange := uint64(0)
	err := s.read(max(s.floor.next, s.log.Start()), s.log.End(), func(v batch.View, e *pb.Entry) error {
		want := s.lastIndex() + 1
		if e.GetIndex() != want || v.BaseOffset() != s.next(want-1) || e.GetTerm() < s.lastTerm() {
			return misplacedError(fmt.Sprintf("offset %d holds index %d of term %d, where index %d at offset %d belongs (the snapshots or entries before it are gone)",
				v.BaseOffset(), e.GetIndex(), e.GetTerm(), want, s.next(want-1)))
		}
		s.slots = append(s.slots, slot{e.GetTerm(), v.BaseOffset(), v.NextOffset()})
		s.remember(e)
		if kindOf(e) == entryVoters {
			s.settled, lastChange = lastChange, want
		}
		return nil
	})
	if err != nil {
		return err
	}
	if term, err := s.Term(s.lastSnapshot().index); err != nil || term != s.lastSnapshot().term {
		// A leader's snapshot had come, and a crash before the log was moved
		// up to it (see install).
		return s.moveTo(s.lastSnapshot())
	}
	if end := s.log.End(); len(s.slots) == 0 && end > s.floor.next {
		return &DamageError{s.dir, 0, fmt.Sprintf("the log begins at offset %d, after the snapshot's %d", end, s.floor.next)}
	} else if end < s.floor.next {
		return s.moveTo(s.floor)
	}
	return nil
}

// findFloor takes the oldest snapshot from which the log goes on. Older ones
// are left over from a trim that a crash cut off: the log gave its entries
// away, the directory had not forgotten them yet.
func (s *stable) findFloor() {
	for len(s.snaps) > 1 && s.snaps[0].next < s.log.Start() {
		_ = s.fs.Remove(filepath.Join(s.dir, s.snaps[0].fileName()))
		s.snaps = s.snaps[1:]
	}
	if len(s.snaps) > 0 {
		s.floor = s.snaps[0]
	}
}

// moveTo makes the log begin after a snapshot, with nothing in it.
func (s *stable) moveTo(m snapshotMeta) error {
	if err := s.log.TruncateFully(m.next); err != nil {
		return fmt.Errorf("move metadata log to the snapshot: %w", err)
	}
	for _, o := range s.snaps {
		if o.index != m.index {
			_ = s.fs.Remove(filepath.Join(s.dir, o.fileName()))
		}
	}
	s.snaps, s.floor = []snapshotMeta{m}, m
	s.slots, s.tail, s.tailBytes = nil, nil, 0
	s.settled = 0
	return nil
}

func (s *stable) remember(e *pb.Entry) {
	s.tail = append(s.tail, e)
	s.tailBytes += len(e.GetData())
	for s.tailBytes > maxTailBytes && len(s.tail) > 1 {
		s.tailBytes -= len(s.tail[0].GetData())
		s.tail[0] = nil
		s.tail = s.tail[1:]
	}
}

// append writes entries, over others if a leader says so, and returns when
// they are durable.
func (s *stable) append(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].GetIndex()
	invariant.Holds(first > s.floor.index && first <= s.lastIndex()+1, "entry %d after %d", first, s.lastIndex())
	invariant.Holds(entries[len(entries)-1].GetTerm() <= s.state.hard.term, "entries of term %d before it is durable", entries[len(entries)-1].GetTerm())
	if first <= s.lastIndex() {
		if err := s.cut(first); err != nil {
			return err
		}
	}
	s.scratch = s.scratch[:0]
	off := s.next(first - 1)
	views := make([]batch.View, 0, len(entries))
	slots := make([]slot, 0, len(entries))
	ends := make([]int, 0, len(entries))
	for _, e := range entries {
		var err error
		if s.scratch, err = appendEntry(s.scratch, &s.build, e, off); err != nil {
			return fmt.Errorf("encode entry %d: %w", e.GetIndex(), err)
		}
		next := s.build.NextOffset()
		slots = append(slots, slot{e.GetTerm(), off, next})
		ends = append(ends, len(s.scratch))
		off = next
	}
	at := 0
	for _, end := range ends {
		views = append(views, batch.View(s.scratch[at:end:end]))
		at = end
	}
	for {
		_, err := s.log.AppendAll(views, storage.Append{LeaderEpoch: views[len(views)-1].LeaderEpoch(), Origin: storage.Replication})
		if err == nil {
			break
		}
		if s.again == nil || !s.again(err) {
			return fmt.Errorf("append to metadata log: %w", err)
		}
	}
	if err := s.log.Flush(true); err != nil {
		return fmt.Errorf("flush metadata log: %w", err)
	}
	s.slots = append(s.slots, slots...)
	for _, e := range entries {
		s.remember(e)
	}
	if cap(s.scratch) > readBytes {
		s.scratch = nil
	}
	return nil
}

// cut removes the entries from index on.
func (s *stable) cut(index uint64) error {
	if err := s.log.TruncateTo(s.next(index - 1)); err != nil {
		return fmt.Errorf("truncate metadata log: %w", err)
	}
	gone := int(s.lastIndex() + 1 - index)
	s.slots = s.slots[:len(s.slots)-gone]
	if gone >= len(s.tail) {
		s.tail, s.tailBytes = nil, 0
		return nil
	}
	for _, e := range s.tail[len(s.tail)-gone:] {
		s.tailBytes -= len(e.GetData())
	}
	s.tail = s.tail[:len(s.tail)-gone]
	return nil
}

// install puts a leader's snapshot in the place of the log.
func (s *stable) install(p *pb.Snapshot) (*meta.Image, error) {
	m, img, err := decodeSnapshot("snapshot from the leader", p.GetData())
	if err != nil {
		return nil, err
	}
	if m.index != p.GetMetadata().GetIndex() || m.term != p.GetMetadata().GetTerm() {
		return nil, fmt.Errorf("snapshot of index %d sent as that of %d", m.index, p.GetMetadata().GetIndex())
	}
	if _, err := writeSnapshot(s.fs, s.dir, m, img); err != nil {
		return nil, err
	}
	// A crash here leaves the old log beside the snapshot; openLog finds out.
	if err := s.moveTo(m); err != nil {
		return nil, err
	}
	return img, nil
}

// snapshotted takes a snapshot in that was written aside, forgets the oldest
// beyond keepSnapshots, and trims the log up to the oldest that is left.
func (s *stable) snapshotted(m snapshotMeta) error {
	if m.index <= s.lastSnapshot().index && len(s.snaps) > 0 || m.index > s.lastIndex() {
		return nil // a leader's snapshot overtook it
	}
	s.snaps = append(s.snaps, m)
	if len(s.snaps) <= keepSnapshots {
		return nil
	}
	gone := s.snaps[:len(s.snaps)-keepSnapshots]
	s.snaps = slices.Clone(s.snaps[len(gone):])
	floor := s.snaps[0]
	drop := int(floor.index - s.floor.index)
	if keep := int(s.lastIndex() - floor.index); keep < len(s.tail) {
		s.tail = slices.Clone(s.tail[len(s.tail)-keep:])
		s.tailBytes = 0
		for _, e := range s.tail {
			s.tailBytes += len(e.GetData())
		}
	}
	s.slots = slices.Clone(s.slots[drop:])
	s.floor = floor
	if err := s.log.IncrementStart(floor.next); err != nil {
		return fmt.Errorf("trim metadata log: %w", err)
	}
	for _, o := range gone {
		_ = s.fs.Remove(filepath.Join(s.dir, o.fileName()))
	}
	return nil
}
