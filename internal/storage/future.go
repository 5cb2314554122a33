// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gregor/internal/storage/epoch"
	"gregor/internal/vfs"
)

// A log that moves to another directory is copied there first, under a name of
// its own, and takes the place of the old one in the end:
//
//	/a/t-0/                      the log               /a/t-0.<32 hex>-delete/
//	/b/t-0.<32 hex>-future/      its future    ─►      /b/t-0/   the log
//
// The two directories may be two disks, so no rename does both at once, and a
// crash in between leaves two logs of one name. Which of them counts says the
// file gregor-moves within each: the number of times the log has moved, in
// decimal, then a line break; 0 where there is none. The higher one counts.
// It is durable in the future log before that gets the name; and where a
// promotion fails half way, the old log is given a number above both before it
// is used again. So the numbers also tell a log of old on a disk that was away
// for a while.
const movesName = "gregor-moves"

// future is a log under way to this directory.
type future struct {
	path string
	log  *Log // nil: found at start, not opened yet
}

// parseFutureDir reads "topic-partition.<32 hex digits>-future".
func parseFutureDir(s string) (Name, bool) {
	s, ok := strings.CutSuffix(s, futureSuffix)
	i := strings.LastIndexByte(s, '.')
	if !ok || i < 0 || len(s)-i-1 != 32 || strings.Trim(s[i+1:], "0123456789abcdef") != "" {
		return Name{}, false
	}
	return parseLogDir(s[:i])
}

// foundFuture notes a future log at the start. A second one of a name was
// given up, and goes.
func (d *Dir) foundFuture(n Name, base string) {
	path := filepath.Join(d.path, base)
	if d.futures[n] != nil {
		d.keeper.removeLater(path, time.Now())
		return
	}
	d.futures[n] = &future{path: path}
}

// Futures lists the logs under way to this directory.
func (d *Dir) Futures() []Name {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := make([]Name, 0, len(d.futures))
	for n := range d.futures {
		names = append(names, n)
	}
	slices.SortFunc(names, compareNames)
	return names
}

func (d *Dir) isFuture(l *Log) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.futures[l.name]
	return f != nil && f.log == l
}

