// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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

type listedGroup struct{ id, kind, state string }

// consumerGroups lists groups of consumers, in the order Java's map has.
func (t *groupsTool) consumerGroups(ctx context.Context, states, kinds []string) ([]listedGroup, error) {
	req := kmsg.NewPtrListGroupsRequest()
	req.StatesFilter, req.TypesFilter = states, kinds
	if len(kinds) == 0 {
		req.TypesFilter = []string{"Classic", "Consumer"}
	}
	seen := map[string]bool{}
	var out []listedGroup
	for _, shard := range t.cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, javaError(timedOut(shard.Err, "listGroups"))
		}
		resp := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := codeError(resp.ErrorCode, nil); err != nil {
			return nil, javaError(err)
		}
		for _, g := range resp.Groups {
			if (g.ProtocolType == "" || g.ProtocolType == "consumer") && !seen[g.Group] {
				seen[g.Group] = true
				kind := g.GroupType
				if kind == "" {
					kind = "Unknown"
				} else {
					kind = strings.ToUpper(kind[:1]) + strings.ToLower(kind[1:])
				}
				out = append(out, listedGroup{g.Group, kind, g.GroupState})
			}
		}
	}
	return hashOrder(out, 16, func(g listedGroup) int32 { return stringHash(g.id) }), nil
}

var groupStates = map[string]string{
	"preparingrebalance": "PreparingRebalance", "completingrebalance": "CompletingRebalance", "stable": "Stable",
	"dead": "Dead", "empty": "Empty", "assigning": "Assigning", "reconciling": "Reconciling",
}

func (t *groupsTool) doList(ctx context.Context) error {
	split := func(o *option, known map[string]string, what string) (out []string, err error) {
		if o.value() == "" {
			return nil, nil
		}
		for _, w := range strings.Split(o.value(), ",") {
			v, ok := known[strings.ToLower(strings.TrimSpace(w))]
			if !ok {
				return nil, t.o.usage("Invalid %s list '%s'. Valid %ss are: %s", what, o.value(), what, strings.Join(slices.Sorted(maps.Values(known)), ", "))
			}
			out = append(out, v)
		}
		return out, nil
	}
	states, err := split(t.state, groupStates, "state")
	if err != nil {
		return err
	}
	kinds, err := split(t.kind, map[string]string{"classic": "Classic", "consumer": "Consumer"}, "type")
	if err != nil {
		return err
	}
	groups, err := t.consumerGroups(ctx, states, kinds)
	if err != nil {
		return err
	}
	if !t.state.has && !t.kind.has {
		for _, g := range groups {
			t.env.println(g.id)
		}
		return nil
	}
	width := 15
	for _, g := range groups {
		width = max(width, len(g.id))
	}
	row := func(id, kind, state string) {
		t.env.printf("%-*s", width+10, id)
		if t.kind.has {
			t.env.printf(" %-20s", kind)
		}
		if t.state.has {
			t.env.printf(" %-20s", state)
		}
		t.env.printf("\n")
	}
	row("GROUP", "TYPE", "STATE")
	for _, g := range groups {
		row(g.id, g.kind, g.state)
	}
	return nil
}

// groupView is a group of either protocol as the descriptions print it.
type groupView struct {
	id, state, assignor string
	coordinator         kadm.BrokerDetail
	epoch, targetEpoch  string // "" where the protocol has none
	members             []memberView
}

type memberView struct {
	id, instance, client, host string
	assigned, target           map[string][]int32
	epoch                      string
	kind                       int8 // -1 unknown, 0 classic, 1 consumer
}

func (m *memberView) count() (n int) {
	for _, ps := range m.assigned {
		n += len(ps)
	}
	return n
}

