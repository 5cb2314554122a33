// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/meta/plan"
)

// fakeController folds decisions in at once.
type fakeController struct {
	mu     sync.Mutex
	img    *meta.Image
	fail   error
	asked  int
	behind int64 // what Await was last asked for
}

func (f *fakeController) Submit(_ context.Context, _ string, d controller.Decision) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.fail != nil {
		return 0, f.fail
	}
	rs, err := d(f.img)
	if err != nil || len(rs) == 0 {
		return f.img.Version(), err
	}
	next, _, err := f.img.With(rs)
	if err == nil {
		f.img = next
	}
	return f.img.Version(), err
}

func (f *fakeController) Await(_ context.Context, version int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = version
	return nil
}

type anySchema struct{}

func (anySchema) IsList(meta.ResourceType, string) bool                              { return false }
func (anySchema) Default(meta.ResourceType, string) (string, bool)                   { return "", false }
func (anySchema) Validate(meta.Resource, map[string]string, map[string]string) error { return nil }
func (anySchema) Topic(*meta.Image, map[string]string) []plan.TopicSetting           { return nil }

type ones struct{ n uint64 }

func (o *ones) Uint64() uint64 { o.n += 0x9E3779B97F4A7C15; return o.n }

func registered(t *testing.T) (*Uplink, *fakeController) {
	t.Helper()
	f := &fakeController{}
	f.img, _, _ = meta.Empty().With([]meta.Record{meta.ClusterRecord{ID: "c"}})
	env := plan.Env{Random: new(ones), Schema: anySchema{}, Partitions: 2, Replication: 1}
	u := New(Config{Node: 4, Desk: NewDesk(f, nil, env), Follower: f})
	epoch, err := u.Register(t.Context(), plan.Registration{ID: 4, ClusterID: "c", Incarnation: meta.UUID{1}, Dirs: []meta.UUID{{2}}, Voter: &meta.Controller{ID: 4}}, true)
	if err != nil || epoch != u.Epoch() || !f.img.Broker(4).Active() || f.img.Controller(4) == nil {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	return u, f
}

func TestDo(t *testing.T) {
	t.Parallel()
	u, f := registered(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "t", -1, -1
	req.Topics = append(req.Topics, rt)
	resp, err := u.Do(t.Context(), req)
	if err != nil || resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 || f.img.Topic("t").Len() != 2 {
		t.Fatalf("%+v %v", resp, err)
	}
	if f.behind != f.img.Version() {
		t.Errorf("answered at version %d, this broker was waited for at %d", f.img.Version(), f.behind)
	}
	for _, req := range []kmsg.Request{kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrCreatePartitionsRequest(), kmsg.NewPtrIncrementalAlterConfigsRequest(),
		kmsg.NewPtrAlterConfigsRequest(), kmsg.NewPtrElectLeadersRequest(), kmsg.NewPtrUpdateFeaturesRequest(), kmsg.NewPtrListPartitionReassignmentsRequest()} {
		resp, err := u.Do(t.Context(), req)
		if err != nil || resp == nil || resp.Key() != req.Key() {
			t.Errorf("%T: %T %v", req, resp, err)
		}
	}
	gone := kmsg.NewPtrUnregisterBrokerRequest()
	gone.BrokerID = 9
	if _, err := u.Do(t.Context(), gone); !errors.Is(err, kerr.BrokerIDNotRegistered) {
		t.Errorf("unregister a stranger: %v", err)
	}
	if _, err := u.Do(t.Context(), kmsg.NewPtrFetchRequest()); !errors.Is(err, kerr.UnsupportedVersion) {
		t.Errorf("a request that is none of the controller's: %v", err)
	}
}

func TestErrorsAreKafkas(t *testing.T) {
	t.Parallel()
	u, f := registered(t)
	for err, want := range map[error]*kerr.Error{
		controller.ErrNotController:                          kerr.NotController,
		controller.ErrUnknown:                                kerr.RequestTimedOut,
		context.DeadlineExceeded:                             kerr.RequestTimedOut,
		controller.ErrClosed:                                 kerr.BrokerNotAvailable,
		fmt.Errorf("x: %w", kerr.ClusterAuthorizationFailed): kerr.ClusterAuthorizationFailed,
	} {
		f.fail = err
		if _, got := u.Do(t.Context(), kmsg.NewPtrDeleteTopicsRequest()); !errors.Is(got, want) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// TestProducerIDs: ids handed out from many sides are all different, and a
// block is fetched once.
func TestProducerIDs(t *testing.T) {
	t.Parallel()
	u, f := registered(t)
	before := f.asked
	ids := NewProducerIDs(u)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]bool{}
	for range 8 {
		wg.Go(func() {
			for range 300 {
				id, err := ids.Next(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[id] {
					t.Errorf("id %d twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 2400 || f.asked-before != 3 {
		t.Errorf("%d ids in %d blocks", len(seen), f.asked-before)
	}
	f.fail = controller.ErrNotController
	for range 600 {
		if _, err := ids.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ids.Next(t.Context()); !errors.Is(err, kerr.NotController) {
		t.Errorf("%v", err)
	}
}
