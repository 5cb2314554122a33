// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// keeper is the directory's second goroutine and its work: what may wait.
type keeper struct {
	mu       sync.Mutex
	seals    []sealJob
	removals []removal
	wake     chan struct{} // capacity 1
	// what the checkpoint files hold, to leave them alone when nothing changed
	written map[string]string
	scrub   scrubAt
}

// sealJob finishes a segment that was rolled: base is the next one's, snapshot
// the producers as they were then (nil: none).
type sealJob struct {
	log      *Log
	seg      *segment.Segment
	base     int64
	snapshot []byte
	// cuts is the log's count of truncations then: after another one, base may
	// no longer be what it was.
	cuts uint64
}

// removal is something that goes after file.delete.delay.ms.
type removal struct {
	at   time.Time
	path string // a directory or file
	seg  *segment.Segment
}

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (d *Dir) sealLater(j sealJob) {
	if !j.seg.Acquire() {
		return
	}
	d.keeper.mu.Lock()
	d.keeper.seals = append(d.keeper.seals, j)
	d.keeper.mu.Unlock()
	d.keeper.poke()
}

func (k *keeper) removeLater(path string, at time.Time) {
	k.mu.Lock()
	k.removals = append(k.removals, removal{at: at, path: path})
	k.mu.Unlock()
	k.poke()
}

func (k *keeper) removeSegmentLater(s *segment.Segment, at time.Time) {
	k.mu.Lock()
	k.removals = append(k.removals, removal{at: at, seg: s})
	k.mu.Unlock()
	k.poke()
}

// keep is the keeper's goroutine; quit ends it.
func (d *Dir) keep() {
	defer d.running.Done()
	idle := time.NewTicker(max(d.cfg.IdleClose/2, time.Millisecond))
	defer idle.Stop()
	check := time.NewTicker(d.cfg.CheckpointInterval)
	defer check.Stop()
	var retain, scrub <-chan time.Time
	if d.cfg.RetentionInterval > 0 {
		t := time.NewTicker(d.cfg.RetentionInterval)
		defer t.Stop()
		retain = t.C
	}
	scrubber := time.NewTicker(scrubEvery)
	defer scrubber.Stop()
	for {
		if d.scrubRate.Load() > 0 {
			if scrub == nil {
				scrubber.Reset(scrubEvery)
			}
			scrub = scrubber.C
		} else {
			scrubber.Stop() // nobody is woken for nothing
			scrub = nil
		}
		var due <-chan time.Time
		var timer *time.Timer
		if at, ok := d.keeper.nextRemoval(); ok {
			timer = time.NewTimer(time.Until(at))
			due = timer.C
		}
		select {
		case <-d.quit:
			return
		case <-d.keeper.wake:
			d.sealAll()
		case <-due:
		case now := <-idle.C:
			d.closeIdle(now)
			d.sealAll()
		case <-check.C:
			if d.Err() == nil {
				if err := d.writeCheckpoints(); err != nil {
					d.pointsFailed(err)
				}
			}
		case <-retain:
			d.retainAll(d.cfg.Now())
		case <-scrub:
			d.scrubSome()
		}
		if timer != nil {
			timer.Stop()
		}
		d.removeDue(time.Now())
	}
}

func (k *keeper) nextRemoval() (at time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.removals {
		if !ok || r.at.Before(at) {
			at, ok = r.at, true
		}
	}
	return at, ok
}

func (d *Dir) removeDue(now time.Time) {
	d.keeper.mu.Lock()
	var due []removal
	d.keeper.removals = slices.DeleteFunc(d.keeper.removals, func(r removal) bool {
		if r.at.After(now) {
			return false
		}
		due = append(due, r)
		return true
	})
	d.keeper.mu.Unlock()
	for _, r := range due {
		if r.seg != nil {
			r.seg.Remove()
		} else {
			d.files.ForgetIn(r.path)   // an open file keeps its blocks
			_ = d.fs.RemoveAll(r.path) // what stays is tried again at the next start
		}
	}
}

// sealAll works the queue off in order; a full disk leaves the rest for later.
func (d *Dir) sealAll() {
	d.sealing <- struct{}{}
	defer func() { <-d.sealing }()
	for d.Err() == nil {
		d.keeper.mu.Lock()
		if len(d.keeper.seals) == 0 {
			d.keeper.mu.Unlock()
			return
		}
		j := d.keeper.seals[0]
		d.keeper.mu.Unlock()
		if err := d.seal(j); err != nil {
			if vfs.IsNoSpace(err) {
				d.full(true)
				return
			}
			d.fail(fmt.Errorf("seal a segment of %s: %w", j.log.name, err))
			return
		}
		d.keeper.mu.Lock()
		d.keeper.seals = d.keeper.seals[1:]
		d.keeper.mu.Unlock()
		j.seg.Release()
	}
}

