// SPDX-License-Identifier: Apache-2.0

package group

import (
	"encoding/hex"
	"testing"

	"gregor/internal/coord"
	"gregor/internal/coord/group/classic"
)

// Goal: records of offsets are byte for byte what Kafka 4.2 writes, and all
// versions that it reads are read. Method: bytes made with Kafka 4.2.0's own
// GroupCoordinatorRecordHelpers and GroupCoordinatorRecordSerde.

const kafkaOffsetKey = "000100086d792d67726f757000066f726465727300000003"

var kafkaTopicID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func TestOffsetBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    Offset
		want string
	}{
		"with id":     {Offset{42, 7, "méta", 1700000000123, -1, kafkaTopicID, 0}, "0004000000000000002a00000007066dc3a974610000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10"},
		"without":     {Offset{42, -1, "", 1700000000123, -1, [16]byte{}, 0}, "0004000000000000002affffffff010000018bcfe5687b00"},
		"that expire": {Offset{42, 7, "m", 1700000000123, 1700000600123, [16]byte{}, 0}, "0001000000000000002a00016d0000018bcfe5687b0000018bcfee903b"},
	} {
		r := offsetRecord("my-group", "orders", 3, c.o)
		if got := hex.EncodeToString(r.Key); got != kafkaOffsetKey {
			t.Errorf("%s: key %s", name, got)
		}
		if got := hex.EncodeToString(r.Value); got != c.want {
			t.Errorf("%s: value\n%s, Kafka's is\n%s", name, got, c.want)
		}
	}
	if r := offsetTombstone("my-group", "orders", 3); hex.EncodeToString(r.Key) != kafkaOffsetKey || r.Value != nil {
		t.Errorf("tombstone is %+v", r)
	}
}

// kafkaOffsets are one offset in every version of the value.
var kafkaOffsets = []string{
	"0000000000000000002a00016d0000018bcfe5687b",
	"0001000000000000002a00016d0000018bcfe5687b0000018bcfee903b",
	"0002000000000000002a00016d0000018bcfe5687b",
	"0003000000000000002a0000000700016d0000018bcfe5687b",
	"0004000000000000002a00000007026d0000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10",
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadAllOffsetVersions(t *testing.T) {
	t.Parallel()
	for v, text := range kafkaOffsets {
		want := Offset{42, -1, "m", 1700000000123, -1, [16]byte{}, 0}
		if v == 1 {
			want.ExpiresAt = 1700000600123
		}
		if v >= 3 {
			want.LeaderEpoch = 7
		}
		if v >= 4 {
			want.TopicID = kafkaTopicID
		}
		s := New(&Config{})
		if err := s.Replay(0, coord.Record{Key: unhex(t, kafkaOffsetKey), Value: unhex(t, text)}); err != nil {
			t.Errorf("version %d: %v", v, err)
			continue
		}
		if got := s.Fetch(Written, "my-group", "orders", [16]byte{}, 3); got == nil || *got != want {
			t.Errorf("version %d: %+v, want %+v", v, got, want)
		}
	}
}

func TestReplayRefusesAndPasses(t *testing.T) {
	t.Parallel()
	s := New(&Config{})
	for name, r := range map[string]coord.Record{
		"no key":                {},
		"unknown type":          {Key: []byte{0, 99}},
		"negative type":         {Key: []byte{0xff, 0xff}},
		"cut off key":           {Key: unhex(t, kafkaOffsetKey)[:9]},
		"unknown value version": {Key: unhex(t, kafkaOffsetKey), Value: []byte{0, 5, 0, 0}},
		"cut off value":         {Key: unhex(t, kafkaOffsetKey), Value: unhex(t, kafkaOffsets[4])[:12]},
		"empty value":           {Key: classic.Key("g"), Value: []byte{}},
	} {
		if err := s.Replay(0, r); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// Records of the newer protocols are not ours.
	if err := s.Replay(0, coord.Record{Key: []byte{0, 3, 0, 1, 'g'}, Value: []byte{0, 0}}); err != nil {
		t.Errorf("consumer group record: %v", err)
	}
	if err := s.Replay(0, coord.Record{Key: classic.Key("never heard of")}); err != nil || len(s.groups) != 0 {
		t.Errorf("tombstone of nothing: %v, %d groups", err, len(s.groups))
	}
}

// FuzzReplay: no record makes a shard panic, and the state stays usable.
func FuzzReplay(f *testing.F) {
	for _, text := range kafkaOffsets {
		f.Add(unhex(f, kafkaOffsetKey), unhex(f, text))
	}
	f.Add(unhex(f, kafkaOffsetKey), []byte(nil))
	f.Add(classic.Key("g"), unhex(f, "0003000000000000ffffffff0000018bcfe5687b00000000"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		s := New(&Config{})
		if len(value) == 0 {
			value = nil
		}
		if err := s.Replay(0, coord.Record{Key: key, Value: value}); err != nil {
			if len(s.queue) != 0 || len(s.groups) != 0 {
				t.Fatalf("refused (%v) and kept", err)
			}
			return
		}
		s.Committed(1)
		for _, id := range s.sorted() {
			s.FetchAll(Committed, id, func(topic string, partition int32, o *Offset) {
				r := offsetRecord(id, topic, partition, *o)
				again := New(&Config{})
				if err := again.Replay(0, r); err != nil {
					t.Fatalf("cannot be read again: %v", err)
				}
			})
			s.Describe(id)
		}
		s.List(nil, nil)
	})
}
