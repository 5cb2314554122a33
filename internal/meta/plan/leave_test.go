// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

func TestLeaveSeats(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	wide, old := img.Topic("wide").ID, img.Topic("old").ID
	env := Env{}
	// The leader leaves, and the other one leads. Other epochs, unknown topics,
	// and partitions without anybody else are passed over.
	records, err := LeaveSeats(img, 2, 11, []InEpoch{{wide, 0, 4}, {wide, 0, 4}, {wide, 0, 3}, {meta.UUID{9}, 0, 0}, {wide, 7, 0}}, env)
	if err != nil {
		t.Fatal(err)
	}
	next := with(t, img, records...)
	if p := next.Partition("wide", 0); len(records) != 1 || p.Leader != 1 || p.LeaderEpoch != 5 || !slices.Equal(p.ISR, []int32{1}) || slices.Contains(p.ELR, 2) {
		t.Errorf("%d records, %+v", len(records), p)
	}
	if records, err := LeaveSeats(next, 1, 10, []InEpoch{{wide, 0, 5}, {old, 0, 0}}, env); err != nil || len(records) != 0 {
		t.Errorf("the last one left: %v, %v", records, err)
	}
	if _, err := LeaveSeats(img, 2, 10, nil, env); !errors.Is(err, kerr.StaleBrokerEpoch) {
		t.Errorf("stale: %v", err)
	}
	// A follower leaves and the leader stays, in its epoch.
	records, err = LeaveSeats(img, 1, 10, []InEpoch{{wide, 0, 4}}, env)
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	if p := with(t, img, records...).Partition("wide", 0); p.Leader != 2 || p.LeaderEpoch != 4 || !slices.Equal(p.ISR, []int32{2}) {
		t.Errorf("%+v", p)
	}
}
