// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"sync"
	"time"
)

// Limits bound connections; they may be changed while the server runs. Zero
// means no limit, but for MaxPerIP and PerIP: there it closes the door, as
// Kafka's overrides want it.
type Limits struct {
	// MaxConnections is max.connections; at the limit nothing is accepted
	// until a connection closes, but over listeners that are Apart.
	MaxConnections int
	// MaxPerIP and PerIP are max.connections.per.ip and its overrides; one too
	// many is closed.
	MaxPerIP int
	PerIP    map[string]int
	// MaxPerSec is max.connection.creation.rate; more wait in the system's
	// queue.
	MaxPerSec int
	// Listeners are the limits of single listeners, by name; the server's hold
	// beside them.
	Listeners map[string]ListenerLimits
	// Apart are the listeners over which nodes talk: MaxConnections and
	// MaxPerSec do not hold there, so that clients who use them up do not keep
	// replicas from their leader.
	Apart map[string]bool
}

// ListenerLimits bound the connections of one listener.
type ListenerLimits struct{ MaxConnections, MaxPerSec int }

// SetLimits changes the limits in force. Connections above new, lower limits
// stay until they close. The maps are the server's to keep.
func (s *Server) SetLimits(l Limits) {
	s.limits.Store(&l)
	s.mu.Lock()
	s.freedLocked()
	s.mu.Unlock()
}

// freedLocked tells all waiting listeners that there may be room.
func (s *Server) freedLocked() {
	close(s.room)
	s.room = make(chan struct{})
}

// fullLocked tells whether a listener may accept no more for now.
func (s *Server) fullLocked(listener string) bool {
	l := s.limits.Load()
	if l.MaxConnections > 0 && len(s.conns) >= l.MaxConnections && !l.Apart[listener] {
		return true
	}
	own := l.Listeners[listener].MaxConnections
	return own > 0 && s.perListener[listener] >= own
}

// perIPLimit is the most connections that an address may have.
func (s *Server) perIPLimit(ip string) int {
	l := s.limits.Load()
	if n, ok := l.PerIP[ip]; ok {
		return n
	}
	return l.MaxPerIP
}

// pacer spaces events out: after a second's worth at once, one each
// 1/perSecond seconds.
type pacer struct {
	mu   sync.Mutex // guards next
	next time.Time  // when the bucket will be full again
}

// take claims a place and tells how long to wait for it.
func (p *pacer) take(now time.Time, perSecond int) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	each := time.Second / time.Duration(perSecond)
	wait := p.next.Sub(now) - (time.Second - each)
	p.next = p.next.Add(each)
	return max(0, wait)
}

// awaitPace waits until the creation rates of the server and of the listener
// permit another connection; false when the server closes.
func (s *Server) awaitPace(own *pacer, listener string) bool {
	l := s.limits.Load()
	now := time.Now()
	wait := own.take(now, l.Listeners[listener].MaxPerSec)
	if !l.Apart[listener] {
		wait = max(wait, s.pace.take(now, l.MaxPerSec))
	}
	return wait == 0 || s.wait(wait)
}
