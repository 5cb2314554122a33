// SPDX-License-Identifier: Apache-2.0

// Package admin is a node's HTTP face for those who watch it: metrics for
// Prometheus, health checks, and Go's profiles where the operator asked for
// them. It knows nothing of the node but the functions it is given, changes
// nothing, and serves no records.
//
//	/metrics        Prometheus text, OpenMetrics on request
//	/health/live    200 while the process works, 503 with the reason when it does not
//	/health/ready   200 once clients are served, 503 with the reason before
//	/debug/pprof/   Go's profiles, only with gregor.http.pprof.enable
//	/               what there is
//
// Concurrency: net/http's goroutines and one that accepts; Close stops all
// and waits.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says where to listen and what to show.
type Config struct {
	Addr string // host:port
	// Fallback: when Addr is taken, take a free port of the same host instead
	// (nobody asked for this one).
	Fallback bool
	Pprof    bool
	Gatherer prometheus.Gatherer
	// Live and Ready return nil when all is well, else the reason.
	Live, Ready func() error
	// Listen makes the listener; nil is TCP.
	Listen func(addr string) (net.Listener, error)
	// Failed is told once when serving ends by itself. May be nil.
	Failed func(err error)
}

// Server serves until Close.
type Server struct {
	http     *http.Server
	listener net.Listener
	moved    bool
	done     chan struct{} // closed when the accepting goroutine has ended
}

// Bounds on those who ask. A scrape of a big node takes a second; nobody
// needs many at a time.
const (
	maxScrapes     = 4
	scrapePatience = 30 * time.Second
	headerPatience = 10 * time.Second
	maxHeaderBytes = 16 << 10
	idlePatience   = 2 * time.Minute
	maxConnections = 256
)

// Start listens and serves.
func Start(cfg Config) (*Server, error) {
	listen := cfg.Listen
	if listen == nil {
		listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	l, err := listen(cfg.Addr)
	moved := false
	if err != nil && cfg.Fallback {
		host, _, splitErr := net.SplitHostPort(cfg.Addr)
		if splitErr == nil {
			if other, again := listen(net.JoinHostPort(host, "0")); again == nil {
				l, err, moved = other, nil, true
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("gregor.http.listener %s: %w", cfg.Addr, err)
	}
	s := &Server{
		listener: l, moved: moved, done: make(chan struct{}),
		http: &http.Server{
			Handler:           routes(cfg),
			ReadHeaderTimeout: headerPatience, ReadTimeout: headerPatience,
			IdleTimeout: idlePatience, MaxHeaderBytes: maxHeaderBytes,
		},
	}
	go func() {
		defer close(s.done)
		err := s.http.Serve(newBounded(l, maxConnections))
		if !errors.Is(err, http.ErrServerClosed) && cfg.Failed != nil {
			cfg.Failed(err)
		}
	}()
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Moved tells that the wanted address was taken and a free port is used.
func (s *Server) Moved() bool { return s.moved }

// Close waits for answers under way until ctx ends, then cuts them off.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

func routes(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
		// One broken series must not blind the operator to all others.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapePatience,
		EnableOpenMetrics:   true,
	}))
	mux.Handle("GET /health/live", health(cfg.Live))
	mux.Handle("GET /health/ready", health(cfg.Ready))
	links := "/metrics\n/health/live\n/health/ready\n"
	if cfg.Pprof {
		links += "/debug/pprof/\n"
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, "Gregor. Here are:\n"+links)
	})
	return mux
}

func health(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		say(w, http.StatusOK, "ok\n")
	})
}

func say(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	io.WriteString(w, words) //nolint:errcheck // the asker has gone; nobody is left to tell
}
