// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"path/filepath"
	"time"
)

const scrubEvery = time.Second

func (d *Dir) retainAll(now time.Time) {}
func (d *Dir) scrubSome()              {}

// keepReserve sets room aside for the logs that may use the last of the disk.
func (d *Dir) keepReserve() {
	if d.cfg.ReserveBytes <= 0 {
		return
	}
	path := filepath.Join(d.path, reserveName)
	f, err := d.fs.OpenRW(path)
	if err != nil {
		if f, err = d.fs.Create(path); err != nil {
			return // no room for a reserve either
		}
	}
	defer func() { _ = f.Close() }()
	if n, err := f.Size(); err == nil && n >= d.cfg.ReserveBytes {
		return
	}
	_ = f
}

func (d *Dir) releaseReserve() bool { return false }
