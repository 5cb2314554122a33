// SPDX-License-Identifier: Apache-2.0

// Goal: the series that dashboards look for are there, under the right names
// and with the right labels and values, and counting costs no allocation.
// Method: a node's life is told to a Metrics, a registry gathers, and lines of
// the text form are compared.
package metrics

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/wire"
)

// text gathers a registry as a scrape would see it.
func text(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func busy(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	m := New()
	reg.MustRegister(m)
	img, _, err := meta.Empty().With([]meta.Record{
		meta.BrokerRecord{Broker: meta.Broker{ID: 1, Endpoints: []meta.Endpoint{{Listener: "PLAINTEXT", Host: "box", Port: 9092}}}},
		meta.BrokerRecord{Broker: meta.Broker{ID: 2, Fenced: true}},
		meta.TopicRecord{Name: "t", ID: meta.UUID{1}},
		meta.PartitionRecord{Topic: meta.UUID{1}, Index: 0, Partition: meta.Partition{Replicas: []int32{1, 2}, Dirs: make([]meta.UUID, 2), ISR: []int32{1}, Leader: 1}},
		meta.PartitionRecord{Topic: meta.UUID{1}, Index: 1, Partition: meta.Partition{Replicas: []int32{2}, Dirs: make([]meta.UUID, 1), ISR: []int32{2}, Leader: meta.NoLeader}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Observe(Sources{
		Node: 1, Image: func() *meta.Image { return img },
		ActiveController: func() bool { return true },
		State:            func() int { return 3 },
		Hosted: func(yield func(Hosted) bool) {
			yield(Hosted{Topic: "t", Partition: 0, Leads: true, LogStart: 5, LogEnd: 120, HighWatermark: 110, Bytes: 4096, Segments: 3, UnderReplicated: true, AtMin: true, WaitingFetch: 3})
			yield(Hosted{Topic: "t", Partition: 1, LogStart: -1, LogEnd: -1, HighWatermark: -1, Bytes: -1, Offline: true})
			yield(Hosted{Topic: "t", Partition: 2, LogStart: 0, LogEnd: 7, HighWatermark: 7, Bytes: 1, Follows: true, Lag: 12, FetchFails: true})
		},
		Groups: func(context.Context) []Group {
			return []Group{{ID: "g", State: "Stable", Members: 2, Offsets: []GroupOffset{{"t", 0, 100}, {"t", 1, 7}}}}
		},
		Txns: func() Txns { return Txns{Homeless: 4, Untold: 5, LoadMax: 6, LoadAvg: 7} },
		Quorum: func() Quorum {
			return Quorum{State: "leader", Leader: 1, Vote: 1, Epoch: 4, HighWatermark: 9, LogEnd: 10, Voters: 3, Changing: true, Measures: RaftMeasures{CommitAvg: 2.5, Idle: 0.75}}
		},
		Sessions:       func() (int, int, int64) { return 1, 2, 3 },
		BufferedBytes:  func() int64 { return 7 },
		PartitionLimit: func() int { return 100 },
	})
	m.Produced("t", 1000, 10)
	m.Produced("u", 1, 1)
	m.Fetched("t", 500)
	m.Replicated("t", 300)
	m.Followed(200)
	m.ProduceFailed("t")
	m.FetchFailed("t")
	m.ConnOpened("PLAINTEXT")
	m.ConnOpened("PLAINTEXT")
	m.ConnClosed("PLAINTEXT")
	m.DiskFull("/d", true)
	m.DirFailed("/e")
	m.Corruptions.Add(1)
	m.Errors(int16(kmsg.CreateTopics), 36, 2)
	m.Flushed(3 * time.Millisecond)
	m.UncleanElections.Add(1)
	m.Request(&wire.Timing{Key: int16(kmsg.Produce), Version: 9, Local: 2 * time.Millisecond, Remote: 8 * time.Millisecond, In: 1100, Out: 60})
	m.Request(&wire.Timing{Key: int16(kmsg.Fetch), Version: 13, Local: time.Millisecond, In: 90, Out: 600})
	return m, reg
}

func TestNamesAndValues(t *testing.T) {
	t.Parallel()
	_, reg := busy(t)
	page := text(t, reg)
	lines := strings.Split(page, "\n")
	for _, want := range []string{
		"kafka_server_brokertopicmetrics_messagesin_total 11",
		`kafka_network_requestmetrics_errors_total{error="TOPIC_ALREADY_EXISTS",request="CreateTopics"} 2`,
		`kafka_log_log_numlogsegments{partition="0",topic="t"} 3`,
		"kafka_log_logflushstats_logflushrateandtimems_count 1",
		"kafka_controller_controllerstats_uncleanleaderelections_total 1",
		"kafka_controller_kafkacontroller_lastcommittedrecordoffset 9",
		`kafka_server_brokertopicmetrics_messagesin_total{topic="t"} 10`,
		`kafka_server_brokertopicmetrics_bytesin_total{topic="t"} 1000`,
		`kafka_server_brokertopicmetrics_bytesout_total{topic="t"} 500`,
		`kafka_server_brokertopicmetrics_totalproducerequests_total{topic="t"} 2`,
		`kafka_server_brokertopicmetrics_failedproducerequests_total{topic="t"} 1`,
		`kafka_server_brokertopicmetrics_failedfetchrequests_total{topic="t"} 1`,
		"kafka_server_replicamanager_leadercount 1",
		"kafka_server_replicamanager_partitioncount 3",
		"kafka_server_replicamanager_underreplicatedpartitions 1",
		"kafka_server_replicamanager_underminisrpartitioncount 0",
		"kafka_server_replicamanager_atminisrpartitioncount 1",
		"kafka_server_replicamanager_offlinereplicacount 1",
		`kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation="Fetch"} 3`,
		"kafka_server_kafkaserver_brokerstate 3",
		"kafka_controller_kafkacontroller_activecontrollercount 1",
		"kafka_controller_kafkacontroller_offlinepartitionscount 1",
		"kafka_controller_kafkacontroller_globaltopiccount 1",
		"kafka_controller_kafkacontroller_globalpartitioncount 2",
		"kafka_controller_kafkacontroller_activebrokercount 1",
		"kafka_controller_kafkacontroller_fencedbrokercount 1",
		"kafka_controller_kafkacontroller_preferredreplicaimbalancecount 1",
		`kafka_network_requestmetrics_requests_total{request="Produce",version="9"} 1`,
		`kafka_network_requestmetrics_requests_total{request="FetchConsumer",version="13"} 1`,
		`kafka_network_requestmetrics_totaltimems_count{request="Produce"} 1`,
		`kafka_network_requestmetrics_totaltimems_sum{request="Produce"} 10`,
		`kafka_network_requestmetrics_requestqueuetimems{quantile="0.99",request="Produce"} 0`,
		`kafka_server_socket_server_metrics_connection_count{listener="PLAINTEXT",networkProcessor="0"} 1`,
		`kafka_log_log_size{partition="0",topic="t"} 4096`,
		`kafka_log_log_logendoffset{partition="0",topic="t"} 120`,
		"kafka_log_logmanager_offlinelogdirectorycount 1",
		`kafka_cluster_partition_atminisr{partition="0",topic="t"} 1`,
		`kafka_server_raftmetrics_current_state{current_state="leader"} 1`,
		"kafka_server_raftmetrics_current_epoch 4",
		"kafka_server_raftmetrics_number_of_voters 3",
		"kafka_server_raftmetrics_uncommitted_voter_change 1",
		"kafka_server_raftmetrics_commit_latency_avg 2.5",
		"kafka_server_raftmetrics_poll_idle_ratio_avg 0.75",
		"kafka_coordinator_group_groupmetadatamanager_numgroups 1",
		"kafka_coordinator_group_groupmetadatamanager_numgroupsstable 1",
		"kafka_brokers 1",
		`kafka_broker_info{address="box:9092",id="1"} 1`,
		`kafka_topic_partitions{topic="t"} 2`,
		`kafka_topic_partition_current_offset{partition="0",topic="t"} 110`,
		`kafka_topic_partition_oldest_offset{partition="0",topic="t"} 5`,
		`kafka_topic_partition_leader{partition="1",topic="t"} -1`,
		`kafka_topic_partition_under_replicated_partition{partition="0",topic="t"} 1`,
		`kafka_consumergroup_current_offset{consumergroup="g",partition="0",topic="t"} 100`,
		`kafka_consumergroup_lag{consumergroup="g",partition="0",topic="t"} 10`,
		`kafka_consumergroup_lag_sum{consumergroup="g",topic="t"} 10`,
		`kafka_consumergroup_current_offset_sum{consumergroup="g",topic="t"} 107`,
		`kafka_consumergroup_members{consumergroup="g"} 2`,
		"gregor_storage_corruptions_total 1",
		`gregor_storage_disk_full{dir="/d"} 1`,
		"gregor_metrics_partitions_left_out 0",
		"kafka_server_brokertopicmetrics_replicationbytesin_total 200",
		"kafka_server_brokertopicmetrics_replicationbytesout_total 300",
		`kafka_server_replicafetchermanager_maxlag{clientId="Replica"} 12`,
		`kafka_server_replicafetchermanager_failedpartitionscount{clientId="Replica"} 1`,
		`kafka_server_fetcherlagmetrics_consumerlag{clientId="Replica",partition="2",topic="t"} 12`,
	} {
		if !slices.Contains(lines, want) {
			name, _, _ := strings.Cut(strings.Fields(want)[0], "{")
			t.Errorf("missing %s\nhave: %q", want, regexp.MustCompile("(?m)^"+name+"[{ ].*$").FindAllString(page, -1))
		}
	}
	for _, no := range []string{`kafka_log_log_size{partition="1"`, `kafka_consumergroup_lag{consumergroup="g",partition="1"`, "invalid"} {
		if strings.Contains(page, no) {
			t.Errorf("%s should not be there", no)
		}
	}
}

// Every family of the catalogue is sent by a node that has everything, and
// nothing is sent that the catalogue, and so the reference page, does not have.
func TestCatalogueIsTheTruth(t *testing.T) {
	t.Parallel()
	_, reg := busy(t)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	for _, f := range families {
		sent[f.GetName()] = true
		i := slices.IndexFunc(catalogue, func(r row) bool { return r.name == f.GetName() })
		if i < 0 {
			t.Errorf("%s is not in the catalogue", f.GetName())
			continue
		}
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				if !slices.Contains(catalogue[i].labels, l.GetName()) && !slices.Contains(catalogue[i].labels, "["+l.GetName()+"]") {
					t.Errorf("%s has label %s, which the catalogue does not tell", f.GetName(), l.GetName())
				}
			}
		}
	}
	for _, r := range catalogue {
		if !sent[r.name] {
			t.Errorf("%s is never sent", r.name)
		}
		if !regexp.MustCompile(`^[a-z_]+$`).MatchString(r.name) {
			t.Errorf("%s is no name", r.name)
		}
	}
}

func TestPartitionsAreBounded(t *testing.T) {
	t.Parallel()
	m, reg := busy(t)
	s := *m.sources.Load()
	s.PartitionLimit = func() int { return 10 }
	s.Hosted = func(yield func(Hosted) bool) {
		for i := range int32(1000) {
			yield(Hosted{Topic: "t", Partition: i, Leads: true, HighWatermark: 1})
		}
	}
	m.Observe(s)
	page := text(t, reg)
	if n := strings.Count(page, "kafka_log_log_size{"); n != 10 {
		t.Errorf("%d partitions have series of their own", n)
	}
	for _, want := range []string{"gregor_metrics_partitions_left_out 990\n", "kafka_server_replicamanager_leadercount 1000\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("missing %s", want)
		}
	}
}

func TestTopicsAreBoundedAndForgotten(t *testing.T) {
	t.Parallel()
	m, _ := busy(t)
	for i := range maxTopics + 10 {
		m.Produced(fmt.Sprint("many", i), 1, 1)
	}
	if n := len(*m.topics.Load()); n != maxTopics {
		t.Errorf("%d topics are kept", n)
	}
	if got := m.all.records.Load(); got != int64(11+maxTopics+10) {
		t.Errorf("the sum misses records: %d", got)
	}
	m.Forget("t")
	if _, ok := (*m.topics.Load())["t"]; ok {
		t.Error("a deleted topic is kept")
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newTimings()
		for i := 1; i <= 1000; i++ {
			q.add(time.Duration(i) * time.Millisecond)
		}
		got := make([]float64, len(shares))
		near := func(when string, want ...float64) {
			t.Helper()
			q.quantiles(time.Now(), shares, got)
			for i := range want {
				if got[i] < want[i]*0.94 || got[i] > want[i]*1.06 {
					t.Errorf("%s: quantile %v is %v ms, want about %v", when, shares[i], got[i], want[i])
				}
			}
		}
		near("at first", 500, 750, 950, 980, 990, 999)
		time.Sleep(6 * time.Minute)
		near("after six minutes", 500)
		q.add(5 * time.Millisecond)
		near("before the older generation goes", 500)
		time.Sleep(6 * time.Minute)
		near("the turn", 500)
		near("the older generation has gone", 5, 5, 5, 5, 5, 5)
		time.Sleep(12 * time.Minute)
		near("turn again", 5)
		time.Sleep(12 * time.Minute)
		q.quantiles(time.Now(), shares, got)
		q.quantiles(time.Now(), shares, got)
		if got[0] != 0 {
			t.Errorf("long idle: %v", got)
		}
	})
}

