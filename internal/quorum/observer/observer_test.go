// SPDX-License-Identifier: Apache-2.0

// Goal: an observer asks the right controller, goes on to another when one does
// not serve, takes snapshots in pieces, and says when nobody serves. Method:
// controllers by script behind pipes, in a bubble of fake time.
package observer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/wire/peer"
)

// script is the controllers: what each answers, and who was asked.
type script struct {
	mu     sync.Mutex
	answer map[string]func(q quorum.PullRequest) *quorum.PullAnswer // nil answer: it hangs up
	asked  []string
}

func (s *script) set(addr string, f func(quorum.PullRequest) *quorum.PullAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer[addr] = f
}

// who tells who was asked since the last time.
func (s *script) who() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Compact(s.asked)
	s.asked = nil
	return out
}

func (s *script) dial(_ context.Context, addr string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer[addr] == nil {
		s.asked = append(s.asked, addr+" (down)")
		return nil, errors.New("nobody listens")
	}
	near, far := net.Pipe()
	go s.serve(addr, far)
	return near, nil
}

// serve answers requests of private keys: a flexible header, then the body.
func (s *script) serve(addr string, c net.Conn) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		client := int(binary.BigEndian.Uint16(b[8:]))
		q, err := quorum.DecodePullRequest(b[10+client+1:])
		if err != nil {
			panic(err)
		}
		s.mu.Lock()
		f := s.answer[addr]
		s.asked = append(s.asked, addr)
		s.mu.Unlock()
		var a *quorum.PullAnswer
		if f != nil {
			a = f(q)
		}
		if a == nil {
			return
		}
		out := append(make([]byte, 4), b[4:8]...)
		out = a.Append(append(out, 0))
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// fakeLog takes what is pulled.
type fakeLog struct {
	mu        sync.Mutex
	votes     bool // and has a leader
	at        quorum.Position
	fed       []string
	snapshots []string
	refuse    error
}

func (l *fakeLog) Follows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.votes
}

func (l *fakeLog) Position() quorum.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

func (l *fakeLog) Feed(a quorum.PullAnswer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.Code == quorum.PullEntries {
		l.fed = append(l.fed, string(a.Bytes))
	}
	return l.refuse
}

func (l *fakeLog) FeedSnapshot(of quorum.PullAnswer, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshots = append(l.snapshots, string(b))
	l.at.Index = of.Index
	return nil
}

func (l *fakeLog) got() (fed, snapshots []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fed, snapshots, l.fed, l.snapshots = l.fed, l.snapshots, nil, nil
	return fed, snapshots
}

type rig struct {
	*script
	log     *fakeLog
	trouble []error
	o       *Observer
}

func start(sources ...string) *rig {
	r := &rig{script: &script{answer: map[string]func(quorum.PullRequest) *quorum.PullAnswer{}}, log: &fakeLog{}}
	r.o = Start(Config{
		Cluster: "c", Node: 9, Directory: meta.UUID{9}, Log: r.log, Peer: peer.Config{Dial: r.dial},
		Sources: func() []string { return sources },
		Leader:  func(v quorum.Voter) (string, error) { return fmt.Sprint("leader", v.ID), nil },
		Trouble: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.trouble = append(r.trouble, err)
		},
	})
	return r
}

// told is what the observer said of its trouble so far.
func (r *rig) told() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.trouble)
}

func (r *rig) close() {
	r.o.Close()
	time.Sleep(time.Second) // answers under way
}

// entries answers with text, or with nothing after the time of a long poll.
func entries(text string, leader int32) func(quorum.PullRequest) *quorum.PullAnswer {
	return func(q quorum.PullRequest) *quorum.PullAnswer {
		time.Sleep(q.Wait)
		a := &quorum.PullAnswer{Code: quorum.PullNothing}
		if text != "" {
			a.Code, a.Bytes = quorum.PullEntries, []byte(text)
		}
		if leader >= 0 {
			a.Leader = &quorum.Voter{ID: leader}
		}
		return a
	}
}

// It asks whoever serves first, then the leader; when that is gone the others,
// and not that one again for a while.
func TestAsksTheLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start("a", "b")
		defer r.close()
		r.set("b", entries("from b", 3))
		r.set("leader3", entries("from 3", 3))
		time.Sleep(3 * time.Second)
		if got := r.who(); !slices.Equal(got, []string{"a (down)", "b", "leader3"}) && !slices.Equal(got, []string{"b", "leader3"}) {
			t.Errorf("asked %q", got)
		}
		if fed, _ := r.log.got(); len(fed) == 0 || fed[0] != "from b" || fed[len(fed)-1] != "from 3" {
			t.Errorf("fed %q", fed)
		}
		r.set("leader3", nil)
		time.Sleep(5 * time.Second)
		if got := r.who(); !slices.Contains(got, "b") || got[len(got)-1] != "b" {
			t.Errorf("without the leader it asked %q", got)
		}
		r.who()
		time.Sleep(2 * time.Second)
		if got := r.who(); !slices.Equal(got, []string{"b"}) {
			t.Errorf("then it asked %q", got)
		}
		r.set("leader3", entries("again", 3))
		time.Sleep(shun)
		if got := r.who(); got[len(got)-1] != "leader3" {
			t.Errorf("when it was back it asked %q", got)
		}
	})
}

