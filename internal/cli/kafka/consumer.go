// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func runConsoleConsumer(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Prints the records of topics on standard output.")
	topic := o.text("topic", "topic", "The topic to read.")
	include := o.text("include", "Java regex (String)", "A regular expression: read every topic that matches.")
	partition := o.integer("partition", "partition", "Read this partition only, from its end unless --offset says otherwise.")
	offset := o.text("offset", "consume offset", "Where to begin in the partition: a number, earliest or latest.").def("latest")
	oldProp := o.text("consumer-property", "consumer_prop", "(Deprecated) old name of --command-property.")
	prop := o.text("command-property", "consumer_prop", "A consumer configuration, as name=value; may be repeated.")
	oldFile := o.text("consumer.config", "config file", "(Deprecated) old name of --command-config.")
	file := o.text("command-config", "config file", "File of consumer configurations; --command-property wins over it.")
	class := o.text("formatter", "class", "The class that prints records: one of Kafka's own.").def(defaultFormatterClass)
	oldFmtProp := o.text("property", "prop", "(Deprecated) old name of --formatter-property.")
	fmtProp := o.text("formatter-property", "prop", "How records are printed, as name=value, may be repeated:\n print.timestamp, print.key, print.offset, print.epoch, print.partition, print.headers, print.value (true or false)\n key.separator, line.separator, headers.separator, null.literal\n key.deserializer, value.deserializer, headers.deserializer")
	fmtFile := o.text("formatter-config", "config file", "File of formatter properties; --formatter-property wins over it.")
	begin := o.flag("from-beginning", "Where the group has no position yet, begin with the oldest record.")
	maxMessages := o.integer("max-messages", "num_messages", "Stop after so many records.")
	timeout := o.long("timeout-ms", "timeout_ms", "Stop when no record came for so long.")
	skip := o.flag("skip-message-on-error", "Go on when a record cannot be printed.")
	server := o.text("bootstrap-server", "server to connect to", "REQUIRED: host:port of a broker, or several with commas between.")
	keyClass := o.text("key-deserializer", "deserializer for keys", "The class that reads keys.")
	valueClass := o.text("value-deserializer", "deserializer for values", "The class that reads values.")
	systest := o.flag("enable-systest-events", "Print shutdown_complete at the end, for Kafka's system tests.")
	isolation := o.text("isolation-level", "", "read_committed leaves out records of open and aborted transactions.").def("read_uncommitted")
	group := o.text("group", "consumer group id", "The consumer group to join.")
	if err := o.start(e, args); err != nil {
		return err
	}
	if err := o.oneOf(topic, include); err != nil {
		return err
	}
	switch {
	case partition.has && !topic.has:
		return o.usage("The topic is required when partition is specified.")
	case partition.has && begin.has && offset.has:
		return o.usage("Options from-beginning and offset cannot be specified together.")
	case !partition.has && offset.has:
		return o.usage("The partition is required when offset is specified.")
	}
	if err := o.required(server); err != nil {
		return err
	}
	for _, pair := range [][2]*option{{oldProp, prop}, {oldFile, file}} {
		if pair[0].has && pair[1].has {
			return o.usage("Options --%s and --%s cannot be specified together.", pair[0].names[0], pair[1].names[0])
		}
	}
	deprecated := func(old, now *option) {
		if old.has {
			e.printf("Option --%s is deprecated and will be removed in a future version. Use --%s instead.\n", old.names[0], now.names[0])
			now.values = old.values
		}
	}
	deprecated(oldProp, prop)
	deprecated(oldFile, file)
	p, err := loadProps(file.value())
	if err != nil {
		return err
	}
	extra := keyValues(prop.values)
	groups := map[string]bool{}
	if group.has {
		groups[group.value()] = true
	}
	for _, m := range []map[string]string{p, extra} {
		if g, ok := m["group.id"]; ok {
			groups[g] = true
		}
	}
	if len(groups) > 1 {
		return o.usage("The group ids provided in different places (directly using '--group', via '--command-property', or via '--command-config') do not match.")
	}
	if len(groups) == 1 && partition.has {
		return o.usage("Options group and partition cannot be specified together.")
	}
	p.merge(extra)
	switch r, set := p["auto.offset.reset"]; {
	case set && begin.has && r != "earliest":
		return failf("Can't simultaneously specify --from-beginning and 'auto.offset.reset=%s', please remove one option", r)
	case !set && begin.has:
		p["auto.offset.reset"] = "earliest"
	case !set:
		p["auto.offset.reset"] = "latest"
	}
	p["bootstrap.servers"] = server.value()
	if p["client.id"] == "" {
		p["client.id"] = "console-consumer"
	}
	if _, set := p["isolation.level"]; isolation.has || !set {
		p["isolation.level"] = isolation.value()
	}
	for g := range groups {
		p["group.id"] = g
	}
	start, err := startOffset(o, offset, begin.has)
	if err != nil {
		return err
	}
	if oldFmtProp.has && fmtProp.has {
		return o.usage("Options --property and --formatter-property cannot be specified together.")
	}
	deprecated(oldFmtProp, fmtProp)
	fp, err := loadProps(fmtFile.value())
	if err != nil {
		return err
	}
	if v := keyClass.value(); v != "" {
		fp["key.deserializer"] = v
	}
	if v := valueClass.value(); v != "" {
		fp["value.deserializer"] = v
	}
	format, err := newFormatter(e, class.value(), fp.merge(keyValues(fmtProp.values)))
	if err != nil {
		return o.usage("%s", err)
	}

	opts, err := p.consumerOpts(e)
	if err != nil {
		return err
	}
	switch {
	case partition.has:
		opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic.value(): {int32(partition.int()): start}}))
	case topic.has:
		opts = append(opts, kgo.ConsumeTopics(topic.value()))
	default:
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:"+include.value()+")$"))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return failf("%s", err)
	}
	c := &consoleConsumer{env: e, cl: cl, format: format, skip: skip.has, limit: -1, out: bufio.NewWriterSize(e.Out, 64<<10), grouped: len(groups) > 0}
	if maxMessages.has {
		c.limit = maxMessages.int()
	}
	if timeout.has && timeout.int() >= 0 {
		c.patience = time.Duration(timeout.int()) * time.Millisecond
	}
	err = c.run(ctx)
	if c.grouped && !strings.EqualFold(p["enable.auto.commit"], "false") {
		// What was printed counts as read, and nothing beyond it.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		if err := cl.CommitMarkedOffsets(last); err != nil {
			e.complain("cannot commit the group's position: %s", err)
		}
		cancel()
	}
	cl.Close()
	e.complain("Processed a total of %d messages", c.count)
	if systest.has {
		e.println("shutdown_complete")
	}
	return err
}

