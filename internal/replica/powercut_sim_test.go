// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"gregor/internal/seeds"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// TestSimPowerCuts produces to real storage on a disk that loses power again and
// again, keeping, dropping or tearing each write that was not synced.
// Idempotent producers go on as theirs do: what was not acknowledged is sent
// again with the same sequence. After each cut and at the end:
//
//   - every record acknowledged to acks=all is there, at its offset;
//   - every record that a consumer had read is there, at its offset;
//   - offsets are dense;
//   - no record of an idempotent producer is there twice;
//   - the log goes on in a newer leader epoch if it may have lost records that
//     could be seen.
//
// The disk and the producers follow the seed. The committer is a goroutine of
// its own, so which write it had reached when the power went is not seeded: a
// failure prints its history.
func TestSimPowerCuts(t *testing.T) {
	t.Parallel()
	acked, runs := 0, 0
	for seed := range seeds.All(t, 60, 1) {
		s := newCutSim(t, seed)
		s.run()
		if t.Failed() {
			return
		}
		acked += len(s.promised[0]) + len(s.promised[1])
		runs++
	}
	if !seeds.One() && acked < runs*10 {
		t.Errorf("only %d records were acknowledged in %d runs", acked, runs)
	}
}

type cutSim struct {
	t         *testing.T
	seed      uint64
	rng       *rand.Rand
	mem       *vfs.Mem
	w         *world
	producers []*cutProducer
	// promised is what must be there, by partition: offset to value.
	promised [2]map[int64]string
	history  []string
}

// cutProducer is an idempotent producer of one partition.
type cutProducer struct {
	pid       int64
	partition int
	seq       int32
	sent      []cutBatch // not acknowledged yet, oldest first
	count     int
}

type cutBatch struct {
	seq   int32
	base  int // of the values
	n     int
	upTo  int64 // where it was appended; 0: it has to be sent (again)
	epoch int32
}

func newCutSim(t *testing.T, seed uint64) *cutSim {
	s := &cutSim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 3)), mem: vfs.NewMem()}
	s.promised = [2]map[int64]string{{}, {}}
	s.w = begin(t, s.mem, 1)
	s.w.topic(1, "t", 2, func(c *TopicConfig) { c.Log.SegmentBytes = 600 })
	for i := range 3 {
		s.producers = append(s.producers, &cutProducer{pid: int64(10 + i), partition: i % 2})
	}
	return s
}

func (s *cutSim) note(format string, args ...any) {
	s.history = append(s.history, fmt.Sprintf(format, args...))
}

func (s *cutSim) fail(format string, args ...any) {
	s.t.Errorf(format, args...)
	s.t.Logf("seed %d:", s.seed)
	for _, h := range s.history[max(0, len(s.history)-60):] {
		s.t.Log(h)
	}
}

func (s *cutSim) partition(i int) *Partition { return s.w.table.Named("t", int32(i)) }

func (s *cutSim) run() {
	// One commit first: a log that rolls before its first commit may keep the
	// second file and lose the first, and then begins there. Nothing promised
	// is lost by that, but its producers find a gap.
	for _, p := range s.producers {
		p.sent = append(p.sent, cutBatch{n: 1})
		p.seq, p.count = 1, 1
		s.send(p)
		s.acknowledge(p, true)
	}
	for range 1 + s.rng.IntN(4) {
		for range 5 + s.rng.IntN(40) {
			s.step()
			if s.t.Failed() {
				return
			}
		}
		s.cut()
		if s.t.Failed() {
			return
		}
	}
	for _, p := range s.producers {
		for len(p.sent) > 0 && !s.t.Failed() {
			s.send(p)
			s.acknowledge(p, true)
		}
	}
	s.verify()
	s.w.stop()
}

func (s *cutSim) step() {
	p := s.producers[s.rng.IntN(len(s.producers))]
	switch k := s.rng.IntN(10); {
	case k < 5:
		if len(p.sent) < 5 {
			n := 1 + s.rng.IntN(3)
			p.sent = append(p.sent, cutBatch{seq: p.seq, base: p.count, n: n})
			p.seq += int32(n)
			p.count += n
		}
		s.send(p)
	case k < 7:
		s.acknowledge(p, s.rng.IntN(2) == 0)
	case k < 8:
		s.consume(s.rng.IntN(2))
	default:
		runtime.Gosched()
	}
}

// send appends what has not been, in order.
func (s *cutSim) send(p *cutProducer) {
	for i := range p.sent {
		b := &p.sent[i]
		if b.upTo > 0 {
			continue
		}
		r, err := s.partition(p.partition).Append(s.batch(p, b), -1, AppendOptions{ExpectedEpoch: NoEpoch})
		if err != nil {
			s.fail("producer %d, sequence %d: %v", p.pid, b.seq, err)
			return
		}
		b.upTo, b.epoch = r.LastOffset+1, r.LeaderEpoch
		s.note("producer %d: %d+%d at %d, duplicate %v", p.pid, b.seq, b.n, r.BaseOffset, r.Duplicate)
		if int(r.LastOffset-r.BaseOffset) != b.n-1 {
			s.fail("producer %d: %d records at [%d, %d]", p.pid, b.n, r.BaseOffset, r.LastOffset)
		}
	}
}

