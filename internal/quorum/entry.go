// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/batch"
	"gregor/internal/meta"
)

// entryKind is what an entry is for; the numbers are on disk.
type entryKind byte

const (
	entryEmpty  entryKind = 0 // a new leader's first entry
	entryChange entryKind = 1 // records
	entryVoters entryKind = 2 // a change of voters, in Raft's own bytes
)

// change is the decoded data of an entryChange.
type change struct {
	sequence uint64 // of the proposal, among those of the entry's term
	base     int64  // version of the Image it was decided on
	ms       int64  // the proposer's clock
	frames   []byte
}

const changeFormat = 0

func (c change) encode() []byte {
	b := make([]byte, 0, 1+3*binary.MaxVarintLen64+len(c.frames))
	b = append(b, changeFormat)
	b = binary.AppendUvarint(b, c.sequence)
	b = binary.AppendVarint(b, c.base)
	b = binary.AppendVarint(b, c.ms)
	return append(b, c.frames...)
}

var errChange = errors.New("malformed change")

// cutChange splits the data of an entry into its head and the frames.
func cutChange(data []byte) (c change, head int, err error) {
	if len(data) == 0 || data[0] != changeFormat {
		return c, 0, errChange
	}
	rest := data[1:]
	var n int
	if c.sequence, n = binary.Uvarint(rest); n <= 0 {
		return c, 0, errChange
	}
	rest = rest[n:]
	if c.base, n = binary.Varint(rest); n <= 0 {
		return c, 0, errChange
	}
	rest = rest[n:]
	if c.ms, n = binary.Varint(rest); n <= 0 {
		return c, 0, errChange
	}
	c.frames = rest[n:]
	return c, len(data) - len(c.frames), nil
}

// records decodes the frames.
func (c change) records() ([]meta.Record, error) {
	var out []meta.Record
	for b := c.frames; len(b) > 0; {
		r, rest, err := meta.DecodeRecord(b)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		b = rest
	}
	return out, nil
}

// kindOf tells what an entry is for.
func kindOf(e *pb.Entry) entryKind {
	switch {
	case e.GetType() != pb.EntryNormal:
		return entryVoters
	case len(e.GetData()) == 0:
		return entryEmpty
	default:
		return entryChange
	}
}

// appendEntry appends e as a batch that begins at offset base.
func appendEntry(dst []byte, b *batch.Builder, e *pb.Entry, base int64) ([]byte, error) {
	if e.GetTerm() > math.MaxInt32 {
		return dst, fmt.Errorf("term %d does not fit a leader epoch", e.GetTerm())
	}
	kind := kindOf(e)
	b.Reset()
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(int32(e.GetTerm()))
	head := binary.AppendUvarint([]byte{byte(kind)}, e.GetIndex())
	head = binary.AppendUvarint(head, e.GetTerm())
	switch kind {
	case entryEmpty:
		b.Append(batch.NoTimestamp, nil, head)
	case entryVoters:
		b.Append(batch.NoTimestamp, nil, head)
		// V2 changes are the only ones proposed; older ones are kept as they are.
		b.Append(batch.NoTimestamp, nil, append([]byte{byte(e.GetType())}, e.GetData()...))
	case entryChange:
		c, n, err := cutChange(e.GetData())
		if err != nil {
			return dst, err
		}
		b.Append(c.ms, nil, head)
		b.Append(c.ms, nil, e.GetData()[:n])
		for rest := c.frames; len(rest) > 0; {
			frame, after, err := meta.NextFrame(rest)
			if err != nil {
				return dst, err
			}
			b.Append(c.ms, nil, frame)
			rest = after
		}
	}
	v, err := b.Bytes()
	if err != nil {
		return dst, err
	}
	return append(dst, v...), nil
}

var errHead = errors.New("malformed head of an entry")

// decodeEntry is the inverse of appendEntry. The entry borrows nothing.
func decodeEntry(v batch.View) (*pb.Entry, error) {
	if err := v.CheckCRC(); err != nil {
		return nil, err
	}
	e := &pb.Entry{}
	r := batch.NewReader(v.Records(), v.Count())
	if v.Attributes() != 0 {
		return nil, fmt.Errorf("batch attributes %#x", uint16(v.Attributes()))
	}
	head, ok, err := r.Next()
	if err != nil || !ok || len(head.Value) < 2 || head.Key != nil {
		return nil, errors.Join(errors.New("no head of an entry of ours"), err)
	}
	index, n := binary.Uvarint(head.Value[1:])
	if n <= 0 {
		return nil, errHead
	}
	term, m := binary.Uvarint(head.Value[1+n:])
	if m != len(head.Value)-1-n {
		return nil, errHead
	}
	// The batch's leader epoch lies outside its checksum.
	if term != uint64(v.LeaderEpoch()) {
		return nil, fmt.Errorf("leader epoch %d on an entry of term %d", v.LeaderEpoch(), term)
	}
	e.Index, e.Term = &index, &term
	kind := entryKind(head.Value[0])
	var data []byte
	for {
		rec, ok, err := r.Next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		data = append(data, rec.Value...)
	}
	switch {
	case kind == entryEmpty && len(data) == 0:
		e.Type = pb.EntryNormal.Enum()
	case kind == entryVoters && len(data) > 0 && pb.EntryType_name[int32(data[0])] != "":
		e.Type, e.Data = pb.EntryType(data[0]).Enum(), data[1:]
	case kind == entryChange && len(data) > 0:
		e.Type, e.Data = pb.EntryNormal.Enum(), data
	default:
		return nil, fmt.Errorf("entry of kind %d with %d bytes", kind, len(data))
	}
	return e, nil
}

// Entry is an entry of the log for people and tools.
type Entry struct {
	Offset  int64 // of the batch
	Next    int64 // the offset after it
	Term    int32
	Index   uint64
	Kind    string // "empty", "change" or "voters"
	Base    int64  // of a change: the version it was decided on
	Time    int64  // of a change: ms since 1970
	Records []meta.Record
}

// DecodeEntry reads a batch of the metadata log.
func DecodeEntry(v batch.View) (Entry, error) {
	e, err := decodeEntry(v)
	if err != nil {
		return Entry{}, err
	}
	out := Entry{Offset: v.BaseOffset(), Next: v.NextOffset(), Term: v.LeaderEpoch(), Index: e.GetIndex()}
	switch kindOf(e) {
	case entryEmpty:
		out.Kind = "empty"
	case entryVoters:
		out.Kind = "voters"
	case entryChange:
		c, _, err := cutChange(e.GetData())
		if err != nil {
			return out, err
		}
		out.Kind, out.Base, out.Time = "change", c.base, c.ms
		if out.Records, err = c.records(); err != nil {
			return out, err
		}
	}
	return out, nil
}