func startOffset(o *options, offset *option, begin bool) (kgo.Offset, error) {
	switch s := strings.ToLower(offset.value()); {
	case !offset.has && begin, s == "earliest":
		return kgo.NewOffset().AtStart(), nil
	case s == "latest":
		return kgo.NewOffset().AtEnd(), nil
	default:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return kgo.Offset{}, o.usage("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", offset.value())
		}
		return kgo.NewOffset().At(n), nil
	}
}

// consumerOpts translates consumer configurations.
//
// Differs from Kafka: without a group id no group is joined (Kafka makes one
// up and forgets it), which saves the wait for the group's first rebalance.
func (p props) consumerOpts(e *Env) ([]kgo.Opt, error) {
	opts, err := p.kgoOpts(e)
	if err != nil {
		return nil, err
	}
	var reset kgo.Offset
	switch r := p["auto.offset.reset"]; {
	case r == "earliest":
		reset = kgo.NewOffset().AtStart()
	case r == "latest", r == "":
		reset = kgo.NewOffset().AtEnd()
	case r == "none":
		reset = kgo.NoResetOffset()
	case strings.HasPrefix(r, "by_duration:"):
		d, err := parseISODuration(strings.TrimPrefix(r, "by_duration:"))
		if err != nil {
			return nil, failf("Invalid value %s for configuration auto.offset.reset: %s", r, err)
		}
		reset = kgo.NewOffset().AfterMilli(time.Now().Add(-d).UnixMilli())
	default:
		return nil, failf("Invalid value %s for configuration auto.offset.reset: it must be earliest, latest, none or by_duration:<ISO 8601>", r)
	}
	opts = append(opts, kgo.ConsumeResetOffset(reset))
	if strings.ToLower(p["allow.auto.create.topics"]) != "false" {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	switch strings.ToLower(p["isolation.level"]) {
	case "", "read_uncommitted":
	case "read_committed":
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	default:
		return nil, failf("Invalid value %s for configuration isolation.level: String must be one of: read_committed, read_uncommitted", p["isolation.level"])
	}
	if id := p["client.rack"]; id != "" {
		opts = append(opts, kgo.Rack(id))
	}
	type number struct {
		name string
		use  func(int64)
	}
	ms := func(v int64) time.Duration { return time.Duration(v) * time.Millisecond }
	group := p["group.id"]
	for _, n := range []number{
		{"fetch.max.wait.ms", func(v int64) { opts = append(opts, kgo.FetchMaxWait(ms(v))) }},
		{"fetch.min.bytes", func(v int64) { opts = append(opts, kgo.FetchMinBytes(int32(v))) }},
		{"fetch.max.bytes", func(v int64) { opts = append(opts, kgo.FetchMaxBytes(int32(v))) }},
		{"max.partition.fetch.bytes", func(v int64) { opts = append(opts, kgo.FetchMaxPartitionBytes(int32(v))) }},
		{"session.timeout.ms", func(v int64) {
			if group != "" {
				opts = append(opts, kgo.SessionTimeout(ms(v)))
			}
		}},
		{"heartbeat.interval.ms", func(v int64) {
			if group != "" {
				opts = append(opts, kgo.HeartbeatInterval(ms(v)))
			}
		}},
		{"auto.commit.interval.ms", func(v int64) {
			if group != "" && !strings.EqualFold(p["enable.auto.commit"], "false") {
				opts = append(opts, kgo.AutoCommitInterval(max(ms(v), 100*time.Millisecond)))
			}
		}},
	} {
		if _, set := p[n.name]; set {
			v, err := p.integer(n.name, 0)
			if err != nil {
				return nil, err
			}
			n.use(v)
		}
	}
	if group == "" {
		return opts, nil
	}
	opts = append(opts, kgo.ConsumerGroup(group), kgo.Balancers(balancers(p["partition.assignment.strategy"])...))
	if id := p["group.instance.id"]; id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	if strings.EqualFold(p["enable.auto.commit"], "false") {
		opts = append(opts, kgo.DisableAutoCommit())
	} else {
		opts = append(opts, kgo.AutoCommitMarks())
	}
	return opts, nil
}

// balancers maps Java's assignor classes; the default list is Java's.
func balancers(classes string) []kgo.GroupBalancer {
	if classes == "" {
		return []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()}
	}
	var out []kgo.GroupBalancer
	for _, c := range strings.Split(classes, ",") {
		switch c = strings.TrimSpace(c); {
		case strings.HasSuffix(c, "CooperativeStickyAssignor"):
			out = append(out, kgo.CooperativeStickyBalancer())
		case strings.HasSuffix(c, "StickyAssignor"):
			out = append(out, kgo.StickyBalancer())
		case strings.HasSuffix(c, "RoundRobinAssignor"):
			out = append(out, kgo.RoundRobinBalancer())
		default:
			out = append(out, kgo.RangeBalancer())
		}
	}
	return out
}

