//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kafkaTool runs one of Kafka's tools, theirs or ours.
type kafkaTool func(t *testing.T, stdin, name, class string, args ...string) ended

var toolMakers = map[string]kafkaTool{
	"kafka": func(t *testing.T, stdin, _, class string, args ...string) ended {
		return javaTool(t, stdin, class, args...)
	},
	"gregor": func(t *testing.T, stdin, name, _ string, args ...string) ended {
		return tool(t, stdin, cache("gregor"), append([]string{name}, args...)...)
	},
}

// eachPair runs a test for both makers' producers with both makers' consumers.
func eachPair(t *testing.T, test func(t *testing.T, topic string, produce, consume kafkaTool)) {
	for _, p := range []string{"gregor", "kafka"} {
		for _, c := range []string{"gregor", "kafka"} {
			t.Run(p+"-to-"+c, func(t *testing.T) {
				t.Parallel()
				test(t, newTopic(t, ""), toolMakers[p], toolMakers[c])
			})
		}
	}
}

// TestConsoleTools: lines with keys and headers pass from console to console.
func TestConsoleTools(t *testing.T) {
	eachPair(t, func(t *testing.T, topic string, produce, consume kafkaTool) {
		var in, want []string
		for i := range 100 {
			in = append(in, fmt.Sprintf("h:v%d,x:\tkey-%d\tvalue number %d é", i, i%7, i))
			want = append(want, fmt.Sprintf("h:v%d,x:\tkey-%d\tvalue number %d é", i, i%7, i))
		}
		produce(t, strings.Join(in, "\n")+"\n", "kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer",
			"--bootstrap-server", bootstrap, "--topic", topic, "--compression-codec", "lz4",
			"--reader-property", "parse.key=true", "--reader-property", "parse.headers=true").good(t)
		e := consume(t, "", "kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer",
			"--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning", "--max-messages", "100",
			"--formatter-property", "print.key=true", "--formatter-property", "print.headers=true").good(t)
		got := strings.Split(strings.TrimSuffix(e.out, "\n"), "\n")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("read %d lines:\n%.1000s\nwant\n%.1000s", len(got), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// event is a line of the verifiable tools.
type event struct {
	Name        string
	Value       string
	Sent, Acked int
	Partition   int
	Offset      int
	Count       int
	Success     bool
}

func events(t *testing.T, e ended) (all []event) {
	t.Helper()
	for l := range strings.SplitSeq(strings.TrimSpace(e.out), "\n") {
		var v event
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		all = append(all, v)
	}
	return all
}

// TestVerifiableTools: each number is acknowledged and consumed exactly once,
// at the same place.
func TestVerifiableTools(t *testing.T) {
	if nodes := number("INTEROP_NODES", 1); nodes > 1 {
		ownCluster(t, nodes) // in peace: Kafka's tool never sends again what failed
	}
	eachPair(t, func(t *testing.T, topic string, produce, consume kafkaTool) {
		const n = 1000
		acked, seen := map[string]string{}, map[string]string{}
		total := 0
		for _, v := range events(t, produce(t, "", "kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer",
			"--bootstrap-server", bootstrap, "--topic", topic, "--max-messages", fmt.Sprint(n)).good(t)) {
			switch v.Name {
			case "producer_send_success":
				acked[v.Value] = fmt.Sprintf("%d:%d", v.Partition, v.Offset)
			case "tool_data":
				if v.Sent != n || v.Acked != n {
					t.Errorf("sent %d, acknowledged %d of %d", v.Sent, v.Acked, n)
				}
			}
		}
		for _, v := range events(t, consume(t, "", "kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer",
			"--bootstrap-server", bootstrap, "--topic", topic, "--group-id", topic, "--reset-policy", "earliest",
			"--max-messages", fmt.Sprint(n), "--verbose").good(t)) {
			switch v.Name {
			case "record_data":
				if was, twice := seen[v.Value]; twice {
					t.Errorf("%s twice: %s and %d:%d", v.Value, was, v.Partition, v.Offset)
				}
				seen[v.Value] = fmt.Sprintf("%d:%d", v.Partition, v.Offset)
			case "records_consumed":
				total += v.Count
			case "offsets_committed":
				if !v.Success {
					t.Errorf("a commit failed: %+v", v)
				}
			}
		}
		if total != n || len(seen) != n || len(acked) != n {
			t.Errorf("acknowledged %d, consumed %d, counted %d of %d", len(acked), len(seen), total, n)
		}
		for value, at := range acked {
			if seen[value] != at {
				t.Errorf("%s was acknowledged at %s and seen at %s", value, at, seen[value])
			}
		}
	})
}

// TestPerfTools: the perf tools run to their end and count right.
func TestPerfTools(t *testing.T) {
	eachPair(t, func(t *testing.T, topic string, produce, consume kafkaTool) {
		e := produce(t, "", "kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance",
			"--topic", topic, "--num-records", "20000", "--record-size", "200", "--throughput", "-1",
			"--bootstrap-server", bootstrap).good(t)
		if !regexp.MustCompile(`(?m)^20000 records sent, [\d.]+ records/sec \([\d.]+ MB/sec\), [\d.]+ ms avg latency, .* 99\.9th\.$`).MatchString(e.out) {
			t.Errorf("kafka-producer-perf-test said\n%s", e.out)
		}
		e = consume(t, "", "kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance",
			"--bootstrap-server", bootstrap, "--topic", topic, "--num-records", "20000", "--timeout", "30000").good(t)
		lines := strings.Split(strings.TrimSpace(e.out), "\n")
		if f := strings.Split(lines[len(lines)-1], ", "); len(f) < 5 || f[4] != "20000" {
			t.Errorf("kafka-consumer-perf-test said\n%s", e.out)
		}
		e = produce(t, "", "kafka-e2e-latency", "org.apache.kafka.tools.EndToEndLatency",
			"--bootstrap-server", bootstrap, "--topic", topic+"-e2e", "--num-records", "50", "--producer-acks", "all", "--record-size", "100").good(t)
		if !strings.Contains(e.out, "Avg latency: ") || !strings.Contains(e.out, "Percentiles: 50th = ") {
			t.Errorf("kafka-e2e-latency said\n%s", e.out)
		}
	})
}
