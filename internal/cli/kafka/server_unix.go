// SPDX-License-Identifier: Apache-2.0

//go:build unix

package kafka

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func awayFromTerminal() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func askToStop(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }

// serversHere looks through /proc, and where there is none asks ps.
func serversHere() ([]process, error) {
	var found []process
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		raw, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || pid == os.Getpid() {
			continue
		}
		args := strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
		if isServer(args) {
			cwd, _ := os.Readlink(filepath.Join(d, "cwd"))
			found = append(found, process{pid, args, cwd})
		}
	}
	if len(dirs) > 0 {
		return found, nil
	}
	out, err := exec.Command("ps", "ax", "-o", "pid=,args=").Output()
	if err != nil {
		return nil, err
	}
	cwd, _ := os.Getwd()
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		if len(words) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(words[0])
		if pid != os.Getpid() && isServer(words[1:]) {
			found = append(found, process{pid, words[1:], cwd})
		}
	}
	return found, nil
}
