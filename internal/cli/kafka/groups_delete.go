// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

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
