// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
	"gregor/internal/wire"
)

// FlushNews, key 32004, version 0: what a follower tells past its own fetch
// that is parked here. docs/formats/replication.md draws the bytes, and the
// tags of ours in Fetch.
//
//	request   replica int32 · broker epoch int64 · session id int32 · session epoch int32
//	          [topic id 16 · [partition int32 · leader epoch int32 · cut int64 · flushed int64]]
//	response  error int16 · [index int32 of what was not taken, counted over all]
//
// Behaviours:
//   - A session id other than 0 asks for that session's parked fetch, if it is
//     the one with that epoch or came before, to be answered as it is.
//   - What was not taken belongs to a fetch that has not come yet, or to a lead
//     that is over; the follower tells it again, or with its next fetch.
const keyFlushNews kmsg.Key = 32004

const (
	// tagFlushed, in a partition of a replica's Fetch request: flushed int64 ·
	// cut int64.
	tagFlushed = 10000
	// tagLogEnd, in a partition of the answer to a replica that is out of
	// range: the leader's log end, int64.
	tagLogEnd = 10000
)

// flushNewsHandler takes the news; replica.Table is one.
type flushNewsHandler interface {
	FollowerFlushed(replica int32, brokerEpoch int64, n replica.FlushedEnd) bool
}

// parseFlushNews reads a body, giving each partition to take.
func parseFlushNews(body []byte, take func(replica.FlushedEnd)) (who int32, brokerEpoch int64, session, epoch int32, err error) {
	c := cursor{b: body, flexible: true}
	who, brokerEpoch, session, epoch = c.i32(), c.i64(), c.i32(), c.i32()
	for topics := c.array(18); topics > 0 && !c.bad; topics-- {
		id := c.uuid()
		for n := c.array(24); n > 0 && !c.bad; n-- {
			e := replica.FlushedEnd{Topic: id, Index: c.i32(), LeaderEpoch: c.i32(), Cut: c.i64(), Flushed: c.i64()}
			if take != nil && !c.bad {
				take(e)
			}
		}
		c.tags(nil)
	}
	c.tags(nil)
	if c.bad {
		return 0, 0, 0, 0, errMalformed
	}
	return who, brokerEpoch, session, epoch, nil
}

func (f *Fetch) flushNews(_ context.Context, _ *Call, body []byte) (wire.Reply, wire.Pending) {
	who, brokerEpoch, session, epoch, err := parseFlushNews(body, nil)
	if err != nil {
		return wire.Reply{None: true, Close: true, Why: "FlushNews: " + err.Error()}, nil
	}
	var left []int32
	i := int32(0)
	_, _, _, _, _ = parseFlushNews(body, func(e replica.FlushedEnd) { // it passed a moment ago
		if f.cfg.Flushed == nil || !f.cfg.Flushed.FollowerFlushed(who, brokerEpoch, e) {
			left = append(left, i)
		}
		i++
	})
	if session != noSession {
		f.followers.release(who, session, epoch)
	}
	b := make([]byte, 0, 8+4*len(left))
	b = put16(b, 0)
	b = binary.AppendUvarint(b, uint64(len(left)+1))
	for _, i := range left {
		b = put32(b, i)
	}
	b = append(b, 0)
	return wire.Reply{Body: b, Flexible: true}, nil
}
