// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"gregor/internal/storage/epoch"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// The catalogue is what a clean stop knows of each log, in one file, so that a
// start reads that instead of a thousand directories. It counts only when
// .kafka_cleanshutdown names its nonce, and that is removed before anything
// changes; so a catalogue never describes another state than the one it was
// written for, whoever else opened the directory since. Big-endian:
//
//	0           8          24        28
//	+-----------+----------+---------+------------- - - -+---------+
//	| GREGOR C1 | nonce    | count   | count logs        | crc32c  |
//	| (8 bytes) | 16 bytes | (u32)   |                   | of all  |
//	+-----------+----------+---------+------------- - - -+---------+
//
//	a log: topic (u16 length, bytes) · partition i32 · topic id 16 bytes ·
//	start, end, high watermark, first unstable offset: i64 each ·
//	epochs: u32 count, each i32 epoch, i64 start ·
//	segments: u32 count, each i64 base, size, next, largest timestamp, its offset ·
//	producers: u32 length, bytes of producer.Table.AppendFull
const (
	catalogueName  = "gregor-catalogue"
	catalogueMagic = "GREGORC1"
)

// known is a log as the catalogue describes it.
type known struct {
	id                       [16]byte
	start, end, hw, unstable int64
	epochs                   []epoch.Entry
	segs                     []segment.Known
	producers                []byte
}

func (k *known) size() (n int64) {
	for _, s := range k.segs {
		n += s.Size
	}
	return n
}

func encodeCatalogue(nonce [16]byte, names []Name, logs map[Name]*known) []byte {
	b := append([]byte(catalogueMagic), nonce[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(names)))
	i64 := func(v int64) { b = binary.BigEndian.AppendUint64(b, uint64(v)) }
	u32 := func(v int) { b = binary.BigEndian.AppendUint32(b, uint32(v)) }
	for _, n := range names {
		k := logs[n]
		b = binary.BigEndian.AppendUint16(b, uint16(len(n.Topic)))
		b = append(b, n.Topic...)
		u32(int(n.Partition))
		b = append(b, k.id[:]...)
		i64(k.start)
		i64(k.end)
		i64(k.hw)
		i64(k.unstable)
		u32(len(k.epochs))
		for _, e := range k.epochs {
			u32(int(e.Epoch))
			i64(e.Start)
		}
		u32(len(k.segs))
		for _, s := range k.segs {
			i64(s.Base)
			i64(s.Size)
			i64(s.Next)
			i64(s.MaxTimestamp)
			i64(s.MaxOffset)
		}
		u32(len(k.producers))
		b = append(b, k.producers...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseCatalogue(b []byte) (nonce [16]byte, logs map[Name]*known, err error) {
	if len(b) < 32 || string(b[:8]) != catalogueMagic {
		return nonce, nil, errors.New("catalogue: unknown format")
	}
	body := b[:len(b)-4]
	if got, want := crc32.Checksum(body, castagnoli), binary.BigEndian.Uint32(b[len(b)-4:]); got != want {
		return nonce, nil, fmt.Errorf("catalogue: checksum %08x, not %08x", got, want)
	}
	copy(nonce[:], b[8:])
	r := &reader{b: body[24:]}
	n := r.count(66)
	logs = make(map[Name]*known, n)
	for range n {
		k := &known{}
		name := Name{Topic: string(r.take(int(r.u16())))}
		name.Partition = int32(r.u32())
		copy(k.id[:], r.take(16))
		k.start, k.end, k.hw, k.unstable = r.i64(), r.i64(), r.i64(), r.i64()
		k.epochs = make([]epoch.Entry, r.count(12))
		for i := range k.epochs {
			k.epochs[i] = epoch.Entry{Epoch: int32(r.u32()), Start: r.i64()}
		}
		k.segs = make([]segment.Known, r.count(40))
		for i := range k.segs {
			k.segs[i] = segment.Known{Base: r.i64(), Size: r.i64(), Next: r.i64(), MaxTimestamp: r.i64(), MaxOffset: r.i64()}
		}
		k.producers = r.take(r.count(1))
		if r.short || len(k.segs) == 0 {
			return nonce, nil, errors.New("catalogue: cut short")
		}
		logs[name] = k
	}
	if len(r.b) > 0 {
		return nonce, nil, errors.New("catalogue: too long")
	}
	return nonce, logs, nil
}

// reader takes big-endian values off a byte slice; short tells when it ended
// too early.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n < 0 || n > len(r.b) {
		r.short = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) i64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// count reads a u32 and bounds it by what could follow at size bytes each.
func (r *reader) count(size int) int {
	n := int(r.u32())
	if n > len(r.b)/size {
		r.short = true
		return 0
	}
	return n
}

// readCatalogue returns what the clean stop of this marker knew; nil when it
// left no catalogue, or a damaged one.
func (d *Dir) readCatalogue(m cleanMarker) map[Name]*known {
	if m.Catalogue == "" {
		return nil
	}
	path := filepath.Join(d.path, catalogueName)
	b, err := vfs.ReadFile(d.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var nonce [16]byte
	var logs map[Name]*known
	if err == nil {
		nonce, logs, err = parseCatalogue(b)
	}
	if err == nil && hex.EncodeToString(nonce[:]) != m.Catalogue {
		return nil // of another stop
	}
	if err != nil {
		d.cfg.Events.rebuilt(path, err.Error())
		return nil
	}
	return logs
}

// sleep makes a log of what the catalogue says; nothing is read.
func (l *Log) sleep(k *known) {
	l.known = k
	l.start.Store(k.start)
	l.end.Store(k.end)
	l.flushed.Store(k.end)
	l.hw.Store(k.hw)
	l.unstable.Store(k.unstable)
	l.size.Store(k.size())
	l.epochs = epoch.New(k.epochs)
}

// loadKnown opens the segments that the catalogue lists; ok is false when the
// active one's file is not as it says.
func (l *Log) loadKnown() (ok bool, err error) {
	k := l.known
	cfg := l.dir.segmentConfig(l, l.cfg.Load())
	segs := make([]*segment.Segment, len(k.segs))
	for i, s := range k.segs {
		segs[i] = segment.Open(cfg, l.path, s)
	}
	active := segs[len(segs)-1]
	fi, err := l.dir.fs.Stat(active.Path(segment.LogSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err != nil || fi.Size() != k.segs[len(segs)-1].Size {
		return false, nil
	}
	if err := l.activate(active, segs); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if rest, err := l.producers.LoadFull(k.producers); err != nil || len(rest) > 0 {
		return false, nil
	}
	if pt, ok := l.dir.points.lookup(l.key()); ok && pt.back == 0 {
		l.filed = filedEpochs{k.epochs, pt.epochs}
	}
	l.active = segs[len(segs)-1]
	l.segs.Store(&segs)
	l.sealedUpTo = l.active.Base()
	l.drawJitterLocked()
	l.known = nil
	l.producers.Committed(l.hw.Load())
	l.noteUnstableLocked()
	return true, nil
}

// knownLocked describes the log for the catalogue.
func (l *Log) knownLocked() *known {
	k := &known{id: l.id, start: l.start.Load(), end: l.end.Load(), hw: l.hw.Load(),
		unstable: l.unstable.Load(), epochs: l.epochs.Entries(), producers: l.producers.AppendFull(nil)}
	for _, s := range *l.segs.Load() {
		size, next := s.Tail()
		latest := s.MaxTime()
		k.segs = append(k.segs, segment.Known{Base: s.Base(), Size: size, Next: next, MaxTimestamp: latest.Timestamp, MaxOffset: latest.Offset})
	}
	return k
}
