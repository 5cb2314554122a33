// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// duplicates serves some requests twice, as when an answer was lost and the
// sender asked again; the sender gets the second answer.
type duplicates struct {
	mu    sync.Mutex // guards the rest; a leaf
	oneIn int64      // 0: none
	rng   func(n int64) int64
}

func (d *duplicates) set(oneIn int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.oneIn = oneIn
}

// repeatable are the requests that senders repeat: of producers, of group
// members, of transaction coordinators, of brokers to the controller, and those
// of our own.
func repeatable(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.Produce, kmsg.OffsetCommit, kmsg.Fetch, kmsg.AlterPartition, kmsg.BrokerHeartbeat,
		kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.WriteTxnMarkers:
		return true
	}
	return key >= 32000
}

func (d *duplicates) twice(key int16) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.oneIn > 0 && repeatable(key) && d.rng(d.oneIn) == 0
}

func (d *duplicates) around(h wire.Handler) wire.Handler { return duplicating{d, h} }

type duplicating struct {
	*duplicates
	node wire.Handler
}

func (d duplicating) Serve(ctx context.Context, r *wire.Request) (wire.Reply, wire.Pending) {
	if d.twice(r.Key) {
		first := *r
		first.Body = bytes.Clone(r.Body) // serving may stamp it
		reply, pending := d.node.Serve(ctx, &first)
		switch {
		case pending != nil:
			pending.Cancel()
		case reply.Owner != nil:
			reply.Owner.Release()
		}
	}
	return d.node.Serve(ctx, r)
}
