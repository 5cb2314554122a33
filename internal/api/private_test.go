// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// Keys of our own are answered, not listed, and not given twice.
func TestPrivateKeys(t *testing.T) {
	echo := func(_ context.Context, _ *Call, body []byte) (wire.Reply, wire.Pending) {
		return wire.Reply{Body: append([]byte(nil), body...), Flexible: true}, nil
	}
	a, err := New(Config{}, []Route{Private(FirstPrivate+3, echo)})
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := a.Kind(32003, 0); !ok || !k.FlexibleHeader {
		t.Fatal("key 32003 is not known")
	}
	if _, ok := a.Kind(32003, 1); ok {
		t.Fatal("version 1 is known")
	}
	for _, key := range []int16{32004, 32767, 128} {
		if _, ok := a.Kind(key, 0); ok {
			t.Fatalf("key %d is known", key)
		}
	}
	r, _ := a.Serve(t.Context(), &wire.Request{Key: 32003, Body: []byte("x")})
	if string(r.Body) != "x" {
		t.Fatalf("got %q", r.Body)
	}
	for _, s := range a.Served() {
		if s.Key >= FirstPrivate {
			t.Fatalf("key %d is listed", s.Key)
		}
	}
	for _, twice := range [][]Route{
		{Private(32000, echo), Private(32000, echo)},
		{Private(FirstPrivate+kmsg.Key(maxPrivate), echo)},
	} {
		if _, err := New(Config{}, twice); err == nil {
			t.Error("a key given twice, or too large, was taken")
		}
	}
}
