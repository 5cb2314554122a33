// SPDX-License-Identifier: Apache-2.0

// Goal: the first program works. Method: its short form, on files made here,
// against a broker in memory.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gregor/broker/brokertest"
)

func TestFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		var text []byte
		for line := range random.IntN(200) { // none is a file without lines
			text = fmt.Appendf(text, "line %d of file %d %0*d\n", line, i, random.IntN(100), line)
		}
		if i%7 == 0 {
			text = append(text, "no newline at the end"...)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.go", i)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := brokertest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, b.Addr(), dir); err != nil {
		t.Fatal(err)
	}
}