// unsealed tells whether rolled segments wait, for want of room.
func (d *Dir) unsealed() bool {
	d.keeper.mu.Lock()
	defer d.keeper.mu.Unlock()
	return len(d.keeper.seals) > 0
}

// seal writes what belongs to a rolled segment and syncs it; then the recovery
// point may pass it.
func (d *Dir) seal(j sealJob) error {
	l := j.log
	err := j.seg.Seal()
	if err == nil && j.snapshot != nil && !l.cutSince(j.cuts) {
		err = l.writeSnapshot(j.base, j.snapshot, true)
		if l.cutSince(j.cuts) {
			_ = d.fs.Remove(filepath.Join(l.dirPath(), segment.FileName(j.base, segment.SnapshotSuffix)))
		}
	}
	if err == nil {
		err = l.writeEpochs(true)
	}
	fresh := l.isNew.Load()
	if err == nil && fresh {
		// Commits leave this file to us from now on.
		err = d.syncFile(filepath.Join(l.dirPath(), partitionMetaName))
	}
	if err == nil {
		err = d.fs.SyncDir(l.dirPath())
	}
	if err == nil && fresh {
		if err = d.fs.SyncDir(d.path); err == nil {
			l.isNew.Store(false)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	if i := slices.Index(l.dirty, j.seg); i >= 0 && j.seg != l.active {
		l.dirty = slices.Delete(l.dirty, i, i+1)
		defer j.seg.Release()
	}
	rose := false
	if l.cuts == j.cuts && !l.removed {
		l.sealedUpTo = max(l.sealedUpTo, j.base)
		// Segments are sealed in order, so all below is durable, whether or
		// not the log is.
		if rose = j.base > l.flushed.Load(); rose {
			l.flushed.Store(j.base)
			err = d.points.set(l.key(), l.pointLocked(j.base), false)
		}
	}
	l.mu.Unlock()
	if rose {
		d.cfg.Events.flushed(l, j.base)
	}
	return err
}

func (l *Log) cutSince(cuts uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts != cuts
}

func (l *Log) dirPath() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.path
}

// writeSnapshot writes the producer snapshot at offset.
func (l *Log) writeSnapshot(offset int64, b []byte, sync bool) error {
	return l.writeWhole(segment.FileName(offset, segment.SnapshotSuffix), b, sync)
}

// writeWhole replaces a file of the log. What a crash may leave of it lies
// above the recovery point and is made anew.
func (l *Log) writeWhole(name string, b []byte, sync bool) error {
	fsys, path := l.dir.fs, filepath.Join(l.dirPath(), name)
	tmp := path + ".tmp"
	_ = fsys.Remove(tmp)
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err != nil {
		_ = fsys.Remove(tmp)
	}
	return err
}

// closeIdle closes the files that nobody used for a while, and asks for the
// flushes that flush.ms calls for.
func (d *Dir) closeIdle(now time.Time) {
	for _, l := range d.openLogs() {
		l.mu.Lock()
		if end := l.end.Load(); l.idleSince.IsZero() || end != l.idleAt {
			l.idleSince, l.idleAt = now, end
		}
		if l.handle != nil && now.Sub(l.idleSince) >= d.cfg.IdleClose {
			_ = l.active.Trim() // what stays is harmless
			l.small, l.brief = 0, 0
			l.dropHandleLocked()
		}
		cfg := l.cfg.Load()
		due := cfg.FlushEvery > 0 && l.unflushed > 0 && now.Sub(l.unflushedFrom) >= cfg.FlushEvery
		l.mu.Unlock()
		if due {
			d.markDirty(l)
		}
	}
	d.files.CloseIdle(now.Add(-d.cfg.IdleClose))
	if !d.reserved.Load() {
		d.keepReserve()
	}
}

func (d *Dir) openLogs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.openLogsLocked()
}

// openLogsLocked are all open logs, those under way to this directory too.
func (d *Dir) openLogsLocked() []*Log {
	logs := make([]*Log, 0, len(d.logs)+len(d.futures))
	for _, l := range d.logs {
		logs = append(logs, l)
	}
	for _, f := range d.futures {
		if f.log != nil {
			logs = append(logs, f.log)
		}
	}
	return logs
}

