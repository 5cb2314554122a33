// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gregor/broker"
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
func serve(ctx context.Context, s ServerSettings) error {
	b, err := broker.New(broker.Config{File: s.File, Environ: os.Environ(), Overrides: s.Overrides, Log: logHandler(s.Err)})
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a log reader that goes away must not take the server along
	tuning, tuned := context.WithCancel(ctx)
	defer tuned()
	go tuneMemory(tuning)
	began := time.Now()
	if err := b.Start(ctx); err != nil {
		return startAdvice(err)
	}
	announce(s.Out, b, time.Since(began))
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.Out, "stopping")
	case <-b.Failed():
	}
	return errors.Join(b.Err(), b.Stop())
}

// startAdvice adds what to do to the failure that newcomers meet first.
func startAdvice(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\n  Is another server running? Choose another port with --override listeners=PLAINTEXT://127.0.0.1:PORT", err)
	}
	return err
}

// announce says what an operator, and whoever cannot connect, wants to know.
func announce(w io.Writer, b *broker.Broker, took time.Duration) {
	fmt.Fprintf(w, "Gregor %s started in %d ms\n", Version, took.Milliseconds())
	fmt.Fprintf(w, "  listens on     %s\n", strings.Join(b.Listening(), ", "))
	fmt.Fprintf(w, "  tells clients  %s\n", strings.Join(b.Advertised(), ", "))
	for _, d := range b.Dirs() {
		if abs, err := filepath.Abs(d); err == nil {
			d = abs
		}
		fmt.Fprintf(w, "  data           %s\n", d)
	}
	if a := b.HTTPAddr(); a != "" {
		fmt.Fprintf(w, "  metrics        http://%s/metrics\n", a)
	}
}

// logHandler writes lines for people on a terminal, JSON elsewhere.
func logHandler(w io.Writer) slog.Handler {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return tint.NewTextHandler(w, &tint.Options{Level: slog.LevelDebug - 4, TimeFormat: time.TimeOnly})
	}
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug - 4})
}