// OpenFuture opens the log that is to become n, or makes it. It is appended to
// with the origin Replication, and used by one goroutine.
func (d *Dir) OpenFuture(n Name, id [16]byte, c LogConfig) (*Log, error) {
	if err := d.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	f := d.futures[n]
	_, asleep := d.onDisk[n]
	here := asleep || d.logs[n] != nil
	closing := d.closing
	d.mu.Unlock()
	switch {
	case closing:
		return nil, ErrClosed
	case here:
		return nil, fmt.Errorf("move %s to %s: %w: it is there", n, d.path, fs.ErrExist)
	case f != nil && f.log != nil:
		return f.log, nil
	}
	l := d.newLog(n, id, c)
	var err error
	if f != nil {
		l.path = f.path
		if err = d.checkTopicID(l); err == nil {
			err = l.wake()
		}
	} else {
		uuid := randomID()
		l.path = filepath.Join(d.path, fmt.Sprintf("%s.%x%s", n, uuid, futureSuffix))
		err = l.create()
	}
	if err != nil {
		return nil, fmt.Errorf("open future log %s: %w", n, l.ioError(err))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.futures[n] = &future{l.path, l}
	return l, nil
}

// DropFuture removes a future log: the move was given up.
func (d *Dir) DropFuture(n Name) error {
	d.mu.Lock()
	f := d.futures[n]
	delete(d.futures, n)
	d.mu.Unlock()
	if f == nil {
		return nil
	}
	if err := d.Err(); err != nil {
		return err // it stays, for the next start
	}
	to := filepath.Join(d.path, deletedDirName(n))
	if f.log != nil {
		f.log.remove()
	}
	if err := d.renameLog(f.log, f.path, to); err != nil {
		return err
	}
	d.keeper.removeLater(to, time.Now())
	return nil
}

// renameLog renames a log's directory; l is nil when it is not open.
func (d *Dir) renameLog(l *Log, from, to string) error {
	if l == nil {
		return d.fs.Rename(from, to)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropHandleLocked()
	if err := d.fs.Rename(from, to); err != nil {
		return l.ioError(err)
	}
	for _, s := range *l.segs.Load() {
		s.Moved(to)
	}
	l.path = to
	d.files.ForgetIn(from) // indexes; a new log of this name must not find them
	return nil
}

// Promote gives a future log the place of old, whose records it holds to the
// last and durably: its epochs, producers and offsets first, then the name.
// Nobody may append to old meanwhile. When it returns nil, old is to be
// deleted; else old goes on, and the move may be tried again or dropped.
func (l *Log) Promote(old *Log) error {
	d := l.dir
	if err := old.usable(); err != nil {
		return err
	}
	if l.End() != old.End() || l.Flushed() != l.End() {
		return fmt.Errorf("%w: future log of %s ends at %d, flushed %d; the log at %d", ErrInvalidBatch, l.name, l.End(), l.Flushed(), old.End())
	}
	if err := l.takeOver(old); err != nil {
		return l.ioError(err)
	}
	moves, err := readMoves(old.dir.fs, old.dirPath())
	if err != nil {
		return err
	}
	// Without its topic's id the log would not count, whatever its number says.
	if err := d.syncFile(filepath.Join(l.dirPath(), partitionMetaName)); err != nil {
		return l.ioError(err)
	}
	if err := writeMoves(d.fs, l.dirPath(), moves+1); err != nil { // syncs the names as well
		return l.ioError(err)
	}
	if err := l.takeName(); err != nil {
		// Which of the two names the disk has now is not known. The old log
		// must be the one that counts before it takes another append.
		if werr := writeMoves(old.dir.fs, old.dirPath(), moves+2); werr != nil {
			old.dir.fail(fmt.Errorf("move %s: %w", l.name, werr))
		}
		return err
	}
	return nil
}

// takeOver brings what does not follow from the records: epochs without any,
// producers whose records are gone, the log start, the high watermark.
func (l *Log) takeOver(old *Log) error {
	if err := l.IncrementStart(old.Start()); err != nil {
		return err
	}
	old.mu.Lock()
	full := old.producers.AppendFull(nil)
	entries := old.epochs.Entries()
	hw := old.hw.Load()
	old.mu.Unlock()
	l.mu.Lock()
	_, err := l.producers.LoadFull(full)
	if err == nil && !slices.Equal(entries, l.epochs.Entries()) {
		l.epochs.Clear()
		for _, e := range entries {
			l.epochs.Assign(e.Epoch, e.Start)
		}
		l.epochsDirty = true
	}
	l.hw.Store(max(min(hw, l.end.Load()), l.start.Load()))
	l.producers.Committed(l.hw.Load())
	l.noteUnstableLocked()
	snapshot := l.producers.AppendSnapshot(nil)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.writeSnapshot(l.End(), snapshot, true); err != nil {
		return err
	}
	if err := l.writeEpochs(true); err != nil {
		return err
	}
	l.mu.Lock()
	pt := l.pointLocked(l.flushed.Load())
	l.mu.Unlock()
	return l.dir.points.set(l.key(), pt, true)
}

// takeName renames a future log to the log, durably.
func (l *Log) takeName() error {
	d := l.dir
	d.sealing <- struct{}{} // nobody else is to write into the directory
	defer func() { <-d.sealing }()
	d.writingEpochs <- struct{}{}
	defer func() { <-d.writingEpochs }()
	d.mu.Lock()
	_, asleep := d.onDisk[l.name]
	taken := asleep || d.logs[l.name] != nil || d.futures[l.name] == nil
	closing := d.closing
	d.mu.Unlock()
	switch {
	case closing:
		return ErrClosed
	case taken:
		return fmt.Errorf("move %s to %s: %w", l.name, d.path, fs.ErrExist)
	}
	if err := d.renameLog(l, l.dirPath(), filepath.Join(d.path, l.name.String())); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		d.fail(fmt.Errorf("sync %s: %w", d.path, err))
		return d.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.futures, l.name)
	d.logs[l.name] = l
	return nil
}

// Moves says how often the log on disk has moved between directories: of two
// logs of one name, the one with the higher number counts.
func (d *Dir) Moves(n Name) (int64, error) {
	return readMoves(d.fs, filepath.Join(d.path, n.String()))
}

func readMoves(fsys vfs.FS, logDir string) (int64, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(logDir, movesName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return parseMoves(b)
}

func parseMoves(b []byte) (int64, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSuffix(b, []byte("\n"))), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: %.40q is no number of moves", movesName, b)
	}
	return n, nil
}

func writeMoves(fsys vfs.FS, logDir string, n int64) error {
	return vfs.WriteFileAtomic(fsys, filepath.Join(logDir, movesName), fmt.Appendf(nil, "%d\n", n))
}

// Epochs lists the leader epochs of the log.
func (l *Log) Epochs() []epoch.Entry { return l.epochs.Entries() }
