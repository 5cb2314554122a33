// SPDX-License-Identifier: Apache-2.0

// Command gregor is Kafka in one binary: broker, controller and tools.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"gregor/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := cli.Main(ctx, os.Args, cli.OSEnv())
	stop()
	os.Exit(status)
}
