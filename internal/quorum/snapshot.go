// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gregor/internal/batch"
	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// A snapshot is the Image at an index, in a file of record batches named
// <index, 20 digits>-<term, 10 digits>.gregor-snapshot:
//
//	batch 0, control   one record: format u8 = 1 | index uvarint | term uvarint
//	                   | next offset uvarint | version uvarint
//	                   | length uvarint, Raft's ConfState | voters (see voters.go)
//	batches            the Image's records, one frame each, about 1 MiB a batch
//	last, control      one record: count of frames uvarint
//
// Base offsets count records within the file. It is written beside, synced and
// renamed, so one that is there is whole; every batch has its CRC, and the last
// one tells that nothing is missing. In format 0 Raft's ConfState stands last,
// without a length.
const snapshotSuffix = ".gregor-snapshot"

const snapshotBatchBytes = 1 << 20

// snapshotMeta is the head of a snapshot.
type snapshotMeta struct {
	index, term uint64
	next        int64 // offset in the log after the entry at index
	version     int64
	conf        *pb.ConfState
	voters      []Voter // those in conf, by id; nil in format 0
}

func (m snapshotMeta) fileName() string {
	return fmt.Sprintf("%020d-%010d%s", m.index, m.term, snapshotSuffix)
}

// parseSnapshotName reads index and term off a name.
func parseSnapshotName(name string) (index, term uint64, ok bool) {
	name, ok = strings.CutSuffix(name, snapshotSuffix)
	if !ok || len(name) != 31 || name[20] != '-' {
		return 0, 0, false
	}
	index, err1 := strconv.ParseUint(name[:20], 10, 64)
	term, err2 := strconv.ParseUint(name[21:], 10, 64)
	return index, term, err1 == nil && err2 == nil
}

// encodeSnapshot gives the bytes of the file to write, piece by piece.
func encodeSnapshot(m snapshotMeta, img *meta.Image, write func([]byte) error) error {
	conf, err := proto.Marshal(m.conf)
	if err != nil {
		return err
	}
	head := []byte{1}
	for _, v := range []uint64{m.index, m.term, uint64(m.next), uint64(m.version)} {
		head = binary.AppendUvarint(head, v)
	}
	var b batch.Builder
	offset := int64(0)
	flush := func() error {
		v, err := b.Bytes()
		if err != nil {
			return err
		}
		offset = b.NextOffset()
		return write(v)
	}
	begin := func(control bool) {
		b.Reset()
		b.SetBaseOffset(offset)
		b.SetLeaderEpoch(int32(m.term))
		b.SetControl(control)
	}
	head = append(binary.AppendUvarint(head, uint64(len(conf))), conf...)
	begin(true)
	b.Append(0, nil, AppendVoters(head, m.voters))
	if err := flush(); err != nil {
		return err
	}
	begin(false)
	var frame []byte
	count := uint64(0)
	for r := range img.Records() {
		frame = meta.AppendRecord(frame[:0], r)
		b.Append(0, nil, frame)
		count++
		if b.Size() >= snapshotBatchBytes {
			if err := flush(); err != nil {
				return err
			}
			begin(false)
		}
	}
	if b.Count() > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	begin(true)
	b.Append(0, nil, binary.AppendUvarint(nil, count))
	return flush()
}

// decodeSnapshot reads a whole file. Damage is told with its position.
func decodeSnapshot(path string, b []byte) (m snapshotMeta, img *meta.Image, err error) {
	bad := func(rest []byte, err error) (snapshotMeta, *meta.Image, error) {
		return m, nil, &DamageError{path, int64(len(b) - len(rest)), err.Error()}
	}
	var load *meta.Loader
	var count uint64
	var next int64
	for rest := b; ; {
		v, after, err := batch.Next(rest)
		if err == nil {
			err = v.CheckCRC()
		}
		if err == nil && (v.BaseOffset() != next || load != nil && uint64(v.LeaderEpoch()) != m.term) {
			err = fmt.Errorf("base offset %d, leader epoch %d out of line", v.BaseOffset(), v.LeaderEpoch()) // the checksum leaves them out
		}
		if err != nil {
			return bad(rest, err)
		}
		next = v.NextOffset()
		first := load == nil
		switch {
		case first && v.Attributes().Control():
			if m, err = decodeSnapshotHead(v); err == nil && m.term != uint64(v.LeaderEpoch()) {
				err = errors.New("leader epoch and term differ")
			}
			if err == nil {
				load = meta.NewLoader(m.version)
			}
		case first:
			err = errors.New("no head")
		case v.Attributes().Control():
			if err = checkSnapshotEnd(v, count); err == nil && len(after) > 0 {
				err = errors.New("bytes after the end")
			}
			if err == nil {
				return m, load.Image(), nil
			}
		default:
			err = v.Each(nil, func(r batch.Record) error {
				rec, left, err := meta.DecodeRecord(r.Value)
				if err == nil && len(left) > 0 {
					err = errors.New("bytes after a record")
				}
				if err == nil {
					err = load.Add(rec)
				}
				count++
				return err
			})
		}
		if err != nil {
			return bad(rest, err)
		}
		rest = after
	}
}

