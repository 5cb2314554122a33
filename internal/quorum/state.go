// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"gregor/internal/invariant"
	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// StateFile keeps what a voter must never forget, beside the log. It is written
// in place, so that a vote costs one sync and no rename:
//
//	page 0  founding        page 1  the same
//	page 2  hard state A    page 3  the same
//	page 4  hard state B    page 5  the same
//
// A page is 4096 bytes of which the head is used:
//
//	founding:    "GREGORQ1" | format u16 = 1 | node id i32 | directory id 16
//	             | raft id u64 | length u16 | cluster id string
//	             | voters (see voters.go) | crc32c u32
//	hard state:  "GREGORH1" | sequence u64 | term u64 | vote u64 | commit u64 | crc32c u32
//
// All integers are big-endian; a CRC covers what stands before it in its page.
//
// Writes of the hard state alternate between A and B, so that a torn write
// leaves the one before; each is there twice, so that one damaged place never
// makes a vote forgotten: a page that is bad beside a good twin is damage, and
// mended; two bad twins are a write that was cut off, or refused when the other
// pair is bad too.
//
// The voters are those that founded the cluster, whether or not this node is
// among them: Raft's log begins after them. None means that the directory was
// formatted to join a cluster and has not heard of it yet. Format 0 had the
// Raft ids of voters in their place (length: how many); it was written by nodes
// that were alone.
const StateFile = "gregor-quorum-state"

const (
	statePage     = 4096
	foundingMagic = "GREGORQ1"
	hardMagic     = "GREGORH1"
	hardSize      = 8 + 4*8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DamageError names a damaged place in a file of the quorum. The node does not
// start: going on could break a promise made to other voters.
type DamageError struct {
	Path   string
	Pos    int64
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.Path, e.Pos, e.Reason)
}

// RaftID derives a voter's Raft id from its node id and the id of its
// directory, so that a voter that lost its log never comes back under the id
// with which it voted before. Raft keeps 0 for nobody; node id 0 is allowed.
func RaftID(node int32, directory meta.UUID) uint64 {
	var b [20]byte
	binary.BigEndian.PutUint32(b[:], uint32(node))
	copy(b[4:], directory[:])
	sum := sha256.Sum256(b[:])
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

// founding is what a directory is told once, when it is formatted.
type founding struct {
	node      int32
	directory meta.UUID
	raftID    uint64
	cluster   string  // "" in files of format 0
	voters    []Voter // that found the quorum, by id
}

// hardState is Raft's, with the number of the write.
type hardState struct {
	sequence, term, vote, commit uint64
}

// stateFile is the open StateFile. Loop-owned.
type stateFile struct {
	fs   vfs.FS
	dir  string
	f    vfs.File // nil until the first save of a new directory
	path string
	founding
	hard hardState
}

// newState is the state of a directory that is not formatted yet: the file
// comes with the first hard state, for one sync of the file and one of the
// directory. Until then nothing was promised, and a crash leaves a directory
// that can be formatted anew.
func newState(fsys vfs.FS, dir string, fd founding) *stateFile {
	invariant.Holds(fd.raftID != 0, "founding %+v", fd)
	return &stateFile{fs: fsys, dir: dir, path: filepath.Join(dir, StateFile), founding: fd}
}

func (s *stateFile) create(h hardState) error {
	// A file that was being made when a crash came does not read, so it was
	// taken for none.
	_ = s.fs.Remove(s.path)
	f, err := s.fs.Create(s.path)
	if err != nil {
		return fmt.Errorf("format metadata directory: %w", err)
	}
	b := make([]byte, 6*statePage)
	fd := s.founding
	page := fd.encode()
	copy(b, page)
	copy(b[statePage:], page)
	hard := h.encode()
	at := (2 + 2*(h.sequence%2)) * statePage
	copy(b[at:], hard)
	copy(b[at+statePage:], hard)
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("format metadata directory: %w", err), f.Close())
	}
	s.f, s.hard = f, h
	return nil
}

// openState reads the file; fs.ErrNotExist when there is none. mended tells
// that a damaged copy was restored from its twin.
func openState(fsys vfs.FS, dir string) (s *stateFile, mended bool, err error) {
	path := filepath.Join(dir, StateFile)
	f, err := fsys.OpenRW(path)
	if err != nil {
		return nil, false, err
	}
	b := make([]byte, 6*statePage)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	s = &stateFile{fs: fsys, dir: dir, f: f, path: path}
	mended, err = s.load(b)
	if err == nil && mended {
		if _, err = f.WriteAt(b, 0); err == nil {
			err = f.Datasync()
		}
	}
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return s, mended, nil
}

