// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const useConfigs = " (Topic configurations are changed with kafka-configs.)"

type topicsTool struct {
	o *options

	server, config, list, create, remove, alter, describe  *option
	topic, topicID, conf, deleteConf                       *option
	partitions, factor, assignment                         *option
	underReplicated, unavailable, underMin, atMin, changed *option
	ifExists, ifNotExists, noInternal, pageSize            *option

	env *Env
	adm *kadm.Client
	cl  *kgo.Client
}

func newTopicsTool(e *Env) *topicsTool {
	o := newOptions("Creates, lists, describes, alters and deletes topics.")
	t := &topicsTool{o: o, env: e}
	t.server = o.text("bootstrap-server", "server to connect to", "REQUIRED: host:port of a broker, or several with commas between.")
	t.config = o.text("command-config", "command config property file", "File of client properties, for brokers that ask for a login or TLS.")
	t.list = o.flag("list", "List the topics.")
	t.create = o.flag("create", "Create a topic.")
	t.remove = o.flag("delete", "Delete topics.")
	t.alter = o.flag("alter", "Add partitions to topics."+useConfigs)
	t.describe = o.flag("describe", "Show topics and their partitions.")
	t.topic = o.text("topic", "topic", "The topic; a regular expression except with --create.")
	t.topicID = o.text("topic-id", "topic-id", "The id of the topic to describe.")
	t.conf = o.text("config", "name=value", "With --create: a configuration of the new topic; may be repeated."+useConfigs)
	t.deleteConf = o.text("delete-config", "name", "No longer supported, as in Kafka since 4.0.")
	t.partitions = o.integer("partitions", "# of partitions", "How many partitions the topic shall have. With --create the broker's num.partitions is the default. Adding partitions changes where the keys of new records go.")
	t.factor = o.integer("replication-factor", "replication factor", "How many replicas each partition shall have; the broker's default when left out.")
	t.assignment = o.text("replica-assignment", "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : broker_id_for_part2_replica2 , ...", "The brokers of each partition, by hand.")
	t.underReplicated = o.flag("under-replicated-partitions", "With --describe: only partitions with fewer in-sync replicas than replicas.")
	t.unavailable = o.flag("unavailable-partitions", "With --describe: only partitions without a live leader.")
	t.underMin = o.flag("under-min-isr-partitions", "With --describe: only partitions with fewer in-sync replicas than min.insync.replicas.")
	t.atMin = o.flag("at-min-isr-partitions", "With --describe: only partitions with exactly min.insync.replicas in sync.")
	t.changed = o.flag("topics-with-overrides", "With --describe: only topics with configurations of their own.")
	t.ifExists = o.flag("if-exists", "With --alter, --delete, --describe: a topic that is not there is no error.")
	t.ifNotExists = o.flag("if-not-exists", "With --create: a topic that is there already is no error.")
	t.noInternal = o.flag("exclude-internal", "With --list and --describe: leave out internal topics.")
	t.pageSize = o.integer("partition-size-limit-per-response", "maximum number of partitions per response", "How many partitions one DescribeTopicPartitions answer may hold.")
	return t
}

