// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const noValue = "-"

type groupsTool struct {
	o   *options
	env *Env
	adm *kadm.Client
	cl  *kgo.Client

	server, group, topic, allTopics, list, describe, allGroups, remove, timeout, config *option
	reset, deleteOffsets, dryRun, execute, export                                       *option
	toOffset, fromFile, toDatetime, byDuration, toEarliest, toLatest, toCurrent, shift  *option
	members, verbose, offsets, state, kind, regex                                       *option
}

func newGroupsTool(e *Env) *groupsTool {
	o := newOptions("Lists and describes consumer groups, deletes them, and resets or deletes their offsets.")
	t := &groupsTool{o: o, env: e}
	t.server = o.text("bootstrap-server", "server to connect to", "host:port of a broker, or several with commas between. REQUIRED but for --validate-regex.")
	t.group = o.text("group", "consumer group", "The group; may be repeated.")
	t.topic = o.text("topic", "topic", "A topic whose offsets are reset or deleted, or partitions of it as topic:0,1,2; may be repeated.")
	t.allTopics = o.flag("all-topics", "With --reset-offsets: every topic of which the group has offsets.")
	t.list = o.flag("list", "List the consumer groups.")
	t.describe = o.flag("describe", "Show a group's offsets and how far behind they are.")
	t.allGroups = o.flag("all-groups", "Every consumer group.")
	t.remove = o.flag("delete", "Delete groups with all they have.")
	t.timeout = o.long("timeout", "timeout (ms)", "How long to wait for the group to settle.").def("30000")
	t.config = o.text("command-config", "command config property file", "File of client properties.")
	t.reset = o.flag("reset-offsets", "Set a group's offsets. Nothing changes without --execute. One of --to-datetime, --by-duration, --to-earliest, --to-latest, --shift-by, --from-file, --to-current, --to-offset, and --all-topics or --topic.")
	t.deleteOffsets = o.flag("delete-offsets", "Delete a group's offsets of topics.")
	t.dryRun = o.flag("dry-run", "Show what --reset-offsets would do.")
	t.execute = o.flag("execute", "Do it.")
	t.export = o.flag("export", "Print the outcome of --reset-offsets as CSV.")
	t.toOffset = o.long("to-offset", "offset", "Reset to this offset.")
	t.fromFile = o.text("from-file", "path to CSV file", "Reset to what a CSV file says: [group,]topic,partition,offset.")
	t.toDatetime = o.text("to-datetime", "datetime", "Reset to a time: YYYY-MM-DDThh:mm:ss.sss, UTC unless a zone follows.")
	t.byDuration = o.text("by-duration", "duration", "Reset to so long ago: PnDTnHnMnS.")
	t.toEarliest = o.flag("to-earliest", "Reset to the oldest record.")
	t.toLatest = o.flag("to-latest", "Reset to the end.")
	t.toCurrent = o.flag("to-current", "Reset to where the group is.")
	t.shift = o.long("shift-by", "number-of-offsets", "Move by so many records, forward or (negative) back.")
	t.members = o.flag("members", "With --describe: the members.")
	t.verbose = o.flag("verbose", "With --describe: more columns.")
	t.offsets = o.flag("offsets", "With --describe: the offsets, as when nothing else is asked for.")
	t.state = o.text("state", "", "With --describe: the group's state. With --list: a column of states, or only groups in those given.").maybe()
	t.kind = o.text("type", "", "With --list: a column of types, or only groups of those given.").maybe()
	t.regex = o.text("validate-regex", "regex", "Say whether a regular expression is one that brokers take (RE2).")
	return t
}

func (t *groupsTool) check() error {
	o := t.o
	if err := o.maybeHelp(t.env); err != nil {
		return err
	}
	if !t.regex.has {
		if err := o.required(t.server); err != nil {
			return err
		}
	}
	scope := "[all-groups], [group]"
	if t.describe.has {
		if !t.group.has && !t.allGroups.has {
			return o.usage("Option %s takes one of these options: %s", t.describe, scope)
		}
		n := 0
		for _, s := range []*option{t.members, t.offsets, t.state} {
			if s.has {
				n++
			}
		}
		if n > 1 {
			return o.usage("Option %s takes at most one of these options: %s, %s, %s", t.describe, t.members, t.offsets, t.state)
		}
		if t.state.has && len(t.state.values) > 0 {
			return o.usage("Option %s does not take a value for %s", t.describe, t.state)
		}
	}
	if t.remove.has {
		if !t.group.has && !t.allGroups.has {
			return o.usage("Option %s takes one of these options: %s", t.remove, scope)
		}
		if t.topic.has {
			return o.usage("--delete takes whole groups; offsets of one topic are deleted with --delete-offsets.")
		}
	}
	if t.deleteOffsets.has && (!t.group.has || !t.topic.has) {
		return o.usage("Option %s takes the following options: %s, %s", t.deleteOffsets, t.group, t.topic)
	}
	if t.reset.has {
		if t.dryRun.has && t.execute.has {
			return o.usage("Option %s only accepts one of %s and %s", t.reset, t.execute, t.dryRun)
		}
		if !t.dryRun.has && !t.execute.has {
			t.env.complain("WARN: nothing will be changed without --execute; say --dry-run if that is meant.")
		}
		if !t.group.has && !t.allGroups.has {
			return o.usage("Option %s takes one of these options: %s", t.reset, scope)
		}
		scenarios := t.scenarios()
		for _, s := range scenarios {
			others := slices.DeleteFunc(slices.Clone(scenarios), func(x *option) bool { return x == s })
			if err := o.invalid(s, others...); err != nil {
				return err
			}
		}
	}
	if err := o.invalid(t.group, t.allGroups, t.list); err != nil {
		return err
	}
	return o.invalid(t.topic, t.list, t.describe)
}

