// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"gregor/internal/cli/kafka"
)

func newTopic(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := c.on(parent("topic", "list, show, create, grow and delete topics"))
	cmd.AddCommand(topicList(c), topicShow(c), topicCreate(c), topicGrow(c), topicDelete(c))
	return cmd
}

type topicRow struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Records    int64  `json:"records"`
	Internal   bool   `json:"internal"`
}

func topicList(c *client) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "list topics with the span of their offsets", Args: cobra.NoArgs,
		Example: "  gregor topic list\n  gregor topic list --json | jq '.[].topic'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				topics, err := a.ListTopicsWithInternal(ctx)
				if err != nil {
					return err
				}
				starts, err := a.ListStartOffsets(ctx)
				if err != nil {
					return err
				}
				ends, err := a.ListEndOffsets(ctx)
				if err != nil {
					return err
				}
				list, rows := []topicRow{}, [][]any{}
				for _, t := range topics.Sorted() {
					if t.IsInternal && !internal {
						continue
					}
					r := topicRow{Topic: t.Topic, Partitions: len(t.Partitions), Replicas: t.Partitions.NumReplicas(), Internal: t.IsInternal}
					for p := range t.Partitions {
						s, _ := starts.Lookup(t.Topic, p)
						if o, ok := ends.Lookup(t.Topic, p); ok && o.Err == nil {
							r.Records += o.Offset - s.Offset
						}
					}
					list = append(list, r)
					rows = append(rows, []any{r.Topic, r.Partitions, r.Replicas, r.Records})
				}
				return c.show(list, []string{"topic", "partitions", "replicas", "records"}, rows)
			})
		},
	}
	cmd.Flags().BoolVarP(&internal, "internal", "i", false, "internal topics as well")
	return cmd
}

func topicShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show TOPIC", Short: "show a topic's partitions", Args: cobra.ExactArgs(1), ValidArgsFunction: c.topics,
		Example: "  gregor topic show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				topics, err := a.ListTopicsWithInternal(ctx, args...)
				if err == nil {
					err = topics[args[0]].Err
				}
				if err != nil {
					return err
				}
				starts, err := a.ListStartOffsets(ctx, args...)
				if err != nil {
					return err
				}
				ends, err := a.ListEndOffsets(ctx, args...)
				if err != nil {
					return err
				}
				type row struct {
					Partition int32   `json:"partition"`
					Leader    int32   `json:"leader"`
					Replicas  []int32 `json:"replicas"`
					InSync    []int32 `json:"in_sync"`
					Start     int64   `json:"start"`
					End       int64   `json:"end"`
				}
				list, rows := []row{}, [][]any{}
				for _, p := range topics[args[0]].Partitions.Sorted() {
					s, _ := starts.Lookup(p.Topic, p.Partition)
					o, _ := ends.Lookup(p.Topic, p.Partition)
					r := row{p.Partition, p.Leader, p.Replicas, p.ISR, s.Offset, o.Offset}
					list = append(list, r)
					rows = append(rows, []any{r.Partition, r.Leader, ints(r.Replicas), ints(r.InSync), r.Start, r.End, r.End - r.Start})
				}
				return c.show(list, []string{"partition", "leader", "replicas", "in sync", "start", "end", "records"}, rows)
			})
		},
	}
}

func ints(list []int32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

// pairs reads name=value words.
func pairs(words []string) (map[string]*string, error) {
	m := map[string]*string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			return nil, &usageError{fmt.Errorf("%q: expected name=value", w)}
		}
		m[k] = &v
	}
	return m, nil
}

func topicCreate(c *client) *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	cmd := &cobra.Command{
		Use: "create TOPIC...", Short: "create topics", Args: cobra.MinimumNArgs(1),
		Example: "  gregor topic create orders -p 12\n  gregor topic create users -p 3 -c cleanup.policy=compact",
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := pairs(configs)
			if err != nil {
				return err
			}
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				resps, err := a.CreateTopics(ctx, partitions, replicas, conf, args...)
				if err != nil {
					return err
				}
				for _, r := range resps.Sorted() {
					if r.Err != nil {
						return fmt.Errorf("%s: %s", r.Topic, orElse(r.ErrMessage, kafka.ErrorText(r.Err)))
					}
					if err := c.done(map[string]any{"topic": r.Topic, "id": r.ID.String(), "partitions": r.NumPartitions, "replicas": r.ReplicationFactor},
						"created %s with %d partitions", r.Topic, r.NumPartitions); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().Int32VarP(&partitions, "partitions", "p", -1, "partitions of each; -1 for the broker's num.partitions")
	cmd.Flags().Int16VarP(&replicas, "replicas", "r", -1, "replicas of each partition; -1 for the broker's default")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "name=value of the topic; may be repeated")
	return cmd
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

func topicGrow(c *client) *cobra.Command {
	var partitions int
	cmd := &cobra.Command{
		Use: "grow TOPIC -p N", Short: "give a topic more partitions", Args: cobra.ExactArgs(1), ValidArgsFunction: c.topics,
		Long:    "Give a topic more partitions. Records with a key may go to another partition afterwards.",
		Example: "  gregor topic grow orders -p 24",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				resps, err := a.UpdatePartitions(ctx, partitions, args...)
				if err != nil {
					return err
				}
				if r := resps[args[0]]; r.Err != nil {
					return fmt.Errorf("%s: %s", r.Topic, orElse(r.ErrMessage, kafka.ErrorText(r.Err)))
				}
				return c.done(map[string]any{"topic": args[0], "partitions": partitions}, "%s has %d partitions now", args[0], partitions)
			})
		},
	}
	cmd.Flags().IntVarP(&partitions, "partitions", "p", 0, "how many partitions the topic shall have")
	_ = cmd.MarkFlagRequired("partitions")
	return cmd
}

func topicDelete(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "delete TOPIC...", Aliases: []string{"rm"}, Short: "delete topics and their records", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.topics,
		Example: "  gregor topic delete old-orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				resps, err := a.DeleteTopics(ctx, args...)
				if err != nil {
					return err
				}
				for _, r := range resps.Sorted() {
					if r.Err != nil {
						return fmt.Errorf("%s: %s", r.Topic, orElse(r.ErrMessage, kafka.ErrorText(r.Err)))
					}
					if err := c.done(map[string]any{"topic": r.Topic, "deleted": true}, "deleted %s", r.Topic); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