// load takes the pages apart and mends in b what has a good twin.
func (s *stateFile) load(b []byte) (mended bool, err error) {
	page := func(i int) []byte { return b[i*statePage : (i+1)*statePage] }
	fd, ok := decodeFounding(page(0))
	fd2, ok2 := decodeFounding(page(1))
	switch {
	case !ok && !ok2:
		return false, &DamageError{s.path, 0, "the founding page does not read"}
	case !ok:
		fd = fd2
		copy(page(0), page(1))
	case !ok2:
		copy(page(1), page(0))
	}
	mended = !ok || !ok2
	s.founding = fd
	found := false
	for _, i := range []int{2, 4} {
		h, ok := decodeHard(page(i))
		h2, ok2 := decodeHard(page(i + 1))
		switch {
		case !ok && !ok2:
			continue
		case ok && ok2 && h != h2:
			// The write was cut off between the twins, so it promised nothing;
			// the later one is as good.
			if h2.sequence > h.sequence {
				h = h2
			}
		case !ok:
			h = h2
			copy(page(i), page(i+1))
			mended = true
		case !ok2:
			copy(page(i+1), page(i))
			mended = true
		}
		if !found || h.sequence > s.hard.sequence {
			s.hard, found = h, true
		}
	}
	if !found {
		return false, &DamageError{s.path, 2 * statePage, "no hard state reads: term and vote are lost"}
	}
	return mended, nil
}

// save makes a hard state durable.
func (s *stateFile) save(term, vote, commit uint64) error {
	h := hardState{s.hard.sequence + 1, term, vote, commit}
	invariant.Holds(term >= s.hard.term, "term goes back from %d to %d", s.hard.term, term)
	invariant.Holds(term > s.hard.term || s.hard.vote == 0 || vote == s.hard.vote,
		"vote in term %d changes from %x to %x", term, s.hard.vote, vote)
	if s.f == nil {
		return s.create(h)
	}
	page := h.encode()
	b := make([]byte, statePage+len(page))
	copy(b, page)
	copy(b[statePage:], page)
	at := int64(2+2*(h.sequence%2)) * statePage
	if _, err := s.f.WriteAt(b, at); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	if err := s.f.Datasync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.path, err)
	}
	s.hard = h
	return nil
}

func (s *stateFile) close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

func (fd founding) encode() []byte {
	be := binary.BigEndian
	b := []byte(foundingMagic)
	b = be.AppendUint16(b, 1)
	b = be.AppendUint32(b, uint32(fd.node))
	b = append(b, fd.directory[:]...)
	b = be.AppendUint64(b, fd.raftID)
	voters := AppendVoters(appendString(nil, fd.cluster), fd.voters)
	b = be.AppendUint16(b, uint16(len(voters)))
	b = append(b, voters...)
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

const foundingFixed = 8 + 2 + 4 + 16 + 8 + 2

func decodeFounding(b []byte) (fd founding, ok bool) {
	be := binary.BigEndian
	if len(b) < foundingFixed || string(b[:8]) != foundingMagic {
		return fd, false
	}
	format, n := be.Uint16(b[8:]), int(be.Uint16(b[foundingFixed-2:]))
	if format == 0 {
		n *= 8
	}
	end := foundingFixed + n
	if format > 1 || end+4 > len(b) || crc32.Checksum(b[:end], castagnoli) != be.Uint32(b[end:]) {
		return fd, false
	}
	fd.node = int32(be.Uint32(b[10:]))
	copy(fd.directory[:], b[14:30])
	fd.raftID = be.Uint64(b[30:])
	if format == 0 {
		if n != 8 || be.Uint64(b[foundingFixed:]) != RaftID(fd.node, fd.directory) {
			return fd, false
		}
		fd.voters = []Voter{{ID: fd.node, Directory: fd.directory}}
		return fd, fd.raftID != 0
	}
	cluster, rest, err := cutString(b[foundingFixed:end])
	if err != nil {
		return fd, false
	}
	fd.cluster = cluster
	fd.voters, rest, err = CutVoters(rest)
	return fd, err == nil && len(rest) == 0 && fd.raftID != 0
}

func (h hardState) encode() []byte {
	be := binary.BigEndian
	b := []byte(hardMagic)
	for _, v := range []uint64{h.sequence, h.term, h.vote, h.commit} {
		b = be.AppendUint64(b, v)
	}
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHard(b []byte) (h hardState, ok bool) {
	be := binary.BigEndian
	if len(b) < hardSize || string(b[:8]) != hardMagic || crc32.Checksum(b[:hardSize-4], castagnoli) != be.Uint32(b[hardSize-4:]) {
		return h, false
	}
	return hardState{be.Uint64(b[8:]), be.Uint64(b[16:]), be.Uint64(b[24:]), be.Uint64(b[32:])}, true
}

// ErrKafkaDirectory: the metadata in the directory was written by Apache Kafka.
var ErrKafkaDirectory = errors.New("the metadata log was written by Apache Kafka, which Gregor does not read: give Gregor log.dirs of its own")

// CheckDirectory tells whether a metadata directory (the one that ends in
// __cluster_metadata-0) is formatted by us, and refuses one of Kafka's. It is
// asked before the log in it is opened.
func CheckDirectory(fsys vfs.FS, dir string) (formatted bool, err error) {
	entries, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into metadata directory: %w", err)
	}
	foreign := false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == StateFile:
			formatted = true
		case name == "quorum-state" || filepath.Ext(name) == ".checkpoint":
			foreign = true
		}
	}
	if foreign {
		return false, fmt.Errorf("%s: %w", dir, ErrKafkaDirectory)
	}
	return formatted, nil
}
