// SPDX-License-Identifier: Apache-2.0

package vnet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Weather is what packets meet on every link.
type Weather struct {
	// Delay of a packet is uniform in [MinDelay, MaxDelay].
	MinDelay, MaxDelay time.Duration
	// One packet in StallOneIn is lost and comes again after Stall; 0: none.
	StallOneIn int64
	Stall      time.Duration
	// One packet in ResetOneIn ends its connection; 0: none.
	ResetOneIn int64
}

// Fair is the weather of one data centre.
func Fair() Weather {
	return Weather{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond}
}

// Net is a network. Its methods may be called from any goroutine of one
// bubble.
type Net struct {
	mu      sync.Mutex // guards everything in the package; a leaf
	rng     *rand.Rand
	weather Weather
	hosts   map[string]*Host
	cut     map[link]bool
	conns   map[*conn]struct{} // one end each; both ends are in
	dialing map[chan struct{}]struct{}
	port    int
}

// link is one direction between two hosts.
type link struct{ from, to string }

// New makes a network without hosts, in fair weather.
func New(seed uint64) *Net {
	return &Net{
		rng: rand.New(rand.NewPCG(seed, 0x766e6574)), weather: Fair(), hosts: map[string]*Host{}, cut: map[link]bool{},
		conns: map[*conn]struct{}{}, dialing: map[chan struct{}]struct{}{}, port: 32768,
	}
}

// Host returns the host with that IP address; it is made at the first call.
func (n *Net) Host(ip string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[ip]
	if h == nil {
		h = &Host{n: n, ip: ip, listeners: map[int]*listener{}}
		n.hosts[ip] = h
	}
	return h
}

// SetWeather changes what packets sent from now on meet.
func (n *Net) SetWeather(w Weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.weather = w
}

// Cut holds everything that from sends to to. Both ways: cut twice.
func (n *Net) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{from, to}] = true
}

// Part cuts every link between the two groups, both ways.
func (n *Net) Part(some, others []string) {
	for _, a := range some {
		for _, b := range others {
			n.Cut(a, b)
			n.Cut(b, a)
		}
	}
}

// Heal undoes Cut.
func (n *Net) Heal(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, link{from, to})
	n.changed()
}

// HealAll undoes every Cut.
func (n *Net) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.changed()
}

// ResetBetween ends the connections between two hosts, as a firewall does that
// forgot them.
func (n *Net) ResetBetween(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.host.ip == a && c.peer.host.ip == b {
			c.reset()
			c.peer.reset()
		}
	}
}

// changed wakes all who wait: links or hosts have come back.
func (n *Net) changed() {
	for c := range n.conns {
		c.wake()
	}
	for w := range n.dialing {
		close(w)
	}
	clear(n.dialing)
}

// reaches tells whether packets get from one host to the other now.
func (n *Net) reaches(from, to *Host) bool {
	return !from.off && !to.off && !n.cut[link{from.ip, to.ip}]
}

func (n *Net) delay() time.Duration {
	d := n.weather.MinDelay
	if more := n.weather.MaxDelay - d; more > 0 {
		d += time.Duration(n.rng.Int64N(int64(more)))
	}
	if n.oneIn(n.weather.StallOneIn) {
		d += n.weather.Stall
	}
	return d
}

func (n *Net) oneIn(k int64) bool { return k > 0 && n.rng.Int64N(k) == 0 }

// Host is one machine.
type Host struct {
	n         *Net
	ip        string
	off       bool
	listeners map[int]*listener
}

// IP is the host's address.
func (h *Host) IP() string { return h.ip }

// Kill ends the process on the host: ports close, and peers of its connections
// get a reset, as far as the links let it through.
func (h *Host) Kill() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.end(true)
}

// PowerOff ends host and process at once: nobody hears of it.
func (h *Host) PowerOff() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.off = true
	h.end(false)
}

// PowerOn brings the host back. Who still holds a connection to what ran there
// gets a reset.
func (h *Host) PowerOn() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.off = false
	for c := range h.n.conns {
		if c.peer.host == h && c.peer.closed && c.peer.silent {
			c.peer.out(segment{rst: true})
			c.peer.silent = false
		}
	}
	h.n.changed()
}

