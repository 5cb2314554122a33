// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// controllerFunc carries requests out by a function.
type controllerFunc func(ctx context.Context, req kmsg.Request) (kmsg.Response, error)

func (f controllerFunc) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	return f(ctx, req)
}

// TestTopicsWithoutController: when the controller cannot be asked, every topic
// of the request gets the reason.
func TestTopicsWithoutController(t *testing.T) {
	t.Parallel()
	deleting := true
	f := &Topics{DeleteEnabled: func() bool { return deleting }, Controller: controllerFunc(func(ctx context.Context, _ kmsg.Request) (kmsg.Response, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the controller is waited for without a bound")
		}
		return nil, fmt.Errorf("x: %w", kerr.NotController)
	})}
	want := kerr.NotController.Code

	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "a"}, {Topic: "b"}}
	r, err := f.create(t.Context(), &Call{}, create)
	if got := r.(*kmsg.CreateTopicsResponse); err != nil || len(got.Topics) != 2 || got.Topics[1].Topic != "b" || got.Topics[1].ErrorCode != want {
		t.Errorf("%+v %v", r, err)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "a"}}
	r, err = f.grow(t.Context(), &Call{}, grow)
	if got := r.(*kmsg.CreatePartitionsResponse); err != nil || len(got.Topics) != 1 || got.Topics[0].ErrorCode != want {
		t.Errorf("%+v %v", r, err)
	}
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames = []string{"a"}
	remove.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: [16]byte{1}}}
	for _, c := range []struct {
		enabled bool
		version int16
		want    int16
	}{{true, 6, want}, {false, 6, kerr.TopicDeletionDisabled.Code}, {false, 2, kerr.InvalidRequest.Code}} {
		deleting = c.enabled
		r, err = f.delete(t.Context(), &Call{Version: c.version}, remove)
		got := r.(*kmsg.DeleteTopicsResponse)
		if err != nil || len(got.Topics) != 2 || got.Topics[0].ErrorCode != c.want || got.Topics[1].ErrorCode != c.want || got.Topics[1].TopicID != [16]byte{1} {
			t.Errorf("%+v: %+v %v", c, got, err)
		}
	}
}
