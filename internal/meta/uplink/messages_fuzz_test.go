// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// FuzzMessages: what other nodes send is refused or read whole, and what was
// read is written the same.
func FuzzMessages(f *testing.F) {
	f.Add((&Forward{Key: 63, Version: 1, TimeoutMillis: 400, Principal: "User:a", Host: "/127.0.0.1", Body: []byte{1, 2}}).AppendTo(nil))
	f.Add((&Forwarded{Code: 41, Message: "no", Version: 77, Body: []byte{3}}).AppendTo(nil))
	f.Add((&seats{Broker: 1, BrokerEpoch: 12, Asked: []plan.InEpoch{{Topic: meta.UUID{1}, Partition: 2, Epoch: 3}}}).AppendTo(nil))
	f.Add(appendLosses(nil, []plan.ReplicaLoss{{Topic: meta.UUID{4}, Partition: 5, Loss: plan.LostAll}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var forward, forward2 Forward
		if forward.ReadFrom(b) == nil {
			if err := forward2.ReadFrom(forward.AppendTo(nil)); err != nil || !reflect.DeepEqual(forward, forward2) {
				t.Errorf("%+v became %+v: %v", forward, forward2, err)
			}
		}
		var answer, answer2 Forwarded
		if answer.ReadFrom(b) == nil {
			if err := answer2.ReadFrom(answer.AppendTo(nil)); err != nil || !reflect.DeepEqual(answer, answer2) {
				t.Errorf("%+v became %+v: %v", answer, answer2, err)
			}
		}
		var raise, raise2 seats
		if raise.ReadFrom(b) == nil {
			if err := raise2.ReadFrom(raise.AppendTo(nil)); err != nil || !reflect.DeepEqual(raise, raise2) {
				t.Errorf("%+v became %+v: %v", raise, raise2, err)
			}
		}
		if losses, err := decodeLosses(b); err == nil {
			again, err := decodeLosses(appendLosses(nil, losses))
			if err != nil || !reflect.DeepEqual(losses, again) {
				t.Errorf("%+v became %+v: %v", losses, again, err)
			}
		}
	})
}

// FuzzDesk: no request that another node forwards, in whatever form, makes the
// controller panic.
func FuzzDesk(f *testing.F) {
	reg := requestOf(&registration{Registration: plan.Registration{ID: 7, ClusterID: "c", Incarnation: meta.UUID{7}, Dirs: []meta.UUID{{8}}, Checked: true,
		Losses: []plan.ReplicaLoss{{}}, Cordoned: []meta.UUID{{8}}, Voter: &meta.Controller{ID: 7}}})
	for _, req := range []kmsg.Request{reg, kmsg.NewPtrBrokerHeartbeatRequest(), kmsg.NewPtrAlterPartitionRequest(), kmsg.NewPtrCreateTopicsRequest(), &RaiseEpochsRequest{}} {
		if _, ok := req.(*kmsg.AlterPartitionRequest); ok {
			req.SetVersion(3)
		}
		fw := (&Forward{Key: req.Key(), Version: req.GetVersion(), TimeoutMillis: 9, Body: req.AppendTo(nil)}).AppendTo(nil)
		f.Add(fw, false)
		header := append([]byte{0, byte(req.Key()), 0, byte(req.GetVersion()), 0, 0, 0, 1, 0xff, 0xff, 0}, req.AppendTo(nil)...)
		f.Add(header, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, envelope bool) {
		c := &fakeController{}
		c.img, _, _ = meta.Empty().With([]meta.Record{meta.ClusterRecord{ID: "c"}})
		d := NewDesk(c, nil, plan.Env{Random: new(ones), Schema: anySchema{}, Partitions: 1, Replication: 1})
		if envelope {
			_, _ = d.Envelope(context.Background(), &kmsg.EnvelopeRequest{RequestData: b})
			return
		}
		var got Forwarded
		if err := got.ReadFrom(d.Forward(context.Background(), b, nil)); err != nil {
			t.Errorf("an answer that cannot be read: %v", err)
		}
	})
}

// TestRegistrationTravels: nothing of a registration is lost on the way.
func TestRegistrationTravels(t *testing.T) {
	t.Parallel()
	r := &registration{Ready: true, Registration: plan.Registration{
		ID: 7, ClusterID: "c", Incarnation: meta.UUID{7}, Rack: "r", Dirs: []meta.UUID{{8}, {9}}, Cordoned: []meta.UUID{{9}}, Clean: 55, Checked: true,
		Endpoints: []meta.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092, Protocol: 2}}, Features: []meta.FeatureRange{{Name: "f", Min: 1, Max: 2}},
		Losses: []plan.ReplicaLoss{{Topic: meta.UUID{1}, Partition: 300, Loss: plan.LostTail}},
		Voter:  &meta.Controller{ID: 7, Directory: meta.UUID{3}, Incarnation: meta.UUID{7}, Endpoints: []meta.Endpoint{{Listener: "C", Host: "h", Port: 1}}, Features: []meta.FeatureRange{{Name: "f", Max: 2}}},
	}}
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 4
	if err := req.ReadFrom(requestOf(r).AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	got, err := registrationOf(req)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v became\n%+v: %v", r, got, err)
	}
	req.UnknownTags.Set(tagVoter, []byte{1})
	if _, err := registrationOf(req); err == nil {
		t.Error("half a controller was taken")
	}
}

