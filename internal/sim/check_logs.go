// SPDX-License-Identifier: Apache-2.0

// Invariant: below their high watermarks all replicas of a partition hold the
// same batches, byte for byte, for ever; offsets there are dense and leader
// epochs never fall. Not for compacted topics, which replicas clean each in its
// own time.

package sim

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"gregor/internal/batch"
	"gregor/internal/node"
	"gregor/internal/storage"
)

// readAtOnce bounds what is read of a log in one go.
const readAtOnce = 1 << 20

type logs struct {
	// archive is every committed batch that any node has shown.
	archive map[partitionKey]map[int64]archived
	// at is where a reader of a partition goes on.
	at map[readerOf]position
	// producers see each batch that is new to the archive.
	producers producers
}

type position struct {
	offset int64
	epoch  int32 // of the batch before
}

// archived is a batch and who showed it first.
type archived struct {
	sum   [sha256.Size]byte
	next  int64
	epoch int32
	node  int32
}

// reader is one life of a node: after a restart all is read again.
type reader struct {
	id   int32
	life *node.Node
}

type readerOf struct {
	partitionKey
	reader
}

func newLogs() logs {
	return logs{map[partitionKey]map[int64]archived{}, map[readerOf]position{}, newProducers()}
}

// source is what is read of a storage.Log.
type source interface {
	Start() int64
	Read(from, upTo int64, maxBytes int, minOne bool) (storage.Slice, error)
}

// read compares what r's log holds below its high watermark.
func (c *logs) read(p partitionKey, r reader, l source, hw int64) error {
	k := readerOf{p, r}
	at := c.at[k]
	at.offset = max(at.offset, l.Start())
	for at.offset < hw {
		s, err := l.Read(at.offset, hw, readAtOnce, true)
		if errors.Is(err, storage.ErrClosed) {
			return nil // it was just killed
		}
		if err != nil {
			return fmt.Errorf("%s: node %d cannot read offset %d below its high watermark %d: %w", p, r.id, at.offset, hw, err)
		}
		b, ok := content(s)
		if !ok {
			return nil // killed meanwhile: none of our faults makes a read fail
		}
		next, err := c.batches(p, r.id, b, at, hw)
		if err != nil {
			return err
		}
		if next.offset <= at.offset {
			return fmt.Errorf("%s: node %d has nothing at offset %d, its high watermark is %d", p, r.id, at.offset, hw)
		}
		at = next
		c.at[k] = at
	}
	return nil
}

func content(s storage.Slice) (b []byte, ok bool) {
	if s.Release != nil {
		defer s.Release()
	}
	if s.Bytes != nil {
		return append([]byte(nil), s.Bytes...), true
	}
	b = make([]byte, s.N)
	if s.N == 0 {
		return b, true
	}
	_, err := s.File.ReadAt(b, s.Off)
	return b, err == nil
}

// batches compares a run of batches, the first of which holds at.
func (c *logs) batches(p partitionKey, id int32, b []byte, at position, hw int64) (next position, err error) {
	archive := c.archive[p]
	if archive == nil {
		archive = map[int64]archived{}
		c.archive[p] = archive
	}
	for first := true; len(b) > 0; first = false {
		v, rest, err := batch.Next(b)
		if err != nil {
			return at, fmt.Errorf("%s: node %d: batch at offset %d: %w", p, id, at.offset, err)
		}
		if v.NextOffset() > hw {
			return at, nil // the high watermark stands within a batch
		}
		base := v.BaseOffset()
		if base != at.offset && (!first || base > at.offset) {
			return at, fmt.Errorf("%s: offsets are not dense: node %d has %d where %d is due", p, id, base, at.offset)
		}
		if err := v.CheckCRC(); err != nil {
			return at, fmt.Errorf("%s: node %d: batch at offset %d: %w", p, id, base, err)
		}
		if v.LeaderEpoch() < at.epoch {
			return at, fmt.Errorf("%s: node %d: offset %d is of epoch %d, after one of epoch %d", p, id, base, v.LeaderEpoch(), at.epoch)
		}
		this := archived{sha256.Sum256(b[:len(b)-len(rest)]), v.NextOffset(), v.LeaderEpoch(), id}
		if before, ok := archive[base]; !ok {
			archive[base] = this
			if err := c.producers.batch(p, v); err != nil {
				return at, err
			}
		} else if before.sum != this.sum {
			return at, fmt.Errorf("logs differ: %s: node %d has [%d, %d) of epoch %d, node %d had [%d, %d) of epoch %d",
				p, id, base, this.next, this.epoch, before.node, base, before.next, before.epoch)
		}
		at, b = position{v.NextOffset(), v.LeaderEpoch()}, rest
	}
	return at, nil
}
