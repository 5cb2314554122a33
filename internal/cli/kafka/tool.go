// SPDX-License-Identifier: Apache-2.0

// Package kafka answers to the names of Apache Kafka's own command line tools:
// `gregor kafka-topics ...` is kafka-topics.sh of Kafka 4.2, flag for flag, with
// the same standard output and the same exit status, so that scripts and
// habits carry over. What goes to standard error (usage texts, explanations)
// is in our own words.
//
// The tools speak the Kafka protocol through franz-go as any client would, and
// so work against any broker; only kafka-storage and kafka-dump-log touch
// files. The package refuses to know the broker: no room of the server below
// is imported but formats: those that kafka-dump-log draws, and the quorum's,
// which kafka-storage writes.
//
// Shape: one file per tool, each a function from arguments to an exit status
// over an Env; a tool keeps no state between runs and starts no goroutine that
// outlives it. Two parsers stand in for the two that Kafka uses (joptsimple in
// options.go, argparse4j in argparse.go), since their corner cases (single
// dash names, `--a=b`, repeated options) are part of what scripts rely on.
package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version is the Kafka release whose tools these are; --version prints it.
const Version = "4.2.0"

// Env is what a tool may touch of the outside world.
type Env struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// Prompt is whether both ends are a terminal: kafka-console-producer then
	// prints its prompt.
	Prompt bool
	// Serve runs a broker until ctx ends; kafka-server-start calls it with the
	// file and the overrides that it was given. Nil where no server is linked.
	Serve func(ctx context.Context, file string, overrides []string) error
	// Self is the path of the running program, for kafka-server-start -daemon.
	Self string
}

func (e *Env) printf(format string, args ...any)   { fmt.Fprintf(e.Out, format, args...) }
func (e *Env) println(line string)                 { fmt.Fprintln(e.Out, line) }
func (e *Env) complain(format string, args ...any) { fmt.Fprintf(e.Err, format+"\n", args...) }

// Tool is one of Kafka's commands.
type Tool struct {
	// Name is the script's name without .sh, such as kafka-topics.
	Name string
	// About is one line for lists.
	About string
	// Run executes the tool; its error says the exit status (see exit).
	Run func(ctx context.Context, e *Env, args []string) error
}

// Tools lists every tool, in the order of the quickstart and then by name.
func Tools() []Tool {
	return []Tool{
		{"kafka-storage", "prepare and inspect a node's log directories", runStorage},
		{"kafka-server-start", "run a broker from a server.properties file", runServerStart},
		{"kafka-server-stop", "ask brokers on this machine to stop", runServerStop},
		{"kafka-topics", "create, list, describe, alter and delete topics", runTopics},
		{"kafka-console-producer", "send lines of standard input as records", runConsoleProducer},
		{"kafka-console-consumer", "print records of topics", runConsoleConsumer},
		{"kafka-consumer-groups", "list, describe, reset and delete consumer groups", runConsumerGroups},
		{"kafka-configs", "show and change configurations", runConfigs},
		{"kafka-get-offsets", "print offsets of partitions", runGetOffsets},
		{"kafka-delete-records", "delete the oldest records of partitions", runDeleteRecords},
		{"kafka-reassign-partitions", "move replicas between brokers and directories", runReassign},
		{"kafka-leader-election", "elect the preferred leaders, or any where there is none", runLeaderElection},
		{"kafka-replica-verification", "compare what the replicas of partitions hold", runReplicaVerification},
		{"kafka-log-dirs", "show what is in the brokers' log directories", runLogDirs},
		{"kafka-dump-log", "print the files of a log", runDumpLog},
		{"kafka-broker-api-versions", "show which requests brokers understand", runBrokerAPIVersions},
		{"kafka-cluster", "show a cluster's id and endpoints", runCluster},
		{"kafka-features", "show and change feature levels", runFeatures},
		{"kafka-metadata-quorum", "show and change the quorum of controllers", runMetadataQuorum},
		{"kafka-transactions", "show the transactions of producers, find those that hang, end them", runTransactions},
		{"kafka-client-metrics", "show and change client metrics subscriptions", runClientMetrics},
		{"kafka-producer-perf-test", "measure how fast records are produced", runProducerPerf},
		{"kafka-consumer-perf-test", "measure how fast records are consumed", runConsumerPerf},
		{"kafka-e2e-latency", "measure the time from sending to receiving", runLatency},
		{"kafka-verifiable-producer", "produce numbers and say as JSON what became of them", runVerifiableProducer},
		{"kafka-verifiable-consumer", "consume and say as JSON what happens", runVerifiableConsumer},
	}
}

// Find returns the tool of that name, given with or without .sh or .bat.
func Find(name string) (Tool, bool) {
	name = strings.TrimSuffix(name, ".exe")
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".sh"), ".bat")
	for _, t := range Tools() {
		if t.Name == name {
			return t, true
		}
	}
	return Tool{}, false
}

// Run executes a tool and returns its exit status. Standard output is
// buffered by tools that print much; Run flushes what they left.
func (t Tool) Exec(ctx context.Context, e *Env, args []string) int {
	err := t.Run(ctx, e, args)
	if b, ok := e.Out.(*bufio.Writer); ok {
		b.Flush()
	}
	if err == nil {
		return 0
	}
	if quit := (*exit)(nil); errors.As(err, &quit) {
		if quit.text != "" {
			fmt.Fprintln(e.Err, quit.text)
		}
		if quit.usage != nil {
			quit.usage(e.Err)
		}
		return quit.status
	}
	fmt.Fprintln(e.Err, err)
	return 1
}

// exit ends a tool: with a status, a last word on standard error and, where
// the arguments were wrong, the usage beneath it.
type exit struct {
	status int
	text   string
	usage  func(io.Writer)
}

func (x *exit) Error() string { return x.text }

// failf ends a tool with status 1 and a line on standard error.
func failf(format string, args ...any) error {
	return &exit{status: 1, text: fmt.Sprintf(format, args...)}
}
