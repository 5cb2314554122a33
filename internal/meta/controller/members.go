// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"
	"time"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// MembersConfig says how the controller keeps the brokers.
type MembersConfig struct {
	// Env is what plan decides with; its Heard is filled in.
	Env plan.Env
	// Session is broker.session.timeout.ms.
	Session time.Duration
	// Rebalance is leader.imbalance.check.interval.seconds, 0 where
	// auto.leader.rebalance.enable is off. Read at each check.
	Rebalance func() time.Duration
	// Before is the node that led before this one, -1: not known.
	Before func() int32
	// Dial tells whether a broker's process is gone for sure: its host answers
	// and refuses the connection. Nil: never asked.
	Dial func(ctx context.Context, b *meta.Broker) (gone bool)
	// Events tell an operator; any may be nil. Called on the controller's loop.
	Events MemberEvents
}

// MemberEvents tell what became of brokers.
type MemberEvents struct {
	// Fenced: brokers were taken out of service because of silence, or (Refused)
	// because their hosts refuse connections.
	Fenced func(ids []int32, refused bool)
	// Alarm: a heartbeat connection was closed, but the broker is there.
	Alarm func(id int32)
	// Preferred leaders were elected.
	Preferred func(partitions int)
}

// maxElections bounds the partitions of one round of elections nobody asked
// for, so that other decisions come in between.
const maxElections = 1000

// Members keeps the brokers of a cluster while this node is the active
// controller: their sessions, the news of closed connections, leaders that go
// back to the first replica. Decisions are plan's.
//
// Shape: the state below belongs to the controller's loop, but for what mu
// guards; the goroutine that ticks and dials ends with Close.
type Members struct {
	cfg MembersConfig
	c   *Controller

	sessions *sessions
	news     news
	leading  bool
	img      *meta.Image // the newest committed
	sweeping bool        // a decision on expired sessions is under way
	settling bool        // one on what R4 put off
	checked  time.Time   // leaders, last
	ticked   time.Time   // last

	stop   context.CancelFunc
	ctx    context.Context
	others sync.WaitGroup
}

// NewMembers makes the keeper and ties it to c, which is not started yet.
func NewMembers(c *Controller, cfg MembersConfig) *Members {
	m := &Members{cfg: cfg, c: c, sessions: newSessions(cfg.Session), img: meta.Empty()}
	m.news.init(cfg.Session)
	m.cfg.Env.Heard = func(id int32) bool { return m.sessions.heard(id, time.Now()) }
	m.cfg.Env.Await = func(id int32) { m.sessions.awaited[id] = true }
	m.cfg.Env.Awaited = func(id int32) bool { return m.sessions.awaited[id] }
	m.ctx, m.stop = context.WithCancel(context.Background())
	c.members = m
	return m
}

// Env is what decisions are made with on the controller's loop.
func (m *Members) Env() plan.Env { return m.cfg.Env }

// Start begins to look at the clock.
func (m *Members) Start() { m.others.Go(m.watch) }

// Close ends the goroutines; the controller is closed first.
func (m *Members) Close() {
	m.stop()
	m.others.Wait()
}

// tickEvery is how often sessions are looked at; more than stall between two
// looks means that this process was stopped, or starved.
const (
	tickEvery = 50 * time.Millisecond
	stall     = 250 * time.Millisecond
)

// watch ticks while this node leads.
func (m *Members) watch() {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-t.C:
			if m.c.Active() {
				m.c.post(func() { m.tick(time.Now()) })
			}
		}
	}
}

// The next four are called on the controller's loop.

func (m *Members) lead(img *meta.Image) {
	now := time.Now()
	before := int32(-1)
	if m.cfg.Before != nil {
		before = m.cfg.Before()
	}
	m.leading, m.img, m.sweeping, m.settling, m.checked, m.ticked = true, img, false, false, now, now
	m.sessions.lead(img, before, now)
	m.news.lead(now)
	if x := m.sessions.brokers[before]; x != nil {
		m.news.miss(before, x.epoch)
	}
	m.probe(now)
}

func (m *Members) committed(img *meta.Image) {
	old := m.img
	m.img = img
	if m.leading && !img.SameBrokers(old) {
		now := time.Now()
		m.sessions.follow(img, now, now)
	}
}

func (m *Members) retire() { m.leading = false }

func (m *Members) tick(now time.Time) {
	if !m.leading {
		return
	}
	if gap := now.Sub(m.ticked); gap > stall {
		// It was this node that was away: heartbeats lie unread.
		m.sessions.extend(gap)
	}
	m.ticked = now
	if ids := m.sessions.expired(now); len(ids) > 0 && !m.sweeping {
		m.sweeping = true
		m.fence("FenceSilentBrokers", false, func() []int32 { return m.sessions.expired(time.Now()) })
	}
	m.probe(now)
	if m.cfg.Rebalance == nil {
		return
	}
	if every := m.cfg.Rebalance(); every > 0 && now.Sub(m.checked) >= every {
		m.checked = now
		m.prefer()
	}
}

// fence has brokers fenced; which is asked when it is decided.
func (m *Members) fence(name string, refused bool, which func() []int32) {
	m.c.enqueue(name, func(img *meta.Image) ([]meta.Record, error) {
		m.sweeping = false
		ids := which()
		records := plan.FenceBrokers(img, ids, m.cfg.Env)
		if len(records) > 0 && m.cfg.Events.Fenced != nil {
			m.cfg.Events.Fenced(ids, refused)
		}
		return records, nil
	})
}

// settle makes up for what was put off, in rounds.
func (m *Members) settle() {
	if m.settling {
		return
	}
	m.settling = true
	m.c.enqueue("Settle", func(img *meta.Image) ([]meta.Record, error) {
		m.settling = false
		records, more := plan.Settle(img, maxElections, m.cfg.Env)
		if more {
			m.settle()
		}
		return records, nil
	})
}

// Review has the partitions without a leader looked at again, because a setting
// changed. On the controller's loop.
func (m *Members) Review() { m.settle() }

func (m *Members) prefer() {
	m.c.enqueue("PreferLeaders", func(img *meta.Image) ([]meta.Record, error) {
		records, more := plan.PreferLeaders(img, maxElections, m.cfg.Env)
		if more {
			m.prefer()
		}
		if len(records) > 0 && m.cfg.Events.Preferred != nil {
			m.cfg.Events.Preferred(len(records))
		}
		return records, nil
	})
}

// Beat decides on a heartbeat, as part of a Decision.
func (m *Members) Beat(img *meta.Image, b plan.Beat) ([]meta.Record, plan.Pulse, error) {
	now := time.Now()
	if m.sessions.beat(b.Broker, b.Epoch, b.Applied, now) {
		m.settle()
	}
	return plan.Heartbeat(img, b, m.sessions.settled(b.Broker), m.cfg.Env)
}
