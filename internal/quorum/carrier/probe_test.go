// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/wire/peer"
)

// TestProbe: the end of the connection to the leader is worth a few dials; only
// a refusal is told, once, and nobody else is dialled.
func TestProbe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		leader  uint64
		refused []bool // by dial; beyond: the last
		slow    time.Duration
		dials   int
		gone    []uint64
		within  time.Duration
		late    int
	}{
		{name: "its process is gone", leader: 1, refused: []bool{true}, dials: 1, gone: []uint64{1}, within: time.Millisecond},
		{name: "its listener goes last", leader: 1, refused: []bool{false, true}, dials: 2, gone: []uint64{1}, within: 60 * time.Millisecond},
		{name: "a last message comes late", leader: 1, refused: []bool{true}, late: 1, dials: 2, gone: []uint64{1, 1}, within: 60 * time.Millisecond},
		{name: "a blip", leader: 1, refused: []bool{false}, dials: 3},
		{name: "silence", leader: 1, refused: []bool{false}, slow: time.Hour, dials: 3},
		{name: "a follower is gone", leader: 2, refused: []bool{true}},
		{name: "nobody leads", refused: []bool{true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStation("c")
				var mu sync.Mutex
				var conns []net.Conn
				dials := 0
				l := &losses{unreachable: map[uint64]int{}, leader: c.leader, late: c.late}
				k := New(Config{
					Cluster: "c", Address: func(uint64) (string, error) { return "one", nil },
					Peer: peer.Config{Dial: func(context.Context, string) (net.Conn, error) {
						mu.Lock()
						defer mu.Unlock()
						if len(conns) > 0 {
							return nil, errors.New("nobody there")
						}
						a, b := net.Pipe()
						conns = append(conns, b)
						go s.serve(b)
						return a, nil
					}},
					Refused: func(ctx context.Context, addr string) bool {
						if addr != "one" {
							t.Errorf("dials %s", addr)
						}
						mu.Lock()
						dials++
						n := min(dials, len(c.refused))
						mu.Unlock()
						if c.slow > 0 {
							<-ctx.Done()
						}
						return c.refused[n-1]
					},
				})
				k.Start(l)
				defer k.Close()
				k.Send([]*pb.Message{app(1, 1)})
				time.Sleep(time.Second)
				count := func() int {
					mu.Lock()
					defer mu.Unlock()
					return dials
				}
				if n := count(); n != 0 {
					t.Errorf("%d dials while the connection stands", n)
				}
				mu.Lock()
				far := conns[0]
				mu.Unlock()
				_ = far.Close()
				told := func() []uint64 {
					l.mu.Lock()
					defer l.mu.Unlock()
					return slices.Clone(l.gone)
				}
				if c.gone != nil {
					time.Sleep(c.within)
					if got := told(); !slices.Equal(got, c.gone) {
						t.Errorf("after %v: gone are %v", c.within, got)
					}
				}
				time.Sleep(20 * time.Second)
				if got := told(); !slices.Equal(got, c.gone) || count() != c.dials {
					t.Errorf("gone are %v after %d dials", got, count())
				}
			})
		})
	}
}

// TestProbeEnds: Close does not wait for a dial, and is itself no news.
func TestProbeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation("c")
		var mu sync.Mutex // guards far and dials
		var far net.Conn
		dials := 0
		k := New(Config{
			Cluster: "c", Address: func(uint64) (string, error) { return "one", nil },
			Peer: peer.Config{Dial: func(context.Context, string) (net.Conn, error) {
				a, b := net.Pipe()
				mu.Lock()
				far = b
				mu.Unlock()
				go s.serve(b)
				return a, nil
			}},
			Refused: func(ctx context.Context, _ string) bool {
				mu.Lock()
				dials++
				mu.Unlock()
				<-ctx.Done()
				return false
			},
		})
		k.Start(&losses{unreachable: map[uint64]int{}, leader: 1})
		k.Send([]*pb.Message{app(1, 1)})
		synctest.Wait()
		mu.Lock()
		_ = far.Close()
		mu.Unlock()
		synctest.Wait()
		k.Send([]*pb.Message{app(1, 2)}) // dials anew
		synctest.Wait()
		began := time.Now()
		k.Close()
		mu.Lock()
		defer mu.Unlock()
		if d := time.Since(began); d > 0 || dials != 1 {
			t.Errorf("Close took %v; %d dials", d, dials)
		}
	})
}
