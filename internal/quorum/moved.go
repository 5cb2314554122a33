// SPDX-License-Identifier: Apache-2.0

package quorum

import "sync"

// moved tells who waits that another leads, or nobody.
//
// Leaf mutex; next is closed and replaced at each change.
type moved struct {
	mu   sync.Mutex
	next chan struct{}
}

func (m *moved) wait() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == nil {
		m.next = make(chan struct{})
	}
	return m.next
}

func (m *moved) tell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next != nil {
		close(m.next)
	}
	m.next = nil
}

// Moved is closed when Leader may give another answer than it would now.
func (n *Node) Moved() <-chan struct{} { return n.moved.wait() }