// views describes groups, first by the consumer protocol and then, those that
// are none, by the classic one. Sorted by name.
func (t *groupsTool) views(ctx context.Context, ids []string) ([]groupView, error) {
	var out []groupView
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) == 0 {
		return nil, nil
	}
	coordinators := t.adm.FindGroupCoordinators(ctx, ids...)
	meta, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		return nil, javaError(timedOut(err, "describeGroups"))
	}
	for _, id := range ids {
		c := coordinators[id]
		if c.Err != nil {
			return nil, javaError(timedOut(c.Err, "findCoordinator"))
		}
		v := groupView{id: id}
		for _, b := range meta.Brokers {
			if b.NodeID == c.NodeID {
				v.coordinator = b
			}
		}
		known, err := t.viewConsumer(ctx, &v)
		if err == nil && !known {
			err = t.viewClassic(ctx, &v)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (t *groupsTool) viewConsumer(ctx context.Context, v *groupView) (bool, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{v.id}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		if isUnsupported(err) {
			return false, nil
		}
		return false, javaError(timedOut(err, "describeConsumerGroups"))
	}
	for _, g := range resp.Groups {
		switch err := codeError(g.ErrorCode, g.ErrorMessage); {
		case errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnsupportedVersion):
			return false, nil
		case err != nil:
			return false, javaError(err)
		}
		v.state, v.assignor = g.State, g.AssignorName
		v.epoch, v.targetEpoch = strconv.Itoa(int(g.Epoch)), strconv.Itoa(int(g.AssignmentEpoch))
		for _, m := range g.Members {
			mv := memberView{
				id: m.MemberID, client: m.ClientID, host: m.ClientHost, epoch: strconv.Itoa(int(m.MemberEpoch)), kind: m.MemberType,
				assigned: map[string][]int32{}, target: map[string][]int32{},
			}
			if m.InstanceID != nil {
				mv.instance = *m.InstanceID
			}
			for _, tp := range m.Assignment.TopicPartitions {
				mv.assigned[tp.Topic] = tp.Partitions
			}
			for _, tp := range m.TargetAssignment.TopicPartitions {
				mv.target[tp.Topic] = tp.Partitions
			}
			v.members = append(v.members, mv)
		}
	}
	return true, nil
}

func (t *groupsTool) viewClassic(ctx context.Context, v *groupView) error {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{v.id}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return javaError(timedOut(err, "describeGroups"))
	}
	for _, g := range resp.Groups {
		if err := codeError(g.ErrorCode, g.ErrorMessage); err != nil {
			return javaError(err)
		}
		v.state, v.assignor = g.State, g.Protocol
		for _, m := range g.Members {
			mv := memberView{id: m.MemberID, client: m.ClientID, host: m.ClientHost, kind: -1, assigned: map[string][]int32{}}
			if m.InstanceID != nil {
				mv.instance = *m.InstanceID
			}
			a := kmsg.NewConsumerMemberAssignment()
			if len(m.MemberAssignment) > 0 && a.ReadFrom(m.MemberAssignment) == nil {
				for _, tp := range a.Topics {
					mv.assigned[tp.Topic] = tp.Partitions
				}
			}
			v.members = append(v.members, mv)
		}
	}
	return nil
}

