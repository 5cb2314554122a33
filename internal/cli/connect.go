// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/cli/kafka"
)

// client is what every command that talks to a cluster shares: its flags, its
// connection and its two ways of printing.
type client struct {
	env     *Env
	brokers string
	file    string
	json    bool
}

// on gives a command, with all beneath it, the flags.
func (c *client) on(cmd *cobra.Command) *cobra.Command {
	f := cmd.PersistentFlags()
	f.StringVarP(&c.brokers, "brokers", "b", cmp.Or(os.Getenv("KAFKA_BROKERS"), "localhost:9092"), "brokers to connect to, host:port with commas between ($KAFKA_BROKERS)")
	f.StringVar(&c.file, "client-config", "", "file of Kafka client properties (security.protocol, sasl.*, ssl.*)")
	f.BoolVar(&c.json, "json", false, "print JSON, for programs")
	return cmd
}

// parent is a command that only holds others: a word that names none of them
// is a mistake, not a wish for help.
func parent(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("%s has no command %q (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())}
			}
			return cmd.Help()
		},
	}
}

// patience bounds how long a broker may be silent before a command gives up.
const patience = 10 * time.Second

func (c *client) kgo(more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := kafka.ClientOptions(c.file, map[string]string{"bootstrap.servers": c.brokers, "client.id": "gregor-cli", "default.api.timeout.ms": "10000"}, c.env.Err)
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(append(opts, more...)...)
}

// admin runs do with a connection and a deadline.
func (c *client) admin(ctx context.Context, do func(context.Context, *kadm.Client) error) error {
	cl, err := c.kgo()
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	return c.inWords(do(ctx, kadm.NewClient(cl)))
}

// inWords says what went wrong to somebody who does not know the protocol.
func (c *client) inWords(err error) error {
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
		for _, addr := range strings.Split(c.brokers, ",") {
			if dialCheck(context.Background(), "", addr).State == sound {
				return fmt.Errorf("%s answers, but an address that it advertises does not (%w). See advertised.listeners, and gregor doctor", addr, dial)
			}
		}
		return fmt.Errorf("no broker answers at %s. Is one running (gregor server), and is this its address (--brokers)? gregor doctor looks closer", c.brokers)
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return errors.New("there is no such topic (see gregor topic list)")
	}
	if err != nil {
		return fmt.Errorf("%s", kafka.ErrorText(err))
	}
	return nil
}

// show prints rows as a table, or v as JSON when that was asked for.
func (c *client) show(v any, header []string, rows [][]any) error {
	if c.json {
		return printJSON(c.env.Out, v)
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Format.Header = text.FormatUpper
	t.Style().Box.PaddingLeft = ""
	t.Style().Box.PaddingRight = "  "
	var head table.Row
	for _, h := range header {
		head = append(head, h)
	}
	t.AppendHeader(head)
	for _, r := range rows {
		t.AppendRow(r)
	}
	for line := range strings.SplitSeq(t.Render(), "\n") {
		if _, err := fmt.Fprintln(c.env.Out, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// done says what was done: a line, or v as JSON.
func (c *client) done(v any, format string, args ...any) error {
	if c.json {
		return printJSON(c.env.Out, v)
	}
	_, err := fmt.Fprintf(c.env.Out, format+"\n", args...)
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// topics completes names of topics, groups names of groups; both give up soon,
// for a shell waits.
func (c *client) topics(cmd *cobra.Command, have []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return c.complete(cmd, have, prefix, func(ctx context.Context, a *kadm.Client) ([]string, error) {
		t, err := a.ListTopics(ctx)
		return t.Names(), err
	})
}

func (c *client) groups(cmd *cobra.Command, have []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return c.complete(cmd, have, prefix, func(ctx context.Context, a *kadm.Client) ([]string, error) {
		g, err := a.ListGroups(ctx)
		return g.Groups(), err
	})
}

func (c *client) complete(cmd *cobra.Command, have []string, prefix string, list func(context.Context, *kadm.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	quiet := *c
	quiet.env = &Env{Err: io.Discard, Out: io.Discard}
	cl, err := quiet.kgo()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	names, err := list(ctx, kadm.NewClient(cl))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) || slices.Contains(have, n) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
