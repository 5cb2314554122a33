// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

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
