// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
)

// Source says which layer a value came from, lowest precedence first.
type Source int8

const (
	FromDefault Source = iota
	FromShipped        // the single-node values used when no file is given
	FromFile
	FromEnvironment
	FromOverride
	FromClusterDefault // dynamic, for all brokers
	FromThisBroker     // dynamic, for this broker
)

func (s Source) String() string {
	return [...]string{"default", "single-node default", "file", "environment", "override", "dynamic, cluster", "dynamic, this broker"}[s]
}

// Kafka's numbers for the sources of a value, as DescribeConfigs sends them.
const (
	SourceUnknown             int8 = 0
	SourceTopic               int8 = 1
	SourceDynamicBroker       int8 = 2
	SourceDynamicDefault      int8 = 3
	SourceStaticBroker        int8 = 4
	SourceDefault             int8 = 5
	SourceDynamicBrokerLogger int8 = 6
	SourceClientMetrics       int8 = 7
	SourceGroup               int8 = 8
)

// Wire is the number DescribeConfigs sends for the layer.
func (s Source) Wire() int8 {
	switch s {
	case FromThisBroker:
		return SourceDynamicBroker
	case FromClusterDefault:
		return SourceDynamicDefault
	case FromDefault:
		return SourceDefault
	default:
		return SourceStaticBroker
	}
}

// entry is one value of one layer. Where is the file, the environment
// variable or the flag it was written in.
type entry struct {
	value string
	where string
}

// Settings is the raw, layered configuration of one broker. It is immutable;
// With* return changed copies.
type Settings struct {
	layers   [FromThisBroker + 1]map[string]entry
	hostname string
	warnings []string
	// settled is set once Load has checked everything; the typed view is
	// made then and kept.
	broker *Broker
}

// Warnings are the words for the operator that Load gathered: unknown names,
// settings without effect.
func (s *Settings) Warnings() []string { return s.warnings }

// raw finds the value of a name, unresolved of synonyms: the highest layer
// that has it, else the table's default. ok is false for null.
func (s *Settings) raw(name string) (e entry, src Source, ok bool) {
	for src := FromThisBroker; src > FromDefault; src-- {
		if e, found := s.layers[src][name]; found {
			return e, src, true
		}
	}
	p := Brokers.Lookup(name)
	if p == nil || p.Null {
		return entry{}, FromDefault, false
	}
	return entry{value: p.Default}, FromDefault, true
}

// Written is the value of a name in a file, the environment or a flag, and where
// that is; ok is false where none of them has it.
func (s *Settings) Written(name string) (value, where string, ok bool) {
	for src := FromClusterDefault - 1; src > FromShipped; src-- {
		if e, found := s.layers[src][name]; found {
			return e.value, e.where, true
		}
	}
	return "", "", false
}

// set reports whether a name has a value other than its default.
func (s *Settings) set(name string) bool {
	_, src, ok := s.raw(name)
	return ok && src > FromDefault
}

// value parses the value of a known name; nil when it is null. Values were
// checked when they came in, so an error here is a bug of ours and reads as
// the default.
func (s *Settings) value(name string) any {
	e, _, ok := s.raw(name)
	if !ok {
		return nil
	}
	p := Brokers.Lookup(name)
	v, err := p.Parse(e.value)
	if err != nil {
		v, _ = p.Parse(p.Default)
	}
	return v
}

// WithDynamic returns a copy with the dynamic layers replaced. Values that do
// not parse are left out and reported: a broker does not stop because of what
// once was stored.
func (s *Settings) WithDynamic(clusterDefault, thisBroker map[string]string) (*Settings, []error) {
	next := *s
	var problems []error
	take := func(values map[string]string, where string) map[string]entry {
		layer := make(map[string]entry, len(values))
		for _, name := range slices.Sorted(maps.Keys(values)) {
			base := name
			if property, ok := listenerOverride(name); ok {
				base = property
			}
			p := Brokers.Lookup(base)
			if p == nil {
				layer[name] = entry{value: values[name], where: where}
				continue
			}
			if err := p.check(values[name]); err != nil {
				problems = append(problems, err)
				continue
			}
			layer[name] = entry{value: values[name], where: where}
		}
		return layer
	}
	next.layers[FromClusterDefault] = take(clusterDefault, "cluster default")
	next.layers[FromThisBroker] = take(thisBroker, "this broker")
	view, err := next.view()
	if err != nil {
		return s, append(problems, err)
	}
	next.broker = view
	return &next, problems
}

// check parses a value and refuses what is not built.
func (p *Property) check(raw string) error {
	if _, err := p.Parse(raw); err != nil {
		return err
	}
	if p.Standing != NotBuilt || strings.TrimSpace(raw) == "" {
		return nil
	}
	if !p.Null && p.Canonical(raw) == p.Canonical(p.Default) {
		return nil
	}
	why := "this feature is not built yet; remove the setting"
	if !p.Null {
		why += " or leave it at its default, " + p.Default
	}
	return p.wrong(raw, why)
}

