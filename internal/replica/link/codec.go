// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/binary"
	"errors"

	"gregor/internal/replica"
)

// The tags of ours; api has the other end.
const (
	tagFlushed = 10000 // request, a partition's: flushed int64 · cut int64
	tagLogEnd  = 10000 // answer, a partition's: the leader's log end, int64
)

var errMalformed = errors.New("link: malformed answer")

func put32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func put64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }
func putLen(b []byte, n int) []byte  { return binary.AppendUvarint(b, uint64(n+1)) }

// appendFetch writes a Fetch request's body.
func appendFetch(b []byte, node int32, q *replica.FetchRequest) []byte {
	b = put32(b, int32(min(q.MaxWait.Milliseconds(), 1<<31-1)))
	b = put32(b, int32(q.MinBytes))
	b = put32(b, int32(q.MaxBytes))
	b = append(b, 0) // read uncommitted: a replica reads up to the log end anyhow
	b = put32(b, q.Session)
	b = put32(b, q.SessionEpoch)
	b = putLen(b, runs(q.Partitions, func(p *replica.FetchPartition) *[16]byte { return &p.Topic }))
	for i := 0; i < len(q.Partitions); {
		n := run(q.Partitions[i:], func(p *replica.FetchPartition) *[16]byte { return &p.Topic })
		b = append(b, q.Partitions[i].Topic[:]...)
		b = putLen(b, n)
		for _, p := range q.Partitions[i : i+n] {
			b = put32(b, p.Index)
			b = put32(b, p.LeaderEpoch)
			b = put64(b, p.From)
			b = put32(b, p.LastEpoch)
			b = put64(b, p.Start)
			b = put32(b, p.MaxBytes)
			b = append(b, 1)
			b = binary.AppendUvarint(b, tagFlushed)
			b = append(b, 16)
			b = put64(b, p.Flushed)
			b = put64(b, p.Cut)
		}
		b = append(b, 0)
		i += n
	}
	b = putLen(b, runs(q.Forgotten, func(p *replica.PartitionID) *[16]byte { return &p.Topic }))
	for i := 0; i < len(q.Forgotten); {
		n := run(q.Forgotten[i:], func(p *replica.PartitionID) *[16]byte { return &p.Topic })
		b = append(b, q.Forgotten[i].Topic[:]...)
		b = putLen(b, n)
		for _, p := range q.Forgotten[i : i+n] {
			b = put32(b, p.Index)
		}
		b = append(b, 0)
		i += n
	}
	b = append(b, 1)        // no rack
	b = append(b, 1, 1, 13) // one tag, number 1, 13 bytes: the replica's state
	b = put32(b, node)
	b = put64(b, q.BrokerEpoch)
	return append(b, 0)
}

// run is how many of the first elements are of one topic; runs counts runs.
func run[T any](s []T, topic func(*T) *[16]byte) int {
	n := 1
	for n < len(s) && *topic(&s[n]) == *topic(&s[0]) {
		n++
	}
	return n
}

func runs[T any](s []T, topic func(*T) *[16]byte) int {
	k := 0
	for i := 0; i < len(s); i += run(s[i:], topic) {
		k++
	}
	return k
}

// appendNews writes a FlushNews request's body.
func appendNews(b []byte, node int32, n *replica.News) []byte {
	b = put32(b, node)
	b = put64(b, n.BrokerEpoch)
	b = put32(b, n.Session)
	b = put32(b, n.SessionEpoch)
	topic := func(e *replica.FlushedEnd) *[16]byte { return &e.Topic }
	b = putLen(b, runs(n.Flushed, topic))
	for i := 0; i < len(n.Flushed); {
		k := run(n.Flushed[i:], topic)
		b = append(b, n.Flushed[i].Topic[:]...)
		b = putLen(b, k)
		for _, e := range n.Flushed[i : i+k] {
			b = put32(b, e.Index)
			b = put32(b, e.LeaderEpoch)
			b = put64(b, e.Cut)
			b = put64(b, e.Flushed)
		}
		b = append(b, 0)
		i += k
	}
	return append(b, 0)
}

// reader reads fields; once it has run out, bad is set and all reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) i16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) i32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) i64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uvarint() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<31-1 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

// length reads that of an array whose elements have so many bytes at least; a
// null one is empty.
func (r *reader) length(atLeast int) int {
	n := r.uvarint() - 1
	if n > len(r.b)/atLeast {
		r.b, r.bad = nil, true
		return 0
	}
	return max(n, 0)
}

func (r *reader) tags(known func(tag int, content *reader)) {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		tag := r.uvarint()
		content := reader{b: r.take(r.uvarint())}
		if known != nil && !r.bad {
			known(tag, &content)
			r.bad = r.bad || content.bad
		}
	}
}

// parseFetch reads a Fetch answer's body into a, whose list is used again.
func parseFetch(body []byte, a *replica.FetchAnswer) error {
	r := reader{b: body}
	*a = replica.FetchAnswer{Partitions: a.Partitions[:0]}
	r.i32() // throttle time: brokers are not throttled in this way
	a.Code, a.Session = r.i16(), r.i32()
	for topics := r.length(18); topics > 0 && !r.bad; topics-- {
		topic := [16]byte(r.id())
		for n := r.length(30); n > 0 && !r.bad; n-- {
			p := replica.FetchedPartition{PartitionID: replica.PartitionID{Topic: topic, Index: r.i32()}, End: -1}
			p.Code, p.HighWatermark = r.i16(), r.i64()
			r.i64() // last stable offset
			p.Start = r.i64()
			for n := r.length(17); n > 0 && !r.bad; n-- { // aborted transactions: for consumers
				r.take(16)
				r.tags(nil)
			}
			r.i32() // preferred replica: for consumers
			if n := r.uvarint() - 1; n > 0 {
				p.Records = r.take(n)
			}
			r.tags(func(tag int, c *reader) {
				switch tag {
				case 0:
					p.Diverging = &replica.EpochEnd{Epoch: c.i32(), End: c.i64()}
				case tagLogEnd:
					p.End = c.i64()
				}
			})
			if !r.bad {
				a.Partitions = append(a.Partitions, p)
			}
		}
		r.tags(nil)
	}
	r.tags(nil)
	if r.bad {
		return errMalformed
	}
	return nil
}

func (r *reader) id() []byte {
	if b := r.take(16); b != nil {
		return b
	}
	return make([]byte, 16)
}

// parseNews reads a FlushNews answer's body.
func parseNews(body []byte) (code int16, left []int, err error) {
	r := reader{b: body}
	code = r.i16()
	for n := r.length(4); n > 0; n-- {
		left = append(left, int(r.i32()))
	}
	r.tags(nil)
	if r.bad {
		return 0, nil, errMalformed
	}
	return code, left, nil
}
