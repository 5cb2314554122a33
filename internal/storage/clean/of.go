// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"fmt"
	"time"

	"gregor/internal/storage"
)

// Of is l as compaction sees it. Two of the same log are equal.
func Of(l *storage.Log) Log { return stored{l} }

type stored struct{ *storage.Log }

func (s stored) DirPath() string { return s.Dir().Path() }

func (s stored) LastRecords() (map[int64]LastRecord, error) {
	m := map[int64]LastRecord{}
	err := s.Log.LastRecords(func(pid int64, epoch int16, last int64) { m[pid] = LastRecord{last, epoch} })
	return m, err
}

func (s stored) NewCleaned(base int64) (Output, error) {
	c, err := s.Log.NewCleaned(base)
	if err != nil {
		return nil, err
	}
	return output{c}, nil
}

func (s stored) Replace(old []int64, out Output) error {
	o, ok := out.(output)
	if !ok {
		return fmt.Errorf("clean: a segment of another log: %T", out)
	}
	return s.Log.Replace(old, o.Cleaned)
}

type output struct{ *storage.Cleaned }

// SetModified has nothing to do: a stored segment's age is its largest
// timestamp, which the log finds out itself.
func (output) SetModified(time.Time) {}