func runTopics(ctx context.Context, e *Env, args []string) error {
	t := newTopicsTool(e)
	if err := t.o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := t.check(); err != nil {
		return err
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
	act := map[*option]func(context.Context) error{
		t.create: t.doCreate, t.alter: t.doAlter, t.list: t.doList, t.describe: t.doDescribe, t.remove: t.doDelete,
	}
	for o, do := range act {
		if o.has {
			err = do(ctx)
		}
	}
	if err != nil {
		e.println("Error while executing topic command : " + err.Error())
		return &exit{status: 1}
	}
	return nil
}

func (t *topicsTool) check() error {
	o := t.o
	if err := o.maybeHelp(t.env); err != nil {
		return err
	}
	actions := []*option{t.alter, t.create, t.describe, t.list, t.remove}
	n := 0
	for _, a := range actions {
		if a.has {
			n++
		}
	}
	if n != 1 {
		return o.usage("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
	}
	if t.deleteConf.has {
		t.env.complain("--delete-config does nothing since Kafka 4.0.")
	}
	if !t.server.has {
		return failf("--bootstrap-server must be specified")
	}
	if t.describe.has && t.ifExists.has {
		if !t.topic.has && !t.topicID.has {
			return o.usage("--topic or --topic-id is required to describe a topic")
		}
		if t.topic.has && t.topicID.has {
			t.env.println("Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID")
		}
	}
	if !t.list.has && !t.describe.has {
		if err := o.required(t.topic); err != nil {
			return err
		}
	}
	if t.alter.has {
		if t.conf.has {
			return o.usage("Option combination \"%s\" can't be used with option \"%s\"%s", []string{t.server.String(), t.conf.String()}, t.alter, useConfigs)
		}
		if err := o.required(t.partitions); err != nil {
			return err
		}
	}
	except := func(keep ...*option) []*option {
		return slices.DeleteFunc(slices.Clone(actions), func(a *option) bool { return slices.Contains(keep, a) })
	}
	rules := []struct {
		used   *option
		others []*option
	}{
		{t.conf, except(t.alter, t.create)},
		{t.partitions, except(t.alter, t.create)},
		{t.factor, except(t.create)},
		{t.assignment, except(t.alter, t.create)},
		{t.underReplicated, append(except(t.describe), t.changed)},
		{t.underMin, append(except(t.describe), t.changed)},
		{t.atMin, append(except(t.describe), t.changed)},
		{t.unavailable, append(except(t.describe), t.changed)},
		{t.changed, append(except(t.describe), t.underReplicated, t.underMin, t.atMin, t.unavailable)},
		{t.ifExists, except(t.alter, t.remove, t.describe)},
		{t.ifNotExists, except(t.create)},
		{t.noInternal, except(t.list, t.describe)},
	}
	if t.create.has {
		rules = append(rules, struct {
			used   *option
			others []*option
		}{t.assignment, []*option{t.partitions, t.factor}})
	}
	for _, r := range rules {
		if err := o.invalid(r.used, r.others...); err != nil {
			return err
		}
	}
	return nil
}

// parseAssignment reads "1:2,2:3": partitions by commas, replicas by colons.
func parseAssignment(s string) ([][]int32, error) {
	var out [][]int32
	for i, part := range strings.Split(s, ",") {
		var brokers []int32
		var twice []string
		for _, b := range strings.Split(part, ":") {
			id, err := strconv.ParseInt(strings.TrimSpace(b), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("For input string: %q", strings.TrimSpace(b))
			}
			if slices.Contains(brokers, int32(id)) && !slices.Contains(twice, strconv.Itoa(int(id))) {
				twice = append(twice, strconv.Itoa(int(id)))
			}
			brokers = append(brokers, int32(id))
		}
		if len(twice) > 0 {
			return nil, fmt.Errorf("Partition replica lists may not contain duplicate entries: %s", strings.Join(twice, ","))
		}
		out = append(out, brokers)
		if len(brokers) != len(out[0]) {
			return nil, fmt.Errorf("Partition %d has different replication factor: %s", i, javaList(brokers))
		}
	}
	return out, nil
}

// javaList prints a list as Java's collections do: [a, b].
func javaList[T any](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = fmt.Sprint(v)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func commaList[T any](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ",")
}

var spacedEquals = regexp.MustCompile(`\s*=\s*`)

func (t *topicsTool) doCreate(ctx context.Context) error {
	name := t.topic.value()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, -1, -1
	if t.assignment.has && t.assignment.value() != "" {
		lists, err := parseAssignment(t.assignment.value())
		if err != nil {
			return err
		}
		for i, brokers := range lists {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), brokers
			rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
		}
	}
	for _, kv := range t.conf.values {
		pair := spacedEquals.Split(kv, -1)
		for len(pair) > 0 && pair[len(pair)-1] == "" {
			pair = pair[:len(pair)-1] // as Java's split drops trailing empties
		}
		if len(pair) != 2 {
			return errors.New("requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".")
		}
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = strings.TrimSpace(pair[0]), kmsg.StringPtr(strings.TrimSpace(pair[1]))
		rt.Configs = append(rt.Configs, c)
	}
	if strings.ContainsAny(name, "._") {
		t.env.println("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.")
	}
	if t.factor.has {
		rf := t.factor.int()
		if rf > math.MaxInt16 || rf < 1 {
			return fmt.Errorf("The replication factor must be between 1 and %d inclusive", math.MaxInt16)
		}
		rt.ReplicationFactor = int16(rf)
	}
	if t.partitions.has {
		if t.partitions.int() < 1 {
			return errors.New("The partitions must be greater than 0")
		}
		rt.NumPartitions = int32(t.partitions.int())
	}
	req.Topics = append(req.Topics, rt)
	req.TimeoutMillis = 30_000
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return timedOut(err, "createTopics")
	}
	for _, r := range resp.Topics {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			if errors.Is(err, kerr.TopicAlreadyExists) && t.ifNotExists.has {
				return nil
			}
			return err
		}
	}
	t.env.println("Created topic " + name + ".")
	return nil
}

