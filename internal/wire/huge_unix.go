// SPDX-License-Identifier: Apache-2.0

//go:build unix

package wire

import "syscall"

// allocHuge takes memory from the system, which freeHuge gives back. Where the
// system has none, the heap is asked.
func allocHuge(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n)
	}
	return b
}

func freeHuge(b []byte) { _ = syscall.Munmap(b) } // of the heap: EINVAL, and nothing done
