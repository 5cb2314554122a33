// SPDX-License-Identifier: Apache-2.0

// Command gendocs prints the reference pages of configs into a directory.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"gregor/internal/config"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs DIRECTORY")
		os.Exit(2)
	}
	for _, page := range config.Pages() {
		var b bytes.Buffer
		err := page.Print(&b)
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], page.File), b.Bytes(), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "gendocs:", err)
			os.Exit(1)
		}
	}
}
