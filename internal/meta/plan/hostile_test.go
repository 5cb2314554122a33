// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// Decisions are made on the controller's loop, which nothing else gets while one
// is: their time must not grow with the square of what a client sends. What took
// hours, or minutes, has a minute here.
func inTime(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the controller is still deciding")
	}
}

func TestLongListIsRefusedInTime(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&list, "%x,", i)
	}
	value := list.String()
	for _, op := range []kmsg.IncrementalAlterConfigOp{kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract} {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: "old",
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "list", Op: op, Value: &value}}}}
		img := cluster(t, 1)
		inTime(t, func() {
			records, resp := IncrementalAlterConfigs(img, req, env())
			if code := resp.Resources[0].ErrorCode; len(records) != 0 || code != kerr.InvalidConfig.Code {
				t.Errorf("%d records, code %d", len(records), code)
			}
		})
	}
}

func TestManyKeysAreRefusedInTime(t *testing.T) {
	t.Parallel()
	x := "x"
	r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 2, ResourceName: "old"}
	for i := range 400_000 {
		r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: fmt.Sprintf("key%07d", i), Value: &x})
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, r)
	img := cluster(t, 1)
	inTime(t, func() {
		if records, resp := IncrementalAlterConfigs(img, req, env()); len(records) != 0 || resp.Resources[0].ErrorCode != kerr.InvalidConfig.Code {
			t.Errorf("%d records, code %d", len(records), resp.Resources[0].ErrorCode)
		}
	})
}

// A partition is elected for, or listed, once.
func TestNamedInTwoPlaces(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	elect := kmsg.NewPtrElectLeadersRequest()
	for range 3 {
		elect.Topics = append(elect.Topics, kmsg.ElectLeadersRequestTopic{Topic: "wide", Partitions: []int32{0, 0}})
	}
	records, resp, err := ElectLeaders(img, elect, env())
	if err != nil || len(records) != 1 || len(resp.Topics) != 3 || len(resp.Topics[0].Partitions) != 1 || len(resp.Topics[1].Partitions) != 0 {
		t.Errorf("%d records, %+v %v", len(records), resp.Topics, err)
	}
	p := *img.Partition("wide", 0)
	p.Adding = []int32{2}
	img = with(t, img, meta.PartitionRecord{Topic: img.Topic("wide").ID, Index: 0, Partition: p})
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	for range 1000 {
		list.Topics = append(list.Topics, kmsg.ListPartitionReassignmentsRequestTopic{Topic: "wide", Partitions: []int32{9, 0}})
	}
	if got := ListReassignments(img, list); len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		t.Errorf("%d topics are listed", len(got.Topics))
	}
}
