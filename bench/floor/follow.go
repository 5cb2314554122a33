// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sort"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Three floors make a partition of three replicas: one is given -followers, the
// others -leader. A follower asks for what follows its end, writes it behind its
// log, syncs it and asks again, which tells the leader what it holds; the leader
// shows consumers, and answers acks=all for, what all three hold on disk. Nobody
// is ever elected.

// copies is what a leader knows of a partition's replicas, under its mu.
type copies struct {
	synced  batchStart // here
	flushed []int64    // the end at each follower
}

// everywhere is the end of what is durable at all.
func (p *partition) everywhere() batchStart {
	end := p.synced
	for _, at := range p.flushed {
		if at < end.offset {
			end = p.start(at)
		}
	}
	return end
}

// start is the batch that begins at an offset, or the end.
func (p *partition) start(offset int64) batchStart {
	i := sort.Search(len(p.starts), func(i int) bool { return p.starts[i].offset >= offset })
	if i == len(p.starts) {
		return batchStart{p.next, p.size}
	}
	return p.starts[i]
}

// copied: a replica (below 0: a consumer) holds everything before an offset.
func (p *partition) copied(replica int32, upTo int64) {
	if replica >= 0 && p.flushed[replica] != upTo {
		p.flushed[replica] = upTo
		p.show()
	}
}

// endFor is the end of what somebody may fetch.
func (p *partition) endFor(replica int32) batchStart {
	if replica >= 0 {
		return batchStart{p.next, p.size}
	}
	return p.visible
}

// wait gives up mu until something has moved, and says whether it has.
func (p *partition) wait(most time.Duration) bool {
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	moved := p.moved
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-moved:
		return true
	case <-time.After(most):
		return false
	}
}

// await waits until all replicas hold what is before an offset.
func (p *partition) await(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.visible.offset < offset {
		p.wait(time.Minute)
	}
}

// forward has the followers do what a client asks for.
func (f *floor) forward(q kmsg.Request) {
	for _, at := range f.followers {
		nc, err := net.Dial("tcp", at)
		check(err)
		b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(q.Key()))
		b = binary.BigEndian.AppendUint16(b, uint16(q.GetVersion()))
		b = q.AppendTo(append(b, 0, 0, 0, 0, 255, 255)) // correlation 0, no client id
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		_, err = nc.Write(b)
		check(err)
		_, err = io.ReadFull(nc, b[:4])
		check(err)
		check(nc.Close())
	}
}

// follow copies a partition until the topic is deleted.
func (p *partition) follow(topic string, index int32) {
	nc, err := net.Dial("tcp", *leader)
	check(err)
	defer nc.Close()
	r := bufio.NewReaderSize(nc, 4<<10)
	var buf []byte
	head := make([]byte, 4+4+10+4+2+len(topic)+4+4+2+3*8+4+4+4) // of the answer, as fetch makes it
	for {
		if _, err := nc.Write(fetchRequest(topic, index, p.next)); err != nil {
			return
		}
		if _, err := io.ReadFull(r, head); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(head[len(head)-4:]))
		if len(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return
		}
		if p.keep(buf[:n]) != nil {
			return
		}
	}
}

// fetchRequest is version 11.
func fetchRequest(topic string, index int32, from int64) []byte {
	b := append(make([]byte, 4), 0, 1, 0, 11, 0, 0, 0, 0, 255, 255) // correlation 0, no client id
	b = binary.BigEndian.AppendUint32(b, uint32(*replica))
	b = binary.BigEndian.AppendUint32(b, 500) // ms to wait
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, 10<<20)
	b = append(b, 0)
	b = append(b, make([]byte, 8)...) // no session
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(index))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(from))
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint32(b, 1<<20) // as replica.fetch.max.bytes
	b = append(b, make([]byte, 6)...)           // nothing forgotten, no rack
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// keep makes batches durable as they came.
func (p *partition) keep(b []byte) error {
	for left := b; len(left) > 0; {
		size := 12 + int(binary.BigEndian.Uint32(left[8:]))
		p.next += records(left)
		verify(left[:size])
		left = left[size:]
	}
	if len(b) == 0 {
		return nil
	}
	if _, err := p.file.WriteAt(b, p.size); err != nil {
		return err
	}
	p.size += int64(len(b))
	return syscall.Fdatasync(int(p.file.Fd()))
}
