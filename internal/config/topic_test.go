// SPDX-License-Identifier: Apache-2.0

// Goal: a topic's values resolve as Kafka resolves them, and DescribeConfigs
// tells their history in Kafka's order.
package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestTopicResolution(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "log.roll.hours=2\ncompression.type=zstd\ncompression.zstd.level=7\ngregor.durable=false\nlog.retention.minutes=-1\n", Options{})
	b := s.Broker()
	d := b.TopicDefaults
	if d.SegmentMs != 7200_000 || d.RetentionMs != -1 || d.CompressionType != "zstd" || d.CompressionLevel != 7 || d.Durable {
		t.Errorf("defaults %+v", d)
	}
	own := b.Topic("t", map[string]string{"cleanup.policy": "compact, delete", "segment.ms": "5", "compression.type": "gzip", "gregor.durable": "true", "segment.bytes": "nonsense"})
	if !own.Delete || !own.Compact || own.SegmentMs != 5 || own.CompressionLevel != -1 || !own.Durable || own.SegmentBytes != 1<<30 {
		t.Errorf("own %+v", own)
	}
	if empty := b.Topic("t", map[string]string{"cleanup.policy": ""}); empty.Delete || empty.Compact {
		t.Errorf("an empty policy: %+v", empty)
	}
	if !b.Topic(OffsetsTopic, nil).Durable {
		t.Error("an internal topic is not durable")
	}
	if got := b.Topic("t", map[string]string{"internal.segment.bytes": "100"}).SegmentBytes; got != 100 {
		t.Errorf("internal.segment.bytes gives %d", got)
	}
}

func TestTopicValidation(t *testing.T) {
	t.Parallel()
	b := mustLoad(t, "", Options{}).Broker()
	for _, c := range []struct{ name, value, want string }{
		{"retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"},
		{"retntion.ms", "1", "Unknown topic config name: retntion.ms (did you mean retention.ms?)"},
		{"remote.storage.enable", "true", "not built yet"},
		{"segment.bytes", "10", "at least 1048576"},
		{"leader.replication.throttled.replicas", "1-2", "[partitionId]:[brokerId]"},
		{"min.compaction.lag.ms", "9223372036854775807", ""},
		{"leader.replication.throttled.replicas", "0:1,1:2", ""},
		{"remote.storage.enable", "false", ""},
		{"max.message.bytes", "0", ""},
	} {
		err := b.ValidateTopic(map[string]string{c.name: c.value})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
	if err := b.ValidateTopic(map[string]string{"min.compaction.lag.ms": "9", "max.compaction.lag.ms": "8"}); err == nil {
		t.Error("min above max was accepted")
	}
}

// The expected lines follow what Kafka's own kafka-configs --describe --all
// prints for the same settings.
func TestDescribeTopic(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "log.segment.bytes=2000000\nlog.cleanup.policy=compact\n", Options{})
	s, _ = s.WithDynamic(map[string]string{"log.segment.bytes": "3000000"}, nil)
	got := map[string]string{}
	for _, d := range s.DescribeTopic(map[string]string{"cleanup.policy": "delete", "retention.bytes": "5"}) {
		line := fmt.Sprintf("%s %d", d.Value, d.Source)
		for _, y := range d.Synonyms {
			line += fmt.Sprintf(" %d:%s=%s", y.Source, y.Name, y.Value)
		}
		got[d.Name] = line
	}
	for name, want := range map[string]string{
		"segment.bytes":         "3000000 3 3:log.segment.bytes=3000000 4:log.segment.bytes=2000000 5:log.segment.bytes=1073741824",
		"cleanup.policy":        "delete 1 1:cleanup.policy=delete 4:log.cleanup.policy=compact 5:log.cleanup.policy=delete",
		"retention.bytes":       "5 1 1:retention.bytes=5 5:log.retention.bytes=-1",
		"retention.ms":          "604800000 5",
		"remote.storage.enable": "false 5",
		"min.insync.replicas":   "1 5 5:min.insync.replicas=1",
	} {
		if got[name] != want {
			t.Errorf("%s\n got %s\nwant %s", name, got[name], want)
		}
	}
	if _, shown := got["internal.segment.bytes"]; shown {
		t.Error("an internal config is shown")
	}
}

