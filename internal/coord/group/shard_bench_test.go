// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group/classic"
)

// What a coordinator does most: commits and heartbeats, and the load of a log.

func benchConfig() *Config {
	return &Config{
		Classic:         classic.Config{InitialRebalanceDelay: 3 * time.Second, MaxSize: 1 << 30},
		OffsetRetention: time.Hour, RetentionCheck: 10 * time.Minute, MaxMetadata: 4096,
	}
}

func BenchmarkCommitOfTen(b *testing.B) {
	s := New(benchConfig())
	now := time.UnixMilli(1_700_000_000_000)
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 9, "group", -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = "orders"
	for p := range int32(10) {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = p, 1_000_000
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	at := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		r := s.Commit(now, req)
		for _, rec := range r.Records {
			if err := s.Replay(at, rec); err != nil {
				b.Fatal(err)
			}
			at++
		}
		s.Committed(at)
	}
}

// A group of a thousand members: what a heartbeat costs must not grow with them.
func BenchmarkHeartbeatOfThousand(b *testing.B) {
	s := New(benchConfig())
	now := time.UnixMilli(1_700_000_000_000)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.ProtocolType = 3, "group", "consumer"
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 45_000, 300_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscribe("orders")}}
	for i := range 1000 {
		s.Join(now, coord.Ticket(i+1), join, classic.Caller{ClientID: "c", NewID: fmt.Sprint(i)})
	}
	var members []string
	for generation := false; !generation; {
		now = s.Next()
		for _, a := range s.Tick(now).Answers {
			members = append(members, a.Reply.(*kmsg.JoinGroupResponse).MemberID)
			generation = true
		}
	}
	for i, id := range members {
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.Generation, sync.MemberID = "group", 1, id
		if r := s.Sync(now, coord.Ticket(10_000+i), sync); r.Settled != nil {
			r.Settled(now, true, nil)
		}
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.Generation = "group", 1
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		beat.MemberID = members[i%len(members)]
		i++
		now = now.Add(3 * time.Millisecond)
		if r := s.Heartbeat(now, beat); r.Reply.(*kmsg.HeartbeatResponse).ErrorCode != 0 {
			b.Fatal("refused")
		}
		if !s.Next().After(now) {
			s.Tick(now)
		}
	}
}

func BenchmarkLoadOffset(b *testing.B) {
	records := make([]coord.Record, 10_000)
	for i := range records {
		records[i] = offsetRecord(fmt.Sprint("group", i/100), "orders", int32(i%100), Offset{Offset: int64(i), LeaderEpoch: 1, ExpiresAt: -1})
	}
	b.ReportAllocs()
	s, i := New(benchConfig()), 0
	for b.Loop() {
		if i == len(records) {
			s, i = New(benchConfig()), 0
		}
		if err := s.Replay(int64(i), records[i]); err != nil {
			b.Fatal(err)
		}
		i++
		if i%1000 == 0 {
			s.Committed(int64(i))
		}
	}
}
