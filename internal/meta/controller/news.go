// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	"gregor/internal/meta"
)

// news is what closed heartbeat connections tell. A process that dies takes its
// connections with it, long before its session ends; but a connection may end
// for other reasons, and a broker must not be fenced for a blip. So the close
// is only a reason to dial: a host that refuses the connection has no such
// process any more, and the broker is fenced at once. Any other outcome waits
// for the session. The rules around it:
//
//   - Only the connection that carried the last heartbeat of the broker's
//     present epoch counts, and only of a broker that is not stopping.
//   - A heartbeat within the grace (over another connection) ends the matter.
//   - When more than half of the connections closed within the grace, and there
//     was more than one, it is the network or this node: nobody is dialled.
//   - A few are dialled at a time.
//   - A broker that answered is not dialled again for a while, twice as long
//     each time.
//   - A new controller knows no connections. It dials at once who led before,
//     which was the controller too and is most likely why there is a new one,
//     and then who did not come within a moment, as soon as most have come.
//
// Pure but for the dialling in probe. Loop-owned by the controller.
type news struct {
	session time.Duration
	conns   map[int32]*line
	closed  []closing
	missing []closing // of a new controller: to be dialled, without a grace
	dialing int
	first   time.Time // when who is silent is dialled; zero: done
}

// line is a broker's heartbeat connection.
type line struct {
	epoch int64
	conn  any // identity; nil: it is closed
	quiet time.Time
	alarm time.Duration // how long quiet lasts next
}

type closing struct {
	id    int32
	epoch int64
	at    time.Time // zero: no connection was closed, none was ever known
}

const (
	newsGrace  = 100 * time.Millisecond
	newsFirst  = 100 * time.Millisecond
	newsDials  = 8
	alarmFirst = 5 * time.Second
	alarmMost  = 2 * time.Minute
)

func (n *news) init(session time.Duration) {
	n.session, n.conns = session, map[int32]*line{}
}

func (n *news) lead(now time.Time) {
	clear(n.conns)
	n.closed, n.missing, n.first = nil, nil, now.Add(newsFirst)
}

// miss has a broker dialled that this controller has not heard of.
func (n *news) miss(id int32, epoch int64) {
	if n.conns[id] == nil {
		n.conns[id] = &line{epoch: epoch}
		n.missing = append(n.missing, closing{id: id, epoch: epoch})
	}
}

// call has the silent among so many brokers dialled, once, when it is time and
// they are not most of all: then it is the network, or this node.
func (n *news) call(silent func() []int32, epoch func(int32) int64, brokers int, now time.Time) {
	if n.first.IsZero() || now.Before(n.first) {
		return
	}
	ids := silent()
	if 2*len(ids) > brokers {
		return
	}
	n.first = time.Time{}
	for _, id := range ids {
		n.miss(id, epoch(id))
	}
}

// beat notes over which connection a heartbeat came.
func (n *news) beat(id int32, epoch int64, conn any) {
	l := n.conns[id]
	if l == nil {
		l = &line{}
		n.conns[id] = l
	}
	if l.epoch != epoch {
		l.epoch, l.quiet, l.alarm = epoch, time.Time{}, 0
	}
	l.conn = conn
}

// close notes that a connection ended; false where it is not the one that
// counts.
func (n *news) close(id int32, epoch int64, conn any, now time.Time) bool {
	l := n.conns[id]
	if l == nil || l.epoch != epoch || l.conn != conn {
		return false
	}
	l.conn = nil
	n.closed = append(n.closed, closing{id, epoch, now})
	return true
}

// due takes the next broker to be dialled, false where there is none.
func (n *news) due(now time.Time) (closing, bool) {
	if n.dialing >= newsDials {
		return closing{}, false
	}
	for len(n.missing) > 0 {
		c := n.missing[0]
		n.missing = n.missing[1:]
		if l := n.conns[c.id]; l != nil && l.conn == nil && l.epoch == c.epoch {
			return c, true
		}
	}
	for len(n.closed) > 0 && now.Sub(n.closed[0].at) >= newsGrace {
		c := n.closed[0]
		together := 0
		for _, o := range n.closed {
			if o.at.Sub(c.at) < newsGrace {
				together++
			}
		}
		n.closed = n.closed[1:]
		if together > 1 && 2*together > len(n.conns) {
			n.closed = n.closed[together-1:]
			continue
		}
		l := n.conns[c.id]
		if l == nil || l.conn != nil || l.epoch != c.epoch || now.Before(l.quiet) {
			continue
		}
		return c, true
	}
	return closing{}, false
}

// alarmed: the broker is there.
func (n *news) alarmed(id int32, now time.Time) {
	l := n.conns[id]
	if l == nil {
		return
	}
	l.alarm = min(max(2*l.alarm, alarmFirst), alarmMost)
	l.quiet = now.Add(l.alarm)
}

// Connected tells over which connection a broker's heartbeat came: conn is
// compared only. As part of a Decision.
func (m *Members) Connected(id int32, epoch int64, conn any) { m.news.beat(id, epoch, conn) }

// Disconnected tells that a heartbeat connection ended, from any goroutine.
func (m *Members) Disconnected(id int32, epoch int64, conn any) {
	m.c.post(func() {
		if m.news.close(id, epoch, conn, time.Now()) {
			m.sessions.disconnected(id, epoch)
		}
	})
}

// probe dials whom the news are about, on goroutines of their own.
func (m *Members) probe(now time.Time) {
	if m.cfg.Dial == nil {
		return
	}
	m.news.call(m.sessions.silent, func(id int32) int64 { return m.sessions.brokers[id].epoch }, len(m.sessions.brokers), now)
	for {
		c, ok := m.news.due(now)
		if !ok {
			return
		}
		b := m.img.Broker(c.id)
		if b == nil || b.Epoch != c.epoch || b.Fenced || b.Stopping {
			continue
		}
		m.news.dialing++
		m.others.Go(func() {
			ctx, cancel := context.WithTimeout(m.ctx, m.news.session/2)
			gone := m.cfg.Dial(ctx, b)
			cancel()
			m.c.post(func() { m.dialed(b, gone, !c.at.IsZero()) })
		})
	}
}

// dialed takes the outcome of a dial; closed: a connection was closed before it.
func (m *Members) dialed(b *meta.Broker, gone, closed bool) {
	m.news.dialing--
	now := m.img.Broker(b.ID)
	if !m.leading {
		return
	}
	m.probe(time.Now())
	if now == nil || now.Epoch != b.Epoch || now.Fenced {
		return
	}
	if !gone {
		if closed {
			m.alarm(b.ID)
		}
		return
	}
	m.fence("FenceRefusingBroker", true, func() []int32 {
		if l := m.news.conns[b.ID]; l != nil && l.conn != nil {
			return nil // it was heard of meanwhile
		}
		return []int32{b.ID}
	})
}

func (m *Members) alarm(id int32) {
	m.news.alarmed(id, time.Now())
	if m.cfg.Events.Alarm != nil {
		m.cfg.Events.Alarm(id)
	}
}
