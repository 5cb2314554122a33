// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/cli/kafka"
	"gregor/internal/meta/balance"
)

// balanceTask is one run of `gregor cluster balance`.
type balanceTask struct {
	c                    *client
	execute, leadersOnly bool
	drain, undrain       []int32
	batch                int
	throttle             string
	rate                 int64 // of throttle, 0 for none
	slack                int
}

func newClusterBalance(c *client) *cobra.Command {
	t := &balanceTask{c: c}
	cmd := &cobra.Command{
		Use: "balance", Short: "show, and with --execute carry out, who had better hold and lead what", Args: cobra.NoArgs,
		Long: "Plan where replicas had better be: each topic, all replicas, bytes on disk and leaders\n" +
			"spread evenly over brokers, and each partition over as many racks as it can be. No\n" +
			"partition is put on fewer racks, and little is copied: a new broker gets its share and\n" +
			"nothing else moves.\n\n" +
			"Without --execute nothing changes. With it, some partitions at a time are moved,\n" +
			"throttled, and the first replicas are made leaders at the end. To take a broker out,\n" +
			"--drain it, wait for the end, and stop it; it gets nothing new until it is unregistered\n" +
			"or taken back with --undrain (the setting gregor.broker.drain keeps that).",
		Example: "  gregor cluster balance\n  gregor cluster balance --execute --throttle 20MB\n" +
			"  gregor cluster balance --drain 3 --execute\n" +
			"  gregor cluster balance --json > plan.json && gregor kafka-reassign-partitions --bootstrap-server localhost:9092 --execute --reassignment-json-file plan.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if t.rate, err = parseSize(t.throttle); err != nil {
				return &usageError{fmt.Errorf("--throttle: %w", err)}
			}
			if t.batch < 1 {
				return &usageError{errors.New("--batch must be 1 or more")}
			}
			for _, id := range t.undrain {
				if slices.Contains(t.drain, id) {
					return &usageError{fmt.Errorf("broker %d cannot be drained and taken back at once", id)}
				}
			}
			if t.leadersOnly && len(t.drain) > 0 {
				return &usageError{errors.New("--drain moves replicas, --leaders does not")}
			}
			return c.connected(cmd.Context(), t.run)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&t.execute, "execute", false, "carry the plan out")
	f.BoolVar(&t.leadersOnly, "leaders", false, "only change who leads: copy nothing")
	f.Int32SliceVar(&t.drain, "drain", nil, "move everything off these brokers, and nothing else")
	f.Int32SliceVar(&t.undrain, "undrain", nil, "let these brokers take replicas again")
	f.IntVar(&t.batch, "batch", 20, "how many partitions are moved at a time")
	f.StringVar(&t.throttle, "throttle", "50MiB", "bytes per second that a broker may copy, 0 for no limit")
	f.IntVar(&t.slack, "slack", 10, "how many percent more than the mean a disk may hold before partitions are exchanged")
	return cmd
}

// parseSize reads 10MB, 10MiB, 10485760.
func parseSize(s string) (int64, error) {
	units := []struct {
		name string
		of   int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		if word, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 64)
			if err != nil || n < 0 || n > 1<<62/u.of {
				break
			}
			return n * u.of, nil
		}
	}
	return 0, fmt.Errorf("%q is no size such as 50MiB", s)
}

// picture is a view as the planner takes it.
func (v *clusterView) picture(drain, undrain []int32) balance.Cluster {
	var c balance.Cluster
	for _, b := range v.Brokers {
		c.Brokers = append(c.Brokers, balance.Broker{
			ID: b.ID, Rack: b.Rack, Down: b.Fenced || v.silent[b.ID] != nil,
			Leaving: slices.Contains(drain, b.ID) || v.draining[b.ID] && !slices.Contains(undrain, b.ID),
		})
	}
	for _, p := range v.Partitions {
		_, busy := v.Moving[p.tp]
		// What lacks replicas or a leader is left alone until it is well.
		busy = busy || p.Leader < 0
		c.Partitions = append(c.Partitions, balance.Partition{Topic: p.Topic, Index: p.Index, Replicas: p.Replicas, Bytes: p.Bytes, Busy: busy})
	}
	return c
}

