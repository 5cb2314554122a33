// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"maps"
	"testing"

	"gregor/internal/vfs"
)

// What reads is written as it was read; what does not is refused.
func FuzzLevels(f *testing.F) {
	for _, s := range []string{"", "a=1\n", "a=1\nb=32767\n", "a=1\na=2\n", "a", "=1", "a=-1", "a=b=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		levels, err := decodeLevels(text)
		if err != nil {
			return
		}
		fsys := vfs.NewMem()
		if err := WriteLevels(fsys, "/m", levels); err != nil {
			t.Fatal(err)
		}
		again, err := ReadLevels(fsys, "/m")
		if err != nil || !maps.Equal(levels, again) {
			t.Fatalf("%v, %v, %v", levels, again, err)
		}
	})
}
