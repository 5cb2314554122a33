// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// stubSchema knows three settings of topics and takes any other resource's.
type stubSchema struct{}

func (stubSchema) IsList(_ meta.ResourceType, key string) bool { return key == "list" }

func (stubSchema) Default(_ meta.ResourceType, key string) (string, bool) {
	return "delete", key == "list"
}

func (stubSchema) Validate(r meta.Resource, all, _ map[string]string) error {
	for _, k := range sortedKeys(all) {
		switch {
		case r.Type == meta.TopicResource && k != "list" && k != "number" && k != "text":
			return errors.New("Unknown topic config name: " + k)
		case k == "number" && strings.ContainsAny(all[k], "abcdefghijklmnopqrstuvwxyz"):
			return errors.New("Invalid value for number")
		case k == "closed":
			return fmt.Errorf("%w: closed", kerr.ClusterAuthorizationFailed)
		}
	}
	return nil
}

func (stubSchema) Topic(_ *meta.Image, set map[string]string) []TopicSetting {
	v := set["number"]
	return []TopicSetting{{Name: "number", Value: &v, Source: 1}}
}

// counter is a source that is far from random.
type counter uint64

func (c *counter) Uint64() uint64 { *c += 0x9E3779B97F4A7C15; return uint64(*c) }

func env() Env {
	return Env{Random: new(counter), Schema: stubSchema{}, Partitions: 3, Replication: 1,
		Supported: []meta.FeatureRange{{Name: "kraft.version", Min: 0, Max: 1}, {Name: "metadata.version", Min: 1, Max: 5}}}
}

func dir(n byte) meta.UUID { return meta.UUID{0: 0xd, 15: n} }

// cluster has brokers 1 to n in service, with the topic "old" (2 partitions)
// on broker 1 and, when n > 1, "wide" of factor 2 on brokers 1 and 2.
func cluster(t testing.TB, n int) *meta.Image {
	t.Helper()
	rs := []meta.Record{meta.ClusterRecord{ID: "c"}, meta.FeatureRecord{Name: "metadata.version", Level: 3}}
	for i := range int32(n) {
		rs = append(rs, meta.BrokerRecord{Broker: meta.Broker{ID: i + 1, Epoch: int64(i + 10), Incarnation: dir(byte(100 + i)), Dirs: []meta.UUID{dir(byte(i + 1))},
			Features: []meta.FeatureRange{{Name: "kraft.version", Min: 0, Max: 1}, {Name: "metadata.version", Min: 1, Max: 5}}}})
	}
	old := meta.UUID{15: 1}
	rs = append(rs, meta.TopicRecord{Name: "old", ID: old})
	for i := range int32(2) {
		rs = append(rs, meta.PartitionRecord{Topic: old, Index: i, Partition: meta.Partition{Replicas: []int32{1}, Dirs: []meta.UUID{dir(1)}, ISR: []int32{1}, Leader: 1}})
	}
	if n > 1 {
		wide := meta.UUID{15: 2}
		rs = append(rs, meta.TopicRecord{Name: "wide", ID: wide},
			meta.PartitionRecord{Topic: wide, Index: 0, Partition: meta.Partition{Replicas: []int32{1, 2}, Dirs: make([]meta.UUID, 2), ISR: []int32{2, 1}, Leader: 2, LeaderEpoch: 4, PartitionEpoch: 8}})
	}
	return with(t, meta.Empty(), rs...)
}

func with(t testing.TB, img *meta.Image, rs ...meta.Record) *meta.Image {
	t.Helper()
	next, _, err := img.With(rs)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func topic(name string, partitions int32, factor int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	return t
}

func configured(t kmsg.CreateTopicsRequestTopic, kv ...string) kmsg.CreateTopicsRequestTopic {
	for i := 0; i < len(kv); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name = kv[i]
		if kv[i+1] != "null" {
			c.Value = &kv[i+1]
		}
		t.Configs = append(t.Configs, c)
	}
	return t
}

func assigned(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	t := topic(name, -1, -1)
	for i, r := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), r
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	return t
}