func (t *balanceTask) run(ctx context.Context, cl *kgo.Client, adm *kadm.Client) error {
	v, err := viewCluster(ctx, cl, adm)
	if err != nil {
		return err
	}
	for _, id := range slices.Concat(t.drain, t.undrain) {
		if _, known := v.broker(id); !known {
			return fmt.Errorf("broker %d is not registered", id)
		}
	}
	plan := balance.Make(v.picture(t.drain, t.undrain), balance.Options{RepairOnly: len(t.drain) > 0, LeadersOnly: t.leadersOnly, Slack: t.slack})
	if err := t.print(v, &plan); err != nil {
		return err
	}
	if !t.execute {
		return nil
	}
	if err := t.mark(ctx, adm); err != nil {
		return err
	}
	if err := t.carryOut(ctx, cl, adm, plan.Moves); err != nil {
		return err
	}
	if len(plan.Problems) > 0 {
		return exitStatus(1)
	}
	return nil
}

// drainSetting marks a broker that is being taken out, so that nothing new is
// put on it.
const drainSetting = "gregor.broker.drain"

// mark sets and takes away drainSetting. A cluster that does not know it
// (another Kafka) is drained all the same.
func (t *balanceTask) mark(ctx context.Context, adm *kadm.Client) error {
	for _, list := range [][]int32{t.drain, t.undrain} {
		for _, id := range list {
			op := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: drainSetting}
			if slices.Contains(t.drain, id) {
				op = kadm.AlterConfig{Op: kadm.SetConfig, Name: drainSetting, Value: kadm.StringPtr("true")}
			}
			resp, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{op}, id)
			if err != nil {
				return err
			}
			for _, r := range resp {
				if r.Err != nil {
					fmt.Fprintf(t.c.env.Err, "broker %d cannot be marked (%s): new partitions may still be put on it\n", id, r.Err)
				}
			}
		}
	}
	return nil
}

// print shows the plan: a table, or with --json a document whose partitions
// kafka-reassign-partitions can read.
func (t *balanceTask) print(v *clusterView, plan *balance.Plan) error {
	if t.c.json {
		type row struct {
			Topic     string  `json:"topic"`
			Partition int32   `json:"partition"`
			Replicas  []int32 `json:"replicas"`
			From      []int32 `json:"from"`
			Bytes     int64   `json:"bytes"`
		}
		doc := struct {
			Version    int              `json:"version"`
			Partitions []row            `json:"partitions"`
			Before     []shareMessage   `json:"before"`
			After      []shareMessage   `json:"after"`
			Problems   []problemMessage `json:"problems"`
		}{1, []row{}, nil, nil, []problemMessage{}}
		for i := range plan.Before {
			doc.Before, doc.After = append(doc.Before, shareMessage(plan.Before[i])), append(doc.After, shareMessage(plan.After[i]))
		}
		for _, m := range plan.Moves {
			doc.Partitions = append(doc.Partitions, row{m.Topic, m.Index, m.To, m.From, m.Bytes})
		}
		for _, p := range plan.Problems {
			doc.Problems = append(doc.Problems, problemMessage{p.Topic, p.Index, p.Text})
		}
		return printJSON(t.c.env.Out, doc)
	}
	var rows [][]any
	for i, b := range plan.Before {
		a := plan.After[i]
		rack := ""
		if x, ok := v.broker(b.Broker); ok {
			rack = x.Rack
		}
		rows = append(rows, []any{b.Broker, rack, change(b.Replicas, a.Replicas), change(b.Leaders, a.Leaders), change(sizeText(b.Bytes), sizeText(a.Bytes))})
	}
	if err := t.c.show(nil, []string{"broker", "rack", "replicas", "first", "on disk"}, rows); err != nil {
		return err
	}
	out := t.c.env.Out
	for i, p := range plan.Problems {
		if i == maxUnwell {
			fmt.Fprintf(out, "... and %d more problems\n", len(plan.Problems)-i)
			break
		}
		fmt.Fprintf(out, "%s-%d: %s\n", p.Topic, p.Index, p.Text)
	}
	if len(v.Moving) > 0 {
		fmt.Fprintf(out, "%d partitions are being moved already; they stay as they are\n", len(v.Moving))
	}
	if len(plan.Moves) == 0 {
		fmt.Fprintln(out, "\nnothing is to be done")
		return nil
	}
	copies, bytes := plan.Copies()
	fmt.Fprintf(out, "\n%d partitions change, %d replicas are copied (%s)\n", len(plan.Moves), copies, sizeText(bytes))
	for i, m := range plan.Moves {
		if i == maxUnwell {
			fmt.Fprintf(out, "  ... and %d more (--json shows all)\n", len(plan.Moves)-i)
			break
		}
		fmt.Fprintf(out, "  %s-%d: %s -> %s\n", m.Topic, m.Index, joinIDs(m.From), joinIDs(m.To))
	}
	if !t.execute {
		fmt.Fprintln(out, "\nthis is a plan; --execute carries it out")
	}
	return nil
}

