// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
	"gregor/internal/wire/peer"
)

const (
	fetchVersion = 17
	// KeyFlushNews is the request that overtakes a parked fetch.
	KeyFlushNews = 32004
	newsTimeout  = 5 * time.Second
)

// Link is one lane to one leader.
type Link struct {
	node          int32
	fetches       *peer.Peer
	news          *peer.Peer
	body, tidings []byte // of the fetch and of the news under way
	answer        replica.FetchAnswer
}

// New makes a lane of the node with the given id. addr tells where the leader
// listens for brokers. c.Timeout is that of a fetch, its wait included.
func New(c peer.Config, node int32, addr func() (string, error)) *Link {
	n := c
	n.Timeout = newsTimeout
	return &Link{node: node, fetches: peer.New(c, addr), news: peer.New(n, addr)}
}

// Fetch meets replica.Source. An error leaves no connection behind, so that
// the leader forgets the session.
func (l *Link) Fetch(ctx context.Context, q *replica.FetchRequest) (*replica.FetchAnswer, error) {
	l.body = appendFetch(l.body[:0], l.node, q)
	a, err := l.fetches.Do(ctx, peer.Request{Key: int16(kmsg.Fetch), Version: fetchVersion, Flexible: true, Body: l.body})
	if err != nil {
		l.fetches.Drop()
		return nil, err
	}
	if err := parseFetch(a.Body, &l.answer); err != nil {
		a.Release()
		l.fetches.Drop()
		return nil, err
	}
	l.answer.Release = a.Release
	return &l.answer, nil
}

// Tell meets replica.Source.
func (l *Link) Tell(ctx context.Context, n *replica.News) ([]int, error) {
	l.tidings = appendNews(l.tidings[:0], l.node, n)
	a, err := l.news.Do(ctx, peer.Request{Key: KeyFlushNews, Flexible: true, Body: l.tidings})
	if err != nil {
		return nil, err
	}
	defer a.Release()
	code, left, err := parseNews(a.Body)
	if err == nil && code != 0 {
		err = fmt.Errorf("news of flushes: %w", kerr.ErrorForCode(code))
	}
	return left, err
}

// Close meets replica.Source.
func (l *Link) Close() {
	l.fetches.Close()
	l.news.Close()
}
