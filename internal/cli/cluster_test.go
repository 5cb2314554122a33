// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta/balance"
)

// sick is a cluster of three brokers of which 3 is down, with one partition
// for each thing that can be wrong.
func sick() *clusterView {
	at := func(topic string) tp { return tp{topic, 0} }
	v := &clusterView{
		ID: "c", Controller: 1, Voters: []int32{1, 2}, Late: []int32{2},
		Brokers: []brokerView{{1, "h:1", "a", false}, {2, "h:2", "b", false}, {3, "h:3", "c", true}},
		Moving:  map[tp]kmsg.ListPartitionReassignmentsResponseTopicPartition{at("grows"): {AddingReplicas: []int32{2}}},
		logs: map[tp]map[int32]logView{
			at("well"): {1: {100, 0}, 2: {100, 0}}, at("lags"): {1: {5000, 0}, 2: {4000, 17}}, at("grows"): {1: {3 << 20, 0}, 2: {1 << 20, 0}},
		},
	}
	p := func(topic string, leader int32, replicas, isr []int32) {
		v.Partitions = append(v.Partitions, partitionView{tp: at(topic), Leader: leader, Replicas: replicas, ISR: isr})
	}
	p("well", 1, []int32{1, 2}, []int32{1, 2})
	p("grows", 1, []int32{1, 2}, []int32{1})
	p("lags", 1, []int32{2, 1}, []int32{1})
	p("down", 2, []int32{2, 3}, []int32{2})
	p("lost", -1, []int32{3}, []int32{3})
	p("gone", 1, []int32{1, 9}, []int32{1})
	p("disk", 1, []int32{1, 2}, []int32{1})
	v.Partitions[6].Offline = []int32{2}
	p("elr", -1, []int32{3, 9}, nil)
	v.Partitions[7].Eligible = []int32{3, 9}
	p("none", -1, []int32{3}, nil)
	return v
}

