// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// route is the way records take to a follower.
type route struct{ leader, follower int32 }

// stuckWithin is how long replicas that are behind are watched for progress.
// A follower's fetch waits half a second, and is tried again after a second.
const stuckWithin = 2 * time.Second

// askStuck looks twice at the replicas that are out of sync though their broker
// and its leader answer: who has got nothing in between is stuck.
func (v *clusterView) askStuck(ctx context.Context, cl *kgo.Client) {
	if len(v.lagging()) == 0 {
		return
	}
	t := time.NewTimer(stuckWithin)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return
	}
	later := &clusterView{Brokers: v.Brokers, dirs: map[int32][]dirView{}, logs: map[tp]map[int32]logView{}, silent: map[int32]error{}}
	later.askLogs(ctx, cl)
	v.noteStuck(later.logs)
}

// lagging are the replicas that ought to make progress, by the way they get
// their records.
func (v *clusterView) lagging() map[route][]partitionView {
	out := map[route][]partitionView{}
	for _, p := range v.Partitions {
		lead, known := v.logs[p.tp][p.Leader]
		if !known {
			continue
		}
		for _, r := range missing(p) {
			b, in := v.broker(r)
			l, told := v.logs[p.tp][r]
			if in && !b.Fenced && told && l.bytes < lead.bytes && !slices.Contains(p.Offline, r) && !v.full(r) {
				out[route{p.Leader, r}] = append(out[route{p.Leader, r}], p)
			}
		}
	}
	return out
}

// full tells that a broker has a directory without room, which says enough.
func (v *clusterView) full(id int32) bool {
	return slices.ContainsFunc(v.dirs[id], dirView.full)
}

// noteStuck compares with what was told later. A way is stuck when nothing came
// along it.
func (v *clusterView) noteStuck(later map[tp]map[int32]logView) {
	v.stuck = map[route]bool{}
	for w, ps := range v.lagging() {
		v.stuck[w] = !slices.ContainsFunc(ps, func(p partitionView) bool {
			now, told := later[p.tp][w.follower]
			return !told || now.bytes != v.logs[p.tp][w.follower].bytes
		})
	}
}

// stuckLines says what to look at.
func (v *clusterView) stuckLines() (lines []string) {
	ways := slices.SortedFunc(maps.Keys(v.stuck), func(a, b route) int {
		return cmp.Or(cmp.Compare(a.follower, b.follower), cmp.Compare(a.leader, b.leader))
	})
	for _, w := range ways {
		if lead, ok := v.broker(w.leader); ok && v.stuck[w] {
			lines = append(lines, fmt.Sprintf("broker %d gets nothing from broker %d, though both answer here: is the way from broker %d to %s cut, or does a disk of broker %d hang?", w.follower, w.leader, w.follower, lead.Address, w.follower))
		}
	}
	return lines
}
