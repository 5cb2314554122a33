// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// Founding is what a formatted directory says of the beginning of its cluster.
type Founding struct {
	Node      int32
	Directory meta.UUID
	Cluster   string // "" where an older version wrote it
	// Voters founded the cluster. None: the directory is to join one and has
	// not heard of it yet.
	Voters []Voter
}

// ReadFounding reads what a metadata directory was told; ok is false where
// there is nothing, or nothing that reads, which Open judges.
func ReadFounding(fsys vfs.FS, dir string) (f Founding, ok bool, err error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	if err != nil {
		return f, false, fmt.Errorf("look into metadata directory: %w", err)
	}
	for i := range 2 {
		if len(b) < (i+1)*statePage {
			break
		}
		if fd, ok := decodeFounding(b[i*statePage : (i+1)*statePage]); ok {
			return Founding{fd.node, fd.directory, fd.cluster, fd.voters}, true, nil
		}
	}
	return f, false, nil
}

// ErrFormatted: the directory was told of a cluster already.
var ErrFormatted = errors.New("the metadata directory is formatted already")

// Format tells an empty metadata directory how its cluster began, durably. One
// that was only to join is told once more.
func Format(fsys vfs.FS, dir string, f Founding) error {
	if err := CheckVoters(f.Voters); err != nil {
		return fmt.Errorf("found the cluster: %w", err)
	}
	if len(f.Cluster) > maxText {
		return fmt.Errorf("the cluster id is longer than %d bytes", maxText)
	}
	old, ok, err := ReadFounding(fsys, dir)
	if err != nil {
		return err
	}
	if ok && len(old.Voters) > 0 {
		return fmt.Errorf("%s: %w", dir, ErrFormatted)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("format metadata directory: %w", err)
	}
	s := newState(fsys, dir, founding{f.Node, f.Directory, RaftID(f.Node, f.Directory), f.Cluster, sortVoters(f.Voters)})
	if err := s.create(hardState{}); err != nil {
		return err
	}
	// The directory may be new itself.
	return errors.Join(fsys.SyncDir(filepath.Dir(dir)), s.close())
}
