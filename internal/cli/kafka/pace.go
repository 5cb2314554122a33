// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"time"
)

// pace holds a loop to a rate: wait(i) returns when the i-th step, counted
// from zero, is due. A rate below zero never waits.
type pace struct {
	perSecond float64
	start     time.Time
}

func (p pace) wait(ctx context.Context, i int64) {
	if p.perSecond < 0 {
		return
	}
	if p.perSecond == 0 {
		<-ctx.Done() // as Kafka's throttle: a rate of nothing sends nothing
		return
	}
	due := p.start.Add(time.Duration(float64(i) / p.perSecond * float64(time.Second)))
	// A millisecond early is near enough, and saves a timer per record.
	if d := time.Until(due); d > time.Millisecond {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}
