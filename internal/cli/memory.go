// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The server's live heap is small and its garbage comes from requests that
// hostile clients make large: so it collects late while there is little, and
// hard above a soft limit. Both give way to what the operator sets.
const (
	gcPercent   = 400
	memoryFloor = 100 << 20 // the soft limit while the live heap is below half of it
)

// tuneMemory sets the collector for a server and keeps the limit at twice the
// live heap where that is more, so that a node with much metadata does not
// collect all the time. It returns when ctx ends.
func tuneMemory(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(memoryFloor)
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			metrics.Read(sample)
			debug.SetMemoryLimit(max(memoryFloor, 2*int64(sample[0].Value.Uint64())))
		case <-ctx.Done():
			return
		}
	}
}
