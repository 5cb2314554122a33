// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// errStopped: the cleaning was asked to end; what it replaced so far is good.
var errStopped = errors.New("clean: stopped")

// Stats tells of one cleaning.
type Stats struct {
	Dirt
	End int64 // the next first dirty offset

	MapBytes                              int64 // read to fill the map
	MapKeys                               int
	MapUse                                float64 // of what the map may hold
	ReadBytes                             int64   // read to copy
	KeptBytes                             int64
	Segments                              int // replaced
	Groups                                int // ... by so many
	MapTime                               time.Duration
	TotalTime                             time.Duration
	ReadBatches, ReadRecords, KeptRecords int64
	InvalidRecords                        int64 // without a key, dropped
}

// Limiter holds the cleaner's reading and writing to a rate.
type Limiter interface {
	// Wait returns when n more bytes may pass.
	Wait(ctx context.Context, n int) error
}

// cleaning is one run over one log.
type cleaning struct {
	ctx     context.Context // of this run; cleaning does not outlive the call
	log     Log
	limiter Limiter
	stop    func() bool
	buffer  *buffer
	keys    *keyMap
	config  storage.LogConfig
	cuts    uint64 // truncations before anything was read
	stats   Stats
}

// run cleans c.log over dirt. It returns the statistics also with an error:
// End then is where the dirty part still begins.
func (c *cleaning) run(dirt Dirt, now func() time.Time, inflated int) (Stats, error) {
	began := now()
	c.stats = Stats{Dirt: dirt, End: dirt.From}
	segments, err := c.log.Segments()
	if err != nil {
		return c.stats, err
	}
	aborted, err := c.log.Aborted(c.log.Start(), dirt.UpTo)
	if err != nil {
		return c.stats, fmt.Errorf("aborted transactions of %s: %w", c.log.Name(), err)
	}
	if err := c.fillMap(segments, aborted, inflated); err != nil {
		return c.stats, err
	}
	c.stats.MapKeys, c.stats.MapUse = c.keys.used, float64(c.keys.used)/float64(c.keys.limit())
	c.stats.MapTime = now().Sub(began)

	f := &filter{
		keys: c.keys, txns: newTxns(aborted), upTo: dirt.UpTo, now: began.UnixMilli(),
		retention: retention(c.config, began), inflated: inflated,
		builder: batch.NewBuilder(batch.None), stats: &c.stats,
	}
	end := c.keys.latest + 1
	for _, g := range group(segments, end, c.config) {
		if err := c.cleanGroup(f, g); err != nil {
			c.stats.TotalTime = now().Sub(began)
			return c.stats, err
		}
	}
	c.stats.End = end
	c.stats.TotalTime = now().Sub(began)
	return c.stats, nil
}

// retention is delete.retention.ms; without limit the horizon is never reached.
func retention(c storage.LogConfig, now time.Time) int64 {
	if c.DeleteRetention < 0 {
		return math.MaxInt64 - now.UnixMilli()
	}
	return c.DeleteRetention.Milliseconds()
}

// fillMap reads the dirty part, until it ends or the map is full.
func (c *cleaning) fillMap(segments []storage.SegmentInfo, aborted []storage.AbortedTxn, inflated int) error {
	c.keys.clear()
	from, upTo := c.stats.From, c.stats.UpTo
	c.keys.seen(from - 1)
	t := newTxns(aborted)
	var body []byte
	add := func(v batch.View) error {
		if v.Attributes().Control() {
			if _, _, err := t.marker(v); err != nil {
				return err
			}
		} else if !t.data(v) && v.LastOffset() >= from {
			space, err := c.addKeys(v, body, inflated)
			if err != nil {
				return err
			}
			body = space
		}
		if v.LastOffset() >= from {
			c.keys.seen(v.LastOffset())
		}
		return nil
	}
	for _, seg := range segments {
		if seg.Next <= from || seg.Base >= upTo {
			continue
		}
		n, err := c.each(seg, add)
		c.stats.MapBytes += n
		if errors.Is(err, errMapFull) {
			return nil
		}
		if err != nil {
			return err
		}
		c.keys.seen(seg.Next - 1)
	}
	return nil
}

// errMapFull ends the reading, not the cleaning.
var errMapFull = errors.New("clean: key map is full")

// addKeys puts the keys of v's records into the map and returns the space that
// it inflated into.
func (c *cleaning) addKeys(v batch.View, space []byte, inflated int) ([]byte, error) {
	body, err := v.Body(space[:0], inflated)
	if err != nil {
		return space, err
	}
	if v.Attributes().Codec() != batch.None {
		space = body
	}
	records := batch.NewReader(body, v.Count())
	for {
		rec, ok, err := records.Next()
		if err != nil || !ok {
			return space, err
		}
		offset := v.BaseOffset() + int64(rec.OffsetDelta)
		if rec.Key == nil || offset < c.stats.From {
			continue
		}
		if !c.keys.put(rec.Key, offset) {
			return space, errMapFull
		}
	}
}

