// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"fmt"
	"math/rand"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func fetchFrom(version int16, topic string, id byte, offsets ...int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.MaxBytes = 1 << 20
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, [16]byte{id}
	for i, o := range offsets {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = int32(i), o, 1<<20
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func appendTo(t testing.TB, l *fakeLog, batches ...[]byte) {
	t.Helper()
	for _, b := range batches {
		if _, err := l.Append(b, AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Every version is understood and answered, field by field, as kmsg reads it;
// records come from the file, batches whole.
func TestFetchVersions(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	logs := parts.add("orders", 1, 3)
	appendTo(t, logs[0], testBatch(2, 50), testBatch(1, 30_000))
	logs[0].aborted = []AbortedTxn{{ProducerID: 5, FirstOffset: 1}}
	logs[1].fail = kerr.NotLeaderForPartition
	_, dial := serve(t, NewFetch(FetchConfig{Partitions: &parts}).Routes())
	c := dial()
	for version := int16(4); version <= 18; version++ {
		req := fetchFrom(version, "orders", 1, 0, 0, 0)
		req.IsolationLevel = int8(version % 2)
		resp := c.ask(req).(*kmsg.FetchResponse)
		ps := resp.Topics[0].Partitions
		if len(ps) != 3 || !bytes.Equal(ps[0].RecordBatches, logs[0].bytes) || len(ps[2].RecordBatches) != 0 {
			t.Fatalf("v%d: %d partitions, %d bytes", version, len(ps), len(ps[0].RecordBatches))
		}
		if ps[0].HighWatermark != 3 || ps[0].PreferredReadReplica != -1 || ps[1].ErrorCode != kerr.NotLeaderForPartition.Code {
			t.Fatalf("v%d: %+v", version, ps)
		}
		if got := fmt.Sprint(len(ps[0].AbortedTransactions), ps[2].AbortedTransactions == nil); req.IsolationLevel == 1 && got != "1 false" ||
			req.IsolationLevel == 0 && got != "0 true" {
			t.Fatalf("v%d: aborted %s", version, got)
		}
		if version >= 16 && (ps[1].CurrentLeader.LeaderID != 7 || len(resp.Brokers) != 1 || resp.Brokers[0].Port != 9092) {
			t.Fatalf("v%d: leader %+v %+v", version, ps[1].CurrentLeader, resp.Brokers)
		}
	}
	logs[1].fail = kerr.KafkaStorageError
	for version, want := range map[int16]int16{5: kerr.NotLeaderForPartition.Code, 6: kerr.KafkaStorageError.Code} {
		if got := c.ask(fetchFrom(version, "orders", 1, 0, 0)).(*kmsg.FetchResponse).Topics[0].Partitions[1].ErrorCode; got != want {
			t.Errorf("v%d: code %d for a failed directory, want %d", version, got, want)
		}
	}
	for _, l := range logs {
		if l.open != 0 {
			t.Errorf("%d slices were never released", l.open)
		}
	}
}

// The sum of records stays within max bytes, but the first partition with
// records gives one batch at least.
func TestFetchLimits(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	logs := parts.add("orders", 1, 3)
	for _, l := range logs {
		appendTo(t, l, testBatch(1, 939), testBatch(1, 939))
	}
	_, dial := serve(t, NewFetch(FetchConfig{Partitions: &parts}).Routes())
	c := dial()
	sizes := func(total, each int32) string {
		req := fetchFrom(12, "orders", 1, 0, 0, 0)
		req.MaxBytes = total
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].PartitionMaxBytes = each
		}
		var out []int
		for _, p := range c.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions {
			out = append(out, len(p.RecordBatches)/1000)
		}
		return fmt.Sprint(out)
	}
	for _, tt := range []struct {
		total, each int32
		want        string
	}{
		{1 << 20, 1 << 20, "[2 2 2]"},
		{1, 1 << 20, "[1 0 0]"},
		{1 << 20, 1, "[1 0 0]"},
		{1 << 20, 1999, "[1 1 1]"},
		{3500, 1 << 20, "[2 1 0]"},
		{0, 0, "[1 0 0]"},
	} {
		if got := sizes(tt.total, tt.each); got != tt.want {
			t.Errorf("max bytes %d, %d a partition: %s KB, want %s", tt.total, tt.each, got, tt.want)
		}
	}
}

// A fetch waits for min bytes at the gates of its partitions, and is answered
// by the append that brings them, by an error, or by its time.
func TestFetchWaits(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	logs := parts.add("orders", 1, 2)
	_, dial := serve(t, NewFetch(FetchConfig{Partitions: &parts}).Routes())
	c := dial()
	req := fetchFrom(12, "orders", 1, 0, 0)
	req.MaxWaitMillis, req.MinBytes = 1<<30, 300
	c.send(req)
	for logs[1].waiting() == 0 {
	}
	appendTo(t, logs[1], testBatch(1, 100))
	appendTo(t, logs[0], testBatch(1, 100))
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(12)
	c.receive(resp)
	for i, p := range resp.Topics[0].Partitions {
		if len(p.RecordBatches) != 161 {
			t.Fatalf("partition %d: %d bytes", i, len(p.RecordBatches))
		}
	}
	req = fetchFrom(12, "orders", 1, 1, 1)
	req.MaxWaitMillis, req.MinBytes = 1, 1
	if got := c.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions; len(got) != 2 || got[0].ErrorCode != 0 {
		t.Fatalf("after its time: %+v", got)
	}
	req = fetchFrom(12, "orders", 1, 1, 99)
	req.MaxWaitMillis, req.MinBytes = 1<<30, 1
	if got := c.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions[1].ErrorCode; got != kerr.OffsetOutOfRange.Code {
		t.Fatalf("code %d", got)
	}
	if logs[0].waiting()+logs[1].waiting() != 0 {
		t.Fatal("somebody waits still")
	}
}

// A session names what changed, and ends as KIP-227 says.
func TestFetchSessions(t *testing.T) {
	t.Parallel()
	for _, version := range []int16{7, 12, 13, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			var parts fakePartitions
			logs := parts.add("orders", 1, 3)
			sessions := NewSessions(10)
			_, dial := serve(t, NewFetch(FetchConfig{Partitions: &parts, Sessions: sessions}).Routes())
			c := dial()
			ask := func(id, epoch int32, req *kmsg.FetchRequest) (*kmsg.FetchResponse, string) {
				t.Helper()
				req.SessionID, req.SessionEpoch = id, epoch
				resp := c.ask(req).(*kmsg.FetchResponse)
				told := ""
				for _, topic := range resp.Topics {
					for _, p := range topic.Partitions {
						told += fmt.Sprintf("%d:%d ", p.Partition, len(p.RecordBatches))
					}
				}
				return resp, told
			}
			none := func() *kmsg.FetchRequest {
				req := fetchFrom(version, "orders", 1)
				req.Topics = nil
				return req
			}
			resp, told := ask(0, 0, fetchFrom(version, "orders", 1, 0, 0, 0))
			id := resp.SessionID
			if id == 0 || told != "0:0 1:0 2:0 " {
				t.Fatalf("session %d told %q", id, told)
			}
			if _, told = ask(id, 1, none()); told != "" {
				t.Fatalf("nothing changed, told %q", told)
			}
			appendTo(t, logs[0], testBatch(1, 0))
			if _, told = ask(id, 2, none()); told != "0:61 " {
				t.Fatalf("told %q", told)
			}
			// It has not moved its offset, so it is told again; what gave
			// records stands last now.
			appendTo(t, logs[2], testBatch(1, 0))
			if _, told = ask(id, 3, none()); told != "2:61 0:61 " {
				t.Fatalf("told %q", told)
			}
			req := fetchFrom(version, "orders", 1, 1)
			forget := kmsg.NewFetchRequestForgottenTopic()
			forget.Topic, forget.TopicID, forget.Partitions = "orders", [16]byte{1}, []int32{2}
			req.ForgottenTopics = append(req.ForgottenTopics, forget)
			if _, told = ask(id, 4, req); told != "" {
				t.Fatalf("told %q", told)
			}
			logs[1].fail = kerr.NotLeaderForPartition
			for epoch := int32(5); epoch < 7; epoch++ {
				if _, told = ask(id, epoch, none()); told != "1:0 " {
					t.Fatalf("an error is told each time, told %q", told)
				}
			}
			logs[1].fail = nil
			if _, told = ask(id, 7, none()); told != "1:0 " {
				t.Fatalf("the end of an error is told, told %q", told)
			}
			if resp, _ = ask(id, 7, none()); resp.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
				t.Fatalf("an old epoch: %d", resp.ErrorCode)
			}
			if resp, _ = ask(id+1, 8, none()); resp.ErrorCode != kerr.FetchSessionIDNotFound.Code {
				t.Fatalf("another session: %d", resp.ErrorCode)
			}
			other := none()
			other.SetVersion(25 - version) // 18, 13, 12, 7
			if resp, _ = ask(id, 8, other); resp.ErrorCode != kerr.FetchSessionTopicIDError.Code {
				t.Fatalf("names for ids: %d", resp.ErrorCode)
			}
			// Forgetting all ends the session.
			req = none()
			forget.Partitions = []int32{0, 1}
			req.ForgottenTopics = append(req.ForgottenTopics, forget)
			if resp, _ = ask(id, 8, req); resp.ErrorCode != 0 || resp.SessionID != 0 {
				t.Fatalf("the last answer: %d, session %d", resp.ErrorCode, resp.SessionID)
			}
			if resp, _ = ask(id, 9, none()); resp.ErrorCode != kerr.FetchSessionIDNotFound.Code {
				t.Fatalf("after the end: %d", resp.ErrorCode)
			}
			// (id, 0) replaces, (id, -1) closes and is served.
			resp, _ = ask(0, 0, fetchFrom(version, "orders", 1, 0))
			next, _ := ask(resp.SessionID, 0, fetchFrom(version, "orders", 1, 0))
			if next.SessionID == 0 || next.SessionID == resp.SessionID || sessions.Stats().Sessions != 1 {
				t.Fatalf("session %d after %d, %+v", next.SessionID, resp.SessionID, sessions.Stats())
			}
			if resp, told = ask(next.SessionID, -1, fetchFrom(version, "orders", 1, 0)); resp.SessionID != 0 || told != "0:61 " {
				t.Fatalf("told %q, session %d", told, resp.SessionID)
			}
			if got := sessions.Stats(); got.Sessions != 0 || got.Partitions != 0 {
				t.Fatalf("left: %+v", got)
			}
		})
	}
}