func (s *cutSim) batch(p *cutProducer, b *cutBatch) []byte {
	// Values are unique: producer and number.
	return idempotent(s.t, p.pid, 0, b.seq, int(p.pid)*1_000_000+b.base, b.n)
}

// acknowledge takes what is committed, or waits until it is.
func (s *cutSim) acknowledge(p *cutProducer, wait bool) {
	for len(p.sent) > 0 && p.sent[0].upTo > 0 {
		b := p.sent[0]
		part := s.partition(p.partition)
		if wait {
			if err := part.Wait(s.t.Context(), b.upTo, b.epoch); err != nil {
				s.fail("wait of producer %d for %d: %v", p.pid, b.upTo, err)
				return
			}
		} else if part.Committed(b.upTo, b.epoch) != nil {
			return
		}
		for i := range b.n {
			s.promised[p.partition][b.upTo-int64(b.n)+int64(i)] = fmt.Sprint(int(p.pid)*1_000_000 + b.base + i)
		}
		s.note("producer %d: acknowledged up to %d", p.pid, b.upTo)
		p.sent = p.sent[1:]
	}
}

// consume promises what a consumer sees.
func (s *cutSim) consume(i int) {
	got, err := readAll(s.partition(i), 0, ReadUncommitted)
	if err != nil {
		s.fail("consume: %v", err)
		return
	}
	for _, v := range got {
		s.promised[i][v.offset] = v.text
	}
	s.note("consumed %d of partition %d", len(got), i)
}

// cut takes the power away and brings the node back.
func (s *cutSim) cut() {
	var ends, seen [2]int64
	for i := range ends {
		seen[i] = s.partition(i).HighWatermark()
		ends[i] = s.partition(i).LogEnd()
	}
	s.mem = s.mem.CrashClone(func(n int64) int64 { return s.rng.Int64N(n) })
	s.w.kill()
	s.w.fs = s.mem
	s.w.start(1)
	for i, end := range ends {
		p := s.partition(i)
		epoch, leads := p.LeaderEpoch()
		if p.LogEnd() < seen[i] && leads {
			s.fail("partition %d lost [%d, %d), which could be seen, and is led in epoch %d as if nothing had happened", i, p.LogEnd(), seen[i], epoch)
		}
		s.note("power cut: partition %d ended at %d, now at %d, flushed %d", i, end, p.LogEnd(), p.Log().Flushed())
	}
	s.w.answerRaises()
	for i := range ends {
		if _, leads := s.partition(i).LeaderEpoch(); !leads {
			s.fail("partition %d is not led", i)
		}
	}
	for _, p := range s.producers {
		for i := range p.sent {
			p.sent[i].upTo = 0 // the connection is gone: send again
		}
	}
	s.verify()
}

func (s *cutSim) verify() {
	for i := range s.promised {
		// What recovery kept is flushed anew before it is shown again.
		p := s.partition(i)
		epoch, _ := p.LeaderEpoch()
		if err := p.Wait(s.t.Context(), p.LogEnd(), epoch); err != nil {
			s.fail("partition %d: %v", i, err)
			return
		}
		got, err := readAll(s.partition(i), 0, ReadUncommitted)
		if err != nil {
			s.fail("partition %d: %v", i, err)
			return
		}
		seen := map[string]int64{}
		for k, v := range got {
			if v.offset != int64(k) {
				s.fail("partition %d: offset %d follows %d records", i, v.offset, k)
				return
			}
			if at, twice := seen[v.text]; twice {
				s.fail("partition %d: record %s is at %d and at %d", i, v.text, at, v.offset)
			}
			seen[v.text] = v.offset
		}
		for offset, text := range s.promised[i] {
			if offset >= int64(len(got)) || got[offset].text != text {
				s.fail("partition %d: record %s, promised at %d, is not there (%d records, high watermark %d)", i, text, offset, len(got), s.partition(i).HighWatermark())
				return
			}
		}
	}
}

// TestKills ends the process instead of the power: nothing written is lost, on
// topics that are not durable either.
func TestKills(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	w := begin(t, mem, 1)
	w.topic(1, "t", 1, func(c *TopicConfig) {
		c.Log = storage.LogConfig{Delete: true, SegmentBytes: 2000}
	})
	end := int64(0)
	for round := range 20 {
		p := w.table.Named("t", 0)
		for i := range 10 {
			w.produce(p, idempotent(t, 5, 0, int32(end), int(end), 1), 1)
			if end++; i == round%10 {
				break
			}
		}
		w.kill()
		w.start(1)
		w.answerRaises()
		p = w.table.Named("t", 0)
		if got, err := readAll(p, 0, ReadUncommitted); err != nil || int64(len(got)) != end {
			t.Fatalf("round %d: %d records, want %d; %v", round, len(got), end, err)
		}
		// The last batch again: known from the log's headers.
		if r, err := p.Append(idempotent(t, 5, 0, int32(end-1), int(end-1), 1), 1, AppendOptions{ExpectedEpoch: NoEpoch}); err != nil || !r.Duplicate {
			t.Fatalf("round %d: %+v, %v", round, r, err)
		}
	}
	w.stop()
}
