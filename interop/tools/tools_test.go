// SPDX-License-Identifier: Apache-2.0

//go:build interop

// Package tools runs Kafka's own command line tools and gregor's against one
// broker and wants the same standard output and the same exit status.
//
//	GREGOR=path/to/gregor KAFKA_CLASSPATH='libs/*' BOOTSTRAP=localhost:9092 \
//	go test -tags interop ./interop/tools
package tools

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
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
}

// lines run in order; @ stands for --bootstrap-server and its address. Each
// changes nothing the second time, or ends in the same refusal, since both
// tools run it.
const lines = `
kafka-storage version-mapping
kafka-storage version-mapping -r 3.8
kafka-topics @ --create --topic interop-tools --partitions 3 --if-not-exists --config retention.ms=600000
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
`

func run(t *testing.T, name string, args []string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader("a\t1\nb\t2\nc\t3\n")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if quit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &quit) {
		t.Fatalf("%s: %v\n%s", name, err, complaints.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestSameOutput(t *testing.T) {
	gregor, libs, broker := os.Getenv("GREGOR"), os.Getenv("KAFKA_CLASSPATH"), os.Getenv("BOOTSTRAP")
	if gregor == "" || libs == "" || broker == "" {
		t.Fatal("GREGOR, KAFKA_CLASSPATH and BOOTSTRAP must be set")
	}
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		t.Run(line, func(t *testing.T) {
			words := strings.Fields(strings.ReplaceAll(line, "@", "--bootstrap-server "+broker))
			java := append([]string{"-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", libs, classes[words[0]]}, words[1:]...)
			want, wantStatus := run(t, "java", java)
			got, status := run(t, gregor, words)
			if got != want || status != wantStatus {
				t.Errorf("gregor: status %d\n%s\nKafka: status %d\n%s", status, got, wantStatus, want)
			}
		})
	}
}
