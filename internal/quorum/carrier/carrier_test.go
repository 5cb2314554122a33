// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/wire/peer"
)

// Goal: messages arrive in order, snapshots whole, and a voter that hangs or is
// of another cluster holds up nobody. Method: a Carrier in a bubble of fake
// time, over pipes to Receivers behind the smallest server that answers frames.
type station struct {
	r    *Receiver
	hang chan struct{} // nil: answers at once

	mu  sync.Mutex
	got []*pb.Message
}

func newStation(cluster string) *station {
	s := &station{}
	s.r = NewReceiver(cluster, func(m *pb.Message) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, m)
		return nil
	})
	return s
}

func (s *station) messages() []*pb.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*pb.Message(nil), s.got...)
}

// serve answers requests with header v2, whose client id is skipped.
func (s *station) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		f := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, f); err != nil {
			return
		}
		if s.hang != nil {
			<-s.hang
		}
		key, id := int16(binary.BigEndian.Uint16(f)), f[4:8]
		body := f[10+int(binary.BigEndian.Uint16(f[8:])):][1:]
		answer, err := s.r.Serve(key, body)
		if err != nil {
			return
		}
		out := append(binary.BigEndian.AppendUint32(nil, uint32(5+len(answer))), id...)
		if _, err := c.Write(append(append(out, 0), answer...)); err != nil {
			return
		}
	}
}

type losses struct {
	mu          sync.Mutex
	leader      uint64
	gone        []uint64
	late        int // messages of the leader that arrive after such news
	unreachable map[uint64]int
	snapshots   []bool
}

func (l *losses) Unreachable(to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unreachable[to]++
}

func (l *losses) SnapshotSent(_ uint64, ok bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshots = append(l.snapshots, ok)
	return nil
}

func (l *losses) Leads(v uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leader == v
}

func (l *losses) Gone(v uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = append(l.gone, v)
	if l.late--; l.late < 0 {
		l.leader = 0
	}
	return nil
}

func start(stations map[string]*station) (*Carrier, *losses) {
	l := &losses{unreachable: map[uint64]int{}}
	c := New(Config{
		Cluster: "c",
		Address: func(v uint64) (string, error) { return string(rune('0' + v)), nil },
		Peer: peer.Config{Dial: func(_ context.Context, addr string) (net.Conn, error) {
			s := stations[addr]
			if s == nil {
				return nil, errors.New("nobody there")
			}
			a, b := net.Pipe()
			go s.serve(b)
			return a, nil
		}},
	})
	c.Start(l)
	return c, l
}

func app(to, index uint64) *pb.Message {
	return &pb.Message{Type: pb.MsgApp.Enum(), From: new(uint64(9)), To: new(to), Index: new(index)}
}

func TestOrderAndSlowVoters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		good, slow, foreign := newStation("c"), newStation("c"), newStation("other")
		slow.hang = make(chan struct{})
		c, l := start(map[string]*station{"1": good, "2": slow, "3": foreign})
		for i := range uint64(20_000) {
			c.Send([]*pb.Message{app(1, i), app(2, i), app(3, i), app(4, i)})
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		time.Sleep(5 * time.Second)
		got := good.messages()
		if len(got) != 20_000 {
			t.Errorf("%d messages came", len(got))
		}
		for i, m := range got {
			if m.GetIndex() != uint64(i) {
				t.Fatalf("message %d is number %d", i, m.GetIndex())
			}
		}
		if n := len(foreign.messages()); n != 0 {
			t.Errorf("%d messages reached another cluster", n)
		}
		l.mu.Lock()
		for _, v := range []uint64{2, 3, 4} {
			if l.unreachable[v] == 0 {
				t.Errorf("nobody was told that voter %d is not reached", v)
			}
		}
		if l.unreachable[1] != 0 {
			t.Error("voter 1 was called unreachable")
		}
		l.mu.Unlock()
		close(slow.hang)
		c.Close()
	})
}

func TestSnapshotInChunks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		good := newStation("c")
		c, l := start(map[string]*station{"1": good})
		data := bytes.Repeat([]byte("snapshot"), 400_000) // 3 chunks and a bit
		snap := func(to uint64) *pb.Message {
			return &pb.Message{Type: pb.MsgSnap.Enum(), From: new(uint64(9)), To: new(to), Snapshot: &pb.Snapshot{
				Data: data, Metadata: &pb.SnapshotMetadata{Index: new(uint64(7)), Term: new(uint64(2))}}}
		}
		c.Send([]*pb.Message{snap(1), app(1, 1)})
		c.Send([]*pb.Message{snap(4)})
		time.Sleep(5 * time.Second)
		got := map[pb.MessageType]*pb.Message{}
		for _, m := range good.messages() {
			got[m.GetType()] = m
		}
		if len(got) != 2 || !bytes.Equal(got[pb.MsgSnap].GetSnapshot().GetData(), data) {
			t.Errorf("%d messages came", len(got))
		}
		l.mu.Lock()
		if len(l.snapshots) != 2 || l.snapshots[0] == l.snapshots[1] {
			t.Errorf("of two snapshots was told %v", l.snapshots)
		}
		l.mu.Unlock()
		c.Close()
	})
}

// Pieces that do not fit together make nothing.
func TestChunksOutOfLine(t *testing.T) {
	t.Parallel()
	s := newStation("c")
	piece := func(at, size uint64, b string) code {
		k := chunk{cluster: "c", from: 9, to: 1, index: 7, term: 2, size: size, at: at, piece: []byte(b)}
		if k.last() {
			k.message = []byte{8, 7} // MsgSnap, but of no index
		}
		a, err := s.r.Serve(ChunkKey, k.encode())
		if err != nil {
			return 99
		}
		c, _, err := decodeAnswer(a)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i, step := range []struct {
		at, size uint64
		b        string
		want     code
	}{{3, 9, "abc", outOfLine}, {0, 9, "abc", taken}, {4, 9, "abc", outOfLine}, {3, 8, "abc", outOfLine}, {3, 9, "abc", taken}, {6, 9, "abc", 99}} {
		if got := piece(step.at, step.size, step.b); got != step.want {
			t.Errorf("step %d: %d, want %d", i, got, step.want)
		}
	}
	if len(s.messages()) != 0 {
		t.Error("a snapshot without an index was taken")
	}
}

func FuzzReceive(f *testing.F) {
	m := []byte{8, 3}
	f.Add(true, appendStep(nil, "c", [][]byte{m, m}))
	f.Add(false, chunk{cluster: "c", index: 1, size: 4, piece: []byte("ab")}.encode())
	f.Add(false, chunk{cluster: "c", index: 1, size: 2, piece: []byte("ab"), message: m}.encode())
	f.Fuzz(func(t *testing.T, step bool, b []byte) {
		s := newStation("c")
		key := ChunkKey
		if step {
			key = StepKey
		}
		if a, err := s.r.Serve(key, b); err == nil {
			if _, _, err := decodeAnswer(a); err != nil {
				t.Fatal(err)
			}
		}
		if k, err := decodeChunk(b); err == nil {
			if again, err := decodeChunk(k.encode()); err != nil || again.at != k.at || !bytes.Equal(again.piece, k.piece) {
				t.Fatalf("%+v %v", again, err)
			}
		}
		if c, text, err := decodeAnswer(b); err == nil {
			if c2, text2, err := decodeAnswer(encodeAnswer(c, text)); err != nil || c2 != c || text2 != text {
				t.Fatal(c2, text2, err)
			}
		}
	})
}