func TestDescribeBroker(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "log.retention.hours=24\nlistener.name.plaintext.max.connections=5\nplugin.secret=x\n", Options{})
	byName := map[string]Described{}
	for _, d := range s.DescribeBroker() {
		byName[d.Name] = d
	}
	if d := byName["log.retention.hours"]; d.Value != "24" || d.Source != SourceStaticBroker || !d.ReadOnly || d.Type != Int {
		t.Errorf("%+v", d)
	}
	if d := byName["log.retention.ms"]; !d.Null || d.ReadOnly || d.Source != SourceDefault {
		t.Errorf("%+v", d)
	}
	if d := byName["plugin.secret"]; !d.Sensitive || !d.Null || d.Value != "" {
		t.Errorf("an unknown value shows: %+v", d)
	}
	if d := byName["ssl.keystore.password"]; !d.Sensitive || !d.Null {
		t.Errorf("%+v", d)
	}
	if d := byName["listener.name.plaintext.max.connections"]; d.Value != "5" || d.Type != Int || d.ReadOnly {
		t.Errorf("%+v", d)
	}
	if got := s.Broker().Listeners[0].MaxConnections; got != 5 {
		t.Errorf("the listener's own limit is %d", got)
	}
}

func TestDynamicBrokerValidation(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "", Options{})
	for _, c := range []struct {
		own         bool
		name, value string
		want        string
	}{
		{true, "log.cleaner.threads", "2", ""},
		{false, "log.cleaner.threads", "2", ""},
		{true, "num.partitions", "2", "Cannot update these configs dynamically: num.partitions"},
		{false, "listeners", "PLAINTEXT://:1", "Cannot update these configs at default cluster level"},
		{true, "listeners", "PLAINTEXT://:1", "cannot move"},
		{true, "log.segment.bytes", "1", "at least 1048576"},
		{true, "log.cleaner.dedupe.buffer.size", "5", "1 MiB"},
		{true, "plugin.setting", "x", ""},
		{true, "listener.name.plaintext.max.connections", "7", ""},
		{true, "listener.name.plaintext.ssl.keystore.location", "/k", "not built"},
		{false, "gregor.durable", "false", ""},
	} {
		err := s.ValidateBroker(map[string]string{c.name: c.value}, c.own)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s=%s (own %v): %v, want %q", c.name, c.value, c.own, err, c.want)
		}
	}
}

func TestLiveTellsSubscribersOnce(t *testing.T) {
	t.Parallel()
	l := NewLive(mustLoad(t, "", Options{}))
	var seen []string
	l.Subscribe(func(old, now *Broker) {
		seen = append(seen, fmt.Sprintf("%d>%d", old.TopicDefaults.RetentionMs, now.TopicDefaults.RetentionMs))
	})
	change := map[string]string{"log.retention.ms": "5000"}
	l.Apply(change, nil)
	l.Apply(map[string]string{"log.retention.ms": "5000"}, nil)
	l.Apply(nil, nil)
	if got := strings.Join(seen, " "); got != "604800000>5000 5000>604800000" {
		t.Errorf("seen %s", got)
	}
}

func TestGroupAndClientMetricsValidation(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "", Options{})
	if err := s.ValidateGroup(map[string]string{"consumer.session.timeout.ms": "50000"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []map[string]string{
		{"consumer.session.timeout.ms": "1000"}, {"consumer.heartbeat.interval.ms": "1"},
		{"streams.num.standby.replicas": "3"}, {"nonsense": "1"}, {"share.record.lock.duration.ms": "61000"},
	} {
		if err := s.ValidateGroup(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
	if err := ValidateClientMetrics(map[string]string{"metrics": "a.,b.", "interval.ms": "100", "match": "client_id=app-.*"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []map[string]string{
		{"interval.ms": "99"}, {"match": "host=x"}, {"match": "client_id=("}, {"nonsense": "1"}, {"metrics": "a,a"},
	} {
		if err := ValidateClientMetrics(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}
