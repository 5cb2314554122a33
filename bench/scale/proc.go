// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// cpu is the user and system seconds of a process so far.
func cpu(pid int) float64 {
	s, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(s[strings.LastIndexByte(string(s), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return float64(user+system) / 100
}

// rss and peak are in MB.
func rss(pid int) float64  { return status(pid, "VmRSS:") }
func peak(pid int) float64 { return status(pid, "VmHWM:") }

func status(pid int, field string) float64 {
	s, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, l := range strings.Split(string(s), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == field {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}

// files is how many descriptors a process holds.
func files(pid int) int {
	d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(d)
}

// busy is the machine's CPU seconds since boot, all of it.
func busy() float64 {
	s, _ := os.ReadFile("/proc/stat")
	f := strings.Fields(strings.SplitN(string(s), "\n", 2)[0])
	var t int
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user nice system irq softirq steal
		n, _ := strconv.Atoi(f[i])
		t += n
	}
	return float64(t) / 100
}
