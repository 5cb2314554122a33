// SPDX-License-Identifier: Apache-2.0

// Goal: limits on connections hold for each listener, and change while the
// server runs. Method: two listeners of one server and real connections; the
// pacer alone with a clock of its own.
package wire

import (
	"context"
	"net"
	"testing"
	"time"
)

func TestLimitsOfOneListenerThatChange(t *testing.T) {
	t.Parallel()
	opened := make(chan string, 100)
	s := NewServer(Config{Handler: newEcho(), Metrics: openings{opened}})
	s.SetLimits(Limits{MaxPerIP: 100, Listeners: map[string]ListenerLimits{"SMALL": {MaxConnections: 1}}})
	addr := map[string]string{}
	for _, name := range []string{"SMALL", "WIDE"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr[name] = l.Addr().String()
		go s.Serve(l, name) //nolint:errcheck // nil after Close
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	dial := func(name string) net.Conn {
		c, err := net.Dial("tcp", addr[name])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first := dial("SMALL")
	if got := <-opened; got != "SMALL" {
		t.Fatal(got)
	}
	dial("SMALL") // waits in the system's queue
	dial("WIDE")
	if got := <-opened; got != "WIDE" {
		t.Fatalf("%s was opened above its limit", got)
	}
	first.Close()
	if got := <-opened; got != "SMALL" {
		t.Fatal(got)
	}
	dial("SMALL")
	s.SetLimits(Limits{MaxPerIP: 100})
	if got := <-opened; got != "SMALL" {
		t.Fatal(got)
	}
}

// openings is a Metrics that tells of new connections.
type openings struct{ opened chan string }

func (openings) Request(*Timing)              {}
func (o openings) ConnOpened(listener string) { o.opened <- listener }
func (openings) ConnClosed(string)            {}

func TestPacer(t *testing.T) {
	t.Parallel()
	var p pacer
	now := time.Unix(1000, 0)
	for i := range 10 {
		if w := p.take(now, 10); w != 0 {
			t.Fatalf("connection %d of the first second waits %v", i, w)
		}
	}
	if w := p.take(now, 10); w != 100*time.Millisecond {
		t.Errorf("the eleventh waits %v", w)
	}
	if w := p.take(now.Add(300*time.Millisecond), 10); w != 0 {
		t.Errorf("after 300 ms it waits %v", w)
	}
	if w := p.take(now.Add(time.Hour), 1); w != 0 {
		t.Errorf("one a second, after an hour: %v", w)
	}
	if w := p.take(now.Add(time.Hour), 1); w != time.Second {
		t.Errorf("one a second, the second: %v", w)
	}
	if w := p.take(now, 0); w != 0 {
		t.Errorf("without a limit: %v", w)
	}
}

// Clients that take all connections there are do not keep nodes from each other.
func TestNodesAreLetInBesideTheLimits(t *testing.T) {
	t.Parallel()
	opened := make(chan string, 100)
	s := NewServer(Config{Handler: newEcho(), Metrics: openings{opened}})
	s.SetLimits(Limits{MaxPerIP: 100, MaxConnections: 1, MaxPerSec: 1, Apart: map[string]bool{"NODES": true}})
	addr := map[string]string{}
	for _, name := range []string{"CLIENTS", "NODES"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr[name] = l.Addr().String()
		go s.Serve(l, name) //nolint:errcheck // nil after Close
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	for _, name := range []string{"CLIENTS", "NODES", "NODES"} {
		c, err := net.Dial("tcp", addr[name])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		select {
		case got := <-opened:
			if got != name {
				t.Fatalf("%s was opened", got)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody is let in over %s", name)
		}
	}
}