// worthShowing says on standard error what is unusual about a group's state.
func (t *groupsTool) worthShowing(v groupView, rows int) bool {
	switch v.state {
	case "Dead":
		t.problem("Consumer group '" + v.id + "' does not exist.")
		return false
	case "Empty":
		t.env.complain("\nConsumer group '%s' has no active members.", v.id)
	case "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling":
		t.env.complain("\nWarning: Consumer group '%s' is rebalancing.", v.id)
	}
	return rows > 0
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

func (t *groupsTool) doDescribe(ctx context.Context) error {
	ids, err := t.wanted(ctx)
	if err != nil {
		return err
	}
	views, err := t.views(ctx, ids)
	if err != nil {
		return err
	}
	switch {
	case t.members.has:
		for _, v := range views {
			t.printMembers(v)
		}
	case t.state.has:
		for _, v := range views {
			t.printState(v)
		}
	default:
		type table struct {
			v    groupView
			rows [][]string
		}
		var tables []table
		for _, v := range views {
			rows, err := t.offsetRows(ctx, v)
			if err != nil {
				return err
			}
			tables = append(tables, table{v, rows})
		}
		for _, tb := range tables {
			t.printOffsets(tb.v, tb.rows)
		}
	}
	return nil
}

func (t *groupsTool) printState(v groupView) {
	if !t.worthShowing(v, 1) {
		return
	}
	where := fmt.Sprintf("%s:%d  (%d)", v.coordinator.Host, v.coordinator.Port, v.coordinator.NodeID)
	dash := func(s string) string { return cmp.Or(s, noValue) }
	gw, cw := max(15, len(v.id)), max(25, len(where))
	n := strconv.Itoa(len(v.members))
	row := func(group, coordinator, assignor, state, epoch, target, members string) {
		t.env.printf("\n%-*s %-*s %-20s %-20s", gw, group, cw, coordinator, assignor, state)
		if t.verbose.has {
			t.env.printf(" %-15s %-25s", epoch, target)
		}
		t.env.printf(" %s", members)
	}
	row("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH", "#MEMBERS")
	row(v.id, where, dash(v.assignor), v.state, dash(v.epoch), dash(v.targetEpoch), n)
	t.env.printf("\n")
}

func assignmentText(a map[string][]int32) string {
	if len(a) == 0 {
		return noValue
	}
	var words []string
	for topic, ps := range a {
		words = append(words, topic+":"+commaList(slices.Sorted(slices.Values(ps))))
	}
	slices.Sort(words)
	return strings.Join(words, ";")
}

func (t *groupsTool) printMembers(v groupView) {
	show := t.worthShowing(v, len(v.members))
	gw, iw, nw, hw, cw, aw, tw := 15, 15, 17, 15, 15, 20, 20
	static, classic, consumer := false, false, false
	if show {
		for _, m := range v.members {
			gw, iw, nw = max(gw, len(v.id)), max(iw, len(m.id)), max(nw, len(m.instance))
			hw, cw = max(hw, len(m.host)), max(cw, len(m.client))
			aw, tw = max(aw, len(assignmentText(m.assigned))), max(tw, len(assignmentText(m.target)))
			static = static || m.instance != ""
			classic, consumer = classic || m.kind == 0, consumer || m.kind == 1
		}
	}
	mixed := classic && consumer
	row := func(id, instance, host, client, n string, more ...string) {
		t.env.printf("%-*s %-*s ", gw, v.idOr(id == "CONSUMER-ID"), iw, id)
		if static {
			t.env.printf("%-*s ", nw, instance)
		}
		t.env.printf("%-*s %-*s %-15s ", hw, host, cw, client, n)
		if t.verbose.has {
			t.env.printf("%-15s %-*s %-15s %-*s", more[0], aw, more[1], more[2], tw, more[3])
			if mixed {
				t.env.printf(" %s", more[4])
			}
		}
		t.env.printf("\n")
	}
	t.env.printf("\n")
	row("CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT", "UPGRADED")
	for _, m := range v.members {
		upgraded := noValue
		if m.kind >= 0 {
			upgraded = strconv.FormatBool(m.kind == 1)
		}
		row(m.id, m.instance, m.host, m.client, strconv.Itoa(m.count()), cmp.Or(m.epoch, noValue), assignmentText(m.assigned),
			cmp.Or(v.targetEpoch, noValue), assignmentText(m.target), upgraded)
	}
}

func (v groupView) idOr(header bool) string {
	if header {
		return "GROUP"
	}
	return v.id
}

// offsetRows are the rows of --offsets: members with the most partitions
// first, then what no member owns.
func (t *groupsTool) offsetRows(ctx context.Context, v groupView) ([][]string, error) {
	committed, err := t.committed(ctx, v.id)
	if err != nil {
		return nil, err
	}
	topics := map[string]bool{}
	owned := map[topicPartition]bool{}
	members := slices.Clone(v.members)
	members = slices.DeleteFunc(members, func(m memberView) bool { return m.count() == 0 })
	slices.SortStableFunc(members, func(a, b memberView) int { return b.count() - a.count() })
	for _, m := range members {
		for topic, ps := range m.assigned {
			topics[topic] = true
			for _, p := range ps {
				owned[topicPartition{topic, p}] = true
			}
		}
	}
	for tp := range committed {
		topics[tp.topic] = true
	}
	ends := kadm.ListedOffsets{}
	if len(topics) > 0 {
		if ends, err = t.adm.ListEndOffsets(ctx, slices.Sorted(maps.Keys(topics))...); err != nil {
			return nil, javaError(timedOut(err, "listOffsets"))
		}
	}
	var rows [][]string
	add := func(list []topicPartition, id, host, client string) {
		slices.SortFunc(list, compareTP)
		for _, tp := range list {
			epoch, offset, end, lag := noValue, noValue, noValue, noValue
			c, has := committed[tp]
			if has {
				offset = strconv.FormatInt(c.At, 10)
				if c.LeaderEpoch >= 0 {
					epoch = strconv.Itoa(int(c.LeaderEpoch))
				}
			}
			if o, ok := ends.Lookup(tp.topic, tp.partition); ok && o.Err == nil {
				end = strconv.FormatInt(o.Offset, 10)
				if has {
					lag = strconv.FormatInt(o.Offset-c.At, 10)
				}
			}
			row := []string{v.id, tp.topic, strconv.Itoa(int(tp.partition)), epoch, offset, end, lag, id, host, client}
			if !t.verbose.has {
				row = slices.Delete(row, 3, 4)
			}
			rows = append(rows, row)
		}
	}
	for _, m := range members {
		var list []topicPartition
		for topic, ps := range m.assigned {
			for _, p := range ps {
				list = append(list, topicPartition{topic, p})
			}
		}
		add(list, m.id, m.host, m.client)
	}
	var rest []topicPartition
	for tp := range committed {
		if !owned[tp] {
			rest = append(rest, tp)
		}
	}
	add(rest, noValue, noValue, noValue)
	return rows, nil
}

func (t *groupsTool) printOffsets(v groupView, rows [][]string) {
	if !t.worthShowing(v, len(rows)) {
		return
	}
	header := []string{"GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"}
	width := []int{15, 15, 10, 15, 15, 15, 15, 15, 15, 0}
	if !t.verbose.has {
		header, width = slices.Delete(header, 3, 4), slices.Delete(width, 3, 4)
	}
	n := len(header)
	for _, row := range rows {
		for _, i := range []int{0, 1, n - 3, n - 2} {
			width[i] = max(width[i], len(row[i]))
		}
	}
	for _, row := range append([][]string{header}, rows...) {
		t.env.printf("\n")
		for i, c := range row {
			if i == n-1 {
				t.env.printf("%s", c)
			} else {
				t.env.printf("%-*s ", width[i], c)
			}
		}
	}
	t.env.printf("\n")
}

type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s-%d", tp.topic, tp.partition) }

func compareTP(a, b topicPartition) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
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

func (t *groupsTool) doDelete(ctx context.Context) error {
	ids, err := t.wanted(ctx)
	if err != nil {
		return err
	}
	failed, ok := map[string]string{}, []string{}
	ids = hashOrder(slices.Compact(slices.Sorted(slices.Values(ids))), 16, stringHash)
	for _, id := range ids {
		r, err := t.adm.DeleteGroup(ctx, id)
		if err == nil {
			err = r.Err
		}
		if err != nil {
			failed[id] = exceptionText(timedOut(err, "deleteConsumerGroups"))
		} else {
			ok = append(ok, "'"+id+"'")
		}
	}
	if len(failed) == 0 {
		t.env.println("Deletion of requested consumer groups (" + strings.Join(ok, ", ") + ") was successful.")
		return nil
	}
	t.problem("Deletion of some consumer groups failed:")
	for _, id := range ids {
		if why, bad := failed[id]; bad {
			t.env.println("* Group '" + id + "' could not be deleted due to: " + why)
		}
	}
	if len(ok) > 0 {
		t.env.println("\nThese consumer groups were deleted successfully: " + strings.Join(ok, ", "))
	}
	return nil
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

func (t *groupsTool) doDeleteOffsets(ctx context.Context) error {
	group := t.group.value()
	result := map[topicPartition]string{}
	list, err := t.topicScope(ctx, func(topic string, err error) error {
		result[topicPartition{topic, -1}] = "Error: " + exceptionText(err)
		return nil
	})
	if err != nil {
		return err
	}
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	for _, tp := range list {
		result[tp] = "Successful"
		i := slices.IndexFunc(req.Topics, func(x kmsg.OffsetDeleteRequestTopic) bool { return x.Topic == tp.topic })
		if i < 0 {
			rt := kmsg.NewOffsetDeleteRequestTopic()
			rt.Topic = tp.topic
			req.Topics = append(req.Topics, rt)
			i = len(req.Topics) - 1
		}
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = tp.partition
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return javaError(timedOut(err, "offsetDelete"))
	}
	top := codeError(resp.ErrorCode, nil)
	if top != nil {
		for tp := range result {
			if tp.partition >= 0 {
				result[tp] = "Error: " + exceptionText(top)
			}
		}
	}
	partly := false
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if err := codeError(p.ErrorCode, nil); err != nil {
				partly = true
				result[topicPartition{rt.Topic, p.Partition}] = "Error: " + exceptionText(err)
			}
		}
	}
	switch {
	case top != nil:
		t.problem(top.Error())
	case partly:
		t.problem("Encountered some partition-level error, see the follow-up details.")
	default:
		t.env.println("Request succeeded for deleting offsets from group " + group + ".")
	}
	width := 15
	keys := slices.Collect(maps.Keys(result))
	for _, tp := range keys {
		width = max(width, len(tp.topic))
	}
	slices.SortFunc(keys, func(a, b topicPartition) int {
		return strings.Compare(a.topic+strconv.Itoa(int(a.partition)), b.topic+strconv.Itoa(int(b.partition)))
	})
	t.env.printf("\n%-*s %-10s %-15s", width, "TOPIC", "PARTITION", "STATUS")
	for _, tp := range keys {
		p := noValue
		if tp.partition >= 0 {
			p = strconv.Itoa(int(tp.partition))
		}
		t.env.printf("\n%-*s %-10s %-15s", width, tp.topic, p, result[tp])
	}
	t.env.printf("\n")
	return nil
}