// names lists topics that match the include list, sorted.
func (t *topicsTool) names(ctx context.Context) ([]string, error) {
	all, err := t.adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, timedOut(err, "listTopics")
	}
	var re *regexp.Regexp
	if t.topic.has {
		if re, err = topicFilter(t.topic.value()); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, d := range all.Sorted() {
		if (re == nil || re.MatchString(d.Topic)) && !(t.noInternal.has && isInternal(d.Topic)) {
			names = append(names, d.Topic)
		}
	}
	return names, nil
}

func (t *topicsTool) mustExist(found []string) error {
	if name := t.topic.value(); name != "" && !t.ifExists.has && len(found) == 0 {
		return fmt.Errorf("Topic '%s' does not exist as expected", name)
	}
	return nil
}

func (t *topicsTool) doList(ctx context.Context) error {
	names, err := t.names(ctx)
	if err != nil {
		return err
	}
	t.env.println(strings.Join(names, "\n"))
	return nil
}

func (t *topicsTool) doAlter(ctx context.Context) error {
	names, err := t.names(ctx)
	if err == nil {
		err = t.mustExist(names)
	}
	if err != nil || len(names) == 0 {
		return err
	}
	var lists [][]int32
	if t.assignment.has && t.assignment.value() != "" {
		if lists, err = parseAssignment(t.assignment.value()); err != nil {
			return err
		}
	}
	topics, err := t.adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return timedOut(err, "describeTopics")
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 30_000
	for _, name := range names {
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = name, int32(t.partitions.int())
		if have := len(topics[name].Partitions); lists != nil {
			rt.Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{}
			for _, brokers := range lists[min(have, len(lists)):] {
				a := kmsg.NewCreatePartitionsRequestTopicAssignment()
				a.Replicas = brokers
				rt.Assignment = append(rt.Assignment, a)
			}
		}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return timedOut(err, "createPartitions")
	}
	for _, r := range resp.Topics {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func (t *topicsTool) doDelete(ctx context.Context) error {
	names, err := t.names(ctx)
	if err == nil {
		err = t.mustExist(names)
	}
	if err != nil || len(names) == 0 {
		return err
	}
	resps, err := t.adm.DeleteTopics(ctx, names...)
	if err != nil {
		return timedOut(err, "deleteTopics")
	}
	for _, r := range resps.Sorted() {
		if r.Err != nil {
			return withMessage(r.Err, &r.ErrMessage)
		}
	}
	return nil
}

// topicView is what the descriptions print of a topic, from the newer
// DescribeTopicPartitions (which knows eligible leader replicas) or, at a
// broker that lacks it, from Metadata.
type topicView struct {
	name       string
	id         [16]byte
	partitions []partitionView
}

type partitionView struct {
	id, leader    int32
	replicas, isr []int32
	elr, lastElr  []int32 // nil: not known
	hasElr        bool
	adding        []int32
	removing      []int32
	moving        bool
}

func (p *partitionView) factor() int {
	for _, r := range p.replicas {
		if slices.Contains(p.adding, r) || slices.Contains(p.removing, r) {
			return len(p.replicas) - len(p.adding)
		}
	}
	return len(p.replicas)
}

func (t *topicsTool) view(ctx context.Context, names []string) ([]topicView, error) {
	byName := map[string]*topicView{}
	var order []string
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	for _, n := range names {
		rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
		rt.Topic = n
		req.Topics = append(req.Topics, rt)
	}
	req.ResponsePartitionLimit = 2000
	if t.pageSize.has {
		req.ResponsePartitionLimit = int32(t.pageSize.int())
	}
	for {
		resp, err := req.RequestWith(ctx, t.cl)
		if err != nil {
			if isUnsupported(err) {
				return t.viewByMetadata(ctx, names)
			}
			return nil, timedOut(err, "describeTopicPartitions")
		}
		for _, rt := range resp.Topics {
			if rt.Topic == nil {
				continue
			}
			if err := codeError(rt.ErrorCode, nil); err != nil {
				return nil, err
			}
			v := byName[*rt.Topic]
			if v == nil {
				v = &topicView{name: *rt.Topic, id: rt.TopicID}
				byName[*rt.Topic], order = v, append(order, *rt.Topic)
			}
			for _, p := range rt.Partitions {
				v.partitions = append(v.partitions, partitionView{
					id: p.Partition, leader: p.LeaderID, replicas: p.Replicas, isr: p.ISR,
					elr: p.EligibleLeaderReplicas, lastElr: p.LastKnownELR, hasElr: true,
				})
			}
		}
		next := resp.NextCursor
		if next == nil {
			break
		}
		c := kmsg.NewDescribeTopicPartitionsRequestCursor()
		c.Topic, c.Partition = next.Topic, next.Partition
		req.Cursor = &c
		req.Topics = slices.DeleteFunc(req.Topics, func(rt kmsg.DescribeTopicPartitionsRequestTopic) bool {
			return rt.Topic < next.Topic
		})
	}
	var out []topicView
	for _, n := range order {
		out = append(out, *byName[n])
	}
	return out, nil
}

func (t *topicsTool) viewByMetadata(ctx context.Context, names []string) ([]topicView, error) {
	topics, err := t.adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, timedOut(err, "describeTopics")
	}
	var out []topicView
	for _, d := range topics.Sorted() {
		if d.Err != nil {
			return nil, withMessage(d.Err, nil)
		}
		v := topicView{name: d.Topic, id: d.ID}
		for _, p := range d.Partitions.Sorted() {
			v.partitions = append(v.partitions, partitionView{id: p.Partition, leader: p.Leader, replicas: p.Replicas, isr: p.ISR})
		}
		out = append(out, v)
	}
	return out, nil
}

// isUnsupported tells that the broker does not know the request at all.
func isUnsupported(err error) bool {
	return errors.Is(err, kerr.UnsupportedVersion) || strings.Contains(err.Error(), "does not support") ||
		strings.Contains(err.Error(), "broker is too old")
}

func (t *topicsTool) doDescribe(ctx context.Context) error {
	var names []string
	var wanted [16]byte
	byID := false
	if t.topicID.has {
		id, err := parseUUID(t.topicID.value())
		if err != nil {
			return err
		}
		wanted, byID = id, id != [16]byte{}
	}
	if byID {
		all, err := t.adm.ListTopicsWithInternal(ctx)
		if err != nil {
			return timedOut(err, "listTopics")
		}
		for _, d := range all {
			if d.ID == wanted && !(t.noInternal.has && d.IsInternal) {
				names = append(names, d.Topic)
			}
		}
		if len(names) == 0 && !t.ifExists.has {
			return fmt.Errorf("TopicId '%s' does not exist as expected", uuidText(wanted))
		}
	} else {
		var err error
		if names, err = t.names(ctx); err == nil {
			err = t.mustExist(names)
		}
		if err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return nil
	}
	views, err := t.view(ctx, names)
	if err != nil {
		return err
	}
	confs, err := t.adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return timedOut(err, "describeConfigs")
	}
	cluster, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		return timedOut(err, "describeCluster")
	}
	live := cluster.Brokers.NodeIDs()
	if moves, err := reassignmentsUnderWay(ctx, t.cl.Request, nil); err == nil {
		for i := range views {
			for j := range views[i].partitions {
				p := &views[i].partitions[j]
				if m, ok := moves[topicPartition{views[i].name, p.id}]; ok {
					p.moving, p.adding, p.removing = true, m.AddingReplicas, m.RemovingReplicas
				}
			}
		}
	}
	for _, v := range hashOrder(views, len(views), func(v topicView) int32 { return stringHash(v.name) }) {
		conf, err := confs.On(v.name, nil)
		if err == nil {
			err = conf.Err
		}
		if err != nil {
			return withMessage(err, &conf.ErrMessage)
		}
		slices.SortFunc(v.partitions, func(a, b partitionView) int { return int(a.id - b.id) })
		t.print(v, conf.Configs, live)
	}
	return nil
}

