// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/cli/kafka"
)

func newTxn(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := c.on(parent("txn", "see open transactions, find who holds readers back, end them"))
	cmd.AddCommand(txnList(c), txnHolders(c), txnEnd(c))
	return cmd
}

func txnList(c *client) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "list transactions that are open or being ended", Args: cobra.NoArgs,
		Example: "  gregor txn list\n  gregor txn list --all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				var states []string
				if !all {
					states = []string{"Ongoing", "PrepareCommit", "PrepareAbort"}
				}
				listed, err := a.ListTransactions(ctx, nil, states)
				if err != nil {
					return err
				}
				ids := slices.Sorted(maps.Keys(listed))
				described := kadm.DescribedTransactions{}
				if len(ids) > 0 {
					if described, err = a.DescribeTransactions(ctx, ids...); err != nil {
						return err
					}
				}
				type row struct {
					ID          string `json:"transactional_id"`
					State       string `json:"state"`
					Producer    int64  `json:"producer_id"`
					Epoch       int16  `json:"producer_epoch"`
					Coordinator int32  `json:"coordinator"`
					Seconds     int64  `json:"open_seconds"`
					Timeout     int64  `json:"timeout_seconds"`
					Partitions  int    `json:"partitions"`
				}
				list, rows := []row{}, [][]any{}
				for _, d := range described.Sorted() {
					if d.Err != nil {
						continue // gone meanwhile
					}
					r := row{d.TxnID, d.State, d.ProducerID, d.ProducerEpoch, d.Coordinator, -1, int64(d.TimeoutMillis) / 1000, 0}
					d.Topics.Each(func(string, int32) { r.Partitions++ })
					since := "-"
					if age, open := openFor(d); open {
						r.Seconds, since = int64(age.Seconds()), age.Round(time.Second).String()
					}
					list = append(list, r)
					rows = append(rows, []any{r.ID, r.State, since, (time.Duration(r.Timeout) * time.Second).String(), r.Partitions, r.Producer, r.Epoch, r.Coordinator})
				}
				return c.show(list, []string{"id", "state", "open for", "timeout", "partitions", "producer", "epoch", "coordinator"}, rows)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also ids that have nothing open")
	return cmd
}

func openFor(d kadm.DescribedTransaction) (time.Duration, bool) {
	switch d.State {
	case "Ongoing", "PrepareCommit", "PrepareAbort":
		return time.Since(time.UnixMilli(d.StartTimestamp)), true
	}
	return 0, false
}

// holder is a transaction that keeps who reads committed records from going on
// in a partition.
type holder struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Stable      int64  `json:"stable_offset"`
	Behind      int64  `json:"behind"` // records between there and the end
	ID          string `json:"transactional_id"`
	Producer    int64  `json:"producer_id"`
	Epoch       int16  `json:"producer_epoch"`
	coordinator int32
	Since       time.Time `json:"since"`
	State       string    `json:"state"` // "hanging": no coordinator will end it
}

func txnHolders(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "holders [TOPIC[/PARTITION]...]", Aliases: []string{"blocking"}, Short: "show who holds a partition's last stable offset back, and since when",
		Long: "Consumers with isolation.level=read_committed stop at the first open transaction.\n" +
			"This shows that transaction for each partition where there is one. State \"hanging\"\nmeans that no coordinator knows it, so nothing but gregor txn end will end it.",
		Example: "  gregor txn holders\n  gregor txn holders orders/3", ValidArgsFunction: c.topics,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				list, err := findHolders(ctx, a, args)
				if err != nil {
					return err
				}
				rows := [][]any{}
				for _, h := range list {
					rows = append(rows, []any{h.Topic, h.Partition, h.Stable, h.Behind, h.name(), h.State, time.Since(h.Since).Round(time.Second).String(), h.Since.Format(time.DateTime)})
				}
				return c.show(list, []string{"topic", "partition", "stable offset", "behind", "held by", "state", "for", "since"}, rows)
			})
		},
	}
}

func (h holder) name() string {
	if h.ID != "" {
		return h.ID
	}
	return fmt.Sprintf("producer %d", h.Producer)
}

// findHolders looks at the named topics and partitions, or at all.
func findHolders(ctx context.Context, a *kadm.Client, names []string) ([]holder, error) {
	set, topics, err := placesOf(ctx, a, names)
	if err != nil || len(set) == 0 {
		return []holder{}, err
	}
	producers, err := a.DescribeProducers(ctx, set)
	if err != nil {
		return nil, err
	}
	ends, err := a.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	list, ids := []holder{}, map[int64]bool{}
	for _, t := range producers.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			if p.Err != nil {
				return nil, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, p.Err)
			}
			h := holder{Topic: t.Topic, Partition: p.Partition, Stable: -1}
			for _, x := range p.ActiveProducers {
				if x.CurrentTxnStartOffset >= 0 && (h.Stable < 0 || x.CurrentTxnStartOffset < h.Stable) {
					h.Stable, h.Producer, h.Epoch, h.coordinator = x.CurrentTxnStartOffset, x.ProducerID, x.ProducerEpoch, x.CoordinatorEpoch
					h.Since = time.UnixMilli(x.LastTimestamp)
				}
			}
			if h.Stable < 0 {
				continue
			}
			if end, ok := ends.Lookup(t.Topic, p.Partition); ok && end.Err == nil {
				h.Behind = end.Offset - h.Stable
			}
			ids[h.Producer] = true
			list = append(list, h)
		}
	}
	return list, nameHolders(ctx, a, list, ids)
}