func check(t *testing.T, what string, code int16, want *kerr.Error) {
	t.Helper()
	got := kerr.ErrorForCode(code)
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestCreateTopics(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 250)
	gap := assigned("x", []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 2
	twice := assigned("x", []int32{1}, []int32{1})
	twice.ReplicaAssignment[1].Partition = 0
	counted := assigned("x", []int32{1})
	counted.NumPartitions = 1
	factored := assigned("x", []int32{1})
	factored.ReplicationFactor = 1
	for _, c := range []struct {
		name  string
		topic kmsg.CreateTopicsRequestTopic
		want  *kerr.Error
		parts int
	}{
		{"counts", topic("x", 4, 2), nil, 4},
		{"defaults", topic("x", -1, -1), nil, 3},
		{"longest name", topic(long[:249], 1, 1), nil, 1},
		{"exists", topic("old", 1, 1), kerr.TopicAlreadyExists, 0},
		{"empty name", topic("", 1, 1), kerr.InvalidTopicException, 0},
		{"dot", topic(".", 1, 1), kerr.InvalidTopicException, 0},
		{"dots", topic("..", 1, 1), kerr.InvalidTopicException, 0},
		{"long name", topic(long, 1, 1), kerr.InvalidTopicException, 0},
		{"slash", topic("a/b", 1, 1), kerr.InvalidTopicException, 0},
		{"not ASCII", topic("ä", 1, 1), kerr.InvalidTopicException, 0},
		{"looks alike", topic("a_b", 1, 1), kerr.InvalidTopicException, 0},
		{"metadata topic", topic("__cluster_metadata", 1, 1), kerr.InvalidRequest, 0},
		{"no partitions", topic("x", 0, 1), kerr.InvalidPartitions, 0},
		{"minus two partitions", topic("x", -2, 1), kerr.InvalidPartitions, 0},
		{"no replicas", topic("x", 1, 0), kerr.InvalidReplicationFactor, 0},
		{"too many replicas", topic("x", 1, 3), kerr.InvalidReplicationFactor, 0},
		{"10,000 partitions", topic("x", 10_000, 1), kerr.PolicyViolation, 0},
		{"10,001 partitions", topic("x", 10_001, 1), kerr.PolicyViolation, 0},
		{"9,999 partitions", topic("x", 9_999, 1), nil, 9_999},
		{"a setting", configured(topic("x", 1, 1), "number", "5"), nil, 1},
		{"an unknown setting", configured(topic("x", 1, 1), "colour", "5"), kerr.InvalidConfig, 0},
		{"a bad value", configured(topic("x", 1, 1), "number", "abc"), kerr.InvalidConfig, 0},
		{"a null value", configured(topic("x", 1, 1), "number", "null"), kerr.InvalidConfig, 0},
		{"a huge value", configured(topic("x", 1, 1), "text", strings.Repeat("1", 1<<15)), kerr.InvalidConfig, 0},
		{"assigned", assigned("x", []int32{2, 1}, []int32{1, 2}), nil, 2},
		{"assigned and counted", counted, kerr.InvalidRequest, 0},
		{"assigned and factored", factored, kerr.InvalidRequest, 0},
		{"assigned with a gap", gap, kerr.InvalidReplicaAssignment, 0},
		{"assigned twice", twice, kerr.InvalidReplicaAssignment, 0},
		{"assigned to nobody", assigned("x", []int32{}), kerr.InvalidReplicaAssignment, 0},
		{"assigned to a stranger", assigned("x", []int32{9}), kerr.InvalidReplicaAssignment, 0},
		{"assigned to one twice", assigned("x", []int32{1, 1}), kerr.InvalidReplicaAssignment, 0},
		{"assigned unevenly", assigned("x", []int32{1}, []int32{1, 2}), kerr.InvalidReplicaAssignment, 0},
	} {
		img := with(t, cluster(t, 2), meta.TopicRecord{Name: "a.b", ID: meta.UUID{15: 9}})
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics = append(req.Topics, c.topic)
		records, resp := CreateTopics(img, req, env())
		if len(resp.Topics) != 1 {
			t.Fatalf("%s: %d answers", c.name, len(resp.Topics))
		}
		got := resp.Topics[0]
		check(t, c.name, got.ErrorCode, c.want)
		if c.want != nil {
			if len(records) > 0 || got.ErrorMessage == nil || *got.ErrorMessage == "" {
				t.Errorf("%s: %d records, message %v", c.name, len(records), got.ErrorMessage)
			}
			continue
		}
		next := with(t, img, records...)
		made := next.Topic(c.topic.Topic)
		if made == nil || made.Len() != c.parts || got.NumPartitions != int32(c.parts) || got.TopicID != made.ID || got.ErrorMessage != nil {
			t.Fatalf("%s: %+v in the image, %+v answered", c.name, made, got)
		}
		for i, p := range made.Partitions() {
			if p.Leader != p.Replicas[0] || len(p.Replicas) != int(got.ReplicationFactor) || !slices.Equal(p.ISR, p.Replicas) || p.Dirs[0] != dir(byte(p.Replicas[0])) {
				t.Errorf("%s: partition %d is %+v", c.name, i, p)
			}
		}
		req.ValidateOnly = true
		if records, resp := CreateTopics(img, req, env()); len(records) > 0 || resp.Topics[0].ErrorCode != 0 {
			t.Errorf("%s: validating made %d records", c.name, len(records))
		}
	}
}

func TestCreateTopicsTogether(t *testing.T) {
	t.Parallel()
	img := cluster(t, 1)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{topic("a", 1, 1), topic("b", 1, 1), topic("a", 2, 1), topic("old", 1, 1)}
	records, resp := CreateTopics(img, req, env())
	var got []string
	for _, r := range resp.Topics {
		got = append(got, fmt.Sprint(r.Topic, " ", r.ErrorCode))
	}
	if want := []string{"a 42", "b 0", "old 36"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if next := with(t, img, records...); next.Topic("b") == nil || next.Topic("a") != nil {
		t.Error("the wrong topics were made")
	}
	req.Topics = []kmsg.CreateTopicsRequestTopic{topic("a", 6_000, 1), topic("b", 4_001, 1)}
	if records, resp := CreateTopics(img, req, env()); len(records) > 0 || resp.Topics[0].ErrorCode != kerr.PolicyViolation.Code || resp.Topics[1].ErrorCode != kerr.PolicyViolation.Code {
		t.Errorf("10,001 partitions in two topics: %+v", resp.Topics)
	}
}

// TestPlacement: replicas go round racks first, brokers second, never twice to
// one broker, and leaders spread evenly.
func TestPlacement(t *testing.T) {
	t.Parallel()
	img := meta.Empty()
	for i := range int32(6) {
		img = with(t, img, meta.BrokerRecord{Broker: meta.Broker{ID: i, Rack: string('a' + i%3), Fenced: i == 5}})
	}
	p := newPlacer(img, new(counter))
	if err := p.check(6); err != nil {
		t.Fatal(err)
	}
	if p.check(7) == nil || p.check(0) == nil {
		t.Error("too many or too few replicas were let pass")
	}
	leaders := map[int32]int{}
	for range 600 {
		rs := p.place(3)
		racks := map[int32]bool{}
		for _, r := range rs {
			racks[r%3] = true
		}
		if len(racks) != 3 || rs[0] == 5 {
			t.Fatalf("replicas %v", rs)
		}
		leaders[rs[0]]++
	}
	for b, n := range leaders {
		if least, most := 60, 260; n < least || n > most {
			t.Errorf("broker %d leads %d of 600", b, n)
		}
	}
	for range 10 {
		if all := slices.Sorted(slices.Values(p.place(6))); !slices.Equal(all, []int32{0, 1, 2, 3, 4, 5}) {
			t.Fatalf("all six: %v", all)
		}
	}
	fenced := meta.Empty()
	fenced = with(t, fenced, meta.BrokerRecord{Broker: meta.Broker{ID: 1, Fenced: true}})
	if err := newPlacer(fenced, new(counter)).check(1); !errors.Is(err, kerr.InvalidReplicationFactor) {
		t.Errorf("only fenced brokers: %v", err)
	}
}

// TestPlacementWhileOneStops: a broker that is about to stop holds replicas, as
// one that is fenced does, but leads nothing and is in no ISR.
func TestPlacementWhileOneStops(t *testing.T) {
	t.Parallel()
	img := meta.Empty()
	for i := range int32(3) {
		img = with(t, img, meta.BrokerRecord{Broker: meta.Broker{ID: i, Stopping: i == 1}})
	}
	p := newPlacer(img, new(counter))
	if err := p.check(3); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		made := newPartition(img, p.place(3))
		isr := slices.Sorted(slices.Values(made.ISR))
		if len(made.Replicas) != 3 || made.Leader == 1 || !slices.Equal(isr, []int32{0, 2}) {
			t.Fatalf("%+v", made)
		}
	}
}

func TestDeleteTopics(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	oldID, wideID := img.Topic("old").ID, img.Topic("wide").ID
	name := func(s string) *string { return &s }
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		{Topic: name("old")}, {TopicID: wideID}, {Topic: name("wide")}, {}, {Topic: name("x"), TopicID: oldID},
		{Topic: name("none")}, {TopicID: meta.UUID{1}}, {Topic: name("dup")}, {Topic: name("dup")}, {TopicID: meta.UUID{2}}, {TopicID: meta.UUID{2}},
	}
	records, resp := DeleteTopics(img, req)
	got := map[string]int16{}
	for _, r := range resp.Topics {
		k := meta.FormatUUID(r.TopicID)
		if r.Topic != nil {
			k = *r.Topic
		}
		got[k] += r.ErrorCode
	}
	want := map[string]int16{"old": 0, "wide": kerr.InvalidRequest.Code, meta.FormatUUID(meta.UUID{}): kerr.InvalidRequest.Code, "x": kerr.InvalidRequest.Code,
		"none": kerr.UnknownTopicOrPartition.Code, meta.FormatUUID(meta.UUID{1}): kerr.UnknownTopicID.Code, "dup": kerr.InvalidRequest.Code, meta.FormatUUID(meta.UUID{2}): kerr.InvalidRequest.Code}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if next := with(t, img, records...); next.TopicCount() != 0 {
		t.Errorf("%d topics are left", next.TopicCount())
	}
	req = kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TopicNames = 3, []string{"old"}
	if records, resp := DeleteTopics(img, req); len(records) != 1 || resp.Topics[0].ErrorCode != 0 {
		t.Errorf("by name to v5: %+v", resp.Topics)
	}
}

