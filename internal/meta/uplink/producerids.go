// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"sync"
)

// ProducerIDs hands out producer ids one by one from blocks of 1,000, which are
// given to this broker for good: an id is never given twice, in no process.
//
// Leaf mutex, but for the one caller that fetches a block: others wait for it
// on fetching, so that no lock is held across the request.
type ProducerIDs struct {
	up       *Uplink
	mu       sync.Mutex
	next     int64
	end      int64
	fetching chan struct{} // closed when the fetch under way is over
}

// NewProducerIDs begins without a block.
func NewProducerIDs(up *Uplink) *ProducerIDs { return &ProducerIDs{up: up} }

// Next gives an id.
func (p *ProducerIDs) Next(ctx context.Context) (int64, error) {
	for {
		p.mu.Lock()
		if p.next < p.end {
			id := p.next
			p.next++
			p.mu.Unlock()
			return id, nil
		}
		if wait := p.fetching; wait != nil {
			p.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return 0, translate("AllocateProducerIds", ctx.Err())
			}
		}
		over := make(chan struct{})
		p.fetching = over
		p.mu.Unlock()
		first, n, err := p.up.producerIDs(ctx)
		p.mu.Lock()
		if err == nil {
			p.next, p.end = first, first+int64(n)
		}
		p.fetching = nil
		p.mu.Unlock()
		close(over)
		if err != nil {
			return 0, err
		}
	}
}
