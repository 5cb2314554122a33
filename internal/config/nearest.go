// SPDX-License-Identifier: Apache-2.0

package config

// Nearest returns the known property whose name is closest to name, or ""
// when none is close enough to be what was meant.
func Nearest(name string, known []string) string {
	best, bestCost := "", len(name)/3+2
	for _, k := range known {
		if d := len(k) - len(name); d >= bestCost || -d >= bestCost {
			continue
		}
		if cost := distance(name, k); cost < bestCost {
			best, bestCost = k, cost
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to turn a into b (optimal string alignment). Names are
// ASCII, so it counts bytes; three rows suffice.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
