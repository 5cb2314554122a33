//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"testing"
)

// TestMessageCopier: two of Kafka's own transactional message copiers share a
// topic as a group and abort a third of their transactions, while they and the
// brokers are killed with -9. Each message is in the copy once, and the copiers
// end by themselves.
func TestMessageCopier(t *testing.T) {
	n := 4000 * rounds()
	brokers := ownCluster(t, number("INTEROP_NODES", 1))
	if brokers == nil {
		return
	}
	in, out, group := newTopic(t, "in"), newTopic(t, "out"), name(t, "copy")
	clients()[4].run(t, "produce", "topic="+in, fmt.Sprintf("n=%d", n), "idempotent=1", "keyed=1", "size=50")

	var copiers [2]*proc
	restarts := 0
	start := func(k int) {
		argv := append([]string{"java"}, javaFlags...)
		copiers[k] = launch(t, "copier", append(argv, "org.apache.kafka.tools.TransactionalMessageCopier",
			"--broker-list", bootstrap, "--input-topic", in, "--input-partition", "0", "--output-topic", out,
			"--consumer-group", group, "--transactional-id", fmt.Sprintf("%s-%d", group, k), "--transaction-size", "40",
			"--transaction-timeout", "20000", "--enable-random-aborts", "--group-mode", "--use-group-metadata"))
	}
	ended := func(k int) bool {
		for {
			select {
			case _, running := <-copiers[k].lines:
				if running {
					continue
				}
				_ = copiers[k].wait()
				return true
			default:
				return false
			}
		}
	}
	tend := func() {
		for k, p := range copiers {
			if !ended(k) {
				continue
			}
			if p.err != nil {
				t.Logf("copier %d: %v %.300s", k, p.err, p.errs.String())
			}
			restarts++
			start(k)
		}
	}
	kill := func(k int) func() {
		return func() {
			_ = copiers[k].cmd.Process.Kill()
			_ = copiers[k].wait()
			start(k)
		}
	}
	start(0)
	start(1)
	faults := []func(){brokers.kill, kill(0), brokers.kill, kill(1)}
	for range rounds() - 1 {
		faults = append(faults, brokers.kill, kill(0), brokers.kill, kill(1))
	}
	ordeal(t, out, n, tend, faults...)
	eventually(t, "the copiers end", func() (bool, string) { a, b := ended(0), ended(1); return a && b, "" })
	for k, p := range copiers {
		if p.err != nil {
			t.Errorf("copier %d: %v\n%s", k, p.err, p.errs.String())
		}
	}
	wantNumbers(t, out, n)
	t.Logf("%d messages on %d nodes, %d faults, %d restarts", n, len(brokers.nodes), len(faults), restarts)
}
