//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// bootstrap is what is under test: BOOTSTRAP, or INTEROP_NODES nodes of gregor
// started here, which are restarted in turn where they are several.
var bootstrap string

func cache(parts ...string) string {
	return filepath.Join(append([]string{os.Getenv("INTEROP_CACHE")}, parts...)...)
}

// number is a setting of the suite's.
func number(env string, otherwise int) int {
	s := os.Getenv(env)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err == nil && n < 1 {
		err = errors.New("must be at least 1")
	}
	if err != nil {
		check(fmt.Errorf("%s=%s: %w", env, s, err))
	}
	return n
}

func TestMain(m *testing.M) {
	if os.Getenv("INTEROP_CACHE") == "" {
		fmt.Fprintln(os.Stderr, "start this suite with interop/run (make interop)")
		os.Exit(1)
	}
	stop := func() {}
	if bootstrap = os.Getenv("BOOTSTRAP"); bootstrap == "" {
		c := startCluster(number("INTEROP_NODES", 1))
		bootstrap, stop = c.seeds(), func() { c.stop(); c.remove() }
		if len(c.nodes) > 1 {
			rest := c.roll(time.Duration(number("INTEROP_PAUSE", 5)) * time.Second)
			stop = func() { fmt.Printf("%d restarts in turn\n", rest()); c.stop(); c.remove() }
		}
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// server is a gregor of our own.
type server struct {
	addr, dir string // dir holds data and server.log
	settings  []string
	cmd       *exec.Cmd
}

// startGregor runs the built server on a free port in a new directory.
func startGregor(overrides ...string) *server {
	s := newServer()
	s.start(overrides...)
	return s
}

func newServer() *server {
	dir, err := os.MkdirTemp("", "gregor-interop")
	check(err)
	addr := freeAddr()
	return &server{addr: addr, dir: dir, settings: []string{"listeners=PLAINTEXT://" + addr, "log.dirs=" + filepath.Join(dir, "data"),
		"gregor.http.listener=none", "group.initial.rebalance.delay.ms=0", "message.max.bytes=3000000"}}
}

func (s *server) start(overrides ...string) {
	s.launch(overrides...)
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			_ = s.cmd.Process.Kill()
			dump(s.log())
			check(fmt.Errorf("gregor does not listen on %s: %w", s.addr, err))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *server) log() string { return filepath.Join(s.dir, "server.log") }

// launch starts the process and does not wait for it to listen.
func (s *server) launch(overrides ...string) {
	args := []string{"server"}
	for _, o := range append(s.settings[:len(s.settings):len(s.settings)], overrides...) {
		args = append(args, "--override", o)
	}
	s.cmd = exec.Command(cache("gregor"), args...)
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(err)
	defer func() { _ = log.Close() }()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	check(s.cmd.Start())
}

// kill is kill -9.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// stop ends the server as an operator does; data stays.
func (s *server) stop() {
	check(s.cmd.Process.Signal(syscall.SIGTERM))
	if err := s.cmd.Wait(); err != nil {
		dump(s.log())
		check(fmt.Errorf("gregor's clean stop: %w", err))
	}
}

func (s *server) remove() { check(os.RemoveAll(s.dir)) }

// freeAddr is an address that nobody listens on, and that no connection is
// given as its own end while a server of ours is away.
func freeAddr() string {
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
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
