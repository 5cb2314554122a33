// SPDX-License-Identifier: Apache-2.0

// scale measures three brokers with many partitions: real processes on this
// machine, started by `gregor cluster dev`. What each line of its table means
// is in ../README.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

var (
	gregor  = flag.String("gregor", "", "the gregor to measure")
	topics  = flag.Int("topics", 10, "topics")
	perEach = flag.Int("partitions", 1000, "partitions of each topic")
	port    = flag.Int("port", 47092, "port of the first broker")
	idle    = flag.Duration("idle", 30*time.Second, "how long idle CPU is measured")
	keep    = flag.Bool("keep", false, "leave the data directory")
	profile = flag.String("profile", "", "directory for CPU profiles of each phase, where brokers serve /debug/pprof")
)

const patience = 3 * time.Minute

func main() {
	flag.Parse()
	if *gregor == "" {
		fmt.Fprintln(os.Stderr, "-gregor is missing")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	dir, err := os.MkdirTemp("", "gregor-scale-")
	if err != nil {
		return err
	}
	if !*keep {
		defer os.RemoveAll(dir)
	} else {
		fmt.Println("data in", dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	c, err := start(ctx, dir)
	if err != nil {
		return err
	}
	defer c.stop()
	a, err := ask(c.boot())
	if err != nil {
		return err
	}
	defer a.close()
	m := &measuring{cluster: c, asker: a, out: os.Stdout}
	for _, phase := range []func(context.Context) error{
		m.atStart, m.create, m.idleEmpty, m.writeEach, m.idleWritten, m.scrape,
		m.cleanRestart, m.failover(false), m.failover(true),
	} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cluster is three brokers, all of them controllers too.
type cluster struct {
	dir     string
	dev     *exec.Cmd
	brokers [3]*broker
}

// broker is one process; exec'd anew it is ours, not `cluster dev`'s.
type broker struct {
	id   int32
	pid  int
	addr string
	http string
	conf string
	own  *exec.Cmd // nil: cluster dev's child
}

var row = regexp.MustCompile(`^\s*(\d+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\d+)\s`)

func start(ctx context.Context, dir string) (*cluster, error) {
	c := &cluster{dir: dir}
	// What a node may open is asked of it, not of this process' parent.
	c.dev = exec.CommandContext(ctx, "sh", "-c", `ulimit -n 20000; exec "$0" "$@"`, *gregor, "cluster", "dev", "--nodes", "3",
		"--port", strconv.Itoa(*port), "--dir", dir, pprof())
	c.dev.Cancel = func() error { return c.dev.Process.Signal(syscall.SIGTERM) }
	out, err := c.dev.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.dev.Stderr = os.Stderr
	c.dev.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.dev.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for found := 0; found < len(c.brokers) && lines.Scan(); {
		if f := row.FindStringSubmatch(lines.Text()); f != nil {
			pid, _ := strconv.Atoi(f[5])
			id, _ := strconv.Atoi(f[1])
			c.brokers[found] = &broker{id: int32(id), pid: pid, addr: f[2], http: f[4], conf: filepath.Join(dir, "node-"+f[1]+".properties")}
			found++
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // until the process is gone
	if c.brokers[2] == nil {
		c.stop()
		return nil, errors.New("the cluster does not start")
	}
	return c, nil
}

// pprof is a flag for each broker.
func pprof() string { return fmt.Sprintf("--override=gregor.http.pprof.enable=%t", *profile != "") }

func (c *cluster) boot() (addrs []string) {
	for _, b := range c.brokers {
		addrs = append(addrs, b.addr)
	}
	return addrs
}

func (c *cluster) stop() {
	for _, b := range c.brokers {
		if b != nil && b.own != nil {
			_ = b.own.Process.Signal(syscall.SIGTERM) // gone already: Wait says so
			_ = b.own.Wait()
		}
	}
	_ = c.dev.Process.Signal(syscall.SIGTERM)
	_ = c.dev.Wait()
}

// end sends a signal and waits until the process is gone.
func (b *broker) end(s syscall.Signal) (time.Duration, error) {
	began := time.Now()
	if err := syscall.Kill(b.pid, s); err != nil {
		return 0, err
	}
	if b.own != nil {
		_ = b.own.Wait() // a signal ended it
		b.own = nil
		return time.Since(began), nil
	}
	for until := began.Add(patience); syscall.Kill(b.pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			return 0, fmt.Errorf("broker %d does not stop", b.id)
		}
	}
	return time.Since(began), nil
}

// restart executes the broker again.
func (b *broker) restart() error {
	log, err := os.OpenFile(b.conf+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	b.own = exec.Command("sh", "-c", `ulimit -n 20000; exec "$0" "$@"`, *gregor, "server", "--config", b.conf, pprof())
	b.own.Stdout, b.own.Stderr = log, log
	b.own.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := b.own.Start(); err != nil {
		return err
	}
	b.pid = b.own.Process.Pid
	return nil
}

// get reads a page of the broker's HTTP listener.
func get(ctx context.Context, url string) (bytes int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return int(n), err
}

// save writes a page to a file.
func save(url, file string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, resp.Body); err == nil {
		err = f.Close()
	}
	return err
}
