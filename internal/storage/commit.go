// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// Group commit. One goroutine for a directory makes appends durable. An append
// puts its log into the queue; the committer takes the whole queue, and what
// is appended while it works waits for the next round. So an idle directory
// commits at once, a busy one in groups, and nothing waits for a timer:
//
//	append a ──┐                ┌ append b, c, d ┐
//	           └─ commit {a} ───┴────────────────┴─ commit {b, c, d} ──
//
// One dirty file is fdatasynced, and so are a few with new names; several are
// made durable by one syncfs of the file system, whose cost hardly grows with
// their number (docs/adr/0021).

// foreignMax is the number of appends to logs that are not durable, since the
// last syncfs, above which a few durable files are synced one by one: syncfs
// would write out the others' data too.
const foreignMax = 256

// markDirty puts the log into the committer's queue.
func (d *Dir) markDirty(l *Log) {
	d.commitMu.Lock()
	if l.queued {
		d.commitMu.Unlock()
		return
	}
	l.queued = true
	d.queue = append(d.queue, l)
	d.commitMu.Unlock()
	select {
	case d.wakeCommit <- struct{}{}:
	default:
	}
}

// commitDone returns a channel that is closed when a commit that begins after
// now has ended.
func (d *Dir) commitDone() <-chan struct{} {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	return d.nextDone
}

// committer is the goroutine; Close or Abandon ends it by closing quit.
func (d *Dir) committer() {
	defer d.running.Done()
	for {
		var due <-chan time.Time
		if d.points.unsynced() {
			if d.pointsTimer == nil {
				d.pointsTimer = time.NewTimer(pointsSyncEvery)
			}
			due = d.pointsTimer.C
		}
		select {
		case <-d.quit:
			if d.pointsTimer != nil {
				d.pointsTimer.Stop()
			}
			return
		case <-due:
			d.pointsTimer = nil
			if err := d.points.sync(); err != nil {
				d.fail(err)
			}
		case <-d.wakeCommit:
			d.commitQueue()
		}
	}
}

// commitQueue makes durable what the queued logs hold.
func (d *Dir) commitQueue() {
	d.commitMu.Lock()
	logs := d.queue
	d.queue, d.spareQueue = d.spareQueue[:0], logs
	done := d.nextDone
	d.nextDone = make(chan struct{})
	for _, l := range logs {
		l.queued = false
	}
	d.commitMu.Unlock()
	defer close(done)
	if d.Err() != nil {
		return
	}
	d.jobs = d.jobs[:0]
	for _, l := range logs {
		if j, ok := l.takeDirty(); ok {
			d.jobs = append(d.jobs, j)
		}
	}
	defer func() {
		for i := range d.jobs {
			d.jobs[i].release()
			d.jobs[i] = commitJob{}
		}
		clear(logs)
	}()
	if len(d.jobs) == 0 {
		return
	}
	began := time.Now()
	d.flushing.Store(int64(max(1, began.Sub(d.opened))))
	err := d.syncJobs(d.jobs)
	d.flushing.Store(0)
	d.committed.Store(int64(max(1, time.Since(d.opened))))
	select {
	case d.gap <- struct{}{}:
	default:
	}
	if err != nil {
		d.fail(err)
		return
	}
	d.cfg.Events.committed(began)
	for i := range d.jobs {
		j := &d.jobs[i]
		j.rose = j.log.noteFlushed(j, len(d.jobs) <= smallAmong)
	}
	if err := d.points.write(d.jobs); err != nil {
		d.pointsFailed(err)
	}
	for i := range d.jobs {
		if j := &d.jobs[i]; j.rose {
			d.cfg.Events.flushed(j.log, j.end)
		}
	}
}

// commitJob is one log's part of a commit.
type commitJob struct {
	log   *Log
	end   int64
	start int64
	cuts  uint64
	bytes int64
	segs  []*segment.Segment
	dirs  bool
	// epochs: the leader epoch checkpoint is to become durable too, for the
	// durable point cannot tell what is not in it.
	epochs bool
	rose   bool
	slot   int // where the log's durable point lies, when it rose
}

// epochsSynced notes that a syncfs made the checkpoint durable that the job
// wrote before it.
func (j *commitJob) epochsSynced() {
	if !j.epochs {
		return
	}
	j.log.mu.Lock()
	j.log.epochsLoose = false // others than the committer sync what they write
	j.log.mu.Unlock()
}

func (j *commitJob) release() {
	for _, s := range j.segs {
		s.Release()
	}
}

