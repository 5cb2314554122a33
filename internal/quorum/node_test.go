// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// rig is a node with its controller on a disk in memory.
type rig struct {
	fs     *vfs.Mem
	log    *fakeLog
	node   *Node
	ctl    *controller.Controller
	events atomic.Int32 // publications
	cfg    Config
	seen   func(*meta.Image) // told of each publication; may be nil
}

func newRig() *rig {
	fsys := vfs.NewMem()
	_ = fsys.MkdirAll(simDir)
	return &rig{fs: fsys, log: &fakeLog{}, cfg: Config{NodeID: 0, Directory: meta.UUID{5: 1}, Dir: simDir}}
}

func (r *rig) open() error {
	r.ctl = controller.New(controller.Config{Found: func() []meta.Record { return []meta.Record{meta.ClusterRecord{ID: "c", Created: 1}} }})
	cfg := r.cfg
	cfg.FS, cfg.Log, cfg.Controller = r.fs, r.log, r.ctl
	cfg.Publish = func(img *meta.Image, _ *meta.Delta) {
		r.events.Add(1)
		if r.seen != nil {
			r.seen(img)
		}
	}
	var err error
	if r.node, err = Open(cfg); err == nil {
		r.ctl.Start(r.node)
	}
	return err
}

func (r *rig) close() error {
	err := r.node.Close()
	r.ctl.Close()
	return err
}

func (r *rig) set(ctx context.Context, name string) error {
	v, err := r.ctl.Submit(ctx, name, func(*meta.Image) ([]meta.Record, error) {
		return []meta.Record{meta.FeatureRecord{Name: name, Level: 1}}, nil
	})
	if err == nil {
		err = r.node.Await(ctx, v)
	}
	return err
}

func TestNodeStartsAndRemembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i := range 100 {
			if err := r.set(t.Context(), fmt.Sprint("f", i)); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("a quorum of one waited %v for a clock", d)
		}
		if img := r.node.Image(); img.ClusterID() != "c" || img.Feature("f99") != 1 {
			t.Fatal("not all was published")
		}
		d, err := r.node.Describe(t.Context())
		if err != nil || !d.Leading || len(d.Voters) != 1 || d.Voters[0].End != r.log.End() || d.HighWatermark != r.log.End() {
			t.Fatalf("%+v %v", d, err)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		if err := r.set(t.Context(), "late"); !errors.Is(err, controller.ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if err := r.set(t.Context(), "after"); err != nil {
			t.Fatal(err)
		}
		if img := r.node.Image(); img.Feature("f42") != 1 || img.Feature("after") != 1 || img.ClusterID() != "c" {
			t.Fatal("the restart forgot something")
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFirstStartSyncs counts what a first start costs until the first change is
// promised: the target for a start as a whole is 20 ms.
func TestFirstStartSyncs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		faulty := vfs.NewFaulty(r.fs)
		var trace []string
		faulty.Trace(func(c vfs.Call) {
			if s := fmt.Sprint(c.Op); strings.Contains(strings.ToLower(s), "sync") {
				trace = append(trace, s)
			}
		})
		r.ctl = controller.New(controller.Config{})
		cfg := r.cfg
		cfg.FS, cfg.Log, cfg.Controller = faulty, r.log, r.ctl
		var err error
		if r.node, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		r.ctl.Start(r.node)
		if err := r.set(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if len(trace) > 2 || r.log.flushes > 2 {
			t.Errorf("%d flushes of the log and %v", r.log.flushes, trace)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestGroupCommit: changes that come in while one is being synced share the
// next sync.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.log.fail = func(op string) error {
			if op == "flush" {
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if err := r.set(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		before := r.log.flushes
		done := make(chan error)
		for i := range 200 {
			go func() { done <- r.set(context.Background(), fmt.Sprint("g", i)) }()
		}
		for range 200 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if n := r.log.flushes - before; n > 4 {
			t.Errorf("200 changes took %d syncs", n)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSnapshotAndTrim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.cfg.SnapshotBytes = 4000
		snaps := make(chan uint64, 1000)
		r.cfg.Events.Snapshot = func(index uint64, _ int64, _ time.Duration) { snaps <- index }
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for i := 0; taken < 4; i++ {
			if err := r.set(t.Context(), fmt.Sprint("f", i)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			taken += len(snaps)
			for len(snaps) > 0 {
				<-snaps
			}
		}
		if r.log.Start() == 0 {
			t.Error("the log was not trimmed")
		}
		want := r.node.Image()
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		reopen := func() {
			t.Helper()
			if err := r.open(); err != nil {
				t.Fatal(err)
			}
			if err := r.set(t.Context(), "again"); err != nil {
				t.Fatal(err)
			}
			if img := r.node.Image(); img.Feature("f0") != 1 || img.Version() <= want.Version() {
				t.Error("the snapshot forgot something")
			}
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
		}
		reopen()
		r.cfg.SnapshotBytes = 1 << 30
		names := snapshotFiles(t, r.fs)
		if len(names) != keepSnapshots {
			t.Fatalf("snapshots: %v", names)
		}
		// A damaged newest snapshot is told, and the one before serves.
		var warned error
		r.cfg.Events.Warning = func(err error) { warned = err }
		newest := filepath.Join(simDir, names[1])
		flip(t, r.fs, newest, 100)
		reopen()
		var damage *DamageError
		if !errors.As(warned, &damage) || damage.Path != newest {
			t.Errorf("warned of %v", warned)
		}
		// With both damaged nothing is left to go on from.
		flip(t, r.fs, filepath.Join(simDir, names[0]), 100)
		if err := r.open(); !errors.As(err, &damage) {
			t.Errorf("opened with two damaged snapshots: %v", err)
		}
	})
}

func snapshotFiles(t *testing.T, fsys vfs.FS) (names []string) {
	t.Helper()
	files, err := fsys.List(simDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), snapshotSuffix) {
			names = append(names, f.Name())
		}
	}
	return names
}

func flip(t *testing.T, fsys vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fsys.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestStateFileDamage flips a bit in every byte of the state file in turn. One
// damaged place is mended from its twin; a page and its twin together refuse
// the start, or fall back only to a state whose write was the last.
func TestStateFileDamage(t *testing.T) {
	t.Parallel()
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll(simDir); err != nil {
		t.Fatal(err)
	}
	s := newState(fsys, simDir, founding{node: 3, directory: meta.UUID{1: 1}, raftID: 9, voters: sampleVoters})
	for term := range uint64(5) {
		if err := s.save(term+1, 9, term); err != nil {
			t.Fatal(err)
		}
	}
	want := s.hard
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	used := map[int64]bool{}
	for page := range int64(6) {
		for i := range int64(64) {
			used[page*statePage+i] = true
		}
	}
	for at := range used {
		flip(t, fsys, s.path, at)
		got, mended, err := openState(fsys, simDir)
		if err != nil || got.hard != want || got.node != 3 || len(got.voters) != 2 {
			t.Fatalf("byte %d: %+v %v", at, got, err)
		}
		if page := at % statePage; page < hardSize && at >= 2*statePage && !mended {
			t.Fatalf("byte %d: damage was not noticed", at)
		}
		_ = got.close()
		if !mended {
			flip(t, fsys, s.path, at)
		}
	}
	flip(t, fsys, s.path, 20)
	flip(t, fsys, s.path, statePage+20)
	var damage *DamageError
	if _, _, err := openState(fsys, simDir); !errors.As(err, &damage) {
		t.Errorf("opened without a founding page: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	made := func() *rig {
		r := newRig()
		var first error
		synctest.Test(t, func(t *testing.T) {
			if first = r.open(); first == nil {
				first = errors.Join(r.set(t.Context(), "x"), r.close())
			}
		})
		if first != nil {
			t.Fatal(first)
		}
		return r
	}
	var damage *DamageError

	r := made()
	r.cfg.NodeID = 7
	if err := r.open(); err == nil || !strings.Contains(err.Error(), "formatted for node 0") {
		t.Errorf("another node id: %v", err)
	}

	r = made()
	if err := r.fs.Remove(filepath.Join(simDir, StateFile)); err != nil {
		t.Fatal(err)
	}
	if err := r.open(); !errors.As(err, &damage) || filepath.Base(damage.Path) != StateFile {
		t.Errorf("the state file is gone: %v", err)
	}

	r = made()
	r.log.batches[1][80] ^= 1
	if err := r.open(); !errors.As(err, &damage) || !strings.Contains(err.Error(), "offset 1") {
		t.Errorf("a flipped bit in the log: %v", err)
	}

	r = made()
	r.log.batches, r.log.end = r.log.batches[:1], 1
	r.log.batches[0].SetLeaderEpoch(9)
	if err := r.open(); !errors.As(err, &damage) {
		t.Errorf("a log of a later term than the state: %v", err)
	}

	r = newRig()
	f, err := r.fs.Create(filepath.Join(simDir, "quorum-state"))
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := r.open(); !errors.Is(err, ErrKafkaDirectory) {
		t.Errorf("Kafka's directory: %v", err)
	}
	if _, err := CheckDirectory(vfs.OS(), filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("no directory: %v", err)
	}
	_ = os.ErrNotExist
}

// TestFullDisk: appends that meet a full disk are tried again until there is
// room; who waits is answered meanwhile.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		var full atomic.Bool
		r.log.fail = func(op string) error {
			if full.Load() && op == "append" {
				return fmt.Errorf("x: %w", storage.ErrNoSpace)
			}
			return nil
		}
		stalls := make(chan time.Duration, 10)
		r.cfg.Events.Stalled = func(d time.Duration) { stalls <- d }
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if err := r.set(t.Context(), "before"); err != nil {
			t.Fatal(err)
		}
		full.Store(true)
		began := time.Now()
		if err := r.set(t.Context(), "full"); !errors.Is(err, controller.ErrUnknown) {
			t.Fatalf("on a full disk: %v", err)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("the answer took %v", d)
		}
		if len(stalls) != 1 || r.node.Status().Leading {
			t.Errorf("%d stalls told, status %+v", len(stalls), r.node.Status())
		}
		if r.node.Image().Feature("before") != 1 {
			t.Error("what is committed is not served")
		}
		full.Store(false)
		if err := r.eventually(t, "after"); err != nil {
			t.Fatal(err)
		}
		if r.node.Image().Feature("full") != 1 {
			t.Error("the entry that met the full disk is gone, though Raft had taken it")
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// eventually repeats a change while its outcome is unknown.
func (r *rig) eventually(t *testing.T, name string) error {
	for range 100 {
		err := r.set(t.Context(), name)
		if !errors.Is(err, controller.ErrUnknown) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("never")
}

// TestFailedDisk: a failed flush ends the node, and everybody is answered.
func TestFailedDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		var bad atomic.Bool
		r.log.fail = func(op string) error {
			if bad.Load() && op == "flush" {
				return storage.ErrDirFailed
			}
			return nil
		}
		var told error
		r.cfg.Events.Failed = func(err error) { told = err }
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if err := r.set(t.Context(), "before"); err != nil {
			t.Fatal(err)
		}
		bad.Store(true)
		if err := r.set(t.Context(), "x"); !errors.Is(err, controller.ErrUnknown) {
			t.Errorf("the change under way: %v", err)
		}
		if err := r.set(t.Context(), "y"); !errors.Is(err, controller.ErrNotController) {
			t.Errorf("the change after: %v", err)
		}
		if err := r.close(); !errors.Is(err, storage.ErrDirFailed) || !errors.Is(told, storage.ErrDirFailed) {
			t.Errorf("closed with %v, told %v", err, told)
		}
	})
}

// TestLargeChange goes in brackets over several entries, and is there as one.
func TestLargeChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		id := meta.UUID{15: 1}
		_, err := r.ctl.Submit(t.Context(), "large", func(*meta.Image) ([]meta.Record, error) {
			rs := []meta.Record{meta.TopicRecord{Name: "t", ID: id}}
			for i := range int32(60_000) {
				rs = append(rs, meta.PartitionRecord{Topic: id, Index: i, Partition: meta.Partition{Replicas: []int32{1}, Dirs: []meta.UUID{{3: 3}}, ISR: []int32{1}, Leader: 1}})
			}
			return rs, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.log.batches {
			if len(b) > 1<<20 {
				t.Errorf("an entry of %d bytes", len(b))
			}
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		if n := r.node.Image().PartitionCount(); n != 60_000 {
			t.Errorf("%d partitions", n)
		}
	})
}

// TestSlowPublisher: a follower of metadata that is behind gets the changes in
// one line without gaps, merged where there are too many.
func TestSlowPublisher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		release := make(chan struct{})
		last, calls := meta.Empty(), 0
		r.ctl = controller.New(controller.Config{})
		cfg := r.cfg
		cfg.FS, cfg.Log, cfg.Controller = r.fs, r.log, r.ctl
		cfg.Publish = func(img *meta.Image, d *meta.Delta) {
			<-release
			if d.Old.Version() != last.Version() || d.New != img || img.Version() <= last.Version() {
				t.Errorf("from %d to %d after %d", d.Old.Version(), d.New.Version(), last.Version())
			}
			for _, name := range d.Features {
				if d.Old.Feature(name) == d.New.Feature(name) {
					t.Errorf("%s did not change", name)
				}
			}
			last = img
			calls++
		}
		var err error
		if r.node, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		r.ctl.Start(r.node)
		const changes = 3*maxQueued + 7
		var version int64
		for i := range changes {
			name := fmt.Sprint("f", i)
			if version, err = r.ctl.Submit(t.Context(), name, func(*meta.Image) ([]meta.Record, error) {
				return []meta.Record{meta.FeatureRecord{Name: name, Level: 1}}, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if r.node.Image().Version() != 0 {
			t.Error("shown before it was published")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := r.node.Await(ctx, version); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for what is not published: %v", err)
		}
		cancel()
		close(release)
		if err := r.node.Await(t.Context(), version); err != nil {
			t.Fatal(err)
		}
		if img := r.node.Image(); img != last || img.Feature("f0") != 1 || img.Feature(fmt.Sprint("f", changes-1)) != 1 || calls > maxQueued+2 {
			t.Errorf("%d calls", calls)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	})
}
