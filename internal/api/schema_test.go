// SPDX-License-Identifier: Apache-2.0

package api

import (
	"math/rand"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// randomFill sets every field of a kmsg structure to something random.
func randomFill(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.Intn(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(r.Int63() >> (64 - v.Type().Bits()))
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(r.Int63n(1 << 16)))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.String:
		v.SetString("abcdefghij"[:r.Intn(10)])
	case reflect.Pointer:
		if r.Intn(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			randomFill(r, v.Elem(), depth)
		}
	case reflect.Slice:
		n := r.Intn(4)
		s := reflect.MakeSlice(v.Type(), n, n)
		for i := range n {
			if d := s.Index(i); d.CanAddr() {
				if m := d.Addr().MethodByName("Default"); m.IsValid() {
					m.Call(nil)
				}
				randomFill(r, d, depth+1)
			}
		}
		v.Set(s)
	case reflect.Array:
		for i := range v.Len() {
			randomFill(r, v.Index(i), depth)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "Version" || f.Name == "UnknownTags" || !f.IsExported() {
				continue
			}
			randomFill(r, v.Field(i), depth)
		}
	}
}

// Each layout must agree with kmsg's encoder on every version: a body walks to
// its last byte and not one further, and no cut body passes.
func TestLayouts(t *testing.T) {
	t.Parallel()
	seen := 0
	for key := range layouts {
		if layouts[key].fields == "" {
			continue
		}
		seen++
		s, err := schemaOf(int16(key))
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewSource(int64(key)))
		for version := layouts[key].min; version <= layouts[key].max; version++ {
			req := kmsg.RequestForKey(int16(key))
			req.SetVersion(version)
			if want := version >= s.flexible; req.IsFlexible() != want {
				t.Errorf("%s v%d: flexible is %v", kmsg.NameForKey(int16(key)), version, want)
			}
			for range 20 {
				req := kmsg.RequestForKey(int16(key))
				randomFill(r, reflect.ValueOf(req).Elem(), 0)
				req.SetVersion(version)
				body := req.AppendTo(nil)
				w := walk{b: body, version: version, flexible: version >= s.flexible}
				w.structure(s.fields)
				if w.bad != "" || len(w.b) != 0 {
					t.Fatalf("%s v%d: %q, %d of %d bytes left", kmsg.NameForKey(int16(key)), version, w.bad, len(w.b), len(body))
				}
				if n := len(body); n > 0 {
					if _, err := s.measure(version, body[:r.Intn(n)]); err == nil {
						t.Fatalf("%s v%d: a cut body passes", kmsg.NameForKey(int16(key)), version)
					}
				}
			}
		}
	}
	if seen < 80 {
		t.Fatalf("only %d layouts", seen)
	}
}
