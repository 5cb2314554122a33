// SPDX-License-Identifier: Apache-2.0

package partition

import "gregor/internal/invariant"

// Follower is one partition's state while another node leads it, for one
// leader epoch.
type Follower struct {
	durable bool
	end     int64
	flushed int64
	hw      int64
	leader  int64 // the leader's high watermark, as last heard
}

// Follow begins to follow with a log that ends at end, durable up to flushed.
func Follow(durable bool, end, flushed, hw int64) *Follower {
	return &Follower{durable: durable, end: end, flushed: min(flushed, end), hw: min(hw, end)}
}

// Wrote tells of the follower's own log.
func (f *Follower) Wrote(end, flushed int64) Effects {
	f.end = max(f.end, end)
	f.flushed = max(f.flushed, min(flushed, f.end))
	return f.advance()
}

// Heard tells the leader's high watermark. The follower's own is that, as far
// as its log goes.
func (f *Follower) Heard(leaderHW int64) Effects {
	f.leader = max(f.leader, leaderHW)
	return f.advance()
}

// Configure changes the rule by which the log counts.
func (f *Follower) Configure(durable bool) Effects {
	f.durable = durable
	return f.advance()
}

// Diverged tells where to cut the log when the leader answers that epoch, the
// last that both may have, ends at leaderEnd there; ownEpoch and ownEnd are
// this log's answer for it, both negative when it knows none so old. again: the
// follower does not know that epoch, so after the cut it has to ask once more.
func (f *Follower) Diverged(epoch int32, leaderEnd int64, ownEpoch int32, ownEnd int64) (cut int64, again bool) {
	if ownEpoch < 0 || ownEnd < 0 {
		return min(leaderEnd, f.end), true
	}
	if ownEpoch != epoch {
		return min(ownEnd, leaderEnd, f.end), true
	}
	return min(ownEnd, leaderEnd, f.end), false
}

// Truncated tells that the log is about to be cut to end at to. A high
// watermark above to was known only here, from a leader that had it from
// replicas which elected another in the meantime.
func (f *Follower) Truncated(to int64) Effects {
	invariant.Holds(to <= f.end, "truncated to %d past the log end %d", to, f.end)
	f.end = to
	f.flushed = min(f.flushed, to)
	f.hw = min(f.hw, to)
	return Effects{HW: f.hw}
}

// Restarted tells that the log is about to be emptied and to go on at start:
// the leader has nothing below it.
func (f *Follower) Restarted(start int64) Effects {
	f.end, f.flushed, f.hw = start, start, start
	return Effects{HW: f.hw}
}

// Started tells that the leader's log begins at start, at most this log's end.
// What lies below was committed.
func (f *Follower) Started(start int64) Effects {
	start = min(start, f.end)
	if start <= f.hw {
		return Effects{HW: f.hw}
	}
	f.hw = start
	return Effects{HW: start, Wake: true}
}

// HW is the high watermark as far as it is known here.
func (f *Follower) HW() int64 { return f.hw }

// End is where the log ends.
func (f *Follower) End() int64 { return f.end }

// Lag is by how many records the log is behind the leader's high watermark.
func (f *Follower) Lag() int64 { return max(0, f.leader-f.end) }

// Flushed is the end of what is on the disk, and was so since the last cut.
func (f *Follower) Flushed() int64 { return f.flushed }

func (f *Follower) advance() Effects {
	to := min(f.leader, f.position())
	if to <= f.hw {
		return Effects{HW: f.hw}
	}
	f.hw = to
	return Effects{HW: to, Wake: true}
}

func (f *Follower) position() int64 {
	if f.durable {
		return f.flushed
	}
	return f.end
}
