// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gregor/internal/vfs"
)

// LevelsFile lies in a formatted metadata directory and says at which levels its
// cluster is to begin: a line name=level for each feature, in order of names. No
// file: the highest that the founder knows.
//
// Differs from Kafka: there it is records in bootstrap.checkpoint.
const LevelsFile = "founding-levels"

// WriteLevels says at which levels a cluster is to begin, durably. It comes
// before Format, so that a directory that is formatted has them.
func WriteLevels(fsys vfs.FS, dir string, levels map[string]int16) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		fmt.Fprintf(&b, "%s=%d\n", name, levels[name])
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("write levels: %w", err)
	}
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, LevelsFile), []byte(b.String())); err != nil {
		return fmt.Errorf("write levels: %w", err)
	}
	return nil
}

// ReadLevels are those that WriteLevels wrote, nil where it did not.
func ReadLevels(fsys vfs.FS, dir string) (map[string]int16, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, LevelsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read levels: %w", err)
	}
	levels, err := decodeLevels(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, LevelsFile), err)
	}
	return levels, nil
}

func decodeLevels(text string) (map[string]int16, error) {
	levels := map[string]int16{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		name, num, ok := strings.Cut(line, "=")
		level, err := strconv.ParseInt(num, 10, 16)
		if _, twice := levels[name]; !ok || name == "" || err != nil || level < 0 || twice {
			return nil, fmt.Errorf("the line %q is no feature and its level", line)
		}
		levels[name] = int16(level)
	}
	return levels, nil
}
