// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// outBuffer collects small answers of pipelined requests for one write.
	outBuffer = 16 << 10
	// sendfileMin is the size below which a copy is cheaper than sendfile.
	sendfileMin = 16 << 10
	// writeChunk is how much is handed to the kernel at a time, so that a
	// slow reader's progress is seen.
	writeChunk = 256 << 10
	// largeReply is the body size from which the budget is charged.
	largeReply = 64 << 10
)

// output is the sending half of a Conn, used by its reader or its writer, one
// at a time. buf[:n] is what was not yet given to the kernel.
type output struct {
	c        *Conn
	buf      *buffer
	n        int
	sent     []sent // answers whose last byte is in buf
	sendfile bool
	header   [9]byte // of the answer being put out
	vec      [2][]byte
	file     fileSend
}

// sent is an answer that awaits the end of its write, for the metrics.
type sent struct {
	t     Timing
	ready time.Time
}

func (o *output) init(c *Conn) {
	o.c = c
	o.sendfile = c.raw != nil && canSendfile(c.nc)
	o.file.init(c.raw)
}

func (o *output) empty() bool { return o.n == 0 && len(o.sent) == 0 }

func (o *output) free() {
	o.c.s.pool.put(o.buf)
	o.buf, o.n, o.sent = nil, 0, nil
}

// add puts an answer out: header, body, parts. The reply is released when its
// bytes are with the kernel or in buf. An error ends the connection.
//
//	0        4             8
//	+--------+-------------+-------------+------+-------
//	| length | correlation | tags (0x00, | body | parts
//	| (i32)  | id (i32)    | header v1)  |      |
//	+--------+-------------+-------------+------+-------
func (o *output) add(it *item) error {
	r := &it.reply
	defer release(r)
	if r.None {
		o.sent = append(o.sent, sent{it.t, it.ready})
		return nil
	}
	size := 4 + len(r.Body)
	if r.Flexible {
		size++
	}
	for i := range r.Parts {
		if p := &r.Parts[i]; p.File != nil {
			size += p.N
		} else {
			size += len(p.Bytes)
		}
	}
	if size > 1<<31-1 {
		return o.failed(fmt.Errorf("answer of %d bytes is too large for a frame", size))
	}
	if len(r.Body) >= largeReply {
		// Half the budget stands for any more, so that it can be had.
		charge := min(int64(len(r.Body)), o.c.s.pool.limit/2)
		if err := o.reserve(charge); err != nil {
			return err
		}
		defer o.c.s.pool.unreserve(charge)
	}
	h := binary.BigEndian.AppendUint32(o.header[:0], uint32(size))
	h = binary.BigEndian.AppendUint32(h, uint32(it.correlation))
	if r.Flexible {
		h = append(h, 0)
	}
	if err := o.put(h); err != nil {
		return err
	}
	if err := o.put(r.Body); err != nil {
		return err
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		var err error
		if p.File == nil {
			err = o.put(p.Bytes)
		} else {
			err = o.putFile(p)
		}
		if err != nil {
			return err
		}
	}
	it.t.Out = size + 4
	o.sent = append(o.sent, sent{it.t, it.ready})
	return nil
}

// reserve charges a large body to the budget, waiting while it is spent.
func (o *output) reserve(n int64) error {
	p := o.c.s.pool
	if p.reserve(n) {
		return nil
	}
	if p.waiting.Load() < maxReplyWaiters {
		if err := o.c.awaitMemory(func() bool { return p.reserve(n) }, false); err == nil {
			return nil
		}
	}
	o.c.fail(Overload, errNoRoom)
	return errNoRoom
}

// maxReplyWaiters bounds the large answers that wait to be accounted for.
const maxReplyWaiters = 16

// take makes sure of a buffer.
func (o *output) take() {
	if o.buf != nil {
		return
	}
	if o.buf = o.c.s.pool.tryGet(outBuffer); o.buf == nil {
		// The budget is spent, but answers must go out for it to recover.
		o.buf = &buffer{b: make([]byte, 1<<10), class: unpooled}
	}
}

