// SPDX-License-Identifier: Apache-2.0

//go:build windows

package kafka

import (
	"errors"
	"syscall"
)

func awayFromTerminal() *syscall.SysProcAttr {
	const detached = 0x00000008
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP | detached}
}

var errNoSignals = errors.New("Windows has no way to ask another process to end; stop the server with Ctrl-C in its window")

func askToStop(int) error { return errNoSignals }

func serversHere() ([]process, error) { return nil, errNoSignals }
