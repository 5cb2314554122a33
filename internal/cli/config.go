// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"gregor/internal/cli/kafka"
	"gregor/internal/config"
)

func newConfig(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := c.on(parent("config", "show, set and explain configurations"))
	cmd.AddCommand(configShow(c), configSet(c), configExplain(c))
	return cmd
}

// configTarget is a topic's name, or broker:ID, or brokers for the default of
// all of them.
func configTarget(s string) (topic string, broker []int32, isBroker bool, err error) {
	if s == "brokers" {
		return "", nil, true, nil
	}
	if id, ok := strings.CutPrefix(s, "broker:"); ok {
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return "", nil, true, &usageError{fmt.Errorf("%s: expected broker:ID", s)}
		}
		return "", []int32{int32(n)}, true, nil
	}
	return s, nil, false, nil
}

func configShow(c *client) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "show TOPIC|broker:ID|brokers", Short: "show what was set on a topic or broker", Args: cobra.ExactArgs(1), ValidArgsFunction: c.topics,
		Example: "  gregor config show orders\n  gregor config show broker:1 --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, broker, isBroker, err := configTarget(args[0])
			if err != nil {
				return err
			}
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				var got kadm.ResourceConfigs
				var err error
				if isBroker {
					got, err = a.DescribeBrokerConfigs(ctx, broker...)
				} else {
					got, err = a.DescribeTopicConfigs(ctx, topic)
				}
				if err != nil {
					return err
				}
				type row struct {
					Name   string  `json:"name"`
					Value  *string `json:"value"`
					Source string  `json:"source"`
				}
				list, rows := []row{}, [][]any{}
				for _, r := range got {
					if r.Err != nil {
						return fmt.Errorf("%s", orElse(r.ErrMessage, kafka.ErrorText(r.Err)))
					}
					for _, x := range r.Configs {
						if all || !strings.HasPrefix(x.Source.String(), "DEFAULT") && !strings.HasPrefix(x.Source.String(), "STATIC") {
							list = append(list, row{x.Key, x.Value, x.Source.String()})
							rows = append(rows, []any{x.Key, x.MaybeValue(), strings.ToLower(strings.ReplaceAll(x.Source.String(), "_", " "))})
						}
					}
				}
				return c.show(list, []string{"name", "value", "source"}, rows)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "defaults and what the broker's file says as well")
	return cmd
}

func configSet(c *client) *cobra.Command {
	var unset []string
	cmd := &cobra.Command{
		Use: "set TOPIC|broker:ID|brokers NAME=VALUE...", Short: "set configurations of a topic or broker", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.topics,
		Example: "  gregor config set orders retention.ms=86400000\n  gregor config set orders --unset retention.ms",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, broker, isBroker, err := configTarget(args[0])
			if err != nil {
				return err
			}
			set, err := pairs(args[1:])
			if err != nil {
				return err
			}
			var changes []kadm.AlterConfig
			for k, v := range set {
				changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: v})
			}
			for _, k := range unset {
				changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
			}
			if len(changes) == 0 {
				return &usageError{fmt.Errorf("nothing to set: expected NAME=VALUE or --unset NAME")}
			}
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				var resps kadm.AlterConfigsResponses
				var err error
				if isBroker {
					resps, err = a.AlterBrokerConfigs(ctx, changes, broker...)
				} else {
					resps, err = a.AlterTopicConfigs(ctx, changes, topic)
				}
				if err != nil {
					return err
				}
				for _, r := range resps {
					if r.Err != nil {
						return fmt.Errorf("%s", orElse(r.ErrMessage, kafka.ErrorText(r.Err)))
					}
				}
				return c.done(map[string]any{"target": args[0], "changes": len(changes)}, "changed %s", args[0])
			})
		},
	}
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "configuration to take back; may be repeated")
	return cmd
}

func configExplain(c *client) *cobra.Command {
	var file string
	var overrides []string
	var all bool
	cmd := &cobra.Command{
		Use: "explain [NAME...]", Short: "show each setting a server would start with, and where it came from",
		Long:    "Read the settings as `gregor server` would, and show each with its source. Without\nnames, what differs from its default; --all shows every property.",
		Example: "  gregor config explain -c server.properties\n  gregor config explain log.dirs log.retention.hours",
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := config.Load(config.Options{File: file, Environ: os.Environ(), Overrides: overrides, SingleNode: file == ""})
			if err != nil {
				return err
			}
			return explain(c, s, args, all)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "server.properties to read")
	cmd.Flags().StringArrayVarP(&overrides, "override", "o", nil, "name=value that wins over file and environment")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "every property")
	return cmd
}

func explain(c *client, s *config.Settings, names []string, all bool) error {
	type row struct {
		Name    string  `json:"name"`
		Value   *string `json:"value"`
		Default string  `json:"default"`
		Source  string  `json:"source"`
		Where   string  `json:"where,omitempty"`
		Note    string  `json:"note,omitempty"`
	}
	wanted, known := map[string]bool{}, []string{}
	for _, n := range names {
		wanted[n] = true
	}
	list, rows := []row{}, [][]any{}
	for _, x := range s.Explain() {
		known = append(known, x.Name)
		if len(names) > 0 && !wanted[x.Name] || len(names) == 0 && !all && x.Value == x.Default {
			continue
		}
		delete(wanted, x.Name)
		r := row{Name: x.Name, Default: x.Default, Source: fmt.Sprint(x.Source), Where: x.Where, Note: x.Note}
		shown := "null"
		if x.Set {
			shown = x.Value
			r.Value = &shown
		}
		list = append(list, r)
		rows = append(rows, []any{r.Name, shown, strings.TrimSpace(r.Source + " " + r.Where), r.Note})
	}
	for n := range wanted {
		if near := config.Nearest(n, known); near != "" {
			return fmt.Errorf("there is no property %s; did you mean %s?", n, near)
		}
		return fmt.Errorf("there is no property %s", n)
	}
	for _, w := range s.Warnings() {
		fmt.Fprintln(c.env.Err, "warning: "+w)
	}
	return c.show(list, []string{"name", "value", "source", "note"}, rows)
}
