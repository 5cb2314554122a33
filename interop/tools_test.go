//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var classes = map[string]string{
	"kafka-topics":              "org.apache.kafka.tools.TopicCommand",
	"kafka-console-producer":    "org.apache.kafka.tools.ConsoleProducer",
	"kafka-console-consumer":    "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-consumer-groups":     "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
	"kafka-configs":             "kafka.admin.ConfigCommand",
	"kafka-get-offsets":         "org.apache.kafka.tools.GetOffsetShell",
	"kafka-log-dirs":            "org.apache.kafka.tools.LogDirsCommand",
	"kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
	"kafka-cluster":             "org.apache.kafka.tools.ClusterTool",
	"kafka-client-metrics":      "org.apache.kafka.tools.ClientMetricsCommand",
	"kafka-storage":             "kafka.tools.StorageTool",
	"kafka-features":            "org.apache.kafka.tools.FeatureCommand",
	"kafka-delete-records":      "org.apache.kafka.tools.DeleteRecordsCommand",
}

// lines run in order; @ stands for --bootstrap-server and its address, % for a
// word of the tool's own, $deletions for a file of offsets. Otherwise each line changes nothing the second time,
// or ends in the same refusal, since both tools run it.
const lines = `
kafka-storage version-mapping
kafka-storage version-mapping -r 3.8
kafka-topics @ --create --topic interop-tools --partitions 3 --if-not-exists --config retention.ms=600000
kafka-topics @ --create --topic interop-% --partitions 2
kafka-console-producer @ --topic interop-tools --reader-property parse.key=true
kafka-topics @ --create --topic interop-tools
kafka-topics @ --create --topic interop-bad --config foo=bar
kafka-topics @ --create --topic interop-bad --partitions 0
kafka-topics @ --list
kafka-topics @ --describe
kafka-topics @ --describe --topic nope
kafka-topics @ --describe --topic interop.* --topics-with-overrides
kafka-topics @ --alter --topic interop-tools --partitions 1
kafka-topics @ --delete --topic nope --if-exists
kafka-console-consumer @ --topic interop-tools --partition 0 --offset earliest --timeout-ms 2000 --formatter-property print.key=true --formatter-property print.offset=true
kafka-console-consumer @ --topic interop-tools --from-beginning --group interop-group --timeout-ms 5000 --formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter
kafka-consumer-groups @ --list
kafka-consumer-groups @ --describe --group interop-group
kafka-consumer-groups @ --describe --group interop-group --state --verbose
kafka-consumer-groups @ --describe --group interop-group --members
kafka-consumer-groups @ --describe --group nope
kafka-consumer-groups @ --reset-offsets --group interop-group --all-topics --to-earliest --dry-run
kafka-consumer-groups @ --reset-offsets --group interop-group --all-topics --shift-by -1 --export
kafka-consumer-groups @ --reset-offsets --group interop-group --topic interop-tools --to-latest --execute
kafka-consumer-groups @ --delete --group nope
kafka-consumer-groups @ --delete-offsets --group interop-group --topic nope
kafka-configs @ --describe --topic interop-tools
kafka-configs @ --describe --topic interop-tools --all
kafka-configs @ --alter --topic interop-tools --add-config cleanup.policy=[delete,compact]
kafka-configs @ --alter --topic interop-tools --delete-config nope
kafka-configs @ --describe --entity-type topics
kafka-configs @ --describe --entity-type brokers
kafka-configs @ --describe --topic nope
kafka-get-offsets @
kafka-get-offsets @ --topic interop-tools --time earliest
kafka-get-offsets @ --topic-partitions interop-tools:1-
kafka-get-offsets @ --topic nope
kafka-log-dirs @ --describe --topic-list interop-tools
kafka-log-dirs @ --describe --broker-list 99
kafka-broker-api-versions @
kafka-cluster cluster-id @
kafka-cluster list-endpoints @
kafka-cluster cluster-id
kafka-client-metrics @ --alter --name interop --interval 5000
kafka-client-metrics @ --describe --name interop
kafka-client-metrics @ --list
kafka-features @ describe
kafka-features version-mapping
kafka-features feature-dependencies --feature transaction.version=2
kafka-features @ upgrade --feature nope=1
kafka-configs @ --alter --entity-type brokers --entity-name 1 --add-config log.cleaner.threads=2
kafka-configs @ --describe --entity-type brokers --entity-name 1
kafka-configs @ --alter --entity-type brokers --entity-name 1 --delete-config background.threads
kafka-configs @ --alter --entity-type brokers --entity-name 1 --add-config log.cleaner.threads=many
kafka-delete-records @ --offset-json-file $deletions
kafka-get-offsets @ --topic interop-tools --time -2
kafka-topics @ --alter --topic interop-% --partitions 4
kafka-topics @ --describe --topic interop-tools --topic-id nope
kafka-topics @ --delete --topic interop-%
kafka-consumer-groups @ --describe --all-groups --offsets
`

// ended is what a command left.
type ended struct {
	out, errs string
	status    int
}

// javaTool runs a main class of Kafka's.
func javaTool(t *testing.T, stdin, class string, args ...string) ended {
	t.Helper()
	return tool(t, stdin, "java", append(append(slices.Clone(javaFlags), class), args...)...)
}

// tool runs a command to its end.
func tool(t *testing.T, stdin, name string, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if quit := (*exec.ExitError)(nil); ctx.Err() != nil || err != nil && !errors.As(err, &quit) {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.String(), complaints.String())
	}
	return ended{out.String(), complaints.String(), cmd.ProcessState.ExitCode()}
}

// good fails the test if the command failed.
func (e ended) good(t *testing.T) ended {
	t.Helper()
	if e.status != 0 {
		t.Fatalf("status %d\n%s%s", e.status, e.out, e.errs)
	}
	return e
}

// TestTools: Kafka's tool and ours say the same and end with the same status,
// line after line against a broker of their own.
func TestTools(t *testing.T) {
	broker := bootstrap
	if os.Getenv("BOOTSTRAP") == "" {
		s := startGregor()
		t.Cleanup(func() { s.stop(); s.remove() })
		broker = s.addr
	}
	// Made beforehand: the tool that makes it says so, the second does not.
	tool(t, "", cache("gregor"), "kafka-topics", "--bootstrap-server", broker, "--create", "--topic", "interop-tools",
		"--partitions", "3", "--config", "retention.ms=600000").good(t)
	deletions := filepath.Join(t.TempDir(), "deletions.json")
	if err := os.WriteFile(deletions, []byte(`{"version":1,"partitions":[{"topic":"interop-tools","partition":0,"offset":-1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		t.Run(line, func(t *testing.T) {
			words := func(own string) []string {
				return strings.Fields(strings.NewReplacer("@", "--bootstrap-server "+broker, "%", own, "$deletions", deletions).Replace(line))
			}
			const in = "a\t1\nb\t2\nc\t3\n"
			args := words("kafka")
			want := javaTool(t, in, classes[args[0]], args[1:]...)
			got := tool(t, in, cache("gregor"), words("gregor")...)
			if strings.Contains(line, "%") {
				want.out = strings.ReplaceAll(want.out, "interop-kafka", "interop-gregor")
			}
			if got.out != want.out || got.status != want.status {
				t.Errorf("gregor: status %d\n%s%s\nKafka: status %d\n%s%s", got.status, got.out, got.errs, want.status, want.out, want.errs)
			}
		})
	}
}
