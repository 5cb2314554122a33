// SPDX-License-Identifier: Apache-2.0

package batch

// Goal: what the builder makes, the readers give back, for every codec, and
// what is damaged is refused. Method: round trips and planted damage.

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

func sample(t testing.TB, codec Codec, n int, edit func(*Builder)) View {
	t.Helper()
	b := NewBuilder(codec)
	b.SetBaseOffset(0)
	if edit != nil {
		edit(b)
	}
	for i := range n {
		key := []byte(fmt.Sprintf("key-%d", i))
		value := bytes.Repeat([]byte{byte(i)}, 100+i)
		var headers []Header
		switch i % 4 {
		case 1:
			key = nil
		case 2:
			value = nil
		case 3:
			headers = []Header{{"a", []byte("1")}, {"", nil}, {"c", []byte{}}}
		}
		b.Append(1000+int64(i)*7-int64(i%3)*20, key, value, headers...)
	}
	v, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range codecs {
		v := sample(t, c, 500, func(b *Builder) {
			b.SetBaseOffset(77)
			b.SetLeaderEpoch(5)
			b.SetProducer(9, 2, 40)
			b.SetTransactional(true)
		})
		v, rest, err := Next(append(bytes.Clone(v), 1, 2, 3))
		if err != nil || len(rest) != 3 {
			t.Fatalf("%v: Next: %v, rest %d", c, err, len(rest))
		}
		if err := v.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		if v.Attributes().Codec() != c || !v.Attributes().Transactional() || v.Attributes().Control() {
			t.Fatalf("%v: attributes %x", c, v.Attributes())
		}
		if v.BaseOffset() != 77 || v.LastOffset() != 576 || v.LeaderEpoch() != 5 || v.ProducerID() != 9 ||
			v.ProducerEpoch() != 2 || v.BaseSequence() != 40 || v.LastSequence() != 539 || v.Count() != 500 ||
			v.BaseTimestamp() != 1000 || v.MaxTimestamp() != 1000+498*7 || v.Size() != len(v) {
			t.Fatalf("%v: header %v", c, v[:HeaderSize])
		}
		i := 0
		err = v.Each(nil, func(r Record) error {
			if r.OffsetDelta != int32(i) || v.Timestamp(r) != 1000+int64(i)*7-int64(i%3)*20 {
				t.Fatalf("%v: record %d: %+v", c, i, r)
			}
			wantKey, wantValue := []byte(fmt.Sprintf("key-%d", i)), bytes.Repeat([]byte{byte(i)}, 100+i)
			if i%4 == 1 {
				wantKey = nil
			}
			if i%4 == 2 {
				wantValue = nil
			}
			if !bytes.Equal(r.Key, wantKey) || (r.Key == nil) != (wantKey == nil) ||
				!bytes.Equal(r.Value, wantValue) || (r.Value == nil) != (wantValue == nil) {
				t.Fatalf("%v: record %d: %q %q", c, i, r.Key, r.Value)
			}
			got := ""
			for k, v := range r.Headers() {
				got += fmt.Sprintf("%s=%q,%v;", k, v, v == nil)
			}
			want := ""
			if i%4 == 3 {
				want = `a="1",false;="",true;c="",false;`
			}
			if got != want || (r.HeaderCount() == 3) != (i%4 == 3) {
				t.Fatalf("%v: record %d: headers %s", c, i, got)
			}
			i++
			return nil
		})
		if err != nil || i != 500 {
			t.Fatalf("%v: read %d: %v", c, i, err)
		}
	}
}