type consoleConsumer struct {
	env      *Env
	cl       *kgo.Client
	format   formatter
	out      *bufio.Writer
	limit    int64         // -1: no end
	patience time.Duration // 0: for ever
	skip     bool
	grouped  bool
	count    int64
}

// run prints records until the limit, the patience or ctx ends it; none of
// these is an error, as in Kafka.
func (c *consoleConsumer) run(ctx context.Context) error {
	defer c.out.Flush()
	for c.limit < 0 || c.count < c.limit {
		poll, cancel := ctx, context.CancelFunc(func() {})
		if c.patience > 0 {
			poll, cancel = context.WithTimeout(ctx, c.patience)
		}
		n := 1000
		if c.limit >= 0 {
			n = int(min(1000, c.limit-c.count))
		}
		fetches := c.cl.PollRecords(poll, n)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if fetches.NumRecords() == 0 && errors.Is(fetches.Err0(), context.DeadlineExceeded) {
			c.env.complain("No record within %s.", c.patience)
			return nil
		}
		var failed error
		fetches.EachError(func(t string, p int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				failed = fmt.Errorf("%s-%d: %w", t, p, withMessage(err, nil))
			}
		})
		for it := fetches.RecordIter(); !it.Done(); {
			rec := it.Next()
			c.count++
			if err := c.format.write(c.out, rec); err != nil {
				if !c.skip {
					return failf("%s", err)
				}
				c.env.complain("Error processing message, skipping this message: %s", err)
			}
			if c.grouped {
				c.cl.MarkCommitRecords(rec)
			}
		}
		if err := c.out.Flush(); err != nil {
			c.env.complain("Unable to write to standard out, closing consumer.")
			return nil
		}
		if failed != nil {
			c.env.complain("Error processing message, terminating consumer process: %s", failed)
			return nil
		}
	}
	return nil
}
