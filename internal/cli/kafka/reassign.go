// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reassignTool is kafka-reassign-partitions.
type reassignTool struct {
	o   *options
	env *Env
	adm *kadm.Client
	cl  *kgo.Client
	// direct is the controller to ask by --bootstrap-controller, else nil.
	direct *kgo.Broker

	verify, generate, execute, cancel, list             *option
	server, controller, config, file, topicsFile, nodes *option
	noRacks, throttle, dirThrottle, timeout, additional *option
	keepThrottles, sameFactor                           *option
}

func newReassignTool(e *Env) *reassignTool {
	o := newOptions("This tool helps to move topic partitions between replicas.")
	t := &reassignTool{o: o, env: e}
	t.verify = o.flag("verify", "Say how far a reassignment is; when all are done, take the throttles away.")
	t.generate = o.flag("generate", "Propose a reassignment. Nothing is carried out.")
	t.execute = o.flag("execute", "Begin the reassignment that --reassignment-json-file describes.")
	t.cancel = o.flag("cancel", "Undo a reassignment that is under way.")
	t.list = o.flag("list", "List the reassignments under way.")
	t.server = o.text("bootstrap-server", "Server(s) to use for bootstrapping", "host:port of a broker, or several with commas between.").maybe()
	t.config = o.text("command-config", "Admin client property file", "File of client properties.")
	t.file = o.text("reassignment-json-file", "manual assignment json file path", "File that says what goes where, as\n{\"partitions\":\n  [{\"topic\": \"foo\", \"partition\": 1,\n    \"replicas\": [1,2,3],\n    \"log_dirs\": [\"dir1\",\"dir2\",\"dir3\"]}],\n \"version\":1}\nlog_dirs may be left out; each is an absolute path or \"any\".")
	t.topicsFile = o.text("topics-to-move-json-file", "topics to reassign json file path", "File that names topics for --generate, as\n{\"topics\":\n  [{\"topic\": \"foo\"},{\"topic\": \"foo1\"}],\n \"version\":1}")
	t.nodes = o.text("broker-list", "brokerlist", "Brokers for --generate, as 0,1,2.")
	t.controller = o.text("bootstrap-controller", "bootstrap controller to connect to", "host:port of a controller, for --cancel and --list.").maybe()
	t.noRacks = o.flag("disable-rack-aware", "Propose without regard to racks.")
	t.throttle = o.long("throttle", "throttle", "Bytes per second between brokers; at least 1 KB/s. Given again with --additional it changes the rate of what is under way.").def("-1")
	t.dirThrottle = o.long("replica-alter-log-dirs-throttle", "replicaAlterLogDirsThrottle", "Bytes per second between directories of one broker; at least 1 KB/s.").def("-1")
	t.timeout = o.long("timeout", "timeout", "How many ms to wait for moves between directories to begin.").def("10000")
	t.additional = o.flag("additional", "Also while others are under way.")
	t.keepThrottles = o.flag("preserve-throttles", "Leave throttles as they are.")
	t.sameFactor = o.flag("disallow-replication-factor-change", "Refuse what would change the number of replicas.")
	return t
}

func runReassign(ctx context.Context, e *Env, args []string) error {
	t := newReassignTool(e)
	if err := t.o.start(e, args); err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	err := t.run(ctx)
	if quit := (*exit)(nil); err == nil || errors.As(err, &quit) {
		return err
	}
	// As in Kafka: on standard output.
	if terse := (*terseError)(nil); errors.As(err, &terse) {
		e.println(terse.text)
	} else {
		e.println("Error: " + err.Error())
	}
	return &exit{status: 1}
}

// terseError is an end that Kafka prints without "Error:" in front.
type terseError struct{ text string }

func (t *terseError) Error() string { return t.text }

// check applies Kafka's rules on which options go together.
func (t *reassignTool) check() error {
	o := t.o
	actions := []*option{t.generate, t.execute, t.verify, t.cancel, t.list}
	var action *option
	n := 0
	for _, a := range actions {
		if a.has {
			action, n = a, n+1
		}
	}
	if n != 1 {
		return o.usage("Command must include exactly one action: --generate, --execute, --verify, --cancel, --list")
	}
	switch {
	case t.server.has && t.controller.has:
		return o.usage("Please don't specify both --bootstrap-server and --bootstrap-controller")
	case !t.server.has && !t.controller.has:
		return o.usage("Please specify either --bootstrap-server or --bootstrap-controller")
	}
	from := t.server
	if t.controller.has {
		from = t.controller
	}
	var needs, may []*option
	switch action {
	case t.verify:
		needs, may = []*option{t.file}, []*option{t.server, t.config, t.keepThrottles}
	case t.generate:
		needs, may = []*option{t.topicsFile, t.nodes}, []*option{t.server, t.config, t.noRacks}
	case t.execute:
		needs, may = []*option{t.file}, []*option{t.additional, t.server, t.config, t.throttle, t.dirThrottle, t.timeout, t.sameFactor}
	case t.cancel:
		needs, may = []*option{t.file}, []*option{from, t.config, t.keepThrottles, t.timeout}
	case t.list:
		may = []*option{from, t.config}
	}
	if err := o.required(needs...); err != nil {
		return err
	}
	for _, s := range o.specs {
		if s.has && s != action && !slices.Contains(needs, s) && !slices.Contains(may, s) {
			return o.usage("Option \"%s\" can't be used with action \"%s\"", s, action)
		}
	}
	return nil
}

