// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Receiver is the other half: it takes requests apart and hands messages on.
//
// Concurrency: any number of goroutines; a leaf mutex guards the snapshots that
// are being assembled, at most maxParts.
type Receiver struct {
	cluster string
	step    func(*pb.Message) error

	mu    sync.Mutex
	parts map[uint64]*part // by sender
	turn  uint64
}

// part is a snapshot of which not all is there.
type part struct {
	index, term, size uint64
	data              []byte
	turn              uint64 // of its last piece
}

// maxParts bounds memory: more than one leader sends only while they change.
const maxParts = 2

// NewReceiver makes a Receiver for a node of a cluster; step is Node.Step.
func NewReceiver(cluster string, step func(*pb.Message) error) *Receiver {
	return &Receiver{cluster: cluster, step: step, parts: map[uint64]*part{}}
}

// NotReady is the answer of a node that has no quorum yet.
func NotReady(text string) []byte { return encodeAnswer(notReady, text) }

// Serve answers a request by its key. The body is not kept. An error means that
// it is none of ours: the connection is not worth keeping.
func (r *Receiver) Serve(key int16, body []byte) (answer []byte, err error) {
	switch key {
	case StepKey:
		return r.messages(body)
	case ChunkKey:
		return r.chunk(body)
	}
	return nil, errMalformed
}

func (r *Receiver) refuse(cluster string) []byte {
	if cluster == r.cluster {
		return nil
	}
	return encodeAnswer(otherCluster, "it is a node of cluster "+r.cluster+", not "+cluster[:min(len(cluster), 64)])
}

func (r *Receiver) messages(body []byte) ([]byte, error) {
	cluster, ms, err := decodeStep(body)
	if err != nil {
		return nil, err
	}
	if a := r.refuse(cluster); a != nil {
		return a, nil
	}
	for _, m := range ms {
		if !betweenVoters(m.GetType()) {
			return nil, errMalformed
		}
		if err := r.step(m); err != nil {
			return NotReady(err.Error()), nil
		}
	}
	return encodeAnswer(taken, ""), nil
}

// betweenVoters are the kinds of messages that one voter may send another, but
// for snapshots, which come in chunks. Others are a node's own affair.
func betweenVoters(t pb.MessageType) bool {
	switch t {
	case pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
		pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgTimeoutNow:
		return true
	}
	return false
}

func (r *Receiver) chunk(body []byte) ([]byte, error) {
	k, err := decodeChunk(body)
	if err != nil {
		return nil, err
	}
	if a := r.refuse(k.cluster); a != nil {
		return a, nil
	}
	data, ok := r.assemble(k)
	switch {
	case !ok:
		return encodeAnswer(outOfLine, ""), nil
	case !k.last():
		return encodeAnswer(taken, ""), nil
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(k.message, m); err != nil || m.GetType() != pb.MsgSnap || m.GetSnapshot().GetMetadata() == nil || m.GetSnapshot().GetMetadata().GetIndex() != k.index {
		return nil, errMalformed
	}
	m.Snapshot.Data = data
	if err := r.step(m); err != nil {
		return NotReady(err.Error()), nil
	}
	return encodeAnswer(taken, ""), nil
}

// assemble adds a piece where it belongs; data is whole when the last is in.
func (r *Receiver) assemble(k chunk) (data []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.parts[k.from]
	if k.at == 0 {
		p = &part{index: k.index, term: k.term, size: k.size}
		r.parts[k.from] = p
		r.evict(k.from)
	}
	if p == nil || p.index != k.index || p.term != k.term || p.size != k.size || uint64(len(p.data)) != k.at {
		return nil, false
	}
	r.turn++
	p.turn = r.turn
	p.data = append(p.data, k.piece...)
	if k.last() {
		delete(r.parts, k.from)
		return p.data, true
	}
	return nil, true
}

// evict drops whoever was silent for longest when there are too many.
func (r *Receiver) evict(but uint64) {
	for len(r.parts) > maxParts {
		var oldest uint64
		first := true
		for id, p := range r.parts {
			if id != but && (first || p.turn < r.parts[oldest].turn) {
				oldest, first = id, false
			}
		}
		delete(r.parts, oldest)
	}
}