func TestClusterReport(t *testing.T) {
	t.Parallel()
	v := sick()
	r := v.report(map[string]int{"down": 2})
	want := map[string]string{
		"lags": "under-replicated: broker 2 catches up, 17 records behind",
		"down": "below min.insync.replicas: broker 3 is down",
		"lost": "no leader: broker 3, which has every record, must come back",
		"elr":  "no leader: broker 3 is down; broker 9 is not registered; one of brokers 3,9, which have every record, must come back",
		"none": "no leader: broker 3 is down; nobody who is known to have every record is left: see kafka-leader-election --election-type unclean",
		"gone": "under-replicated: broker 9 is not registered",
		"disk": "under-replicated: the log directory on broker 2 failed",
	}
	for _, u := range r.Unwell {
		if got := u.State + ": " + strings.Join(u.Why, "; "); got != want[u.Topic] {
			t.Errorf("%s: %q, want %q", u.Topic, got, want[u.Topic])
		}
		delete(want, u.Topic)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
	if r.Partitions != (statusCounts{All: 9, Leaderless: 3, Under: 6, BelowMin: 1, Moving: 1, Misled: 1}) {
		t.Errorf("%+v", r.Partitions)
	}
	if b := r.Brokers[1]; b.State != "up" || b.Roles != "voter" || b.Leaders != 1 || b.Replicas != 5 || b.Behind != 3 || b.Bytes != 100+4000+1<<20 {
		t.Errorf("%+v", b)
	}
	if r.Brokers[2].State != "down" || r.well() {
		t.Errorf("%+v", r.Brokers[2])
	}
	grows := v.Partitions[1]
	if why := v.whyBehind(grows, 2); why != "broker 2 is being filled, 2.0 MiB behind" {
		t.Error(why)
	}
	v.silent = map[int32]error{2: errors.New("timeout")}
	if why := v.whyBehind(grows, 2); why != "broker 2 does not answer" {
		t.Error(why)
	}
	if w := (&statusReport{Late: []int32{2}}); w.well() {
		t.Error("a voter that lags is well")
	}
	var out bytes.Buffer
	if err := r.print(&client{env: &Env{Out: &out}}); err != nil || !strings.HasPrefix(out.String(), "cluster c\ncontroller 1, of voters 1,2; behind with the metadata: 2\n") || !strings.Contains(out.String(), "9 partitions, 3 without a leader, 1 below min.insync.replicas, 6 under-replicated, 1 being moved, 1 not led by the first replica\n") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().String()
	if why := whyDown(t.Context(), open); !strings.Contains(why, "takes connections") {
		t.Error(why)
	}
	l.Close()
	if why := whyDown(t.Context(), open); why != "is stopped: nothing listens at "+open {
		t.Error(why)
	}
	v := &clusterView{Brokers: []brokerView{{ID: 1}}, dirs: map[int32][]dirView{1: {
		{"/well", false, false, 100, 50}, {"/gone", true, false, -1, -1}, {"/full", false, false, 100, 0}, {"/near", false, false, 100 << 20, 1 << 20}, {"/closed", false, true, 100, 50}}}}
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	w := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
	w.ReplicaID, w.ReplicaDirectoryID = 3, [16]byte{1}
	p.CurrentVoters = append(p.CurrentVoters, w)
	now := time.Unix(1000, 0)
	w.LastFetchTimestamp = now.UnixMilli()
	p.Observers = append(p.Observers, w) // the same directory: well
	v.noteLostVotes(p, now)
	w.ReplicaDirectoryID = [16]byte{2}
	p.Observers = append(p.Observers, w)
	v.noteLostVotes(p, now)
	want := []string{
		"broker 1 has lost the log directory /gone: the disk failed; the log tells how",
		"broker 1 has a full disk under /full, and takes no records for what lies there",
		"broker 1 has little room under /near: 1.0 MiB of 100.0 MiB",
		"broker 1 takes nothing new into /closed: it is cordoned (cordoned.log.dirs)",
		"controller 3 runs on another metadata directory than the one that votes: kafka-metadata-quorum remove-controller --controller-id 3 --controller-directory-id AQAAAAAAAAAAAAAAAAAAAA, then add-controller there",
	}
	if got := v.trouble(t.Context(), nil); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestFeatureText(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]featureStatus{
		"f is at level 1; broker 3, whose program is older, holds level 2 back":           {"f", 1, 2, []int32{3}, ""},
		"f is at level 1; brokers 2,3, whose program is older, hold level 2 back":         {"f", 1, 2, []int32{2, 3}, ""},
		"f is at level 1; level 2 is held back: Controller 9 only":                        {"f", 1, 2, nil, "Controller 9 only"},
		"f is at level 1; every node knows level 2: kafka-features upgrade --feature f=2": {"f", 1, 2, nil, ""},
	} {
		if got := s.text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestPicture: what is down gets nothing, what moves or has no leader stays.
func TestPicture(t *testing.T) {
	t.Parallel()
	c := sick().picture([]int32{1}, nil)
	if want := []balance.Broker{{ID: 1, Rack: "a", Leaving: true}, {ID: 2, Rack: "b"}, {ID: 3, Rack: "c", Down: true}}; !slices.Equal(c.Brokers, want) {
		t.Errorf("%+v", c.Brokers)
	}
	for _, p := range c.Partitions {
		if p.Busy != slices.Contains([]string{"grows", "lost", "elr", "none"}, p.Topic) {
			t.Errorf("%+v", p)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{"0": 0, "10": 10, "10B": 10, "2KiB": 2048, "50MiB": 50 << 20, "20MB": 20_000_000, "3 GB": 3e9} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "-1", "10XB", "9999999999GiB", "1.5MB"} {
		if _, err := parseSize(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// TestDevPrepare: nodes get ports, settings and directories of their own.
func TestDevPrepare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := &devCluster{env: &Env{}, nodes: 2, dir: dir, racks: true}
	var nodes []*devNode
	var err error
	for d.port = 47_310; d.port < 60_000; d.port += 10 { // where nobody listens
		if nodes, err = d.prepare(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	port := func(step int) string { return local(d.port + step) }
	raw, err := os.ReadFile(filepath.Join(dir, "node-2.properties"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"node.id=2", "controller.quorum.voters=1@" + port(1000) + ",2@" + port(1001), "listeners=PLAINTEXT://" + port(1) + ",CONTROLLER://" + port(1001),
		"log.dirs=" + filepath.ToSlash(nodes[1].data), "default.replication.factor=2", "min.insync.replicas=1", "broker.rack=rack-2",
	} {
		if !strings.Contains(string(raw), line+"\n") {
			t.Errorf("no %s in\n%s", line, raw)
		}
	}
}
