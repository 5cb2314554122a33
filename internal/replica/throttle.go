// SPDX-License-Identifier: Apache-2.0

package replica

import "time"

// Throttle slows the copying of replicas down that are not in sync yet, so
// that those who are keep the network and the disks. A follower leaves a
// throttled partition out of its fetches while what it has copied is not paid
// for; a leader leaves its records out of the answers while what it has sent is
// not. Other partitions go on.
//
// Neither may block. Nil: no limit.
type Throttle struct {
	// Copy notes n bytes that this node has fetched of p, 0 to ask only, and
	// tells how long to fetch no more of it.
	Copy func(p *Partition, n int) time.Duration
	// Send notes n bytes of p that go to a replica, 0 to ask only, and tells
	// how long to send it none.
	Send func(p *Partition, to int32, n int) time.Duration
}

func (t *Throttle) copy(p *Partition, n int) time.Duration {
	if t.Copy == nil {
		return 0
	}
	return t.Copy(p, n)
}

func (t *Throttle) send(p *Partition, to int32, n int) time.Duration {
	if t.Send == nil {
		return 0
	}
	return t.Send(p, to, n)
}