func TestCreatePartitions(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	for _, c := range []struct {
		what   string
		topic  string
		count  int32
		assign [][]int32
		want   *kerr.Error
	}{
		{"more", "old", 5, nil, nil},
		{"assigned", "old", 4, [][]int32{{2}, {1}}, nil},
		{"same", "old", 2, nil, kerr.InvalidPartitions},
		{"fewer", "old", 1, nil, kerr.InvalidPartitions},
		{"negative", "old", -1, nil, kerr.InvalidPartitions},
		{"unknown", "none", 5, nil, kerr.UnknownTopicOrPartition},
		{"assigned too few", "old", 4, [][]int32{{2}}, kerr.InvalidReplicaAssignment},
		{"assigned another factor", "old", 3, [][]int32{{2, 1}}, kerr.InvalidReplicaAssignment},
		{"assigned to a stranger", "old", 3, [][]int32{{7}}, kerr.InvalidReplicaAssignment},
		{"too many", "old", 10_003, nil, kerr.PolicyViolation},
	} {
		req := kmsg.NewPtrCreatePartitionsRequest()
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = c.topic, c.count
		for _, a := range c.assign {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
		}
		req.Topics = append(req.Topics, rt)
		records, resp := CreatePartitions(img, req, env())
		check(t, c.what, resp.Topics[0].ErrorCode, c.want)
		next := with(t, img, records...)
		if c.want == nil && next.Topic("old").Len() != int(c.count) || c.want != nil && len(records) > 0 {
			t.Errorf("%s: %d records", c.what, len(records))
		}
		req.ValidateOnly = true
		if records, _ := CreatePartitions(img, req, env()); len(records) > 0 {
			t.Errorf("%s: validating made records", c.what)
		}
	}
}

