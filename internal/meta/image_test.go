// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func mustWith(t testing.TB, i *Image, rs ...Record) (*Image, *Delta) {
	t.Helper()
	next, d, err := i.With(rs)
	if err != nil {
		t.Fatal(err)
	}
	return next, d
}

func id(n byte) UUID { return UUID{0: 7, 15: n} }

func part(topic UUID, index, leader int32, replicas ...int32) PartitionRecord {
	return PartitionRecord{topic, index, Partition{Replicas: replicas, Dirs: make([]UUID, len(replicas)), ISR: replicas, Leader: leader}}
}

func TestWithTopicLife(t *testing.T) {
	t.Parallel()
	a, _ := mustWith(t, Empty(), TopicRecord{"a", id(1)}, part(id(1), 0, 1, 1, 2), part(id(1), 1, 2, 2, 1),
		ConfigRecord{Resource{TopicResource, "a"}, "retention.ms", ptr("5")})
	b, d := mustWith(t, a, part(id(1), 1, 1, 2, 1), part(id(1), 2, 1, 1))
	if a.Topic("a").Len() != 2 || a.Partition("a", 1).Leader != 2 {
		t.Fatal("the older image changed")
	}
	if b.PartitionCount() != 3 || b.Partition("a", 1).Leader != 1 || b.Version() != 2 {
		t.Fatalf("partitions %d version %d", b.PartitionCount(), b.Version())
	}
	var changed []int32
	for c := range d.TopicChanges() {
		for i := range c.Partitions() {
			changed = append(changed, i)
		}
	}
	if !slices.Equal(changed, []int32{1, 2}) {
		t.Fatalf("changed %v", changed)
	}
	c, d := mustWith(t, b, RemoveTopicRecord{id(1)}, TopicRecord{"a", id(2)}, part(id(2), 0, 1, 1))
	if c.TopicByID(id(1)) != nil || c.TopicByID(id(2)) == nil || c.Settings(TopicResource, "a") != nil || c.PartitionCount() != 1 {
		t.Fatal("the deleted topic left something behind")
	}
	var gone, made int
	for tc := range d.TopicChanges() {
		for _, p := range tc.Partitions() {
			if p.New == nil {
				gone++
			} else if p.Old == nil {
				made++
			}
		}
	}
	if gone != 3 || made != 1 {
		t.Fatalf("gone %d made %d", gone, made)
	}
}

func TestWithRefuses(t *testing.T) {
	t.Parallel()
	base, _ := mustWith(t, Empty(), ClusterRecord{"c", 1}, TopicRecord{"a", id(1)}, part(id(1), 0, 1, 1), ProducerIDsRecord{1, 1, 2000})
	for _, rs := range [][]Record{
		{ClusterRecord{"d", 1}},
		{TopicRecord{"a", id(2)}},
		{TopicRecord{"b", id(1)}},
		{TopicRecord{"b", UUID{}}},
		{RemoveTopicRecord{id(9)}},
		{part(id(9), 0, 1, 1)},
		{part(id(1), 2, 1, 1)},
		{part(id(1), -1, 1, 1)},
		{part(id(1), 0, 1)},
		{RemoveBrokerRecord{4}},
		{ProducerIDsRecord{1, 1, 1000}},
		{EndChangeRecord{}},
		{AbortChangeRecord{}},
		{BeginChangeRecord{"x"}, BeginChangeRecord{"y"}},
	} {
		if _, _, err := base.With(rs); err == nil {
			t.Errorf("%v was folded in", rs)
		}
	}
}

func TestBracketedChange(t *testing.T) {
	t.Parallel()
	a, _ := mustWith(t, Empty(), BeginChangeRecord{"big"}, TopicRecord{"a", id(1)})
	b, d := mustWith(t, a, part(id(1), 0, 1, 1))
	if b.Topic("a") != nil || !d.Empty() {
		t.Fatal("an open change shows")
	}
	// A snapshot taken in the middle carries the change on.
	l := NewLoader(b.Version())
	for r := range b.Records() {
		if err := l.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, img := range []*Image{b, l.Image()} {
		c, d := mustWith(t, img, EndChangeRecord{})
		if c.Partition("a", 0) == nil || len(d.Topics) != 1 {
			t.Fatal("the change is lost")
		}
		if e, _ := mustWith(t, img, AbortChangeRecord{}); e.Topic("a") != nil {
			t.Fatal("the change was not dropped")
		}
	}
}

// TestRandomHistory folds random records into one Image step by step, and
// checks that a snapshot loads to the same, that each record survives its
// bytes, and that Diff and Delta agree on what changed.
func TestRandomHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		img := Empty()
		for range 60 {
			rs := randomRecords(rng, img)
			for _, r := range rs {
				b := AppendRecord(nil, r)
				got, rest, err := DecodeRecord(b)
				if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, r) {
					t.Fatalf("seed %d: %+v came back as %+v (%v)", seed, r, got, err)
				}
			}
			next, d, err := img.With(rs)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			diff := Diff(img, next)
			if got := changedNames(d); !reflect.DeepEqual(got, changedNames(diff)) {
				t.Fatalf("seed %d: delta %v, diff %v", seed, got, changedNames(diff))
			}
			img = next
		}
		l := NewLoader(img.Version())
		for r := range img.Records() {
			if err := l.Add(r); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		loaded := l.Image()
		if d := Diff(img, loaded); !d.Empty() || loaded.Version() != img.Version() || loaded.PartitionCount() != img.PartitionCount() || loaded.NextProducerID() != img.NextProducerID() {
			t.Fatalf("seed %d: the snapshot differs: %+v", seed, d)
		}
	}
}

