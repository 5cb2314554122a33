// SPDX-License-Identifier: Apache-2.0

// Package storage keeps logs on disk.
package storage

import (
	"time"

	"gregor/internal/vfs"
)

// DirConfig is the configuration of a Dir. Zero values take the defaults.
type DirConfig struct {
	FS     vfs.FS
	Path   string
	Events Events

	// ClusterID, NodeID go into meta.properties when it is made; when it
	// exists they must be the same (an empty ClusterID accepts any).
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
	ScrubRate          int64         // bytes a second of cold data read again; 0: none
	ReserveBytes       int64         // kept free for logs with LogConfig.Reserve; 0: none
}

// Dir is one log directory.
type Dir struct{}

// OpenDir locks the directory (making and formatting it when it is empty),
// reads what the last clean stop left, and starts the committer.
func OpenDir(cfg DirConfig) (*Dir, error) { panic("unbuilt") }

func (d *Dir) Path() string      { panic("unbuilt") }
func (d *Dir) ID() [16]byte      { panic("unbuilt") } // directory.id
func (d *Dir) ClusterID() string { panic("unbuilt") }
func (d *Dir) NodeID() int32     { panic("unbuilt") }

// Clean says whether the last stop was clean.
func (d *Dir) Clean() bool { panic("unbuilt") }

// PreviousBrokerEpoch is what the last clean stop wrote, or -1.
func (d *Dir) PreviousBrokerEpoch() int64 { panic("unbuilt") }
func (d *Dir) SetBrokerEpoch(e int64)     { panic("unbuilt") }

// Err is nil while the directory is online.
func (d *Dir) Err() error                { panic("unbuilt") }
func (d *Dir) Usage() (vfs.Usage, error) { panic("unbuilt") }

// Logs lists the logs on disk, without those waiting to be removed.
func (d *Dir) Logs() []Name { panic("unbuilt") }

// TopicID tells the id of a log on disk; zero when it has none.
func (d *Dir) TopicID(n Name) ([16]byte, error) { panic("unbuilt") }

// Open opens a log, or makes it when c.Create. After a clean stop it touches
// no file: the first append or read does. After an unclean stop it recovers
// the log. An open log is returned again.
func (d *Dir) Open(n Name, id [16]byte, c LogConfig) (*Log, error) { panic("unbuilt") }

// Recovery tells what opening l found after an unclean stop (zero if clean).
func (l *Log) Recovery() Recovery { panic("unbuilt") }

// Delete removes a log: renamed at once, its bytes after file.delete.delay.ms.
func (d *Dir) Delete(n Name) error { panic("unbuilt") }

// Close stops cleanly: flush, snapshots, indexes, checkpoints, catalogue.
func (d *Dir) Close() error { panic("unbuilt") }

// Abandon stops without writing anything, as a killed process would.
func (d *Dir) Abandon() { panic("unbuilt") }
