// SPDX-License-Identifier: Apache-2.0

// Goal: DescribeConfigs tells names, values, sources, synonyms and sensitivity
// as Kafka 4.2 does. Method: testdata holds what Kafka's own kafka-configs
// --describe --all printed for a broker that ran with the file below and a
// topic made with cleanup.policy=compact; ours must print the same lines, and beside
// them only our own properties.
package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

const kafkaFile = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:39193
listeners=PLAINTEXT://localhost:39192,CONTROLLER://localhost:39193
controller.listener.names=CONTROLLER
log.dirs=/tmp/rk/data
offsets.topic.replication.factor=1
log.retention.hours=48
log.segment.bytes=2000000
listener.name.plaintext.max.connections=77
`

var sourceNames = map[int8]string{
	SourceTopic: "DYNAMIC_TOPIC_CONFIG", SourceDynamicBroker: "DYNAMIC_BROKER_CONFIG", SourceDynamicDefault: "DYNAMIC_DEFAULT_BROKER_CONFIG",
	SourceStaticBroker: "STATIC_BROKER_CONFIG", SourceDefault: "DEFAULT_CONFIG",
}

// otherDefaults are those that differ from Kafka's on purpose.
var otherDefaults = map[string]struct{ kafka, gregor string }{
	"broker.heartbeat.interval.ms": {"2000", "400"},
	"broker.session.timeout.ms":    {"9000", "2000"},
}

// printed is the form of kafka-configs.
func printed(all []Described) map[string]string {
	out := map[string]string{}
	for _, d := range all {
		value := d.Value
		if d.Null {
			value = "null"
		}
		var synonyms []string
		for _, s := range d.Synonyms {
			v := s.Value
			if s.Null {
				v = "null"
			}
			synonyms = append(synonyms, sourceNames[s.Source]+":"+s.Name+"="+v)
		}
		out[d.Name] = fmt.Sprintf("%s=%s sensitive=%v synonyms={%s}", d.Name, value, d.Sensitive, strings.Join(synonyms, ", "))
	}
	return out
}

func TestDescribesAsKafkaDoes(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, kafkaFile, Options{})
	// Kafka's storage tool sets it when the feature for eligible leader
	// replicas is on.
	s, _ = s.WithDynamic(map[string]string{"min.insync.replicas": "1"}, nil)
	for _, c := range []struct {
		file string
		ours map[string]string
	}{
		{"kafka-4.2-topic.txt", printed(s.DescribeTopic(map[string]string{"cleanup.policy": "compact"}))},
		{"kafka-4.2-broker.txt", printed(s.DescribeBroker())},
	} {
		data, err := os.ReadFile("testdata/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]string{}
		for line := range strings.Lines(string(data)) {
			name, _, _ := strings.Cut(line, "=")
			theirs[name] = strings.TrimRight(line, "\r\n")
		}
		for _, name := range slices.Sorted(maps.Keys(theirs)) {
			if ours, on := otherDefaults[name]; on {
				theirs[name] = strings.ReplaceAll(theirs[name], "="+ours.kafka, "="+ours.gregor)
			}
			if c.ours[name] != theirs[name] {
				t.Errorf("%s\nKafka %s\nours  %s", c.file, theirs[name], c.ours[name])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(c.ours)) {
			if theirs[name] == "" && !strings.HasPrefix(name, "gregor.") && name != "cordoned.log.dirs" {
				t.Errorf("%s: Kafka does not have %s", c.file, c.ours[name])
			}
		}
	}
}
