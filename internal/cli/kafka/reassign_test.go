// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"strings"
	"testing"

	"gregor/internal/batch"
)

// What Apache Kafka 4.2.0 says of files that make no sense.
func TestReassignmentFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, want string }{
		{`{"version":1,"partitions":[{"topic":"foo","partition":0,"replicas":[3,3]}]}`, "Partition replica lists may not contain duplicate entries: foo-0 contains multiple entries for 3"},
		{`{"version":1,"partitions":[{"topic":"foo","partition":0,"replicas":[3,1],"log_dirs":["any"]}]}`, "Size of replicas list [3, 1] is different from size of log dirs list [any] for partition foo-0"},
		{`{"version":1,"partitions":[{"topic":"foo","partition":0,"replicas":[1]},{"topic":"foo","partition":0,"replicas":[2]}]}`, "Partition reassignment contains duplicate topic partitions: foo-0"},
		{`{"version":1,"partitions":[{"topic":"foo","partition":0,"replicas":[]}]}`, "Partition replica list cannot be empty"},
		{`{"version":2,"partitions":[]}`, "Not supported version field value 2"},
		{`{"version":1,"partitions":[]}`, "Partition reassignment list cannot be empty"},
		{`{"partitions":[{"partition":0,"replicas":[1]}]}`, "No such field exists: `topic`"},
	} {
		a, err := parseMoves([]byte(c.file))
		if err == nil {
			err = a.mayExecute()
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.file, err, c.want)
		}
	}
	const file = `{"version":1,"partitions":[{"topic":"foo","partition":1,"replicas":[2,1],"log_dirs":["any","/d"]},{"topic":"foo","partition":0,"replicas":[1]}]}`
	a, err := parseMoves([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	got, err := movesJSON(a.targets, a.dirs)
	if want := `{"version":1,"partitions":[{"topic":"foo","partition":0,"replicas":[1],"log_dirs":["any"]},{"topic":"foo","partition":1,"replicas":[2,1],"log_dirs":["any","/d"]}]}`; err != nil || got != want {
		t.Errorf("written again: %s, %v", got, err)
	}
}

// The values are those that Kafka's tool set on a cluster of its own.
func TestThrottledReplicas(t *testing.T) {
	t.Parallel()
	foo := func(i int32) topicPartition { return topicPartition{"foo", i} }
	underWay := map[topicPartition]ongoing{
		foo(0): {Replicas: []int32{3, 1, 2}, AddingReplicas: []int32{3}, RemovingReplicas: []int32{2}},
		foo(1): {Replicas: []int32{3, 2, 1}, AddingReplicas: []int32{3}, RemovingReplicas: []int32{1}},
	}
	moves := proposedMoves(underWay, map[topicPartition][]int32{foo(2): {1, 2, 3}}, map[topicPartition][]int32{foo(2): {1, 2}})
	leaders := throttledReplicas(moves, func(m move) []int32 { return m.sources })["foo"]
	followers := throttledReplicas(moves, func(m move) []int32 { return m.destinations })["foo"]
	if leaders != "0:1,0:2,1:1,1:2,2:1,2:2" || followers != "0:3,1:3,2:3" {
		t.Errorf("leaders %s, followers %s", leaders, followers)
	}
}

func oneBatch(t *testing.T, at int64, value string) batch.View {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	b.Append(1, nil, []byte(value))
	raw, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	v, err := batch.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	v.SetBaseOffset(at)
	return v
}

// TestReplicaVerification: replicas agree, lag, differ in a byte, differ in an
// offset.
func TestReplicaVerification(t *testing.T) {
	t.Parallel()
	tp := topicPartition{"foo", 0}
	log := func(vs ...batch.View) []byte {
		var out []byte
		for _, v := range vs {
			out = append(out, v...)
		}
		return out
	}
	a, b, c := oneBatch(t, 0, "a"), oneBatch(t, 1, "b"), oneBatch(t, 2, "c")
	for _, x := range []struct {
		name string
		got  map[int32]fetched
		at   int64
		says string
		bad  bool
	}{
		{"same", map[int32]fetched{1: {log(a, b, c), 3}, 2: {log(a, b, c), 3}}, 3, "", false},
		{"below the high watermark only", map[int32]fetched{1: {log(a, b, c), 2}, 2: {log(a, b, c), 3}}, 2, "", false},
		{"one behind", map[int32]fetched{1: {log(a, b), 2}, 2: {log(a), 1}}, 1, "", false},
		{"one silent", map[int32]fetched{1: {log(a, b), 2}}, 0, "", false},
		{"cut short", map[int32]fetched{1: {log(a, b), 2}, 2: {log(a, b)[:100], 2}}, 1, "", false},
		{"a byte", map[int32]fetched{1: {log(a), 1}, 2: {log(oneBatch(t, 0, "x")), 1}}, 1, fmt.Sprintf("partition foo-0 has unmatched checksum at offset 0; replica 1's checksum %d;", a.CRC()), false},
		{"an offset", map[int32]fetched{1: {log(a), 9}, 2: {log(b), 9}}, 0, "partition foo-0: replica 1's offset 0 doesn't match replica 2's offset 1", true},
	} {
		var out strings.Builder
		v := &verifier{env: &Env{Out: &out}, replicas: map[topicPartition]int{tp: 2}, at: map[topicPartition]int64{tp: 0}}
		err := v.compare(tp, x.got)
		if (err != nil) != x.bad || v.at[tp] != x.at || !strings.Contains(out.String(), x.says) || x.says == "" && out.Len() > 0 {
			t.Errorf("%s: at %d, %q, %v", x.name, v.at[tp], out.String(), err)
		}
	}
}
