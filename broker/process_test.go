// SPDX-License-Identifier: Apache-2.0

// The tests of this package run `gregor server` as a process of its own: this
// test's binary, started again, which then is nothing but the gregor command.
package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/cli"
	"gregor/internal/freeport"
)

// asGregor in the environment makes this binary the gregor command.
const asGregor = "BROKER_TEST_AS_GREGOR"

// notPermitted is the exit status of a process that could not be prepared.
const notPermitted = 77

func TestMain(m *testing.M) {
	if os.Getenv(asGregor) == "" {
		os.Exit(m.Run())
	}
	if err := prepareProcess(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(notPermitted)
	}
	// The test holds the other end of stdin: when it is gone, so are we.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := cli.Main(ctx, os.Args, cli.OSEnv())
	stop()
	os.Exit(status)
}

// process is a gregor server under test. Its methods belong to one goroutine,
// but for errors.
type process struct {
	t         testing.TB
	dir, addr string
	overrides []string
	env       []string
	prepare   func(*exec.Cmd) // nil: nothing
	cmd       *exec.Cmd
	output    *bufio.Scanner // stdout
	log       *lines         // stderr
}

func newProcess(t testing.TB, overrides ...string) *process {
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: t.TempDir(), addr: addr, overrides: overrides}
	t.Cleanup(func() { p.kill() }) // registered after TempDir: runs before its removal
	return p
}

// launch starts the process and does not wait for anything.
func (p *process) launch() {
	p.t.Helper()
	args := []string{"server", "-o", "log.dirs=" + p.dir, "-o", "listeners=PLAINTEXT://" + p.addr, "-o", "gregor.http.listener=none"}
	for _, o := range p.overrides {
		args = append(args, "-o", o)
	}
	c := exec.Command(os.Args[0], args...)
	c.Env = append(append(os.Environ(), asGregor+"=1"), p.env...)
	if p.prepare != nil {
		p.prepare(c)
	}
	if _, err := c.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.log = &lines{}
	c.Stderr = p.log
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.output = c, bufio.NewScanner(out)
}

// start launches the process and waits until it serves.
func (p *process) start() {
	p.t.Helper()
	if status := p.tryStart(); status != 0 {
		p.t.Fatalf("the server did not start, status %d:\n%s", status, p.log)
	}
}

// tryStart is start, or the status with which the process ended.
func (p *process) tryStart() int {
	p.t.Helper()
	p.launch()
	for p.output.Scan() {
		if strings.Contains(p.output.Text(), "listens on") {
			go func(s *bufio.Scanner) {
				for s.Scan() { //nolint:revive // what it says later is of no use
				}
			}(p.output)
			return 0
		}
	}
	_ = p.cmd.Wait() // the status tells
	status := p.cmd.ProcessState.ExitCode()
	p.cmd = nil
	return status
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // says that it was killed
	p.cmd = nil
}

// lines keeps the end of what a process says.
type lines struct {
	mu  sync.Mutex // leaf
	buf bytes.Buffer
}

const linesMax = 256 << 10

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > linesMax {
		l.buf.Next(linesMax / 2)
	}
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// client is a franz-go client that tries again soon.
func client(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// within bounds a test that would hang.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// fromEnv is a number that the environment may raise, as make soak does.
func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
