// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
)

// Goal: the runtime keeps its rule (decide, append, replay, wait, reply) through
// commits that come late, appends that fail, lost leadership and stops.
// Method: a shard that sums numbers and a log in memory whose commits are in
// the test's hand, inside a synctest bubble, so that time is exact and a
// goroutine left behind fails the test.

// fakeLog is a log in memory. By itself it commits what is appended.
type fakeLog struct {
	mu      sync.Mutex
	batches []batch.View
	end     int64
	hw      int64
	hold    bool
	lost    bool
	fail    error
	readErr error
	max     int
	waiters []logWaiter
}

type logWaiter struct {
	end int64
	ch  chan struct{}
}

func (l *fakeLog) Append(b []byte, _ AppendOptions) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	v := batch.View(slices.Clone(b))
	if err := v.CheckCRC(); err != nil {
		return 0, err
	}
	v.SetBaseOffset(l.end)
	l.batches = append(l.batches, v)
	l.end = v.NextOffset()
	if !l.hold {
		l.commitLocked(l.end)
	}
	return l.end, nil
}

func (l *fakeLog) commit(to int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commitLocked(to)
}

func (l *fakeLog) commitLocked(to int64) {
	l.hw = max(l.hw, to)
	l.waiters = slices.DeleteFunc(l.waiters, func(w logWaiter) bool {
		if w.end <= l.hw || l.lost {
			close(w.ch)
			return true
		}
		return false
	})
}

func (l *fakeLog) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.fail = true, kerr.NotLeaderForPartition
	l.commitLocked(l.hw)
}

func (l *fakeLog) Bounds() (int64, int64) { l.mu.Lock(); defer l.mu.Unlock(); return 0, l.end }
func (l *fakeLog) Committed() int64       { l.mu.Lock(); defer l.mu.Unlock(); return l.hw }
func (l *fakeLog) MaxBatch() int {
	if l.max > 0 {
		return l.max
	}
	return 1 << 20
}

func (l *fakeLog) Await(end int64) (<-chan struct{}, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := make(chan struct{})
	l.waiters = append(l.waiters, logWaiter{end, ch})
	l.commitLocked(l.hw)
	return ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiters = slices.DeleteFunc(l.waiters, func(w logWaiter) bool { return w.ch == ch })
	}
}

func (l *fakeLog) Read(from int64, maxBytes int, buf []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readErr != nil {
		return nil, l.readErr
	}
	buf = buf[:0]
	for _, b := range l.batches {
		if b.NextOffset() <= from {
			continue
		}
		if len(buf) > 0 && len(buf)+len(b) > maxBytes {
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

// sums is a shard: its records are numbers, its state is their sum.
type sums struct {
	written, committed int64
	queue              []struct{ at, sum int64 }
	loaded             bool
	alarm              time.Time
	note               func()
	parked             []Ticket
}

func number(n int64) Record { return Record{Value: binary.BigEndian.AppendUint64(nil, uint64(n))} }

func (s *sums) Replay(at int64, r Record) error {
	if len(r.Value) != 8 {
		return errors.New("no number")
	}
	s.written += int64(binary.BigEndian.Uint64(r.Value))
	s.queue = append(s.queue, struct{ at, sum int64 }{at, s.written})
	return nil
}

func (s *sums) Committed(upTo int64) {
	for len(s.queue) > 0 && s.queue[0].at < upTo {
		s.committed = s.queue[0].sum
		s.queue = s.queue[1:]
	}
}

func (s *sums) Loaded(time.Time) Result { s.loaded = true; return Result{} }
func (s *sums) Next() time.Time         { return s.alarm }
func (s *sums) Tick(time.Time) Result {
	if s.note != nil {
		s.note()
	}
	s.alarm = time.Time{}
	r := Result{Records: []Record{number(1000)}}
	for _, t := range s.parked {
		r.Answers = append(r.Answers, Answer{t, "released"})
	}
	s.parked = nil
	return r
}

type fixture struct {
	*Runtime[*sums]
	log  *fakeLog
	bad  []int64
	errs []error
}

func run(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{log: &fakeLog{}}
		f.Runtime = New(Config[*sums]{
			New: func(int32) *sums { return &sums{} },
			Events: Events{
				BadRecord:  func(_ int32, o int64, _ error) { f.bad = append(f.bad, o) },
				LoadFailed: func(_ int32, err error) { f.errs = append(f.errs, err) },
			},
		})
		test(t, f)
		f.Close()
	})
}

func (f *fixture) add(n int64) (any, error) {
	return f.Write(context.Background(), 7, func(s *sums, _ time.Time, _ Ticket) Result {
		return Result{Records: []Record{number(n)}, Reply: s.written + n}
	})
}

func (f *fixture) sum(t *testing.T) (written, committed int64) {
	t.Helper()
	if err := f.Read(context.Background(), 7, func(s *sums) { written, committed = s.written, s.committed }); err != nil {
		t.Fatal(err)
	}
	return written, committed
}

func (f *fixture) elect() {
	f.Elect(7, 1, f.log)
	synctest.Wait()
}

func TestWriteAndReload(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		if _, err := f.add(1); !errors.Is(err, kerr.NotCoordinator) {
			t.Errorf("before the election: %v", err)
		}
		f.elect()
		for i := range int64(10) {
			if _, err := f.add(i); err != nil {
				t.Fatal(err)
			}
		}
		if w, c := f.sum(t); w != 45 || c != 45 {
			t.Errorf("sums %d and %d", w, c)
		}
		f.Resign(7, 0) // news from before the election
		f.sum(t)
		f.Resign(7, 1)
		if _, err := f.add(1); !errors.Is(err, kerr.NotCoordinator) {
			t.Errorf("after the end: %v", err)
		}
		f.Elect(7, 3, f.log)
		f.Elect(7, 2, &fakeLog{}) // old news
		synctest.Wait()
		if w, c := f.sum(t); w != 45 || c != 45 {
			t.Errorf("sums after the reload %d and %d", w, c)
		}
		if got := f.Owned(); len(got) != 1 || got[0] != 7 {
			t.Errorf("owns %v", got)
		}
	})
}