// changedNames keeps those entries of a Delta that really differ: a Delta may
// name what a record wrote again unchanged.
func changedNames(d *Delta) []string {
	var s []string
	for c := range d.TopicChanges() {
		if c.Old == nil || c.New == nil || !c.Old.equal(c.New) {
			s = append(s, "topic "+c.Name)
		}
	}
	for _, b := range d.Brokers {
		o, n := d.Old.Broker(b), d.New.Broker(b)
		if (o == nil) != (n == nil) || o != nil && !o.Equal(n) {
			s = append(s, fmt.Sprint("broker ", b))
		}
	}
	for _, r := range d.Configs {
		if !slices.Equal(d.Old.Settings(r.Type, r.Name), d.New.Settings(r.Type, r.Name)) {
			s = append(s, fmt.Sprint("config ", r))
		}
	}
	for _, f := range d.Features {
		if d.Old.Feature(f) != d.New.Feature(f) {
			s = append(s, "feature "+f)
		}
	}
	return s
}

func randomRecords(rng *rand.Rand, img *Image) []Record {
	switch rng.IntN(7) {
	case 0:
		b := Broker{ID: rng.Int32N(5), Epoch: rng.Int64(), Fenced: rng.IntN(2) == 0, Dirs: []UUID{id(3)}, Rack: "r",
			Endpoints: []Endpoint{{"PLAINTEXT", "h", 9092, 0}}, Features: []FeatureRange{{"f", 0, 1}}}
		if rng.IntN(2) == 0 {
			b.Cordoned = b.Dirs
		}
		return []Record{BrokerRecord{b}}
	case 1:
		v := fmt.Sprint(rng.IntN(9))
		c := ConfigRecord{Resource{BrokerResource, fmt.Sprint(rng.IntN(3))}, fmt.Sprint("k", rng.IntN(4)), &v}
		if rng.IntN(3) == 0 {
			c.Value = nil
		}
		return []Record{c}
	case 2:
		return []Record{FeatureRecord{fmt.Sprint("f", rng.IntN(3)), int16(rng.IntN(3))}, ProducerIDsRecord{1, 2, img.NextProducerID() + 1000}}
	case 3:
		for t := range img.Topics() {
			return []Record{RemoveTopicRecord{t.ID}}
		}
		fallthrough
	case 4:
		for t := range img.Topics() {
			if t.Len() > 0 && rng.IntN(2) == 0 {
				p := part(t.ID, rng.Int32N(int32(t.Len())), NoLeader, 4, 5, 6)
				p.ISR, p.ELR, p.Recovering, p.Dirs = nil, []int32{4}, true, []UUID{id(1), id(2), {}}
				return []Record{p}
			}
		}
		fallthrough
	default:
		name := fmt.Sprint("t", rng.IntN(1000))
		if img.Topic(name) != nil {
			return []Record{FeatureRecord{"x", 1}}
		}
		u := UUID{}
		for i := range u {
			u[i] = byte(rng.IntN(256))
		}
		rs := []Record{TopicRecord{name, u}}
		for i := range rng.Int32N(150) {
			rs = append(rs, part(u, i, 1, 1, 2, 3))
		}
		return rs
	}
}

func ptr(s string) *string { return &s }

func TestUUID(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		u := NewUUID(func(b []byte) {
			for i := range b {
				b[i] = byte(rng.IntN(256))
			}
		})
		s := FormatUUID(u)
		back, err := ParseUUID(s)
		if err != nil || back != u || s[0] == '-' || len(s) != 22 {
			t.Fatalf("%v %q %v", u, s, err)
		}
	}
	for _, s := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAAA==", "*AAAAAAAAAAAAAAAAAAAAA"} {
		if _, err := ParseUUID(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}
