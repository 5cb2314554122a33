// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// interrupt ends the process at once: there is no signal that it would take.
func interrupt(p *os.Process) error { return p.Kill() }