func TestIncrementalAlterConfigs(t *testing.T) {
	t.Parallel()
	const set, del, app, sub = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	type op struct {
		key   string
		op    kmsg.IncrementalAlterConfigOp
		value string
	}
	res := meta.Resource{Type: meta.TopicResource, Name: "old"}
	five, list := "5", "a,b"
	for _, c := range []struct {
		what string
		typ  kmsg.ConfigResourceType
		name string
		ops  []op
		want *kerr.Error
		left string // the settings of the resource afterwards
		n    int    // records
	}{
		{"set", 2, "old", []op{{"text", set, "x"}}, nil, "[{list a,b} {number 5} {text x}]", 1},
		{"set the same", 2, "old", []op{{"number", set, "5"}}, nil, "[{list a,b} {number 5}]", 0},
		{"delete", 2, "old", []op{{"number", del, "null"}}, nil, "[{list a,b}]", 1},
		{"delete what is not set", 2, "old", []op{{"text", del, "null"}}, nil, "[{list a,b} {number 5}]", 0},
		{"append", 2, "old", []op{{"list", app, "b,c"}}, nil, "[{list a,b,c} {number 5}]", 1},
		{"subtract", 2, "old", []op{{"list", sub, "a,z"}}, nil, "[{list b} {number 5}]", 1},
		{"append to a default", 2, "wide", []op{{"list", app, "c"}}, nil, "[{list delete,c}]", 1},
		{"append to a number", 2, "old", []op{{"number", app, "1"}}, kerr.InvalidConfig, "", 0},
		{"one bad key", 2, "old", []op{{"text", set, "x"}, {"colour", set, "x"}}, kerr.InvalidConfig, "", 0},
		{"a key twice", 2, "old", []op{{"text", set, "x"}, {"text", del, "null"}}, kerr.InvalidRequest, "", 0},
		{"a null value", 2, "old", []op{{"text", set, "null"}}, kerr.InvalidRequest, "", 0},
		{"unknown operation", 2, "old", []op{{"text", 9, "x"}}, kerr.InvalidRequest, "", 0},
		{"unknown topic", 2, "none", []op{{"text", set, "x"}}, kerr.UnknownTopicOrPartition, "", 0},
		{"illegal topic", 2, "a/b", []op{{"text", set, "x"}}, kerr.InvalidTopicException, "", 0},
		{"no topic", 2, "", []op{{"text", set, "x"}}, kerr.InvalidRequest, "", 0},
		{"a broker", 4, "1", []op{{"any", set, "x"}}, nil, "[{any x}]", 1},
		{"all brokers", 4, "", []op{{"any", set, "x"}}, nil, "[{any x}]", 1},
		{"a broker, deleting what is not set", 4, "1", []op{{"any", del, "null"}}, nil, "[]", 1},
		{"an unknown broker", 4, "9", []op{{"any", set, "x"}}, kerr.BrokerIDNotRegistered, "", 0},
		{"no broker's name", 4, "x", []op{{"any", set, "x"}}, kerr.InvalidRequest, "", 0},
		{"a code of the schema's", 4, "1", []op{{"closed", set, "x"}}, kerr.ClusterAuthorizationFailed, "", 0},
		{"a group", 32, "g", []op{{"any", set, "x"}}, nil, "[{any x}]", 1},
		{"no group", 32, "", []op{{"any", set, "x"}}, kerr.InvalidRequest, "", 0},
		{"client metrics", 16, "m", []op{{"any", set, "x"}}, nil, "[{any x}]", 1},
		{"an unknown type", 77, "m", []op{{"any", set, "x"}}, kerr.InvalidRequest, "", 0},
	} {
		img := with(t, cluster(t, 2), meta.ConfigRecord{Resource: res, Key: "number", Value: &five}, meta.ConfigRecord{Resource: res, Key: "list", Value: &list})
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: c.typ, ResourceName: c.name}
		for _, o := range c.ops {
			k := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: o.key, Op: o.op}
			if o.value != "null" {
				k.Value = &o.value
			}
			r.Configs = append(r.Configs, k)
		}
		req.Resources = append(req.Resources, r)
		records, resp := IncrementalAlterConfigs(img, req, env())
		check(t, c.what, resp.Resources[0].ErrorCode, c.want)
		next := with(t, img, records...)
		if got := fmt.Sprint(next.Settings(meta.ResourceType(c.typ), c.name)); len(records) != c.n || c.want == nil && got != c.left {
			t.Errorf("%s: %d records, %s", c.what, len(records), got)
		}
	}
}

