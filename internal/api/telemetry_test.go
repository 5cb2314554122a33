// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
)

// Goal: clients are asked for what matches them and may push it in time and
// size, as KIP-714 has it. Method: the handlers, with a receiver that keeps what
// it is given, in a bubble with exact time.

type pushes struct {
	all  []TelemetryPush
	fail error
}

func (p *pushes) Receive(t TelemetryPush) error {
	p.all = append(p.all, t)
	return p.fail
}

func subscriptionsOf(t *testing.T, resources map[string]map[string]string) *TelemetrySubscriptions {
	t.Helper()
	s, err := NewTelemetrySubscriptions(resources)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type telemetryFixture struct {
	*Telemetry
	got  *pushes
	subs *TelemetrySubscriptions
	call *Call
	ctx  context.Context
}

func newTelemetry(t *testing.T) *telemetryFixture {
	f := &telemetryFixture{got: &pushes{}, call: &Call{ClientID: "app-1"}, ctx: t.Context()}
	f.subs = subscriptionsOf(t, map[string]map[string]string{
		"a": {"metrics": "producer., consumer.", "interval.ms": "60000", "match": "client_id=app-.*"},
		"b": {"metrics": "consumer.", "interval.ms": "30000"},
		"c": {"metrics": "*", "match": "client_id=app"}, // not the whole id
		"d": {"metrics": "*", "match": "client_id=app-1,client_software_name=java"},
	})
	next := byte(0)
	f.Telemetry = &Telemetry{
		Receiver: f.got, Subscriptions: func() *TelemetrySubscriptions { return f.subs },
		MaxBytes: 1000, NewID: func() [16]byte { next++; return [16]byte{9, next} },
	}
	return f
}

func (f *telemetryFixture) ask(id [16]byte) (*kmsg.GetTelemetrySubscriptionsResponse, error) {
	resp, err := f.subscriptions(f.ctx, f.call, &kmsg.GetTelemetrySubscriptionsRequest{ClientInstanceID: id})
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.GetTelemetrySubscriptionsResponse), nil
}

func (f *telemetryFixture) send(id [16]byte, subscription int32, opts ...func(*kmsg.PushTelemetryRequest)) error {
	req := kmsg.NewPtrPushTelemetryRequest()
	req.ClientInstanceID, req.SubscriptionID, req.Metrics = id, subscription, []byte("otlp")
	for _, o := range opts {
		o(req)
	}
	_, err := f.push(f.ctx, f.call, req)
	return err
}

func terminating(r *kmsg.PushTelemetryRequest) { r.Terminating = true }

func TestTelemetryFlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newTelemetry(t)
		a, err := f.ask([16]byte{})
		if err != nil {
			t.Fatal(err)
		}
		if a.ClientInstanceID != [16]byte{9, 1} || a.PushIntervalMillis != 30_000 || !a.DeltaTemporality || a.TelemetryMaxBytes != 1000 ||
			!slices.Equal(a.RequestedMetrics, []string{"consumer.", "producer."}) || !slices.Equal(a.AcceptedCompressionTypes, []int8{4, 3, 1, 2}) {
			t.Errorf("subscription is %+v", a)
		}
		id, sub := a.ClientInstanceID, a.SubscriptionID
		if _, err := f.ask(id); !errors.Is(err, kerr.ThrottlingQuotaExceeded) {
			t.Errorf("asking again at once: %v", err)
		}
		if err := f.send(id, sub); err != nil {
			t.Errorf("the first push: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := f.send(id, sub); !errors.Is(err, kerr.ThrottlingQuotaExceeded) {
			t.Errorf("the second push, too early: %v", err)
		}
		time.Sleep(20 * time.Second)
		if err := f.send(id, sub); err != nil {
			t.Errorf("the second push: %v", err)
		}
		if err := f.send(id, sub, terminating); err != nil {
			t.Errorf("the last push: %v", err)
		}
		time.Sleep(29 * time.Second)
		if err := f.send(id, sub); !errors.Is(err, kerr.InvalidRequest) {
			t.Errorf("a push after the last: %v", err)
		}
		if len(f.got.all) != 3 || string(f.got.all[0].Metrics) != "otlp" || f.got.all[0].ClientID != "app-1" || !f.got.all[2].Terminating {
			t.Errorf("received %+v", f.got.all)
		}
	})
}

func TestTelemetrySubscriptionsChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newTelemetry(t)
		a, _ := f.ask([16]byte{})
		f.subs = subscriptionsOf(t, map[string]map[string]string{"all": {"metrics": "*,x."}})
		if err := f.send(a.ClientInstanceID, a.SubscriptionID); !errors.Is(err, kerr.UnknownSubscriptionID) {
			t.Errorf("push under the old subscription: %v", err)
		}
		b, err := f.ask(a.ClientInstanceID) // at once, for it was told to
		if err != nil || b.SubscriptionID == a.SubscriptionID || !slices.Equal(b.RequestedMetrics, []string{"*"}) || b.PushIntervalMillis != 300_000 {
			t.Errorf("new subscription %+v, %v", b, err)
		}
	})
}

func TestTelemetryRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newTelemetry(t)
		for name, c := range map[string]struct {
			id   [16]byte
			opt  func(*kmsg.PushTelemetryRequest)
			fail error
			want error
		}{
			"zero id":       {[16]byte{}, nil, nil, kerr.InvalidRequest},
			"reserved id":   {[16]byte{15: 1}, nil, nil, kerr.InvalidRequest},
			"codec":         {[16]byte{1}, func(r *kmsg.PushTelemetryRequest) { r.CompressionType = 5 }, nil, kerr.UnsupportedCompressionType},
			"negative":      {[16]byte{2}, func(r *kmsg.PushTelemetryRequest) { r.CompressionType = -1 }, nil, kerr.UnsupportedCompressionType},
			"too large":     {[16]byte{3}, func(r *kmsg.PushTelemetryRequest) { r.Metrics = make([]byte, 1001) }, nil, kerr.TelemetryTooLarge},
			"not gzip":      {[16]byte{4}, func(r *kmsg.PushTelemetryRequest) { r.CompressionType = 1 }, nil, kerr.InvalidRecord},
			"receiver":      {[16]byte{5}, nil, errors.New("no"), kerr.InvalidRecord},
			"bomb":          {[16]byte{6}, compressed(t, batch.Gzip, 100_000), nil, kerr.InvalidRecord},
			"gzip":          {[16]byte{7}, compressed(t, batch.Gzip, 1000), nil, nil},
			"zstd":          {[16]byte{8}, compressed(t, batch.Zstd, 1000), nil, nil},
			"lz4":           {[16]byte{9}, compressed(t, batch.LZ4, 1000), nil, nil},
			"snappy":        {[16]byte{10}, compressed(t, batch.Snappy, 1000), nil, nil},
			"nothing to do": {[16]byte{11}, func(r *kmsg.PushTelemetryRequest) { r.Metrics = nil }, nil, nil},
		} {
			f.got.fail = c.fail
			f.got.all = nil
			sub := int32(0)
			if c.id != [16]byte{} {
				if a, err := f.ask(c.id); err == nil {
					sub = a.SubscriptionID
				}
			}
			var opts []func(*kmsg.PushTelemetryRequest)
			if c.opt != nil {
				opts = append(opts, c.opt)
			}
			if err := f.send(c.id, sub, opts...); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			if c.want == nil && c.id[0] < 11 && (len(f.got.all) != 1 || len(f.got.all[0].Metrics) != 1000) {
				t.Errorf("%s: received %d", name, len(f.got.all))
			}
		}
	})
}

func compressed(t *testing.T, c batch.Codec, n int) func(*kmsg.PushTelemetryRequest) {
	b, err := batch.Compress(c, batch.DefaultLevel, nil, bytes.Repeat([]byte{'x'}, n))
	if err != nil {
		t.Fatal(err)
	}
	return func(r *kmsg.PushTelemetryRequest) { r.CompressionType, r.Metrics = int8(c), b }
}

// Clients are forgotten with their connection, after long silence, and when
// there are too many; nothing stays behind.
func TestTelemetryForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newTelemetry(t)
		ctx, hangUp := context.WithCancel(t.Context())
		f.ctx = ctx
		a, _ := f.ask([16]byte{})
		hangUp()
		synctest.Wait()
		if len(f.clients) != 0 || f.recent.Len() != 0 {
			t.Errorf("%d clients after the connection's end", len(f.clients))
		}
		f.ctx = t.Context()
		if _, err := f.ask(a.ClientInstanceID); err != nil {
			t.Errorf("asking on a new connection: %v", err)
		}
		time.Sleep(2 * time.Minute)
		f.ask([16]byte{77})
		if len(f.clients) != 1 {
			t.Errorf("%d clients after long silence", len(f.clients))
		}
		for range maxTelemetryClients + 100 {
			f.ask([16]byte{})
		}
		if len(f.clients) > maxTelemetryClients || f.recent.Len() != len(f.clients) {
			t.Errorf("%d clients, %d in the list", len(f.clients), f.recent.Len())
		}
	})
}

func TestTelemetryIsHiddenWithoutReceiver(t *testing.T) {
	t.Parallel()
	if r := (&Telemetry{}).Routes(); len(r) != 0 {
		t.Errorf("%d routes", len(r))
	}
	if r := (&Telemetry{Receiver: &pushes{}}).Routes(); len(r) != 2 {
		t.Errorf("%d routes", len(r))
	}
}

func TestTelemetrySubscriptionsAreRead(t *testing.T) {
	t.Parallel()
	s, err := NewTelemetrySubscriptions(map[string]map[string]string{
		"good": {"metrics": "a."}, "gone": {}, "odd": {"match": "client_id"}, "worse": {"match": "client_id=("},
		"unknown": {"match": "colour=red"}, "slow": {"interval.ms": "x"},
	})
	if len(s.all) != 1 || err == nil {
		t.Errorf("%d subscriptions, %v", len(s.all), err)
	}
}