// Who may take whose place when the cache is full.
func TestSessionEviction(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	parts := func(n int) []fetchPart {
		out := make([]fetchPart, n)
		for i := range out {
			out[i].key = partKey{"t", [16]byte{}, int32(i)}
		}
		return out
	}
	touch := func(c *Sessions, s *session, now time.Time) {
		q := &fetchRequest{version: 12, sessionID: s.id, sessionEpoch: s.epoch}
		if _, _, err := c.incremental(now, q, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := NewSessions(2)
	small := c.create(start, false, false, parts(1))
	large := c.create(start, false, false, parts(5))
	if c.create(start, false, false, parts(9)) != nil {
		t.Fatal("a young session was evicted for a consumer's")
	}
	follower := c.create(start, true, false, parts(1))
	if follower == nil || c.byID[small.id] != nil || c.byID[large.id] == nil {
		t.Fatal("a follower takes the place of the smallest consumer's")
	}
	later := start.Add(sessionEviction + time.Second)
	touch(c, large, later)
	touch(c, follower, later)
	if c.create(later, false, false, parts(5)) != nil {
		t.Fatal("an old session was evicted for one no larger")
	}
	second := c.create(later, false, false, parts(6))
	if second == nil || c.byID[large.id] != nil {
		t.Fatal("an old session gives way to a larger one")
	}
	if c.create(later.Add(2*sessionEviction), false, false, parts(1)) == nil || c.byID[follower.id] != nil && c.byID[second.id] != nil {
		t.Fatal("an unused session gives way to anything")
	}
	if got := c.Stats(); got.Sessions != 2 || got.Evictions != 3 {
		t.Fatalf("%+v", got)
	}
}

// Sessions that nobody uses give way when all together remember too much.
func TestUnusedSessionsGiveWay(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	parts := make([]fetchPart, maxSessionPartitions/4)
	for i := range parts {
		parts[i].key.index = int32(i)
	}
	c := NewSessions(1000)
	for range 4 {
		if c.create(start, false, false, parts) == nil {
			t.Fatal("no session")
		}
	}
	if c.create(start.Add(time.Minute), false, false, parts[:1]) != nil {
		t.Fatal("a session was evicted that may be in use")
	}
	later := start.Add(sessionEviction + time.Second)
	s := c.create(later, false, false, parts[:1])
	if s == nil {
		t.Fatal("no session beside those that nobody uses")
	}
	more := make([]fetchPart, maxSessionPartitions/2)
	for i := range more {
		more[i].key.index = int32(i)
	}
	if got, _, err := c.incremental(later, &fetchRequest{version: 12, sessionID: s.id, sessionEpoch: s.epoch}, more, nil); err != nil || got != s {
		t.Fatalf("a session that grows beside those that nobody uses: %v", err)
	}
	if got := c.Stats(); got.Sessions != 3 || got.Evictions != 2 {
		t.Errorf("%+v", got)
	}
}

func TestEpochWraps(t *testing.T) {
	t.Parallel()
	if nextEpoch(1<<31-1) != 1 || nextEpoch(-1) != -1 || nextEpoch(0) != 1 {
		t.Fatal("epochs run from 1 to 2^31-1 and begin again at 1")
	}
}

// What kmsg writes, the hand-written parser reads, and no cut body passes.
func TestParseFetchAgainstKmsg(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewSource(1))
	for version := int16(4); version <= 18; version++ {
		for range 200 {
			req := kmsg.NewPtrFetchRequest()
			randomFill(r, reflect.ValueOf(req).Elem(), 0)
			req.SetVersion(version)
			body := req.AppendTo(nil)
			var got, want []string
			keep := &fetched{names: map[string]string{}}
			q, err := parseFetch(version, body, keep)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range keep.parts {
				got = append(got, fmt.Sprint(p.key, p.leaderEpoch, p.offset, p.lastFetchedEpoch, p.maxBytes))
			}
			for _, key := range keep.forgotten {
				got = append(got, fmt.Sprint("forget", key))
			}
			back := kmsg.NewPtrFetchRequest()
			back.SetVersion(version)
			if err := back.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			for _, topic := range back.Topics {
				for _, p := range topic.Partitions {
					want = append(want, fmt.Sprint(partKey{topic.Topic, topic.TopicID, p.Partition}, p.CurrentLeaderEpoch, p.FetchOffset, p.LastFetchedEpoch, p.PartitionMaxBytes))
				}
			}
			for _, topic := range back.ForgottenTopics {
				for _, p := range topic.Partitions {
					want = append(want, fmt.Sprint("forget", partKey{topic.Topic, topic.TopicID, p}))
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("v%d: %v, want %v", version, got, want)
			}
			replica := back.ReplicaID
			if version >= 15 {
				replica = back.ReplicaState.ID
			}
			if q.replica != replica || q.maxWait != back.MaxWaitMillis || q.minBytes != back.MinBytes || q.maxBytes != back.MaxBytes ||
				q.isolation != back.IsolationLevel || version >= 7 && (q.sessionID != back.SessionID || q.sessionEpoch != back.SessionEpoch) ||
				version >= 11 && string(q.rack) != back.Rack || q.partitions != len(want) {
				t.Fatalf("v%d: %+v, want %+v", version, q, back)
			}
			if _, err := parseFetch(version, body[:r.Intn(len(body))], nil); err == nil {
				t.Fatalf("v%d: a cut body passes", version)
			}
		}
	}
}
