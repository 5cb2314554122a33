// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// echo answers each request with its own body. Key 1 answers by a Pending that
// the test completes, and lets the connection read on; key 2 by one that does
// not; key 3 with a file between two byte parts.
type echo struct {
	file File
	came chan *later
}

type later struct {
	done   chan struct{}
	body   []byte
	on     bool
	cancel chan struct{}
}

func (p *later) Done() <-chan struct{} { return p.done }
func (p *later) Reply() Reply          { return Reply{Body: p.body} }
func (p *later) ReadOn() bool          { return p.on }
func (p *later) Cancel()               { close(p.cancel) }

func (e *echo) Serve(_ context.Context, r *Request) (Reply, Pending) {
	body := bytes.Clone(r.Body)
	switch r.Key {
	case 1, 2:
		p := &later{done: make(chan struct{}), body: body, on: r.Key == 1, cancel: make(chan struct{})}
		e.came <- p
		return Reply{}, p
	case 3:
		off := int(binary.BigEndian.Uint32(body))
		n := int(binary.BigEndian.Uint32(body[4:]))
		return Reply{Body: []byte("before"), Parts: []Part{{File: e.file, Off: int64(off), N: n}, {Bytes: []byte("after")}}}, nil
	case 4:
		return Reply{None: true}, nil
	case 5:
		return Reply{Body: body, Close: true, Why: "asked"}, nil
	}
	return Reply{Body: body, Flexible: r.Version > 0}, nil
}

func testKind(key, version int16) (Kind, bool) {
	return Kind{FlexibleHeader: version > 0, Parks: key == 2, Quick: key != 2 && key != 6}, key <= 6
}

type fdFile struct{ *os.File }

func (f fdFile) SysFd() (uintptr, bool) { return f.Fd(), true }

type memFile struct{ *bytes.Reader }

func (memFile) SysFd() (uintptr, bool) { return 0, false }

func newEcho() *echo { return &echo{came: make(chan *later, 1024)} }

// start serves e on a loopback listener until the test ends.
func start(t testing.TB, cfg Config) (*Server, string) {
	t.Helper()
	cfg.Kind = testKind
	s := NewServer(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, "PLAINTEXT") }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := s.BufferedBytes(); n != 0 {
			t.Errorf("%d bytes of the budget never came back", n)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// frame makes a request frame with client id "c".
func frame(key, version int16, correlation int32, body []byte) []byte {
	b := make([]byte, 4, 32+len(body))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = append(b, 0, 1, 'c')
	if version > 0 {
		b = append(b, 0)
	}
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func send(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// receive reads one response: its correlation id and what follows.
func receive(t testing.TB, c net.Conn) (int32, []byte) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatalf("read a response: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read a response: %v", err)
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:]
}

func wantClosed(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Fatalf("the connection gave %d bytes", n)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
}

// Frames of every size class come back whole, alone and pipelined, cut into
// pieces anywhere.
func TestEchoSizes(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Handler: newEcho()})
	c := dial(t, addr)
	var all []byte
	var bodies [][]byte
	for i, n := range []int{0, 1, 100, 4000, 65_000, 65_536, 65_537, 200_000, 1_100_000, 1_200_000, 17 << 20, 5} {
		body := bytes.Repeat([]byte{byte(i + 1)}, n)
		bodies = append(bodies, body)
		all = append(all, frame(0, int16(i%2), int32(i), body)...)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		rest := all
		for i := 1; len(rest) > 0; i = (i*3 + 1) % 1_000_003 {
			n := min(len(rest), i%300_000+1)
			if _, err := c.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	}()
	for i, want := range bodies {
		id, got := receive(t, c)
		if i%2 == 1 {
			if got[0] != 0 {
				t.Fatalf("answer %d: tags %d", i, got[0])
			}
			got = got[1:]
		}
		if id != int32(i) || !bytes.Equal(got, want) {
			t.Fatalf("answer %d: id %d, %d bytes, want %d", i, id, len(got), len(want))
		}
	}
	<-done
}

