// SPDX-License-Identifier: Apache-2.0

// Goal: what is asked over HTTP is what the node is doing, and settings that
// clients change take effect. Method: a real node in memory, franz-go and
// net/http.
package node

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/vfs"
)

func get(t *testing.T, n *Node, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + n.HTTPAddr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %s %s", path, resp.Status, body)
	}
	return string(body)
}

func TestMetricsTellOfLag(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	n := start(t, vfs.NewMem(), "/data", "gregor.http.listener=127.0.0.1:0")
	defer stop(t, n)
	if got := get(t, n, "/health/ready"); got != "ok\n" {
		t.Errorf("ready says %q", got)
	}
	c := client(t, n, kgo.DefaultProduceTopic("t"))
	admin := kadm.NewClient(c)
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := c.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "t", Partition: 0, At: 4})
	if err := admin.CommitAllOffsets(ctx, "g", offsets); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteTopics(ctx, "nothing"); err != nil {
		t.Fatal(err)
	}
	page := get(t, n, "/metrics")
	for _, want := range []string{
		`kafka_consumergroup_lag{consumergroup="g",partition="0",topic="t"} 6`,
		`kafka_topic_partition_current_offset{partition="0",topic="t"} 10`,
		`kafka_server_brokertopicmetrics_messagesin_total{topic="t"} 10`,
		`kafka_network_requestmetrics_requests_total{request="CreateTopics",`,
		`kafka_network_requestmetrics_errors_total{error="UNKNOWN_TOPIC_OR_PARTITION",request="DeleteTopics"} 1`,
		`kafka_log_log_numlogsegments{partition="0",topic="t"} 1`,
		`kafka_log_logflushstats_logflushrateandtimems_count `,
		`kafka_server_socket_server_metrics_connection_creation_rate{listener="PLAINTEXT",networkProcessor="0"} `,
		`kafka_controller_controllerstats_uncleanleaderelections_total 0`,
		`kafka_server_raftmetrics_current_state{current_state="leader"} 1`,
		"kafka_server_kafkaserver_brokerstate 3",
		"kafka_controller_kafkacontroller_activecontrollercount 1",
		"go_goroutines ",
	} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("missing %s", want)
		}
	}
	if _, err := admin.DeleteTopics(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	if page := get(t, n, "/metrics"); strings.Contains(page, `messagesin_total{topic="t"}`) {
		t.Error("a deleted topic is still counted")
	}
}

func TestSettingsThatClientsChange(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	fs := vfs.NewMem()
	n := start(t, fs, "/data")
	admin := kadm.NewClient(client(t, n))
	value := func(v string) *string { return &v }
	altered, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.retention.ms", Value: value("5000")}})
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	altered, err = admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "num.partitions", Value: value("2")}}, 1)
	if err != nil || altered[0].Err == nil {
		t.Errorf("a setting that needs a restart was changed: %v", err)
	}
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	retention := func() string {
		t.Helper()
		described, err := admin.DescribeTopicConfigs(ctx, "t")
		if err != nil || described[0].Err != nil {
			t.Fatal(err, described)
		}
		for _, c := range described[0].Configs {
			if c.Key == "retention.ms" {
				return *c.Value + " " + c.Source.String()
			}
		}
		return ""
	}
	if got := retention(); got != "5000 DYNAMIC_DEFAULT_BROKER_CONFIG" {
		t.Error(got)
	}
	stop(t, n)
	n = start(t, fs, "/data")
	defer stop(t, n)
	admin = kadm.NewClient(client(t, n))
	if got := retention(); got != "5000 DYNAMIC_DEFAULT_BROKER_CONFIG" {
		t.Errorf("after a restart: %s", got)
	}
	if got := n.live.Broker().TopicDefaults.RetentionMs; got != 5000 {
		t.Errorf("the setting in force is %d", got)
	}
}