// cleanGroup copies what stays of a run of segments into one and swaps it in.
func (c *cleaning) cleanGroup(f *filter, g []storage.SegmentInfo) error {
	// Asked anew for each group: producers go on writing meanwhile.
	producers, err := c.log.LastRecords()
	if err != nil {
		return fmt.Errorf("producers of %s: %w", c.log.Name(), err)
	}
	f.producers = producers
	out, err := c.log.NewCleaned(g[0].Base)
	if err != nil {
		return err
	}
	out.Since(c.cuts)
	old, err := c.copyGroup(f, g, out)
	if err != nil {
		return errors.Join(err, out.Discard())
	}
	err = c.log.Replace(old, out)
	if errors.Is(err, storage.ErrNotFound) {
		return errStopped // truncated, or gone with retention, meanwhile
	}
	if err == nil {
		c.stats.Segments += len(g)
		c.stats.Groups++
	}
	return err
}

func (c *cleaning) copyGroup(f *filter, g []storage.SegmentInfo, out Output) ([]int64, error) {
	old := make([]int64, 0, len(g))
	for _, seg := range g {
		old = append(old, seg.Base)
		_, err := c.each(seg, func(v batch.View) error {
			kept, aborted, err := f.apply(v)
			if err == nil && kept != nil {
				if err = out.Append(kept); err == nil {
					err = c.throttle(len(kept))
				}
			}
			if err == nil && aborted != nil {
				err = out.AppendAborted(*aborted)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	out.SetModified(g[len(g)-1].LastModified)
	return old, nil
}

func (c *cleaning) throttle(n int) error {
	if c.stop() {
		return errStopped
	}
	if c.limiter == nil {
		return nil
	}
	return c.limiter.Wait(c.ctx, n)
}

// each calls fn for every batch of a segment, in order, and returns the bytes
// read. The checksum of each is checked: to rewrite a damaged batch would make
// the damage look sound.
func (c *cleaning) each(seg storage.SegmentInfo, fn func(batch.View) error) (read int64, err error) {
	f, size, release, err := c.log.OpenSegment(seg.Base)
	if err != nil {
		return 0, err
	}
	defer release()
	defer c.buffer.shrink()
	for pos := int64(0); pos < size; {
		b, err := c.buffer.read(f, pos, size)
		if err == nil {
			err = c.throttle(len(b))
		}
		if err != nil {
			return read, err
		}
		read += int64(len(b))
		for len(b) > 0 {
			v, rest, err := batch.Next(b)
			if errors.Is(err, batch.ErrIncomplete) {
				break
			}
			if err == nil {
				err = v.CheckCRC()
			}
			if err == nil {
				err = fn(v)
			}
			if errors.Is(err, batch.ErrCorrupt) {
				return read, &storage.CorruptError{Path: seg.Path, Pos: pos, Offset: seg.Base, Next: -1, Reason: err.Error()}
			}
			if err != nil {
				return read, err
			}
			pos += int64(len(v))
			b = rest
		}
	}
	return read, nil
}

// buffer reads runs of whole batches; it grows for a batch that does not fit
// and shrinks back after the segment.
type buffer struct {
	size int
	b    []byte
}

// read returns bytes of f from pos that begin with a whole batch.
func (b *buffer) read(f vfs.File, pos, size int64) ([]byte, error) {
	if len(b.b) < b.size {
		b.b = make([]byte, b.size)
	}
	for {
		p := b.b[:min(int64(len(b.b)), size-pos)]
		if n, err := f.ReadAt(p, pos); err != nil && !(errors.Is(err, io.EOF) && n == len(p)) {
			return nil, fmt.Errorf("read %s at %d: %w", f.Name(), pos, err)
		}
		if _, _, err := batch.Next(p); !errors.Is(err, batch.ErrIncomplete) {
			return p, nil // whole, or damaged: the caller sees
		}
		// Incomplete, so the length is sane if it is there at all.
		need := int64(batch.HeaderSize)
		if len(p) >= batch.LogOverhead {
			need = int64(binary.BigEndian.Uint32(p[8:])) + batch.LogOverhead
		}
		if need > size-pos {
			return nil, &storage.CorruptError{Path: f.Name(), Pos: pos, Offset: -1, Next: -1, Reason: "segment ends within a batch"}
		}
		b.b = make([]byte, need)
	}
}

func (b *buffer) shrink() {
	if len(b.b) > b.size {
		b.b = nil
	}
}
