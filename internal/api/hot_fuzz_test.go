// SPDX-License-Identifier: Apache-2.0

package api

import (
	"math/rand"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A body that passes has no more elements than bytes; what is decoded passes
// when it is encoded again; nothing panics, for any key, version and body.
func FuzzDecode(f *testing.F) {
	var schemas [maxKey + 1]*schema
	for key := range layouts {
		if layouts[key].fields == "" {
			continue
		}
		s, err := schemaOf(int16(key))
		if err != nil {
			f.Fatal(err)
		}
		schemas[key] = s
		r := rand.New(rand.NewSource(int64(key)))
		for _, version := range []int16{layouts[key].min, layouts[key].max} {
			req := kmsg.RequestForKey(int16(key))
			randomFill(r, reflect.ValueOf(req).Elem(), 0)
			req.SetVersion(version)
			f.Add(uint8(key), uint8(version), req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version uint8, body []byte) {
		if int(key) >= len(schemas) || schemas[key] == nil {
			return
		}
		l, v := layouts[key], int16(version)
		if v < l.min || v > l.max {
			return
		}
		elements, err := schemas[key].measure(v, body)
		if err != nil {
			return
		}
		if elements > len(body)+1 {
			t.Fatalf("%d elements in %d bytes", elements, len(body))
		}
		req := kmsg.RequestForKey(int16(key))
		req.SetVersion(v)
		if err := req.ReadFrom(body); err != nil {
			return // kmsg is stricter about what may be null
		}
		again := req.AppendTo(nil)
		if _, err := schemas[key].measure(v, again); err != nil {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

// FuzzProduce checks the hand-written parser against kmsg: what both take
// has as many partitions, and an answer that kmsg reads.
func FuzzProduce(f *testing.F) {
	for version := int16(3); version <= 13; version++ {
		f.Add(uint8(version), produceTo(version, 1, "orders", 1, 0, 1).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version uint8, body []byte) {
		v := int16(version)
		if v < 3 || v > 13 {
			return
		}
		q, err := parseProduce(v, body)
		if err != nil {
			return
		}
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(v)
		if err := req.ReadFrom(body); err != nil {
			return // kmsg also looks into tags that are skipped here
		}
		n := 0
		for _, topic := range req.Topics {
			n += len(topic.Partitions)
		}
		if n != q.partitions || req.Acks != q.acks || req.TimeoutMillis != q.timeoutMillis || (req.TransactionID == nil) != (q.transactionalID == nil) {
			t.Fatalf("%+v, kmsg has %d partitions of %+v", q, n, req)
		}
		// Serving what was parsed must answer what kmsg reads.
		var parts fakePartitions
		parts.add("orders", 1, 2)
		p := NewProduce(ProduceConfig{Partitions: &parts})
		reply, pending := p.serve(t.Context(), &Call{Version: v}, body)
		if pending != nil || reply.None {
			return
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(v)
		if err := resp.ReadFrom(reply.Body); err != nil {
			t.Fatalf("answer: %v", err)
		}
		if len(resp.Topics) != len(req.Topics) {
			t.Fatalf("%d topics asked, %d answered", len(req.Topics), len(resp.Topics))
		}
		reply.Owner.Release()
	})
}

// FuzzFetch does the same for Fetch.
func FuzzFetch(f *testing.F) {
	for version := int16(4); version <= 18; version++ {
		f.Add(uint8(version), fetchFrom(version, "orders", 1, 0, 5).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version uint8, body []byte) {
		v := int16(version)
		if v < 4 || v > 18 {
			return
		}
		q, err := parseFetch(v, body, nil)
		if err != nil {
			return
		}
		req := kmsg.NewPtrFetchRequest()
		req.SetVersion(v)
		if err := req.ReadFrom(body); err != nil {
			return // kmsg also looks into tags that are skipped here
		}
		n := 0
		for _, topic := range req.Topics {
			n += len(topic.Partitions)
		}
		for _, topic := range req.ForgottenTopics {
			n += len(topic.Partitions)
		}
		if n != q.partitions || req.MaxBytes != q.maxBytes || v >= 7 && req.SessionEpoch != q.sessionEpoch {
			t.Fatalf("%+v, kmsg has %d partitions of %+v", q, n, req)
		}
		var parts fakePartitions
		parts.add("orders", 1, 2)
		reply, pending := NewFetch(FetchConfig{Partitions: &parts}).serve(t.Context(), &Call{Version: v}, body)
		if pending != nil {
			pending.Cancel()
			return
		}
		if reply.None {
			return
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(v)
		if err := resp.ReadFrom(reply.Body); err != nil {
			t.Fatalf("answer: %v", err)
		}
		reply.Owner.Release()
	})
}
