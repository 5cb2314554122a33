// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTally(t *testing.T) {
	t.Parallel()
	got := map[int16]int{}
	tl := &tally{told: func(key, code int16, n int) {
		if key != 3 {
			t.Errorf("key %d", key)
		}
		got[code] += n
	}}
	resp := kmsg.NewPtrMetadataResponse()
	for _, codes := range [][]int16{{0, 5, 5}, {3}, {0, 0}} {
		topic := kmsg.NewMetadataResponseTopic()
		topic.ErrorCode = codes[0]
		for _, c := range codes[1:] {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.ErrorCode = c
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	tl.count(3, resp)
	if len(got) != 2 || got[5] != 2 || got[3] != 1 {
		t.Error(got)
	}
	top := kmsg.NewPtrHeartbeatResponse()
	top.ErrorCode = 25
	if tl.count(3, top); got[25] != 1 {
		t.Error(got)
	}
}