func TestNamesOfRequests(t *testing.T) {
	t.Parallel()
	for key, want := range map[kmsg.Key]string{
		kmsg.InitProducerID: "InitProducerId", kmsg.SASLHandshake: "SaslHandshake", kmsg.DescribeACLs: "DescribeAcls",
		kmsg.AlterPartitionAssignments: "AlterPartitionReassignments", kmsg.ApiVersions: "ApiVersions", 127: "127",
	} {
		if got := keyName(int16(key)); got != want {
			t.Errorf("%d: %s, want %s", key, got, want)
		}
	}
}

func TestBucketsGrow(t *testing.T) {
	t.Parallel()
	last := -1
	for _, us := range []uint64{0, 1, 15, 16, 17, 31, 32, 33, 34, 63, 64, 1000, 1e6, 1e9, 1 << 40, 1 << 63} {
		b := bucketOf(us)
		if b < last || b >= nBuckets {
			t.Errorf("%d us is in bucket %d, after %d", us, b, last)
		}
		last = b
		if us > 0 && us <= 1e9 {
			if m := middle(b) * 1000; m < float64(us)*0.93 || m > float64(us)*1.07 {
				t.Errorf("%d us reads as %v", us, m)
			}
		}
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m, _ := busy(t)
	timing := &wire.Timing{Key: int16(kmsg.Produce), Version: 9, Local: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() {
		m.Request(timing)
		m.Produced("t", 100, 1)
		m.Fetched("t", 100)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := New()
	timing := &wire.Timing{Key: int16(kmsg.Produce), Version: 9, Local: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		m.Request(timing)
		m.Produced("t", 100, 1)
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := PrintReference(&b); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.ReplaceAll(have, []byte("\r\n"), []byte("\n")), b.Bytes()) {
		t.Error("docs/reference/metrics.md is not current: go generate ./internal/node/metrics")
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 0)
	r := rate{at: at}
	for _, c := range []struct {
		after time.Duration
		count int64
		want  float64
	}{{10 * time.Second, 20, 2}, {40 * time.Second, 40, 1}, {50 * time.Second, 1000, 1}, {80 * time.Second, 1040, 25}} {
		if got := r.read(at.Add(c.after), c.count); got != c.want {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
}