// recoveryPoint is the offset such that a segment followed by one that begins
// at or below it needs no check after a crash. Within the active segment it
// stays below the flushed end: a roll there would make that a segment's base,
// before the one that ends there is sealed.
func (l *Log) recoveryPoint() int64 {
	if !l.awake.Load() {
		return l.end.Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	flushed := l.flushed.Load()
	if flushed > l.sealedUpTo && l.active != nil && l.sealedUpTo >= l.active.Base() {
		return flushed - 1
	}
	return min(flushed, l.sealedUpTo)
}

// lowerRecoveryPoint writes the checkpoints anew when they would let a start
// skip what lies above off.
func (d *Dir) lowerRecoveryPoint(l *Log, off int64) error {
	d.mu.Lock()
	low := d.recovery[l.name] <= off
	d.mu.Unlock()
	if low {
		return nil
	}
	return d.writeCheckpoints()
}

// forgetOffsets writes the checkpoints anew when they still name a log that is
// gone and whose name another is about to get: they do not tell the two apart,
// and after a kill the new one would seem to have lost all that the old one had.
func (d *Dir) forgetOffsets(n Name) error {
	d.checkpointing <- struct{}{} // what is being written may name it too
	d.mu.Lock()
	_, named := d.recovery[n]
	d.mu.Unlock()
	<-d.checkpointing
	if !named {
		return nil
	}
	return d.writeCheckpoints()
}

// writeCheckpoints writes Kafka's three offset checkpoints.
func (d *Dir) writeCheckpoints() error {
	d.checkpointing <- struct{}{}
	defer func() { <-d.checkpointing }()
	d.mu.Lock()
	recovery, hws, starts := map[Name]int64{}, map[Name]int64{}, map[Name]int64{}
	asBefore := func(n Name) {
		for _, c := range []struct{ from, to map[Name]int64 }{{d.recovery, recovery}, {d.hws, hws}, {d.starts, starts}} {
			if v, ok := c.from[n]; ok {
				c.to[n] = v
			}
		}
	}
	for n, k := range d.onDisk {
		if k != nil {
			recovery[n], hws[n] = k.end, k.hw
			if k.start > k.segs[0].Base {
				starts[n] = k.start
			}
			continue
		}
		asBefore(n)
	}
	for n, f := range d.futures {
		if f.log == nil {
			asBefore(n)
		}
	}
	logs := d.openLogsLocked()
	d.mu.Unlock()
	for _, l := range logs {
		recovery[l.name], hws[l.name] = l.recoveryPoint(), l.hw.Load()
		if start := l.start.Load(); start > l.firstBase() {
			starts[l.name] = start
		}
		if l.awake.Load() && l.epochsDue() {
			if err := l.writeEpochs(true); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	d.mu.Lock()
	for n, p := range recovery { // what is higher holds until the new file is there
		d.recovery[n] = max(d.recovery[n], p)
	}
	d.mu.Unlock()
	for _, c := range []struct {
		name string
		m    map[Name]int64
	}{{recoveryPointName, recovery}, {highWatermarkName, hws}, {startOffsetName, starts}} {
		b := encodeOffsets(c.m)
		if d.keeper.written[c.name] == string(b) {
			continue
		}
		if err := vfs.WriteFileAtomic(d.fs, filepath.Join(d.path, c.name), b); err != nil {
			return err
		}
		if d.keeper.written == nil {
			d.keeper.written = map[string]string{}
		}
		d.keeper.written[c.name] = string(b)
	}
	d.mu.Lock()
	d.recovery = recovery
	d.mu.Unlock()
	return nil
}

func (l *Log) firstBase() int64 {
	if segs := *l.segs.Load(); len(segs) > 0 {
		return segs[0].Base()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known != nil {
		return l.known.segs[0].Base
	}
	return 0
}

// Close stops cleanly: flush, snapshots, indexes, checkpoints, catalogue.
func (d *Dir) Close() error {
	logs := d.stop()
	if logs == nil && d.stopped.Load() {
		return nil
	}
	d.stopped.Store(true)
	err := d.Err()
	if err == nil {
		err = d.closeClean(logs)
	}
	d.releaseAll(logs)
	if cerr := d.points.f.Close(); err == nil {
		err = cerr
	}
	if cerr := d.lock.Close(); err == nil {
		err = cerr
	}
	return err
}

func (d *Dir) closeClean(logs []*Log) error {
	d.sealAll()
	if err := d.Err(); err != nil {
		return err
	}
	if d.unsealed() {
		// A transaction index that is missing says that nothing was aborted:
		// the next start must make it from the batches.
		return fmt.Errorf("%s: %w: indexes of rolled segments could not be written", d.path, ErrNoSpace)
	}
	w := &closing{d: d}
	all := map[Name]*known{}
	for _, l := range logs {
		if !l.awake.Load() {
			all[l.name] = l.known
			continue
		}
		if err := w.log(l); err != nil {
			return fmt.Errorf("close log %s: %w", l.name, err)
		}
		if d.isFuture(l) {
			continue // the next start measures it
		}
		l.mu.Lock()
		all[l.name] = l.knownLocked()
		l.mu.Unlock()
	}
	if err := w.sync(); err != nil {
		return err
	}
	for _, l := range logs {
		if !l.awake.Load() {
			continue
		}
		l.flushed.Store(l.end.Load())
		l.mu.Lock()
		l.sealedUpTo = l.end.Load()
		pt := l.pointLocked(l.end.Load())
		l.mu.Unlock()
		if err := d.points.set(l.key(), pt, false); err != nil {
			return err
		}
	}
	if err := d.points.sync(); err != nil {
		return err
	}
	d.mu.Lock()
	unknown := 0
	for n, k := range d.onDisk {
		if k != nil {
			all[n] = k
		} else {
			unknown++ // never opened: the next start looks at the directory
		}
	}
	for _, f := range d.futures {
		if f.log == nil {
			unknown++
		}
	}
	d.mu.Unlock()
	if unknown > 0 && !d.clean {
		// They were not recovered, so the next start must do it: no marker.
		return d.writeCheckpoints()
	}
	if err := d.writeCheckpoints(); err != nil {
		return err
	}
	names := make([]Name, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	slices.SortFunc(names, compareNames)
	nonce := randomID()
	if err := vfs.WriteFileAtomic(d.fs, filepath.Join(d.path, catalogueName), encodeCatalogue(nonce, names, all)); err != nil {
		return err
	}
	b, err := json.Marshal(cleanMarker{0, d.brokerEpoch.Load(), hex.EncodeToString(nonce[:])})
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(d.fs, filepath.Join(d.path, cleanShutdownName), b)
}

// closing collects what a clean stop writes, to sync it in one act.
type closing struct {
	d     *Dir
	paths []string
	dirs  []string
}

func (w *closing) log(l *Log) error {
	for _, s := range *l.segs.Load() {
		if err := s.Trim(); err != nil {
			return err
		}
	}
	if err := l.active.WriteIndexes(false); err != nil {
		return err
	}
	if err := l.writeEpochs(false); err != nil {
		return err
	}
	l.mu.Lock()
	b, end := l.producers.AppendSnapshot(nil), l.end.Load()
	l.mu.Unlock()
	if end > l.active.Base() || end > l.start.Load() {
		if err := l.writeSnapshot(end, b, false); err != nil {
			return err
		}
	}
	for _, name := range []string{segment.FileName(end, segment.SnapshotSuffix), epochCheckpointName, partitionMetaName} {
		w.paths = append(w.paths, filepath.Join(l.path, name))
	}
	for _, s := range append([]*segment.Segment{l.active}, l.dirty...) {
		for _, kind := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
			w.paths = append(w.paths, s.Path(kind))
		}
	}
	w.dirs = append(w.dirs, l.path)
	return l.tidy(end)
}

// tidy removes what a start that trusts the catalogue would not look for:
// segments that wait for file.delete.delay.ms, and producer snapshots of stops
// before, which belong to no segment.
func (l *Log) tidy(end int64) error {
	entries, err := l.dir.fs.List(l.path)
	if err != nil {
		return err
	}
	keep := map[int64]bool{end: true}
	for _, s := range *l.segs.Load() {
		keep[s.Base()] = true
	}
	for _, e := range entries {
		base, suffix, ok := parseFileName(e.Name())
		if ok && (strings.HasSuffix(suffix, segment.DeletedSuffix) || suffix == segment.SnapshotSuffix && !keep[base]) {
			_ = l.dir.fs.Remove(filepath.Join(l.path, e.Name())) // tried again at the next stop
		}
	}
	return nil
}

func (w *closing) sync() error {
	err := w.d.fs.SyncFS(w.d.path)
	if !errors.Is(err, vfs.ErrUnsupported) {
		return err
	}
	for _, p := range w.paths {
		f, err := w.d.fs.OpenRW(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = f.Sync()
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	for _, p := range append(w.dirs, w.d.path) {
		if err := w.d.fs.SyncDir(p); err != nil {
			return err
		}
	}
	return nil
}