// put appends bytes, or sends them when they are many.
func (o *output) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	o.take()
	if len(b) <= len(o.buf.b)-o.n {
		o.n += copy(o.buf.b[o.n:], b)
		return nil
	}
	if len(b) <= len(o.buf.b)/2 {
		if err := o.push(true); err != nil {
			return err
		}
		o.n = copy(o.buf.b, b)
		return nil
	}
	return o.pushWith(b)
}

// putFile sends a range of a file, by sendfile where it pays.
func (o *output) putFile(p *Part) error {
	fd, ok := uintptr(0), false
	if o.sendfile && p.N >= sendfileMin {
		fd, ok = p.File.SysFd()
	}
	if ok {
		if err := o.push(true); err != nil {
			return err
		}
		return o.sendFile(fd, p.Off, p.N)
	}
	off, left := p.Off, p.N
	for left > 0 {
		o.take()
		if o.n == len(o.buf.b) {
			if err := o.push(true); err != nil {
				return err
			}
		}
		chunk := o.buf.b[o.n:min(len(o.buf.b), o.n+left)]
		n, err := p.File.ReadAt(chunk, off)
		if n < len(chunk) {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return o.failed(fmt.Errorf("read records to send: %w", err))
		}
		o.n, off, left = o.n+n, off+int64(n), left-n
	}
	return nil
}

// flush writes what was collected and tells the metrics.
func (o *output) flush() error {
	if err := o.push(false); err != nil {
		return err
	}
	if o.buf != nil {
		o.c.s.pool.put(o.buf)
		o.buf = nil
	}
	if len(o.sent) > 0 {
		now := time.Now()
		if m := o.c.s.cfg.Metrics; m != nil {
			for i := range o.sent {
				s := &o.sent[i]
				s.t.Send = now.Sub(s.ready)
				m.Request(&s.t)
			}
		}
		o.sent = o.sent[:0]
		if !o.c.writing.Load() {
			o.c.now = now
		}
	}
	return nil
}

// push writes buf; more says that other bytes follow at once.
func (o *output) push(more bool) error {
	if o.n == 0 {
		return nil
	}
	b := o.buf.b[:o.n]
	o.n = 0
	o.begin()
	defer o.end()
	var err error
	if more && o.sendfile {
		err = o.file.sendMore(b)
	} else {
		_, err = o.c.nc.Write(b)
	}
	if err != nil {
		return o.failed(err)
	}
	return nil
}

// pushWith writes buf and then b, in chunks.
func (o *output) pushWith(b []byte) error {
	o.begin()
	defer o.end()
	if o.n > 0 {
		first := b[:min(len(b), writeChunk)]
		o.vec = [2][]byte{o.buf.b[:o.n], first}
		bufs := net.Buffers(o.vec[:])
		o.n = 0
		if _, err := bufs.WriteTo(o.c.nc); err != nil {
			return o.failed(err)
		}
		b = b[len(first):]
	}
	for len(b) > 0 {
		o.begin()
		n, err := o.c.nc.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return o.failed(err)
		}
		b = b[n:]
	}
	return nil
}

func (o *output) sendFile(fd uintptr, off int64, n int) error {
	defer o.end()
	for n > 0 {
		o.begin()
		sent, err := o.file.send(fd, off, min(n, 4*writeChunk))
		if err != nil {
			return o.failed(fmt.Errorf("send records: %w", err))
		}
		off, n = off+int64(sent), n-sent
	}
	return nil
}

// begin and end mark a write for the sweeper; begin again is progress.
func (o *output) begin() { o.c.wsince.Store(o.c.s.nanos(time.Now())) }
func (o *output) end()   { o.c.wsince.Store(0) }

// failed ends the connection: a client that left, or one cut off within an
// answer, sees a broken stream and asks again elsewhere.
func (o *output) failed(err error) error {
	o.n, o.sent = 0, o.sent[:0]
	o.c.cut(err)
	return err
}
