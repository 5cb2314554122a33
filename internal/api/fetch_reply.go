// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/binary"
	"time"

	"gregor/internal/wire"
)

// reply encodes the response, without records, and lays the records between.
func (s *fetched) reply() wire.Reply {
	q := &s.q
	var sessionID int32
	switch {
	case s.failure != 0:
	case s.follow != nil:
		s.tellFollower()
		sessionID = s.follow.id
	case s.session != nil:
		sessionID = s.session.id
		if err := s.session.told(q.sessionEpoch, s.parts); err != nil {
			s.failure = codeOf(err)
			s.drop()
			s.parts = s.parts[:0]
		}
	case q.version >= 7 && q.sessionEpoch == initialEpoch:
		if made := s.f.cfg.Sessions.create(time.Now(), false, q.version >= 13, s.parts); made != nil {
			sessionID = made.id
		}
	}
	flexible := q.version >= 12
	b := put32(s.body, 0) // throttle time
	if q.version >= 7 {
		b = put16(b, s.failure)
		b = put32(b, sessionID)
	}
	// Partitions of one topic that follow each other stand under one heading.
	topics := 0
	last := -1
	for i := range s.parts {
		if s.parts[i].omit {
			continue
		}
		if last < 0 || !s.sameTopic(last, i) {
			topics++
		}
		last = i
	}
	b = putArray(b, flexible, topics)
	for i := 0; i < len(s.parts); {
		if s.parts[i].omit {
			i++
			continue
		}
		n, end := 0, i
		for ; end < len(s.parts) && (s.parts[end].omit || s.sameTopic(i, end)); end++ {
			if !s.parts[end].omit {
				n++
			}
		}
		if q.version >= 13 {
			b = append(b, s.parts[i].key.id[:]...)
		} else {
			b = putString(b, flexible, s.parts[i].key.topic)
		}
		b = putArray(b, flexible, n)
		for ; i < end; i++ {
			if !s.parts[i].omit {
				b = s.encode(b, i)
			}
		}
		if flexible {
			b = append(b, 0)
		}
	}
	if q.version >= 16 {
		b = putEndpoints(b, s.leaders)
	} else if flexible {
		b = append(b, 0)
	}
	s.body = b
	return s.lay(flexible)
}

func (s *fetched) sameTopic(i, j int) bool {
	a, b := &s.parts[i].key, &s.parts[j].key
	return a.id == b.id && a.topic == b.topic
}

func (s *fetched) encode(b []byte, i int) []byte {
	p, v := &s.parts[i], s.q.version
	r := &p.read
	flexible := v >= 12
	b = put32(b, p.key.index)
	b = put16(b, p.code)
	b = put64(b, r.HighWatermark)
	b = put64(b, r.LastStable)
	if v >= 5 {
		b = put64(b, r.LogStart)
	}
	switch {
	case s.isolation() == ReadCommitted:
		b = putArray(b, flexible, len(r.Aborted))
		for _, t := range r.Aborted {
			b = put64(b, t.ProducerID)
			b = put64(b, t.FirstOffset)
			if flexible {
				b = append(b, 0)
			}
		}
	case flexible:
		b = append(b, 0)
	default:
		b = put32(b, -1)
	}
	if v >= 11 {
		b = put32(b, r.PreferredReplica)
	}
	if flexible {
		b = binary.AppendUvarint(b, uint64(r.Slice.N+1))
	} else {
		b = put32(b, int32(r.Slice.N))
	}
	if r.Slice.N > 0 {
		s.cuts = append(s.cuts, fetchCut{len(b), i})
		switch m := s.f.cfg.Metrics; {
		case m == nil:
		case s.q.replica >= 0:
			m.Replicated(p.partition.Topic(), r.Slice.N)
		default:
			m.Fetched(p.partition.Topic(), r.Slice.N)
		}
	}
	if !flexible {
		return b
	}
	tags := 0
	if r.Diverging != nil {
		tags++
	}
	if p.leader >= 0 {
		tags++
	}
	if p.end >= 0 {
		tags++
	}
	b = append(b, byte(tags))
	if r.Diverging != nil {
		b = append(b, 0, 13)
		b = put32(b, r.Diverging.Epoch)
		b = put64(b, r.Diverging.End)
		b = append(b, 0)
	}
	if p.leader >= 0 {
		b = putLeader(b, 1, s.leaders[p.leader])
	}
	if p.end >= 0 {
		b = binary.AppendUvarint(b, tagLogEnd)
		b = append(b, 8)
		b = put64(b, p.end)
	}
	return b
}

// lay makes the reply: body up to the first records, then records and the
// body's other pieces in turn.
func (s *fetched) lay(flexible bool) wire.Reply {
	reply := wire.Reply{Flexible: flexible, Owner: s}
	if len(s.cuts) == 0 {
		reply.Body = s.body
		return reply
	}
	reply.Body = s.body[:s.cuts[0].at]
	for i, cut := range s.cuts {
		s.out = append(s.out, s.parts[cut.part].read.Slice)
		end := len(s.body)
		if i+1 < len(s.cuts) {
			end = s.cuts[i+1].at
		}
		if end > cut.at {
			s.out = append(s.out, wire.Part{Bytes: s.body[cut.at:end]})
		}
	}
	reply.Parts = s.out
	return reply
}
