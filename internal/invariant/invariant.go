// SPDX-License-Identifier: Apache-2.0

// Package invariant holds the assertions that stay on in production. A broken
// invariant is a bug of ours, never an operating error, so it panics: going on
// would risk data that was acknowledged. It is the one package that every other
// package may import.
package invariant

import "fmt"

// Holds panics with text and args (as for fmt.Sprintf) unless cond is true.
// Keep args cheap: they are evaluated on the good path too.
func Holds(cond bool, text string, args ...any) {
	if !cond {
		panic("broken invariant: " + fmt.Sprintf(text, args...))
	}
}
