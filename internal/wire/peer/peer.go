// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	// ErrUnreachable: no connection could be made, so the request was not sent.
	ErrUnreachable = errors.New("peer: unreachable")
	// ErrLost: the connection ended while the request was under way; the other
	// side may have carried it out.
	ErrLost = errors.New("peer: connection lost")
	// ErrClosed: the Peer was closed.
	ErrClosed = errors.New("peer: closed")
)

// Config of a Peer; zero fields take the defaults.
type Config struct {
	// Dial makes a connection; nil: TCP.
	Dial     func(ctx context.Context, addr string) (net.Conn, error)
	ClientID string
	// MaxFrame bounds an answer; 100 MiB, as socket.request.max.bytes.
	MaxFrame int
	// InFlight bounds the requests that wait on one connection; 128.
	InFlight int
	// Timeout of a request from its turn on, dialling included; 30 s.
	Timeout time.Duration
	// Patience is how long a connection with requests on it must have been
	// silent to be ended by one whose time is over; 0: by any.
	Patience time.Duration
	// BackOff after a failed dial, in which requests fail at once; 50 ms,
	// doubled with each failure up to MaxBackOff, 1 s.
	BackOff, MaxBackOff time.Duration
	// Ended is told when a connection has ended, but not by Close; it must not
	// block. May be nil.
	Ended func(why error)
}

