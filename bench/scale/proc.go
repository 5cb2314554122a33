// SPDX-License-Identifier: Apache-2.0

package main

import "gregor/bench/proc"

// cpu is what a process has used so far, 0 when it is gone.
func cpu(pid int) float64 {
	used, err := proc.CPU(pid)
	if err != nil {
		return 0
	}
	return used
}

// rss and peak are in MB.
func rss(pid int) float64  { return proc.Status(pid, "VmRSS") }
func peak(pid int) float64 { return proc.Status(pid, "VmHWM") }
