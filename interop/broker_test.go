//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// bootstrap is the broker under test: BOOTSTRAP, or a gregor started here.
var bootstrap string

func cache(parts ...string) string {
	return filepath.Join(append([]string{os.Getenv("INTEROP_CACHE")}, parts...)...)
}

func TestMain(m *testing.M) {
	if os.Getenv("INTEROP_CACHE") == "" {
		fmt.Fprintln(os.Stderr, "start this suite with interop/run (make interop)")
		os.Exit(1)
	}
	stop := func() {}
	if bootstrap = os.Getenv("BOOTSTRAP"); bootstrap == "" {
		bootstrap, stop = startGregor()
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// startGregor runs the built server on free ports in a new directory and
// returns its address and what stops it.
func startGregor() (string, func()) {
	dir, err := os.MkdirTemp("", "gregor-interop")
	check(err)
	addr := freeAddr()
	cmd := exec.Command(cache("gregor"), "server",
		"--override", "listeners=PLAINTEXT://"+addr, "--override", "log.dirs="+filepath.Join(dir, "data"),
		"--override", "gregor.http.listener=none",
		"--override", "group.initial.rebalance.delay.ms=0", "--override", "message.max.bytes=3000000")
	log, err := os.Create(filepath.Join(dir, "server.log"))
	check(err)
	cmd.Stdout, cmd.Stderr = log, log
	check(cmd.Start())
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			dump(log.Name())
			check(fmt.Errorf("gregor does not listen on %s: %w", addr, err))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return addr, func() {
		check(cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil {
			dump(log.Name())
			check(fmt.Errorf("gregor's clean stop: %w", err))
		}
		check(os.RemoveAll(dir))
	}
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func dump(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		fmt.Fprintln(os.Stderr, "  server:", s.Text())
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
