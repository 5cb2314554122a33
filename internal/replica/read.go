// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/replica/partition"
	"gregor/internal/storage"
)

// Read returns whole batches from r.From on, as far as the isolation level
// lets see. It takes no lock of this package. Reading goes on while the disk
// is full. Errors are Kafka's; with OFFSET_OUT_OF_RANGE the offsets of the
// Read are filled in.
func (p *Partition) Read(r ReadRequest) (Read, error) {
	for {
		log := p.log.Load()
		res, err := p.read(r)
		if !p.movedFrom(log, err) {
			return res, err
		}
	}
}

// movedFrom: log was closed because the partition's is another one now.
func (p *Partition) movedFrom(log *storage.Log, err error) bool {
	return err != nil && errors.Is(err, storage.ErrClosed) && p.log.Load() != log
}

func (p *Partition) read(r ReadRequest) (Read, error) {
	log, _, err := p.readable(r.CurrentLeaderEpoch, !r.AnyReplica)
	if err != nil {
		return Read{HighWatermark: -1, LastStable: -1, LogStart: -1, LogEnd: -1}, err
	}
	// The stable end first: it never passes the high watermark read after it.
	stable := p.lso.Load()
	hw := p.hw.Load()
	res := Read{HighWatermark: hw, LastStable: stable, LogStart: log.Start(), LogEnd: log.End()}
	switch r.Isolation {
	case ReadUncommitted:
		res.Bound = hw
	case ReadCommitted:
		res.Bound = stable
	default:
		res.Bound = res.LogEnd
	}
	if r.LastFetchedEpoch != NoEpoch {
		end, err := p.diverges(log, r)
		if err != nil {
			return res, err
		}
		if end != nil {
			res.Diverging = end
			return res, nil
		}
	}
	if r.From < res.LogStart || r.From > res.LogEnd {
		return res, &Error{kerr.OffsetOutOfRange, storage.ErrOffsetOutOfRange{Offset: r.From, Start: res.LogStart, End: res.LogEnd}}
	}
	if r.Follower != nil {
		if err := p.heardOf(*r.Follower, r.From, r.CurrentLeaderEpoch); err != nil {
			return res, err
		}
		res.HighWatermark = p.hw.Load() // which this may have moved
	}
	if r.Rack != "" && p.table.config.RackAware != nil && p.table.config.RackAware() {
		if res.Nearer = p.nearer(r); res.Nearer != nil {
			return res, nil
		}
	}
	if r.From >= res.Bound || r.MaxBytes <= 0 && !r.MinOne {
		return res, nil
	}
	if r.Copies {
		if res.Rest = p.table.config.Throttle.send(p, r.Replica, 0); res.Rest > 0 {
			return res, nil
		}
	}
	s, err := log.Read(r.From, res.Bound, r.MaxBytes, r.MinOne)
	if err != nil {
		p.failed(err)
		return res, translate(err)
	}
	res.Slice = s
	if r.Copies {
		p.table.config.Throttle.send(p, r.Replica, s.N)
	}
	if r.Isolation == ReadCommitted && s.N > 0 {
		if res.Aborted, err = log.Aborted(r.From, s.Next); err != nil {
			if s.Release != nil {
				s.Release()
			}
			res.Slice = storage.Slice{}
			return res, translate(err)
		}
	}
	return res, nil
}

// nearer is the in-sync replica of the reader's rack, where this one is in
// another. A follower sends nobody on.
func (p *Partition) nearer(r ReadRequest) *int32 {
	brokers := *p.table.brokers.Load()
	if brokers[p.table.config.NodeID].rack == r.Rack {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return nil
	}
	id := int32(p.leader.Nearest(r.From, func(x partition.Replica) bool { return brokers[int32(x)].rack == r.Rack }))
	if id == int32(partition.Nobody) {
		return nil
	}
	return &id
}

// readable gives the log when the caller may have it: this node leads (or
// leaderOnly is false), and the caller's leader epoch is this one's.
func (p *Partition) readable(epoch int32, leaderOnly bool) (*storage.Log, *role, error) {
	role := p.role.Load()
	log := p.log.Load()
	switch {
	case log == nil || role.refusal == kerr.KafkaStorageError:
		return nil, nil, kerr.KafkaStorageError
	case epoch != NoEpoch && epoch < role.epoch:
		return nil, nil, kerr.FencedLeaderEpoch
	case epoch != NoEpoch && epoch > role.epoch:
		return nil, nil, kerr.UnknownLeaderEpoch
	case leaderOnly && !role.leads:
		return nil, nil, role.refusal
	}
	return log, role, nil
}

// diverges tells where the logs part when the reader's record before r.From
// cannot be the one that stands here.
func (p *Partition) diverges(log *storage.Log, r ReadRequest) (*EpochEnd, error) {
	epoch, end := log.EpochEnd(r.LastFetchedEpoch)
	if epoch < 0 || end < 0 {
		return nil, &Error{kerr.OffsetOutOfRange, fmt.Errorf("the end of leader epoch %d is not known", r.LastFetchedEpoch)}
	}
	if r.From < log.Start() {
		return nil, &Error{kerr.OffsetOutOfRange, storage.ErrOffsetOutOfRange{Offset: r.From, Start: log.Start(), End: log.End()}}
	}
	if epoch < r.LastFetchedEpoch || end < r.From {
		return &EpochEnd{Epoch: epoch, End: end}, nil
	}
	return nil, nil
}
