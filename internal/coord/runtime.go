// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
)

// Config says how a Runtime runs its shards.
type Config[S Shard] struct {
	// New makes the empty shard of a partition that is about to be loaded.
	New func(partition int32) S

	// WriteTimeout ends the wait for a commit (offsets.commit.timeout.ms).
	WriteTimeout time.Duration

	// LoadBytes is how much is read of a log at once (offsets.load.buffer.size).
	LoadBytes int

	// Codec compresses what shards write (offsets.topic.compression.codec).
	Codec batch.Codec

	// Effect carries out what shards want done, for a partition that is owned
	// in an epoch. It is called on the partition's loop and must not block.
	Effect func(partition, epoch int32, e Effect)

	Events Events

	// Now is the clock that shards are shown; nil is time.Now. What they write
	// down is its wall time, the rest is measured by its monotonic reading.
	Now func() time.Time
}

// Runtime owns the shards of the partitions led on this node.
// Shape: mu guards owned and closed and is a leaf; nothing waits beneath it.
type Runtime[S Shard] struct {
	cfg Config[S]

	mu     sync.Mutex
	owned  map[int32]*loop[S]
	closed bool
	wg     sync.WaitGroup // every loop's goroutine; Close waits for it
}

// New makes a runtime that owns nothing yet.
func New[S Shard](cfg Config[S]) *Runtime[S] {
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = 5 * time.Second
	}
	if cfg.LoadBytes <= 0 {
		cfg.LoadBytes = 5 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Runtime[S]{cfg: cfg, owned: map[int32]*loop[S]{}}
}

// Elect starts the shard of a partition that this node leads since epoch. It
// returns at once; until the log is loaded, calls get
// COORDINATOR_LOAD_IN_PROGRESS. An epoch that is not above the one already
// owned changes nothing.
func (r *Runtime[S]) Elect(partition, epoch int32, log Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	old := r.owned[partition]
	if old != nil {
		if old.epoch >= epoch {
			return
		}
		close(old.stop)
	}
	l := newLoop(&r.cfg, partition, epoch, log)
	r.owned[partition] = l
	r.wg.Go(func() {
		if old != nil {
			<-old.done
		}
		l.run()
	})
}

// Resign ends this node's ownership of a partition, unless it was elected in an
// epoch above the given one. Calls that wait get NOT_COORDINATOR.
func (r *Runtime[S]) Resign(partition, epoch int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.owned[partition]
	if l == nil || l.epoch > epoch {
		return
	}
	delete(r.owned, partition)
	close(l.stop)
}

// Owned lists the partitions that this node coordinates, loaded or not, in
// ascending order.
func (r *Runtime[S]) Owned() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	ps := make([]int32, 0, len(r.owned))
	for p := range r.owned {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// Write runs op on the partition's shard and returns what it is answered: at
// once, when its records are committed, or when another operation or a timer
// answers its ticket. Errors are kerr's; ClientError turns those of the log
// into what a client may see. A ctx that ends stops the wait, not the op.
func (r *Runtime[S]) Write(ctx context.Context, partition int32, op func(s S, now time.Time, t Ticket) Result) (any, error) {
	l, err := r.active(partition)
	if err != nil {
		return nil, err
	}
	c := make(call, 1)
	if err := l.send(ctx, mail[S]{write: op, call: c}); err != nil {
		return nil, err
	}
	select {
	case out := <-c:
		return out.reply, out.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Read runs op on the partition's shard, which must answer from its committed
// view and change nothing. It gets COORDINATOR_LOAD_IN_PROGRESS until what was
// loaded is committed.
func (r *Runtime[S]) Read(ctx context.Context, partition int32, op func(s S)) error {
	l, err := r.active(partition)
	if err != nil {
		return err
	}
	c := make(call, 1)
	if err := l.send(ctx, mail[S]{read: op, call: c}); err != nil {
		return err
	}
	select {
	case out := <-c:
		return out.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ReadAll runs op on every owned shard, one after another, in the order of
// their partitions. A partition that is lost meanwhile is skipped; one that is
// still loading fails the whole, for the answer would not be complete.
func (r *Runtime[S]) ReadAll(ctx context.Context, op func(partition int32, s S)) error {
	for _, p := range r.Owned() {
		err := r.Read(ctx, p, func(s S) { op(p, s) })
		if err != nil && !errors.Is(err, kerr.NotCoordinator) {
			return err
		}
	}
	return nil
}

// Post runs op on every owned shard, soon, in order and before any call that
// comes later, and does not wait for any of it; a shard that is loading runs it
// after its load.
func (r *Runtime[S]) Post(op func(s S, now time.Time) Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.owned {
		l.post(op)
	}
}

// Close resigns from every partition and waits until all loops have ended.
func (r *Runtime[S]) Close() {
	r.mu.Lock()
	r.closed = true
	for p, l := range r.owned {
		delete(r.owned, p)
		close(l.stop)
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *Runtime[S]) active(partition int32) (*loop[S], error) {
	r.mu.Lock()
	l := r.owned[partition]
	closed := r.closed
	r.mu.Unlock()
	switch {
	case closed:
		return nil, kerr.CoordinatorNotAvailable
	case l == nil:
		return nil, kerr.NotCoordinator
	}
	switch phase(l.phase.Load()) {
	case loading:
		return nil, kerr.CoordinatorLoadInProgress
	case failed, gone:
		return nil, kerr.NotCoordinator
	}
	return l, nil
}

// ClientError is the error a client sees for err, which the log or the wait for
// its commit gave: one that makes it retry, here or at the new coordinator.
// Source: CoordinatorOperationExceptionHelper.handleOperationException.
func ClientError(err error) error {
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return err
	}
	switch ke {
	case kerr.NetworkException:
		return kerr.CoordinatorLoadInProgress
	case kerr.UnknownTopicOrPartition, kerr.NotEnoughReplicas, kerr.RequestTimedOut:
		return kerr.CoordinatorNotAvailable
	case kerr.NotLeaderForPartition, kerr.KafkaStorageError:
		return kerr.NotCoordinator
	case kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidFetchSize:
		return kerr.UnknownServerError
	}
	return ke
}

// Code is the wire's number for err: 0 for nil, UNKNOWN_SERVER_ERROR for what is
// not one of Kafka's.
func Code(err error) int16 {
	if err == nil {
		return 0
	}
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Code
	}
	return kerr.UnknownServerError.Code
}
