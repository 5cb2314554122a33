// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/meta"
)

// refuser is a controller that creates nothing, for a reason.
type refuser struct{ why string }

func (r *refuser) Do(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	resp := kmsg.NewPtrCreateTopicsResponse()
	for _, t := range req.(*kmsg.CreateTopicsRequest).Topics {
		a := kmsg.NewCreateTopicsResponseTopic()
		a.Topic, a.ErrorCode, a.ErrorMessage = t.Topic, kerr.InvalidReplicationFactor.Code, &r.why
		resp.Topics = append(resp.Topics, a)
	}
	return resp, nil
}

// TestInternalTopicThatCannotBe: clients only see COORDINATOR_NOT_AVAILABLE, so
// the log tells the operator why, once for each reason and not for each client.
func TestInternalTopicThatCannotBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		settings, err := config.Load(config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := &refuser{why: "one broker is too few"}
		c := newCreator(config.NewLive(settings), r, &atomic.Pointer[meta.Image]{}, slog.New(slog.NewTextHandler(&out, nil)))
		defer c.close()
		for _, why := range []string{"one broker is too few", "one broker is too few", "all are fenced"} {
			r.why = why
			c.CreateInternal(config.OffsetsTopic)
			synctest.Wait()
		}
		got := out.String()
		for _, why := range []string{"one broker is too few", "all are fenced"} {
			if n := strings.Count(got, why); n != 1 {
				t.Errorf("%q is told %d times:\n%s", why, n, got)
			}
		}
	})
}
