// SPDX-License-Identifier: Apache-2.0

// Package seeds says which seeds a simulation tries. Only tests import it. A
// test that does has Sim in its name: that is how make sim finds it.
//
//	go test ./...            a few: the test's own number
//	go test -short ./...     a fifth of them
//	SEEDS=20000 make sim     20000 of the cheap ones, 20000/cost of others
//	SEED=17 go test -run X   the seed 17 alone, to see a failure again
package seeds

import (
	"iter"
	"os"
	"strconv"
	"testing"
)

// All yields the seeds to try. Cost is how many cheap simulations (a few
// milliseconds each) one of these takes as long as.
func All(t testing.TB, few, cost int) iter.Seq[uint64] {
	t.Helper()
	from, upTo, err := span(os.Getenv("SEED"), os.Getenv("SEEDS"), testing.Short(), few, cost)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(uint64) bool) {
		for seed := from; seed < upTo; seed++ {
			if t.Failed() || !yield(seed) {
				return
			}
		}
	}
}

// One tells whether a single seed was asked for: no test should then complain
// that its seeds did not meet all that they should.
func One() bool { return os.Getenv("SEED") != "" }

func span(seed, many string, short bool, few, cost int) (from, upTo uint64, err error) {
	if seed != "" {
		from, err = strconv.ParseUint(seed, 10, 63)
		return from, from + 1, err
	}
	if many != "" {
		n, err := strconv.ParseUint(many, 10, 32)
		return 0, max(n/uint64(cost), uint64(few)), err
	}
	if short {
		few = max(few/5, 1)
	}
	return 0, uint64(few), nil
}
