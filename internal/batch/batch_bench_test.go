// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"bytes"
	"fmt"
	"testing"
)

// benchBatches returns n batches of about 1 MiB. One stays in the cache, as a
// request does that was just read from a socket; 64 do not.
func benchBatches(b *testing.B, n, record int, codec Codec) []View {
	b.Helper()
	w := NewBuilder(codec)
	value := bytes.Repeat([]byte("0123456789abcdef"), record/16+1)[:record-8]
	var out []View
	for range n {
		w.Reset()
		for w.Size() < 1<<20 {
			w.Append(now, nil, value)
		}
		v, err := w.Bytes()
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, bytes.Clone(v))
	}
	return out
}

func BenchmarkValidate(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, n := range []int{1, 64} {
			for _, crc := range []bool{false, true} {
				b.Run(fmt.Sprintf("record=%d,batches=%d,crc=%v", size, n, crc), func(b *testing.B) {
					benchmarkValidate(b, benchBatches(b, n, size, None), crc)
				})
			}
		}
	}
}

func benchmarkValidate(b *testing.B, batches []View, crc bool) {
	b.SetBytes(int64(len(batches[0])))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		v := batches[i%len(batches)]
		if crc {
			if err := v.CheckCRC(); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := Validate(v, anyTime); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/(float64(b.N)*float64(len(batches[0]))/1e9), "s/GB")
}

func BenchmarkValidateSmall(b *testing.B) {
	v := bytes.Clone(stamped(b, None, nil, now))
	b.ReportAllocs()
	for range b.N {
		if _, _, err := Validate(v, anyTime); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInflate(b *testing.B) {
	for _, c := range codecs[1:] {
		b.Run(c.String(), func(b *testing.B) {
			v := benchBatches(b, 1, 1024, c)[0]
			body, err := v.Body(nil, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for range b.N {
				if body, err = v.Body(body, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompress(b *testing.B) {
	for _, c := range codecs[1:] {
		b.Run(c.String(), func(b *testing.B) {
			src := benchBatches(b, 1, 1024, None)[0][HeaderSize:]
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			var out []byte
			for range b.N {
				var err error
				if out, err = Compress(c, DefaultLevel, out[:0], src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