// The reply waits for the commit; reads meanwhile show what was before.
func TestReplyWaitsForCommit(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		f.add(1)
		f.log.hold = true
		var wg sync.WaitGroup
		got := make([]any, 3)
		for i := range got {
			wg.Go(func() { got[i], _ = f.add(10) })
			synctest.Wait()
		}
		if w, c := f.sum(t); w != 31 || c != 1 {
			t.Errorf("sums %d and %d", w, c)
		}
		f.log.commit(3) // the first and the second
		synctest.Wait()
		if got[0] != int64(11) || got[1] != int64(21) || got[2] != nil {
			t.Errorf("replies %v", got)
		}
		if _, c := f.sum(t); c != 21 {
			t.Errorf("committed sum %d", c)
		}
		f.log.commit(4)
		wg.Wait()
		if got[2] != int64(31) {
			t.Errorf("replies %v", got)
		}
	})
}

// A reply without records waits for those before it.
func TestEmptyWriteWaits(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		f.log.hold = true
		go f.add(5)
		synctest.Wait()
		var got any
		done := make(chan struct{})
		go func() {
			got, _ = f.Write(context.Background(), 7, func(s *sums, _ time.Time, _ Ticket) Result { return Result{Reply: s.written} })
			close(done)
		}()
		synctest.Wait()
		if got != nil {
			t.Errorf("answered with %v before the commit", got)
		}
		f.log.commit(1)
		<-done
		if got != int64(5) {
			t.Errorf("answered with %v", got)
		}
	})
}

func TestCommitTimeout(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		f.log.hold = true
		began := time.Now()
		if _, err := f.add(5); !errors.Is(err, kerr.RequestTimedOut) || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		f.log.commit(1) // late, but not lost
		synctest.Wait()
		if w, c := f.sum(t); w != 5 || c != 5 {
			t.Errorf("sums %d and %d", w, c)
		}
	})
}

func TestRefusedAppend(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		f.log.fail = kerr.KafkaStorageError
		if _, err := f.add(5); !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("error %v", err)
		}
		var settled error
		reply, err := f.Write(context.Background(), 7, func(_ *sums, _ time.Time, tk Ticket) Result {
			return Result{Records: []Record{number(1)}, Settled: func(_ time.Time, written bool, err error) Result {
				settled = err
				return Result{Answers: []Answer{{tk, written}}}
			}}
		})
		if reply != false || err != nil || !errors.Is(settled, kerr.KafkaStorageError) {
			t.Errorf("reply %v, error %v, settled with %v", reply, err, settled)
		}
		f.log.fail = nil
		f.add(7)
		if w, _ := f.sum(t); w != 7 {
			t.Errorf("sum %d", w)
		}
		if _, err := f.Write(context.Background(), 7, func(*sums, time.Time, Ticket) Result { return Result{Err: kerr.IllegalGeneration} }); !errors.Is(err, kerr.IllegalGeneration) {
			t.Errorf("refusal is %v", err)
		}
	})
}