func (t *topicsTool) print(v topicView, conf []kadm.Config, live []int32) {
	var own []string
	minISR := 1
	for _, c := range hashOrder(conf, 16, func(c kadm.Config) int32 { return stringHash(c.Key) }) {
		if c.Source != kmsg.ConfigSourceDefaultConfig {
			val := "null"
			if c.Value != nil {
				val = *c.Value
			}
			own = append(own, c.Key+"="+val)
		}
		if c.Key == "min.insync.replicas" && c.Value != nil {
			minISR, _ = strconv.Atoi(*c.Value)
		}
	}
	only := t.unavailable.has || t.underReplicated.has || t.underMin.has || t.atMin.has
	if !only && (!t.changed.has || len(own) > 0) && len(v.partitions) > 0 {
		t.env.printf("Topic: %s", v.name)
		if v.id != [16]byte{} {
			t.env.printf("\tTopicId: %s", uuidText(v.id))
		}
		t.env.printf("\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n", len(v.partitions), v.partitions[0].factor(), strings.Join(own, ","))
	}
	if t.changed.has {
		return
	}
	for _, p := range v.partitions {
		led := p.leader >= 0
		show := !only ||
			t.underReplicated.has && p.factor() > len(p.isr) ||
			t.unavailable.has && (!led || !slices.Contains(live, p.leader)) ||
			t.underMin.has && (!led || len(p.isr) < minISR) ||
			t.atMin.has && len(p.isr) == minISR
		if !show {
			continue
		}
		leader := "none"
		if led {
			leader = strconv.Itoa(int(p.leader))
		}
		t.env.printf("\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s", v.name, p.id, leader, commaList(p.replicas), commaList(p.isr))
		if p.moving {
			t.env.printf("\tAdding Replicas: %s\tRemoving Replicas: %s", commaList(p.adding), commaList(p.removing))
		}
		if p.hasElr {
			t.env.printf("\tElr: %s\tLastKnownElr: %s\n", commaList(p.elr), commaList(p.lastElr))
		} else {
			t.env.printf("\tElr: N/A\tLastKnownElr: N/A\n")
		}
	}
}
