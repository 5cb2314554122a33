// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"gregor/internal/meta"
)

// Voter is a member of the quorum by the names that people know: a node and
// the directory that its metadata log is in. Endpoints is where controllers
// reach it.
type Voter struct {
	ID        int32
	Directory meta.UUID
	Endpoints []meta.Endpoint
}

// RaftID is the voter's id in Raft.
func (v Voter) RaftID() uint64 { return RaftID(v.ID, v.Directory) }

// String is the voter as Kafka's tools write one, id-directory.
func (v Voter) String() string { return fmt.Sprintf("%d-%s", v.ID, meta.FormatUUID(v.Directory)) }

// Endpoint is the endpoint of the listener first named, or the first there is.
func (v Voter) Endpoint(listeners ...string) (meta.Endpoint, bool) {
	for _, name := range listeners {
		for _, e := range v.Endpoints {
			if e.Listener == name {
				return e, true
			}
		}
	}
	if len(v.Endpoints) == 0 {
		return meta.Endpoint{}, false
	}
	return v.Endpoints[0], true
}

// Membership is who votes, as of the newest change that this node has applied.
// Never changed.
type Membership struct {
	Voters []Voter // by id
	Self   bool    // this node is among them
}

// Voter finds a voter by its Raft id.
func (m *Membership) Voter(raftID uint64) (Voter, bool) {
	for _, v := range m.Voters {
		if v.RaftID() == raftID {
			return v, true
		}
	}
	return Voter{}, false
}

// ByID finds a voter by its node id; there is at most one.
func (m *Membership) ByID(id int32) (Voter, bool) {
	for _, v := range m.Voters {
		if v.ID == id {
			return v, true
		}
	}
	return Voter{}, false
}

// A voter in bytes:
//
//	id uvarint | directory 16 | endpoints uvarint, each: listener string,
//	host string, port uvarint, protocol uvarint
//
// A string is its length (uvarint) and its bytes.
func appendVoter(b []byte, v Voter) []byte {
	b = binary.AppendUvarint(b, uint64(uint32(v.ID)))
	b = append(b, v.Directory[:]...)
	b = binary.AppendUvarint(b, uint64(len(v.Endpoints)))
	for _, e := range v.Endpoints {
		b = appendString(appendString(b, e.Listener), e.Host)
		b = binary.AppendUvarint(b, uint64(e.Port))
		b = binary.AppendUvarint(b, uint64(uint16(e.Protocol)))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendVoters writes a list: its length (uvarint), then each voter.
func AppendVoters(b []byte, vs []Voter) []byte {
	b = binary.AppendUvarint(b, uint64(len(vs)))
	for _, v := range vs {
		b = appendVoter(b, v)
	}
	return b
}

var errVoter = errors.New("malformed voter")

const (
	maxVoters    = 64
	maxEndpoints = 16
	maxText      = 255
)

// CutVoters reads a list of voters off the front of b.
func CutVoters(b []byte) (vs []Voter, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > maxVoters {
		return nil, b, errVoter
	}
	b = b[used:]
	for range n {
		var v Voter
		if v, b, err = cutVoter(b); err != nil {
			return nil, b, err
		}
		vs = append(vs, v)
	}
	return vs, b, nil
}

func cutVoter(b []byte) (v Voter, rest []byte, err error) {
	id, n := binary.Uvarint(b)
	if n <= 0 || id > 1<<31-1 || len(b)-n < 16 {
		return v, b, errVoter
	}
	v.ID, v.Directory, b = int32(id), meta.UUID(b[n:n+16]), b[n+16:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count > maxEndpoints {
		return v, b, errVoter
	}
	b = b[n:]
	for range count {
		var e meta.Endpoint
		var port, protocol uint64
		if e.Listener, b, err = cutString(b); err != nil {
			return v, b, err
		}
		if e.Host, b, err = cutString(b); err != nil {
			return v, b, err
		}
		if port, n = binary.Uvarint(b); n <= 0 || port > 1<<16-1 {
			return v, b, errVoter
		}
		b = b[n:]
		if protocol, n = binary.Uvarint(b); n <= 0 || protocol > 1<<15-1 {
			return v, b, errVoter
		}
		b = b[n:]
		e.Port, e.Protocol = uint16(port), int16(protocol)
		v.Endpoints = append(v.Endpoints, e)
	}
	return v, b, nil
}

func cutString(b []byte) (string, []byte, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > maxText || n > uint64(len(b)-used) {
		return "", b, errVoter
	}
	b = b[used:]
	return string(b[:n]), b[n:], nil
}

// CheckVoters tells what is wrong with a set of voters, before it is written.
func CheckVoters(vs []Voter) error {
	if len(vs) > maxVoters {
		return fmt.Errorf("%d voters are more than %d", len(vs), maxVoters)
	}
	ids, dirs := map[int32]bool{}, map[meta.UUID]bool{}
	for _, v := range vs {
		switch {
		case v.ID < 0:
			return fmt.Errorf("voter %s: the id is negative", v)
		case ids[v.ID]:
			return fmt.Errorf("two voters have id %d", v.ID)
		case dirs[v.Directory]:
			return fmt.Errorf("two voters have directory %s", meta.FormatUUID(v.Directory))
		case len(v.Endpoints) > maxEndpoints:
			return fmt.Errorf("voter %s has more than %d endpoints", v, maxEndpoints)
		}
		ids[v.ID], dirs[v.Directory] = true, true
		for _, e := range v.Endpoints {
			if len(e.Listener) > maxText || len(e.Host) > maxText || e.Protocol < 0 {
				return fmt.Errorf("voter %s: endpoint %s is malformed or longer than %d bytes", v, e.Listener, maxText)
			}
		}
	}
	const room = statePage - foundingFixed - 2 - maxText - 4 // in the founding page
	if n := len(AppendVoters(nil, vs)); n > room {
		return fmt.Errorf("%d voters with their endpoints take %d bytes, more than %d", len(vs), n, room)
	}
	return nil
}

func sortVoters(vs []Voter) []Voter {
	vs = slices.Clone(vs)
	slices.SortFunc(vs, func(a, b Voter) int { return int(a.ID) - int(b.ID) })
	return vs
}

func raftIDs(vs []Voter) []uint64 {
	ids := make([]uint64, 0, len(vs))
	for _, v := range vs {
		ids = append(ids, v.RaftID())
	}
	slices.Sort(ids)
	return ids
}
