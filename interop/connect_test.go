//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// worker is a Kafka Connect worker in distributed mode.
type worker struct {
	t        *testing.T
	file     string
	rest     string
	p        *proc
	restarts int // of failed tasks
}

func newWorker(t *testing.T, group string) *worker {
	t.Helper()
	rest := freeAddr()
	w := &worker{t: t, file: filepath.Join(t.TempDir(), "worker.properties"), rest: "http://" + rest}
	settings := strings.Join([]string{
		"bootstrap.servers=" + bootstrap, "group.id=" + group, "listeners=http://" + rest,
		"exactly.once.source.support=enabled", "plugin.discovery=service_load",
		"key.converter=org.apache.kafka.connect.storage.StringConverter", "value.converter=org.apache.kafka.connect.storage.StringConverter",
		"offset.storage.topic=" + group + "-offsets", "offset.storage.replication.factor=-1", "offset.storage.partitions=5",
		"config.storage.topic=" + group + "-configs", "config.storage.replication.factor=-1",
		"status.storage.topic=" + group + "-status", "status.storage.replication.factor=-1", "status.storage.partitions=5",
		"session.timeout.ms=6000", "heartbeat.interval.ms=1000", "scheduled.rebalance.max.delay.ms=0",
	}, "\n")
	if err := os.WriteFile(w.file, []byte(settings+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	return w
}

func (w *worker) start() {
	w.p = launch(w.t, "connect", append(append([]string{"java"}, javaFlags...), "org.apache.kafka.connect.cli.ConnectDistributed", w.file))
}

func (w *worker) kill() {
	_ = w.p.cmd.Process.Kill()
	_ = w.p.wait()
}

// ask sends a request to the worker's REST interface.
func (w *worker) ask(method, path, body string, into any) error {
	req, err := http.NewRequest(method, w.rest+path, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	cl := http.Client{Timeout: 30 * time.Second}
	resp, err := cl.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// connectorState is what a worker says of a connector.
type connectorState struct {
	Connector struct{ State, Trace string }
	Tasks     []struct{ State, Trace string }
}

// tend does what an operator does: a worker that ended is started again, and so
// is a connector or task that gave up when its broker went away.
func (w *worker) tend(connector string) {
	select {
	case _, running := <-w.p.lines:
		if !running {
			_ = w.p.wait()
			w.t.Logf("the worker ended: %v\n%.2000s", w.p.err, w.p.errs.String())
			w.start()
		}
	default:
	}
	var s connectorState
	if err := w.ask("GET", "/connectors/"+connector+"/status", "", &s); err != nil {
		return // on its way up, or rebalancing
	}
	failed := slices.Clone(s.Tasks)
	failed = slices.DeleteFunc(append(failed, s.Connector), func(x struct{ State, Trace string }) bool { return x.State != "FAILED" })
	if len(failed) == 0 {
		return
	}
	w.restarts++
	if err := w.ask("POST", "/connectors/"+connector+"/restart?includeTasks=true&onlyFailed=true", "", nil); err == nil {
		w.t.Logf("started again: %.300s", failed[0].Trace)
	}
}

// TestConnect: a source connector with exactly-once support gives the numbers
// 0..n-1 through a Kafka Connect worker while brokers and the worker are killed
// with -9: a read_committed consumer finds each of them once.
func TestConnect(t *testing.T) {
	n := 3000 * rounds()
	// A worker that starts reads the offsets' topic to its end, and so waits for
	// the transactions that it had open when it was killed to time out.
	brokers := ownCluster(t, number("INTEROP_NODES", 1), "transaction.abort.timed.out.transaction.cleanup.interval.ms=500")
	if brokers == nil {
		return
	}
	topic := newTopic(t, "")
	w := newWorker(t, name(t, "connect"))
	const connector = "numbers"
	conf := fmt.Sprintf(`{"connector.class":"Numbers","tasks.max":"3","topic":%q,"n":"%d",
		"exactly.once.support":"required","transaction.boundary":"poll","producer.override.transaction.timeout.ms":"5000"}`, topic, n)
	eventually(t, "the worker takes the connector", func() (bool, string) {
		err := w.ask("PUT", "/connectors/"+connector+"/config", conf, nil)
		return err == nil, fmt.Sprint(err, w.p.errs.String())
	})
	worker := func() { w.kill(); w.start() }
	faults := []func(){brokers.kill, worker, brokers.kill}
	for range rounds() - 1 {
		faults = append(faults, worker, brokers.kill, worker, brokers.kill)
	}
	ordeal(t, topic, n, func() { w.tend(connector) }, faults...)
	w.kill()
	wantNumbers(t, topic, n)
	t.Logf("%d numbers on %d nodes, %d faults, %d restarts of failed tasks", n, len(brokers.nodes), len(faults), w.restarts)
}