type groupOffsets struct {
	group   string
	offsets map[topicPartition]int64
}

// sorted gives the partitions in the order of Java's HashMap.
func (g groupOffsets) sorted() []topicPartition {
	keys := slices.SortedFunc(maps.Keys(g.offsets), compareTP)
	return hashOrder(keys, 16, func(tp topicPartition) int32 { return partitionHash(tp.topic, tp.partition) })
}

func (t *groupsTool) doReset(ctx context.Context) error {
	ids, err := t.wanted(ctx)
	if err != nil {
		return err
	}
	var plan []groupOffsets
	for _, id := range hashOrder(slices.Compact(slices.Sorted(slices.Values(ids))), 16, stringHash) {
		views, err := t.views(ctx, []string{id})
		switch {
		case err != nil && strings.Contains(err.Error(), "GroupIdNotFoundException"):
		case err != nil:
			return err
		case views[0].state != "Empty" && views[0].state != "Dead":
			t.problem(fmt.Sprintf("Assignments can only be reset if the group '%s' is inactive, but the current state is %s.", id, views[0].state))
			plan = append(plan, groupOffsets{group: id})
			continue
		}
		offsets, err := t.planReset(ctx, id)
		if err != nil {
			return err
		}
		if t.execute.has && !t.dryRun.has && len(offsets) > 0 {
			commit := kadm.Offsets{}
			for tp, at := range offsets {
				commit.AddOffset(tp.topic, tp.partition, at, -1)
			}
			resps, err := t.adm.CommitOffsets(ctx, id, commit)
			if err == nil {
				err = resps.Error()
			}
			if err != nil {
				return withMessage(err, nil)
			}
		}
		plan = append(plan, groupOffsets{id, offsets})
	}
	if t.export.has {
		for _, g := range plan {
			for _, tp := range g.sorted() {
				if len(t.group.values) != 1 {
					t.env.printf("%s,", csvField(g.group))
				}
				t.env.printf("%s,%d,%d\n", csvField(tp.topic), tp.partition, g.offsets[tp])
			}
		}
		t.env.printf("\n")
		return nil
	}
	gw, tw := 15, 15
	for _, g := range plan {
		gw = max(gw, len(g.group))
		for tp := range g.offsets {
			tw = max(tw, len(tp.topic))
		}
	}
	if len(plan) > 0 {
		t.env.printf("\n%-*s %-*s %-10s %s", gw, "GROUP", tw, "TOPIC", "PARTITION", "NEW-OFFSET")
	}
	for _, g := range plan {
		for _, tp := range g.sorted() {
			t.env.printf("\n%-*s %-*s %-10d %d", gw, g.group, tw, tp.topic, tp.partition, g.offsets[tp])
		}
	}
	t.env.printf("\n")
	return nil
}