// nameHolders asks the coordinators about the producers of list.
func nameHolders(ctx context.Context, a *kadm.Client, list []holder, ids map[int64]bool) error {
	if len(list) == 0 {
		return nil
	}
	listed, err := a.ListTransactions(ctx, slices.Sorted(maps.Keys(ids)), nil)
	if err != nil {
		return err
	}
	names := map[int64]string{}
	for id, x := range listed {
		names[x.ProducerID] = id
	}
	described := kadm.DescribedTransactions{}
	if len(names) > 0 {
		if described, err = a.DescribeTransactions(ctx, slices.Sorted(maps.Values(names))...); err != nil {
			return err
		}
	}
	for i := range list {
		h := &list[i]
		h.State = "hanging"
		if d, ok := described[names[h.Producer]]; ok && d.Err == nil && d.Topics.Lookup(h.Topic, h.Partition) {
			h.ID, h.State, h.Since = d.TxnID, d.State, time.UnixMilli(d.StartTimestamp)
		}
	}
	slices.SortFunc(list, func(a, b holder) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return nil
}

// placesOf turns TOPIC and TOPIC/PARTITION into partitions; none are all.
func placesOf(ctx context.Context, a *kadm.Client, names []string) (kadm.TopicsSet, []string, error) {
	only := map[string][]int32{}
	var topics []string
	for _, n := range names {
		topic, part, found := strings.Cut(n, "/")
		if only[topic] == nil {
			topics = append(topics, topic)
			only[topic] = []int32{}
		}
		if found {
			p, err := strconv.ParseInt(part, 10, 32)
			if err != nil || p < 0 {
				return nil, nil, &usageError{fmt.Errorf("%q is no partition number", part)}
			}
			only[topic] = append(only[topic], int32(p))
		}
	}
	details, err := a.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	set := kadm.TopicsSet{}
	topics = nil
	for _, d := range details.Sorted() {
		if d.Err != nil {
			return nil, nil, fmt.Errorf("%s: %w", d.Topic, d.Err)
		}
		topics = append(topics, d.Topic)
		for _, p := range d.Partitions.Sorted() {
			if len(only[d.Topic]) == 0 || slices.Contains(only[d.Topic], p.Partition) {
				set.Add(d.Topic, p.Partition)
			}
		}
	}
	return set, topics, nil
}

func txnEnd(c *client) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "end [ID...]", Aliases: []string{"abort"}, Short: "abort open transactions and fence their producers",
		Long: "Abort the open transaction of each transactional id; its producer cannot write any\nmore until it is started anew.\n\n" +
			"With --at, abort whatever holds a partition's last stable offset back: through its\ncoordinator, or where none knows it, in that partition.",
		Example: "  gregor txn end billing-3\n  gregor txn end --at orders/3",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (at == "") == (len(args) == 0) {
				return &usageError{errors.New("name transactional ids, or a partition with --at")}
			}
			return c.connected(cmd.Context(), func(ctx context.Context, cl *kgo.Client, a *kadm.Client) error {
				ctx, cancel := context.WithTimeout(ctx, 3*patience)
				defer cancel()
				if at != "" {
					return c.endHolder(ctx, cl, a, at)
				}
				for _, id := range args {
					if err := c.endID(ctx, cl, a, id); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the partition, as TOPIC/PARTITION")
	return cmd
}

func (c *client) endID(ctx context.Context, cl *kgo.Client, a *kadm.Client, id string) error {
	// Fencing makes ids that are not known yet, so it is asked first.
	all, err := a.DescribeTransactions(ctx, id)
	if err == nil {
		err = all[id].Err
	}
	if err == nil {
		err = kafka.FenceProducer(ctx, cl, id)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return c.done(map[string]any{"transactional_id": id, "ended": true}, "aborted what %s had open", id)
}

func (c *client) endHolder(ctx context.Context, cl *kgo.Client, a *kadm.Client, at string) error {
	if !strings.Contains(at, "/") {
		return &usageError{fmt.Errorf("%q is not TOPIC/PARTITION", at)}
	}
	list, err := findHolders(ctx, a, []string{at})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("no transaction is open in %s", at)
	}
	h := list[0]
	if h.ID != "" {
		return c.endID(ctx, cl, a, h.ID)
	}
	m := kadm.TxnMarkers{ProducerID: h.Producer, ProducerEpoch: h.Epoch, CoordinatorEpoch: max(h.coordinator, 0), Topics: kadm.TopicsSet{}}
	m.Topics.Add(h.Topic, h.Partition)
	resps, err := a.WriteTxnMarkers(ctx, m)
	for _, r := range resps {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				err = errors.Join(err, p.Err)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return c.done(map[string]any{"topic": h.Topic, "partition": h.Partition, "producer_id": h.Producer, "ended": true},
		"aborted the transaction of producer %d in %s", h.Producer, at)
}
