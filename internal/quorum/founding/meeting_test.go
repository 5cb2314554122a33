// SPDX-License-Identifier: Apache-2.0

package founding

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/seeds"
)

// Goal: however nodes of a static list start, stop, lose their disks and miss
// each other while a cluster is founded, there are never two clusters in which
// a node could elect, and no directory votes that may have voted before.
// Method: meetings stepped from a seed, round by round, in any order.
//
// Invariants:
//   - all that began name the same voters as whoever else of those voters began;
//   - a directory that began, and lost its state but not its name, begins no
//     more as a voter.
type place struct {
	id      int32
	dir     meta.UUID
	began   *Outcome // on disk
	voted   bool     // it began as a voter under dir
	fresh   bool
	meeting *Meeting // nil: down
}

func (p *place) start(seats []Seat) {
	c := ""
	if p.began != nil {
		c = p.began.Cluster
	}
	p.meeting = New(Config{Node: p.id, Directory: p.dir, Cluster: c, Fresh: p.fresh, Seats: seats,
		NewCluster: func() string { return fmt.Sprintf("c%x", p.dir) }})
	if p.began != nil {
		p.meeting.Begin(*p.began)
	}
}

func TestSimFounding(t *testing.T) {
	t.Parallel()
	begun, refused := 0, 0
	for seed := range seeds.All(t, 300, 1) {
		rng := rand.New(rand.NewPCG(seed, 3))
		n := 1 + rng.IntN(5)
		var seats []Seat
		for i := range n {
			seats = append(seats, Seat{ID: int32(i), Addr: fmt.Sprint("a", i), Endpoint: meta.Endpoint{Host: "h", Port: uint16(i)}})
		}
		dirs := byte(0)
		fresh := func() meta.UUID { dirs++; return meta.UUID{0: dirs} }
		places := make([]*place, n)
		for i := range places {
			places[i] = &place{id: int32(i), dir: fresh(), fresh: true}
		}
		// ask has p greet the others; loss is in percent.
		ask := func(p *place, loss int) (o Outcome, founded bool, err error) {
			heard := map[string]Greeting{}
			for i, o := range places {
				if o.meeting == nil || o == p || rng.IntN(100) < loss {
					continue
				}
				g, err := Decode(p.meeting.own().Append(nil))
				if err != nil {
					t.Fatal(err)
				}
				a := o.meeting.Answer(g)
				if rng.IntN(100) < loss {
					continue
				}
				heard[seats[i].Addr] = a
				p.meeting.heard(a)
				founded = founded || a.Founded
			}
			o, err = p.meeting.judge(heard)
			return o, founded, err
		}
		step := func(p *place, loss int) {
			if p.meeting == nil || p.began != nil {
				return
			}
			o, heardOfFounding, err := ask(p, loss)
			switch {
			case err != nil:
				refused++
			case o.Voters != nil:
				votes := false
				for _, v := range o.Voters {
					votes = votes || v.ID == p.id && v.Directory == p.dir
				}
				if p.id == o.Voters[0].ID && !heardOfFounding {
					// It founds, so all others are empty: whoever voted before
					// lost its log, and with it the cluster that it voted in.
					for _, q := range places {
						if q.began != nil && q != p {
							t.Fatalf("seed %d: node %d founds beside node %d", seed, p.id, q.id)
						}
						q.voted = false
					}
				}
				if votes && p.voted {
					t.Fatalf("seed %d: node %d votes again under directory %x", seed, p.id, p.dir[0])
				}
				p.voted = p.voted || votes
				p.meeting.Begin(o)
				p.began, p.fresh = &o, false
				begun++
			}
		}
		for range 60 {
			p := places[rng.IntN(n)]
			switch r := rng.IntN(20); {
			case r < 4:
				p.start(seats)
			case r < 6:
				p.meeting = nil
			case r == 6: // the disk is lost
				*p = place{id: p.id, dir: fresh(), fresh: true}
			case r == 7 && p.began != nil && len(p.began.Voters) > 1: // the log alone is lost
				p.meeting, p.began = nil, nil
			default:
				step(p, 30)
			}
			// Of one founding's voters none is in another.
			for _, a := range places {
				for _, b := range places {
					if a.began != nil && b.began != nil && a.voted && b.voted && a.began.Cluster == b.began.Cluster && !reflect.DeepEqual(a.began.Voters, b.began.Voters) {
						t.Fatalf("seed %d: %+v and %+v", seed, a.began, b.began)
					}
				}
			}
		}
	}
	if !seeds.One() && (begun == 0 || refused == 0) {
		t.Errorf("%d began, %d were refused", begun, refused)
	}
}

// Three that can talk found one cluster within two rounds each.
func TestThreeMeet(t *testing.T) {
	t.Parallel()
	var ms []*Meeting
	var seats []Seat
	for i := range 3 {
		seats = append(seats, Seat{ID: int32(i), Addr: fmt.Sprint("a", i)})
	}
	ask := func(_ context.Context, addr string, g Greeting) (Greeting, error) {
		for i, s := range seats {
			if s.Addr == addr && ms[i] != nil {
				return ms[i].Answer(g), nil
			}
		}
		return Greeting{}, errors.New("down")
	}
	for i := range 3 {
		ms = append(ms, New(Config{Node: int32(i), Directory: meta.UUID{byte(i + 1)}, Fresh: true, Seats: seats, Ask: ask, NewCluster: func() string { return "c" }}))
	}
	var got []Outcome
	for range 2 {
		for _, m := range ms {
			heard, _ := m.round(t.Context())
			o, err := m.judge(heard)
			if err != nil {
				t.Fatal(err)
			}
			if o.Voters != nil {
				m.Begin(o)
				got = append(got, o)
			}
		}
	}
	for _, o := range got {
		if !reflect.DeepEqual(o, got[0]) {
			t.Errorf("%+v and %+v", o, got[0])
		}
	}
	if len(got) < 3 {
		t.Errorf("%d know", len(got))
	}
	if a := ms[0].Answer(Greeting{Node: 0, Directory: meta.UUID{9}}); !strings.Contains(a.Refusal, "another node has node.id 0") {
		t.Errorf("a second node 0 hears %q", a.Refusal)
	}
	if a := ms[0].Answer(Greeting{Node: 5, Cluster: "d"}); !strings.Contains(a.Refusal, "belongs to cluster c, not d") {
		t.Errorf("a node of another cluster hears %q", a.Refusal)
	}
}

func FuzzGreeting(f *testing.F) {
	vs := []quorum.Voter{{ID: 1, Directory: meta.UUID{2}, Endpoints: []meta.Endpoint{{Listener: "C", Host: "h", Port: 9}}}}
	f.Add(Greeting{Node: 1, Cluster: "c", Founded: true, Voters: vs, Members: vs, Refusal: "no"}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Decode(g.Append(nil)); err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("%+v became %+v: %v", g, again, err)
		}
	})
}
