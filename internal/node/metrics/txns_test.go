// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"math"
	"testing"
	"time"
)

func TestLoads(t *testing.T) {
	t.Parallel()
	var l Loads
	now := time.Unix(1000, 0)
	if most, mean := l.Measure(now); !math.IsNaN(most) || !math.IsNaN(mean) {
		t.Errorf("%v, %v of nothing", most, mean)
	}
	l.Loaded(now, 40*time.Millisecond)
	l.Loaded(now.Add(20*time.Second), 20*time.Millisecond)
	if most, mean := l.Measure(now.Add(30 * time.Second)); most != 40 || mean != 30 {
		t.Errorf("most %v, mean %v; want 40, 30", most, mean)
	}
	if most, mean := l.Measure(now.Add(31 * time.Second)); most != 20 || mean != 20 {
		t.Errorf("most %v, mean %v; want 20, 20", most, mean)
	}
}
