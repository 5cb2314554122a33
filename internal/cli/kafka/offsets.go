// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// times are the names that --time knows for the protocol's special timestamps.
var times = map[string]int64{
	"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5, "earliest-pending-upload": -6,
}

// partitionRule is one word of --topic-partitions: a topic's expression and
// the half-open range [from, upTo) of partitions.
type partitionRule struct {
	topic      *regexp.Regexp
	from, upTo int64
	ids        []int64 // instead of the range, when not nil
}

func (r partitionRule) matches(topic string, p int32) bool {
	if !r.topic.MatchString(topic) {
		return false
	}
	if r.ids != nil {
		return slices.Contains(r.ids, int64(p))
	}
	return int64(p) >= r.from && int64(p) < r.upTo
}

var ruleShape = regexp.MustCompile(`^([^:,]*)(?::(?:([0-9]*)|(?:([0-9]*)-([0-9]*))))?$`)

func parsePartitionRule(s string) (partitionRule, error) {
	m := ruleShape.FindStringSubmatch(s)
	if m == nil {
		return partitionRule{}, failf("Error occurred: Invalid rule specification: %s", s)
	}
	name := m[1]
	if name == "" {
		name = ".*"
	}
	re, err := topicFilter(name)
	if err != nil {
		return partitionRule{}, failf("Error occurred: %s", err)
	}
	r := partitionRule{topic: re, upTo: math.MaxInt32}
	num := func(s string, to *int64) {
		if s != "" {
			*to, _ = strconv.ParseInt(s, 10, 64)
		}
	}
	if m[2] != "" {
		num(m[2], &r.from)
		r.upTo = r.from + 1
		return r, nil
	}
	num(m[3], &r.from)
	num(m[4], &r.upTo)
	return r, nil
}

func runGetOffsets(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Prints offsets of partitions, as topic:partition:offset.")
	server := o.text("bootstrap-server", "HOST1:PORT1,...,HOST3:PORT3", "REQUIRED: host:port of a broker, or several with commas between.")
	rules := o.text("topic-partitions", "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3", "Patterns with commas between: a topic's regular expression and after a colon a partition or a range of which the end is not included.")
	topic := o.text("topic", "topic", "The topic, or a regular expression; all when left out.")
	parts := o.text("partitions", "partition ids", "Ids of partitions with commas between; all when left out.")
	at := o.text("time", "<timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload", "The first offset at or after this time in milliseconds, or a special one.").def("latest")
	config := o.text("command-config", "config file", "File of client properties.")
	noInternal := o.flag("exclude-internal-topics", "Leave out internal topics.")
	if len(args) > 0 {
		if err := o.parse(args); err != nil {
			return failf("Error occurred: %s", err)
		}
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	if err := o.required(server); err != nil {
		return err
	}
	if err := checkServers(server.value()); err != nil {
		return o.usage("%s", err)
	}
	if rules.has && (topic.has || parts.has) {
		return failf("Error occurred: --topic-partitions cannot be used with --topic or --partitions")
	}
	ms, named := times[at.value()]
	if !named {
		var err error
		if ms, err = strconv.ParseInt(at.value(), 10, 64); err != nil {
			return failf("Error occurred: Malformed time argument %s. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp", at.value())
		}
	}
	var filter []partitionRule
	if rules.has {
		for _, w := range strings.Split(rules.value(), ",") {
			r, err := parsePartitionRule(w)
			if err != nil {
				return err
			}
			filter = append(filter, r)
		}
	} else {
		name := topic.value()
		if !topic.has {
			name = ".*"
		}
		re, err := topicFilter(name)
		if err != nil {
			return failf("Error occurred: %s", err)
		}
		r := partitionRule{topic: re, upTo: math.MaxInt64}
		if parts.value() != "" {
			for _, w := range strings.Split(parts.value(), ",") {
				n, err := strconv.ParseInt(w, 10, 32)
				if err != nil {
					return failf("Error occurred: --partitions expects a comma separated list of numeric partition ids, but received: %s", parts.value())
				}
				r.ids = append(r.ids, n)
			}
		}
		filter = []partitionRule{r}
	}
	conf, err := loadProps(config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"], conf["client.id"] = server.value(), "GetOffsetShell"
	adm, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return failf("Error occurred: %s", timedOut(err, "listTopics"))
	}
	var list []topicPartition
	for _, d := range topics {
		if noInternal.has && (d.IsInternal || isInternal(d.Topic)) {
			continue
		}
		for p := range d.Partitions {
			if slices.ContainsFunc(filter, func(r partitionRule) bool { return r.matches(d.Topic, p) }) {
				list = append(list, topicPartition{d.Topic, p})
			}
		}
	}
	if len(list) == 0 {
		return failf("Error occurred: Could not match any topic-partitions with the specified filters")
	}
	slices.SortFunc(list, func(a, b topicPartition) int { return strings.Compare(a.String(), b.String()) })
	req := listOffsetsRequest(list, ms)
	found := map[topicPartition]int64{}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return failf("Error occurred: %s", timedOut(shard.Err, "listOffsets"))
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range rt.Partitions {
				tp := topicPartition{rt.Topic, p.Partition}
				if err := codeError(p.ErrorCode, nil); err != nil {
					e.complain("Skip getting offsets for topic-partition %s due to error: %s", tp, exceptionText(err))
				} else if p.Offset >= 0 {
					found[tp] = p.Offset
				}
			}
		}
	}
	for _, tp := range list {
		if o, ok := found[tp]; ok {
			e.printf("%s:%d:%d\n", tp.topic, tp.partition, o)
		}
	}
	return nil
}
