// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"gregor/internal/cli/kafka"
)

func newGroup(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := c.on(parent("group", "list consumer groups, see their lag, move and delete them"))
	cmd.AddCommand(groupList(c), groupLag(c), groupSeek(c), groupDelete(c))
	return cmd
}

func groupList(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "list groups with their state and lag", Args: cobra.NoArgs,
		Example: "  gregor group list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				lags, err := a.Lag(ctx)
				if err != nil {
					return err
				}
				type row struct {
					Group   string `json:"group"`
					State   string `json:"state"`
					Kind    string `json:"protocol_type"`
					Members int    `json:"members"`
					Lag     int64  `json:"lag"`
				}
				list, rows := []row{}, [][]any{}
				for _, g := range lags.Sorted() {
					r := row{g.Group, g.State, g.ProtocolType, len(g.Members), g.Lag.Total()}
					list = append(list, r)
					rows = append(rows, []any{r.Group, r.State, r.Kind, r.Members, r.Lag})
				}
				return c.show(list, []string{"group", "state", "protocol", "members", "lag"}, rows)
			})
		},
	}
}

func groupLag(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show GROUP", Aliases: []string{"lag"}, Short: "show how far behind a group is, and who reads what", Args: cobra.ExactArgs(1), ValidArgsFunction: c.groups,
		Example: "  gregor group show billing",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				lags, err := a.Lag(ctx, args[0])
				if err != nil {
					return err
				}
				g := lags[args[0]]
				if err := g.Error(); err != nil {
					return err
				}
				if g.State == "Dead" {
					return fmt.Errorf("there is no group %s", args[0])
				}
				type row struct {
					Topic     string `json:"topic"`
					Partition int32  `json:"partition"`
					Committed int64  `json:"committed"`
					End       int64  `json:"end"`
					Lag       int64  `json:"lag"`
					Member    string `json:"member,omitempty"`
					Host      string `json:"host,omitempty"`
				}
				list, rows := []row{}, [][]any{}
				for _, l := range g.Lag.Sorted() {
					r := row{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
					if l.Member != nil {
						r.Member, r.Host = l.Member.MemberID, l.Member.ClientHost
					}
					list = append(list, r)
					rows = append(rows, []any{r.Topic, r.Partition, r.Committed, r.End, r.Lag, r.Member, r.Host})
				}
				return c.show(map[string]any{"group": g.Group, "state": g.State, "lag": g.Lag.Total(), "partitions": list},
					[]string{"topic", "partition", "committed", "end", "lag", "member", "host"}, rows)
			})
		},
	}
}

func groupSeek(c *client) *cobra.Command {
	var to string
	var topics []string
	var really bool
	cmd := &cobra.Command{
		Use: "seek GROUP", Short: "move a group that has no members", Args: cobra.ExactArgs(1), ValidArgsFunction: c.groups,
		Long:    "Move a group to the start or the end, to an offset or to a time. Nothing is changed\nwithout --execute; what would be is shown.",
		Example: "  gregor group seek billing --to 1h --execute\n  gregor group seek billing --to start --topic orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			if _, err := parseFrom(to, now); err != nil {
				return &usageError{err}
			}
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				have, err := a.FetchOffsets(ctx, args[0])
				if err != nil {
					return err
				}
				names := topics
				if len(names) == 0 {
					for t := range have {
						names = append(names, t)
					}
				}
				if len(names) == 0 {
					return fmt.Errorf("%s has no offsets: name topics with --topic", args[0])
				}
				sort.Strings(names)
				target, err := targetOffsets(ctx, a, to, now, names)
				if err != nil {
					return err
				}
				type row struct {
					Topic     string `json:"topic"`
					Partition int32  `json:"partition"`
					Old       int64  `json:"old"`
					New       int64  `json:"new"`
				}
				list, rows := []row{}, [][]any{}
				for _, o := range target.Sorted() {
					r := row{o.Topic, o.Partition, -1, o.At}
					if h, ok := have.Lookup(o.Topic, o.Partition); ok {
						r.Old = h.At
					}
					list = append(list, r)
					rows = append(rows, []any{r.Topic, r.Partition, r.Old, r.New})
				}
				if really {
					resps, err := a.CommitOffsets(ctx, args[0], target)
					if err == nil {
						err = resps.Error()
					}
					if err != nil {
						return err
					}
				} else {
					fmt.Fprintln(c.env.Err, "nothing is changed without --execute")
				}
				return c.show(map[string]any{"group": args[0], "executed": really, "partitions": list}, []string{"topic", "partition", "old", "new"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "start, end, an offset, a time ago (1h) or a moment (2026-01-02T15:04:05Z)")
	cmd.Flags().StringArrayVarP(&topics, "topic", "t", nil, "topic to move in, all of the group's when left out; may be repeated")
	cmd.Flags().BoolVar(&really, "execute", false, "do it")
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.RegisterFlagCompletionFunc("topic", c.topics)
	return cmd
}

// targetOffsets finds what a place in time or in the log is in each partition.
func targetOffsets(ctx context.Context, a *kadm.Client, to string, now time.Time, topics []string) (kadm.Offsets, error) {
	var listed kadm.ListedOffsets
	var err error
	switch to {
	case "start":
		listed, err = a.ListStartOffsets(ctx, topics...)
	case "end":
		listed, err = a.ListEndOffsets(ctx, topics...)
	default:
		var n int64
		if _, scanErr := fmt.Sscanf(to, "%d", &n); scanErr == nil && fmt.Sprint(n) == to {
			if listed, err = a.ListEndOffsets(ctx, topics...); err == nil {
				listed.Each(func(l kadm.ListedOffset) {
					l.Offset = min(n, l.Offset)
					listed[l.Topic][l.Partition] = l
				})
			}
			break
		}
		o, _ := parseFrom(to, now)
		listed, err = a.ListOffsetsAfterMilli(ctx, o.EpochOffset().Offset, topics...)
	}
	if err == nil {
		err = listed.Error()
	}
	return listed.Offsets(), err
}

func groupDelete(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "delete GROUP...", Aliases: []string{"rm"}, Short: "delete groups that have no members", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.groups,
		Example: "  gregor group delete old-billing",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				resps, err := a.DeleteGroups(ctx, args...)
				if err != nil {
					return err
				}
				for _, r := range resps.Sorted() {
					if r.Err != nil {
						return fmt.Errorf("%s: %s", r.Group, kafka.ErrorText(r.Err))
					}
					if err := c.done(map[string]any{"group": r.Group, "deleted": true}, "deleted %s", r.Group); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