func (t *groupsTool) scenarios() []*option {
	return []*option{t.toOffset, t.shift, t.toDatetime, t.byDuration, t.toEarliest, t.toLatest, t.toCurrent, t.fromFile}
}

func runConsumerGroups(ctx context.Context, e *Env, args []string) error {
	t := newGroupsTool(e)
	if err := t.o.parse(args); err != nil {
		return failf("%s", err)
	}
	for _, s := range []*option{t.members, t.verbose, t.offsets} {
		if s.has && !t.describe.has {
			return failf("Option(s) %s are unavailable given other options on the command line", s)
		}
	}
	if t.state.has && !t.describe.has && !t.list.has || t.kind.has && !t.list.has {
		return failf("Option(s) are unavailable given other options on the command line")
	}
	if err := t.check(); err != nil {
		return err
	}
	n := 0
	actions := []*option{t.list, t.describe, t.remove, t.reset, t.deleteOffsets, t.regex}
	for _, a := range actions {
		if a.has {
			n++
		}
	}
	if n != 1 {
		return t.o.usage("Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex")
	}
	if t.regex.has {
		if _, err := regexp.Compile(t.regex.value()); err != nil {
			what := err.Error()
			if se := (*syntax.Error)(nil); errors.As(err, &se) {
				what = se.Code.String()
			}
			e.printf("The regular expression `%s` is invalid: %s.\n", t.regex.value(), what)
		} else {
			e.printf("The regular expression `%s` is valid.\n", t.regex.value())
		}
		return nil
	}
	conf, err := loadProps(t.config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = t.server.value()
	if t.adm, t.cl, err = conf.admin(e); err != nil {
		return err
	}
	defer t.cl.Close()
	ctx, cancel := context.WithTimeout(ctx, max(time.Duration(t.timeout.int())*time.Millisecond, time.Second)*2)
	defer cancel()
	switch {
	case t.list.has:
		err = t.doList(ctx)
	case t.describe.has:
		err = t.doDescribe(ctx)
	case t.remove.has:
		err = t.doDelete(ctx)
	case t.reset.has:
		err = t.doReset(ctx)
	default:
		err = t.doDeleteOffsets(ctx)
	}
	if quit := (*exit)(nil); errors.As(err, &quit) {
		return err
	}
	if err != nil {
		// As in Kafka: said on standard output, and the status is 0.
		t.problem("Executing consumer group command failed due to " + err.Error())
	}
	return nil
}

func (t *groupsTool) problem(text string) { t.env.println("\nError: " + text) }

// javaError says err as the exception that Kafka's tool would print: with its
// class where a future's failure is passed on.
func javaError(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(exceptionText(err))
}

func (t *groupsTool) wanted(ctx context.Context) ([]string, error) {
	if !t.allGroups.has {
		return t.group.values, nil
	}
	groups, err := t.consumerGroups(ctx, nil, nil)
	var ids []string
	for _, g := range groups {
		ids = append(ids, g.id)
	}
	return ids, err
}

func (t *groupsTool) committed(ctx context.Context, group string) (map[topicPartition]kadm.Offset, error) {
	resps, err := t.adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, javaError(timedOut(err, "offsetFetch"))
	}
	out := map[topicPartition]kadm.Offset{}
	resps.Each(func(r kadm.OffsetResponse) {
		if r.Err == nil && r.At >= 0 {
			out[topicPartition{r.Topic, r.Partition}] = r.Offset
		}
	})
	return out, nil
}

// scope parses --topic words: names, or name:0,1,2. Partitions of plain names
// are looked up; what cannot be found is handed to missing.
func (t *groupsTool) topicScope(ctx context.Context, missing func(topic string, err error) error) ([]topicPartition, error) {
	var out []topicPartition
	var names []string
	for _, w := range t.topic.values {
		if !strings.Contains(w, ":") {
			names = append(names, w)
			continue
		}
		parts := strings.Split(w, ":")
		if len(parts) != 2 {
			return nil, t.o.usage("Invalid topic arg '%s', expected topic name and partitions", w)
		}
		for _, p := range strings.Split(parts[1], ",") {
			n, err := strconv.ParseInt(p, 10, 32)
			if err != nil {
				return nil, t.o.usage("Invalid partition '%s' specified in topic arg '%s''", p, w)
			}
			out = append(out, topicPartition{parts[0], int32(n)})
		}
	}
	for _, name := range names {
		d, err := t.adm.ListTopicsWithInternal(ctx, name)
		if err == nil {
			err = withMessage(d[name].Err, nil)
		}
		if err != nil {
			if err := missing(name, timedOut(err, "describeTopics")); err != nil {
				return nil, err
			}
			continue
		}
		for _, p := range d[name].Partitions.Sorted() {
			out = append(out, topicPartition{name, p.Partition})
		}
	}
	return out, nil
}
