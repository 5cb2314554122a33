// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// CheckpointName is the file in each log directory that holds, for every
// compacted log, the first offset that is still dirty:
//
//	0                        version
//	2                        number of lines that follow
//	__consumer_offsets 7 42  topic, partition, offset
//	orders 0 1000
const CheckpointName = "cleaner-offset-checkpoint"

func parseCheckpoint(b []byte) (map[storage.Name]int64, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 2 || strings.TrimSpace(lines[0]) != "0" {
		return nil, errors.New("clean: checkpoint is not of version 0")
	}
	if n, err := strconv.Atoi(strings.TrimSpace(lines[1])); err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("clean: checkpoint counts %q lines and has %d", lines[1], len(lines)-2)
	}
	points := make(map[storage.Name]int64, len(lines)-2)
	for _, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("clean: checkpoint line %q", line)
		}
		p, perr := strconv.ParseInt(f[1], 10, 32)
		o, oerr := strconv.ParseInt(f[2], 10, 64)
		if perr != nil || oerr != nil || p < 0 || o < 0 {
			return nil, fmt.Errorf("clean: checkpoint line %q", line)
		}
		points[storage.Name{Topic: f[0], Partition: int32(p)}] = o
	}
	return points, nil
}

func formatCheckpoint(points map[storage.Name]int64) []byte {
	names := slices.SortedFunc(maps.Keys(points), func(a, b storage.Name) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(names))
	for _, n := range names {
		fmt.Fprintf(&b, "%s %d %d\n", n.Topic, n.Partition, points[n])
	}
	return b.Bytes()
}

// checkpoints are the files of all directories, kept in memory. Its lock is a
// channel, not a mutex: it is held while a file is written and synced, which a
// simulation may make take time.
type checkpoints struct {
	fs   vfs.FS
	lock chan struct{} // capacity 1, full while held; guards dirs and the files
	dirs map[string]map[storage.Name]int64
}

func newCheckpoints(fsys vfs.FS) *checkpoints {
	return &checkpoints{fs: fsys, lock: make(chan struct{}, 1), dirs: map[string]map[storage.Name]int64{}}
}

// get returns a log's offset, -1 when there is none. damaged says why a file
// could not be read; it is said once, and then all below counts as dirty:
// cleaning it again costs time only.
func (c *checkpoints) get(dir string, n storage.Name) (offset int64, damaged error) {
	c.lock <- struct{}{}
	defer func() { <-c.lock }()
	points, damaged := c.load(dir)
	if o, ok := points[n]; ok {
		return o, damaged
	}
	return -1, damaged
}

// edit changes a directory's offsets and writes the file if change says that
// it changed them.
func (c *checkpoints) edit(dir string, change func(points map[storage.Name]int64) bool) error {
	c.lock <- struct{}{}
	defer func() { <-c.lock }()
	points, _ := c.load(dir)
	if !change(points) {
		return nil
	}
	return vfs.WriteFileAtomic(c.fs, filepath.Join(dir, CheckpointName), formatCheckpoint(points))
}

func (c *checkpoints) set(dir string, n storage.Name, offset int64) error {
	return c.edit(dir, func(points map[storage.Name]int64) bool {
		old, ok := points[n]
		points[n] = offset
		return !ok || old != offset
	})
}

func (c *checkpoints) remove(dir string, n storage.Name) error {
	return c.edit(dir, func(points map[storage.Name]int64) bool {
		_, ok := points[n]
		delete(points, n)
		return ok
	})
}

func (c *checkpoints) load(dir string) (points map[storage.Name]int64, damaged error) {
	if points, ok := c.dirs[dir]; ok {
		return points, nil
	}
	b, err := vfs.ReadFile(c.fs, filepath.Join(dir, CheckpointName))
	if err == nil {
		points, err = parseCheckpoint(b)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if points == nil {
		points = map[storage.Name]int64{}
	}
	c.dirs[dir] = points
	return points, err
}
