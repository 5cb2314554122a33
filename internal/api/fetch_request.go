// SPDX-License-Identifier: Apache-2.0

package api

// fetchRequest is a request without its partitions.
type fetchRequest struct {
	version      int16
	replica      int32
	replicaEpoch int64
	maxWait      int32
	minBytes     int32
	maxBytes     int32
	isolation    int8
	sessionID    int32
	sessionEpoch int32
	rack         []byte // borrowed
	partitions   int    // in both lists, while scanning
}

// fetchPart is one partition of a request and what it is answered.
type fetchPart struct {
	key              partKey
	cached           *sessionPart
	maxBytes         int32
	offset           int64
	leaderEpoch      int32
	lastFetchedEpoch int32
	start            int64 // of a follower's log
	flushed, cut     int64 // of a follower, -1: not told

	follow    *followPart // of a replica's session
	mentioned bool        // by this request
	end       int64       // of the log, told to a follower with an error; -1

	partition Partition // nil when it could not be found
	read      Read
	code      int16
	leader    int // in leaders, -1
	omit      bool
}

// parseFetch reads a body, and keeps its partitions in s; with nil it only
// checks and counts.
func parseFetch(version int16, body []byte, s *fetched) (fetchRequest, error) {
	c := cursor{b: body, flexible: version >= 12}
	q := fetchRequest{version: version, replica: -1, replicaEpoch: -1, sessionEpoch: finalEpoch}
	if version <= 14 {
		q.replica = c.i32()
	}
	q.maxWait, q.minBytes, q.maxBytes, q.isolation = c.i32(), c.i32(), c.i32(), c.i8()
	if version >= 7 {
		q.sessionID, q.sessionEpoch = c.i32(), c.i32()
	}
	topicMin := 3
	if version >= 13 {
		topicMin = 16
	}
	for topics := c.array(topicMin - 1); topics > 0 && !c.bad; topics-- {
		topic, id := fetchTopic(&c, version)
		for n := c.array(16); n > 0 && !c.bad; n-- {
			p := fetchPart{leaderEpoch: -1, lastFetchedEpoch: -1, start: -1, flushed: -1, end: -1, leader: -1}
			index := c.i32()
			if version >= 9 {
				p.leaderEpoch = c.i32()
			}
			p.offset = c.i64()
			if version >= 12 {
				p.lastFetchedEpoch = c.i32()
			}
			if version >= 5 {
				p.start = c.i64()
			}
			p.maxBytes = c.i32()
			c.tags(func(tag int, content *cursor) {
				if tag == tagFlushed {
					p.flushed, p.cut = content.i64(), content.i64()
				}
			})
			q.partitions++
			if s != nil {
				p.key = s.key(topic, id, index)
				s.parts = append(s.parts, p)
			}
		}
		c.tags(nil)
	}
	if version >= 7 {
		for topics := c.array(topicMin - 1); topics > 0 && !c.bad; topics-- {
			topic, id := fetchTopic(&c, version)
			for n := c.array(4); n > 0 && !c.bad; n-- {
				index := c.i32()
				q.partitions++
				if s != nil {
					s.forgotten = append(s.forgotten, s.key(topic, id, index))
				}
			}
			c.tags(nil)
		}
	}
	if version >= 11 {
		q.rack = c.name()
	}
	c.tags(func(tag int, content *cursor) {
		if tag == 1 && version >= 15 {
			q.replica, q.replicaEpoch = content.i32(), content.i64()
		}
	})
	if c.bad {
		return q, errMalformed
	}
	return q, nil
}

func fetchTopic(c *cursor, version int16) (name []byte, id [16]byte) {
	if version >= 13 {
		return nil, c.uuid()
	}
	return c.name(), id
}
