// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"gregor/internal/cli/kafka"
)

func newPerf(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := parent("perf", "measure producing, consuming and latency")
	cmd.PersistentFlags().StringVarP(&c.brokers, "brokers", "b", "localhost:9092", "brokers to connect to")
	run := func(ctx context.Context, tool string, args ...string) error {
		t, _ := kafka.Find(tool)
		if status := t.Exec(ctx, e.kafka(), args); status != 0 {
			return exitStatus(status)
		}
		return nil
	}
	var records, size, rate int64
	count := func(c *cobra.Command, n int64) *cobra.Command {
		c.Flags().Int64VarP(&records, "records", "n", n, "how many records")
		c.Args, c.ValidArgsFunction = cobra.ExactArgs(1), nil
		return c
	}
	produce := count(&cobra.Command{
		Use: "produce TOPIC", Short: "how fast can records be produced?", Example: "  gregor perf produce bench -n 1000000 --size 1024",
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), "kafka-producer-perf-test", "--bootstrap-server", c.brokers, "--topic", args[0],
				"--num-records", fmt.Sprint(records), "--record-size", fmt.Sprint(size), "--throughput", fmt.Sprint(rate), "--reporting-interval", "1000")
		},
	}, 1_000_000)
	produce.Flags().Int64Var(&size, "size", 1024, "bytes of each record")
	produce.Flags().Int64Var(&rate, "rate", -1, "records a second; -1 for as many as go")
	consume := count(&cobra.Command{
		Use: "consume TOPIC", Short: "how fast can records be consumed?", Example: "  gregor perf consume bench -n 1000000",
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), "kafka-consumer-perf-test", "--bootstrap-server", c.brokers, "--topic", args[0], "--num-records", fmt.Sprint(records))
		},
	}, 1_000_000)
	latency := count(&cobra.Command{
		Use: "latency TOPIC", Short: "how long from sending to receiving?", Example: "  gregor perf latency bench -n 10000",
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), "kafka-e2e-latency", "--bootstrap-server", c.brokers, "--topic", args[0], "--num-records", fmt.Sprint(records), "--producer-acks", "all", "--record-size", "100")
		},
	}, 10_000)
	cmd.AddCommand(produce, consume, latency)
	return cmd
}
