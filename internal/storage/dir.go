// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// DirConfig is the configuration of a Dir. Zero values take the defaults.
type DirConfig struct {
	FS     vfs.FS
	Path   string
	Events Events

	// ClusterID, NodeID go into meta.properties when it is made; when it
	// exists they must be the same (an empty ClusterID accepts any). A
	// directory that was made without a ClusterID gets one by JoinCluster.
	ClusterID string
	NodeID    int32
	// DirectoryID is used when meta.properties is made; zero: a random one.
	DirectoryID [16]byte
	// BrokerEpoch is written to .kafka_cleanshutdown; see SetBrokerEpoch.
	BrokerEpoch int64

	MaxOpenFiles       int           // files kept open when unused, 1024
	IdleClose          time.Duration // an unused file is closed after, 10 s
	CheckpointInterval time.Duration // recovery point, HW and start, 60 s
	RetentionInterval  time.Duration // log.retention.check.interval.ms, 5 min; negative: never
	ScrubRate          int64         // bytes a second of cold data read again; 0: none; see SetScrubRate
	ReserveBytes       int64         // kept free for logs with LogConfig.Reserve; 0: none
	// Now is the clock by whose wall time records and producers grow old; nil is
	// time.Now.
	Now       func() time.Time
	ZeroAhead int64 // zeroes kept ahead of a log that is synced often, 256 KiB; negative: none
}

// Dir is one log directory. Concurrency: mu guards the table of logs, commitMu
// the committer's queue; both are leaves. Two goroutines run from OpenDir to
// Close: the committer, and the keeper, which seals, retains, checkpoints,
// scrubs and removes.
type Dir struct {
	cfg  DirConfig
	fs   vfs.FS
	path string
	meta metaProperties
	lock io.Closer

	files  *segment.Files
	points *points

	clean         bool
	sameBoot      bool // the system ran on since the last start
	previousEpoch int64
	brokerEpoch   atomic.Int64
	failed        atomic.Pointer[error]
	noSpace       atomic.Bool
	reserved      atomic.Bool // the reserve file holds its blocks
	opened        time.Time   // others count from then, for the wall clock may be set
	writes        writeWatch
	flushing      atomic.Int64 // when a commit began to wait for the disk, 0: none does
	scrubRate     atomic.Int64
	foreign       atomic.Int64  // appends to logs that are not durable, since the last syncfs
	committed     atomic.Int64  // when the last commit ended, 0: none did
	gap           chan struct{} // a commit has ended; capacity 1
	coldTurn      chan struct{} // one at a time reads what is not cached; capacity 1

	mu       sync.Mutex
	logs     map[Name]*Log
	onDisk   map[Name]*known // found at start and not opened yet
	recovery map[Name]int64  // the recovery points on disk
	hws      map[Name]int64  // what the checkpoints said at the start
	starts   map[Name]int64
	futures  map[Name]*future // logs under way to this directory
	closing  bool
	// checkpointing lets one at a time write the checkpoints; capacity 1.
	checkpointing chan struct{}
	writingEpochs chan struct{} // the same for epoch checkpoints
	sealing       chan struct{} // and for the queue of segments to seal

	commitMu   sync.Mutex
	queue      []*Log
	spareQueue []*Log
	nextDone   chan struct{}

	wakeCommit  chan struct{} // capacity 1: there is work
	quit        chan struct{} // closed by Close and Abandon
	running     sync.WaitGroup
	stopped     atomic.Bool
	jobs        []commitJob
	pointsTimer *time.Timer

	keeper keeper
}

// OpenDir locks the directory (making and formatting it when it is empty),
// reads what the last clean stop left, and starts the committer.
func OpenDir(cfg DirConfig) (*Dir, error) {
	cfg = cfg.withDefaults()
	d := &Dir{cfg: cfg, opened: time.Now(), fs: cfg.FS, path: cfg.Path, files: segment.NewFiles(cfg.FS, cfg.MaxOpenFiles),
		logs: map[Name]*Log{}, onDisk: map[Name]*known{}, futures: map[Name]*future{}, previousEpoch: -1,
		nextDone: make(chan struct{}), wakeCommit: make(chan struct{}, 1), quit: make(chan struct{}),
		gap: make(chan struct{}, 1), coldTurn: make(chan struct{}, 1),
		checkpointing: make(chan struct{}, 1), writingEpochs: make(chan struct{}, 1), sealing: make(chan struct{}, 1),
		keeper: keeper{wake: make(chan struct{}, 1)}}
	d.brokerEpoch.Store(cfg.BrokerEpoch)
	d.scrubRate.Store(cfg.ScrubRate)
	parents, err := makeDir(d.fs, d.path)
	if err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	if d.lock, err = d.fs.Lock(filepath.Join(d.path, lockName)); err != nil {
		return nil, fmt.Errorf("lock %s: %w", d.path, err)
	}
	if err = d.open(parents); err != nil {
		if d.points != nil {
			_ = d.points.f.Close()
		}
		_ = d.lock.Close()
		return nil, fmt.Errorf("log directory %s: %w", d.path, err)
	}
	d.running.Add(2)
	go d.committer()
	go d.keep()
	return d, nil
}

