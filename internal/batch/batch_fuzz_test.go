// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzBatch feeds frames: nothing panics, every refusal has a type, and what
// Validate lets through can be read record by record.
func FuzzBatch(f *testing.F) {
	for _, c := range codecs {
		f.Add([]byte(sample(f, c, 5, func(b *Builder) { b.SetProducer(1, 2, 3) })))
	}
	f.Add([]byte(EndTxnMarker(Commit, 1, 2, 3, 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := Next(b)
		if err != nil {
			if !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if len(v)+len(rest) != len(b) || v.Size() != len(v) {
			t.Fatalf("%d + %d of %d", len(v), len(rest), len(b))
		}
		_, _, _ = v.Control()
		rules := anyTime
		rules.InflateAll, rules.MaxInflated = true, 1<<20
		for _, compacted := range []bool{false, true} {
			rules.Compacted = compacted
			w := View(bytes.Clone(v))
			w.UpdateCRC()
			out, info, err := Validate(w, rules)
			if err != nil {
				if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
					t.Fatal(err)
				}
				continue
			}
			if err := out.CheckCRC(); err != nil {
				t.Fatal(err)
			}
			n, most := int32(0), NoTimestamp
			err = out.Each(nil, func(r Record) error {
				if r.OffsetDelta != n || compacted && r.Key == nil {
					t.Fatalf("record %d: %+v", n, r)
				}
				n++
				most = max(most, out.Timestamp(r))
				return nil
			})
			if err != nil || n != out.Count() || most != info.MaxTimestamp {
				t.Fatalf("%v: %d of %d records, latest %d of %d", err, n, out.Count(), most, info.MaxTimestamp)
			}
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(sample(f, None, 8, nil)[HeaderSize:]), int32(8))
	f.Fuzz(func(t *testing.T, body []byte, count int32) {
		if count > 0 { // Validate refuses others before it walks
			walkAgrees(t, body, count)
		}
	})
}

// fuzzCodec: nothing panics, the bound holds, what was appended to stays.
func fuzzCodec(f *testing.F, c Codec) {
	for _, n := range []int{0, 1, 100, 70_000} {
		z, err := Compress(c, DefaultLevel, nil, bytes.Repeat([]byte("ab"), n/2))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(z)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		const bound = 1 << 16
		out, err := Decompress(c, []byte("x"), src, bound)
		if err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if len(out) > bound+1 || len(out) < 1 || out[0] != 'x' {
			t.Fatalf("%d bytes", len(out))
		}
		z, err := Compress(c, DefaultLevel, nil, src)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decompress(c, nil, z, len(src)+1)
		if err != nil || !bytes.Equal(back, src) {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func FuzzGzip(f *testing.F)   { fuzzCodec(f, Gzip) }
func FuzzSnappy(f *testing.F) { fuzzCodec(f, Snappy) }
func FuzzLZ4(f *testing.F)    { fuzzCodec(f, LZ4) }
func FuzzZstd(f *testing.F)   { fuzzCodec(f, Zstd) }
