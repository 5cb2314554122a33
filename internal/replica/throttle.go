// SPDX-License-Identifier: Apache-2.0

package replica

import "time"

// Throttle slows the copying of replicas down that are not in sync yet, so
// that those who are keep the network and the disks. A follower leaves a
// throttled partition out of its fetches while what it has copied is not paid
// for; its other partitions go on.
//
// Differs from Kafka: leaders do not hold back as well. A broker that sends to
// several is spared by the rates of those who receive, which Kafka's tools set
// to the same value.
type Throttle struct {
	// Copy notes n bytes that this node has fetched of p, 0 to ask only, and
	// tells how long to fetch no more of it. It must not block. Nil: no limit.
	Copy func(p *Partition, n int) time.Duration
}

func (t *Throttle) copy(p *Partition, n int) time.Duration {
	if t.Copy == nil {
		return 0
	}
	return t.Copy(p, n)
}
