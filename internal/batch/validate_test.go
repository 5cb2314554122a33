// SPDX-License-Identifier: Apache-2.0

package batch

// Goal: Validate decides as Kafka's LogValidator. Method: a table of batches
// and rules with the outcome each must have, then a comparison of the hot
// loop with the plain reader on random bodies.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const now = 1_000_000

var anyTime = Rules{Now: now, BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}

// stamped builds a batch of records with the given timestamps and keys "k".
func stamped(t testing.TB, codec Codec, edit func(*Builder), ts ...int64) View {
	t.Helper()
	b := NewBuilder(codec)
	if edit != nil {
		edit(b)
	}
	for _, at := range ts {
		b.Append(at, []byte("k"), []byte("value"))
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(v)
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	put := func(at int, value uint64, size int) func(View) {
		return func(v View) {
			var b [8]byte
			binary.BigEndian.PutUint64(b[:], value)
			copy(v[at:], b[8-size:])
		}
	}
	producer := func(b *Builder) { b.SetProducer(7, 1, 0) }
	cases := []struct {
		name  string
		make  func(*Builder)
		spoil func(View)
		want  string
	}{
		{name: "good"},
		{name: "good, of a producer", make: producer},
		{name: "base offset", spoil: put(0, 5, 8), want: "base offset"},
		{name: "count 0", spoil: put(57, 0, 4), want: "record count is 0"},
		{name: "count below", spoil: put(57, 2, 4), want: "2 records, but"},
		{name: "negative delta", spoil: put(23, math.MaxUint64, 4), want: "last offset delta"},
		{name: "delta above", spoil: put(23, 3, 4), want: "3 records, but"},
		{name: "count and delta above", spoil: func(v View) { put(23, 3, 4)(v); put(57, 4, 4)(v) }, want: "malformed"},
		{name: "huge count", spoil: func(v View) { put(23, 0x7ffffffe, 4)(v); put(57, 0x7fffffff, 4)(v) }, want: "malformed"},
		{name: "count and delta below", spoil: func(v View) { put(23, 1, 4)(v); put(57, 2, 4)(v) }, want: "bytes after"},
		{name: "control", make: func(b *Builder) { producer(b); b.SetControl(true) }, want: "control"},
		{name: "horizon", make: func(b *Builder) { b.SetDeleteHorizon(1) }, want: "horizon"},
		{name: "sequence", make: func(b *Builder) { b.SetProducer(7, 1, -1) }, want: "sequence is -1"},
		{name: "epoch", make: func(b *Builder) { b.SetProducer(7, -1, 0) }, want: "epoch is -1"},
		{name: "transactional, no producer", make: func(b *Builder) { b.SetTransactional(true) }, want: "without a producer"},
		{name: "append time", make: func(b *Builder) { b.SetLogAppendTime(5) }, want: "LogAppendTime"},
		{name: "codec 5", spoil: func(v View) { v[22] |= 5 }, want: "codec(5)"},
		{name: "offset twice", spoil: func(v View) { v[HeaderSize+13+3] = 0 }, want: "count up"},
		{name: "long key", spoil: func(v View) { v[HeaderSize+4] = 0x7e }, want: "malformed"},
		{name: "long value", spoil: func(v View) { v[HeaderSize+6] = 0x7e }, want: "malformed"},
		{name: "headers", spoil: func(v View) { v[HeaderSize+12] = 2 }, want: "malformed"},
		{name: "negative headers", spoil: func(v View) { v[HeaderSize+12] = 1 }, want: "malformed"},
		{name: "record length", spoil: func(v View) { v[HeaderSize] += 2 }, want: "malformed"},
		{name: "null length", spoil: func(v View) { v[HeaderSize] = 1 }, want: "malformed"},
	}
	for _, c := range cases {
		v := stamped(t, None, c.make, now, now+5, now-5)
		if size := (len(v) - HeaderSize) / 3; size != 13 && c.want != "horizon" {
			v = stamped(t, None, c.make, now, now, now) // keep records of one size: the spoilers count bytes
		}
		if c.spoil != nil {
			c.spoil(v)
		}
		_, _, err := Validate(v, anyTime)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestValidateTimestamps(t *testing.T) {
	t.Parallel()
	bounds := Rules{Now: now, BeforeMax: 100, AfterMax: 50}
	open := bounds
	open.InflateAll = true
	append_ := bounds
	append_.LogAppendTime = true
	cases := []struct {
		rules Rules
		codec Codec
		ts    []int64
		bad   []int32
	}{
		{bounds, None, []int64{now - 100, now, now + 50}, nil},
		{bounds, None, []int64{now - 101, now, now + 51}, []int32{0, 2}},
		{bounds, None, []int64{NoTimestamp, NoTimestamp}, nil},
		{append_, None, []int64{1, now * 5}, nil},
		{bounds, Zstd, []int64{now - 101, now}, []int32{0}},
		{bounds, Zstd, []int64{now, now + 51}, []int32{0}}, // by the header: which record is not known
		{bounds, Zstd, []int64{now, now - 101, now}, nil},  // within a closed batch
		{open, Zstd, []int64{now, now - 101, now}, []int32{1}},
		{append_, Zstd, []int64{1, now * 5}, nil},
	}
	for i, c := range cases {
		v := stamped(t, c.codec, nil, c.ts...)
		out, info, err := Validate(v, c.rules)
		var re *RecordErrors
		if c.bad != nil {
			if !errors.As(err, &re) || !re.Timestamp {
				t.Errorf("case %d: %v", i, err)
				continue
			}
			var bad []int32
			for _, r := range re.Records {
				bad = append(bad, r.Index)
			}
			if !slices.Equal(bad, c.bad) {
				t.Errorf("case %d: records %v", i, bad)
			}
			continue
		}
		if err != nil {
			t.Errorf("case %d: %v", i, err)
			continue
		}
		if err := out.CheckCRC(); err != nil {
			t.Errorf("case %d: %v", i, err)
		}
		want, typed := slices.Max(c.ts), false
		if c.rules.LogAppendTime {
			want, typed = now, true
		}
		if info.MaxTimestamp != want || out.MaxTimestamp() != want || out.Attributes().LogAppendTime() != typed || info.Recompressed {
			t.Errorf("case %d: %+v, header %d", i, info, out.MaxTimestamp())
		}
		err = out.Each(nil, func(r Record) error {
			if at := out.Timestamp(r); typed && at != now || !typed && at != c.ts[r.OffsetDelta] {
				t.Errorf("case %d: record %d at %d", i, r.OffsetDelta, at)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A header that lies about the largest timestamp is put right wherever
// records are walked.
func TestValidateCorrectsMaxTimestamp(t *testing.T) {
	t.Parallel()
	rules := anyTime
	rules.InflateAll = true
	for _, codec := range codecs {
		for _, lie := range []int64{0, now * 9} {
			v := stamped(t, codec, nil, now, now+7, now+7, now+2)
			v.SetMaxTimestamp(lie, false)
			v.UpdateCRC()
			out, info, err := Validate(v, rules)
			if err != nil || info.MaxTimestamp != now+7 || info.OffsetOfMaxTimestamp != 1 || out.MaxTimestamp() != now+7 || out.CheckCRC() != nil {
				t.Errorf("%v: %v %+v", codec, err, info)
			}
		}
	}
}

func TestValidateKeys(t *testing.T) {
	t.Parallel()
	rules := anyTime
	rules.Compacted = true
	for _, codec := range codecs {
		b := NewBuilder(codec)
		for i := range 6 {
			key := []byte{}
			if i%2 == 1 {
				key = nil
			}
			b.Append(now, key, nil)
		}
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		v = bytes.Clone(v)
		if _, _, err := Validate(v, anyTime); err != nil {
			t.Errorf("%v: %v", codec, err)
		}
		_, _, err = Validate(v, rules)
		var re *RecordErrors
		if !errors.As(err, &re) || re.Timestamp || len(re.Records) != 3 || re.Records[1].Index != 3 {
			t.Errorf("%v: %v", codec, err)
		}
	}
}

func TestValidateRecompresses(t *testing.T) {
	t.Parallel()
	for _, from := range codecs {
		for _, to := range codecs {
			for _, appendTime := range []bool{false, true} {
				rules := anyTime
				rules.Recompress, rules.Codec, rules.Level, rules.LogAppendTime = true, to, DefaultLevel, appendTime
				v := bytes.Clone(sample(t, from, 100, func(b *Builder) { b.SetProducer(5, 6, 7); b.SetTransactional(true) }))
				before := bytes.Clone(v)
				out, info, err := Validate(View(v), rules)
				if err != nil {
					t.Fatal(err)
				}
				if info.Recompressed != (from != to) || out.Attributes().Codec() != to || out.CheckCRC() != nil {
					t.Fatalf("%v to %v: %+v", from, to, info)
				}
				if out.ProducerID() != 5 || out.ProducerEpoch() != 6 || out.BaseSequence() != 7 || !out.Attributes().Transactional() ||
					out.LastOffsetDelta() != 99 || out.MaxTimestamp() != info.MaxTimestamp {
					t.Fatalf("%v to %v: header %v", from, to, out[:HeaderSize])
				}
				a, err := View(before).Body(nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				b, err := out.Body(nil, 0)
				if err != nil || !bytes.Equal(a, b) {
					t.Fatalf("%v to %v: other records, %v", from, to, err)
				}
			}
		}
	}
}

// Old clients give every record of a compressed batch the wrong delta.
func TestValidateRenumbersCompressed(t *testing.T) {
	t.Parallel()
	b := NewBuilder(Gzip)
	for range 3 {
		b.AppendRecord(0, now, Record{Key: []byte("k")})
	}
	b.SetLastOffset(2)
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	rules := anyTime
	rules.InflateAll = true
	out, info, err := Validate(v, rules)
	if err != nil || !info.Recompressed || out.LastOffsetDelta() != 2 || out.Attributes().Codec() != Gzip {
		t.Fatal(err, info)
	}
	next := int32(0)
	err = out.Each(nil, func(r Record) error {
		if r.OffsetDelta != next {
			t.Errorf("delta %d", r.OffsetDelta)
		}
		next++
		return nil
	})
	if err != nil || next != 3 {
		t.Fatal(err, next)
	}
}

func TestValidateBoundsBombs(t *testing.T) {
	t.Parallel()
	for _, codec := range codecs[1:] {
		b := NewBuilder(codec)
		b.Append(now, []byte("k"), make([]byte, 1<<20))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		rules := anyTime
		rules.InflateAll, rules.MaxInflated = true, 1<<20
		if _, _, err := Validate(v, rules); err != ErrTooLarge {
			t.Errorf("%v: %v", codec, err)
		}
		rules.MaxInflated += 100
		if _, _, err := Validate(v, rules); err != nil {
			t.Errorf("%v: %v", codec, err)
		}
	}
}

// A large body is judged in memory that does not grow with it: the same
// verdict, whatever the codec, and what it allocates is far below its size.
func TestValidateLarge(t *testing.T) {
	const large = 48 << 20
	for _, codec := range codecs[1:] {
		b := NewBuilder(codec)
		b.Append(now, []byte("k"), make([]byte, large))
		b.Append(now+7, nil, []byte("v"))
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		v = bytes.Clone(v)
		rules := anyTime
		rules.InflateAll = true
		for range 2 { // the second time coders come from pools
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, info, err := Validate(v, rules)
			runtime.ReadMemStats(&after)
			if err != nil || info.Recompressed || info.MaxTimestamp != now+7 || info.OffsetOfMaxTimestamp != 1 {
				t.Errorf("%v: %+v, %v", codec, info, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; codec != Snappy && n > large/2 {
				t.Errorf("%v: %d bytes allocated for a body of %d", codec, n, large)
			}
		}
		rules.Compacted = true
		var faults *RecordErrors
		if _, _, err := Validate(v, rules); !errors.As(err, &faults) || len(faults.Records) != 1 || faults.Records[0].Index != 1 {
			t.Errorf("%v, a record without a key: %v", codec, err)
		}
		rules.Compacted, rules.MaxInflated = false, large
		if _, _, err := Validate(v, rules); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v, beyond the bound: %v", codec, err)
		}
		rules.MaxInflated, rules.Recompress, rules.Codec, rules.Level = 0, true, Gzip, DefaultLevel
		if _, _, err := Validate(v, rules); codec != Gzip && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v, too large to be built anew: %v", codec, err)
		}
		v[len(v)-3] ^= 0x40
		if _, _, err := Validate(v, rules); err == nil {
			t.Errorf("%v: damage passes", codec)
		}
	}
}

func TestValidatePlainDoesNotAllocate(t *testing.T) {
	v := bytes.Clone(sample(t, None, 100, nil))
	for _, appendTime := range []bool{false, true} {
		rules := anyTime
		rules.LogAppendTime = appendTime
		n := testing.AllocsPerRun(100, func() {
			View(v).SetMaxTimestamp(0, false)
			if _, _, err := Validate(v, rules); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// walk and Reader agree on what a well-formed body is, also after damage.
func TestWalkAgreesWithReader(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	v := bytes.Clone(sample(t, None, 12, nil))
	agreed := 0
	for range 50_000 {
		body := bytes.Clone(v[HeaderSize:])
		for range 1 + rng.IntN(2) {
			body[rng.IntN(len(body))] = byte(rng.Uint32())
		}
		if walkAgrees(t, body, 12) {
			agreed++
		}
	}
	if agreed == 0 || agreed == 50_000 {
		t.Fatalf("%d bodies were well-formed: the test sees one side only", agreed)
	}
}

// walkAgrees reports whether both found body well-formed.
func walkAgrees(t *testing.T, body []byte, count int32) bool {
	t.Helper()
	w, err := walk(body, count, 0, &anyTime)
	if err == nil || len(body)%8 == 0 || body[len(body)-1]%8 == 0 { // its buffer makes walkStream slow
		if ws, serr := walkStream(bytes.NewReader(body), count, 0, &anyTime); fmt.Sprint(serr) != fmt.Sprint(err) || err == nil && ws != w {
			t.Fatalf("walk %+v %v, walkStream %+v %v: %x", w, err, ws, serr, body)
		}
	}
	r, n, most, at := NewReader(body, count), int32(0), NoTimestamp, int32(0)
	numbered := true
	for {
		rec, ok, rerr := r.Next()
		if rerr != nil {
			if err == nil {
				t.Fatalf("walk accepts what Reader refuses: %v: %x", rerr, body)
			}
			return false
		}
		if !ok {
			break
		}
		if rec.TimestampDelta > most {
			most, at = rec.TimestampDelta, n
		}
		numbered = numbered && rec.OffsetDelta == n
		for range rec.Headers() {
		}
		n++
	}
	if err != nil {
		t.Fatalf("Reader accepts what walk refuses: %v: %x", err, body)
	}
	if w.maxTimestamp != most || w.maxAt != at || w.numbered != numbered {
		t.Fatalf("walk %+v, Reader %d %d %v", w, most, at, numbered)
	}
	return true
}
