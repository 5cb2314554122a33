// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"gregor/internal/vfs"
)

// A cut below the high watermark takes it back, and no checkpoint of before
// brings it back once the log has grown again.
func TestCutTakesTheHighWatermarkBack(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d, l := openOne(t, mem, LogConfig{Create: true, Durable: true})
	grow := func(epoch int32, n int) {
		t.Helper()
		for range n {
			v := testBatch(1, 1000, 10)
			if _, err := l.Append(v, Append{LeaderEpoch: epoch}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
	}
	grow(1, 100)
	l.SetHighWatermark(100)
	if err := d.writeCheckpoints(); err != nil {
		t.Fatal(err)
	}
	if err := l.TruncateTo(50); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(50)
	grow(2, 50)
	l.SetHighWatermark(60)
	d.Abandon()
	_, l = openOne(t, mem, LogConfig{Durable: true})
	if hw := l.HighWatermark(); hw > 60 {
		t.Errorf("high watermark %d after a restart: what lies above 60 was never committed", hw)
	}
}
