// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"time"

	"gregor/internal/meta"
)

// sessions is what the active controller knows of brokers beyond the Image:
// when each was heard of, and what it said. Nothing of it is written down: a
// new controller begins with full sessions and is told anew.
//
//	heard of        |<-- heard -->|              |
//	                |<-------- session --------->| expired
//
// A broker counts as heard of for half a session, or until its connection ends.
// After that it is not fenced yet, but nothing is decided that depends on it
// being alive (plan, R4).
//
// Pure: now is an argument. Loop-owned by the controller.
type sessions struct {
	timeout time.Duration
	brokers map[int32]*session
	// awaited are brokers whose next heartbeat a decision depends on, because
	// the last may be from before others died (plan, R4).
	awaited map[int32]bool
}

type session struct {
	epoch    int64
	last     time.Time // zero: not heard of by this controller
	cut      bool      // the connection of the last heartbeat has ended
	deadline time.Time
	applied  int64 // the version that the broker says it has applied
	stopping int64 // the version with which it began to stop, 0: it does not
}

func newSessions(timeout time.Duration) *sessions {
	return &sessions{timeout: timeout, brokers: map[int32]*session{}, awaited: map[int32]bool{}}
}

// lead begins anew: every broker in service has a full session. The node that
// led before was silent for long enough to lose that; it gets half of one.
func (s *sessions) lead(img *meta.Image, before int32, now time.Time) {
	clear(s.brokers)
	clear(s.awaited)
	s.follow(img, time.Time{}, now)
	if b := s.brokers[before]; b != nil {
		b.deadline = now.Add(s.timeout / 2)
	}
}

// follow drops the sessions of brokers that are fenced or gone, and begins
// those of brokers that came into service, which counts as heard of at last.
func (s *sessions) follow(img *meta.Image, last, now time.Time) {
	for id, x := range s.brokers {
		if b := img.Broker(id); b == nil || b.Fenced || b.Epoch != x.epoch {
			delete(s.brokers, id)
			delete(s.awaited, id)
		}
	}
	for b := range img.Brokers() {
		switch x := s.brokers[b.ID]; {
		case b.Fenced:
		case x == nil:
			s.brokers[b.ID] = &session{epoch: b.Epoch, last: last, deadline: now.Add(s.timeout)}
		case b.Stopping && x.stopping == 0:
			x.stopping = img.Version()
		}
	}
}

// beat notes a heartbeat of a broker in service and tells whether it had not
// been heard of for a while, or was waited for.
func (s *sessions) beat(id int32, epoch, applied int64, now time.Time) (back bool) {
	x := s.brokers[id]
	if x == nil || x.epoch != epoch {
		return false
	}
	back = !s.heard(id, now) || s.awaited[id]
	delete(s.awaited, id)
	x.last, x.cut, x.deadline, x.applied = now, false, now.Add(s.timeout), max(x.applied, applied)
	return back
}

// disconnected notes that the connection of a broker's last heartbeat ended.
func (s *sessions) disconnected(id int32, epoch int64) {
	if x := s.brokers[id]; x != nil && x.epoch == epoch {
		x.cut = true
	}
}

// heard tells whether a broker was heard of lately.
func (s *sessions) heard(id int32, now time.Time) bool {
	x := s.brokers[id]
	return x != nil && !x.cut && !x.last.IsZero() && now.Sub(x.last) < s.timeout/2
}

// extend gives every session so much longer.
func (s *sessions) extend(by time.Duration) {
	for _, x := range s.brokers {
		x.deadline = x.deadline.Add(by)
	}
}

// expired are the brokers whose sessions are over, in order.
func (s *sessions) expired(now time.Time) []int32 {
	var ids []int32
	for id, x := range s.brokers {
		if !now.Before(x.deadline) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// settled tells whether every broker in service that does not stop itself has
// applied the version with which id began to stop.
func (s *sessions) settled(id int32) bool {
	x := s.brokers[id]
	if x == nil || x.stopping == 0 {
		return false
	}
	for other, o := range s.brokers {
		if other != id && o.stopping == 0 && o.applied < x.stopping {
			return false
		}
	}
	return true
}

// silent are the brokers not heard of by this controller yet, in order.
func (s *sessions) silent() []int32 {
	var ids []int32
	for id, x := range s.brokers {
		if x.last.IsZero() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
