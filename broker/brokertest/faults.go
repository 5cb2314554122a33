// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// faults stand between the network and the broker.
type faults struct {
	mu     sync.Mutex // leaf
	delays map[int16]time.Duration
	fails  map[int16]*failure
}

// failure is what happens to requests of a key. err nil: the connection is
// closed.
type failure struct {
	err   *kerr.Error
	times int // < 0: always
}

func newFaults() *faults {
	return &faults{delays: map[int16]time.Duration{}, fails: map[int16]*failure{}}
}

func (f *faults) delay(key int16, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delays[key] = d
}

func (f *faults) fail(key int16, err *kerr.Error, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[key] = &failure{err, times}
}

// next says what is to happen to a request.
func (f *faults) next(key int16) (wait time.Duration, err *kerr.Error, failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait = f.delays[key]
	x := f.fails[key]
	if x == nil || x.times == 0 {
		return wait, nil, false
	}
	if x.times > 0 {
		x.times--
	}
	return wait, x.err, true
}

func (f *faults) around(h wire.Handler) wire.Handler { return &faulty{f, h} }

type faulty struct {
	*faults
	broker wire.Handler
}

func (f *faulty) Serve(ctx context.Context, r *wire.Request) (wire.Reply, wire.Pending) {
	wait, err, failed := f.next(r.Key)
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return wire.Reply{None: true, Close: true}, nil
		}
	}
	switch {
	case !failed:
		return f.broker.Serve(ctx, r)
	case err == nil:
		return wire.Reply{None: true, Close: true}, nil
	}
	req := kmsg.RequestForKey(r.Key)
	req.SetVersion(r.Version)
	if req.ReadFrom(append([]byte(nil), r.Body...)) != nil {
		return f.broker.Serve(ctx, r) // which refuses it in its own way
	}
	resp := refusal(req, err.Code)
	return wire.Reply{Body: resp.AppendTo(nil), Flexible: resp.IsFlexible() && r.Key != int16(kmsg.ApiVersions)}, nil
}

// refusal is the answer to req with code in every place that has one. Lists of
// the answer repeat those of the request that have the same name, with the
// fields that are in both.
func refusal(req kmsg.Request, code int16) kmsg.Response {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	refuse(reflect.ValueOf(req).Elem(), reflect.ValueOf(resp).Elem(), code)
	return resp
}

func refuse(from, to reflect.Value, code int16) {
	for i := range to.NumField() {
		name, field := to.Type().Field(i).Name, to.Field(i)
		if name == "ErrorCode" {
			field.SetInt(int64(code))
			continue
		}
		same := from.FieldByName(name)
		if !same.IsValid() || name == "Version" {
			continue
		}
		switch {
		case same.Type() == field.Type():
			field.Set(same)
		case field.Kind() == reflect.Slice && same.Kind() == reflect.Slice &&
			field.Type().Elem().Kind() == reflect.Struct && same.Type().Elem().Kind() == reflect.Struct:
			list := reflect.MakeSlice(field.Type(), same.Len(), same.Len())
			for k := range same.Len() {
				element := list.Index(k)
				if d, ok := element.Addr().Interface().(interface{ Default() }); ok {
					d.Default()
				}
				refuse(same.Index(k), element, code)
			}
			field.Set(list)
		}
	}
}
