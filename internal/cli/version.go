// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"gregor/internal/cli/kafka"
)

func newVersion(e *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version of gregor and of the Kafka it speaks",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			revision := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = " " + s.Value[:min(12, len(s.Value))]
					}
				}
			}
			_, err := fmt.Fprintf(e.Out, "gregor %s%s (Kafka %s, %s, %s/%s)\n", Version, revision, kafka.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
