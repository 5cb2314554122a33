// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one connection. Requests enter waiting before they are written, so
// the reader finds there whose turn it is to be answered.
type conn struct {
	nc          net.Conn
	correlation int32        // with the Peer's turn
	waiting     chan *waiter // in the order of the requests
	dead        chan struct{}
	once        sync.Once
	why         error // written before dead is closed
	made        time.Time
	last        atomic.Int64 // nanoseconds after made: an answer came, or nothing was asked
}

// heard notes that the other side owes nothing older than this moment.
func (c *conn) heard() { c.last.Store(int64(time.Since(c.made))) }

// silent is how long the other side has owed an answer and given none.
func (c *conn) silent() time.Duration { return time.Since(c.made) - time.Duration(c.last.Load()) }

// waiter is a request on its way.
type waiter struct {
	correlation int32
	flexible    bool
	answer      chan Answer // capacity 1: a waiter that left blocks nobody
}

// end closes the connection; the first reason counts.
func (c *conn) end(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.dead)
		_ = c.nc.Close() // nothing is to be saved
	})
}

// write sends a frame; a peer that does not read is given up when ctx ends.
func (c *conn) write(ctx context.Context, header, body []byte) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.nc.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	buffers := net.Buffers{header, body}
	_, err := buffers.WriteTo(c.nc)
	return err
}

var (
	errUnasked = errors.New("an answer that nobody asked for")
	errShort   = errors.New("an answer that is cut short")
)

// read hands out answers until the connection ends.
func (c *conn) read(p *Peer) error {
	var size [4]byte
	for {
		if _, err := io.ReadFull(c.nc, size[:]); err != nil {
			return err
		}
		n := int(int32(binary.BigEndian.Uint32(size[:])))
		if n < 4 || n > p.cfg.MaxFrame {
			return fmt.Errorf("an answer of %d bytes, allowed are 4 to %d", n, p.cfg.MaxFrame)
		}
		buf := p.buffer(n)
		if _, err := io.ReadFull(c.nc, *buf); err != nil {
			return err
		}
		var w *waiter
		select {
		case w = <-c.waiting:
		default:
			return errUnasked
		}
		body, err := answerBody(*buf, w)
		if err != nil {
			return err
		}
		c.heard()
		w.answer <- Answer{Body: body, buf: buf, pool: &p.buffers}
	}
}

// answerBody checks an answer's header and returns what follows it.
func answerBody(frame []byte, w *waiter) ([]byte, error) {
	if got := int32(binary.BigEndian.Uint32(frame)); got != w.correlation {
		return nil, fmt.Errorf("%w: correlation id %d instead of %d", errUnasked, got, w.correlation)
	}
	body := frame[4:]
	if !w.flexible {
		return body, nil
	}
	return skipTags(body)
}

// skipTags drops the tagged fields of a header: a count, and for each a number,
// a size and so many bytes.
func skipTags(b []byte) ([]byte, error) {
	count, b, err := uvarint(b)
	if err != nil {
		return nil, err
	}
	for range count {
		if _, b, err = uvarint(b); err != nil {
			return nil, err
		}
		var n uint64
		if n, b, err = uvarint(b); err != nil {
			return nil, err
		}
		if n > uint64(len(b)) {
			return nil, errShort
		}
		b = b[n:]
	}
	return b, nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errShort
	}
	return v, b[n:], nil
}

// maxKept bounds what an idle buffer may hold on to: twice what a replica
// fetches at most (replica.fetch.response.max.bytes).
const maxKept = 20 << 20

// buffer gives n bytes, used ones if there are.
func (p *Peer) buffer(n int) *[]byte {
	b, ok := p.buffers.Get().(*[]byte)
	if !ok || cap(*b) < n {
		fresh := make([]byte, n)
		return &fresh
	}
	if cap(*b) > maxKept {
		fresh := make([]byte, n)
		return &fresh
	}
	*b = (*b)[:n]
	return b
}
