// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"

	"gregor/internal/meta"
	"gregor/internal/meta/controller"
	"gregor/internal/seeds"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// disk is a node on the real storage engine over a disk in memory.
type disk struct {
	fs   *vfs.Mem
	dir  *storage.Dir
	node *Node
	ctl  *controller.Controller
}

func (d *disk) open(cfg Config) error {
	var err error
	if d.dir, err = storage.OpenDir(storage.DirConfig{FS: d.fs, Path: "/d", ClusterID: "c", DirectoryID: [16]byte{5: 1}, RetentionInterval: -1}); err != nil {
		return err
	}
	log, err := d.dir.Open(storage.Name{Topic: "__cluster_metadata"}, [16]byte{15: 1}, storage.LogConfig{
		Create: true, Durable: true, Reserve: true, SegmentBytes: 1 << 20, Retention: -1, FileDeleteDelay: -1,
	})
	if err != nil {
		return err
	}
	d.ctl = controller.New(controller.Config{Found: func() []meta.Record { return []meta.Record{meta.ClusterRecord{ID: "c"}} }})
	cfg.NodeID, cfg.Directory, cfg.FS = 1, d.dir.ID(), d.fs
	cfg.Dir, cfg.Log, cfg.Controller = filepath.Join("/d", "__cluster_metadata-0"), log, d.ctl
	if d.node, err = Open(cfg); err != nil {
		return err
	}
	d.ctl.Start(d.node)
	return nil
}

func (d *disk) set(name string) error {
	v, err := d.ctl.Submit(context.Background(), name, func(*meta.Image) ([]meta.Record, error) {
		return []meta.Record{meta.FeatureRecord{Name: name, Level: 1}}, nil
	})
	if err == nil {
		err = d.node.Await(context.Background(), v)
	}
	return err
}

// TestSimPowerCutsOnStorage: the power goes at random moments under a node on the
// real engine; what was answered with success is there after each start.
func TestSimPowerCutsOnStorage(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 15, 10) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			d := &disk{fs: vfs.NewMem()}
			promised := []string{}
			for life := range 6 {
				if err := d.open(Config{SnapshotBytes: 3000}); err != nil {
					t.Fatalf("seed %d life %d: %v", seed, life, err)
				}
				if err := d.set(fmt.Sprint("life", life)); err != nil {
					t.Fatalf("seed %d life %d: %v", seed, life, err)
				}
				for _, name := range promised {
					if d.node.Image().Feature(name) != 1 {
						t.Fatalf("seed %d life %d: %s is lost", seed, life, name)
					}
				}
				// Several clients, and a cut while they are under way: the clone
				// is taken first, so that whatever was answered before it counts.
				answers := make(chan string, 1000)
				for c := range 3 {
					go func() {
						for i := range 10 {
							name := fmt.Sprintf("l%dc%di%d", life, c, i)
							if d.set(name) == nil {
								answers <- name
							}
						}
					}()
				}
				for range rng.IntN(20) {
					promised = append(promised, <-answers)
				}
				clone := d.fs.CrashClone(rng.Int64N)
				d.dir.Abandon()
				_ = d.node.Close()
				d.ctl.Close()
				synctest.Wait()
				d.fs = clone
			}
		})
	}
}

func TestCleanRestartOnStorage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{fs: vfs.NewMem()}
		for life := range 3 {
			if err := d.open(Config{}); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				if err := d.set(fmt.Sprintf("%d-%d", life, i)); err != nil {
					t.Fatal(err)
				}
			}
			if img := d.node.Image(); img.Feature("0-0") != 1 || img.Feature("0-49") != 1 {
				t.Fatalf("life %d forgot the first", life)
			}
			err := d.node.Close()
			d.ctl.Close()
			if err = errors.Join(err, d.dir.Close()); err != nil {
				t.Fatal(err)
			}
		}
		// A flipped bit in the log is named.
		segment := filepath.Join("/d", "__cluster_metadata-0", "00000000000000000000.log")
		flip(t, d.fs, segment, 200)
		err := d.open(Config{})
		var ours *DamageError
		var theirs *storage.CorruptError
		if !errors.As(err, &ours) && !errors.As(err, &theirs) {
			t.Errorf("a flipped bit in the log: %v", err)
		}
		t.Log(err)
		_ = d.dir.Close()
	})
}

// BenchmarkSubmit is a change of metadata on this machine's disk, as one
// client and as many.
func BenchmarkSubmit(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			dir, err := storage.OpenDir(storage.DirConfig{FS: vfs.OS(), Path: b.TempDir(), ClusterID: "c", RetentionInterval: -1})
			if err != nil {
				b.Fatal(err)
			}
			log, err := dir.Open(storage.Name{Topic: "__cluster_metadata"}, [16]byte{15: 1}, storage.LogConfig{Create: true, Durable: true, Retention: -1})
			if err != nil {
				b.Fatal(err)
			}
			ctl := controller.New(controller.Config{})
			n, err := Open(Config{FS: vfs.OS(), Dir: filepath.Join(dir.Path(), "__cluster_metadata-0"), Log: log, Controller: ctl})
			if err != nil {
				b.Fatal(err)
			}
			ctl.Start(n)
			b.SetParallelism(max(1, clients/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, err := ctl.Submit(context.Background(), "x", func(*meta.Image) ([]meta.Record, error) {
						return []meta.Record{meta.FeatureRecord{Name: "f", Level: 1}}, nil
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
			_ = n.Close()
			ctl.Close()
			_ = dir.Close()
		})
	}
}
