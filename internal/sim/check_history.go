// SPDX-License-Identifier: Apache-2.0

// Invariant: what clients were told is so. Records acknowledged at acks=all are
// all there, once and in order; end offsets never fall; no reader is taken past
// a record or back; commits of a group never go back. Package history judges.

package sim

import (
	"fmt"

	"gregor/internal/sim/history"
)

// checkHistory returns at most mostFound anomalies.
func checkHistory(h *history.History) []string {
	var out []string
	found := history.Check(h)
	for i, a := range found {
		if i == mostFound {
			out = append(out, fmt.Sprintf("and %d more", len(found)-i))
			break
		}
		out = append(out, a.String())
	}
	return out
}
