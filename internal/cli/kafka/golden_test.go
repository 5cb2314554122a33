// SPDX-License-Identifier: Apache-2.0

// Golden: the files under testdata/golden are what Apache Kafka 4.2.0's own
// tools printed for the same arguments and the same bytes.

package kafka

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gregor/internal/quorum"
	"gregor/internal/vfs"
)

// run executes a tool with its output captured.
func run(t *testing.T, tool string, args ...string) (out, complaints string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	x, ok := Find(tool)
	if !ok {
		t.Fatalf("no tool %s", tool)
	}
	status = x.Exec(context.Background(), &Env{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, args)
	return stdout.String(), stderr.String(), status
}

func TestGolden(t *testing.T) {
	t.Chdir("testdata")
	for file, args := range map[string][]string{
		"dump-records.txt":         {"kafka-dump-log", "--print-data-log", "--files", "log/00000000000000000000.log"},
		"dump-offsets.txt":         {"kafka-dump-log", "--offsets-decoder", "--files", "offsets/00000000000000000000.log"},
		"dump-transactions.txt":    {"kafka-dump-log", "--transaction-log-decoder", "--files", "transactions/00000000000000000000.log"},
		"dump-snapshot.txt":        {"kafka-dump-log", "--files", "snapshot/00000000000000000028.snapshot"},
		"version-mapping-4.1.txt":  {"kafka-storage", "version-mapping", "-r", "4.1"},
		"feature-dependencies.txt": {"kafka-storage.sh", "feature-dependencies", "-f", "kraft.version=1", "-f", "eligible.leader.replicas.version=1"},
	} {
		t.Run(file, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join("golden", file))
			if err != nil {
				t.Fatal(err)
			}
			got, complaints, status := run(t, args[0], args[1:]...)
			if status != 0 || got != string(want) {
				t.Errorf("status %d, %s\ngot:\n%s\nwant:\n%s", status, complaints, got, want)
			}
		})
	}
}

// Statuses and standard output of command lines that end before any broker is
// asked, as observed with Kafka's tools.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line   string
		out    string
		status int
		says   string // part of standard error
	}{
		{"kafka-topics", "", 1, "--bootstrap-server"},
		{"kafka-topics --help", "", 1, "--bootstrap-server"},
		{"kafka-topics --version", "4.2.0\n", 0, ""},
		{"kafka-topics --bogus", "", 1, "bogus is not a recognized option"},
		{"kafka-topics --list", "", 1, "--bootstrap-server must be specified"},
		{"kafka-topics --bootstrap-server b:1 --list --create", "", 1, "exactly one action"},
		{"kafka-topics --bootstrap-server b:1 --create", "", 1, `Missing required argument "[topic]"`},
		{"kafka-topics --bootstrap-server b:1 --alter --topic t --config a=b", "", 1, "Option combination"},
		{"kafka-topics --bootstrap-server b:1 --create --topic t --partitions x", "", 1, "Cannot parse argument 'x' of option partitions"},
		{"kafka-topics --bootstrap-server", "", 1, "Option bootstrap-server requires an argument"},
		{"kafka-console-consumer --bootstrap-server b:1 --topic t --offset 3", "", 1, "The partition is required when offset is specified."},
		{"kafka-console-consumer --bootstrap-server b:1 --topic t --include u", "", 1, "Exactly one of"},
		{"kafka-console-producer --bootstrap-server b --topic t", "", 1, "Please provide valid host:port"},
		{"kafka-reassign-partitions", "", 1, "--reassignment-json-file"},
		{"kafka-reassign-partitions --list", "", 1, "Please specify either --bootstrap-server or --bootstrap-controller"},
		{"kafka-reassign-partitions --bootstrap-server b:1 --verify --list", "", 1, "Command must include exactly one action"},
		{"kafka-reassign-partitions --bootstrap-server b:1 --verify", "", 1, `Missing required argument "[reassignment-json-file]"`},
		{"kafka-reassign-partitions --bootstrap-server b:1 --list --additional", "", 1, `Option "[additional]" can't be used with action "[list]"`},
		{"kafka-reassign-partitions --bootstrap-server b:1 --cancel --reassignment-json-file none", "Error: Unable to read file none\n", 1, ""},
		{"kafka-leader-election --bootstrap-server b:1", "", 1, "Missing required option(s): election-type"},
		{"kafka-leader-election --bootstrap-server b:1 --election-type any", "", 1, "Cannot parse argument 'any' of option election-type"},
		{"kafka-leader-election --bootstrap-server b:1 --election-type preferred", "", 1, "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file"},
		{"kafka-leader-election --bootstrap-server b:1 --election-type unclean --topic t", "", 1, "Missing required option(s): partition"},
		{"kafka-replica-verification", "", 1, "--broker-list"},
		{"kafka-replica-verification --broker-list b:1 --topics-include (", "", 1, "( is an invalid regex"},
		{"kafka-consumer-groups --bootstrap-server b:1 --members", "", 1, "unavailable given other options"},
		{"kafka-consumer-groups --validate-regex a(", "The regular expression `a(` is invalid: missing closing ).\n", 0, ""},
		{"kafka-configs --bootstrap-server b:1 --describe --entity-type foo", "", 1, "Invalid entity type foo"},
		{"kafka-configs --bootstrap-server b:1 --alter --topic t", "", 1, "At least one of --add-config"},
		{"kafka-get-offsets --bootstrap-server b:1 --time x", "", 1, "Malformed time argument x"},
		{"kafka-cluster cluster-id", "", 1, "one of the arguments --bootstrap-server --bootstrap-controller is required"},
		{"kafka-storage bogus", "", 1, "invalid choice: 'bogus'"},
		{"kafka-storage version-mapping -r 4.3", "", 1, "Unknown metadata.version '4.3'"},
		{"kafka-producer-perf-test --topic t --num-records 0 --record-size 1 --throughput 1", "", 1, "greater than zero"},
		{"kafka-server-start", "USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*\n", 1, ""},
	} {
		words := strings.Fields(c.line)
		out, complaints, status := run(t, words[0], words[1:]...)
		if out != c.out || status != c.status || !strings.Contains(complaints, c.says) {
			t.Errorf("%s: status %d, want %d\nout %q, want %q\nerr %.300s", c.line, status, c.status, out, c.out, complaints)
		}
	}
}

func TestStorageFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, conf := filepath.Join(dir, "data"), filepath.Join(dir, "server.properties")
	if err := os.WriteFile(conf, []byte("process.roles=broker,controller\nnode.id=7\nlog.dirs="+data+"\ncontroller.listener.names=C\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, complaints, status := run(t, "kafka-storage", "format", "-t", "abc", "-c", conf); status != 1 || !strings.Contains(complaints, "--standalone") {
		t.Fatalf("without a quorum: status %d, %s", status, complaints)
	}
	for _, c := range []struct{ option, value, says string }{
		{"--feature", "kraft.version=0", "Cannot set kraft.version to 0"},
		{"--feature", "transaction.version=3", "No feature:transaction.version with feature level 3"},
		{"--feature", "eligible.leader.replicas.version=0", "this program knows levels 1 to 1"},
		{"--feature", "gregor.version=9", "No feature:gregor.version with feature level 9"},
		{"--feature", "sofas=1", "Unsupported feature: sofas. Supported features are: eligible"},
		{"--feature", "metadata.version=25", "metadata.version 4.0-IV3 is not supported by this program: it knows 4.2-IV1 to 4.2-IV1."},
		{"--release-version", "3.9", "metadata.version 3.9-IV0 is not supported by this program"},
		{"--release-version", "4.3-IV0", "is not yet stable"},
	} {
		if _, complaints, status := run(t, "kafka-storage", "format", "-s", "-t", "abc", "-c", conf, c.option, c.value); status != 1 || !strings.Contains(complaints, c.says) {
			t.Errorf("%s %s: status %d, %s", c.option, c.value, status, complaints)
		}
	}
	out, complaints, status := run(t, "kafka-storage", "format", "--standalone", "-t", "abc", "-c", conf, "-r", "4.2", "-f", "transaction.version=1", "-f", "group.version=1")
	if !strings.HasPrefix(out, "Left out, because this program does not know them: group.version=1\nBootstrap metadata: ") || strings.Contains(out, "'group.version'") || !strings.Contains(out, "name='transaction.version', featureLevel=1)") {
		t.Error(out)
	}
	if levels, err := quorum.ReadLevels(vfs.OS(), filepath.Join(data, "__cluster_metadata-0")); err != nil || levels["transaction.version"] != 1 || levels["metadata.version"] != 29 || levels["gregor.version"] != 1 || len(levels) != 5 {
		t.Errorf("%v %v", levels, err)
	}
	if status != 0 || !strings.HasSuffix(out, "Formatting dynamic metadata voter directory "+data+" with metadata.version 4.2-IV1.\n") {
		t.Fatalf("status %d, %s%s", status, out, complaints)
	}
	meta, err := loadProps(filepath.Join(data, metaFile))
	if err != nil || meta["cluster.id"] != "abc" || meta["node.id"] != "7" || meta["version"] != "1" {
		t.Fatalf("%v, %v", meta, err)
	}
	if _, err := parseUUID(meta["directory.id"]); err != nil {
		t.Error(err)
	}
	if _, complaints, status := run(t, "kafka-storage", "format", "-s", "-t", "abc", "-c", conf); status != 1 || !strings.Contains(complaints, "is already formatted") {
		t.Errorf("again: status %d, %s", status, complaints)
	}
	if out, _, status := run(t, "kafka-storage", "format", "-s", "-g", "-t", "abc", "-c", conf); status != 0 || out != "All of the log directories are already formatted.\n" {
		t.Errorf("again, ignoring: status %d, %s", status, out)
	}
	if _, complaints, status := run(t, "kafka-storage", "format", "-s", "-g", "-t", "xyz", "-c", conf); status != 1 || !strings.Contains(complaints, "Invalid cluster.id") {
		t.Errorf("another cluster: status %d, %s", status, complaints)
	}
	if out, _, status := run(t, "kafka-storage", "info", "-c", conf); status != 0 || !strings.Contains(out, "Found metadata: {cluster.id=abc, directory.id="+meta["directory.id"]+", node.id=7, version=1}") {
		t.Errorf("info: status %d, %s", status, out)
	}
}
