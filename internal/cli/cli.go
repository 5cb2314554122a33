// SPDX-License-Identifier: Apache-2.0

// Package cli is gregor's command line: one file per subcommand. Kafka's own
// tools live in cli/kafka and are reached as `gregor kafka-topics ...` or
// through a link of that name (see install.go). Like theirs, these commands
// speak the Kafka protocol as any client would and know nothing of the broker
// that answers; only `server`, which runs one, and `log` and `doctor`, which
// look at a data directory, reach below.
//
// Conventions: a table on standard output for people, `--json` for programs
// (one document, stable names), progress and complaints on standard error,
// status 0, 1 for failure, 2 for a command line that makes no sense.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gregor/internal/cli/kafka"
)

// Version is the release of gregor, set by the linker for a release build.
var Version = "dev"

// Env is what a command may touch of the outside world.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal is whether Out is one; Prompt whether In is one as well.
	Terminal, Prompt bool
	// Self is the path of this program.
	Self string
	// Serve runs a broker until ctx ends.
	Serve func(ctx context.Context, s ServerSettings) error
}

// ServerSettings is what `gregor server` was asked for.
type ServerSettings struct {
	File      string   // a server.properties, "" for none
	Overrides []string // name=value, which win over file and environment
	Out, Err  io.Writer
}

// OSEnv is the environment of the running process.
func OSEnv() *Env {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	out, in := term.IsTerminal(int(os.Stdout.Fd())), term.IsTerminal(int(os.Stdin.Fd()))
	return &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Terminal: out, Prompt: in && out, Self: self, Serve: serve}
}

// Main runs the command line args, of which the first is the program's name,
// and returns the exit status.
func Main(ctx context.Context, args []string, e *Env) int {
	if tool, ok := kafka.Find(filepath.Base(args[0])); ok {
		return tool.Exec(ctx, e.kafka(), args[1:])
	}
	// The tools parse for themselves: cobra must not see their arguments.
	if len(args) > 1 {
		if tool, ok := kafka.Find(args[1]); ok {
			return tool.Exec(ctx, e.kafka(), args[2:])
		}
	}
	root := newRoot(e)
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if status := (exitStatus)(0); errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintln(e.Err, "gregor: "+strings.TrimSpace(err.Error()))
	if wrong := (*usageError)(nil); errors.As(err, &wrong) {
		return 2
	}
	return 1
}

// exitStatus ends a command that has said all there is to say.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (u *usageError) Unwrap() error { return u.error }

func (e *Env) kafka() *kafka.Env {
	return &kafka.Env{
		In: e.In, Out: e.Out, Err: e.Err, Prompt: e.Prompt, Self: e.Self,
		Serve: func(ctx context.Context, file string, overrides []string) error {
			return e.Serve(ctx, ServerSettings{File: file, Overrides: overrides, Out: e.Out, Err: e.Err})
		},
	}
}

// countArguments makes every command answer the wrong number of arguments with
// what it expects.
func countArguments(c *cobra.Command) {
	if count := c.Args; count != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if count(c, args) != nil {
				return &usageError{fmt.Errorf("expected %s (see %s --help)", c.UseLine(), c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		countArguments(sub)
	}
}

func newRoot(e *Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "gregor",
		Short:         "Kafka in one binary: broker, controller and tools",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	root.AddGroup(&cobra.Group{ID: "own", Title: "Commands:"}, &cobra.Group{ID: "kafka", Title: "Kafka's own tools, flag for flag:"})
	for _, c := range []*cobra.Command{newServer(e), newTopic(e), newProduce(e), newConsume(e), newGroup(e), newTxn(e), newConfig(e), newLog(e), newCluster(e), newDoctor(e), newPerf(e), newInstall(e), newVersion(e)} {
		c.GroupID = "own"
		root.AddCommand(c)
	}
	countArguments(root)
	for _, t := range kafka.Tools() {
		root.AddCommand(&cobra.Command{
			Use: t.Name, Short: t.About, GroupID: "kafka", DisableFlagParsing: true,
			RunE: func(c *cobra.Command, args []string) error {
				return exitStatus(t.Exec(c.Context(), e.kafka(), args))
			},
		})
	}
	return root
}
