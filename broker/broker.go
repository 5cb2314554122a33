// SPDX-License-Identifier: Apache-2.0

// Package broker runs Gregor inside a Go program: the same node that `gregor
// server` starts, with the same properties.
//
//	b, err := broker.New(broker.Config{Overrides: []string{"log.dirs=/var/lib/app/kafka"}})
//	...
//	err = b.Run(ctx) // serves until ctx ends, then stops cleanly
//
// Several brokers may run in one process; they share nothing.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gregor/internal/config"
	"gregor/internal/node"
)

// Config says what to run. Without a File it is one node for this machine, as
// `gregor server` without arguments.
type Config struct {
	// File is a server.properties, "" for none.
	File string
	// Environ are NAME=value pairs of which GREGOR_* count, as os.Environ gives
	// them; nil for none.
	Environ []string
	// Overrides are key=value pairs that win over file and environment.
	Overrides []string
	// Log takes the broker's lines of every level; gregor.log.level says which
	// come. nil drops them.
	Log slog.Handler
	// StopTimeout bounds how long Run waits at the end for requests in flight;
	// 0 means 30 s.
	StopTimeout time.Duration
}

// Broker is one node.
type Broker struct {
	node *node.Node
	stop time.Duration
}

// New reads the configuration; its error names everything that is wrong with
// it. Nothing is touched before Start.
func New(c Config) (*Broker, error) {
	s, err := config.Load(config.Options{File: c.File, Environ: c.Environ, Overrides: c.Overrides, SingleNode: c.File == ""})
	if err != nil {
		return nil, err
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 30 * time.Second
	}
	return &Broker{node: node.New(node.Config{Settings: s, Log: c.Log}), stop: c.StopTimeout}, nil
}

// Run is Start, and Stop when ctx ends or the broker cannot go on.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-b.node.Failed():
	}
	return errors.Join(b.node.Err(), b.Stop())
}

// Start brings the broker up; when it returns nil, clients are served. ctx
// bounds the start only.
func (b *Broker) Start(ctx context.Context) error { return b.node.Start(ctx) }

// Stop ends a started broker cleanly.
func (b *Broker) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), b.stop)
	defer cancel()
	return b.node.Close(ctx)
}

// Failed is closed when the broker cannot go on, Err then tells why; Stop is
// still to be called.
func (b *Broker) Failed() <-chan struct{} { return b.node.Failed() }

// Err tells why Failed was closed, nil before.
func (b *Broker) Err() error { return b.node.Err() }

// Addr is where the first listener listens, as host:port.
func (b *Broker) Addr() string { return b.node.Addr("") }

// Listening are all the addresses that are bound, as NAME://host:port.
func (b *Broker) Listening() []string { return b.node.Listening() }

// Advertised are the addresses that clients are told, as NAME://host:port.
func (b *Broker) Advertised() []string {
	var out []string
	for _, e := range b.node.Advertised() {
		out = append(out, e.String())
	}
	return out
}

// HTTPAddr is where metrics and health are served, "" when they are not.
func (b *Broker) HTTPAddr() string { return b.node.HTTPAddr() }

// Dirs are the log directories.
func (b *Broker) Dirs() []string { return b.node.Dirs() }