// makeDir makes a directory with its parents, and tells which of them are to be
// synced for a power cut to leave it: those that got a new name, and its own in
// any case, for an earlier process may have made it and died.
func makeDir(fsys vfs.FS, path string) ([]string, error) {
	parents := []string{filepath.Dir(path)}
	for p := parents[0]; ; p = filepath.Dir(p) {
		if _, err := fsys.Stat(p); err == nil || filepath.Dir(p) == p {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	return parents, fsys.MkdirAll(path)
}

// open reads what is there. The parents' new names become durable behind
// meta.properties, whose sync takes them along, and before anything else is
// written.
func (d *Dir) open(parents []string) error {
	if err := d.openMeta(); err != nil {
		return err
	}
	for _, p := range parents {
		// A parent that may be passed but not read was not made by us.
		if err := d.fs.SyncDir(p); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	d.sameBoot = d.isSameBoot()
	marker, err := d.takeCleanMarker()
	if err != nil {
		return err
	}
	var bad int
	if d.points, bad, err = openPoints(d.fs, d.path); err != nil {
		return err
	}
	if bad > 0 {
		d.cfg.Events.rebuilt(d.points.path, fmt.Sprintf("%d damaged slots", bad))
	}
	for _, c := range []struct {
		name string
		into *map[Name]int64
	}{{recoveryPointName, &d.recovery}, {highWatermarkName, &d.hws}, {startOffsetName, &d.starts}} {
		if *c.into, err = d.readOffsets(c.name); err != nil {
			return err
		}
	}
	var cat map[Name]*known
	if d.clean {
		cat = d.readCatalogue(marker)
	}
	entries, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if strings.HasSuffix(e.Name(), deleteSuffix) {
			d.keeper.removeLater(filepath.Join(d.path, e.Name()), time.Now())
			continue
		}
		if n, ok := parseFutureDir(e.Name()); ok {
			d.foundFuture(n, e.Name())
		} else if n, ok := parseLogDir(e.Name()); ok {
			d.onDisk[n] = cat[n]
		}
	}
	d.keepReserve()
	return nil
}

func (d *Dir) openMeta() error {
	path := filepath.Join(d.path, metaPropertiesName)
	b, err := vfs.ReadFile(d.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		d.meta = metaProperties{clusterID: d.cfg.ClusterID, nodeID: d.cfg.NodeID, directoryID: d.cfg.DirectoryID}
		if d.meta.directoryID == ([16]byte{}) {
			d.meta.directoryID = randomID()
		}
		return vfs.WriteFileAtomic(d.fs, path, d.meta.encode())
	}
	if err != nil {
		return err
	}
	if d.meta, err = parseMetaProperties(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if c := d.cfg.ClusterID; c != "" && d.meta.clusterID != "" && c != d.meta.clusterID {
		return fmt.Errorf("%s belongs to cluster %s, not %s", path, d.meta.clusterID, c)
	}
	if d.meta.nodeID != d.cfg.NodeID {
		return fmt.Errorf("%s belongs to node %d, not %d", path, d.meta.nodeID, d.cfg.NodeID)
	}
	if !d.meta.hadID {
		// Made by Kafka before 3.7. The id given here must be the same at the
		// next start: the controller knows by it where replicas lie.
		return vfs.WriteFileAtomic(d.fs, path, d.meta.encode())
	}
	return nil
}

// JoinCluster writes the cluster's id into a directory that had none, durably.
// It is called before anything else knows of the id.
func (d *Dir) JoinCluster(id string) error {
	if d.meta.clusterID == id {
		return nil
	}
	path := filepath.Join(d.path, metaPropertiesName)
	if d.meta.clusterID != "" {
		return fmt.Errorf("%s belongs to cluster %s, not %s", path, d.meta.clusterID, id)
	}
	m := d.meta
	m.clusterID = id
	if err := vfs.WriteFileAtomic(d.fs, path, m.encode()); err != nil {
		return err
	}
	d.meta = m
	return nil
}

// cleanMarker is the content of .kafka_cleanshutdown. Kafka ignores fields it
// does not know; Catalogue binds the catalogue to this one stop.
type cleanMarker struct {
	Version     int    `json:"version"`
	BrokerEpoch int64  `json:"brokerEpoch"`
	Catalogue   string `json:"gregorCatalogue,omitempty"`
}

// takeCleanMarker reads the marker of a clean stop and removes it, durably,
// before anything is changed.
func (d *Dir) takeCleanMarker() (m cleanMarker, err error) {
	path := filepath.Join(d.path, cleanShutdownName)
	b, err := vfs.ReadFile(d.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	d.clean = true
	m.BrokerEpoch = -1
	if json.NewDecoder(bytes.NewReader(b)).Decode(&m) == nil {
		d.previousEpoch = m.BrokerEpoch
	} else {
		m = cleanMarker{}
	}
	if err := d.fs.Remove(path); err != nil {
		return m, err
	}
	return m, d.fs.SyncDir(d.path)
}

// Path is the directory's path.
func (d *Dir) Path() string { return d.path }

// ID is directory.id.
func (d *Dir) ID() [16]byte { return d.meta.directoryID }

// ClusterID is the cluster that the directory belongs to.
func (d *Dir) ClusterID() string { return d.meta.clusterID }

// NodeID is the node that the directory belongs to.
func (d *Dir) NodeID() int32 { return d.meta.nodeID }

// Clean says whether the last stop was clean.
func (d *Dir) Clean() bool { return d.clean }

// PreviousBrokerEpoch is what the last clean stop wrote, or -1.
func (d *Dir) PreviousBrokerEpoch() int64 { return d.previousEpoch }

// SetBrokerEpoch sets what the next clean stop writes.
func (d *Dir) SetBrokerEpoch(e int64) { d.brokerEpoch.Store(e) }

// Usage is the state of the file system that holds the directory.
func (d *Dir) Usage() (vfs.Usage, error) { return d.fs.Usage(d.path) }

// OpenFiles is the number of files open now.
func (d *Dir) OpenFiles() int { return d.files.Open() }

// Logs lists the logs on disk, without those waiting to be removed.
func (d *Dir) Logs() []Name {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := make([]Name, 0, len(d.logs)+len(d.onDisk))
	for n := range d.logs {
		names = append(names, n)
	}
	for n := range d.onDisk {
		names = append(names, n)
	}
	slices.SortFunc(names, compareNames)
	return names
}

// TopicID tells the id of a log on disk; zero when it has none.
func (d *Dir) TopicID(n Name) ([16]byte, error) {
	d.mu.Lock()
	l, k := d.logs[n], d.onDisk[n]
	d.mu.Unlock()
	if l != nil {
		return l.id, nil
	}
	if k != nil {
		return k.id, nil
	}
	id, _, err := d.readTopicID(n)
	return id, err
}

func (d *Dir) readTopicID(n Name) (id [16]byte, found bool, err error) {
	return d.readTopicIDIn(filepath.Join(d.path, n.String()))
}

func (d *Dir) readTopicIDIn(logDir string) (id [16]byte, found bool, err error) {
	path := filepath.Join(logDir, partitionMetaName)
	b, err := vfs.ReadFile(d.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	if id, err = parsePartitionMeta(b); err != nil {
		d.cfg.Events.rebuilt(path, err.Error())
		return id, false, nil
	}
	return id, true, nil
}

// Open opens a log, or makes it when c.Create. After a clean stop it touches
// no file: the first append or read does. After an unclean stop it recovers
// the log. An open log is returned again.
func (d *Dir) Open(n Name, id [16]byte, c LogConfig) (*Log, error) {
	if err := d.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return nil, ErrClosed
	}
	if l := d.logs[n]; l != nil {
		d.mu.Unlock()
		if l.id != id {
			return nil, ErrWrongTopicID
		}
		return l, nil
	}
	k, exists := d.onDisk[n]
	d.mu.Unlock()
	l := d.newLog(n, id, c)
	var err error
	switch {
	case exists && k != nil:
		if k.id != id {
			return nil, ErrWrongTopicID
		}
		l.sleep(k)
	case exists:
		if err = d.checkTopicID(l); err == nil {
			err = l.wake()
		}
	case c.Create:
		err = l.create()
	default:
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", n, l.ioError(err))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.logs[n]; other != nil {
		return other, nil
	}
	d.logs[n] = l
	delete(d.onDisk, n)
	return l, nil
}

// checkTopicID compares the id on disk, and writes it where it is missing.
func (d *Dir) checkTopicID(l *Log) error {
	id, found, err := d.readTopicIDIn(l.path)
	switch {
	case err != nil:
		return err
	case !found:
		return l.writePartitionMeta()
	case id == l.id:
		return nil
	}
	if _, known := d.points.lookup(l.key()); !known {
		return ErrWrongTopicID
	}
	// The durable points, which carry a checksum, know this log by the id that
	// is asked for: the file is damaged.
	d.cfg.Events.rebuilt(filepath.Join(l.path, partitionMetaName), "its topic id is not the log's")
	return l.writePartitionMeta()
}

func (l *Log) writePartitionMeta() error {
	path := filepath.Join(l.path, partitionMetaName)
	f, err := l.dir.fs.Create(path)
	anew := errors.Is(err, fs.ErrExist)
	if anew {
		f, err = l.dir.fs.OpenRW(path)
	}
	if err != nil {
		return err
	}
	b := []byte(partitionMetaVersion + encodeID(l.id))
	if _, err = f.WriteAt(b, 0); err == nil && anew {
		err = f.Truncate(int64(len(b)))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// create makes a new, empty log. It is durable with its first commit.
func (l *Log) create() error {
	if err := l.dir.forgetOffsets(l.name); err != nil {
		return err
	}
	if err := l.dir.fs.MkdirAll(l.path); err != nil {
		return err
	}
	if err := l.writePartitionMeta(); err != nil {
		return err
	}
	s, err := segment.Create(l.dir.segmentConfig(l, l.cfg.Load()), l.path, 0, "")
	if err != nil {
		return err
	}
	l.active = s
	l.filed.sum = noEpochs
	l.segs.Store(&[]*segment.Segment{s})
	l.dirtyDir = true
	l.isNew.Store(true)
	l.drawJitterLocked()
	l.awake.Store(true)
	return nil
}

func (d *Dir) segmentConfig(l *Log, c *LogConfig) segment.Config {
	return segment.Config{Files: d.files, IndexInterval: c.IndexInterval, Dense: !c.Compact, Doubt: l.doubt, Hooks: segment.Hooks{
		Damaged: func(x *segment.Damage) {
			l.tell(&CorruptError{Path: x.Path, Pos: x.Pos, Offset: x.First, Next: x.Next, Reason: x.Reason})
		},
		Rebuilt: d.cfg.Events.rebuilt,
	}}
}

// tell reports damage, each place once.
func (l *Log) tell(c *CorruptError) {
	place := damagedPlace{c.Path, c.Pos}
	l.toldMu.Lock()
	known := l.told[place]
	if l.told == nil {
		l.told = map[damagedPlace]bool{}
	}
	l.told[place] = true
	l.toldMu.Unlock()
	if !known {
		l.dir.cfg.Events.corrupt(l.name, c)
	}
}

type damagedPlace struct {
	path string
	pos  int64
}

// Abandon stops without writing anything, as a killed process would.
func (d *Dir) Abandon() {
	logs := d.stop()
	if d.stopped.Swap(true) {
		return
	}
	d.releaseAll(logs)
	_ = d.points.f.Close()
	_ = d.lock.Close()
}

// stop ends the goroutines and lets go of all files.
func (d *Dir) stop() []*Log {
	d.mu.Lock()
	already := d.closing
	d.closing = true
	logs := d.openLogsLocked()
	d.mu.Unlock()
	if already {
		return nil
	}
	for _, l := range logs {
		l.closed.Store(true)
	}
	close(d.quit)
	d.running.Wait()
	// Who waits for a flush is told.
	d.commitMu.Lock()
	close(d.nextDone)
	d.commitMu.Unlock()
	return logs
}

func (d *Dir) releaseAll(logs []*Log) {
	for _, l := range logs {
		l.mu.Lock()
		l.dropHandleLocked()
		l.mu.Unlock()
	}
	d.files.CloseAll()
}

// Delete removes a log: renamed at once, its bytes after file.delete.delay.ms.
func (d *Dir) Delete(n Name) error {
	if err := d.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return ErrClosed
	}
	l := d.logs[n]
	_, exists := d.onDisk[n]
	delete(d.logs, n)
	delete(d.onDisk, n)
	d.mu.Unlock()
	delay := LogConfig{}.withDefaults().FileDeleteDelay
	from := filepath.Join(d.path, n.String())
	to := filepath.Join(d.path, deletedDirName(n))
	switch {
	case l != nil:
		l.remove()
		delay = l.cfg.Load().FileDeleteDelay
	case !exists:
		return fmt.Errorf("delete %s: %w", n, ErrNotFound)
	}
	if err := d.renameLog(l, from, to); err != nil {
		return err
	}
	d.keeper.removeLater(to, time.Now().Add(max(delay, 0)))
	return nil
}

// remove closes a log that is about to go, and takes its durable point back: no
// commit or seal under way makes it anew.
func (l *Log) remove() {
	l.mu.Lock()
	l.closed.Store(true)
	l.removed = true
	l.mu.Unlock()
	l.dir.points.drop(l.key())
}

// deletedDirName is topic-partition.<32 hex digits>-delete, the topic cut so
// that the whole is no longer than a file name may be.
func deletedDirName(n Name) string {
	id := randomID()
	suffix := fmt.Sprintf("-%d.%x%s", n.Partition, id, deleteSuffix)
	return n.Topic[:min(len(n.Topic), 255-len(suffix))] + suffix
}
