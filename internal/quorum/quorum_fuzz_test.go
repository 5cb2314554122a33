// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"bytes"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/batch"
	"gregor/internal/meta"
)

func sampleEntries() []*pb.Entry {
	ch := change{sequence: 7, base: 3, ms: 1700000000000}
	for _, r := range []meta.Record{meta.ClusterRecord{ID: "c", Created: 5}, meta.TopicRecord{Name: "t", ID: meta.UUID{1}}, meta.FeatureRecord{Name: "f", Level: 2}} {
		ch.frames = meta.AppendRecord(ch.frames, r)
	}
	return []*pb.Entry{
		{Index: new(uint64(1)), Term: new(uint64(1)), Type: pb.EntryNormal.Enum()},
		{Index: new(uint64(2)), Term: new(uint64(1)), Type: pb.EntryNormal.Enum(), Data: ch.encode()},
		{Index: new(uint64(300)), Term: new(uint64(9)), Type: pb.EntryConfChangeV2.Enum(), Data: []byte{8, 1}},
	}
}

func TestEntryRoundTrip(t *testing.T) {
	t.Parallel()
	for _, e := range sampleEntries() {
		var b batch.Builder
		raw, err := appendEntry(nil, &b, e, 40)
		if err != nil {
			t.Fatal(err)
		}
		v, err := batch.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntry(v)
		if err != nil || got.GetIndex() != e.GetIndex() || got.GetTerm() != e.GetTerm() || got.GetType() != e.GetType() || !bytes.Equal(got.GetData(), e.GetData()) {
			t.Errorf("%v came back as %v, %v", e, got, err)
		}
		shown, err := DecodeEntry(v)
		if err != nil || shown.Offset != 40 || shown.Next != v.NextOffset() || shown.Index != e.GetIndex() {
			t.Errorf("%+v, %v", shown, err)
		}
		for i := range raw {
			bad := append(batch.View(nil), raw...)
			bad[i] ^= 1
			if w, err := batch.Parse(bad); err == nil {
				if _, err := decodeEntry(w); err == nil && w.BaseOffset() == 40 {
					t.Errorf("a flipped bit in byte %d goes unnoticed", i)
				}
			}
		}
	}
}

// FuzzDecodeEntry: no panic, and what decodes is encoded to the same entry.
func FuzzDecodeEntry(f *testing.F) {
	for _, e := range sampleEntries() {
		var b batch.Builder
		raw, err := appendEntry(nil, &b, e, 40)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := batch.Parse(bytes.Clone(raw))
		if err != nil {
			return
		}
		v.UpdateCRC() // so that the fuzzer gets past it
		e, err := decodeEntry(v)
		if err != nil {
			return
		}
		_, _ = DecodeEntry(v)
		var b batch.Builder
		again, err := appendEntry(nil, &b, e, v.BaseOffset())
		if err != nil {
			return // data that no leader would have proposed
		}
		w, err := batch.Parse(again)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntry(w)
		if err != nil || !bytes.Equal(got.GetData(), e.GetData()) || got.GetIndex() != e.GetIndex() {
			t.Fatalf("%v became %v, %v", e, got, err)
		}
	})
}

// FuzzDecodeSnapshot: no panic, and what decodes has the records it says.
func FuzzDecodeSnapshot(f *testing.F) {
	img, _, err := meta.Empty().With([]meta.Record{meta.ClusterRecord{ID: "c"}, meta.TopicRecord{Name: "t", ID: meta.UUID{1}}})
	if err != nil {
		f.Fatal(err)
	}
	var raw []byte
	m := snapshotMeta{index: 5, term: 2, next: 17, version: 1, conf: foundingConf(sampleVoters), voters: sampleVoters}
	if err := encodeSnapshot(m, img, func(b []byte) error { raw = append(raw, b...); return nil }); err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if _, _, err := decodeSnapshot("x", bad); err == nil {
			f.Errorf("a flipped bit in byte %d goes unnoticed", i)
		}
		if _, _, err := decodeSnapshot("x", raw[:i]); err == nil {
			f.Errorf("cut to %d bytes goes unnoticed", i)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := bytes.Clone(raw)
		for rest := b; ; { // let the fuzzer past the checksums
			v, after, err := batch.Next(rest)
			if err != nil {
				break
			}
			v.UpdateCRC()
			rest = after
		}
		m, img, err := decodeSnapshot("x", b)
		if err != nil {
			return
		}
		var again []byte
		if err := encodeSnapshot(m, img, func(b []byte) error { again = append(again, b...); return nil }); err != nil {
			t.Fatal(err)
		}
		if _, img2, err := decodeSnapshot("x", again); err != nil || !meta.Diff(img, img2).Empty() {
			t.Fatalf("%v", err)
		}
	})
}

// FuzzState: no panic on any content of the state file.
func FuzzState(f *testing.F) {
	fd := founding{node: 1, raftID: 4, voters: sampleVoters}
	f.Add(fd.encode(), hardState{1, 2, 3, 4}.encode())
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if fd, ok := decodeFounding(a); ok {
			if got, ok := decodeFounding(fd.encode()); !ok || got.raftID != fd.raftID {
				t.Fatalf("%+v", got)
			}
		}
		if h, ok := decodeHard(b); ok {
			if got, ok := decodeHard(h.encode()); !ok || got != h {
				t.Fatalf("%+v", got)
			}
		}
	})
}
