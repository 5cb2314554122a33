// SPDX-License-Identifier: Apache-2.0

// Package loggers gives each component a slog.Logger of its own whose level
// can be changed while the broker runs, as Kafka's BROKER_LOGGER configs do.
//
// A component without a level of its own has root's. Names are fixed when the
// set is made, so a typing error in an admin tool is noticed.
//
// Concurrency: levels are atomic; Set and Unset may run beside logging.
package loggers

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
)

// Root is the name whose level holds for components without their own.
const Root = "root"

// levels are Kafka's names of levels in order of severity; slog has no name
// for the first and the last.
var levels = []struct {
	name  string
	level slog.Level
}{
	{"TRACE", slog.LevelDebug - 4}, {"DEBUG", slog.LevelDebug}, {"INFO", slog.LevelInfo},
	{"WARN", slog.LevelWarn}, {"ERROR", slog.LevelError}, {"FATAL", slog.LevelError + 4},
}

// ValidLevels are the names that Set takes, in the order of the alphabet.
func (s *Set) ValidLevels() []string {
	var names []string
	for _, l := range levels {
		names = append(names, l.name)
	}
	slices.Sort(names)
	return names
}

// unset is an own level that is not there.
const unset = int64(-1 << 32)

// Set is the loggers of one broker.
type Set struct {
	handler slog.Handler
	names   []string // in order, with Root
	own     map[string]*atomic.Int64
}

// New makes a set over a handler, which should let every level through.
func New(h slog.Handler, root slog.Level, components ...string) *Set {
	s := &Set{handler: h, own: map[string]*atomic.Int64{}}
	s.names = append(slices.Clone(components), Root)
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	for _, n := range s.names {
		v := new(atomic.Int64)
		v.Store(unset)
		s.own[n] = v
	}
	s.own[Root].Store(int64(root))
	return s
}

// Logger is the logger of a component; one that was not announced to New gets
// root's level. Its lines carry the component's name.
func (s *Set) Logger(component string) *slog.Logger {
	own := s.own[component]
	if own == nil {
		own = s.own[Root]
	}
	l := slog.New(&handler{inner: s.handler, own: own, root: s.own[Root]})
	if component == Root {
		return l
	}
	return l.With("component", component)
}

// Each tells every logger and its level in force, by name.
func (s *Set) Each(tell func(logger, level string)) {
	for _, n := range s.names {
		tell(n, name(effective(s.own[n], s.own[Root])))
	}
}

// Known tells whether there is a logger of that name.
func (s *Set) Known(name string) bool { return s.own[name] != nil }

// Set gives a logger a level; false when either is unknown.
func (s *Set) Set(logger, level string) bool {
	own := s.own[logger]
	for _, l := range levels {
		if own != nil && l.name == level {
			own.Store(int64(l.level))
			return true
		}
	}
	return false
}

// Unset makes a logger follow root again; root itself cannot be unset.
func (s *Set) Unset(logger string) bool {
	own := s.own[logger]
	if own == nil || logger == Root {
		return false
	}
	own.Store(unset)
	return true
}

func effective(own, root *atomic.Int64) slog.Level {
	if l := own.Load(); l != unset {
		return slog.Level(l)
	}
	return slog.Level(root.Load())
}

func name(l slog.Level) string {
	for _, known := range levels {
		if l <= known.level {
			return known.name
		}
	}
	return levels[len(levels)-1].name
}

// handler lets lines through by the component's level in force.
type handler struct {
	inner     slog.Handler
	own, root *atomic.Int64
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= effective(h.own, h.root) }

func (h *handler) Handle(ctx context.Context, r slog.Record) error { return h.inner.Handle(ctx, r) }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.inner.WithAttrs(attrs), h.own, h.root}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.inner.WithGroup(name), h.own, h.root}
}
