// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"gregor/internal/meta"
)

var sampleVoters = []Voter{
	{ID: 0, Directory: meta.UUID{1}, Endpoints: []meta.Endpoint{{Listener: "CONTROLLER", Host: "a", Port: 9093}}},
	{ID: 7, Directory: meta.UUID{2}},
}

// A directory that a node alone wrote before voters had names still opens.
func TestFoundingOfFormatZero(t *testing.T) {
	t.Parallel()
	be := binary.BigEndian
	dir := meta.UUID{3: 9}
	b := be.AppendUint32(be.AppendUint16([]byte(foundingMagic), 0), 4)
	b = be.AppendUint64(append(b, dir[:]...), RaftID(4, dir))
	b = be.AppendUint64(be.AppendUint16(b, 1), RaftID(4, dir))
	b = be.AppendUint32(b, crc32.Checksum(b, castagnoli))
	fd, ok := decodeFounding(b)
	if !ok || !reflect.DeepEqual(fd.voters, []Voter{{ID: 4, Directory: dir}}) {
		t.Fatalf("%+v %v", fd, ok)
	}
}

func TestCheckVoters(t *testing.T) {
	t.Parallel()
	if err := CheckVoters(sampleVoters); err != nil {
		t.Fatal(err)
	}
	long := make([]Voter, 60)
	for i := range long {
		long[i] = Voter{ID: int32(i), Directory: meta.UUID{15: byte(i)}, Endpoints: []meta.Endpoint{{Host: strings.Repeat("h", 200)}}}
	}
	for want, vs := range map[string][]Voter{
		"two voters have id 0":       {sampleVoters[0], {ID: 0, Directory: meta.UUID{5}}},
		"two voters have directory":  {sampleVoters[0], {ID: 1, Directory: meta.UUID{1}}},
		"bytes, more than":           long,
		"more than 64":               make([]Voter, 65),
		"the id is negative":         {{ID: -1}},
		"malformed or longer than":   {{Endpoints: []meta.Endpoint{{Host: strings.Repeat("h", 300)}}}},
		"has more than 16 endpoints": {{Endpoints: make([]meta.Endpoint, 17)}},
	} {
		if err := CheckVoters(vs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func FuzzVoters(f *testing.F) {
	f.Add(AppendVoters(nil, sampleVoters))
	f.Fuzz(func(t *testing.T, b []byte) {
		vs, _, err := CutVoters(b)
		if err != nil {
			return
		}
		again, rest, err := CutVoters(AppendVoters(nil, vs))
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(again, vs) {
			t.Fatalf("%v became %v: %v", vs, again, err)
		}
	})
}