// checkSnapshotBytes looks at the checksums of a file, and for its end.
func checkSnapshotBytes(path string, b []byte) error {
	ended := false
	for rest := b; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err == nil {
			err = v.CheckCRC()
		}
		if err != nil {
			return &DamageError{path, int64(len(b) - len(rest)), err.Error()}
		}
		ended = v.BaseOffset() > 0 && v.Attributes().Control()
		rest = after
	}
	if !ended {
		return &DamageError{path, int64(len(b)), "it has no end"}
	}
	return nil
}

func onlyValue(v batch.View) ([]byte, error) {
	r := batch.NewReader(v.Records(), v.Count())
	rec, ok, err := r.Next()
	if err == nil && (!ok || v.Count() != 1 || v.Attributes().Codec() != batch.None) {
		err = errors.New("not one record")
	}
	return rec.Value, err
}

func decodeSnapshotHead(v batch.View) (m snapshotMeta, err error) {
	b, err := onlyValue(v)
	if err != nil {
		return m, err
	}
	if len(b) == 0 || b[0] > 1 {
		return m, errors.New("unknown format of snapshot")
	}
	format := b[0]
	b = b[1:]
	var fields [4]uint64
	for i := range fields {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return m, errors.New("malformed head")
		}
		fields[i], b = x, b[n:]
	}
	m = snapshotMeta{index: fields[0], term: fields[1], next: int64(fields[2]), version: int64(fields[3]), conf: &pb.ConfState{}}
	if format == 0 {
		return m, proto.Unmarshal(b, m.conf)
	}
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return m, errors.New("malformed head")
	}
	b = b[used:]
	if err := proto.Unmarshal(b[:n], m.conf); err != nil {
		return m, err
	}
	m.voters, b, err = CutVoters(b[n:])
	if err == nil && len(b) > 0 {
		err = errors.New("bytes after the voters")
	}
	return m, err
}

func checkSnapshotEnd(v batch.View, count uint64) error {
	b, err := onlyValue(v)
	if err != nil {
		return err
	}
	if want, n := binary.Uvarint(b); n <= 0 || want != count {
		return fmt.Errorf("%d records, the end says %d", count, want)
	}
	return nil
}

// writeSnapshot makes the file and makes it durable.
func writeSnapshot(fsys vfs.FS, dir string, m snapshotMeta, img *meta.Image) (size int64, err error) {
	path := filepath.Join(dir, m.fileName())
	tmp := path + ".tmp"
	_ = fsys.Remove(tmp)
	f, err := fsys.Create(tmp)
	if err != nil {
		return 0, err
	}
	err = encodeSnapshot(m, img, func(b []byte) error {
		_, err := f.WriteAt(b, size)
		size += int64(len(b))
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		_ = fsys.Remove(tmp)
		return 0, fmt.Errorf("write snapshot %s: %w", path, err)
	}
	return size, nil
}

// Snapshot is a snapshot for people and tools.
type Snapshot struct {
	Index, Term uint64
	Next        int64
	Version     int64
	Image       *meta.Image
}

// ReadSnapshot reads the bytes of a snapshot file; path is for errors.
func ReadSnapshot(path string, r io.Reader) (Snapshot, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return Snapshot{}, err
	}
	m, img, err := decodeSnapshot(path, b)
	return Snapshot{m.index, m.term, m.next, m.version, img}, err
}
