// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/broker"
)

// Goal: the commands that operate a cluster do so on a real one. Method: three
// nodes in this process over TCP, the command line as a user types it; what was
// produced before must be there after everything has moved.

// threeNodes starts a cluster and returns its bootstrap address.
func threeNodes(t *testing.T) string {
	t.Helper()
	var addrs []string // three of brokers, three of controllers
	var held []net.Listener
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held, addrs = append(held, l), append(addrs, l.Addr().String())
	}
	for _, l := range held {
		l.Close()
	}
	d := &devCluster{nodes: 3, racks: true}
	var voters []string
	for i := range 3 {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, addrs[3+i]))
	}
	var wg sync.WaitGroup
	for i := range 3 {
		dir := t.TempDir()
		n := &devNode{id: i + 1, broker: addrs[i], voter: addrs[3+i], http: "none", data: filepath.Join(dir, "data")}
		conf := filepath.Join(dir, "server.properties")
		if err := os.WriteFile(conf, []byte(d.properties(n, strings.Join(voters, ","))), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := broker.New(broker.Config{File: conf})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := b.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return addrs[0]
}

// command runs a command line and returns its output and status.
func command(t *testing.T, line string) (out string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status = Main(ctx, append([]string{"gregor"}, strings.Fields(line)...), &Env{Out: &stdout, Err: &stderr, In: strings.NewReader("")})
	if status != 0 {
		t.Logf("%s: status %d\n%s%s", line, status, &stdout, &stderr)
	}
	return stdout.String(), status
}

// mustDo is command for what has to succeed.
func mustDo(t *testing.T, line string) string {
	t.Helper()
	out, status := command(t, line)
	if status != 0 {
		t.FailNow()
	}
	return out
}

func TestClusterLife(t *testing.T) {
	t.Parallel()
	addr := threeNodes(t)
	on := " -b " + addr
	kafka := " --bootstrap-server " + addr
	status := func() (r statusReport) {
		t.Helper()
		out, _ := command(t, "cluster status --json"+on)
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	// Each broker is let in by itself, after it has begun to serve.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if r := status(); len(r.Brokers) == 3 && r.well() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not all brokers are in: %+v", status().Brokers)
		}
	}
	mustDo(t, "kafka-topics --create --topic t --partitions 6 --replication-factor 2"+kafka)
	const records = 600
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var batch []*kgo.Record
	for i := range records {
		batch = append(batch, kgo.StringRecord(fmt.Sprint(i)))
	}
	if err := cl.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	// shows waits until the cluster is as it should be: any broker answers, and
	// some are a moment behind.
	shows := func(what, replicas string, ok func(r statusReport) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			r := status()
			var n []int
			for _, b := range r.Brokers {
				n = append(n, b.Replicas)
			}
			if fmt.Sprint(n) == replicas && ok(r) && r.well() {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, r)
			}
		}
	}

	if out := mustDo(t, "cluster balance --drain 3"+on); !strings.Contains(out, "this is a plan; --execute carries it out") {
		t.Errorf("a plan:\n%s", out)
	}
	shows("a plan changes nothing", "[4 4 4]", func(r statusReport) bool { return r.Brokers[2].State == "up" })
	mustDo(t, "cluster balance --drain 3 --execute --batch 2 --throttle 0"+on)
	shows("drained", "[6 6 0]", func(r statusReport) bool { return r.Brokers[2].State == "draining" })
	mustDo(t, "kafka-topics --create --topic later --partitions 3 --replication-factor 2"+kafka)
	shows("a new topic while 3 is drained", "[9 9 0]", func(statusReport) bool { return true })
	mustDo(t, "cluster balance --undrain 3 --execute"+on)
	shows("taken back", "[6 6 6]", func(r statusReport) bool { return r.Brokers[2].State == "up" && r.Brokers[2].Leaders == 3 })
	if out := mustDo(t, "cluster balance"+on); !strings.Contains(out, "nothing is to be done") {
		t.Errorf("even:\n%s", out)
	}

	file := filepath.Join(t.TempDir(), "moves.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[3,2,1]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	reassign := "kafka-reassign-partitions --reassignment-json-file " + file + kafka
	if out, status := command(t, reassign+" --execute --disallow-replication-factor-change"); status != 1 || !strings.Contains(out, "t-0: The replication factor is changed from 2 to 3") {
		t.Errorf("the factor may not change:\n%s", out)
	}
	if out := mustDo(t, reassign+" --execute --throttle 100000000"); !strings.Contains(out, "Successfully started partition reassignment for t-0\n") {
		t.Errorf("execute:\n%s", out)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if out := mustDo(t, reassign+" --verify"); strings.Contains(out, "Reassignment of partition t-0 is completed.\n") {
			if !strings.Contains(out, "Clearing broker-level throttles on brokers 1,2,3\nClearing topic-level throttles on topic t\n") {
				t.Errorf("verify:\n%s", out)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the reassignment does not end")
		}
	}
	if out, status := command(t, "kafka-leader-election --election-type preferred --topic t --partition 0"+kafka); status != 0 || !strings.Contains(out, "partitions t-0\n") {
		t.Errorf("election:\n%s", out)
	}
	shows("t-0 has three replicas and its first leads", "[6 7 6]", func(r statusReport) bool { return r.Partitions.Misled == 0 })
	if out := mustDo(t, "kafka-topics --describe --topic t"+kafka); !strings.Contains(out, "Partition: 0\tLeader: 3\tReplicas: 3,2,1\t") {
		t.Errorf("describe:\n%s", out)
	}

	cl.AddConsumeTopics("t")
	seen := map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := 0; n < records; {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records are there", n, records)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			if seen[string(r.Value)] {
				t.Errorf("record %s is there twice", r.Value)
			}
			seen[string(r.Value)] = true
		})
	}
}
