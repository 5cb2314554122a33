// SPDX-License-Identifier: Apache-2.0

package founding

import (
	"encoding/binary"
	"errors"

	"gregor/internal/meta"
	"gregor/internal/quorum"
)

// Key of the request.
const Key int16 = 32010

// Greeting is what a node tells of itself.
type Greeting struct {
	Node      int32
	Directory meta.UUID
	// Incarnation is of the process: two that name one directory have copies of
	// a disk.
	Incarnation meta.UUID
	Cluster     string // "": of none yet
	Founded     bool
	Voters      []quorum.Voter // that founded the cluster
	Members     []quorum.Voter // that vote now, as far as this node knows
	Refusal     string         // in an answer: why these two cannot be of one cluster
}

var errGreeting = errors.New("founding: malformed greeting")

const maxText = 1 << 10

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutString(b []byte) (string, []byte, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > maxText || n > uint64(len(b)-used) {
		return "", nil, errGreeting
	}
	b = b[used:]
	return string(b[:n]), b[n:], nil
}

// Append writes the greeting.
func (g Greeting) Append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, 0), uint64(uint32(g.Node)))
	b = append(append(b, g.Directory[:]...), g.Incarnation[:]...)
	b = appendString(b, g.Cluster)
	founded := byte(0)
	if g.Founded {
		founded = 1
	}
	b = quorum.AppendVoters(quorum.AppendVoters(append(b, founded), g.Voters), g.Members)
	return appendString(b, g.Refusal[:min(len(g.Refusal), maxText)])
}

// Decode is the inverse of Append.
func Decode(b []byte) (g Greeting, err error) {
	if len(b) == 0 || b[0] != 0 {
		return g, errGreeting
	}
	node, n := binary.Uvarint(b[1:])
	if n <= 0 || node > 1<<31-1 || len(b)-1-n < 32 {
		return g, errGreeting
	}
	g.Node, b = int32(node), b[1+n:]
	g.Directory, b = meta.UUID(b[:16]), b[16:]
	g.Incarnation, b = meta.UUID(b[:16]), b[16:]
	if g.Cluster, b, err = cutString(b); err != nil {
		return g, err
	}
	if len(b) == 0 || b[0] > 1 {
		return g, errGreeting
	}
	g.Founded, b = b[0] == 1, b[1:]
	if g.Voters, b, err = quorum.CutVoters(b); err != nil {
		return g, err
	}
	if g.Members, b, err = quorum.CutVoters(b); err != nil {
		return g, err
	}
	if g.Refusal, b, err = cutString(b); err == nil && len(b) > 0 {
		err = errGreeting
	}
	return g, err
}
