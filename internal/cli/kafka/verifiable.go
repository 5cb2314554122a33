// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// events prints one JSON object a line, each with its time and name first.
type events struct {
	env *Env
	mu  sync.Mutex // a line at a time
}

func (v *events) say(name string, more ...member) {
	v.mu.Lock()
	defer v.mu.Unlock()
	raw, err := plainJSON(append(ordered{{"timestamp", time.Now().UnixMilli()}, {"name", name}}, more...))
	if err != nil {
		v.env.println("Bad data can't be written as json: " + err.Error())
		return
	}
	v.env.println(string(raw))
}

func verifiableProducerArguments() *arguments {
	a := newArguments("verifiable-producer", "Produces numbers that count up and says of each, as JSON, whether it was acknowledged.")
	a.store("--topic").need().about("The topic to produce to.")
	a.exclusiveNeeded(a.store("--bootstrap-server").as("bootstrapServer").about("Brokers: host:port with commas between."))
	a.store("--max-messages").as("maxMessages").number().def("-1").about("How many; -1 for no end.")
	a.store("--throughput").number().def("-1").about("Records a second; -1 for as many as go.")
	a.store("--acks").number().oneOf("0", "1", "-1").def("-1").about("Who must have a record.")
	a.store("--producer.config").as("producer.config").about("(Deprecated) old name of --command-config.")
	a.store("--message-create-time").as("createTime").number().def("-1").about("The first record's time, in milliseconds.")
	a.store("--value-prefix").as("valuePrefix").number().about("A number and a dot before each value.")
	a.store("--repeating-keys").as("repeatingKeys").number().about("Keys count from 0 to this and begin again.")
	a.store("--command-config").as("commandConfigFile").about("File of producer configurations.")
	return a
}

// configFile reads the old and the new option for a file of properties.
func configFile(e *Env, a *arguments, ns *namespace, old string) (props, error) {
	file := ns.get("commandConfigFile")
	if ns.has(old) {
		if ns.has("commandConfigFile") {
			return nil, a.errorf("Options --%s and --command-config are mutually exclusive.", old)
		}
		e.println("Option --" + old + " has been deprecated and will be removed in a future version. Use --command-config instead.")
		file = ns.get(old)
	}
	return loadProps(file)
}

func runVerifiableProducer(ctx context.Context, e *Env, args []string) error {
	a := verifiableProducerArguments()
	if len(args) == 0 {
		a.help(e.Out)
		return nil
	}
	ns, err := a.parse(e, args)
	if err != nil {
		return err
	}
	file, err := configFile(e, a, ns, "producer.config")
	if err != nil {
		return err
	}
	p := props{"bootstrap.servers": ns.get("bootstrapServer"), "acks": ns.get("acks")}
	p.merge(file)
	p.perfDefaults()
	opts, err := p.producerOpts(e)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return failf("%s", err)
	}
	defer cl.Close()
	out := &events{env: e}
	topic := ns.get("topic")
	start := time.Now()
	throughput := ns.int("throughput")
	limit := ns.int("maxMessages")
	if limit < 0 {
		limit = math.MaxInt64
	}
	created, hasTime := ns.int("createTime"), ns.int("createTime") != -1
	var sent, key int64
	acked := int64(0) // written by promises, which run one at a time; read after Flush
	out.say("startup_complete")
	speed := pace{float64(throughput), start}
	for i := int64(0); i < limit && ctx.Err() == nil; i++ {
		rec := &kgo.Record{Topic: topic}
		value := fmt.Sprint(i)
		if ns.has("valuePrefix") {
			value = ns.get("valuePrefix") + "." + value
		}
		rec.Value = []byte(value)
		var keyText any
		if ns.has("repeatingKeys") {
			k := fmt.Sprint(key)
			rec.Key, keyText = []byte(k), k
			if key++; key == ns.int("repeatingKeys") {
				key = 0
			}
		}
		if hasTime {
			rec.Timestamp = time.UnixMilli(created)
			created += time.Since(start).Milliseconds()
		}
		sent++
		cl.Produce(context.WithoutCancel(ctx), rec, func(r *kgo.Record, err error) {
			if err != nil {
				class, text, _ := cutException(exceptionText(timedOut(err, "send")))
				out.say("producer_send_error", member{"key", keyText}, member{"value", value}, member{"topic", topic}, member{"exception", "class " + class}, member{"message", text})
				return
			}
			acked++
			out.say("producer_send_success", member{"key", keyText}, member{"value", value}, member{"offset", r.Offset}, member{"topic", r.Topic}, member{"partition", r.Partition})
		})
		speed.wait(ctx, i+1)
	}
	_ = cl.Flush(context.WithoutCancel(ctx))
	out.say("shutdown_complete")
	avg := 1000 * float64(acked) / float64(max(time.Since(start).Milliseconds(), 1))
	out.say("tool_data", member{"sent", sent}, member{"acked", acked}, member{"target_throughput", throughput}, member{"avg_throughput", javaNumber(avg)})
	return nil
}

// javaNumber is a JSON number as Java writes a double.
type javaNumber float64

func (n javaNumber) MarshalJSON() ([]byte, error) { return []byte(javaFloat(float64(n), 64)), nil }

func cutException(s string) (class, text string, ok bool) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == ':' {
			return s[:i], s[i+2:], true
		}
	}
	return s, "", false
}

