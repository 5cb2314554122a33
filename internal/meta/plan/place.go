// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

// placer spreads replicas over racks, then over the brokers of a rack, in
// stripes, as Kafka's StripedReplicaPlacer does:
//
//	racks A (1, 2), B (3), C (4, 5), factor 3, all offsets 0:
//	  partition 0: 1 3 4
//	  partition 1: 3 5 2
//	  partition 2: 4 1 3 ...
//
// Mandatory: no broker twice in a partition, and the first replica is on a
// broker that may lead. Wished, in this order: racks evenly, brokers evenly,
// brokers that are fenced last, and brokers that are drained only where there
// are no others. Brokers without a rack form one rack.
type placer struct {
	racks   []*rack
	drained []int32
	offset  int
	placed  int // since the last shuffle
	all     int
	usable  int
	random  Random
}

type rack struct {
	name           string
	active, fenced stripe
}

// stripe hands out brokers round robin.
type stripe struct {
	ids    []int32
	offset int // where the current partition starts
	taken  int // by the current partition
}

func newPlacer(img *meta.Image, random Random) *placer {
	p := &placer{random: random}
	byName := map[string]*rack{}
	all := true // brokers that are drained are all there are
	for b := range img.Brokers() {
		all = all && (!b.Active() || Draining(img, b.ID))
	}
	for b := range img.Brokers() {
		if cordoned(b) {
			continue // it takes nothing new
		}
		if !all && Draining(img, b.ID) {
			p.drained = append(p.drained, b.ID)
			p.all++
			continue
		}
		r := byName[b.Rack]
		if r == nil {
			r = &rack{name: b.Rack}
			byName[b.Rack] = r
			p.racks = append(p.racks, r)
		}
		p.all++
		// Differs from Kafka: a broker that is stopping counts as if it were gone
		// already, where Kafka refuses a topic that needs all brokers, and clients
		// do not try again, in the moments that it takes to stop.
		if !b.Active() {
			r.fenced.ids = append(r.fenced.ids, b.ID)
		} else {
			r.active.ids = append(r.active.ids, b.ID)
			p.usable++
		}
	}
	slices.SortFunc(p.racks, func(a, b *rack) int { return cmp.Compare(a.name, b.name) })
	p.shuffle()
	return p
}

// shuffle starts the stripes anew at random places, so that a topic of many
// partitions does not repeat the same sets of brokers.
func (p *placer) shuffle() {
	if len(p.racks) == 0 {
		return
	}
	p.offset = intN(p.random, len(p.racks))
	for _, r := range p.racks {
		for _, s := range []*stripe{&r.active, &r.fenced} {
			for i := len(s.ids) - 1; i > 0; i-- {
				j := intN(p.random, i+1)
				s.ids[i], s.ids[j] = s.ids[j], s.ids[i]
			}
			s.offset = 0
		}
	}
	p.placed = 0
}

// check tells why factor replicas cannot be placed.
func (p *placer) check(factor int) error {
	switch {
	case factor <= 0:
		return fail(kerr.InvalidReplicationFactor, "Invalid replication factor %d: the replication factor must be positive.", factor)
	case p.usable == 0:
		return fail(kerr.InvalidReplicationFactor, "All brokers are currently fenced.")
	case factor > p.all:
		return fail(kerr.InvalidReplicationFactor, "The target replication factor of %d cannot be reached because only %d broker(s) are registered.", factor, p.all)
	}
	return nil
}

// place picks the replicas of the next partition; check said that it can.
func (p *placer) place(factor int) []int32 {
	if p.placed >= p.usable && p.usable > 1 {
		p.shuffle()
	}
	p.placed++
	for _, r := range p.racks {
		r.active.taken, r.fenced.taken = 0, 0
	}
	out := make([]int32, 0, factor)
	others := min(factor, p.all-len(p.drained))
	for i := p.offset; len(out) < others; i++ {
		r := p.racks[i%len(p.racks)]
		if b, ok := r.active.next(); ok {
			out = append(out, b)
		} else if len(out) > 0 {
			// Only behind a leader; a rack of fenced brokers is passed over
			// until there is one.
			if b, ok := r.fenced.next(); ok {
				out = append(out, b)
			}
		}
	}
	out = append(out, p.drained[:factor-others]...)
	p.offset = (p.offset + 1) % len(p.racks)
	for _, r := range p.racks {
		r.active.advance()
		r.fenced.advance()
	}
	return out
}

func (s *stripe) next() (int32, bool) {
	if s.taken == len(s.ids) {
		return 0, false
	}
	b := s.ids[(s.offset+s.taken)%len(s.ids)]
	s.taken++
	return b, true
}

// advance makes the next partition start one broker further, if this one took
// any.
func (s *stripe) advance() {
	if s.taken > 0 {
		s.offset = (s.offset + 1) % len(s.ids)
	}
}

// newPartition is the state of a partition that is made now; nil when none of
// its replicas may lead.
func newPartition(img *meta.Image, replicas []int32) *meta.Partition {
	p := &meta.Partition{Replicas: replicas, Dirs: make([]meta.UUID, len(replicas))}
	for i, r := range replicas {
		b := img.Broker(r)
		if b == nil {
			continue
		}
		p.Dirs[i] = defaultDir(b)
		if b.Active() {
			p.ISR = append(p.ISR, r)
		}
	}
	if len(p.ISR) == 0 {
		return nil
	}
	p.Leader = p.ISR[0]
	return p
}

// defaultDir is a broker's only directory; with several the broker chooses and
// tells.
func defaultDir(b *meta.Broker) meta.UUID {
	if len(b.Dirs) == 1 {
		return b.Dirs[0]
	}
	return meta.DirUnassigned
}

// Stripes places n partitions of factor replicas on img's brokers as a new
// topic's would be, for tools that propose.
func Stripes(img *meta.Image, factor, n int, random Random) ([][]int32, error) {
	p := newPlacer(img, random)
	if err := p.check(factor); err != nil {
		return nil, err
	}
	out := make([][]int32, n)
	for i := range out {
		out[i] = p.place(factor)
	}
	return out, nil
}
