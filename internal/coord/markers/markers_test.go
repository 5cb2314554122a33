// SPDX-License-Identifier: Apache-2.0

package markers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord/txn"
)

// Goal: every marker is written at the partition's leader of the time, once or
// more, and the order is done when all are; orders of an old coordinator end.
// Method: nodes as maps, in a bubble with exact time.

type world struct {
	mu      sync.Mutex
	leaders map[txn.Partition]int32 // -1: none; absent: no such partition
	answers map[txn.Partition][]int16
	broken  map[int32]error
	silent  map[int32]bool // no answer ever comes
	hold    time.Duration
	sent    []string
	most    int // markers in one request
	flying  int
	peak    int
	done    []string
	refused []string
	deaf    int // so many Done fail
	doneErr error
}

func (w *world) config() Config {
	return Config{
		Leader: func(p txn.Partition) (int32, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			n, ok := w.leaders[p]
			return n, ok
		},
		Send: w.send,
		Done: func(_ context.Context, partition int32, o txn.Order) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.deaf > 0 {
				w.deaf--
				return w.doneErr
			}
			w.done = append(w.done, fmt.Sprintf("%s of %d", o.ID, partition))
			return nil
		},
		Refused: func(o txn.Order, p txn.Partition, err error) {
			w.refused = append(w.refused, o.ID)
		},
	}
}

func (w *world) send(ctx context.Context, node int32, req *kmsg.WriteTxnMarkersRequest) (*kmsg.WriteTxnMarkersResponse, error) {
	w.mu.Lock()
	w.flying++
	w.peak = max(w.peak, w.flying)
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.flying--; w.mu.Unlock() }()
	w.mu.Lock()
	hold := w.hold
	if w.silent[node] {
		hold = 24 * time.Hour
	}
	w.mu.Unlock()
	select {
	case <-time.After(hold):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.broken[node]; err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	n := 0
	for _, m := range req.Markers {
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = m.ProducerID
		for _, t := range m.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				n++
				at := txn.Partition{Topic: t.Topic, Partition: p}
				code := int16(0)
				if l, ok := w.leaders[at]; !ok || l != node {
					code = kerr.NotLeaderForPartition.Code
				} else if a := w.answers[at]; len(a) > 0 {
					code, w.answers[at] = a[0], a[1:]
				}
				if code == 0 {
					w.sent = append(w.sent, fmt.Sprintf("%d:%s-%d pid %d/%d epoch %d v%d %v", node, t.Topic, p, m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch, m.TransactionVersion, m.Committed))
				}
				rt.Partitions = append(rt.Partitions, kmsg.WriteTxnMarkersResponseMarkerTopicPartition{Partition: p, ErrorCode: code})
			}
			rm.Topics = append(rm.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rm)
	}
	w.most = max(w.most, n)
	return resp, nil
}

func at(topic string, p int32) txn.Partition { return txn.Partition{Topic: topic, Partition: p} }

func inBubble(t *testing.T, test func(t *testing.T, w *world, l *Loop)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{leaders: map[txn.Partition]int32{}, answers: map[txn.Partition][]int16{}, broken: map[int32]error{}}
		l := New(w.config())
		test(t, w, l)
		l.Close()
	})
}

func (w *world) want(t *testing.T, what string, of *[]string, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := slices.Sorted(slices.Values(*of))
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestMarkersGoToLeaders(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		w.leaders[at("a", 0)], w.leaders[at("a", 1)], w.leaders[at("b", 0)] = 1, 2, 1
		l.Order(7, 3, txn.Order{ID: "x", Producer: 10, Epoch: 4, Commit: true, Version: 2,
			Partitions: []txn.Partition{at("a", 0), at("a", 1), at("b", 0), at("gone", 5)}})
		l.Order(7, 3, txn.Order{ID: "empty"})
		l.Order(7, 3, txn.Order{ID: "all gone", Partitions: []txn.Partition{at("gone", 1)}})
		synctest.Wait()
		w.want(t, "sent", &w.sent, "1:a-0 pid 10/4 epoch 3 v2 true", "1:b-0 pid 10/4 epoch 3 v2 true", "2:a-1 pid 10/4 epoch 3 v2 true")
		w.want(t, "done", &w.done, "all gone of 7", "empty of 7", "x of 7")
		if l.Len() != 0 {
			t.Errorf("%d orders left", l.Len())
		}
	})
}

func TestMarkersAreSentUntilTheyAreThere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		p := at("a", 0)
		w.leaders[p] = -1
		l.Order(0, 1, txn.Order{ID: "x", Partitions: []txn.Partition{p}})
		time.Sleep(time.Minute)
		w.want(t, "without a leader", &w.sent)
		w.mu.Lock()
		w.leaders[p] = 2
		w.broken[2] = errors.New("unreachable")
		w.mu.Unlock()
		l.Wake()
		time.Sleep(time.Minute)
		w.mu.Lock()
		delete(w.broken, 2)
		w.leaders[p] = 3 // it moved meanwhile
		w.answers[p] = []int16{kerr.NotEnoughReplicas.Code, kerr.RequestTimedOut.Code, kerr.UnknownServerError.Code}
		w.deaf, w.doneErr = 2, kerr.CoordinatorNotAvailable
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.want(t, "sent", &w.sent, "3:a-0 pid 0/0 epoch 1 v0 false")
		w.want(t, "done", &w.done, "x of 0")
	})
}