func verifiableConsumerArguments() *arguments {
	a := newArguments("verifiable-consumer", "Consumes a topic and says, as JSON, what happens: rebalances, records, commits.")
	a.exclusiveNeeded(a.store("--bootstrap-server").as("bootstrapServer").need().about("Brokers: host:port with commas between."))
	a.store("--topic").need().about("The topic to read.")
	a.store("--group-protocol").as("groupProtocol").def("classic").about("classic or consumer.")
	a.store("--group-remote-assignor").as("groupRemoteAssignor").about("The broker's assignor, with the consumer protocol.")
	a.store("--group-id").as("groupId").need().about("The consumer group.")
	a.store("--group-instance-id").as("groupInstanceId").about("The name of a static member.")
	a.store("--max-messages").as("maxMessages").number().def("-1").about("How many; -1 for no end.")
	a.store("--session-timeout").as("sessionTimeout").number().about("session.timeout.ms")
	a.toggle("--verbose").about("A line for each record.")
	a.toggle("--enable-autocommit").as("useAutoCommit").about("Commit in the background.")
	a.store("--reset-policy").as("resetPolicy").def("earliest").about("earliest, latest or none.")
	a.store("--assignment-strategy").as("assignmentStrategy").def("org.apache.kafka.clients.consumer.RangeAssignor").about("The assignor's class.")
	a.store("--consumer.config").as("consumer.config").about("(Deprecated) old name of --command-config.")
	a.store("--command-config").as("commandConfigFile").about("File of consumer configurations.")
	return a
}

func runVerifiableConsumer(ctx context.Context, e *Env, args []string) error {
	a := verifiableConsumerArguments()
	if len(args) == 0 {
		a.help(e.Out)
		return nil
	}
	ns, err := a.parse(e, args)
	if err != nil {
		return err
	}
	p, err := configFile(e, a, ns, "consumer.config")
	if err != nil {
		return err
	}
	if ns.get("groupProtocol") != "classic" {
		return failf("--group-protocol %s: this tool speaks the classic protocol only", ns.get("groupProtocol"))
	}
	p["partition.assignment.strategy"] = ns.get("assignmentStrategy")
	for name, dest := range map[string]string{"session.timeout.ms": "sessionTimeout", "group.instance.id": "groupInstanceId"} {
		if ns.has(dest) {
			p[name] = ns.get(dest)
		}
	}
	p["bootstrap.servers"], p["group.id"], p["auto.offset.reset"] = ns.get("bootstrapServer"), ns.get("groupId"), ns.get("resetPolicy")
	auto := ns.on("useAutoCommit")
	p["enable.auto.commit"] = fmt.Sprint(auto)
	opts, err := p.consumerOpts(e)
	if err != nil {
		return err
	}
	out := &events{env: e}
	list := func(m map[string][]int32) member {
		all := []any{}
		for t, ps := range m {
			for _, n := range ps {
				all = append(all, ordered{{"topic", t}, {"partition", n}})
			}
		}
		return member{"partitions", all}
	}
	tell := func(name string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, m map[string][]int32) { out.say(name, list(m)) }
	}
	opts = append(opts, kgo.ConsumeTopics(ns.get("topic")),
		kgo.OnPartitionsAssigned(tell("partitions_assigned")), kgo.OnPartitionsRevoked(tell("partitions_revoked")), kgo.OnPartitionsLost(tell("partitions_revoked")))
	out.say("startup_complete")
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return failf("%s", err)
	}
	limit, count := ns.int("maxMessages"), int64(0)
	for (limit < 0 || count < limit) && ctx.Err() == nil {
		n := 500
		if limit >= 0 {
			n = int(min(500, limit-count))
		}
		fetches := cl.PollRecords(ctx, n)
		if ctx.Err() != nil {
			break
		}
		fetches.EachError(func(t string, p int32, err error) { e.complain("%s-%d: %s", t, p, err) })
		if fetches.NumRecords() == 0 {
			continue
		}
		parts, commits := []any{}, []any{}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) == 0 {
				return
			}
			first, last := f.Records[0], f.Records[len(f.Records)-1]
			if ns.on("verbose") {
				for _, r := range f.Records {
					out.say("record_data", member{"key", textOrNil(r.Key)}, member{"value", textOrNil(r.Value)}, member{"topic", r.Topic}, member{"partition", r.Partition}, member{"offset", r.Offset})
				}
			}
			parts = append(parts, ordered{{"topic", f.Topic}, {"partition", f.Partition}, {"count", len(f.Records)}, {"minOffset", first.Offset}, {"maxOffset", last.Offset}})
			commits = append(commits, ordered{{"topic", f.Topic}, {"partition", f.Partition}, {"offset", last.Offset + 1}})
			count += int64(len(f.Records))
			cl.MarkCommitRecords(f.Records...)
		})
		out.say("records_consumed", member{"count", fetches.NumRecords()}, member{"partitions", parts})
		if !auto {
			if err := cl.CommitRecords(ctx, fetches.Records()...); err != nil {
				out.say("offsets_committed", member{"offsets", commits}, member{"error", withMessage(err, nil).Error()}, member{"success", false})
			} else {
				out.say("offsets_committed", member{"offsets", commits}, member{"success", true})
			}
		}
	}
	if ctx.Err() != nil {
		out.say("shutdown_requested")
	}
	if auto {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		_ = cl.CommitMarkedOffsets(last)
		cancel()
	}
	cl.Close()
	out.say("shutdown_complete")
	return nil
}

func textOrNil(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}
