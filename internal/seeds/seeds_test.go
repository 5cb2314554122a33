// SPDX-License-Identifier: Apache-2.0

package seeds

import "testing"

func TestSpan(t *testing.T) {
	for _, x := range []struct {
		seed, many string
		short      bool
		few, cost  int
		from, upTo uint64
	}{
		{few: 100, cost: 10, upTo: 100},
		{few: 100, cost: 10, short: true, upTo: 20},
		{few: 4, cost: 10, short: true, upTo: 1},
		{few: 100, cost: 10, many: "20000", upTo: 2000},
		{few: 100, cost: 10, many: "20", upTo: 100},
		{few: 100, cost: 10, many: "20000", short: true, upTo: 2000},
		{few: 100, cost: 10, many: "20000", seed: "17", from: 17, upTo: 18},
		{few: 100, cost: 10, seed: "0", from: 0, upTo: 1},
	} {
		from, upTo, err := span(x.seed, x.many, x.short, x.few, x.cost)
		if err != nil || from != x.from || upTo != x.upTo {
			t.Errorf("%+v: %d to %d, %v", x, from, upTo, err)
		}
	}
	for _, s := range []string{"x", "-1", "1e3"} {
		if _, _, err := span(s, "", false, 1, 1); err == nil {
			t.Errorf("SEED=%s is taken", s)
		}
		if _, _, err := span("", s, false, 1, 1); err == nil {
			t.Errorf("SEEDS=%s is taken", s)
		}
	}
}
