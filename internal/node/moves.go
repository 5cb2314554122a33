// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math"

	"gregor/internal/replica"
	"gregor/internal/storage"
)

// moveEvents go with moves of logs between directories: nothing is compacted
// away while a log is copied, and its place in the cleaner's checkpoint goes
// along with it.
func (n *Node) moveEvents() replica.MoveEvents {
	log := n.logs.Logger(logStorage)
	return replica.MoveEvents{
		Begins: func(l *storage.Log) {
			if c := n.compaction.Load(); c != nil {
				c.cleaner.Pause(l.Dir().Path(), l.Name())
			}
		},
		Ended: func(l, to *storage.Log, err error) {
			from, name := l.Dir().Path(), l.Name()
			if c := n.compaction.Load(); c != nil {
				if to != nil {
					if err := c.cleaner.Moved(name, from, to.Dir().Path()); err != nil {
						log.Warn("cleaning of a moved log begins at the start again", "log", name.String(), "error", err)
					}
				}
				c.cleaner.Resume(from, name)
			}
			switch {
			case to != nil:
				n.homesIn.Store(nil) // the next heartbeat tells the controller
				log.Info("log moved", "log", name.String(), "from", from, "to", to.Dir().Path())
			case err == nil:
				log.Info("move of a log was given up", "log", name.String(), "dir", from)
			}
			if err != nil {
				log.Error("log cannot be moved as asked", "log", name.String(), "from", from, "error", err)
			}
		},
		Superseded: func(dir string, name storage.Name) {
			log.Info("an old copy of a moved log was deleted", "dir", dir, "log", name.String())
		},
		Threads: func() int { return n.live.Broker().Replica.AlterDirThreads },
		BytesPerSecond: func() int64 {
			if r := n.live.Broker().Replica.AlterDirBytesPerSecond; r < math.MaxInt64 {
				return max(r, 1) // 0 would be no limit
			}
			return 0
		},
	}
}