func (t *reassignTool) run(ctx context.Context) error {
	conf, err := loadProps(t.config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = t.server.value()
	if t.controller.has {
		conf["bootstrap.servers"] = t.controller.value()
	}
	if conf["client.id"] == "" {
		conf["client.id"] = "reassign-partitions-tool"
	}
	if t.adm, t.cl, err = conf.admin(t.env); err != nil {
		return err
	}
	defer t.cl.Close()
	if t.controller.has {
		t.direct = t.cl.SeedBrokers()[0]
	}
	read := func(o *option) ([]byte, error) {
		raw, err := os.ReadFile(o.value())
		if err != nil {
			return nil, fmt.Errorf("Unable to read file %s", o.value())
		}
		return raw, nil
	}
	var raw []byte
	switch {
	case t.generate.has:
		if raw, err = read(t.topicsFile); err == nil {
			err = t.doGenerate(ctx, raw)
		}
	case t.list.has:
		err = t.doList(ctx)
	default:
		if raw, err = read(t.file); err != nil {
			break
		}
		switch {
		case t.verify.has:
			err = t.doVerify(ctx, raw)
		case t.execute.has:
			err = t.doExecute(ctx, raw)
		default:
			err = t.doCancel(ctx, raw)
		}
	}
	return err
}

// request goes to the controller that was named, or wherever it belongs.
func (t *reassignTool) request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if t.direct != nil {
		return t.direct.RetriableRequest(ctx, req)
	}
	return t.cl.Request(ctx, req)
}

// ongoing is a reassignment that the cluster works on.
type ongoing = kmsg.ListPartitionReassignmentsResponseTopicPartition

// underWay are the reassignments that the cluster works on; only is nil for
// all of them.
func (t *reassignTool) underWay(ctx context.Context, only []topicPartition) (map[topicPartition]ongoing, error) {
	return reassignmentsUnderWay(ctx, t.request, only)
}

func reassignmentsUnderWay(ctx context.Context, send func(context.Context, kmsg.Request) (kmsg.Response, error), only []topicPartition) (map[topicPartition]ongoing, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	for _, tp := range only {
		i := slices.IndexFunc(req.Topics, func(x kmsg.ListPartitionReassignmentsRequestTopic) bool { return x.Topic == tp.topic })
		if i < 0 {
			rt := kmsg.NewListPartitionReassignmentsRequestTopic()
			rt.Topic = tp.topic
			i, req.Topics = len(req.Topics), append(req.Topics, rt)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, tp.partition)
	}
	raw, err := send(ctx, req)
	if err != nil {
		return nil, javaError(timedOut(err, "listPartitionReassignments"))
	}
	resp := raw.(*kmsg.ListPartitionReassignmentsResponse)
	if err := codeError(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, javaError(err)
	}
	out := map[topicPartition]ongoing{}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			out[topicPartition{rt.Topic, p.Partition}] = p
		}
	}
	return out, nil
}

func (t *reassignTool) doList(ctx context.Context) error {
	moves, err := t.underWay(ctx, nil)
	if err != nil {
		return err
	}
	if len(moves) == 0 {
		t.env.println("No partition reassignments found.")
		return nil
	}
	t.env.println("Current partition reassignments:")
	for _, tp := range sortedPartitions(moves) {
		m := moves[tp]
		line := tp.String() + ": replicas: " + commaList(m.Replicas) + "."
		if len(m.AddingReplicas) > 0 {
			line += " adding: " + commaList(m.AddingReplicas) + "."
		}
		if len(m.RemovingReplicas) > 0 {
			line += " removing: " + commaList(m.RemovingReplicas) + "."
		}
		t.env.println(line)
	}
	return nil
}

// alter asks for targets, nil ones to cancel, and returns what was refused.
func (t *reassignTool) alter(ctx context.Context, targets map[topicPartition][]int32) (map[topicPartition]error, error) {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis = 30_000
	req.AllowReplicationFactorChange = !t.sameFactor.has
	for _, tp := range sortedPartitions(targets) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.topic {
			rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			rt.Topic = tp.topic
			req.Topics = append(req.Topics, rt)
		}
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = tp.partition, targets[tp]
		last := &req.Topics[len(req.Topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	raw, err := t.request(ctx, req)
	if err != nil {
		return nil, javaError(timedOut(err, "alterPartitionReassignments"))
	}
	resp := raw.(*kmsg.AlterPartitionAssignmentsResponse)
	top := codeError(resp.ErrorCode, resp.ErrorMessage)
	refused := map[topicPartition]error{}
	for tp := range targets {
		if top != nil {
			refused[tp] = top
		}
	}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if err := codeError(p.ErrorCode, p.ErrorMessage); err != nil {
				refused[topicPartition{rt.Topic, p.Partition}] = err
			}
		}
	}
	return refused, nil
}

// refusals is one line for each partition that was refused.
func refusals(refused map[topicPartition]error) string {
	var lines []string
	for _, tp := range sortedPartitions(refused) {
		lines = append(lines, tp.String()+": "+refused[tp].Error())
	}
	return strings.Join(lines, "\n")
}
