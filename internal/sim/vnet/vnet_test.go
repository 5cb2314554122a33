// SPDX-License-Identifier: Apache-2.0

// Goal: the network does to connections what its doc says, and nothing else.
// Method: two or three hosts in a bubble; time is the bubble's.
package vnet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const hostA, hostB = "10.0.0.1", "10.0.0.2"

// pair connects a to b.
func pair(t *testing.T, n *Net) (a, b net.Conn) {
	t.Helper()
	l, err := n.Host(hostB).Listen(t.Context(), hostB+":9092")
	if err != nil {
		t.Fatal(err)
	}
	a, err = n.Host(hostA).Dial(t.Context(), hostB+":9092")
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("%q, %v; want %q", b, err, want)
	}
}

// nothing fails the test when bytes or an end arrive within a minute.
func nothing(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d, %v; want the deadline", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestBytesArriveInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed)
			n.SetWeather(Weather{MaxDelay: 20 * time.Millisecond, StallOneIn: 10, Stall: 200 * time.Millisecond})
			a, b := pair(t, n)
			random := rand.New(rand.NewPCG(seed, 1))
			sent := make([]byte, 2<<20)
			for i := range sent {
				sent[i] = byte(random.Uint32())
			}
			go func() {
				for rest := sent; len(rest) > 0; {
					k := min(len(rest), 1+random.IntN(100_000))
					if _, err := a.Write(rest[:k]); err != nil {
						t.Error(err)
					}
					rest = rest[k:]
				}
				_ = a.Close()
			}()
			got, err := io.ReadAll(b)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
				t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
			}
			_ = b.Close()
			if open := n.Open(); len(open) > 0 {
				t.Fatal(open)
			}
		})
	}
}

func TestWriteKeepsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(1))
		buf := []byte("hello")
		if _, err := a.Write(buf); err != nil {
			t.Fatal(err)
		}
		copy(buf, "XXXXX")
		receive(t, b, "hello")
	})
}

func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetWeather(Weather{MinDelay: time.Second, MaxDelay: time.Second})
		began := time.Now()
		a, b := pair(t, n)
		if got := time.Since(began); got != 2*time.Second {
			t.Fatalf("a handshake took %v", got)
		}
		send(t, a, "x")
		receive(t, b, "x")
		if got := time.Since(began); got != 3*time.Second {
			t.Fatalf("a byte arrived after %v", got)
		}
	})
}

func TestCutOneWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := pair(t, n)
		n.Cut(hostA, hostB)
		send(t, a, "held")
		nothing(t, b)
		send(t, b, "through")
		receive(t, a, "through")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Host(hostA).Dial(ctx, hostB+":1"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := n.Host(hostB).Dial(ctx, hostA+":1"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a handshake needs both ways: %v", err)
		}
		n.Heal(hostA, hostB)
		receive(t, b, "held")
		if _, err := n.Host(hostA).Dial(t.Context(), hostB+":1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	})
}

func TestDialWaitsForTheLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		if _, err := n.Host(hostB).Listen(t.Context(), hostB+":9092"); err != nil {
			t.Fatal(err)
		}
		n.Part([]string{hostA}, []string{hostB})
		time.AfterFunc(time.Second, n.HealAll)
		began := time.Now()
		c, err := n.Host(hostA).Dial(t.Context(), hostB+":9092")
		if err != nil || time.Since(began) < time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		_ = c.Close()
	})
}

func TestBackPressure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := pair(t, n)
		n.Cut(hostA, hostB)
		if err := a.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		k, err := a.Write(make([]byte, bufferBytes+1))
		if k != bufferBytes || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d, %v", k, err)
		}
		n.HealAll()
		if got, err := io.CopyN(io.Discard, b, bufferBytes); err != nil {
			t.Fatalf("%d, %v", got, err)
		}
	})
}

func TestKillTellsAndPowerOffDoesNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := pair(t, n)
		n.Host(hostB).Kill()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := n.Host(hostA).Dial(t.Context(), hostB+":9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}

		a, _ = pair(t, n)
		n.Host(hostB).PowerOff()
		nothing(t, a)
		send(t, a, "into the void")
		n.Host(hostB).PowerOn()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}

func TestHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, _ := pair(t, n)
		n.Cut(hostB, hostA)
		n.Host(hostB).Kill()
		nothing(t, a)
		n.HealAll()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}

func TestCloseUnderReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(1))
		done := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		_ = a.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := b.Write(bytes.Repeat([]byte("x"), 10)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}

func TestPortsAndWeather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		l, err := n.Host(hostB).Listen(t.Context(), "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Host(hostB).Listen(t.Context(), l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
		n.SetWeather(Weather{ResetOneIn: 1})
		a, err := n.Host(hostA).Dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}
