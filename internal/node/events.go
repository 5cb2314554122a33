// SPDX-License-Identifier: Apache-2.0

package node

import (
	"log/slog"
	"time"

	"gregor/internal/coord"
	"gregor/internal/storage"
	"gregor/internal/wire"
)

// storageEvents are the lines an operator reads about disks. slog's handlers
// write to a pipe or terminal, which is as little blocking as the events
// allow.
func storageEvents(log *slog.Logger) storage.Events {
	return storage.Events{
		Recovered: func(l *storage.Log, r storage.Recovery) {
			switch {
			case len(r.Damage) > 0 || r.CutBytes > 0:
				log.Warn("log recovered after an unclean stop", "log", l.Name().String(), "end", r.End,
					"scanned_bytes", r.ScannedBytes, "cut_bytes", r.CutBytes, "damaged_places", len(r.Damage))
			default:
				log.Debug("log checked after an unclean stop", "log", l.Name().String(), "end", r.End, "scanned_bytes", r.ScannedBytes)
			}
		},
		Corrupt: func(n storage.Name, c *storage.CorruptError) {
			log.Error("damaged data: it is not served", "log", n.String(), "file", c.Path, "position", c.Pos,
				"offset", c.Offset, "next_good_offset", c.Next, "reason", c.Reason, "set_aside", c.SetAside)
		},
		Rebuilt: func(path, reason string) {
			log.Warn("rebuilt a derived file", "file", path, "reason", reason)
		},
		DirFailed: func(dir string, err error) {
			log.Error("log directory is offline", "dir", dir, "error", err)
		},
		NoSpace: func(dir string, full bool) {
			if full {
				log.Error("disk is full: producers get KAFKA_STORAGE_ERROR and retry, reads go on", "dir", dir)
			} else {
				log.Info("disk has room again", "dir", dir)
			}
		},
	}
}

// coordEvents are the lines about group coordinators.
func coordEvents(log *slog.Logger) coord.Events {
	return coord.Events{
		Loaded: func(p int32, records int64, took time.Duration) {
			log.Debug("group coordinator loaded", "partition", p, "records", records, "took", took)
		},
		LoadFailed: func(p int32, err error) {
			log.Error("group coordinator cannot load its partition", "partition", p, "error", err)
		},
		BadRecord: func(p int32, offset int64, err error) {
			log.Error("unreadable group record was passed over", "partition", p, "offset", offset, "error", err)
		},
		WriteError: func(p int32, err error) {
			log.Warn("group coordinator cannot write", "partition", p, "error", err)
		},
		Note: func(_ int32, n coord.Note) {
			log.Info(n.Text, "group", n.Subject, "member", n.Member, "generation", n.Generation, "reason", n.Reason)
		},
	}
}

// wireEvents are the lines about connections: one for each that was closed
// for what its client sent.
func wireEvents(log *slog.Logger) func(wire.Event) {
	return func(e wire.Event) {
		log.Debug("connection event", "kind", e.Kind, "listener", e.Listener, "remote", e.Remote,
			"client_id", e.ClientID, "key", e.Key, "version", e.Version, "error", e.Err)
	}
}
