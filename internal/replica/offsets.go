// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// The special timestamps of ListOffsets.
const (
	Latest                = -1
	Earliest              = -2
	MaxTimestamp          = -3
	EarliestLocal         = -4
	LatestTiered          = -5
	EarliestPendingUpload = -6
)

// OffsetAt answers a search by time; Offset is -1 when nothing was found.
type OffsetAt struct {
	Offset      int64
	Timestamp   int64
	LeaderEpoch int32
}

var nothingFound = OffsetAt{Offset: -1, Timestamp: batch.NoTimestamp, LeaderEpoch: NoEpoch}

// OffsetAt finds the first record at or after a timestamp, or what a special
// timestamp names. What lies at or above the isolation level's end is not
// found. iso ReadAll is for replicas; leaderOnly false lets a follower answer.
func (p *Partition) OffsetAt(timestamp int64, iso Isolation, currentEpoch int32, leaderOnly bool) (OffsetAt, error) {
	for {
		log := p.log.Load()
		at, err := p.offsetAt(timestamp, iso, currentEpoch, leaderOnly)
		if !p.movedFrom(log, err) {
			return at, err
		}
	}
}

func (p *Partition) offsetAt(timestamp int64, iso Isolation, currentEpoch int32, leaderOnly bool) (OffsetAt, error) {
	log, role, err := p.readable(currentEpoch, leaderOnly)
	if err != nil {
		return nothingFound, err
	}
	bound := p.bound(iso)
	// Until the high watermark has passed the start of its epoch a new leader
	// may know an older one than its predecessor told clients.
	var late error
	if hw := p.hw.Load(); iso != ReadAll && role.epochFrom > hw {
		late = &Error{kerr.OffsetNotAvailable, fmt.Errorf("high watermark %d is below the start %d of leader epoch %d", hw, role.epochFrom, role.epoch)}
	}
	var at storage.TimestampOffset
	var found bool
	switch timestamp {
	case Latest:
		if late != nil {
			return nothingFound, late
		}
		return OffsetAt{Offset: bound, Timestamp: batch.NoTimestamp, LeaderEpoch: role.epoch}, nil
	case Earliest, EarliestLocal:
		// Without tiered storage the log is all local.
		start := log.Start()
		return OffsetAt{Offset: start, Timestamp: batch.NoTimestamp, LeaderEpoch: log.EpochAt(start)}, nil
	case LatestTiered, EarliestPendingUpload: // nothing is tiered, nor will be
		return nothingFound, nil
	case MaxTimestamp:
		at, found, err = log.MaxTimestamp()
	default:
		at, found, err = log.OffsetForTimestamp(timestamp)
	}
	switch {
	case err != nil:
		p.failed(err)
		return nothingFound, translate(err)
	case !found || at.Offset >= bound:
		return nothingFound, late
	}
	return OffsetAt{Offset: at.Offset, Timestamp: at.Timestamp, LeaderEpoch: at.LeaderEpoch}, nil
}

// Settle waits, while ctx lasts, until the high watermark has reached where the
// log ends now, if nothing but a flush of this node is missing for that: who was
// told that a record is written, and asks at once where the log ends, is then
// told as Kafka would.
func (p *Partition) Settle(ctx context.Context) {
	r, log := p.role.Load(), p.log.Load()
	if !r.leads || r.hasPeers || log == nil {
		return
	}
	if end := log.End(); p.hw.Load() < end {
		_ = p.Wait(ctx, end, r.epoch) // what is there by then is the answer
	}
}

// EpochEnd finds the largest leader epoch at or below epoch and where it ends.
func (p *Partition) EpochEnd(epoch, currentEpoch int32) (EpochEnd, error) {
	log, _, err := p.readable(currentEpoch, true)
	if err != nil {
		return EpochEnd{-1, -1}, err
	}
	e, end := log.EpochEnd(epoch)
	return EpochEnd{Epoch: e, End: end}, nil
}

// HighWatermarkOffset, as the offset of DeleteRecords, stands for the high
// watermark.
const HighWatermarkOffset = -1

// DeleteRecords moves the log's start up to offset and returns the low
// watermark: the smallest start among the live replicas.
func (p *Partition) DeleteRecords(offset int64) (low int64, err error) {
	p.turn.RLock()
	defer p.turn.RUnlock()
	r := p.role.Load()
	if !r.leads {
		return -1, r.refusal
	}
	c := p.config.Load()
	if c.Log.Compact && !c.Log.Delete {
		return -1, &Error{kerr.PolicyViolation, fmt.Errorf("records of %s-%d are compacted, not deleted", p.topic, p.index)}
	}
	hw := p.hw.Load()
	if offset == HighWatermarkOffset {
		offset = hw
	}
	log := p.log.Load()
	if offset < 0 || offset > hw {
		return -1, &Error{kerr.OffsetOutOfRange, storage.ErrOffsetOutOfRange{Offset: offset, Start: log.Start(), End: hw}}
	}
	if err := log.IncrementStart(offset); err != nil {
		p.failed(err)
		return -1, translate(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return -1, kerr.NotLeaderForPartition
	}
	return p.leader.LowWatermark(log.Start()), nil
}

// Producers are the producers with state in this partition.
func (p *Partition) Producers() ([]storage.ProducerState, error) {
	for {
		log, _, err := p.readable(NoEpoch, true)
		if err != nil {
			return nil, err
		}
		ps, err := log.Producers()
		if !p.movedFrom(log, err) {
			return ps, translate(err)
		}
	}
}
