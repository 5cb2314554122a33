// SPDX-License-Identifier: Apache-2.0

//go:build unix

package node

import "syscall"

// cpuTime is what this process has used, in ns.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
