// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Keys of the requests.
const (
	StepKey  int16 = 32000
	ChunkKey int16 = 32002
)

// code is what an answer says.
type code byte

const (
	taken        code = 0
	otherCluster code = 1
	notReady     code = 2
	outOfLine    code = 3
)

const (
	// maxMessages bounds a batch; a sender makes smaller ones.
	maxMessages = 4096
	// maxSnapshot bounds what a voter assembles in memory: an image of some
	// ten million partitions.
	maxSnapshot = 1 << 30
	maxText     = 1 << 10
)

var errMalformed = errors.New("carrier: malformed request")

func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutter reads fields off the front of b until one does not fit.
type cutter struct {
	b   []byte
	bad bool
}

func (c *cutter) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cutter) u64() uint64 {
	if len(c.b) < 8 {
		c.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(c.b)
	c.b = c.b[8:]
	return v
}

func (c *cutter) u8() byte {
	if len(c.b) < 1 {
		c.fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// bytes borrows from b.
func (c *cutter) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cutter) fail() { c.b, c.bad = nil, true }

func (c *cutter) err() error {
	if c.bad || len(c.b) > 0 {
		return errMalformed
	}
	return nil
}

func appendStep(b []byte, cluster string, ms [][]byte) []byte {
	b = appendBytes(append(b, 0), cluster)
	b = binary.AppendUvarint(b, uint64(len(ms)))
	for _, m := range ms {
		b = appendBytes(b, m)
	}
	return b
}

// decodeStep copies what it returns.
func decodeStep(b []byte) (cluster string, ms []*pb.Message, err error) {
	c := cutter{b: b}
	if c.u8() != 0 {
		return "", nil, errMalformed
	}
	cluster = string(c.bytes())
	n := c.uvarint()
	if n > maxMessages {
		return "", nil, errMalformed
	}
	for range n {
		m := &pb.Message{}
		if err := proto.Unmarshal(c.bytes(), m); err != nil {
			return "", nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
		if c.bad {
			break
		}
		ms = append(ms, m)
	}
	return cluster, ms, c.err()
}

// chunk is the body of a ChunkKey request.
type chunk struct {
	cluster     string
	from, to    uint64
	index, term uint64
	size, at    uint64
	piece       []byte
	message     []byte
}

func (k chunk) last() bool { return k.at+uint64(len(k.piece)) == k.size }

func (k chunk) encode() []byte {
	b := appendBytes([]byte{0}, k.cluster)
	for _, v := range []uint64{k.from, k.to, k.index, k.term} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.AppendUvarint(b, k.size)
	b = binary.AppendUvarint(b, k.at)
	b = appendBytes(b, k.piece)
	return appendBytes(b, k.message)
}

// decodeChunk borrows piece and message.
func decodeChunk(b []byte) (k chunk, err error) {
	c := cutter{b: b}
	if c.u8() != 0 {
		return k, errMalformed
	}
	k.cluster = string(c.bytes())
	k.from, k.to, k.index, k.term = c.u64(), c.u64(), c.u64(), c.u64()
	k.size, k.at = c.uvarint(), c.uvarint()
	k.piece, k.message = c.bytes(), c.bytes()
	if err := c.err(); err != nil {
		return k, err
	}
	if k.size > maxSnapshot || k.at > k.size || uint64(len(k.piece)) > k.size-k.at || len(k.piece) == 0 && k.size > 0 || k.last() != (len(k.message) > 0) {
		return k, errMalformed
	}
	return k, nil
}

func encodeAnswer(c code, text string) []byte {
	return appendBytes([]byte{0, byte(c)}, text[:min(len(text), maxText)])
}

func decodeAnswer(b []byte) (code, string, error) {
	c := cutter{b: b}
	if c.u8() != 0 {
		return 0, "", errMalformed
	}
	k, text := code(c.u8()), string(c.bytes())
	if len(text) > maxText {
		return 0, "", errMalformed
	}
	return k, text, c.err()
}