// A snapshot comes in pieces; when another takes its place in between, it is
// begun anew.
func TestSnapshotInPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start("a")
		defer r.close()
		var mu sync.Mutex // connections come and go
		data, size := "0123456789", int64(10)
		r.set("a", func(q quorum.PullRequest) *quorum.PullAnswer {
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case q.Snapshot && size == 10 && q.At == 8:
				data, size = "abcde", 5 // another
				return &quorum.PullAnswer{Code: quorum.PullPiece, Index: 7, Size: size, Bytes: []byte("ab")}
			case q.Snapshot:
				return &quorum.PullAnswer{Code: quorum.PullPiece, Index: 7, Size: size, Bytes: []byte(data[q.At:min(q.At+4, size)])}
			case q.Index < 7:
				return &quorum.PullAnswer{Code: quorum.PullBehind, Index: 7, Size: size}
			}
			return &quorum.PullAnswer{Code: quorum.PullNothing}
		})
		time.Sleep(5 * time.Second)
		if _, got := r.log.got(); !slices.Equal(got, []string{"abcde"}) {
			t.Errorf("snapshots %q", got)
		}
	})
}

// Whoever refuses, or has a log that does not go on from here, is left for
// another; when nobody serves it is said once, and once when somebody does.
func TestTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start("a", "b")
		defer r.close()
		refuse := func(quorum.PullRequest) *quorum.PullAnswer {
			return &quorum.PullAnswer{Code: quorum.PullRefused, Bytes: []byte("another cluster")}
		}
		r.set("a", refuse)
		r.set("b", refuse)
		time.Sleep(20 * time.Second)
		if got := r.who(); !slices.Contains(got, "a") || !slices.Contains(got, "b") || len(got) > 40 {
			t.Errorf("asked %d times: %q", len(got), got)
		}
		if got := r.told(); len(got) != 1 || got[0] == nil {
			t.Errorf("trouble %v", got)
		}
		r.set("b", entries("ok", -1))
		time.Sleep(5 * time.Second)
		if got := r.told(); len(got) != 2 || got[1] != nil {
			t.Errorf("trouble %v", got)
		}
		if fed, _ := r.log.got(); len(fed) == 0 {
			t.Error("nothing was fed")
		}
		r.log.mu.Lock()
		r.log.refuse = errors.New("it does not go on from here")
		r.log.mu.Unlock()
		time.Sleep(10 * time.Second)
		if got := r.told(); len(got) != 3 || got[2] == nil {
			t.Errorf("with a log that does not fit: trouble %v", got)
		}
	})
}

// A voter with a leader does not pull, and stops when it becomes one.
func TestVotersDoNotPull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start("a")
		defer r.close()
		r.set("a", entries("x", -1))
		time.Sleep(2 * time.Second)
		r.log.mu.Lock()
		r.log.votes = true
		r.log.mu.Unlock()
		time.Sleep(2 * time.Second)
		if r.who() == nil {
			t.Error("it never pulled")
		}
		r.log.got()
		time.Sleep(10 * time.Second)
		if fed, _ := r.log.got(); len(fed) > 0 || r.who() != nil {
			t.Errorf("a voter was fed %q", fed)
		}
	})
}

// When the leader is gone every other source is asked at once, and then less and
// less often.
func TestOthersAreAskedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start("a", "b", "c")
		defer r.close()
		r.set("b", entries("x", -1))
		time.Sleep(5 * time.Second)
		r.who()
		r.log.got()
		r.set("c", entries("y", -1))
		r.set("b", nil) // hangs up, and refuses
		time.Sleep(wait + 3*soon + time.Millisecond)
		if fed, _ := r.log.got(); !slices.Contains(fed, "y") {
			t.Errorf("fed %q after asking %q", fed, r.who())
		}
		r.set("c", nil)
		time.Sleep(time.Minute)
		if got := len(r.who()); got > 80 {
			t.Errorf("nobody serves, and %d were asked in a minute", got)
		}
	})
}

// A source that has more but cannot give it (its snapshot does not read) is left
// for another, and is not asked again and again without a pause.
func TestSourceWithoutItsSnapshot(t *testing.T) {
	t.Parallel()
	for _, pieces := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := start("a", "b")
			defer r.close()
			var asked atomic.Int64
			r.set("a", func(q quorum.PullRequest) *quorum.PullAnswer {
				time.Sleep(time.Millisecond)
				asked.Add(1)
				if pieces && !q.Snapshot {
					return &quorum.PullAnswer{Code: quorum.PullBehind, Index: 7, Size: 10}
				}
				return &quorum.PullAnswer{Code: quorum.PullNothing, Index: 7}
			})
			r.set("b", entries("from b", -1))
			time.Sleep(5 * time.Second)
			if fed, _ := r.log.got(); !slices.Contains(fed, "from b") {
				t.Errorf("pieces %v: it never turned to another source", pieces)
			}
			if n := asked.Load(); n > 100 {
				t.Errorf("pieces %v: it asked %d times in 5 s", pieces, n)
			}
		})
	}
}
