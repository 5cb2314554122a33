// SPDX-License-Identifier: Apache-2.0

//go:build unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// readiness gives access to a socket's descriptor, or nil.
func readiness(nc net.Conn) syscall.RawConn {
	switch sc := nc.(type) {
	case *net.TCPConn:
		raw, err := sc.SyscallConn()
		if err == nil {
			return raw
		}
	case *net.UnixConn:
		raw, err := sc.SyscallConn()
		if err == nil {
			return raw
		}
	}
	return nil
}

func readSocket(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// peerGone tells whether the other end has closed and left nothing to read.
func peerGone(raw syscall.RawConn) bool {
	if raw == nil {
		return false
	}
	gone := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n <= 0 && !wouldBlock(err) && !errors.Is(err, syscall.EINTR)
	})
	return gone
}

func wouldBlock(err error) bool { return errors.Is(err, syscall.EAGAIN) }
