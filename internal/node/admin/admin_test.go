// SPDX-License-Identifier: Apache-2.0

// Goal: those who watch a node get the truth, and no more than the operator
// allowed. Method: a server on a free port, asked over HTTP.
package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func start(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{Addr: "127.0.0.1:0", Gatherer: prometheus.NewRegistry(), Live: func() error { return nil }, Ready: func() error { return nil }}
	if change != nil {
		change(&cfg)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func ask(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealthFollowsTheNode(t *testing.T) {
	t.Parallel()
	var ready atomic.Bool
	s := start(t, func(c *Config) {
		c.Ready = func() error {
			if !ready.Load() {
				return errors.New("logs are being recovered")
			}
			return nil
		}
	})
	if code, body := ask(t, s, "/health/ready"); code != 503 || !strings.Contains(body, "recovered") {
		t.Error(code, body)
	}
	ready.Store(true)
	for _, path := range []string{"/health/ready", "/health/live"} {
		if code, body := ask(t, s, path); code != 200 || body != "ok\n" {
			t.Error(path, code, body)
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "a_total", Help: "A."})
	c.Add(3)
	reg.MustRegister(c)
	s := start(t, func(cfg *Config) { cfg.Gatherer = reg })
	if code, body := ask(t, s, "/metrics"); code != 200 || !strings.Contains(body, "a_total 3") {
		t.Error(code, body)
	}
	if code, body := ask(t, s, "/"); code != 200 || !strings.Contains(body, "/metrics") || strings.Contains(body, "pprof") {
		t.Error(code, body)
	}
}

func TestProfilesOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	if code, _ := ask(t, start(t, nil), "/debug/pprof/"); code != 404 {
		t.Errorf("profiles are served unasked: %d", code)
	}
	s := start(t, func(c *Config) { c.Pprof = true })
	if code, body := ask(t, s, "/debug/pprof/"); code != 200 || !strings.Contains(body, "goroutine") {
		t.Error(code, body)
	}
}

func TestATakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if s, err := Start(Config{Addr: taken.Addr().String(), Gatherer: prometheus.NewRegistry()}); err == nil {
		s.Close(context.Background())
		t.Fatal("a taken port that was asked for was given up for another")
	} else if !strings.Contains(err.Error(), "gregor.http.listener "+taken.Addr().String()) {
		t.Error(err)
	}
	s := start(t, func(c *Config) { c.Addr, c.Fallback = taken.Addr().String(), true })
	if !s.Moved() || s.Addr() == taken.Addr().String() {
		t.Errorf("listens on %s", s.Addr())
	}
	if code, _ := ask(t, s, "/health/live"); code != 200 {
		t.Error(code)
	}
}

// Many askers wait their turn; none of them is lost, and Close does not hang
// on those that wait.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBounded(inner, 1)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer dial().Close()
	defer dial().Close()
	first, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	accept := func() {
		c, err := b.Accept()
		if err == nil {
			defer c.Close()
		}
		second <- err
	}
	go accept()
	select {
	case <-second:
		t.Fatal("two connections are open")
	default:
	}
	first.Close()
	first.Close() // a second Close gives no second place
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	b.room <- struct{}{}
	go accept()
	b.Close()
	if err := <-second; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the waiting Accept ended with %v", err)
	}
}
