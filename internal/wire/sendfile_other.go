// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package wire

import (
	"errors"
	"net"
	"syscall"
)

// Files are copied through memory here.
func canSendfile(net.Conn) bool { return false }

type fileSend struct{}

func (*fileSend) init(syscall.RawConn) {}

func (*fileSend) send(uintptr, int64, int) (int, error) { return 0, errors.ErrUnsupported }
func (*fileSend) sendMore([]byte) error                 { return errors.ErrUnsupported }