// Answers keep the order of requests though later ones are ready first; the
// connection reads on behind a Pending that allows it, and behind no other.
func TestPendingOrder(t *testing.T) {
	t.Parallel()
	e := newEcho()
	_, addr := start(t, Config{Handler: e})
	c := dial(t, addr)
	send(t, c, frame(1, 0, 1, []byte("a")))
	send(t, c, frame(1, 0, 2, []byte("b")))
	send(t, c, frame(0, 0, 3, []byte("c")))
	a, b := <-e.came, <-e.came
	close(b.done)
	send(t, c, frame(2, 0, 4, []byte("d")))
	send(t, c, frame(1, 0, 5, []byte("e")))
	d := <-e.came // it was read though a still waits
	select {
	case <-e.came:
		t.Fatal("read on behind a parked request")
	default:
	}
	close(a.done)
	for id := int32(1); id <= 3; id++ {
		if got, _ := receive(t, c); got != id {
			t.Fatalf("answer %d came when %d was due", got, id)
		}
	}
	close(d.done)
	if got, _ := receive(t, c); got != 4 {
		t.Fatalf("answer %d came when 4 was due", got)
	}
	last := <-e.came
	close(last.done)
	if got, body := receive(t, c); got != 5 || string(body) != "e" {
		t.Fatalf("answer %d %q came last", got, body)
	}
}

// A connection that dies cancels what waits on it.
func TestCancel(t *testing.T) {
	t.Parallel()
	e := newEcho()
	_, addr := start(t, Config{Handler: e})
	c := dial(t, addr)
	send(t, c, frame(1, 0, 1, nil))
	p := <-e.came
	_ = c.Close()
	<-p.cancel
}

// Files are sent by sendfile where they can be, else copied; ranges are exact.
func TestFileParts(t *testing.T) {
	t.Parallel()
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for name, file := range map[string]File{"file": fdFile{f}, "memory": memFile{bytes.NewReader(content)}} {
		t.Run(name, func(t *testing.T) {
			e := newEcho()
			e.file = file
			_, addr := start(t, Config{Handler: e})
			c := dial(t, addr)
			ranges := [][2]int{{0, 10}, {5, 16 << 10}, {100, 20_000}, {1, 2 << 20}, {0, len(content)}}
			go func() {
				for i, r := range ranges {
					var body [8]byte
					binary.BigEndian.PutUint32(body[:], uint32(r[0]))
					binary.BigEndian.PutUint32(body[4:], uint32(r[1]))
					_, _ = c.Write(frame(3, 0, int32(i), body[:]))
				}
			}()
			for i, r := range ranges {
				id, got := receive(t, c)
				want := "before" + string(content[r[0]:r[0]+r[1]]) + "after"
				if id != int32(i) || string(got) != want {
					t.Fatalf("range %v: id %d, %d bytes, want %d", r, id, len(got), len(want))
				}
			}
			// A file shorter than its part breaks the stream, not the server.
			var body [8]byte
			binary.BigEndian.PutUint32(body[:], uint32(len(content)-1))
			binary.BigEndian.PutUint32(body[4:], 100_000)
			send(t, c, frame(3, 0, 9, body[:]))
			if _, err := io.ReadAll(c); err != nil && !os.IsTimeout(err) {
				_ = err // reset or end: both are a closed connection
			}
		})
	}
}

// What is no request closes the connection, after the answers already due.
func TestGarbage(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string][]byte{
		"huge":        {0x7f, 0xff, 0xff, 0xff},
		"negative":    {0xff, 0xff, 0xff, 0xff},
		"http":        []byte("GET / HTTP/1.1\r\n\r\n"),
		"empty":       {0, 0, 0, 0},
		"short":       {0, 0, 0, 3, 1, 2, 3},
		"unknown key": frame(99, 0, 1, nil),
		"client id":   {0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff},
		"tags":        {0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := make(chan Event, 8)
			_, addr := start(t, Config{Handler: newEcho(), Events: func(e Event) { events <- e }})
			c := dial(t, addr)
			send(t, c, append(frame(0, 0, 7, []byte("x")), garbage...))
			if id, _ := receive(t, c); id != 7 {
				t.Fatalf("id %d", id)
			}
			wantClosed(t, c)
			if e := <-events; e.Kind != BadRequest || e.Err == nil {
				t.Fatalf("event %+v", e)
			}
		})
	}
}

// acks=0 has no answer, and a Reply may close the connection after itself.
func TestNoneAndClose(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Handler: newEcho()})
	c := dial(t, addr)
	send(t, c, append(frame(4, 0, 1, nil), frame(5, 0, 2, []byte("bye"))...))
	if id, body := receive(t, c); id != 2 || string(body) != "bye" {
		t.Fatalf("id %d %q", id, body)
	}
	wantClosed(t, c)
}

// Idle connections hold no buffer.
func TestIdleHoldsNothing(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Config{Handler: newEcho()})
	for range 50 {
		c := dial(t, addr)
		send(t, c, frame(0, 0, 1, nil))
		receive(t, c)
		send(t, c, frame(0, 0, 1, nil)[:10]) // and half a frame
	}
	for s.BufferedBytes() > 50*512 {
		runtime.Gosched() // until the last reader has parked
	}
}
