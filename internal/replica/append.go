// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// Append writes the batch of one produce request for this partition, whole or
// not at all. records are borrowed and may be stamped in place. When it
// returns the records are written; they are committed once the high watermark
// is past Result.LastOffset, which AwaitCommitted waits for. A duplicate of an
// earlier append is not written again; its Result is the original's, and is
// waited for like the original.
//
// Errors are Kafka's, or a *RecordErrors around one.
func (p *Partition) Append(records []byte, acks int16, o AppendOptions) (Result, error) {
	v, err := p.check(records, o)
	if err != nil {
		return Result{}, err
	}
	return p.append(v, acks, o)
}

// check is everything that needs no lock: frame, checksum, records.
func (p *Partition) check(records []byte, o AppendOptions) (batch.View, error) {
	v, rest, err := batch.Next(records)
	switch {
	case errors.Is(err, batch.ErrIncomplete):
		return nil, &Error{kerr.InvalidRecord, errors.New("no whole batch in the request")}
	case err != nil:
		return nil, refuse(err)
	}
	if len(rest) > 0 {
		// Kafka drops a torn end and refuses a second batch.
		if _, _, err := batch.Next(rest); err == nil {
			return nil, &Error{kerr.InvalidRecord, errors.New("more than one batch in the request")}
		}
	}
	c := p.config.Load()
	attr := v.Attributes()
	switch {
	case o.NoZstd && attr.Codec() == batch.Zstd:
		return nil, kerr.UnsupportedCompressionType
	case len(v) > c.MaxMessageBytes && o.Origin == FromClient:
		return nil, &Error{kerr.MessageTooLarge, fmt.Errorf("batch of %d bytes, max.message.bytes is %d", len(v), c.MaxMessageBytes)}
	}
	if o.Origin != FromClient {
		return v, nil // built by this node
	}
	if err := v.CheckCRC(); err != nil {
		return nil, refuse(err)
	}
	if v.BaseOffset() != 0 {
		return nil, &Error{kerr.InvalidRecord, fmt.Errorf("base offset %d, must be 0", v.BaseOffset())}
	}
	rules := c.Rules
	rules.Now = p.table.config.Now().UnixMilli()
	v, info, err := batch.Validate(v, rules)
	if err != nil {
		return nil, refuse(err)
	}
	if info.Recompressed && len(v) > c.MaxMessageBytes {
		return nil, &Error{kerr.MessageTooLarge, fmt.Errorf("batch of %d bytes after recompression, max.message.bytes is %d", len(v), c.MaxMessageBytes)}
	}
	return v, nil
}

// BeginTxn takes the guard for the first batch of a producer's transaction in
// this partition: to be had before the transaction's coordinator is asked, and
// to be given with the append. It is 0 when the transaction is open already.
func (p *Partition) BeginTxn(producerID int64, epoch int16, first int32, version2 bool) (uint64, error) {
	p.turn.RLock()
	defer p.turn.RUnlock()
	if r := p.role.Load(); !r.leads {
		return 0, r.refusal
	}
	g, err := p.log.Load().BeginTxn(producerID, epoch, first, version2)
	if err != nil {
		p.failed(err)
		return 0, translate(err)
	}
	return g, nil
}

// append assigns offsets and writes.
func (p *Partition) append(v batch.View, acks int16, o AppendOptions) (Result, error) {
	p.turn.RLock()
	defer p.turn.RUnlock()
	r := p.role.Load()
	switch {
	case !r.leads:
		return Result{}, r.refusal
	case o.ExpectedEpoch != NoEpoch && o.ExpectedEpoch != r.epoch:
		return Result{}, kerr.NotLeaderForPartition
	case acks == -1 && r.underMin:
		return Result{}, kerr.NotEnoughReplicas
	}
	log := p.log.Load()
	a := storage.Append{LeaderEpoch: r.epoch, Origin: storage.Client, TxnVersion: o.TxnVersion, Guarded: !o.Unguarded, Guard: o.Guard}
	if o.Origin == FromCoordinator {
		a.Origin = storage.Coordinator
	}
	n := len(v)
	stamp := v.MaxTimestamp()
	stamped := v.Attributes().LogAppendTime()
	done, err := log.Append(v, a)
	if err != nil {
		p.failed(err)
		return Result{}, translate(err)
	}
	if !done.Duplicate {
		p.wrote(log.End(), log.Flushed(), n, p.now())
	}
	res := Result{
		BaseOffset: done.First, LastOffset: done.Last, LogAppendTime: batch.NoTimestamp,
		LogStart: done.LogStart, LeaderEpoch: r.epoch, Duplicate: done.Duplicate,
	}
	switch {
	case done.Duplicate:
		res.LogAppendTime = done.Timestamp
	case stamped:
		res.LogAppendTime = stamp
	}
	return res, nil
}

// refuse gives Kafka's error for what package batch found wrong.
func refuse(err error) error {
	var faults *batch.RecordErrors
	switch {
	case errors.As(err, &faults):
		e := &RecordErrors{Err: kerr.InvalidRecord, Message: faults.Message}
		if faults.Timestamp {
			e.Err = kerr.InvalidTimestamp
		}
		for _, r := range faults.Records {
			e.Records = append(e.Records, RecordError(r))
		}
		return e
	case errors.Is(err, batch.ErrTooLarge):
		return &Error{kerr.MessageTooLarge, err}
	case errors.Is(err, batch.ErrCorrupt):
		return &Error{kerr.CorruptMessage, err}
	}
	return &Error{kerr.InvalidRecord, err}
}
