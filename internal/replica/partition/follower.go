// SPDX-License-Identifier: Apache-2.0

package partition

import "gregor/internal/invariant"

// Follower is one partition's state while another node leads it.
type Follower struct {
	durable bool
	end     int64
	flushed int64
	hw      int64
}

// Follow begins to follow with a log that ends at end, durable up to flushed.
func Follow(durable bool, end, flushed, hw int64) *Follower {
	return &Follower{durable: durable, end: end, flushed: flushed, hw: min(hw, end)}
}

// Wrote tells of the follower's own log.
func (f *Follower) Wrote(end, flushed int64) {
	f.end, f.flushed = max(f.end, end), max(f.flushed, flushed)
}

// Heard tells the leader's high watermark. The follower's own is that, as far
// as its log goes.
func (f *Follower) Heard(leaderHW int64) Effects {
	to := min(leaderHW, f.position())
	if to <= f.hw {
		return Effects{HW: f.hw}
	}
	f.hw = to
	return Effects{HW: to, Wake: true}
}

// Diverged tells where to cut the log when the leader answers that epoch, the
// last that both may have, ends at leaderEnd there; ownEpoch and ownEnd are
// this log's answer for it. again: the follower does not know that epoch, so
// after the cut it has to ask once more.
func (f *Follower) Diverged(epoch int32, leaderEnd int64, ownEpoch int32, ownEnd int64) (cut int64, again bool) {
	if ownEpoch != epoch {
		return min(ownEnd, f.end), true
	}
	return min(ownEnd, leaderEnd, f.end), false
}

// Truncated tells that the log was cut to end at to. What is committed is
// never cut: a high watermark above to was known only here, from a leader that
// had it from replicas which elected another in the meantime.
func (f *Follower) Truncated(to int64) Effects {
	invariant.Holds(to <= f.end, "truncated to %d past the log end %d", to, f.end)
	f.end = to
	f.flushed = min(f.flushed, to)
	f.hw = min(f.hw, to)
	return Effects{HW: f.hw}
}

// HW is the high watermark as far as it is known here.
func (f *Follower) HW() int64 { return f.hw }

func (f *Follower) position() int64 {
	if f.durable {
		return f.flushed
	}
	return f.end
}
