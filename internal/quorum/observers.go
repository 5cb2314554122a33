// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"slices"
	"sync"
	"time"

	"gregor/internal/meta"
)

// Observer is a node that pulls the log from this one.
type Observer struct {
	Voter               // without endpoints
	Controller   bool   // it may become a voter
	Index        uint64 // of its log's last entry
	End          int64  // the offset after it
	LastFetch    time.Time
	LastCaughtUp time.Time // it then had all that was committed; zero: never
}

// watch remembers who pulls from this node. Leaf mutex.
type watch struct {
	mu   sync.Mutex
	seen map[uint64]*Observer // by Raft id
}

const (
	// observerGone: who did not pull for so long is an observer no more, as in
	// Kafka.
	observerGone = 5 * time.Minute
	// maxObservers bounds what is remembered; a cluster is smaller.
	maxObservers = 10_000
)

func (w *watch) fetched(q PullRequest, s *served, now time.Time) {
	v := Voter{ID: q.Node, Directory: q.Directory}
	id := v.RaftID()
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.seen[id]
	if o == nil {
		if w.seen == nil {
			w.seen = map[uint64]*Observer{}
		}
		w.forgetLocked(now)
		if len(w.seen) >= maxObservers {
			return
		}
		o = &Observer{Voter: v}
		w.seen[id] = o
	}
	o.Controller, o.Index, o.End, o.LastFetch = q.Controller, q.Index, q.At, now
	if q.Index >= s.index {
		o.LastCaughtUp = now
	}
}

func (w *watch) forgetLocked(now time.Time) {
	for id, o := range w.seen {
		if now.Sub(o.LastFetch) > observerGone {
			delete(w.seen, id)
		}
	}
}

// Observers are the nodes that pull from this one, by id; they are all there
// are where this node leads, since observers prefer the leader.
func (n *Node) Observers() (out []Observer) {
	members := n.Membership()
	w := &n.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgetLocked(time.Now())
	for id, o := range w.seen {
		if _, votes := members.Voter(id); !votes {
			out = append(out, *o)
		}
	}
	slices.SortFunc(out, func(a, b Observer) int {
		if a.ID != b.ID {
			return int(a.ID) - int(b.ID)
		}
		return slices.Compare(a.Directory[:], b.Directory[:])
	})
	return out
}

// Observer finds one by its names.
func (n *Node) Observer(id int32, dir meta.UUID) (Observer, bool) {
	n.watch.mu.Lock()
	defer n.watch.mu.Unlock()
	if o := n.watch.seen[RaftID(id, dir)]; o != nil {
		return *o, true
	}
	return Observer{}, false
}