func (c Config) withDefaults() Config {
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.MaxFrame <= 0 {
		c.MaxFrame = 100 << 20
	}
	if c.InFlight <= 0 {
		c.InFlight = 128
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.BackOff <= 0 {
		c.BackOff = 50 * time.Millisecond
	}
	if c.MaxBackOff <= 0 {
		c.MaxBackOff = time.Second
	}
	return c
}

// Request is what to send: its header's fields and its encoded body, which is
// borrowed until Do returns.
type Request struct {
	Key, Version int16
	// Flexible: headers have tags (request header v2, response header v1).
	Flexible bool
	Body     []byte
}

// Answer is a response's body. Release, which may be called once, gives the
// memory back; Body must not be used afterwards.
type Answer struct {
	Body []byte
	buf  *[]byte
	pool *sync.Pool
}

// Release gives the answer's memory back.
func (a *Answer) Release() {
	if a.buf != nil {
		a.pool.Put(a.buf)
		*a = Answer{}
	}
}

// Peer asks one node. Make it with New, end it with Close.
type Peer struct {
	cfg  Config
	addr func() (string, error)

	// turn (capacity 1) is held while dialling and writing, and guards what
	// follows.
	turn     chan struct{}
	conn     *conn
	failures int
	notUntil time.Time // no dialling before
	lastErr  error

	buffers sync.Pool // of *[]byte
	ending  chan struct{}
	endOnce sync.Once
	readers sync.WaitGroup // Add only with the turn, while ending is open
}

// New makes a Peer that dials when first asked. addr gives host:port, and is
// asked at each dial, because a node may come back elsewhere.
func New(cfg Config, addr func() (string, error)) *Peer {
	return &Peer{cfg: cfg.withDefaults(), addr: addr, turn: make(chan struct{}, 1), ending: make(chan struct{})}
}

// Do sends a request and waits for its answer. The error wraps ErrUnreachable,
// ErrLost, ErrClosed or the context's.
func (p *Peer) Do(ctx context.Context, q Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	c, w, err := p.send(ctx, q)
	if err != nil {
		return Answer{}, err
	}
	select {
	case a := <-w.answer:
		return a, nil
	case <-c.dead:
		select {
		case a := <-w.answer: // it came just before the end
			return a, nil
		default:
			return Answer{}, fmt.Errorf("%w: %w", ErrLost, c.why)
		}
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.silent() >= p.cfg.Patience {
			c.end(fmt.Errorf("api key %d was not answered in time", q.Key))
		}
		return Answer{}, fmt.Errorf("peer: api key %d: %w", q.Key, ctx.Err())
	}
}

// Ask is Do for a kmsg request, whose version must be set.
func Ask[R kmsg.Response](ctx context.Context, p *Peer, req kmsg.Request) (resp R, err error) {
	a, err := p.Do(ctx, Request{Key: req.Key(), Version: req.GetVersion(), Flexible: req.IsFlexible(), Body: req.AppendTo(nil)})
	if err != nil {
		return resp, err
	}
	// Not released: kmsg's byte fields point into the body.
	r := req.ResponseKind()
	r.SetVersion(req.GetVersion())
	if err := r.ReadFrom(a.Body); err != nil {
		return resp, fmt.Errorf("peer: decode the answer to %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	resp, ok := r.(R)
	if !ok {
		return resp, fmt.Errorf("peer: %T is not the answer to %T", resp, req)
	}
	return resp, nil
}

// Drop ends the connection, if there is one; the next request dials anew.
func (p *Peer) Drop() {
	p.turn <- struct{}{}
	if p.conn != nil {
		p.conn.end(errors.New("dropped"))
	}
	<-p.turn
}

// Close ends the connection and waits for its reader. Requests under way fail.
func (p *Peer) Close() {
	p.endOnce.Do(func() { close(p.ending) })
	p.turn <- struct{}{}
	if p.conn != nil {
		p.conn.end(ErrClosed)
	}
	<-p.turn
	p.readers.Wait()
}

// send takes the turn, dials where there is no connection and writes.
func (p *Peer) send(ctx context.Context, q Request) (*conn, *waiter, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w: waited for a turn: %w", ErrUnreachable, ctx.Err())
	case <-p.ending:
		return nil, nil, ErrClosed
	}
	select {
	case <-p.ending:
		return nil, nil, ErrClosed
	default:
	}
	c, err := p.connected(ctx)
	if err != nil {
		return nil, nil, err
	}
	c.correlation++
	w := &waiter{correlation: c.correlation, flexible: q.Flexible && q.Key != int16(kmsg.ApiVersions), answer: make(chan Answer, 1)}
	if len(c.waiting) == 0 {
		c.heard()
	}
	select {
	case c.waiting <- w:
	case <-c.dead:
		return nil, nil, fmt.Errorf("%w: %w", ErrLost, c.why)
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w: too many requests under way: %w", ErrUnreachable, ctx.Err())
	}
	if err := c.write(ctx, p.header(q, w.correlation), q.Body); err != nil {
		c.end(err)
		return nil, nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return c, w, nil
}

// connected returns the living connection, or makes one. With the turn.
func (p *Peer) connected(ctx context.Context) (*conn, error) {
	if p.conn != nil {
		select {
		case <-p.conn.dead:
			p.conn = nil
		default:
			return p.conn, nil
		}
	}
	if wait := time.Until(p.notUntil); wait > 0 {
		return nil, fmt.Errorf("%w: %w (not tried again for %v)", ErrUnreachable, p.lastErr, wait.Round(time.Millisecond))
	}
	nc, err := p.dial(ctx)
	if err != nil {
		p.notUntil = time.Now().Add(min(p.cfg.BackOff<<min(p.failures, 16), p.cfg.MaxBackOff))
		p.failures++
		p.lastErr = err
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	p.failures = 0
	p.conn = &conn{nc: nc, waiting: make(chan *waiter, p.cfg.InFlight), dead: make(chan struct{}), made: time.Now()}
	c := p.conn
	p.readers.Go(func() {
		c.end(c.read(p))
		if p.cfg.Ended != nil && !errors.Is(c.why, ErrClosed) {
			p.cfg.Ended(c.why)
		}
	})
	return c, nil
}

func (p *Peer) dial(ctx context.Context) (net.Conn, error) {
	addr, err := p.addr()
	if err != nil {
		return nil, err
	}
	// Close must not wait for a dial.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with this call
		select {
		case <-p.ending:
			cancel()
		case <-stop:
		}
	}()
	return p.cfg.Dial(ctx, addr)
}

// header is a frame up to its body; package wire draws it.
func (p *Peer) header(q Request, correlation int32) []byte {
	b := make([]byte, 4, 32+len(p.cfg.ClientID))
	b = binary.BigEndian.AppendUint16(b, uint16(q.Key))
	b = binary.BigEndian.AppendUint16(b, uint16(q.Version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.cfg.ClientID)))
	b = append(b, p.cfg.ClientID...)
	if q.Flexible {
		b = append(b, 0) // no tags
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4+len(q.Body)))
	return b
}
