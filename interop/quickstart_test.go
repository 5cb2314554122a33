//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quickstart is steps 2 to 5 of Kafka's quickstart, word for word. The server
// runs in a terminal of its own there and until Ctrl-C, as here.
var quickstart = struct{ format, server, create, describe, produce, consume string }{
	format: `KAFKA_CLUSTER_ID="$(bin/kafka-storage.sh random-uuid)"
bin/kafka-storage.sh format --standalone -t $KAFKA_CLUSTER_ID -c config/server.properties`,
	server:   `bin/kafka-server-start.sh config/server.properties`,
	create:   `bin/kafka-topics.sh --create --topic quickstart-events --bootstrap-server localhost:9092`,
	describe: `bin/kafka-topics.sh --describe --topic quickstart-events --bootstrap-server localhost:9092`,
	produce:  `bin/kafka-console-producer.sh --topic quickstart-events --bootstrap-server localhost:9092`,
	consume:  `bin/kafka-console-consumer.sh --topic quickstart-events --from-beginning --bootstrap-server localhost:9092`,
}

// terminal runs a line of the quickstart in dir.
func terminal(dir, line string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("bash", "-ec", strings.ReplaceAll(line, "bin/kafka-server-start", "exec bin/kafka-server-start"))
	cmd.Dir = dir
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// TestQuickstart: in a fresh directory, with the ports and the data directory
// of this machine's other programs left alone.
func TestQuickstart(t *testing.T) {
	dir := t.TempDir()
	node := strconv.Itoa(os.Getpid()) // kafka-server-stop must find this one and no other
	if out, err := exec.Command(cache("gregor"), "install-tools", dir).CombinedOutput(); err != nil {
		t.Fatalf("install-tools: %v\n%s", err, out)
	}
	port := func(addr string) string {
		_, p, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	here := strings.NewReplacer(":9092", ":"+port(freeAddr()), ":9093", ":"+port(freeAddr()),
		"/tmp/kraft-combined-logs", filepath.Join(dir, "data"), "node.id=1\n", "node.id="+node+"\ngregor.http.listener=none\n")
	file := filepath.Join(dir, "config", "server.properties")
	settings, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(here.Replace(string(settings))), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(line, stdin string) string {
		t.Helper()
		cmd, out := terminal(dir, here.Replace(line))
		cmd.Stdin = strings.NewReader(stdin)
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return out.String()
	}
	serve := func() (*exec.Cmd, *bytes.Buffer) {
		t.Helper()
		cmd, out := terminal(dir, here.Replace(quickstart.server))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		eventually(t, "the server answers", func() (bool, string) {
			c, err := net.Dial("tcp", here.Replace("localhost:9092"))
			if err != nil {
				return false, err.Error()
			}
			_ = c.Close()
			return true, ""
		})
		return cmd, out
	}
	if out := run(quickstart.format, ""); !strings.Contains(out, "Formatting") {
		t.Errorf("format said %q", out)
	}
	server, said := serve()
	if got := run(quickstart.create, ""); got != "Created topic quickstart-events.\n" {
		t.Errorf("create said %q", got)
	}
	for _, want := range []string{"Topic: quickstart-events\tTopicId: ", "\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: ",
		"\tTopic: quickstart-events\tPartition: 0\tLeader: " + node + "\tReplicas: " + node + "\tIsr: " + node} {
		if got := run(quickstart.describe, ""); !strings.Contains(got, want) {
			t.Errorf("describe: %q is not in\n%s", want, got)
		}
	}
	const events = "This is my first event\nThis is my second event\n"
	run(quickstart.produce, events)

	interrupt := func(cmd *exec.Cmd, what string, out *bytes.Buffer) {
		t.Helper()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("%s after Ctrl-C: %v\n%s", what, err, out)
		}
	}
	consume := func() {
		t.Helper()
		cmd := exec.Command("bash", "-c", "exec "+here.Replace(quickstart.consume))
		cmd.Dir = dir
		got, err := os.Create(filepath.Join(dir, "consumed"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = got.Close() }()
		errs := &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = got, errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		eventually(t, "both events are printed", func() (bool, string) {
			b, err := os.ReadFile(got.Name())
			return err == nil && string(b) == events, string(b)
		})
		interrupt(cmd, "the consumer", errs)
	}
	consume()
	interrupt(server, "the server", said)

	// The next day: the events are there, and the stop script stops it.
	server, said = serve()
	consume()
	run("bin/kafka-server-stop.sh --node-id="+node, "")
	done := make(chan error, 1)
	go func() { done <- server.Wait() }()
	select {
	case err := <-done:
		if err != nil && server.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) {
			t.Errorf("the server after kafka-server-stop: %v\n%s", err, said)
		}
	case <-time.After(time.Minute):
		t.Errorf("the server runs on after kafka-server-stop\n%s", said)
	}
}
