// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"reflect"
	"testing"

	"gregor/internal/storage/epoch"
	"gregor/internal/storage/producer"
	"gregor/internal/storage/segment"
)

// Goal: no file of a log directory, whatever bytes it holds, makes a start
// panic or allocate without bound; what is accepted is written back the same.

func FuzzOffsets(f *testing.F) {
	f.Add(encodeOffsets(map[Name]int64{{"a", 0}: 5, {"a-b", 10}: 1 << 60}))
	f.Add([]byte("0\n1\na 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseOffsets(b)
		if err != nil {
			return
		}
		again, err := parseOffsets(encodeOffsets(m))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%v, again %v (%v)", m, again, err)
		}
	})
}

func FuzzCatalogue(f *testing.F) {
	n := Name{"topic", 3}
	f.Add(encodeCatalogue(testID, []Name{n}, map[Name]*known{n: {id: testID, start: 1, end: 9, hw: 5, unstable: -1,
		epochs:    []epoch.Entry{{Epoch: 1, Start: 0}},
		segs:      []segment.Known{{Base: 0, Size: 100, Next: 9, MaxTimestamp: 5, MaxOffset: 8}},
		producers: producer.NewTable().AppendFull(nil)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		nonce, logs, err := parseCatalogue(b)
		if err != nil {
			return
		}
		var names []Name
		for n, k := range logs {
			names = append(names, n)
			_, _ = producer.NewTable().LoadFull(k.producers)
		}
		_, again, err := parseCatalogue(encodeCatalogue(nonce, names, logs))
		if err != nil || !reflect.DeepEqual(logs, again) {
			t.Fatalf("not the same again: %v", err)
		}
	})
}

func FuzzPoints(f *testing.F) {
	s := make([]byte, 2*slotSize)
	putSlot(s[slotSize:], pointKey{testID, 7}, point{100, 5, 90, 7, 3, 12})
	f.Add(s)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &points{found: map[pointKey]int{}}
		bad := p.parse(b)
		if n := len(b) / slotSize; bad > n || len(p.found)+len(p.free) != n {
			t.Fatalf("%d slots: %d bad, %d used, %d free", n, bad, len(p.found), len(p.free))
		}
		for key := range p.found {
			pt, ok := p.lookup(key)
			if !ok {
				t.Fatal("a slot that was found is gone")
			}
			again := make([]byte, slotSize)
			putSlot(again, key, pt)
			if k, x, ok := parseSlot(again); !ok || k != key || x != pt {
				t.Fatal("not the same again")
			}
		}
	})
}

func FuzzMetaProperties(f *testing.F) {
	f.Add(metaProperties{clusterID: "cluster", nodeID: 3, directoryID: testID}.encode())
	f.Add([]byte("#\n#Sat\nnode.id=1\ndirectory.id=9Zxjt5QfRQuRpRcrWl0cTA\nversion=1\ncluster.id=x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMetaProperties(b)
		if err != nil || bytes.ContainsAny([]byte(m.clusterID), "\r\n") {
			return
		}
		again, err := parseMetaProperties(m.encode())
		if err != nil || again.nodeID != m.nodeID || again.directoryID != m.directoryID {
			t.Fatalf("%+v, again %+v (%v)", m, again, err)
		}
		_, _ = parsePartitionMeta(b)
		_, _ = parseLogDir(string(b))
	})
}

func TestLogDirNames(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"a-0": true, "a-b-12": true, "a": false, "a-": false, "-0": false, "a-01": false,
		"a-0.c0ffee-delete": false, "a-0-future": false, "a--1": true, "a-4294967296": false, "__cluster_metadata-0": true} {
		n, ok := parseLogDir(s)
		if ok != want || ok && n.String() != s {
			t.Errorf("%s: %v %v", s, n, ok)
		}
	}
	if n := deletedDirName(Name{string(bytes.Repeat([]byte("x"), 249)), 12345}); len(n) > 255 {
		t.Errorf("%d bytes are too long a name", len(n))
	}
}

func FuzzMoves(f *testing.F) {
	f.Add("3\n", "t-0.0123456789abcdef0123456789abcdef-future")
	f.Add("-1", "a.b-12.-future")
	f.Fuzz(func(t *testing.T, moves, dir string) {
		if n, err := parseMoves([]byte(moves)); err == nil && n < 0 {
			t.Fatal(n)
		}
		n, ok := parseFutureDir(dir)
		if ok && (n.Partition < 0 || n.Topic == "" || dir[:len(n.String())+1] != n.String()+".") {
			t.Fatal(dir, n)
		}
	})
}