func (h *Host) end(tell bool) {
	for _, l := range h.listeners {
		l.end()
	}
	for c := range h.n.conns {
		if c.host != h || c.closed {
			continue
		}
		if tell {
			c.out(segment{rst: true})
		}
		c.silent = !tell
		c.finish()
	}
}

// Listen takes a port of the host.
func (h *Host) Listen(_ context.Context, addr string) (net.Listener, error) {
	a, err := tcpAddr(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if a.Port == 0 {
		h.n.port++
		a.Port = h.n.port
	}
	a.IP = net.ParseIP(h.ip)
	if h.listeners[a.Port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: a, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{host: h, addr: a, queue: make(chan *conn, 128), done: make(chan struct{})}
	h.listeners[a.Port] = l
	return l, nil
}

// Dial connects to addr. As long as packets do not get through it waits, until
// ctx ends.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	fail := func(a net.Addr, err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: a, Err: err}
	}
	a, err := tcpAddr(addr)
	if err != nil {
		return fail(nil, err)
	}
	n := h.n
	for {
		n.mu.Lock()
		to := n.hosts[a.IP.String()]
		if to != nil && n.reaches(h, to) && n.reaches(to, h) {
			trip := n.delay() + n.delay()
			n.mu.Unlock()
			if err := sleep(ctx, trip); err != nil {
				return fail(a, err)
			}
			c, err := h.connect(to, a)
			switch {
			case errors.Is(err, errHeld):
				continue
			case err != nil:
				return fail(a, os.NewSyscallError("connect", err))
			}
			return c, nil
		}
		wake := make(chan struct{})
		n.dialing[wake] = struct{}{}
		n.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			n.mu.Lock()
			delete(n.dialing, wake)
			n.mu.Unlock()
			return fail(a, timeout(ctx.Err()))
		}
	}
}

// errHeld: the packets of a handshake were held after all.
var errHeld = errors.New("held")

func (h *Host) connect(to *Host, a *net.TCPAddr) (*conn, error) {
	n := h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.reaches(h, to) || !n.reaches(to, h) {
		return nil, errHeld
	}
	l := to.listeners[a.Port]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	n.port++
	own := &net.TCPAddr{IP: net.ParseIP(h.ip), Port: n.port}
	c := &conn{n: n, host: h, local: own, remote: a}
	c.peer = &conn{n: n, host: to, local: a, remote: own, peer: c}
	select {
	case l.queue <- c.peer:
	default:
		return nil, syscall.ECONNREFUSED
	}
	n.conns[c], n.conns[c.peer] = struct{}{}, struct{}{}
	return c, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return timeout(ctx.Err())
	}
}

// timeout gives a context's end in the words of package net.
func timeout(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

func tcpAddr(addr string) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	a := &net.TCPAddr{IP: net.ParseIP(host)}
	if host != "" && a.IP == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	a.Port, err = strconv.Atoi(port)
	return a, err
}

// listener is a port that is listened to.
type listener struct {
	host *Host
	addr *net.TCPAddr
	// queue holds connections nobody accepted yet, 128 at most; it is never
	// closed. done is closed by end.
	queue chan *conn
	done  chan struct{}
	ended bool
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
	default:
		select {
		case c := <-l.queue:
			return c, nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Close() error {
	l.host.n.mu.Lock()
	defer l.host.n.mu.Unlock()
	if l.ended {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.end()
	return nil
}

func (l *listener) end() {
	if l.ended {
		return
	}
	l.ended = true
	delete(l.host.listeners, l.addr.Port)
	close(l.done)
	for {
		select {
		case c := <-l.queue:
			c.out(segment{rst: true})
			c.finish()
		default:
			return
		}
	}
}

// Open lists the connections whose two ends are open, for tests of leaks, as
// "local remote", sorted.
func (n *Net) Open() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for c := range n.conns {
		if !c.closed && !c.dead {
			out = append(out, c.local.String()+" "+c.remote.String())
		}
	}
	slices.Sort(out)
	return out
}
