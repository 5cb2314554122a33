// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/replica"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// identity is what this node is called, on disk and in the cluster.
type identity struct {
	cluster     string
	incarnation meta.UUID
}

// metadataReserve is the room that the disk of the metadata log keeps for it,
// so that a full disk can still be cleared by deleting topics.
const metadataReserve = 8 << 20

// openDirs locks the log directories, formats those that are empty and checks
// the others.
func (n *Node) openDirs(context.Context) error {
	b := n.live.Broker()
	var paths []string
	if b.IsBroker { // a controller keeps the metadata log and nothing else
		paths = append(paths, b.LogDirs...)
	}
	hosting := len(paths)
	separate := true // the metadata log has a directory of its own
	for _, p := range paths {
		separate = separate && p != b.MetadataLogDir
	}
	if separate {
		paths = append(paths, b.MetadataLogDir)
	}
	for _, p := range paths {
		if _, err := quorum.CheckDirectory(n.fs, filepath.Join(p, metadataLog.String())); err != nil {
			return err
		}
	}
	cluster, err := clusterOf(n.fs, paths)
	if err != nil {
		return err
	}
	if n.begins.fresh, err = n.isFresh(cluster); err != nil {
		return err
	}
	if cluster == "" && n.begins.alone {
		cluster = meta.FormatUUID(newID())
	}
	n.identity = identity{cluster: cluster, incarnation: newID()}
	n.table = replica.NewTable(replica.Config{
		NodeID: b.NodeID, Controller: n.startRaiser(), Topic: n.topicConfig, MaxLag: b.Replica.LagMax,
		Fetch: n.fetchConfig(), RackAware: func() bool { return n.live.Broker().Replica.RackAware },
		Events: n.storageEvents(), Cordoned: n.cordoned,
		Stray: func(dir string, name storage.Name) {
			n.log.Warn("a log on disk belongs to no topic; it is left alone", "dir", dir, "log", name.String())
		},
		Moves: n.moveEvents(), Throttle: n.newThrottle(), Now: n.cfg.Now,
	})
	for i, p := range paths {
		d, err := n.openDir(p)
		if err != nil {
			return err
		}
		n.dirs = append(n.dirs, d)
		if i < hosting {
			n.table.AddDir(d)
		}
		if p == b.MetadataLogDir {
			n.metaDir = d
		}
	}
	n.live.Subscribe(func(old, now *config.Broker) {
		if old.ScrubBytesPerSecond != now.ScrubBytesPerSecond {
			for _, d := range n.dirs {
				d.SetScrubRate(now.ScrubBytesPerSecond)
			}
		}
	})
	return nil
}

func (n *Node) openDir(path string) (*storage.Dir, error) {
	b := n.live.Broker()
	reserve := int64(0)
	if path == b.MetadataLogDir {
		reserve = metadataReserve
	}
	d, err := storage.OpenDir(storage.DirConfig{
		FS: n.fs, Path: path, Events: n.table.Events(),
		ClusterID: n.identity.cluster, NodeID: b.NodeID, DirectoryID: newID(),
		CheckpointInterval: b.Log.FlushCheckpoint, RetentionInterval: b.Log.RetentionCheck,
		ScrubRate: b.ScrubBytesPerSecond, ReserveBytes: reserve, ZeroAhead: orNone(b.ZeroAheadBytes),
		Now: n.cfg.Now,
	})
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%s is in use by another process: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	if d.NodeID() != b.NodeID || d.ClusterID() != n.identity.cluster && d.ClusterID() != "" {
		err := fmt.Errorf("%s belongs to node %d of cluster %s, but node.id is %d and the other directories are of cluster %s",
			path, d.NodeID(), d.ClusterID(), b.NodeID, n.identity.cluster)
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// clusterOf reads the cluster id of the first formatted directory, "" when
// none is. The directory itself is checked by storage when it is opened.
func clusterOf(fsys vfs.FS, dirs []string) (string, error) {
	for _, d := range dirs {
		b, err := vfs.ReadFile(fsys, filepath.Join(d, "meta.properties"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(b)) {
			if id, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster.id="); ok && id != "" {
				return id, nil
			}
		}
	}
	return "", nil
}

// storageEvents adds to the operator's lines what the node does about them.
func (n *Node) storageEvents() storage.Events {
	e := n.counted(storageEvents(n.logs.Logger(logStorage)))
	e.Truncated = func(l *storage.Log, end int64) {
		if c := n.compaction.Load(); c != nil {
			// What is not noted now is made good by the next start.
			_ = c.cleaner.Truncated(l.Dir().Path(), l.Name(), end)
		}
	}
	tell := e.DirFailed
	e.DirFailed = func(dir string, err error) {
		tell(dir, err)
		online := 0
		for _, d := range n.dirs {
			if d.Path() != dir && d.Err() == nil {
				online++
			}
		}
		if online == 0 || dir == n.live.Broker().MetadataLogDir {
			n.fail(fmt.Errorf("log directory %s failed and there is no other to go on with: %w", dir, err))
		}
	}
	return e
}

// orNone turns 0, which means none in a setting, into what means none in a
// Config.
func orNone(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}
