// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/replica"
)

// copying limits what this node copies of replicas that are not in sync, and
// sends to them: by Kafka's throttles (a rate of the broker for the replicas
// that a topic lists), and, while the controller spreads load by itself, by
// gregor.balance.bytes.per.second for replicas that are being added here. In
// sync replicas are never limited: producers may wait for them.
type copying struct {
	n      *Node
	copies budget // follower.replication.throttled.rate
	moves  budget // gregor.balance.bytes.per.second
	sends  budget // leader.replication.throttled.rate
}

func (n *Node) newThrottle() replica.Throttle {
	c := &copying{n: n}
	return replica.Throttle{Copy: c.copy, Send: c.send}
}

// A topic's throttled replicas: those that follow, and those that lead.
const (
	setFollowerThrottled = "follower.replication.throttled.replicas"
	setLeaderThrottled   = "leader.replication.throttled.replicas"
)

// copy meets replica.Throttle.
func (c *copying) copy(p *replica.Partition, n int) time.Duration {
	b := c.n.live.Broker()
	if b.Replica.FollowerRate == config.Unthrottled && !b.Balance.Enabled {
		return 0
	}
	img := c.n.image.Load()
	at := img.Partition(p.Topic(), p.Index())
	switch {
	case at == nil || at.InSync(b.NodeID):
		return 0
	case b.Replica.FollowerRate != config.Unthrottled && throttled(img, setFollowerThrottled, p, b.NodeID):
		return c.copies.spend(n, b.Replica.FollowerRate, time.Now())
	case b.Balance.Enabled && slices.Contains(at.Adding, b.NodeID):
		return c.moves.spend(n, b.Balance.BytesPerSecond, time.Now())
	}
	return 0
}

// send meets replica.Throttle. As in Kafka what goes to replicas that are in
// sync counts too, but only the others wait for it.
func (c *copying) send(p *replica.Partition, to int32, n int) time.Duration {
	b := c.n.live.Broker()
	if b.Replica.LeaderRate == config.Unthrottled {
		return 0
	}
	img := c.n.image.Load()
	at := img.Partition(p.Topic(), p.Index())
	if at == nil || n == 0 && at.InSync(to) || !throttled(img, setLeaderThrottled, p, b.NodeID) {
		return 0
	}
	return c.sends.spend(n, b.Replica.LeaderRate, time.Now())
}

// throttled tells whether the topic's setting lists broker's replica of p.
func throttled(img *meta.Image, setting string, p *replica.Partition, broker int32) bool {
	list, _ := img.Settings(meta.TopicResource, p.Topic()).Get(setting)
	if list == "" {
		return false
	}
	mine := strconv.Itoa(int(p.Index())) + ":" + strconv.Itoa(int(broker))
	for w := range strings.SplitSeq(list, ",") {
		if w = strings.TrimSpace(w); w == "*" || w == mine {
			return true
		}
	}
	return false
}

// budget is what may pass at a rate that may change at any time.
type budget struct {
	mu   sync.Mutex // a leaf
	debt float64    // bytes that have passed and are not paid for
	at   time.Time  // when the debt was that
}

// budgetLook bounds how long a caller may be sent away, so that a rate that was
// raised counts soon.
const budgetLook = time.Second

// spend notes n bytes and tells how long to wait until they are paid for, at
// most budgetLook.
func (b *budget) spend(n int, rate int64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate = max(rate, 1)
	b.debt = max(b.debt-float64(rate)*now.Sub(b.at).Seconds(), 0) + float64(n)
	b.at = now
	if b.debt < 1 {
		return 0
	}
	return max(min(time.Duration(b.debt/float64(rate)*float64(time.Second)), budgetLook), time.Millisecond)
}
