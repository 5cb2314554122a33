//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rounds lengthens the ordeals: so many times as much work and as many faults.
func rounds() int { return number("INTEROP_ROUNDS", 1) }

// committed reads a topic as far as transactions have ended.
func committed(t *testing.T, topic string) ([]*kgo.Record, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	adm := clientOf(t, bootstrap)
	defer adm.Close()
	ends, err := kadm.NewClient(adm).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	if len(left) == 0 {
		return nil, nil
	}
	cl := clientOf(t, bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer cl.Close()
	var all []*kgo.Record
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d records, and the end not reached of %v: %w", len(all), left, ctx.Err())
		}
		f.EachRecord(func(r *kgo.Record) {
			end, wanted := left[r.Partition]
			if !wanted {
				return // later than the end as it was asked for
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
	}
	return all, nil
}

// ordeal waits until n records are committed in a topic. Whenever the next
// share of them is, the next fault happens; tend is called all the time. A
// record with the value of another ends the test at once.
func ordeal(t *testing.T, topic string, n int, tend func(), faults ...func()) {
	t.Helper()
	start := time.Now()
	had, moved := 0, start
	for next := 0; ; time.Sleep(50 * time.Millisecond) {
		tend()
		rs, err := committed(t, topic)
		if err != nil {
			t.Logf("reading %s: %v", topic, err)
		}
		seen := map[string]string{}
		for _, r := range rs {
			at := fmt.Sprintf("%d:%d", r.Partition, r.Offset)
			if was, twice := seen[string(r.Value)]; twice {
				t.Fatalf("%q twice: at %s and at %s", r.Value, was, at)
			}
			seen[string(r.Value)] = at
		}
		if len(rs) > had {
			had, moved = len(rs), time.Now()
		}
		if len(rs) >= n && next == len(faults) {
			return
		}
		if next < len(faults) && len(rs) >= n*(next+1)/(len(faults)+1) {
			began := time.Now()
			faults[next]()
			next++
			moved = time.Now()
			t.Logf("after %.1fs: fault %d at %d records, which took %.1fs", began.Sub(start).Seconds(), next, len(rs), moved.Sub(began).Seconds())
		}
		if time.Since(moved) > patience {
			t.Fatalf("%d records of %d after %v without another; %d of %d faults", had, n, patience, next, len(faults))
		}
	}
}

// wantNumbers checks that a topic's committed records are the numbers 0..n-1,
// each one once.
func wantNumbers(t *testing.T, topic string, n int) {
	t.Helper()
	var rs []*kgo.Record
	eventually(t, "reading "+topic, func() (bool, string) {
		var err error
		rs, err = committed(t, topic)
		return err == nil, fmt.Sprint(err)
	})
	seen := map[string]int{}
	for _, r := range rs {
		head, _, _ := strings.Cut(string(r.Value), "|")
		seen[head]++
	}
	for i := range n {
		if times := seen[fmt.Sprint(i)]; times != 1 {
			t.Errorf("%d is there %d times", i, times)
		}
	}
	if len(rs) != n {
		t.Errorf("%d records, want %d", len(rs), n)
	}
}
