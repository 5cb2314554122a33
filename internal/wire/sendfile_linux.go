// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

func canSendfile(nc net.Conn) bool {
	_, ok := nc.(*net.TCPConn)
	return ok
}

// fileSend makes the two calls that Go's net package does not offer: sendfile
// with an offset of its own, so that many connections send from one open file,
// and send with MSG_MORE, so that headers share a packet with the records that
// follow. Its fields are the calls' arguments and results: the callbacks are
// made once, not for each call.
type fileSend struct {
	raw      syscall.RawConn
	fd       int
	off      int64
	want, n  int
	b        []byte
	err      error
	sendfile func(fd uintptr) bool
	sendmore func(fd uintptr) bool
}

func (f *fileSend) init(raw syscall.RawConn) { f.raw = raw }

// send sends at most want bytes of fd from off; it tells how many it did, at
// least one.
func (f *fileSend) send(fd uintptr, off int64, want int) (int, error) {
	if f.sendfile == nil {
		f.sendfile = f.trySendfile
	}
	f.fd, f.off, f.want, f.n, f.err = int(fd), off, want, 0, nil
	if err := f.raw.Write(f.sendfile); err != nil {
		return f.n, err
	}
	if f.err == nil && f.n == 0 {
		f.err = io.ErrUnexpectedEOF
	}
	return f.n, f.err
}

func (f *fileSend) trySendfile(fd uintptr) bool {
	for {
		n, err := unix.Sendfile(int(fd), f.fd, &f.off, f.want)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		f.n, f.err = n, err
		return true
	}
}

func (f *fileSend) sendMore(b []byte) error {
	if f.sendmore == nil {
		f.sendmore = f.trySendMore
	}
	f.b, f.err = b, nil
	err := f.raw.Write(f.sendmore)
	f.b = nil
	if err != nil {
		return err
	}
	return f.err
}

func (f *fileSend) trySendMore(fd uintptr) bool {
	for len(f.b) > 0 {
		n, err := unix.SendmsgN(int(fd), f.b, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			f.err = err
			return true
		default:
			f.b = f.b[n:]
		}
	}
	return true
}
