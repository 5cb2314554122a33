// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tally counts the errors in answers, wherever they stand: at the top, with a
// topic, with a partition. Answers without one are not counted.
//
// The plans are made from the types of kmsg, once each.
type tally struct {
	told  func(key, code int16, n int)
	plans sync.Map // reflect.Type to *errorPlan
}

// errorPlan says where in a struct error codes are.
type errorPlan struct {
	codes  []int // fields that are one
	nested []nestedErrors
}

type nestedErrors struct {
	field int
	slice bool
	plan  *errorPlan
}

// plan returns that of a struct; nil when it holds no error code.
func (t *tally) plan(of reflect.Type) *errorPlan {
	if p, ok := t.plans.Load(of); ok {
		return p.(*errorPlan)
	}
	var p errorPlan
	for i := range of.NumField() {
		f := of.Field(i)
		switch kind := f.Type.Kind(); {
		case kind == reflect.Int16 && (f.Name == "ErrorCode" || f.Name == "PartitionErrorCode"):
			p.codes = append(p.codes, i)
		case kind == reflect.Struct:
			if sub := t.plan(f.Type); sub != nil {
				p.nested = append(p.nested, nestedErrors{i, false, sub})
			}
		case kind == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			if sub := t.plan(f.Type.Elem()); sub != nil {
				p.nested = append(p.nested, nestedErrors{i, true, sub})
			}
		}
	}
	found := &p
	if len(p.codes)+len(p.nested) == 0 {
		found = nil
	}
	t.plans.Store(of, found)
	return found
}

func (t *tally) count(key int16, resp kmsg.Response) {
	v := reflect.ValueOf(resp).Elem()
	p := t.plan(v.Type())
	if p == nil {
		return
	}
	var seen []int16
	p.collect(v, &seen)
	if len(seen) == 0 {
		return
	}
	slices.Sort(seen)
	for i := 0; i < len(seen); {
		n := 1
		for i+n < len(seen) && seen[i+n] == seen[i] {
			n++
		}
		t.told(key, seen[i], n)
		i += n
	}
}

func (p *errorPlan) collect(v reflect.Value, seen *[]int16) {
	for _, i := range p.codes {
		if code := v.Field(i).Int(); code != 0 {
			*seen = append(*seen, int16(code))
		}
	}
	for _, n := range p.nested {
		f := v.Field(n.field)
		if !n.slice {
			n.plan.collect(f, seen)
			continue
		}
		for i := range f.Len() {
			n.plan.collect(f.Index(i), seen)
		}
	}
}