// Synonym of a described value: where else the value is or could be given.
type DescribedSynonym struct {
	Name   string
	Value  string
	Null   bool
	Source int8
}

// Described is one value as DescribeConfigs answers it.
type Described struct {
	Name      string
	Value     string
	Null      bool
	Source    int8
	ReadOnly  bool
	Sensitive bool
	Type      Type
	Doc       string
	Synonyms  []DescribedSynonym // by precedence
}

// synonyms lists every place a value is given for any of names, by layer and
// within a layer by name, starting with the first that carries want.
func (s *Settings) synonyms(want string, names []string, sensitive bool) []DescribedSynonym {
	var found []DescribedSynonym
	add := func(name, value string, source int8) {
		d := DescribedSynonym{Name: name, Value: value, Source: source}
		if sensitive {
			d.Value, d.Null = "", true
		}
		found = append(found, d)
	}
	for _, dynamic := range []Source{FromThisBroker, FromClusterDefault} {
		for _, name := range names {
			if e, ok := s.layers[dynamic][name]; ok {
				add(name, e.value, dynamic.Wire())
			}
		}
	}
	for _, name := range names {
		for src := FromOverride; src > FromDefault; src-- {
			if e, ok := s.layers[src][name]; ok {
				add(name, e.value, SourceStaticBroker)
				break // a broker knows one static value of a name
			}
		}
	}
	for _, name := range names {
		if p := Brokers.Lookup(name); p != nil && !p.Null {
			add(name, p.Canonical(p.Default), SourceDefault)
		}
	}
	for i := range found {
		if found[i].Name == want {
			return found[i:]
		}
	}
	return nil
}

// DescribeBroker answers DescribeConfigs for this broker: every property.
func (s *Settings) DescribeBroker() []Described {
	names := slices.DeleteFunc(Brokers.Names(), func(n string) bool {
		return Brokers.Lookup(n).Internal && !s.set(n)
	})
	for src := FromShipped; src <= FromThisBroker; src++ {
		for name := range s.layers[src] {
			if Brokers.Lookup(name) == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	out := make([]Described, 0, len(names))
	for _, name := range names {
		out = append(out, s.describe(name))
	}
	return out
}

// DescribeClusterDefault answers DescribeConfigs for the broker resource with
// an empty name: the dynamic defaults only.
func (s *Settings) DescribeClusterDefault() []Described {
	var out []Described
	for _, name := range slices.Sorted(maps.Keys(s.layers[FromClusterDefault])) {
		d := s.describe(name)
		d.Value, d.Null = s.layers[FromClusterDefault][name].value, d.Sensitive
		d.Source = SourceDynamicDefault
		d.Synonyms = slices.DeleteFunc(d.Synonyms, func(x DescribedSynonym) bool { return x.Source != SourceDynamicDefault })
		if d.Sensitive {
			d.Value = ""
		}
		out = append(out, d)
	}
	return out
}

func (s *Settings) describe(name string) Described {
	d := Described{Name: name, ReadOnly: true}
	base := name
	if property, ok := listenerOverride(name); ok {
		base = property
	}
	e, _, ok := s.raw(name)
	d.Null = !ok
	if p := Brokers.Lookup(base); p != nil {
		d.Type, d.Doc, d.Sensitive, d.ReadOnly = p.Type, p.Doc, p.Sensitive(), p.Mode == ReadOnly
		if ok {
			d.Value = p.Canonical(e.value)
		}
	} else {
		d.Sensitive = true // Kafka hides what it does not know
	}
	if d.Sensitive {
		d.Value, d.Null = "", true
	}
	d.Synonyms = s.synonyms(name, brokerSynonyms(name), d.Sensitive)
	d.Source = SourceDefault
	if len(d.Synonyms) > 0 {
		d.Source = d.Synonyms[0].Source
	}
	return d
}

// Explained is one line of `gregor config explain`.
type Explained struct {
	Name     string
	Value    string
	Set      bool // false: null
	Source   Source
	Where    string // the file, variable or flag
	Note     string // a synonym that decides, no effect, …
	Default  string
	Property *Property // nil for names outside the table
}

// Explain lists every value in force and where it came from.
func (s *Settings) Explain() []Explained {
	var out []Explained
	for i := range brokerTable {
		p := &brokerTable[i]
		if p.Internal && !s.set(p.Name) {
			continue
		}
		e, src, ok := s.raw(p.Name)
		x := Explained{Name: p.Name, Set: ok, Source: src, Where: e.where, Default: p.Default, Property: p}
		if ok {
			x.Value = p.Shown(e.value)
		}
		switch {
		case !ok || src == FromDefault:
			for _, other := range brokerSynonyms(p.Name) {
				if other != p.Name && s.set(other) {
					x.Note = "decided by " + other
					break
				}
			}
		case p.Standing == NoEffect:
			x.Note = "no effect in Gregor"
		case p.Standing == Kept:
			x.Note = "for a feature to come"
		}
		out = append(out, x)
	}
	return out
}
