// SPDX-License-Identifier: Apache-2.0

package peer

import "sync"

// Pool has a Peer for each node. Leaf mutex around the map.
type Pool struct {
	cfg  Config
	addr func(id int32) (string, error)

	mu     sync.Mutex
	peers  map[int32]*Peer
	closed bool
}

// NewPool makes an empty pool. addr tells where a node listens now.
func NewPool(cfg Config, addr func(id int32) (string, error)) *Pool {
	return &Pool{cfg: cfg, addr: addr, peers: map[int32]*Peer{}}
}

// To returns the Peer of a node. After Close it is one that answers ErrClosed.
func (p *Pool) To(id int32) *Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.peers[id]; q != nil {
		return q
	}
	q := New(p.cfg, func() (string, error) { return p.addr(id) })
	if p.closed {
		close(q.ending)
		q.endOnce.Do(func() {})
		return q
	}
	p.peers[id] = q
	return q
}

// Close ends all connections and waits for their readers.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	all := p.peers
	p.peers = map[int32]*Peer{}
	p.mu.Unlock()
	for _, q := range all {
		q.Close()
	}
}