// takeDirty takes over what must be synced for the log's end to be durable.
func (l *Log) takeDirty() (commitJob, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.truncating || len(l.dirty) == 0 && !l.dirtyDir {
		return commitJob{}, false
	}
	j := commitJob{log: l, end: l.end.Load(), start: l.start.Load(), cuts: l.cuts,
		bytes: l.uncommitted, segs: l.dirty, dirs: l.dirtyDir, epochs: l.epochsDueLocked(l.end.Load())}
	l.uncommitted = 0
	l.dirty, l.dirtyDir = nil, false
	l.unflushed = 0
	return j, true
}

// noteFlushed raises the flushed end, and the durable point in memory, unless
// the log was truncated or removed meanwhile.
func (l *Log) noteFlushed(j *commitJob, amongFew bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if amongFew && j.bytes <= smallCommit {
		l.small = min(l.small+1, smallInARow)
	} else {
		l.small = 0
	}
	if l.removed || l.cuts != j.cuts || j.end <= l.flushed.Load() {
		return false
	}
	l.flushed.Store(j.end)
	j.slot = l.dir.points.put(l.key(), l.pointLocked(j.end))
	return true
}

// syncJobs makes the files of jobs durable in one act where it can.
func (d *Dir) syncJobs(jobs []commitJob) error {
	files, dirs := 0, 0
	for i := range jobs {
		files += len(jobs[i].segs)
		if jobs[i].dirs || jobs[i].epochs {
			dirs++
		}
	}
	// New names are rare, so a few of them are synced one by one: the first
	// sync commits the file system's journal for all, and nothing waits for what
	// other programs have written.
	acts := files + 2*dirs
	single := acts <= 1 || acts <= 4 && (dirs > 0 || d.foreign.Load() > foreignMax)
	for i := range jobs {
		if jobs[i].epochs {
			// Before the sync of the batches that are its first. Where it fails
			// (no room, deleted meanwhile) it stays to be written.
			if err := jobs[i].log.writeEpochs(single); err != nil && !vfs.IsNoSpace(err) && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if !single {
		err := d.fs.SyncFS(d.path)
		if err == nil {
			d.foreign.Store(0)
			d.points.synced()
			for i := range jobs {
				jobs[i].epochsSynced()
			}
			return nil
		}
		if !errors.Is(err, vfs.ErrUnsupported) {
			return fmt.Errorf("sync %s: %w", d.path, err)
		}
		for i := range jobs {
			if l := jobs[i].log; jobs[i].epochs { // written, but not durable yet
				l.mu.Lock()
				l.epochsDirty = true
				l.mu.Unlock()
				if err := l.writeEpochs(true); err != nil && !vfs.IsNoSpace(err) && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	for i := range jobs {
		if err := d.syncEach(&jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) syncEach(j *commitJob) error {
	path := j.log.dirPath()
	var id vfs.File // of a new log
	if j.dirs && j.log.isNew.Load() {
		f, err := d.fs.OpenRW(filepath.Join(path, partitionMetaName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			id = f
			defer func() { _ = f.Close() }()
			f.WriteBack() // while the records are synced
		}
	}
	for _, s := range j.segs {
		h, err := s.File()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile, with the whole log
		}
		if err != nil {
			return err
		}
		err = h.Datasync()
		h.Release()
		if err != nil {
			return fmt.Errorf("sync %s: %w", s.Path(segment.LogSuffix), err)
		}
	}
	if !j.dirs {
		return nil
	}
	if id != nil {
		if err := id.Datasync(); err != nil {
			return fmt.Errorf("sync %s: %w", id.Name(), err)
		}
	}
	for _, p := range []string{path, d.path} {
		if err := d.fs.SyncDir(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync %s: %w", p, err)
		}
	}
	return nil
}

func (d *Dir) syncFile(path string) error {
	f, err := d.fs.OpenRW(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = f.Datasync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// fail takes the directory offline, once.
func (d *Dir) fail(err error) {
	e := fmt.Errorf("%w: %w", ErrDirFailed, err)
	if d.failed.CompareAndSwap(nil, &e) {
		d.cfg.Events.dirFailed(d.path, err)
	}
}

// Flushing tells since when the disk has been at the commit that is under way;
// the zero time when none is.
func (d *Dir) Flushing() time.Time {
	if ns := d.flushing.Load(); ns != 0 {
		return d.opened.Add(time.Duration(ns))
	}
	return time.Time{}
}

// Err is nil while the directory is online.
func (d *Dir) Err() error {
	if e := d.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// full notes that the disk has no room, or has room again.
func (d *Dir) full(full bool) {
	if d.noSpace.Load() == full {
		return
	}
	if d.noSpace.CompareAndSwap(!full, full) {
		d.cfg.Events.noSpace(d.path, full)
	}
}

// pointsFailed: durable points could not be written. They are only hints that
// lag; a full disk is no reason to go offline.
func (d *Dir) pointsFailed(err error) {
	if vfs.IsNoSpace(err) {
		d.full(true)
		return
	}
	d.fail(err)
}
