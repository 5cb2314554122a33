// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// readiness: this system completes reads rather than telling of readiness.
func readiness(net.Conn) syscall.RawConn { return nil }

func readSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func peerGone(syscall.RawConn) bool { return false }

func wouldBlock(error) bool { return false }
