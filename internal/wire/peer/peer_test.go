// SPDX-License-Identifier: Apache-2.0

// Goal: what a Peer promises, against a server that answers, stays silent,
// answers nonsense or hangs up. Method: a real listener whose other side is
// scripted frame by frame.
package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// frame is a request as the server saw it.
type frame struct {
	key, version int16
	correlation  int32
	rest         []byte // client id onwards
}

func readFrame(c net.Conn) (frame, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return frame{}, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return frame{}, err
	}
	return frame{int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:])), int32(binary.BigEndian.Uint32(b[4:])), b[8:]}, nil
}

func answer(correlation int32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return append(b, body...)
}

// serve runs script on each connection, one after another.
func serve(t *testing.T, script func(c net.Conn, nth int)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for nth := 0; ; nth++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			script(c, nth)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func to(t *testing.T, cfg Config, addr string) *Peer {
	p := New(cfg, func() (string, error) { return addr, nil })
	t.Cleanup(p.Close)
	return p
}

func TestAnswersGoToWhoeverAsked(t *testing.T) {
	addr := serve(t, func(c net.Conn, _ int) {
		for {
			f, err := readFrame(c)
			if err != nil {
				return
			}
			if _, err := c.Write(answer(f.correlation, f.rest[len(f.rest)-1])); err != nil {
				return
			}
		}
	})
	p := to(t, Config{ClientID: "n1"}, addr)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			a, err := p.Do(t.Context(), Request{Key: 3, Version: 1, Body: []byte{byte(i)}})
			if err != nil || len(a.Body) != 1 || a.Body[0] != byte(i) {
				t.Errorf("request %d: %v %v", i, a.Body, err)
			}
			a.Release()
		})
	}
	wg.Wait()
}

func TestKmsgRoundTripWithTags(t *testing.T) {
	addr := serve(t, func(c net.Conn, _ int) {
		f, err := readFrame(c)
		if err != nil || f.key != 60 {
			t.Errorf("got %+v, %v", f, err)
			return
		}
		r := kmsg.NewPtrDescribeClusterResponse()
		r.SetVersion(f.version)
		r.ClusterID = "abc"
		// Header tags: one, number 5, two bytes.
		_, _ = c.Write(answer(f.correlation, r.AppendTo([]byte{1, 5, 2, 9, 9})...))
	})
	req := kmsg.NewPtrDescribeClusterRequest()
	req.SetVersion(1)
	r, err := Ask[*kmsg.DescribeClusterResponse](t.Context(), to(t, Config{}, addr), req)
	if err != nil || r.ClusterID != "abc" {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	bad := map[string][]byte{
		"huge":            {0x7f, 0xff, 0xff, 0xff},
		"negative":        {0xff, 0xff, 0xff, 0xff},
		"short":           {0, 0, 0, 2, 0, 0},
		"other":           answer(77),
		"twice":           append(answer(1, 0), answer(1, 0)...),
		"tags cut short":  answer(1, 1, 5, 9),
		"endless uvarint": answer(1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	}
	for name, b := range bad {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, func(c net.Conn, nth int) {
				f, err := readFrame(c)
				if err != nil {
					return
				}
				if nth > 0 {
					_, _ = c.Write(answer(f.correlation, 0, 'o', 'k'))
				} else {
					_, _ = c.Write(b)
				}
				_, _ = readFrame(c) // until the peer hangs up
			})
			p := to(t, Config{}, addr)
			_, err := p.Do(t.Context(), Request{Key: 3, Flexible: true})
			if name == "twice" {
				if err != nil {
					t.Fatal(err)
				}
				c := p.conn
				<-c.dead // the second answer, which nobody asked for
			} else if !errors.Is(err, ErrLost) {
				t.Fatalf("got %v, want ErrLost", err)
			}
			a, err := p.Do(t.Context(), Request{Key: 3, Flexible: true})
			if err != nil || string(a.Body) != "ok" {
				t.Fatalf("after a new connection: %q, %v", a.Body, err)
			}
		})
	}
}

func TestSilenceEndsTheConnection(t *testing.T) {
	addr := serve(t, func(c net.Conn, _ int) {
		for {
			if _, err := readFrame(c); err != nil {
				return
			}
		}
	})
	p := to(t, Config{Timeout: 30 * time.Millisecond}, addr)
	_, err := p.Do(t.Context(), Request{Key: 3})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	<-p.conn.dead
}

