// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gregor/bench/proc"
)

// cpu is what the given processes have used so far.
func cpu(pids []int) (seconds float64) {
	for _, p := range pids {
		used, err := proc.CPU(p)
		if err != nil {
			panic(fmt.Sprintf("broker process %d is gone: %v", p, err))
		}
		seconds += used
	}
	return seconds
}

// status sums one kB field of /proc/PID/status, in MB.
func status(pids []int, field string) (mb float64) {
	for _, p := range pids {
		mb += proc.Status(p, field)
	}
	return mb
}

// resetPeak makes VmHWM start again from the present RSS.
func resetPeak(pids []int) {
	for _, p := range pids {
		check(os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p), []byte("5"), 0))
	}
}

func selfCPU() float64 {
	var r syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
}

// span measures one workload: broker CPU, client CPU, wall, peak memory.
type span struct {
	b       *broker
	t       time.Time
	bc, cc  float64
	machine float64
	stop    chan struct{}
	anon    chan float64
}

func begin(b *broker) *span {
	resetPeak(b.pids)
	s := &span{b: b, bc: cpu(b.pids), cc: selfCPU(), machine: proc.Busy(), stop: make(chan struct{}), anon: make(chan float64)}
	go func() {
		var mx float64
		for {
			mx = max(mx, status(b.pids, "RssAnon"))
			select {
			case <-s.stop:
				s.anon <- mx
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	s.t = time.Now()
	return s
}

func (s *span) end(records, bytes float64) result {
	el := time.Since(s.t).Seconds()
	cli := selfCPU() - s.cc
	time.Sleep(30 * time.Millisecond) // let the tick accounting settle
	brk := cpu(s.b.pids) - s.bc
	close(s.stop)
	// CPU that neither the broker nor the load generator used, in percent of one
	// core: other tenants, kernel writeback. High values mark a noisy round.
	other := (proc.Busy() - s.machine - brk - cli) / (el + 0.03) * 100
	r := result{"other_cpu_pct": max(0, other), "rss_peak_mb": status(s.b.pids, "VmHWM"), "rss_anon_peak_mb": <-s.anon, "wall_s": el}
	if bytes > 0 {
		g := bytes / 1e9
		r["MBps"] = bytes / 1e6 / el
		r["broker_cpu_s_GB"] = brk / g
		r["client_cpu_s_GB"] = cli / g
	}
	if records > 0 {
		r["krec_s"] = records / 1e3 / el
		r["broker_us_rec"] = brk * 1e6 / records
	}
	return r
}

// fillCache reads a sparse file until little memory is free, so that page-cache
// growth is served from reclaim instead of memory that a hypervisor must first
// back (which here costs up to 2 CPU-s/GB and drowns everything else).
var fillPos int64

func memFree() int {
	s, _ := os.ReadFile("/proc/meminfo")
	for _, l := range strings.Split(string(s), "\n") {
		if strings.HasPrefix(l, "MemFree:") {
			n, _ := strconv.Atoi(strings.Fields(l)[1])
			return n / 1024
		}
	}
	return 0
}

// fillReserve is what stayed free, in MB, the last time filling gave up.
var fillReserve int

func fillCache(limit int) {
	if limit <= 0 {
		return
	}
	limit = max(limit, fillReserve)
	const size = 60 << 30
	p := *fillDir + "/kbench.sparse"
	f, err := os.OpenFile(p, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if f.Truncate(size) != nil {
		return
	}
	buf := make([]byte, 1<<20)
	// The kernel may keep a reserve free for ever: give up after a minute and say so.
	for end := time.Now().Add(time.Minute); memFree() > limit; {
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "page cache not filled: %d MB still free after a minute\n", memFree())
			fillReserve = memFree() * 5 / 4
			return
		}
		for range 64 {
			n, err := f.ReadAt(buf, fillPos)
			fillPos += int64(n)
			if err == io.EOF || fillPos >= size {
				fillPos = 0
			}
		}
	}
}
