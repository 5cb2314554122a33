// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
)

type noPartitions struct{}

func (noPartitions) Find(string, int32) (*replica.Partition, error) {
	return nil, kerr.UnknownTopicOrPartition
}

func TestListOffsetsRefusals(t *testing.T) {
	t.Parallel()
	o := &Offsets{Partitions: noPartitions{}}
	for _, c := range []struct {
		version    int16
		timestamps []int64 // of partitions 0, 1, 2 ...; -100 stands for partition 0 again
		want       []int16
	}{
		{1, []int64{-1, -2, 0, 5}, []int16{3, 3, 3, 3}},
		{6, []int64{-3, -7}, []int16{35, 35}},
		{7, []int64{-3, -4}, []int16{3, 35}},
		{10, []int64{-4, -5, -6}, []int16{3, 3, 35}},
		{11, []int64{-6, -7}, []int16{3, 35}},
		{11, []int64{-1, -100}, []int16{42}}, // twice the same partition: one answer
	} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = "t"
		for i, ts := range c.timestamps {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = int32(i), ts
			if ts == -100 {
				rp.Partition, rp.Timestamp = 0, -1
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		resp, err := o.list(context.Background(), &Call{Version: c.version}, req)
		if err != nil {
			t.Fatal(err)
		}
		var got []int16
		for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
			got = append(got, p.ErrorCode)
			if p.Offset != -1 || p.Timestamp != -1 {
				t.Errorf("an error with offset %d, timestamp %d", p.Offset, p.Timestamp)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("v%d %v: codes %v, want %v", c.version, c.timestamps, got, c.want)
		}
	}
}

// countedIDs gives 0, 1, 2 ...
type countedIDs struct{ next int64 }

func (c *countedIDs) Next(context.Context) (int64, error) {
	c.next++
	return c.next - 1, nil
}

func TestInitProducerIDRules(t *testing.T) {
	t.Parallel()
	p := &Txns{IDs: &countedIDs{}, Cluster: &groupWorld{}}
	empty, name := "", "tx"
	for _, c := range []struct {
		version int16
		txn     *string
		id      int64
		epoch   int16
		code    int16
	}{
		{0, nil, 0, 0, 0}, // before version 3 the fields are not on the wire
		{4, nil, -1, -1, 0},
		{4, nil, 5, 1, 0},
		{4, nil, 5, -1, kerr.InvalidRequest.Code},
		{4, nil, -1, 1, kerr.InvalidRequest.Code},
		{4, &empty, -1, -1, kerr.InvalidRequest.Code},
		{4, &name, -1, -1, kerr.NotCoordinator.Code},
	} {
		req := &kmsg.InitProducerIDRequest{TransactionalID: c.txn, ProducerID: c.id, ProducerEpoch: c.epoch}
		resp, err := p.init(context.Background(), &Call{Version: c.version}, req)
		if err != nil {
			t.Fatal(err)
		}
		r := resp.(*kmsg.InitProducerIDResponse)
		if r.ErrorCode != c.code || (r.ProducerID >= 0) != (c.code == 0) || (r.ProducerEpoch >= 0) != (c.code != kerr.NotCoordinator.Code) {
			t.Errorf("%+v: code %d, id %d, epoch %d", c, r.ErrorCode, r.ProducerID, r.ProducerEpoch)
		}
	}
}
