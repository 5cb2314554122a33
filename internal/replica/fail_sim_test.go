// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/vfs"
)

// TestEveryCallFails lets each call that changes the disk fail in turn, once,
// while records are produced, and then takes the power away. Whatever was
// acknowledged before is there afterwards, in order and once; what was not is
// refused with an error that producers retry.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		hit := 0
		for call := int64(1); call <= 60; call++ {
			mem := vfs.NewMem()
			f := vfs.NewFaulty(mem)
			w := begin(t, f, 1)
			w.topic(1, "t", 1, func(c *TopicConfig) { c.Log.SegmentBytes = 250 })
			f.FailCall(call, vfs.AnyChange, fault, false)
			acked := produceThroughFaults(t, w, call, fault)
			if acked < 12 {
				hit++
			}
			rng := rand.New(rand.NewPCG(uint64(call), 9))
			clone := mem.CrashClone(rng.Int64N)
			w.kill()
			w.fs = clone
			w.start(1)
			w.answerRaises()
			p := w.table.Named("t", 0)
			epoch, _ := p.LeaderEpoch()
			if err := p.Wait(t.Context(), p.LogEnd(), epoch); err != nil {
				t.Fatalf("%v at call %d: %v", fault, call, err)
			}
			got, err := readAll(p, 0, ReadUncommitted)
			if err != nil || len(got) < acked {
				t.Fatalf("%v at call %d: %d records after the cut, %d were acknowledged; %v", fault, call, len(got), acked, err)
			}
			for i, v := range got {
				if want := (value{int64(i), string(rune('0' + i))}); i < 10 && v != want {
					t.Fatalf("%v at call %d: record %d is %v", fault, call, i, v)
				}
			}
			w.stop()
		}
		if fault == syscall.EIO && hit == 0 {
			t.Error("no failing call ever stopped the producing")
		}
	}
}

// produceThroughFaults produces twelve records of an idempotent producer,
// each tried three times, and returns how many were acknowledged. It ends at
// the first that was not.
func produceThroughFaults(t *testing.T, w *world, call int64, fault error) int {
	t.Helper()
	p := w.table.Named("t", 0)
	for i := range 12 {
		done := false
		for range 3 {
			r, err := p.Append(idempotent(t, 3, 0, int32(i), i, 1), -1, AppendOptions{ExpectedEpoch: NoEpoch})
			if err == nil {
				err = p.Wait(t.Context(), r.LastOffset+1, r.LeaderEpoch)
			}
			if err == nil {
				done = true
				break
			}
			if Code(err) != kerr.KafkaStorageError.Code && Code(err) != kerr.NotLeaderForPartition.Code {
				t.Fatalf("%v at call %d, record %d: %v", fault, call, i, err)
			}
		}
		if !done {
			return i
		}
	}
	return 12
}
