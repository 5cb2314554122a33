// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

func bareVersions(t testing.TB) *API {
	t.Helper()
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A few bytes that announce four thousand million tags are malformed at once.
func TestApiVersionsAnnouncesTags(t *testing.T) {
	t.Parallel()
	a := bareVersions(t)
	body := binary.AppendUvarint([]byte("\x02a\x021"), 1<<32-1)
	done := make(chan wire.Reply, 1)
	go func() {
		reply, _ := a.Serve(context.Background(), &wire.Request{Key: 18, Version: 3, Body: body})
		done <- reply
	}()
	select {
	case reply := <-done:
		if !reply.Close {
			t.Fatal("it was answered")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is still being decoded")
	}
}

// Tags that nobody knows are not kept, and neither is a name without end.
func TestApiVersionsKeepsLittle(t *testing.T) { // alone: it counts what is allocated
	a := bareVersions(t)
	const tags = 1 << 20
	body := binary.AppendUvarint([]byte("\x02a\x021"), tags)
	for i := range uint64(tags) {
		body = append(binary.AppendUvarint(body, i), 0)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a.Serve(context.Background(), &wire.Request{Key: 18, Version: 3, Body: body})
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("%d bytes for a request of %d", took, len(body))
	}

	_, dial := serve(t)
	c := dial()
	for n, code := range map[int]int16{200: 0, 1 << 20: kerr.InvalidRequest.Code} {
		for _, req := range []*kmsg.ApiVersionsRequest{askVersions(3, strings.Repeat("a", n), "1"), askVersions(3, "a", strings.Repeat("1", n))} {
			if resp := c.ask(req).(*kmsg.ApiVersionsResponse); resp.ErrorCode != code {
				t.Errorf("%d letters: code %d", n, resp.ErrorCode)
			}
		}
	}
}