func TestAlterConfigs(t *testing.T) {
	t.Parallel()
	res := meta.Resource{Type: meta.TopicResource, Name: "old"}
	five, list, x := "5", "a,b", "x"
	img := with(t, cluster(t, 1), meta.ConfigRecord{Resource: res, Key: "number", Value: &five}, meta.ConfigRecord{Resource: res, Key: "list", Value: &list})
	req := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.AlterConfigsRequestResource{ResourceType: 2, ResourceName: "old", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "text", Value: &x}, {Name: "number", Value: &five}}}
	req.Resources = append(req.Resources, r)
	records, resp := AlterConfigs(img, req, env())
	check(t, "replace", resp.Resources[0].ErrorCode, nil)
	if got := fmt.Sprint(with(t, img, records...).Settings(meta.TopicResource, "old")); got != "[{number 5} {text x}]" {
		t.Error(got)
	}
	req.Resources = append(req.Resources, r)
	if records, resp := AlterConfigs(img, req, env()); len(records) > 0 || len(resp.Resources) != 1 || resp.Resources[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a resource twice: %+v", resp.Resources)
	}
}

func TestElectLeaders(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2) // wide is led by 2, its first replica is 1
	ask := func(img *meta.Image, kind int8, topics ...kmsg.ElectLeadersRequestTopic) (*meta.Image, []string) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType, req.Topics = kind, topics
		records, resp, err := ElectLeaders(img, req, env())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				got = append(got, fmt.Sprintf("%s-%d %d", rt.Topic, p.Partition, p.ErrorCode))
			}
		}
		return with(t, img, records...), got
	}
	of := func(name string, ps ...int32) kmsg.ElectLeadersRequestTopic {
		return kmsg.ElectLeadersRequestTopic{Topic: name, Partitions: ps}
	}
	next, got := ask(img, 0)
	if p := next.Partition("wide", 0); fmt.Sprint(got) != "[wide-0 0]" || p.Leader != 1 || p.LeaderEpoch != 5 || p.PartitionEpoch != 9 || len(p.ISR) != 2 {
		t.Errorf("preferred: %v %+v", got, p)
	}
	if _, got := ask(img, 0, of("old", 0, 7), of("none", 0), of("wide", 0, 0)); fmt.Sprint(got) != "[old-0 84 old-7 3 none-0 3 wide-0 0]" {
		t.Errorf("named: %v", got)
	}
	down := with(t, img, fence(img, 1))
	if _, got := ask(down, 0, of("wide", 0)); fmt.Sprint(got) != "[wide-0 80]" {
		t.Errorf("the preferred one is fenced: %v", got)
	}
	// Nobody of the ISR is alive: only an unclean election helps.
	p := *img.Partition("wide", 0)
	p.ISR, p.Leader = []int32{1}, meta.NoLeader
	lost := with(t, down, meta.PartitionRecord{Topic: img.Topic("wide").ID, Index: 0, Partition: p})
	if _, got := ask(lost, 0, of("wide", 0)); fmt.Sprint(got) != "[wide-0 80]" {
		t.Errorf("preferred without ISR: %v", got)
	}
	next, got = ask(lost, 1, of("wide", 0), of("old", 0))
	if p := next.Partition("wide", 0); fmt.Sprint(got) != "[wide-0 0 old-0 84]" || p.Leader != 2 || !p.Recovering || !slices.Equal(p.ISR, []int32{2}) {
		t.Errorf("unclean: %v %+v", got, p)
	}
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType = 5
	if _, _, err := ElectLeaders(img, req, env()); !errors.Is(err, kerr.InvalidRequest) {
		t.Errorf("unknown type: %v", err)
	}
}

