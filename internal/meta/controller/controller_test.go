// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/meta"
	"gregor/internal/seeds"
)

// fakeLog agrees with itself: it folds proposals in after a moment, and on
// demand drops one (and so all that were decided on it), or loses leadership.
type fakeLog struct {
	mu      sync.Mutex
	c       *Controller
	img     *meta.Image
	queue   []*meta.Proposal
	leading bool
	groups  int
	stall   chan struct{}
	rng     *rand.Rand
	drops   bool // drop proposals now and then
}

func newFakeLog(c *Controller, seed uint64) *fakeLog {
	return &fakeLog{c: c, img: meta.Empty(), stall: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 3))}
}

func (l *fakeLog) Stalled() <-chan struct{} { return l.stall }

func (l *fakeLog) Propose(group []*meta.Proposal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups++
	for _, p := range group {
		switch {
		case !l.leading:
			p.Done(meta.ErrNotLeader)
		case l.drops && l.rng.IntN(10) == 0:
			p.Done(meta.ErrDropped)
		default:
			l.queue = append(l.queue, p)
		}
	}
	return nil
}

func (l *fakeLog) lead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = true
	l.c.Leading(1, l.img)
}

// resign loses leadership: the first half of what is under way makes it.
func (l *fakeLog) resign() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = false
	l.c.Following()
	for i, p := range l.queue {
		p.Done(meta.ErrUnknown)
		if i < len(l.queue)/2 {
			l.fold(p)
		}
	}
	l.queue = nil
}

func (l *fakeLog) fold(p *meta.Proposal) bool {
	if p.Base != l.img.Version() {
		return false
	}
	img, _, err := l.img.With(p.Records)
	if err != nil {
		panic(err)
	}
	l.img = img
	l.c.Committed(img)
	return true
}

// commit agrees on everything proposed so far.
func (l *fakeLog) commit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.queue {
		if l.fold(p) {
			p.Done(nil)
		} else {
			p.Done(meta.ErrDropped)
		}
	}
	l.queue = nil
}

func start(seed uint64) (*Controller, *fakeLog) {
	c := New(Config{Found: func() []meta.Record { return []meta.Record{meta.ClusterRecord{ID: "c"}} }, Fault: func(_ string, err error) { panic(err) }})
	l := newFakeLog(c, seed)
	c.Start(l)
	return c, l
}

func set(name string) Decision {
	return func(*meta.Image) ([]meta.Record, error) {
		return []meta.Record{meta.FeatureRecord{Name: name, Level: 1}}, nil
	}
}

type result struct {
	version int64
	err     error
}

func submit(c *Controller, d Decision) chan result {
	ch := make(chan result, 1)
	go func() {
		v, err := c.Submit(context.Background(), "x", d)
		ch <- result{v, err}
	}()
	return ch
}

// TestDecidesOnPending: a decision sees what was decided before it, committed
// or not, and its refusal waits until that is committed.
func TestDecidesOnPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := start(1)
		early := submit(c, set("early")) // before leadership is known: waits
		synctest.Wait()
		l.lead()
		synctest.Wait()
		refusal := errors.New("exists already")
		second := submit(c, func(img *meta.Image) ([]meta.Record, error) {
			if img.Feature("early") == 1 {
				return nil, refusal
			}
			return nil, errors.New("the decision before is not seen")
		})
		synctest.Wait()
		select {
		case r := <-second:
			t.Fatalf("answered %+v before what it looked at was committed", r)
		default:
		}
		l.commit()
		if r := <-early; r.err != nil || r.version != 2 {
			t.Errorf("%+v", r)
		}
		if r := <-second; !errors.Is(r.err, refusal) {
			t.Errorf("%+v", r)
		}
		if l.img.ClusterID() != "c" {
			t.Error("not founded")
		}
		c.Close()
	})
}

func TestLostLeadership(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := start(1)
		l.lead()
		synctest.Wait()
		l.commit()
		under := submit(c, set("a"))
		synctest.Wait()
		l.resign()
		if r := <-under; !errors.Is(r.err, ErrUnknown) {
			t.Errorf("under way: %+v", r)
		}
		if r := <-submit(c, set("b")); !errors.Is(r.err, ErrNotController) {
			t.Errorf("afterwards: %+v", r)
		}
		l.lead()
		again := submit(c, set("c"))
		synctest.Wait()
		l.commit()
		if r := <-again; r.err != nil {
			t.Errorf("leading again: %+v", r)
		}
		c.Close()
		if r := <-submit(c, set("d")); !errors.Is(r.err, ErrClosed) {
			t.Errorf("closed: %+v", r)
		}
	})
}

// TestOpenChangeIsDropped: what a lost leader began in brackets is dropped
// before anything else is decided.
func TestOpenChangeIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := start(1)
		img, _, err := l.img.With([]meta.Record{meta.ClusterRecord{ID: "c"}, meta.BeginChangeRecord{Name: "half"}, meta.FeatureRecord{Name: "half", Level: 1}})
		if err != nil {
			t.Fatal(err)
		}
		l.img = img
		l.lead()
		done := submit(c, set("a"))
		synctest.Wait()
		l.commit()
		if r := <-done; r.err != nil {
			t.Fatal(r.err)
		}
		if _, open := l.img.ChangeOpen(); open || l.img.Feature("half") != 0 || l.img.Feature("a") != 1 {
			t.Error("the open change was carried on")
		}
		c.Close()
	})
}

func TestStalledLogIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := start(1)
		l.lead()
		synctest.Wait()
		l.commit()
		r := submit(c, set("a"))
		synctest.Wait()
		close(l.stall)
		if r := <-r; !errors.Is(r.err, ErrUnknown) {
			t.Errorf("%+v", r)
		}
		c.Close()
	})
}

// TestSimEveryAnswerIsTrue submits from many sides while proposals are dropped and
// leadership comes and goes. Success means that the change is there, a refusal
// that it is not, and every Submit is answered.
func TestSimEveryAnswerIsTrue(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 30, 2) {
		synctest.Test(t, func(t *testing.T) {
			c, l := start(seed)
			l.drops = true
			var wg sync.WaitGroup
			var mu sync.Mutex
			results := map[string]error{}
			for w := range 8 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(w)))
					for i := range 40 {
						name := fmt.Sprintf("w%d-%d", w, i)
						_, err := c.Submit(context.Background(), name, set(name))
						mu.Lock()
						results[name] = err
						mu.Unlock()
						time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
					}
				})
			}
			stop := make(chan struct{})
			go func() { wg.Wait(); close(stop) }()
			rng := rand.New(rand.NewPCG(seed, 99))
			for running := true; running; {
				select {
				case <-stop:
					running = false
				case <-time.After(time.Millisecond):
					switch r := rng.IntN(20); {
					case r == 0 && l.leading:
						l.resign()
					case !l.leading:
						l.lead()
					default:
						l.commit()
					}
				}
			}
			ok := 0
			for name, err := range results {
				there := l.img.Feature(name) == 1
				switch {
				case err == nil && !there:
					t.Errorf("seed %d: %s was promised and is gone", seed, name)
				case errors.Is(err, ErrNotController) && there:
					t.Errorf("seed %d: %s was refused and is there", seed, name)
				case err == nil:
					ok++
				}
			}
			if len(results) != 320 || ok < 100 {
				t.Errorf("seed %d: %d answers, %d successes", seed, len(results), ok)
			}
			c.Close()
		})
	}
}

func BenchmarkSubmit(b *testing.B) {
	c, l := start(1)
	l.lead()
	go func() {
		for {
			l.commit()
			time.Sleep(50 * time.Microsecond)
		}
	}()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Submit(context.Background(), "x", set("f")); err != nil {
				b.Error(err)
			}
		}
	})
}

// TestLevels: a record that older nodes may not know is written once the level
// is in force, and not before, whoever asks for it.
func TestLevels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Needs: func(r meta.Record) int16 {
			if _, later := r.(meta.ConfigRecord); later {
				return 2
			}
			return meta.Needs(r)
		}})
		l := newFakeLog(c, 1)
		c.Start(l)
		l.lead()
		one := "1"
		write := func(rs ...meta.Record) error {
			done := submit(c, func(*meta.Image) ([]meta.Record, error) { return rs, nil })
			synctest.Wait()
			l.commit()
			return (<-done).err
		}
		setting := meta.ConfigRecord{Resource: meta.Resource{Type: meta.GroupResource, Name: "g"}, Key: "k", Value: &one}
		level := meta.FeatureRecord{Name: meta.GregorVersion, Level: 2}
		var refused *meta.LevelError
		for _, rs := range [][]meta.Record{{setting}, {level, setting}} {
			if err := write(rs...); !errors.As(err, &refused) || refused.Needs != 2 || refused.Level != 1 {
				t.Errorf("at level 1: %v", err)
			}
		}
		if err := write(level); err != nil {
			t.Error(err)
		}
		if err := write(setting); err != nil {
			t.Errorf("at level 2: %v", err)
		}
		c.Close()
	})
}

// TestStalledLogHoldsNoCrowd: while the log's disk hangs, those who ask and give
// up leave nothing behind that grows.
func TestStalledLogHoldsNoCrowd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := start(1)
		l.lead()
		synctest.Wait()
		l.commit()
		under := submit(c, set("a")) // under way as long as the disk hangs
		synctest.Wait()
		close(l.stall)
		for range 5 * maxUnderWay {
			// As a heartbeat: it changes nothing, and is sent again and again.
			_, err := c.Submit(t.Context(), "beat", func(*meta.Image) ([]meta.Record, error) { return nil, nil })
			if !errors.Is(err, ErrUnknown) {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		c.mu.Lock()
		held := len(c.asked) + len(c.waiting)
		c.mu.Unlock()
		if held > maxUnderWay+maxGroup {
			t.Errorf("%d requests are held that nobody waits for", held)
		}
		<-under
		l.commit()
		synctest.Wait()
		if held := len(c.waiting); held != 0 {
			t.Errorf("%d are held when the disk is back", held)
		}
		c.Close()
	})
}
