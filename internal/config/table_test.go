// SPDX-License-Identifier: Apache-2.0

// Goal: the tables are well formed. Method: walk them.
package config

import (
	"slices"
	"strings"
	"testing"
)

func TestTablesAreWellFormed(t *testing.T) {
	t.Parallel()
	for what, table := range map[string]*Table{"broker": Brokers, "topic": Topics, "group": Groups, "client metrics": ClientMetrics} {
		names := table.Names()
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s: names are not in order or not distinct", what)
		}
		for _, p := range table.All() {
			if p.Type < Boolean || p.Type > Password {
				t.Errorf("%s: no type", p.Name)
			}
			if !strings.HasSuffix(p.Doc, ".") {
				t.Errorf("%s: doc is no sentence: %q", p.Name, p.Doc)
			}
			if p.Null {
				continue
			}
			if _, err := p.Parse(p.Default); err != nil {
				t.Errorf("%s: its own default: %v", p.Name, err)
			}
			if got := p.Canonical(p.Default); got != p.Default {
				t.Errorf("%s: default %q is not canonical, %q is", p.Name, p.Default, got)
			}
		}
	}
	if got := len(Topics.All()); got != 35 {
		t.Errorf("%d topic properties; Kafka 4.2 has 33 and an internal one, we add gregor.durable", got)
	}
}

func TestSynonymsExist(t *testing.T) {
	t.Parallel()
	for _, table := range []*Table{Topics, Groups} {
		for _, p := range table.All() {
			for _, s := range p.From {
				b := Brokers.Lookup(s.Name)
				if b == nil {
					t.Errorf("%s: no broker property %s", p.Name, s.Name)
					continue
				}
				if b.Standing != p.Standing {
					t.Errorf("%s is %q, its synonym %s is %q", p.Name, p.Standing, b.Name, b.Standing)
				}
				if len(p.From) == 1 && !p.Null && !b.Null && p.Default != b.Default {
					t.Errorf("%s defaults to %s, %s to %s", p.Name, p.Default, b.Name, b.Default)
				}
			}
		}
	}
	for _, family := range synonymFamilies {
		for _, n := range family {
			if Brokers.Lookup(n) == nil {
				t.Errorf("no property %s", n)
			}
		}
	}
}

func TestCanonicalDoubles(t *testing.T) {
	t.Parallel()
	p := Brokers.Lookup("log.cleaner.min.cleanable.ratio")
	for raw, want := range map[string]string{"0.50": "0.5", "1": "1.0", "1e300": "1.0E300", "0.0001": "1.0E-4", "12345678": "1.2345678E7", "0": "0.0"} {
		if got := p.Canonical(raw); got != want {
			t.Errorf("%q: %s, want %s", raw, got, want)
		}
	}
}