func TestTooLargeAndDivisible(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.log.max = 300
		f.elect()
		write := func(divisible bool) (any, error) {
			return f.Write(context.Background(), 7, func(*sums, time.Time, Ticket) Result {
				r := Result{Reply: true, Divisible: divisible}
				for range 2500 {
					r.Records = append(r.Records, number(1))
				}
				return r
			})
		}
		if _, err := write(false); !errors.Is(err, kerr.RecordListTooLarge) {
			t.Errorf("error %v", err)
		}
		if _, err := write(true); err != nil {
			t.Errorf("error %v", err)
		}
		if w, c := f.sum(t); w != 2500 || c != 2500 {
			t.Errorf("sums %d and %d", w, c)
		}
		for _, b := range f.log.batches {
			if len(b) > 300 {
				t.Fatalf("a batch has %d bytes", len(b))
			}
		}
	})
}

func TestTimersAndParkedCalls(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		began := time.Now()
		reply, err := f.Write(context.Background(), 7, func(s *sums, now time.Time, tk Ticket) Result {
			s.alarm = now.Add(90 * time.Second)
			s.parked = append(s.parked, tk)
			return Result{}
		})
		if reply != "released" || err != nil || time.Since(began) != 90*time.Second {
			t.Errorf("%v, %v after %v", reply, err, time.Since(began))
		}
		if w, c := f.sum(t); w != 1000 || c != 1000 {
			t.Errorf("sums %d and %d", w, c)
		}
	})
}

// Whoever waits when leadership ends is sent to the new coordinator: calls
// whose records may or may not survive, and parked ones.
func TestLostLeadership(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"resign", "log", "election", "close"} {
		t.Run(how, func(t *testing.T) {
			run(t, func(t *testing.T, f *fixture) {
				f.elect()
				f.log.hold = true
				errs := make([]error, 2)
				var wg sync.WaitGroup
				wg.Go(func() { _, errs[0] = f.add(5) })
				wg.Go(func() {
					_, errs[1] = f.Write(context.Background(), 7, func(s *sums, _ time.Time, tk Ticket) Result { return Result{} })
				})
				synctest.Wait()
				switch how {
				case "resign":
					f.Resign(7, 2)
				case "log":
					f.log.lose()
				case "election":
					f.Elect(7, 2, &fakeLog{})
				case "close":
					f.Close()
				}
				wg.Wait()
				for _, err := range errs {
					if !errors.Is(err, kerr.NotCoordinator) {
						t.Errorf("error %v", err)
					}
				}
			})
		})
	}
}

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var tk Ticket
		_, err := f.Write(ctx, 7, func(s *sums, now time.Time, t Ticket) Result {
			tk = t
			s.parked = append(s.parked, t)
			s.alarm = now.Add(time.Minute)
			return Result{}
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		time.Sleep(2 * time.Minute) // its answer is sent to nobody
		if w, _ := f.sum(t); w != 1000 || tk == 0 {
			t.Errorf("sum %d", w)
		}
	})
}

// While the log cannot be read the load is tried again; an unreadable record
// is passed over and named.
func TestLoadFailures(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		var b batch.Builder
		for _, recs := range [][]Record{{number(1), {Value: []byte("x")}}, {number(2)}} {
			v, err := build(&b, recs, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.log.Append(v, AppendOptions{})
		}
		f.log.readErr = errors.New("disk")
		f.elect()
		if _, err := f.add(1); !errors.Is(err, kerr.NotCoordinator) {
			t.Errorf("error %v", err)
		}
		var posted int
		f.Post(func(s *sums, _ time.Time) Result { posted++; return Result{Records: []Record{number(100)}} })
		f.log.mu.Lock()
		f.log.readErr = nil
		f.log.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if w, c := f.sum(t); w != 103 || c != 103 || posted != 1 {
			t.Errorf("sums %d and %d, posted %d", w, c, posted)
		}
		if fmt.Sprint(f.bad) != "[1]" || len(f.errs) == 0 {
			t.Errorf("bad records %v, errors %v", f.bad, f.errs)
		}
	})
}

