// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func newServer(e *Env) *cobra.Command {
	var s ServerSettings
	c := &cobra.Command{
		Use:   "server",
		Short: "run a broker and controller in this process",
		Long: "Run one node, broker and controller at once. With no file and no flag it listens on\n" +
			"127.0.0.1:9092 and keeps its data in ./gregor-data; an empty directory is formatted.\n\n" +
			"Settings have Kafka's names. Later ones win: defaults, --config, environment\n" +
			"(GREGOR_LOG_DIRS is log.dirs), --override. `gregor config explain` shows what comes out.",
		Example: "  gregor server\n" +
			"  gregor server --config server.properties\n" +
			"  gregor server --override log.dirs=/var/lib/gregor --override listeners=PLAINTEXT://:9092",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s.Out, s.Err = e.Out, e.Err
			return e.Serve(c.Context(), s)
		},
	}
	c.Flags().StringVarP(&s.File, "config", "c", "", "server.properties to read")
	c.Flags().StringArrayVarP(&s.Overrides, "override", "o", nil, "name=value that wins over file and environment; may be repeated")
	return c
}

// serve is the one place where the command line meets the broker.
func serve(context.Context, ServerSettings) error {
	return errors.New("the server is not part of this build")
}
