// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// FuzzDecodeRecord: whatever the bytes, no panic; what decodes encodes to a
// frame that decodes to the same.
func FuzzDecodeRecord(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	img := Empty()
	for range 40 {
		for _, r := range randomRecords(rng, img) {
			f.Add(AppendRecord(nil, r))
		}
	}
	for _, r := range []Record{ClusterRecord{"c", 5}, RemoveControllerRecord{3}, RemoveBrokerRecord{3}, BeginChangeRecord{"x"}, EndChangeRecord{}, AbortChangeRecord{},
		ControllerRecord{Controller{ID: 1, Endpoints: []Endpoint{{"A", "b", 9, 1}}}}} {
		f.Add(AppendRecord(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := DecodeRecord(b)
		frame, after, ferr := NextFrame(b)
		if err != nil {
			return
		}
		if ferr != nil || len(frame)+len(rest) != len(b) || !bytes.Equal(rest, after) {
			t.Fatalf("the frame ends elsewhere: %d of %d, %v", len(frame), len(b), ferr)
		}
		again := AppendRecord(nil, r)
		r2, left, err := DecodeRecord(again)
		if err != nil || len(left) > 0 || !bytes.Equal(AppendRecord(nil, r2), again) {
			t.Fatalf("%+v became %+v: %v", r, r2, err)
		}
	})
}

// FuzzWith: no sequence of records, however absurd, makes With panic, or an
// Image that cannot be carried on by its own records.
func FuzzWith(f *testing.F) {
	var all []byte
	for _, r := range []Record{ClusterRecord{"c", 1}, TopicRecord{"a.b", id(1)}, part(id(1), 0, 1, 1, 2), part(id(1), 1, 1, 2),
		ConfigRecord{Resource{TopicResource, "a.b"}, "k", ptr("v")}, BeginChangeRecord{"x"}, RemoveTopicRecord{id(1)}, EndChangeRecord{},
		BrokerRecord{Broker{ID: 1}}, ProducerIDsRecord{1, 2, 1000}, FeatureRecord{"f", 1}, RemoveBrokerRecord{1}} {
		all = AppendRecord(all, r)
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var rs []Record
		for len(b) > 0 {
			r, rest, err := DecodeRecord(b)
			if err != nil {
				break
			}
			rs, b = append(rs, r), rest
		}
		img, _, err := Empty().With(rs)
		if err != nil {
			return
		}
		l := NewLoader(img.Version())
		for r := range img.Records() {
			if err := l.Add(r); err != nil {
				t.Fatalf("%v", err)
			}
		}
		if d := Diff(img, l.Image()); !d.Empty() {
			t.Fatalf("%+v", d)
		}
	})
}
