// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

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