func fence(img *meta.Image, id int32) meta.Record {
	b := *img.Broker(id)
	b.Fenced = true
	return meta.BrokerRecord{Broker: b}
}

func TestBrokerLife(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	r := Registration{ID: 3, ClusterID: "c", Incarnation: dir(50), Dirs: []meta.UUID{dir(51)}, Features: []meta.FeatureRange{{Name: "metadata.version", Min: 1, Max: 5}}}
	records, epoch, err := RegisterBroker(img, r, env())
	if err != nil {
		t.Fatal(err)
	}
	img = with(t, img, records...)
	if b := img.Broker(3); !b.Fenced || b.Epoch != epoch || epoch <= 11 && epoch < img.Version() {
		t.Fatalf("%+v epoch %d", b, epoch)
	}
	if _, again, err := RegisterBroker(img, r, env()); err != nil || again != epoch {
		t.Errorf("the same process again: epoch %d, %v", again, err)
	}
	if _, err := UnfenceBroker(img, 3, epoch-1, env()); !errors.Is(err, kerr.StaleBrokerEpoch) {
		t.Errorf("an older epoch: %v", err)
	}
	records, err = UnfenceBroker(img, 3, epoch, env())
	if err != nil {
		t.Fatal(err)
	}
	if img = with(t, img, records...); !img.Broker(3).Active() {
		t.Error("still fenced")
	}
	if _, err := UnregisterBroker(img, 3, env()); !errors.Is(err, kerr.InvalidRequest) {
		t.Errorf("unregistered in service: %v", err)
	}
	if _, err := UnregisterBroker(img, 9, env()); !errors.Is(err, kerr.BrokerIDNotRegistered) {
		t.Errorf("unregistered a stranger: %v", err)
	}
	for what, bad := range map[string]func(*Registration){
		"another cluster":     func(r *Registration) { r.ClusterID = "d" },
		"another's directory": func(r *Registration) { r.ID = 4 },
		"a twin":              func(r *Registration) { r.Incarnation, r.Dirs = dir(60), []meta.UUID{dir(61)} },
		"too old a program":   func(r *Registration) { r.Features = nil },
	} {
		b := r
		bad(&b)
		if _, _, err := RegisterBroker(img, b, env()); err == nil {
			t.Errorf("%s was registered", what)
		}
	}
	r.Voter = &meta.Controller{ID: 3, Directory: dir(51), Features: r.Features}
	records, _, err = RegisterBroker(img, r, env())
	both := with(t, img, records...)
	if err != nil || both.Controller(3) == nil {
		t.Errorf("a broker that is a controller too: %v", err)
	}
	r.Incarnation = dir(71)
	for what, dirs := range map[string][]meta.UUID{"one more": {dir(51), dir(52)}, "all others": {dir(53)}} {
		moved := r
		moved.Dirs = dirs
		if records, err = UnfenceBroker(both, 3, both.Broker(3).Epoch, env()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := RegisterBroker(with(t, both, records...), moved, env()); err != nil {
			t.Errorf("a restart with %s: %v", what, err)
		}
	}
	// A restart: another incarnation in the same directories gets a new epoch.
	r.Incarnation = dir(70)
	if _, again, err := RegisterBroker(img, r, env()); err != nil || again <= epoch {
		t.Errorf("a restart: epoch %d after %d, %v", again, epoch, err)
	}
}

// TestUnregisterMovesLeaders: a broker that is gone leaves ISRs and leaderships,
// but stays eligible where it was the last.
func TestUnregisterMovesLeaders(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	img = with(t, img, fence(img, 1))
	records, err := UnregisterBroker(img, 1, env())
	if err != nil {
		t.Fatal(err)
	}
	next := with(t, img, records...)
	if next.Broker(1) != nil {
		t.Error("still registered")
	}
	if p := next.Partition("wide", 0); p.Leader != 2 || !slices.Equal(p.ISR, []int32{2}) || p.PartitionEpoch != 9 || p.LeaderEpoch != 4 {
		t.Errorf("wide: %+v", p)
	}
	if p := next.Partition("old", 0); p.Leader != meta.NoLeader || len(p.ISR) != 0 || !slices.Equal(p.ELR, []int32{1}) || p.LeaderEpoch != 1 {
		t.Errorf("old: %+v", p)
	}
	// It comes back: its partitions have a leader again.
	records, epoch, err := RegisterBroker(next, Registration{ID: 1, ClusterID: "c", Incarnation: dir(9), Features: []meta.FeatureRange{{Name: "metadata.version", Min: 1, Max: 5}}, Dirs: []meta.UUID{dir(1)}, Checked: true}, env())
	if err != nil {
		t.Fatal(err)
	}
	next = with(t, next, records...)
	if records, err = UnfenceBroker(next, 1, epoch, env()); err != nil {
		t.Fatal(err)
	}
	if p := with(t, next, records...).Partition("old", 0); p.Leader != 1 || p.LeaderEpoch != 2 {
		t.Errorf("old after the return: %+v", p)
	}
}

func TestRaiseLeaderEpochs(t *testing.T) {
	t.Parallel()
	img := cluster(t, 2)
	wide, old := img.Topic("wide").ID, img.Topic("old").ID
	records, err := RaiseLeaderEpochs(img, 2, 11, []InEpoch{{wide, 0, 4}, {wide, 0, 4}, {wide, 0, 3}, {old, 0, 0}, {meta.UUID{9}, 0, 0}, {wide, 8, 0}})
	if err != nil {
		t.Fatal(err)
	}
	if p := with(t, img, records...).Partition("wide", 0); len(records) != 1 || p.LeaderEpoch != 5 || p.Leader != 2 || p.PartitionEpoch != 9 {
		t.Errorf("%d records, %+v", len(records), p)
	}
	if _, err := RaiseLeaderEpochs(img, 2, 10, nil); !errors.Is(err, kerr.StaleBrokerEpoch) {
		t.Errorf("stale: %v", err)
	}
}

func TestProducerIDs(t *testing.T) {
	t.Parallel()
	img := cluster(t, 1)
	for want := int64(0); want < 3000; want += 1000 {
		records, first, n, err := AllocateProducerIDs(img, 1, 10)
		if err != nil || first != want || n != 1000 {
			t.Fatalf("block %d of %d, %v", first, n, err)
		}
		img = with(t, img, records...)
	}
	if _, _, _, err := AllocateProducerIDs(img, 1, 9); !errors.Is(err, kerr.StaleBrokerEpoch) {
		t.Errorf("stale: %v", err)
	}
	if _, _, _, err := AllocateProducerIDs(img, 5, 9); !errors.Is(err, kerr.BrokerIDNotRegistered) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestUpdateFeatures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what    string
		feature string
		level   int16
		kind    int8
		want    *kerr.Error
		after   int16
	}{
		{"up", "metadata.version", 5, upgrade, nil, 5},
		{"the same", "metadata.version", 3, upgrade, nil, 3},
		{"too high", "metadata.version", 6, upgrade, kerr.InvalidUpdateVersion, 3},
		{"down as up", "metadata.version", 2, upgrade, kerr.InvalidUpdateVersion, 3},
		{"down", "metadata.version", 2, safeDowngrade, nil, 2},
		{"down by force", "metadata.version", 1, unsafeDowngrade, nil, 1},
		{"up as down", "metadata.version", 4, safeDowngrade, kerr.InvalidUpdateVersion, 3},
		{"off, but it cannot be", "metadata.version", 0, unsafeDowngrade, kerr.InvalidUpdateVersion, 3},
		{"negative", "metadata.version", -1, upgrade, kerr.InvalidUpdateVersion, 3},
		{"unknown", "group.version", 1, upgrade, kerr.InvalidUpdateVersion, 0},
		{"unknown kind", "metadata.version", 4, 9, kerr.InvalidUpdateVersion, 3},
	} {
		img := cluster(t, 1)
		req := kmsg.NewPtrUpdateFeaturesRequest()
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = c.feature, c.level, c.kind
		req.FeatureUpdates = append(req.FeatureUpdates, u)
		records, resp := UpdateFeatures(img, req, env())
		check(t, c.what, resp.ErrorCode, c.want)
		if got := with(t, img, records...).Feature(c.feature); got != c.after {
			t.Errorf("%s: level %d, want %d", c.what, got, c.after)
		}
		req.ValidateOnly = true
		if records, _ := UpdateFeatures(img, req, env()); len(records) > 0 {
			t.Errorf("%s: validating made records", c.what)
		}
	}
}

func BenchmarkCreateTopic(b *testing.B) {
	img := cluster(b, 2)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic("x", 10, 1))
	e := env()
	for b.Loop() {
		records, _ := CreateTopics(img, req, e)
		if _, _, err := img.With(records); err != nil {
			b.Fatal(err)
		}
	}
}