// TestEnvelope: an envelope answers with a whole response, header included.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	_, c := registered(t)
	d := NewDesk(c, nil, plan.Env{Random: new(ones), Schema: anySchema{}, Partitions: 1, Replication: 1})
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = 4, c.img.Broker(4).Epoch
	data := append([]byte{0, 67, 0, 0, 1, 2, 3, 4, 0, 2, 'm', 'e', 0}, req.AppendTo(nil)...)
	e, err := d.Envelope(t.Context(), &kmsg.EnvelopeRequest{RequestData: data})
	if err != nil || !bytes.HasPrefix(e.ResponseData, []byte{1, 2, 3, 4, 0}) {
		t.Fatalf("%v %v", e, err)
	}
	resp := kmsg.NewPtrAllocateProducerIDsResponse()
	if err := resp.ReadFrom(e.ResponseData[5:]); err != nil || resp.ProducerIDLen != 1000 {
		t.Errorf("%+v %v", resp, err)
	}
}

// TestEveryRequestIsForwarded: what the Desk decides on may come from another
// broker, and nothing else is decoded for one.
func TestEveryRequestIsForwarded(t *testing.T) {
	t.Parallel()
	_, c := registered(t)
	d := NewDesk(c, nil, plan.Env{Random: new(ones), Schema: anySchema{}, Partitions: 1, Replication: 1})
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		_, _, err := d.decide(c.img, req)
		if decides := !errors.Is(err, kerr.UnsupportedVersion); decides != (requestFor(key) != nil) {
			t.Errorf("%s: decided on: %v, forwarded: %v", kmsg.NameForKey(key), decides, requestFor(key) != nil)
		}
	}
}

// TestForwardedIsMeasured: what is forwarded is measured before it is decoded.
func TestForwardedIsMeasured(t *testing.T) {
	t.Parallel()
	d := NewDesk(nil, nil, plan.Env{})
	var seen []byte
	d.Measure = func(key, version int16, body []byte) error {
		if key != 19 || version != 7 {
			t.Errorf("key %d version %d", key, version)
		}
		seen = bytes.Clone(body)
		return errMessage
	}
	var got Forwarded
	if err := got.ReadFrom(d.Forward(t.Context(), (&Forward{Key: 19, Version: 7, Body: []byte("forwarded")}).AppendTo(nil), nil)); err != nil || got.Code != kerr.InvalidRequest.Code || string(seen) != "forwarded" {
		t.Errorf("%+v %v, measured %q", got, err, seen)
	}
	_, err := d.Envelope(t.Context(), &kmsg.EnvelopeRequest{RequestData: append([]byte{0, 19, 0, 7, 1, 2, 3, 4, 0xff, 0xff, 0}, "wrapped"...)})
	if !errors.Is(err, kerr.InvalidRequest) || string(seen) != "wrapped" {
		t.Errorf("%v, measured %q", err, seen)
	}
}
