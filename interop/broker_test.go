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
		s := startGregor()
		bootstrap, stop = s.addr, func() { s.stop(); s.remove() }
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// server is a gregor of our own.
type server struct {
	addr, dir string // dir holds data and server.log
	cmd       *exec.Cmd
}

// startGregor runs the built server on a free port in a new directory.
func startGregor(overrides ...string) *server {
	dir, err := os.MkdirTemp("", "gregor-interop")
	check(err)
	s := &server{addr: freeAddr(), dir: dir}
	s.start(overrides...)
	return s
}

func (s *server) start(overrides ...string) {
	args := []string{"server", "--override", "listeners=PLAINTEXT://" + s.addr, "--override", "log.dirs=" + filepath.Join(s.dir, "data")}
	for _, o := range append([]string{"gregor.http.listener=none", "group.initial.rebalance.delay.ms=0", "message.max.bytes=3000000"}, overrides...) {
		args = append(args, "--override", o)
	}
	s.cmd = exec.Command(cache("gregor"), args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(err)
	defer func() { _ = log.Close() }()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	check(s.cmd.Start())
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			_ = s.cmd.Process.Kill()
			dump(log.Name())
			check(fmt.Errorf("gregor does not listen on %s: %w", s.addr, err))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends the server as an operator does; data stays.
func (s *server) stop() {
	check(s.cmd.Process.Signal(syscall.SIGTERM))
	if err := s.cmd.Wait(); err != nil {
		dump(filepath.Join(s.dir, "server.log"))
		check(fmt.Errorf("gregor's clean stop: %w", err))
	}
}

func (s *server) remove() { check(os.RemoveAll(s.dir)) }

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