func csvField(s string) string {
	if strings.ContainsAny(s, "\",\n") {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}

// planReset decides the new offsets of one group.
func (t *groupsTool) planReset(ctx context.Context, group string) (map[topicPartition]int64, error) {
	var list []topicPartition
	var current map[topicPartition]kadm.Offset
	var err error
	if t.allTopics.has || t.shift.has || t.toCurrent.has {
		if current, err = t.committed(ctx, group); err != nil {
			return nil, err
		}
	}
	switch {
	case t.allTopics.has:
		list = slices.SortedFunc(maps.Keys(current), compareTP)
	case t.topic.has:
		if list, err = t.topicScope(ctx, func(_ string, err error) error { return err }); err != nil {
			return nil, err
		}
	case !t.fromFile.has:
		return nil, t.o.usage("One of the reset scopes should be defined: --all-topics, --topic.")
	}
	if err := t.mustBeThere(ctx, list); err != nil {
		return nil, err
	}
	at := func(listed func(context.Context, ...string) (kadm.ListedOffsets, error), list []topicPartition) (map[topicPartition]int64, error) {
		out := map[topicPartition]int64{}
		if len(list) == 0 {
			return out, nil
		}
		offsets, err := listed(ctx, topicsOf(list)...)
		if err != nil {
			return nil, withMessage(timedOut(err, "listOffsets"), nil)
		}
		for _, tp := range list {
			o, ok := offsets.Lookup(tp.topic, tp.partition)
			if !ok || o.Err != nil {
				return nil, t.o.usage("Error getting offset of topic partition: %s", tp)
			}
			out[tp] = o.Offset
		}
		return out, nil
	}
	clamp := func(want map[topicPartition]int64) (map[topicPartition]int64, error) {
		keys := slices.SortedFunc(maps.Keys(want), compareTP)
		starts, err := at(t.adm.ListStartOffsets, keys)
		if err != nil {
			return nil, err
		}
		ends, err := at(t.adm.ListEndOffsets, keys)
		if err != nil {
			return nil, err
		}
		for tp, o := range want {
			if in := max(min(o, ends[tp]), starts[tp]); in != o {
				t.env.complain("%s: %d is outside of the log, %d is taken", tp, o, in)
				want[tp] = in
			}
		}
		return want, nil
	}
	byTime := func(ms int64) (map[topicPartition]int64, error) {
		out := map[topicPartition]int64{}
		offsets, err := listAtTime(ctx, t.cl, list, ms)
		if err != nil {
			return nil, err
		}
		var empty []topicPartition
		for _, tp := range list {
			if o, ok := offsets[tp]; ok && o >= 0 {
				out[tp] = o
			} else {
				empty = append(empty, tp)
			}
		}
		for _, tp := range hashOrder(empty, 16, func(tp topicPartition) int32 { return partitionHash(tp.topic, tp.partition) }) {
			t.env.printf("\nWarn: Partition %d from topic %s is empty. Falling back to latest known offset.\n", tp.partition, tp.topic)
		}
		ends, err := at(t.adm.ListEndOffsets, empty)
		maps.Copy(out, ends)
		return out, err
	}
	want := map[topicPartition]int64{}
	switch {
	case t.toOffset.has:
		for _, tp := range list {
			want[tp] = t.toOffset.int()
		}
		return clamp(want)
	case t.toEarliest.has:
		return at(t.adm.ListStartOffsets, list)
	case t.toLatest.has:
		return at(t.adm.ListEndOffsets, list)
	case t.shift.has:
		for _, tp := range list {
			o, ok := current[tp]
			if !ok {
				return nil, t.o.usage("Cannot shift offset for partition %s since there is no current committed offset", tp)
			}
			want[tp] = o.At + t.shift.int()
		}
		return clamp(want)
	case t.toDatetime.has:
		ms, err := parseDateTime(t.toDatetime.value())
		if err != nil {
			return nil, fmt.Errorf("java.text.ParseException: %w", err)
		}
		return byTime(ms)
	case t.byDuration.has:
		d, err := parseISODuration(t.byDuration.value())
		if err != nil {
			return nil, err
		}
		return byTime(time.Now().Add(-d).UnixMilli())
	case t.fromFile.has:
		file, err := t.readPlan()
		if err != nil {
			return nil, err
		}
		of, ok := file[group]
		if !ok {
			t.problem("No reset plan for group " + group + " found")
			return want, nil
		}
		return clamp(of)
	case t.toCurrent.has:
		var rest []topicPartition
		for _, tp := range list {
			if o, ok := current[tp]; ok {
				want[tp] = o.At
			} else {
				rest = append(rest, tp)
			}
		}
		ends, err := at(t.adm.ListEndOffsets, rest)
		maps.Copy(want, ends)
		return want, err
	}
	var names []string
	for _, s := range t.scenarios() {
		names = append(names, s.String())
	}
	return nil, t.o.usage("Option '%s' requires one of the following scenarios: %s", t.reset, javaList(names))
}

func topicsOf(list []topicPartition) []string {
	var out []string
	for _, tp := range list {
		out = append(out, tp.topic)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (t *groupsTool) mustBeThere(ctx context.Context, list []topicPartition) error {
	if len(list) == 0 {
		return nil
	}
	d, err := t.adm.ListTopicsWithInternal(ctx, topicsOf(list)...)
	if err != nil {
		return timedOut(err, "describeTopics")
	}
	var gone, leaderless []string
	for _, tp := range list {
		if err := d[tp.topic].Err; err != nil {
			return fmt.Errorf("java.util.concurrent.ExecutionException: %s", exceptionText(err))
		}
		p, ok := d[tp.topic].Partitions[tp.partition]
		switch {
		case !ok:
			gone = append(gone, tp.String())
		case p.Leader < 0:
			leaderless = append(leaderless, tp.String())
		}
	}
	if len(gone) > 0 {
		return fmt.Errorf("The partitions \"%s\" do not exist", strings.Join(gone, ","))
	}
	if len(leaderless) > 0 {
		return fmt.Errorf("The partitions \"%s\" have no leader", strings.Join(leaderless, ","))
	}
	return nil
}

// readPlan reads --from-file: topic,partition,offset for a single group, or
// group,topic,partition,offset.
func (t *groupsTool) readPlan() (map[string]map[topicPartition]int64, error) {
	raw, err := os.ReadFile(t.fromFile.value())
	if err != nil {
		return nil, fmt.Errorf("java.nio.file.NoSuchFileException: %s", t.fromFile.value())
	}
	out := map[string]map[topicPartition]int64{}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		f := strings.Split(line, ",")
		for i := range f {
			f[i] = strings.Trim(strings.TrimSpace(f[i]), `"`)
		}
		if len(f) == 3 && len(t.group.values) == 1 {
			f = append([]string{t.group.values[0]}, f...)
		}
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: expected [group,]topic,partition,offset, got %q", t.fromFile.value(), line)
		}
		p, err1 := strconv.ParseInt(f[2], 10, 32)
		o, err2 := strconv.ParseInt(f[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%s: %w", t.fromFile.value(), err)
		}
		if out[f[0]] == nil {
			out[f[0]] = map[topicPartition]int64{}
		}
		out[f[0]][topicPartition{f[1], int32(p)}] = o
	}
	return out, nil
}

// parseDateTime reads 2026-01-02T03:04:05.678 with Z, +01:00, +01 or nothing
// (UTC) after it.
func parseDateTime(s string) (int64, error) {
	_, clock, ok := strings.Cut(s, "T")
	if !ok {
		return 0, errors.New("Error parsing timestamp. It does not contain a 'T' according to ISO8601 format")
	}
	if !strings.ContainsAny(clock, "+-Z") {
		s += "Z"
	}
	for _, layout := range []string{"2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000Z07"} {
		if ts, err := time.Parse(layout, s); err == nil {
			return ts.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("Unparseable date: %q", s)
}

// listAtTime asks for the first offset at or after a time (or one of the
// special times, below zero); -1 where there is none.
func listAtTime(ctx context.Context, cl *kgo.Client, list []topicPartition, ms int64) (map[topicPartition]int64, error) {
	req := listOffsetsRequest(list, ms)
	out := map[topicPartition]int64{}
	if len(list) == 0 {
		return out, nil
	}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, timedOut(shard.Err, "listOffsets")
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range rt.Partitions {
				if err := codeError(p.ErrorCode, nil); err != nil {
					return nil, err
				}
				out[topicPartition{rt.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return out, nil
}

func listOffsetsRequest(list []topicPartition, ms int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for _, topic := range topicsOf(list) {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for _, tp := range list {
			if tp.topic == topic {
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp, p.CurrentLeaderEpoch = tp.partition, ms, -1
				rt.Partitions = append(rt.Partitions, p)
			}
		}
		req.Topics = append(req.Topics, rt)
	}
	return req
}
