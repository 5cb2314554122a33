// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"testing"
)

// A follower that is up and gets nothing, though it lacks records, is told with
// the way to look at; one that makes progress anywhere on that way is not.
func TestStuck(t *testing.T) {
	t.Parallel()
	at := func(i int32) tp { return tp{"t", i} }
	v := &clusterView{
		Brokers: []brokerView{{1, "h:1", "", false}, {2, "h:2", "", false}, {3, "h:3", "", false}},
		dirs:    map[int32][]dirView{},
		logs: map[tp]map[int32]logView{
			at(0): {1: {5000, 0}, 2: {4000, 0}, 3: {4000, 0}}, at(1): {1: {5000, 0}, 3: {5000, 0}, 2: {10, 0}},
			at(2): {3: {5000, 0}, 2: {4000, 0}},
		},
		Partitions: []partitionView{
			{tp: at(0), Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1}},
			{tp: at(1), Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1}},
			{tp: at(2), Leader: 3, Replicas: []int32{3, 2}, ISR: []int32{3}},
		},
	}
	later := map[tp]map[int32]logView{
		at(0): {1: {6000, 0}, 2: {4000, 0}, 3: {4000, 0}}, at(1): {1: {5000, 0}, 2: {10, 0}, 3: {5000, 0}},
		at(2): {3: {5000, 0}, 2: {4500, 0}},
	}
	v.noteStuck(later)
	want := []string{
		"broker 2 gets nothing from broker 1, though both answer here: is the way from broker 2 to h:1 cut, or does a disk of broker 2 hang?",
		"broker 3 gets nothing from broker 1, though both answer here: is the way from broker 3 to h:1 cut, or does a disk of broker 3 hang?",
	}
	if got := v.stuckLines(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if why := v.whyBehind(v.Partitions[0], 2); why != "broker 2 gets nothing from broker 1, 1000 B behind" {
		t.Error(why)
	}
	if why := v.whyBehind(v.Partitions[2], 2); why != "broker 2 catches up, 1000 B behind" {
		t.Error(why)
	}
	// Where a directory failed, the log that is not shown lay there.
	v.dirs[2] = []dirView{{path: "/gone", failed: true}}
	delete(v.logs[at(2)], 2)
	if why := v.whyBehind(v.Partitions[2], 2); why != "broker 2 has lost a log directory, and shows no log of it" {
		t.Error(why)
	}
	// A full disk is a reason of its own; a broker that is down, too.
	v.dirs[2] = []dirView{{path: "/full", total: 100 << 20}}
	v.Brokers[2].Fenced = true
	v.noteStuck(later)
	if got := v.stuckLines(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
