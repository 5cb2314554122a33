// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"sync"
)

// Memory bounds what requests take while they are decoded and answered, all
// families together: a weighted semaphore, first come first served in each of
// two lines, so that small claims do not stand behind a large one. Large ones
// may take three quarters of it.
//
// Concurrency: a leaf mutex; waiting is on a channel of the claim.
type Memory struct {
	limit int64

	mu    sync.Mutex // guards what follows
	used  int64
	large int64      // of used
	lines [2][]claim // small and large claims waiting
}

type claim struct {
	n     int64
	ready chan struct{}
}

const (
	// memoryDefault is the bound for a Memory of 0 bytes.
	memoryDefault = 64 << 20
	// freeClaim is not counted: connections are bounded, and each serves one
	// request.
	freeClaim = 16 << 10
	// largeClaim is from where a claim stands in the other line.
	largeClaim = 256 << 10
)

// NewMemory makes a Memory of so many bytes, 64 MiB when 0.
func NewMemory(bytes int64) *Memory {
	if bytes <= 0 {
		bytes = memoryDefault
	}
	return &Memory{limit: bytes}
}

// Short tells whether requests wait for memory, so that connections that hold
// some without any progress should be closed.
func (m *Memory) Short() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.lines[0])+len(m.lines[1]) > 0
}

// most is the largest claim that can ever be met.
func (m *Memory) most() int64 { return m.limit / 4 * 3 }

// fits tells whether a claim of n bytes can ever be met.
func (m *Memory) fits(n int64) bool { return n <= m.most() }

// acquire claims n bytes, waiting while there are not so many. It returns what
// release has to give back.
func (m *Memory) acquire(ctx context.Context, n int64) (int64, error) {
	if n <= freeClaim {
		return 0, nil
	}
	line := 0
	if n > largeClaim {
		line = 1
	}
	m.mu.Lock()
	if len(m.lines[line]) == 0 && m.takeLocked(n) {
		m.mu.Unlock()
		return n, nil
	}
	c := claim{n, make(chan struct{})}
	m.lines[line] = append(m.lines[line], c)
	m.mu.Unlock()
	select {
	case <-c.ready:
		return n, nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, q := range m.lines[line] {
		if q.ready == c.ready {
			m.lines[line] = append(m.lines[line][:i], m.lines[line][i+1:]...)
			m.grantLocked()
			return 0, ctx.Err()
		}
	}
	m.giveLocked(n) // granted just now
	return 0, ctx.Err()
}

func (m *Memory) takeLocked(n int64) bool {
	if m.used+n > m.limit || n > largeClaim && m.large+n > m.limit/4*3 {
		return false
	}
	m.used += n
	if n > largeClaim {
		m.large += n
	}
	return true
}

// release gives back what acquire returned.
func (m *Memory) release(n int64) {
	if n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.giveLocked(n)
}

func (m *Memory) giveLocked(n int64) {
	m.used -= n
	if n > largeClaim {
		m.large -= n
	}
	m.grantLocked()
}

func (m *Memory) grantLocked() {
	for i := range m.lines {
		for len(m.lines[i]) > 0 && m.takeLocked(m.lines[i][0].n) {
			close(m.lines[i][0].ready)
			m.lines[i] = m.lines[i][1:]
		}
	}
}
