// SPDX-License-Identifier: Apache-2.0

package link

import (
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
)

// What is written is what kmsg reads, which knows Kafka's schema and keeps tags
// that it does not know.
func TestFetchIsKafkas(t *testing.T) {
	t.Parallel()
	a, b := [16]byte{1}, [16]byte{2}
	q := &replica.FetchRequest{
		BrokerEpoch: 77, Session: 5, SessionEpoch: 6, MaxWait: 500 * time.Millisecond, MinBytes: 1, MaxBytes: 10 << 20,
		Partitions: []replica.FetchPartition{
			{PartitionID: replica.PartitionID{Topic: a, Index: 1}, LeaderEpoch: 3, From: 100, LastEpoch: 2, Start: 10, MaxBytes: 1 << 20, Flushed: 90, Cut: 4},
			{PartitionID: replica.PartitionID{Topic: a, Index: 2}, From: 7, LastEpoch: -1},
			{PartitionID: replica.PartitionID{Topic: b, Index: 0}, From: 8},
		},
		Forgotten: []replica.PartitionID{{Topic: b, Index: 9}},
	}
	k := kmsg.NewPtrFetchRequest()
	k.Version = fetchVersion
	if err := k.ReadFrom(appendFetch(nil, 3, q)); err != nil {
		t.Fatal(err)
	}
	if k.MaxWaitMillis != 500 || k.MinBytes != 1 || k.MaxBytes != 10<<20 || k.SessionID != 5 || k.SessionEpoch != 6 {
		t.Errorf("%+v", k)
	}
	if k.ReplicaState.ID != 3 || k.ReplicaState.Epoch != 77 {
		t.Errorf("replica state %+v", k.ReplicaState)
	}
	if len(k.Topics) != 2 || k.Topics[0].TopicID != a || len(k.Topics[0].Partitions) != 2 || k.Topics[1].TopicID != b {
		t.Fatalf("topics %+v", k.Topics)
	}
	p := k.Topics[0].Partitions[0]
	if p.Partition != 1 || p.CurrentLeaderEpoch != 3 || p.FetchOffset != 100 || p.LastFetchedEpoch != 2 || p.LogStartOffset != 10 || p.PartitionMaxBytes != 1<<20 {
		t.Errorf("%+v", p)
	}
	tags := map[uint32][]byte{}
	p.UnknownTags.Each(func(k uint32, v []byte) { tags[k] = v })
	if want := put64(put64(nil, 90), 4); !reflect.DeepEqual(tags, map[uint32][]byte{tagFlushed: want}) {
		t.Errorf("tags %v", tags)
	}
	if len(k.ForgottenTopics) != 1 || k.ForgottenTopics[0].TopicID != b || k.ForgottenTopics[0].Partitions[0] != 9 {
		t.Errorf("forgotten %+v", k.ForgottenTopics)
	}
}

func answer(t testing.TB) []byte {
	t.Helper()
	k := kmsg.NewPtrFetchResponse()
	k.Version = fetchVersion
	k.SessionID = 9
	tp := kmsg.NewFetchResponseTopic()
	tp.TopicID = [16]byte{1}
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset = 4, 50, 40, 2
	p.RecordBatches = []byte("some records")
	tp.Partitions = append(tp.Partitions, p)
	p = kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark = 5, -1
	p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = 3, 30
	p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 1, FirstOffset: 2}}
	p.UnknownTags.Set(tagLogEnd, put64(nil, 60))
	tp.Partitions = append(tp.Partitions, p)
	k.Topics = append(k.Topics, tp)
	k.Brokers = append(k.Brokers, kmsg.NewFetchResponseBroker())
	return k.AppendTo(nil)
}

func TestAnswerIsKafkas(t *testing.T) {
	t.Parallel()
	var a replica.FetchAnswer
	if err := parseFetch(answer(t), &a); err != nil {
		t.Fatal(err)
	}
	want := []replica.FetchedPartition{
		{PartitionID: replica.PartitionID{Topic: [16]byte{1}, Index: 4}, HighWatermark: 50, Start: 2, End: -1, Records: []byte("some records")},
		{PartitionID: replica.PartitionID{Topic: [16]byte{1}, Index: 5}, HighWatermark: -1, Start: -1, End: 60, Diverging: &replica.EpochEnd{Epoch: 3, End: 30}},
	}
	if a.Session != 9 || !reflect.DeepEqual(a.Partitions, want) {
		t.Errorf("%+v", a)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(answer(f))
	f.Add([]byte{0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		var a replica.FetchAnswer
		_ = parseFetch(b, &a) // must not panic, nor take more than b suggests
		_, _, _ = parseNews(b)
	})
}