func TestNextRefuses(t *testing.T) {
	t.Parallel()
	v := sample(t, None, 3, nil)
	for n := range len(v) {
		if _, _, err := Next(v[:n]); err != ErrIncomplete {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if _, err := Parse(v[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Parse of %d bytes: %v", n, err)
		}
	}
	for name, edit := range map[string]func(View){
		"length below header": func(v View) { copy(v[8:], []byte{0, 0, 0, 48}) },
		"negative length":     func(v View) { v[8] = 0xff },
		"magic 1":             func(v View) { v[16] = 1 },
	} {
		w := bytes.Clone(v)
		edit(w)
		var ce *CorruptError
		if _, _, err := Next(w); !errors.As(err, &ce) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCRCCoversContentOnly(t *testing.T) {
	t.Parallel()
	v := sample(t, None, 3, nil)
	for i := range v {
		w := View(bytes.Clone(v))
		w[i] ^= 4
		covered := i >= 21 || i >= 17 && i < 21
		if err := w.CheckCRC(); (err != nil) != covered {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		w.UpdateCRC()
		if err := w.CheckCRC(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInflateBounded(t *testing.T) {
	t.Parallel()
	src := make([]byte, 1<<20)
	for _, c := range codecs {
		for _, level := range []int{DefaultLevel, 1, 5, 9, 12, 17, 22, -5} {
			z, err := Compress(c, level, []byte("pre"), src)
			if err != nil {
				t.Fatal(c, level, err)
			}
			out, err := Decompress(c, []byte("fix"), z[3:], len(src))
			if err != nil || !bytes.Equal(out[3:], src) || string(z[:3])+string(out[:3]) != "prefix" {
				t.Fatal(c, level, err, len(out))
			}
			if _, err := Decompress(c, nil, z[3:], len(src)-1); err != ErrTooLarge {
				t.Fatalf("%v: one byte over the bound: %v", c, err)
			}
			if c == None {
				continue
			}
			if _, err := Decompress(c, nil, z[3:len(z)-6], len(src)); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v: cut short: %v", c, err)
			}
		}
	}
}

func TestEmptyBody(t *testing.T) {
	t.Parallel()
	for _, c := range codecs {
		z, err := Compress(c, DefaultLevel, nil, nil)
		if err != nil {
			t.Fatal(c, err)
		}
		if out, err := Decompress(c, nil, z, 10); err != nil || len(out) != 0 {
			t.Fatal(c, out, err)
		}
	}
}

// Coders that were made inside a bubble are used outside it, in another
// bubble, and the other way round; the runtime kills the program when one
// carries a channel across.
func TestCodersOutliveBubbles(t *testing.T) {
	work := func() {
		for range 40 {
			for _, c := range codecs {
				z, err := Compress(c, DefaultLevel, nil, bytes.Repeat([]byte("abcd"), 50_000))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Decompress(c, nil, z, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	synctest.Test(t, func(*testing.T) { work() })
	work()
	synctest.Test(t, func(*testing.T) { work() })
}

func TestSnappyRawAndConcatenated(t *testing.T) {
	t.Parallel()
	x, _ := Compress(Snappy, 0, nil, []byte("hello "))
	y, _ := Compress(Snappy, 0, nil, []byte("world"))
	if out, err := Decompress(Snappy, nil, append(x, y...), 0); err != nil || string(out) != "hello world" {
		t.Fatalf("%q %v", out, err)
	}
	raw := []byte{5, 4 << 2, 'h', 'e', 'l', 'l', 'o'} // length 5, one literal
	if out, err := Decompress(Snappy, nil, raw, 0); err != nil || string(out) != "hello" {
		t.Fatalf("%q %v", out, err)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	for _, typ := range []ControlType{Abort, Commit} {
		v := EndTxnMarker(typ, 123, 7, 3, 11)
		if err := v.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		a := v.Attributes()
		if !a.Control() || !a.Transactional() || v.Count() != 1 || v.BaseSequence() != NoSequence || v.MaxTimestamp() != 123 {
			t.Fatalf("%v", v)
		}
		c, ok, err := v.Control()
		if err != nil || !ok || c.Type != typ || c.CoordinatorEpoch != 11 {
			t.Fatalf("%+v %v", c, err)
		}
	}
	for _, r := range []Record{{}, {Key: []byte{0, 0, 0}}, {Key: []byte{255, 0, 0, 0}}, {Key: ControlKey(Commit), Value: []byte{0}}} {
		if _, err := ParseControl(r); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%v accepted", r)
		}
	}
}

func TestSequenceWraps(t *testing.T) {
	t.Parallel()
	if got := AddSequence(0x7fffffff, 1); got != 0 {
		t.Fatal(got)
	}
	if got := AddSequence(0x7ffffffe, 5); got != 3 {
		t.Fatal(got)
	}
}

func TestBuilderEdges(t *testing.T) {
	t.Parallel()
	var zero Builder
	zero.SetBaseOffset(100)
	zero.SetDeleteHorizon(5000)
	zero.SetLastOffset(120)
	zero.AppendRecord(105, 4000, Record{Key: []byte("k")})
	v, err := zero.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if h, ok := v.DeleteHorizon(); !ok || h != 5000 || v.LastOffset() != 120 || v.Count() != 1 || v.MaxTimestamp() != 4000 {
		t.Fatalf("%v %v %v", h, ok, v)
	}
	err = v.Each(nil, func(r Record) error {
		if v.Timestamp(r) != 4000 || r.OffsetDelta != 5 {
			t.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(Zstd)
	if v, err = b.Bytes(); err != nil || len(v) != HeaderSize || v.Attributes().Codec() != None {
		t.Fatalf("empty batch: %v %v", v, err)
	}
}
