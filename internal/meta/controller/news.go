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
//   - One broker is dialled at a time.
//   - A broker that answered is not dialled again for a while, twice as long
//     each time.
//   - A new controller knows no connections: it dials who did not come within
//     half a second.
//
// Pure but for the dialling in probe. Loop-owned by the controller.
type news struct {
	session time.Duration
	conns   map[int32]*line
	closed  []closing
	dialing bool
	first   time.Time // when silent brokers are dialled; zero: done
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
	at    time.Time
}

const (
	newsGrace  = 250 * time.Millisecond
	newsFirst  = 500 * time.Millisecond
	alarmFirst = 5 * time.Second
	alarmMost  = 2 * time.Minute
)

func (n *news) init(session time.Duration) {
	n.session, n.conns = session, map[int32]*line{}
}

func (n *news) lead(now time.Time) {
	clear(n.conns)
	n.closed, n.dialing, n.first = nil, false, now.Add(newsFirst)
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
	if n.dialing {
		return closing{}, false
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

// probe dials whom the news are about, on a goroutine of its own.
func (m *Members) probe(now time.Time) {
	if m.cfg.Dial == nil {
		return
	}
	if n := &m.news; !n.first.IsZero() && !now.Before(n.first) {
		n.first = time.Time{}
		silent := m.sessions.silent()
		if 2*len(silent) <= len(m.sessions.brokers) {
			for _, id := range silent {
				// As if the connection had just been closed, and the grace over.
				epoch := m.sessions.brokers[id].epoch
				if n.conns[id] == nil {
					n.conns[id] = &line{epoch: epoch}
				}
				n.closed = append([]closing{{id, epoch, now.Add(-newsGrace * time.Duration(1+len(n.closed)))}}, n.closed...)
			}
		}
	}
	c, ok := m.news.due(now)
	if !ok {
		return
	}
	b := m.img.Broker(c.id)
	if b == nil || b.Epoch != c.epoch || b.Fenced || b.Stopping {
		return
	}
	m.news.dialing = true
	m.others.Go(func() {
		ctx, cancel := context.WithTimeout(m.ctx, m.news.session/2)
		gone := m.cfg.Dial(ctx, b)
		cancel()
		m.c.post(func() { m.dialed(b, gone) })
	})
}

func (m *Members) dialed(b *meta.Broker, gone bool) {
	m.news.dialing = false
	now := m.img.Broker(b.ID)
	if !m.leading || now == nil || now.Epoch != b.Epoch || now.Fenced {
		return
	}
	if !gone {
		m.news.alarmed(b.ID, time.Now())
		if m.cfg.Events.Alarm != nil {
			m.cfg.Events.Alarm(b.ID)
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
