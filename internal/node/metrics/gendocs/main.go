// SPDX-License-Identifier: Apache-2.0

// Command gendocs prints the reference page of metrics into a file.
package main

import (
	"bytes"
	"fmt"
	"os"

	"gregor/internal/node/metrics"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs FILE")
		os.Exit(2)
	}
	var b bytes.Buffer
	err := metrics.PrintReference(&b)
	if err == nil {
		err = os.WriteFile(os.Args[1], b.Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}
