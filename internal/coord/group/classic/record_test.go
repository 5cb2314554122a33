// SPDX-License-Identifier: Apache-2.0

package classic

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// Goal: the group's record is byte for byte what Kafka 4.2 writes, and all
// versions that it reads are read. Method: bytes made with Kafka 4.2.0's own
// GroupCoordinatorRecordHelpers and GroupCoordinatorRecordSerde.

const kafkaKey = "000200086d792d67726f7570"

func TestRecordBytes(t *testing.T) {
	t.Parallel()
	cfg := &Config{}
	one, consumer, rangeName := "one", "consumer", "range"

	fresh := New(cfg, "my-group", time.UnixMilli(1700000000123))
	empty := New(cfg, "my-group", time.UnixMilli(1700000007000))
	empty.protocolType, empty.generation = &consumer, 2
	full := New(cfg, "my-group", time.UnixMilli(1700000006000))
	full.protocolType, full.protocol, full.generation = &consumer, &rangeName, 1
	full.add(&member{id: "one-1", instance: &one, clientID: "c", clientHost: "/127.0.0.1",
		rebalance: 30 * time.Second, session: 10 * time.Second,
		protocols: []Protocol{{"sticky", []byte{9}}, {"range", []byte{1, 2, 3}}}, assignment: []byte("A")})
	full.add(&member{id: "c-2", clientID: "c", clientHost: "/127.0.0.1",
		rebalance: 30 * time.Second, session: 10 * time.Second, protocols: []Protocol{{"range", nil}}})

	for name, c := range map[string]struct {
		g    *Group
		want string
	}{
		"fresh": {fresh, "0003000000000000ffffffff0000018bcfe5687b00000000"},
		"empty": {empty, "00030008636f6e73756d657200000002ffffffff0000018bcfe5835800000000"},
		"full":  {full, "00030008636f6e73756d657200000001000572616e676500056f6e652d310000018bcfe57f700000000200056f6e652d3100036f6e65000163000a2f3132372e302e302e3100007530000027100000000301020300000001410003632d32ffff000163000a2f3132372e302e302e3100007530000027100000000000000000"},
	} {
		r := c.g.record(func(m *member) []byte { return m.assignment })
		if name == "fresh" {
			if f := c.g.Fresh(); string(f.Value) != string(r.Value) {
				t.Errorf("Fresh differs from the record of a fresh group")
			}
		}
		if got := hex.EncodeToString(r.Key); got != kafkaKey {
			t.Errorf("%s: key %s", name, got)
		}
		if got := hex.EncodeToString(r.Value); got != c.want {
			t.Errorf("%s: value\n%s, Kafka's is\n%s", name, got, c.want)
		}
	}
}

// kafkaValues are one group in every version of the value.
var kafkaValues = []string{
	"00000008636f6e73756d657200000001000572616e676500056f6e652d310000000200056f6e652d31000163000a2f3132372e302e302e31000027100000000301020300000001410003632d32000163000a2f3132372e302e302e31000027100000000000000000",
	"00010008636f6e73756d657200000001000572616e676500056f6e652d310000000200056f6e652d31000163000a2f3132372e302e302e3100007530000027100000000301020300000001410003632d32000163000a2f3132372e302e302e3100007530000027100000000000000000",
	"00020008636f6e73756d657200000001000572616e676500056f6e652d310000018bcfe57f700000000200056f6e652d31000163000a2f3132372e302e302e3100007530000027100000000301020300000001410003632d32000163000a2f3132372e302e302e3100007530000027100000000000000000",
	"00030008636f6e73756d657200000001000572616e676500056f6e652d310000018bcfe57f700000000200056f6e652d3100036f6e65000163000a2f3132372e302e302e3100007530000027100000000301020300000001410003632d32ffff000163000a2f3132372e302e302e3100007530000027100000000000000000",
	"000409636f6e73756d6572000000010672616e6765066f6e652d310000018bcfe57f7003066f6e652d31046f6e6502630b2f3132372e302e302e3100007530000027100401020302410004632d320002630b2f3132372e302e302e31000075300000271001010000",
}

func TestRestoreAllVersions(t *testing.T) {
	t.Parallel()
	for v, text := range kafkaValues {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Restore(&Config{}, "my-group", b)
		if err != nil {
			t.Errorf("version %d: %v", v, err)
			continue
		}
		since, rebalance, instance := int64(1700000006000), 30*time.Second, "one"
		if v < 2 {
			since = -1
		}
		if v < 1 {
			rebalance = 10 * time.Second
		}
		if v < 3 {
			instance = ""
		}
		m := g.members[0]
		if g.state != Stable || g.generation != 1 || g.leader != "one-1" || *g.protocol != "range" || g.since != since || len(g.members) != 2 ||
			m.rebalance != rebalance || m.session != 10*time.Second || deref(m.instance) != instance || m.clientHost != "/127.0.0.1" ||
			string(m.assignment) != "A" || string(m.metadata("range")) != "\x01\x02\x03" || g.topicsKnown {
			t.Errorf("version %d: %+v, first member %+v", v, g, m)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	full := kafkaValues[3]
	for name, text := range map[string]string{
		"nothing":         "",
		"unknown version": "0005" + full[4:],
		"cut off":         full[:100],
		"member twice":    strings.Replace(full, "0003632d32", "00056f6e652d31", 1),
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := Restore(&Config{}, "g", b); err == nil {
			t.Errorf("%s: restored %+v", name, g)
		}
	}
}

// FuzzRestore: no value makes Restore panic, and a group that it takes can be
// written and read again.
func FuzzRestore(f *testing.F) {
	for _, text := range kafkaValues {
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := &Config{MaxSize: 10}
		g, err := Restore(cfg, "g", b)
		if err != nil {
			return
		}
		r := g.record(func(m *member) []byte { return m.assignment })
		again, err := Restore(cfg, "g", r.Value)
		if err != nil {
			t.Fatalf("cannot be read again: %v", err)
		}
		if again.state != g.state || again.generation != g.generation || len(again.members) != len(g.members) {
			t.Fatalf("%+v became %+v", g, again)
		}
		now := time.UnixMilli(1_700_000_000_000)
		g.Loaded(now)
		for range 10 {
			if next := g.Next(); !next.IsZero() && next.After(now) {
				now = next
			}
			g.Tick(now)
		}
	})
}
