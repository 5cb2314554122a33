// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// timings estimates quantiles of durations. Kafka's come from a reservoir that
// favours the last five minutes; these come from two generations of buckets of
// which the older is dropped every five minutes, so they speak of the last
// five to ten.
//
// A bucket is a sixteenth of a power of two of microseconds, so a quantile is
// right to about 6%:
//
//	0 1 2 … 15 | 16 17 … 31 | 32 34 … 62 | 64 68 … | … about 71 minutes
type timings struct {
	count atomic.Int64
	sum   atomic.Int64 // nanoseconds
	now   atomic.Pointer[buckets]
	old   atomic.Pointer[buckets]
	since atomic.Int64 // when now began, in Unix seconds
}

const (
	subBits   = 4
	perPower  = 1 << subBits
	powers    = 28
	nBuckets  = (powers + 1) * perPower
	turnAfter = int64(5 * 60)
)

type buckets [nBuckets]atomic.Uint32

func newTimings() *timings {
	t := &timings{}
	t.now.Store(new(buckets))
	return t
}

// add notes one duration. No lock, no allocation.
func (t *timings) add(d time.Duration) {
	if d < 0 {
		d = 0
	}
	t.count.Add(1)
	t.sum.Add(int64(d))
	t.now.Load()[bucketOf(uint64(d/time.Microsecond))].Add(1)
}

func bucketOf(us uint64) int {
	if us < perPower {
		return int(us)
	}
	e := bits.Len64(us) - subBits - 1
	return min((e+1)*perPower+int(us>>e)&(perPower-1), nBuckets-1)
}

// middle is the value, in milliseconds, that stands for a bucket.
func middle(bucket int) float64 {
	if bucket < perPower {
		return float64(bucket) / 1000
	}
	e := bucket/perPower - 1
	low := uint64(perPower+bucket%perPower) << e
	return (float64(low) + float64(uint64(1)<<e)/2) / 1000
}

// quantiles fills out, in milliseconds, for ascending shares; zeros when
// nothing happened lately. It turns the generations when it is time.
func (t *timings) quantiles(now time.Time, shares []float64, out []float64) {
	current, old := t.now.Load(), t.old.Load()
	var all [nBuckets]uint64
	total := uint64(0)
	for i := range all {
		all[i] = uint64(current[i].Load())
		if old != nil {
			all[i] += uint64(old[i].Load())
		}
		total += all[i]
	}
	if since := t.since.Load(); now.Unix()-since >= turnAfter && t.since.CompareAndSwap(since, now.Unix()) && since != 0 {
		t.old.Store(current)
		t.now.Store(new(buckets))
	}
	seen, bucket := uint64(0), -1
	for i, share := range shares {
		out[i] = 0
		if total == 0 {
			continue
		}
		rank := max(1, uint64(share*float64(total)+0.5))
		for seen < rank && bucket < nBuckets-1 {
			bucket++
			seen += all[bucket]
		}
		out[i] = middle(bucket)
	}
}