func TestEndedIsTold(t *testing.T) {
	hang := make(chan struct{})
	addr := serve(t, func(c net.Conn, nth int) {
		f, _ := readFrame(c)
		_, _ = c.Write(answer(f.correlation, 'a'))
		if nth > 0 {
			_, _ = readFrame(c) // until the peer hangs up
		} else {
			<-hang
		}
	})
	ended := make(chan error, 10)
	p := to(t, Config{Ended: func(why error) { ended <- why }}, addr)
	ask := func() {
		t.Helper()
		if _, err := p.Do(t.Context(), Request{Key: 3}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	if len(ended) > 0 {
		t.Error("told while it stands")
	}
	close(hang)
	if why := <-ended; why == nil {
		t.Error("ended without a reason")
	}
	ask()
	p.Close()
	if len(ended) > 0 {
		t.Error("Close is told")
	}
}

func TestUnreachableBacksOff(t *testing.T) {
	dials := 0
	p := New(Config{BackOff: time.Hour, MaxBackOff: time.Hour, Dial: func(context.Context, string) (net.Conn, error) {
		dials++
		return nil, errors.New("refused")
	}}, func() (string, error) { return "x:1", nil })
	defer p.Close()
	for range 3 {
		if _, err := p.Do(t.Context(), Request{}); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("got %v", err)
		}
	}
	if dials != 1 {
		t.Fatalf("dialled %d times", dials)
	}
}

func TestCloseEndsWaitersAndDials(t *testing.T) {
	dialling := make(chan struct{})
	p := New(Config{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		return nil, ctx.Err()
	}}, func() (string, error) { return "x:1", nil })
	failed := make(chan error)
	go func() {
		_, err := p.Do(context.Background(), Request{})
		failed <- err
	}()
	<-dialling
	p.Close()
	if err := <-failed; !errors.Is(err, ErrUnreachable) {
		t.Fatalf("got %v", err)
	}
	if _, err := p.Do(t.Context(), Request{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
	pool := NewPool(Config{}, func(int32) (string, error) { return "x:1", nil })
	pool.Close()
	if _, err := pool.To(3).Do(t.Context(), Request{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Add([]byte{0, 0, 0, 1, 1, 5, 2, 9, 9, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		body, err := answerBody(b, &waiter{correlation: 1, flexible: true})
		if err == nil && len(body) >= len(b)-4 {
			t.Fatalf("%d bytes of body in a frame of %d", len(body), len(b))
		}
	})
}

// One request whose own time is short takes nobody else's connection away while
// it has not been silent for long; what comes too late goes to nobody.
func TestShortTimeEndsNobodyElse(t *testing.T) {
	gaveUp := make(chan struct{})
	addr := serve(t, func(c net.Conn, _ int) {
		first, err := readFrame(c)
		if err != nil {
			return
		}
		second, err := readFrame(c)
		if err != nil {
			return
		}
		<-gaveUp
		_, _ = c.Write(append(answer(first.correlation, 1), answer(second.correlation, 2)...))
		third, err := readFrame(c)
		if err != nil {
			return
		}
		_, _ = c.Write(answer(third.correlation, 3))
		_, _ = readFrame(c)
	})
	p := to(t, Config{Patience: time.Hour}, addr)
	patient := make(chan error, 1)
	sent := make(chan struct{})
	go func() {
		c, w, err := p.send(t.Context(), Request{Key: 3})
		close(sent)
		if err == nil {
			select {
			case a := <-w.answer:
				if a.Body[0] != 1 {
					err = fmt.Errorf("answer %d", a.Body)
				}
			case <-c.dead:
				err = c.why
			}
		}
		patient <- err
	}()
	<-sent
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Do(ctx, Request{Key: 4}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	close(gaveUp)
	if err := <-patient; err != nil {
		t.Fatalf("who has time: %v", err)
	}
	if a, err := p.Do(t.Context(), Request{Key: 5}); err != nil || a.Body[0] != 3 {
		t.Fatalf("%v %v", a.Body, err)
	}
}