// A node that lost its power answers nothing. What is on its way there, and what
// waits for that, goes to the new leaders as soon as there are any.
func TestMarkersDoNotWaitForTheDead(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		w.silent = map[int32]bool{1: true}
		for i := range int32(2 * maxInFlight) {
			w.leaders[at("a", i)] = 1
			l.Order(0, 1, txn.Order{ID: fmt.Sprint(i), Partitions: []txn.Partition{at("a", i)}})
			synctest.Wait()
		}
		w.mu.Lock()
		for i := range int32(2 * maxInFlight) {
			w.leaders[at("a", i)] = 2
		}
		w.mu.Unlock()
		l.Wake()
		time.Sleep(firstPause)
		synctest.Wait()
		w.want(t, "done", &w.done, "0 of 0", "1 of 0", "2 of 0", "3 of 0", "4 of 0", "5 of 0", "6 of 0", "7 of 0")
	})
}

func TestForget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		p := at("a", 0)
		w.leaders[p] = -1
		for epoch := range int32(3) {
			l.Order(5, epoch, txn.Order{ID: fmt.Sprint(epoch), Partitions: []txn.Partition{p}})
		}
		l.Order(6, 0, txn.Order{ID: "other", Partitions: []txn.Partition{p}})
		l.Forget(5, 2)
		w.mu.Lock()
		w.leaders[p] = 1
		w.mu.Unlock()
		l.Wake()
		synctest.Wait()
		w.want(t, "done", &w.done, "2 of 5", "other of 6")
		// Whom nobody coordinates any more is let go.
		w.mu.Lock()
		w.deaf, w.doneErr = 1000, kerr.NotCoordinator
		w.mu.Unlock()
		l.Order(5, 3, txn.Order{ID: "late", Partitions: []txn.Partition{p}})
		synctest.Wait()
		// Its loop may still be at work while it is told to end.
		w.mu.Lock()
		w.answers[p] = slices.Repeat([]int16{kerr.TransactionCoordinatorFenced.Code}, 1000)
		w.mu.Unlock()
		l.Forget(5, 7)
		l.Order(5, 6, txn.Order{ID: "belated", Partitions: []txn.Partition{p}})
		l.Forget(6, math.MaxInt32)
		l.Order(6, 9, txn.Order{ID: "belated", Partitions: []txn.Partition{p}})
		synctest.Wait()
		if l.Len() != 0 {
			t.Errorf("%d orders left", l.Len())
		}
	})
}

func TestRefusedMarkers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		p, q := at("a", 0), at("a", 1)
		w.leaders[p], w.leaders[q] = 1, 1
		w.answers[p] = []int16{kerr.InvalidProducerEpoch.Code}
		w.answers[q] = []int16{kerr.TransactionCoordinatorFenced.Code, kerr.TransactionCoordinatorFenced.Code}
		l.Order(5, 1, txn.Order{ID: "epoch", Partitions: []txn.Partition{p}})
		l.Order(5, 1, txn.Order{ID: "fenced", Producer: 1, Partitions: []txn.Partition{q}})
		synctest.Wait()
		w.want(t, "done", &w.done, "epoch of 5")
		w.want(t, "refused", &w.refused, "epoch", "fenced")
		l.Forget(5, 2)
		time.Sleep(time.Hour)
		w.want(t, "done", &w.done, "epoch of 5")
	})
}

// What is not done yet can be told.
func TestPending(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		done, homeless, silent := at("a", 0), at("a", 1), at("a", 2)
		w.silent = map[int32]bool{3: true}
		w.leaders[done], w.leaders[homeless], w.leaders[silent] = 1, -1, 3
		w.deaf, w.doneErr = 1000, kerr.CoordinatorNotAvailable
		l.Order(0, 1, txn.Order{ID: "x", Partitions: []txn.Partition{done, homeless, silent}})
		l.Order(0, 1, txn.Order{ID: "y", Partitions: []txn.Partition{done}})
		synctest.Wait()
		left, ok := l.Pending("x")
		slices.SortFunc(left, func(a, b txn.Partition) int { return int(a.Partition - b.Partition) })
		if !ok || !slices.Equal(left, []txn.Partition{homeless, silent}) {
			t.Errorf("pending of x: %v, %v", left, ok)
		}
		if left, ok := l.Pending("y"); !ok || len(left) > 0 {
			t.Errorf("pending of y: %v, %v", left, ok)
		}
		if _, ok := l.Pending("z"); ok {
			t.Error("z is pending")
		}
		if homeless, untold := l.Stuck(); homeless != 1 || untold != 1 {
			t.Errorf("%d markers without a leader, %d orders untold", homeless, untold)
		}
	})
}

// Very many orders share requests, of which a node has few at a time.
func TestMarkersShareRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		w.hold = 10 * time.Millisecond
		var ps []txn.Partition
		for i := range int32(10) {
			ps = append(ps, at("a", i))
			w.leaders[ps[i]] = 1
		}
		for i := range 1000 {
			l.Order(int32(i%50), 1, txn.Order{ID: fmt.Sprint(i), Producer: int64(i), Partitions: ps})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(w.done) != 1000 || len(w.sent) != 10_000 || w.most != maxItems || w.peak != maxInFlight {
			t.Errorf("%d done, %d markers, %d in one request, %d requests at a time", len(w.done), len(w.sent), w.most, w.peak)
		}
	})
}

func TestCloseInTheMiddle(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, l *Loop) {
		w.hold = time.Hour
		w.leaders[at("a", 0)], w.leaders[at("a", 1)] = 1, -1
		w.deaf, w.doneErr = 1000, errors.New("deaf")
		l.Order(5, 1, txn.Order{ID: "x", Partitions: []txn.Partition{at("a", 0), at("a", 1)}})
		l.Order(5, 1, txn.Order{ID: "y"})
		synctest.Wait()
		l.Close()
		l.Order(5, 1, txn.Order{ID: "z"})
		l.Wake()
	})
}
