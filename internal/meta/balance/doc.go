// SPDX-License-Identifier: Apache-2.0

// Package balance plans who shall hold and lead which partition: from a
// picture of the cluster it computes reassignments that spread replicas,
// bytes and leaders over brokers and racks. It is pure: the same picture gives
// the same plan. It refuses to know where the picture comes from (a client's
// view, or the controller's Image) and how a plan is carried out.
//
// The steps, each leaving alone what the ones before it reached:
//
//	repair   replicas on brokers that leave or are unknown go elsewhere, and
//	         partitions that could be on more racks are
//	topics   each topic evenly over brokers
//	totals   all replicas evenly over brokers
//	bytes    exchange large partitions for small ones where one disk holds much
//	         more than another
//	leaders  first replicas evenly, by order alone: nothing is copied
//
// Invariants, checked by tests on random clusters:
//   - A partition keeps its number of replicas, each on another broker.
//   - Where a replica goes, the partition is on no fewer racks than before,
//     but where a leaving broker takes the last of its rack along (a Problem
//     says so).
//   - Nobody new is put on a broker that leaves, is fenced or is unknown.
//   - A plan made on the outcome of a plan is empty.
//   - Without racks in the way, each topic and the total differ by at most one
//     replica between two brokers, and no plan moves more replicas than it
//     takes to get there.
package balance

// Broker is one broker.
type Broker struct {
	ID   int32
	Rack string // "" is a rack as well
	// Down brokers keep what they have and get nothing.
	Down bool
	// Leaving brokers hand over all they have.
	Leaving bool
}

// Partition is where one partition is. The slices are not changed.
type Partition struct {
	Topic    string
	Index    int32
	Replicas []int32 // the first is the preferred leader
	Bytes    int64   // of one replica, 0 when unknown
	// Busy partitions are being reassigned already: they count, and stay.
	Busy bool
}

// Cluster is the picture.
type Cluster struct {
	Brokers    []Broker
	Partitions []Partition
}

// Options say how far to go.
type Options struct {
	// RepairOnly stops after the first step, then evens out leaders: what a
	// leaving broker needs, and no more.
	RepairOnly bool
	// LeadersOnly changes orders alone.
	LeadersOnly bool
	// Slack is how far a broker's bytes may be above the mean before
	// partitions are exchanged, in hundredths; 0 means 10.
	Slack int
}

// Move is one partition's new replicas.
type Move struct {
	Topic    string
	Index    int32
	From, To []int32
	Bytes    int64 // to be copied, all new replicas together
}

// Copies is how many replicas have to be copied.
func (m Move) Copies() (n int) {
	for _, r := range m.To {
		if !has(m.From, r) {
			n++
		}
	}
	return n
}

// Share is what one broker holds.
type Share struct {
	Broker   int32
	Replicas int
	Leaders  int // as first replica
	Bytes    int64
}

// Problem is what a plan cannot do, for people to read.
type Problem struct {
	Topic string
	Index int32
	Text  string
}

// Plan is the outcome.
type Plan struct {
	Moves         []Move // by topic and index
	Before, After []Share
	Problems      []Problem
}

// Copies is how many replicas, and bytes, have to be copied.
func (p *Plan) Copies() (replicas int, bytes int64) {
	for _, m := range p.Moves {
		replicas += m.Copies()
		bytes += m.Bytes
	}
	return replicas, bytes
}