type shareMessage struct {
	Broker   int32 `json:"broker"`
	Replicas int   `json:"replicas"`
	Leaders  int   `json:"leaders"`
	Bytes    int64 `json:"bytes"`
}

type problemMessage struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Text      string `json:"text"`
}

// change shows what becomes of a figure.
func change(before, after any) string {
	if before == after {
		return fmt.Sprint(before)
	}
	return fmt.Sprintf("%v -> %v", before, after)
}

// carryOut moves some partitions at a time, waits for each batch, and makes
// first replicas leaders at the end. Stopped in between it leaves the batch
// that is under way to the cluster.
func (t *balanceTask) carryOut(ctx context.Context, cl *kgo.Client, adm *kadm.Client, moves []balance.Move) error {
	done := 0
	for batch := range slices.Chunk(moves, t.batch) {
		if err := t.moveBatch(ctx, cl, adm, batch); err != nil {
			return fmt.Errorf("%d of %d partitions moved: %w", done, len(moves), err)
		}
		done += len(batch)
		fmt.Fprintf(t.c.env.Err, "%d of %d partitions moved\n", done, len(moves))
	}
	return t.electFirst(ctx, adm, moves)
}

func (t *balanceTask) moveBatch(ctx context.Context, cl *kgo.Client, adm *kadm.Client, batch []balance.Move) error {
	var list []kafka.Reassignment
	var req kadm.AlterPartitionAssignmentsReq
	copies := 0
	for _, m := range batch {
		list = append(list, kafka.Reassignment{Topic: m.Topic, Partition: m.Index, From: m.From, To: m.To})
		req.Assign(m.Topic, m.Index, m.To)
		copies += m.Copies()
	}
	throttled := t.rate > 0 && copies > 0
	if throttled {
		if err := kafka.Throttle(ctx, cl, list, t.rate); err != nil {
			return err
		}
	}
	resp, err := adm.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return err
	}
	var refused []string
	resp.Each(func(r kadm.AlterPartitionAssignmentsResponse) {
		if r.Err != nil {
			refused = append(refused, fmt.Sprintf("%s-%d: %s %s", r.Topic, r.Partition, r.Err, r.ErrMessage))
		}
	})
	if err := t.await(ctx, cl, batch); err != nil {
		if ctx.Err() != nil {
			return errors.New("stopped; the cluster goes on with the batch that is under way (gregor cluster status shows it, kafka-reassign-partitions --verify lifts the throttle)")
		}
		return err
	}
	if throttled {
		if err := kafka.Unthrottle(ctx, cl, list); err != nil {
			return err
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("refused: %s", strings.Join(refused, "; "))
	}
	return nil
}

// await returns when no partition of batch is being moved any more.
func (t *balanceTask) await(ctx context.Context, cl *kgo.Client, batch []balance.Move) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		moving, err := kafka.Reassignments(ctx, cl, func(topic string, i int32) tp { return tp{topic, i} })
		if err != nil {
			return err
		}
		busy := slices.ContainsFunc(batch, func(m balance.Move) bool { _, is := moving[tp{m.Topic, m.Index}]; return is })
		if !busy {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// electFirst makes the first replicas of partitions their leaders.
func (t *balanceTask) electFirst(ctx context.Context, adm *kadm.Client, moves []balance.Move) error {
	if len(moves) == 0 {
		return nil
	}
	set := kadm.TopicsSet{}
	for _, m := range moves {
		set.Add(m.Topic, m.Index)
	}
	results, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
	if err != nil {
		return err
	}
	failed := 0
	for _, ps := range results {
		for _, r := range ps {
			if r.Err != nil && !errors.Is(r.Err, kerr.ElectionNotNeeded) {
				failed++
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d partitions are not led by their first replica; gregor cluster status says why", failed)
	}
	return nil
}
