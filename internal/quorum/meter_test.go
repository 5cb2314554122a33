// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"math"
	"testing"
	"time"
)

// A window speaks of the last half to whole minute, and of nothing else.
func TestWindow(t *testing.T) {
	t.Parallel()
	var w window
	at := time.Unix(1000, 0)
	if avg, most := w.average(at); !math.IsNaN(avg) || !math.IsNaN(most) || w.rate(at) != 0 {
		t.Error("something of nothing")
	}
	for i := range 10 {
		w.add(float64(i), at.Add(time.Duration(i)*time.Second))
	}
	at = at.Add(10 * time.Second)
	if avg, most := w.average(at); avg != 4.5 || most != 9 || w.rate(at) != 4.5 {
		t.Errorf("%v %v %v", avg, most, w.rate(at))
	}
	at = at.Add(35 * time.Second) // the first half is the older one now
	w.add(3, at)
	if avg, most := w.average(at); avg != 48.0/11 || most != 9 || math.Abs(w.rate(at)-48.0/45) > 1e-9 {
		t.Errorf("%v %v %v", avg, most, w.rate(at))
	}
	at = at.Add(20 * time.Second)
	if avg, most := w.average(at); avg != 3 || most != 3 {
		t.Errorf("%v %v", avg, most)
	}
	at = at.Add(5 * time.Minute)
	if avg, _ := w.average(at); !math.IsNaN(avg) || w.rate(at) != 0 {
		t.Errorf("%v %v", avg, w.rate(at))
	}
}
