// SPDX-License-Identifier: Apache-2.0

// Package proc reads from /proc what processes and the machine have used.
package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticks of the clock by which Linux counts CPU time, in a second.
const ticks = 100

// CPU is the user and system seconds of a process so far: all threads, and the
// children that it has waited for.
func CPU(pid int) (float64, error) {
	s, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return sum(strings.Fields(string(s[strings.LastIndexByte(string(s), ')')+2:])), 11, 12, 13, 14), nil // utime stime cutime cstime
}

// Busy is the machine's CPU seconds since boot, stolen ones with them.
func Busy() float64 {
	s, _ := os.ReadFile("/proc/stat")
	return sum(strings.Fields(strings.SplitN(string(s), "\n", 2)[0]), 1, 2, 3, 6, 7, 8) // user nice system irq softirq steal
}

func sum(fields []string, which ...int) float64 {
	var t int
	for _, i := range which {
		n, _ := strconv.Atoi(fields[i])
		t += n
	}
	return float64(t) / ticks
}

// Status is a field of /proc/PID/status that is in kB, such as VmRSS, in MB; 0
// when the process is gone.
func Status(pid int, field string) float64 {
	s, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for l := range strings.Lines(string(s)) {
		if rest, ok := strings.CutPrefix(l, field+":"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// Files is how many descriptors a process holds.
func Files(pid int) int {
	d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(d)
}