// What is in the mailbox when a timer is due is served before the timer: it was
// sent in time.
func TestMailGoesBeforeTimers(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		release := make(chan struct{})
		var order []string
		var wg sync.WaitGroup
		wg.Go(func() {
			f.Read(context.Background(), 7, func(s *sums) {
				s.alarm = time.Now().Add(time.Second)
				s.note = func() { order = append(order, "tick") }
				<-release // as a slow disk holds the loop
			})
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				f.Read(context.Background(), 7, func(*sums) { order = append(order, "mail") })
			})
		}
		time.Sleep(time.Minute)
		close(release)
		wg.Wait()
		synctest.Wait()
		if len(order) != 6 || order[5] != "tick" {
			t.Errorf("order %v", order)
		}
	})
}

// Right after an election the log may not agree yet, or no more, who leads. That
// is no failure to be told of.
func TestLoadBeforeTheLogAgrees(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.log.Append(mustBuild(t, number(3)), AppendOptions{})
		f.log.readErr = fmt.Errorf("read: %w", kerr.FencedLeaderEpoch)
		f.elect()
		if _, err := f.add(1); !errors.Is(err, kerr.NotCoordinator) {
			t.Errorf("error %v", err)
		}
		f.log.mu.Lock()
		f.log.readErr = nil
		f.log.mu.Unlock()
		time.Sleep(reloadNotLed)
		synctest.Wait()
		if w, _ := f.sum(t); w != 3 || len(f.errs) != 0 {
			t.Errorf("sum %d, errors %v", w, f.errs)
		}
	})
}

// What a new leader has in its log may have been answered for by the one before,
// though the new one's high watermark does not say so yet. A read must not go
// back behind that.
func TestReadsWaitForWhatWasLoaded(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.log.Append(mustBuild(t, number(3)), AppendOptions{})
		f.log.hold = true
		f.log.Append(mustBuild(t, number(4)), AppendOptions{}) // committed there, not known to be here
		f.elect()
		var committed int64
		read := func() error {
			return f.Read(context.Background(), 7, func(s *sums) { committed = s.committed })
		}
		if err := read(); !errors.Is(err, kerr.CoordinatorLoadInProgress) {
			t.Errorf("a read shows %d, %v", committed, err)
		}
		if _, err := f.Write(context.Background(), 7, func(*sums, time.Time, Ticket) Result {
			return Result{Err: kerr.UnknownMemberID}
		}); !errors.Is(err, kerr.UnknownMemberID) {
			t.Errorf("a decision on what is written: %v", err)
		}
		f.log.commit(2)
		synctest.Wait()
		if err := read(); err != nil || committed != 7 {
			t.Errorf("a read shows %d, %v", committed, err)
		}
	})
}

// What was posted before a call came is done before it: the offsets of a topic
// that was deleted go before those of its successor come.
func TestPostsGoBeforeLaterMail(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		for range 20 {
			release := make(chan struct{})
			var order []string
			var wg sync.WaitGroup
			wg.Go(func() { f.Read(context.Background(), 7, func(*sums) { <-release }) })
			synctest.Wait()
			f.Post(func(*sums, time.Time) Result { order = append(order, "post"); return Result{} })
			wg.Go(func() { f.Read(context.Background(), 7, func(*sums) { order = append(order, "mail") }) })
			synctest.Wait()
			close(release)
			wg.Wait()
			synctest.Wait()
			if !slices.Equal(order, []string{"post", "mail"}) {
				t.Errorf("order %v", order)
				return
			}
		}
	})
}

func mustBuild(t *testing.T, records ...Record) batch.View {
	t.Helper()
	v, err := build(&batch.Builder{}, records, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Many callers at once, against a log that commits late: every reply is the
// committed sum at its place, and nothing is lost.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture) {
		f.elect()
		f.log.hold = true
		stop := make(chan struct{})
		var flusher, wg sync.WaitGroup
		flusher.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					_, end := f.log.Bounds()
					f.log.commit(end)
				}
			}
		})
		seen := make([]int64, 2000)
		for i := range 500 {
			wg.Go(func() {
				for j := range 4 {
					v, err := f.add(1)
					if err != nil {
						t.Error(err)
						return
					}
					seen[i*4+j] = v.(int64)
				}
			})
		}
		wg.Wait()
		close(stop)
		flusher.Wait()
		slices.Sort(seen)
		for i, v := range seen {
			if v != int64(i+1) {
				t.Fatalf("reply %d is %d", i, v)
			}
		}
	})
}
