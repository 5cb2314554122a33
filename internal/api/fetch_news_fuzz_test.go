// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	"gregor/internal/replica"
)

// FuzzFlushNews: whatever comes does not panic, and gives no more partitions
// than its bytes could hold.
func FuzzFlushNews(f *testing.F) {
	body := []byte{0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 3, 2}
	body = append(body, make([]byte, 16)...)
	body = append(body, 2)
	body = append(body, make([]byte, 24)...)
	f.Add(append(body, 0, 0))
	f.Add(body[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_, _, _, _, err := parseFlushNews(b, func(replica.FlushedEnd) { n++ })
		if n > len(b)/24 {
			t.Errorf("%d partitions in %d bytes", n, len(b))
		}
		if err == nil && n == 0 && len(b) > 64 && b[20] == 2 && b[37] == 2 {
			t.Error("a partition was passed over")
		}
	})
}
