// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// CreateTopics decides on new topics. Each topic stands for itself, but more
// than 10,000 partitions or records refuse the whole request.
func CreateTopics(img *meta.Image, req *kmsg.CreateTopicsRequest, env Env) ([]meta.Record, *kmsg.CreateTopicsResponse) {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	if err := tooManyPartitions(req, env.Partitions); err != nil {
		return nil, refuseTopics(resp, req, err)
	}
	var records []meta.Record
	for _, name := range uniqueNames(req.Topics, func(t kmsg.CreateTopicsRequestTopic) string { return t.Topic }) {
		var result kmsg.CreateTopicsResponseTopic
		var made []meta.Record
		err := error(fail(kerr.InvalidRequest, "Duplicate topic name."))
		if name.count == 1 {
			result, made, err = createTopic(img, &req.Topics[name.at], env)
		}
		if err != nil {
			result = failedTopic(name.name, err)
		}
		records = append(records, made...)
		resp.Topics = append(resp.Topics, result)
	}
	if len(records) > maxRecords {
		return nil, refuseTopics(resp, req, fail(kerr.PolicyViolation, "Unable to perform excessively large batch operation."))
	}
	if req.ValidateOnly {
		records = nil
	}
	return records, resp
}

// tooManyPartitions is the check that comes before everything else. Kafka says
// POLICY_VIOLATION.
func tooManyPartitions(req *kmsg.CreateTopicsRequest, byDefault int32) error {
	total := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		switch {
		case len(t.ReplicaAssignment) > 0:
			total += len(t.ReplicaAssignment)
		case t.NumPartitions == -1:
			total += int(byDefault)
		case t.NumPartitions > 0:
			total += int(t.NumPartitions)
		}
	}
	if total > maxRecords {
		return fail(kerr.PolicyViolation, "Excessively large number of partitions per request.")
	}
	return nil
}

func refuseTopics(resp *kmsg.CreateTopicsResponse, req *kmsg.CreateTopicsRequest, err error) *kmsg.CreateTopicsResponse {
	resp.Topics = nil
	for i := range req.Topics {
		resp.Topics = append(resp.Topics, failedTopic(req.Topics[i].Topic, err))
	}
	return resp
}

func failedTopic(name string, err error) kmsg.CreateTopicsResponseTopic {
	t := kmsg.NewCreateTopicsResponseTopic()
	t.Topic = name
	t.ErrorCode, t.ErrorMessage = answer(err)
	return t
}

// name is one name of a request: where it first stands and how often it is
// there.
type name struct {
	name      string
	at, count int
}

func uniqueNames[T any](list []T, of func(T) string) []name {
	var out []name
	seen := make(map[string]int, len(list))
	for i, t := range list {
		n := of(t)
		if j, ok := seen[n]; ok {
			out[j].count++
			continue
		}
		seen[n] = len(out)
		out = append(out, name{n, i, 1})
	}
	return out
}

func createTopic(img *meta.Image, t *kmsg.CreateTopicsRequestTopic, env Env) (kmsg.CreateTopicsResponseTopic, []meta.Record, error) {
	result := kmsg.NewCreateTopicsResponseTopic()
	if err := checkNewName(img, t.Topic); err != nil {
		return result, nil, err
	}
	set, configs, err := newTopicSettings(t, env.Schema)
	if err != nil {
		return result, nil, err
	}
	parts, err := newTopicPartitions(img, t, env)
	if err != nil {
		return result, nil, err
	}
	id := newUUID(env.Random)
	result.Topic, result.TopicID = t.Topic, id
	result.NumPartitions, result.ReplicationFactor = int32(len(parts)), int16(len(parts[0].Replicas))
	for _, s := range env.Schema.Topic(img, set) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source, c.ReadOnly, c.IsSensitive = s.Name, s.Value, s.Source, s.ReadOnly, s.Sensitive
		result.Configs = append(result.Configs, c)
	}
	records := make([]meta.Record, 0, 1+len(configs)+len(parts))
	records = append(records, meta.TopicRecord{Name: t.Topic, ID: id})
	records = append(records, configs...)
	for i, p := range parts {
		records = append(records, meta.PartitionRecord{Topic: id, Index: int32(i), Partition: *p})
	}
	return result, records, nil
}

func checkNewName(img *meta.Image, name string) error {
	if name == MetadataTopic {
		return fail(kerr.InvalidRequest, "Creation of internal topic %s is prohibited.", MetadataTopic)
	}
	if img.Topic(name) != nil {
		return fail(kerr.TopicAlreadyExists, "Topic '%s' already exists.", name)
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if other := img.Colliding(name); other != "" {
		return fail(kerr.InvalidTopicException, "Topic '%s' collides with existing topic: %s", name, other)
	}
	return nil
}

// newTopicSettings checks the settings of a new topic and returns them as a
// map and as records, sorted by key. Of a key that is named twice the last
// value counts.
func newTopicSettings(t *kmsg.CreateTopicsRequestTopic, schema Schema) (map[string]string, []meta.Record, error) {
	set := map[string]string{}
	var nulls []string
	for _, c := range t.Configs {
		if c.Value == nil {
			nulls = append(nulls, c.Name)
			continue
		}
		set[c.Name] = *c.Value
	}
	if len(nulls) > 0 {
		return nil, nil, fail(kerr.InvalidConfig, "Null value not supported for topic configs: %s", strings.Join(nulls, ","))
	}
	res := meta.Resource{Type: meta.TopicResource, Name: t.Topic}
	if err := checkSettings(schema, res, set, nil); err != nil {
		return nil, nil, err
	}
	var records []meta.Record
	for _, k := range sortedKeys(set) {
		v := set[k]
		records = append(records, meta.ConfigRecord{Resource: res, Key: k, Value: &v})
	}
	return set, records, nil
}

func newTopicPartitions(img *meta.Image, t *kmsg.CreateTopicsRequestTopic, env Env) ([]*meta.Partition, error) {
	switch {
	case len(t.ReplicaAssignment) > 0:
		return assignedPartitions(img, t)
	case t.ReplicationFactor < -1 || t.ReplicationFactor == 0:
		return nil, fail(kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
	case t.NumPartitions < -1 || t.NumPartitions == 0:
		return nil, fail(kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	}
	n, factor := t.NumPartitions, t.ReplicationFactor
	if n == -1 {
		n = env.Partitions
	}
	if factor == -1 {
		factor = env.Replication
	}
	p := newPlacer(img, env.Random)
	if err := p.check(int(factor)); err != nil {
		_, why := answer(err)
		return nil, fail(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): %s", factor, *why)
	}
	parts := make([]*meta.Partition, n)
	for i := range parts {
		parts[i] = newPartition(img, p.place(int(factor)))
	}
	return parts, nil
}

func assignedPartitions(img *meta.Image, t *kmsg.CreateTopicsRequestTopic) ([]*meta.Partition, error) {
	if t.ReplicationFactor != -1 {
		return nil, fail(kerr.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
	}
	if t.NumPartitions != -1 {
		return nil, fail(kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	byIndex := make(map[int32]*meta.Partition, len(t.ReplicaAssignment))
	factor := -1
	for _, a := range t.ReplicaAssignment {
		if byIndex[a.Partition] != nil {
			return nil, fail(kerr.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition %d", a.Partition)
		}
		p, err := assignedPartition(img, a.Partition, a.Replicas, factor)
		if err != nil {
			return nil, err
		}
		factor = len(a.Replicas)
		byIndex[a.Partition] = p
	}
	parts := make([]*meta.Partition, len(byIndex))
	for i := range parts {
		if parts[i] = byIndex[int32(i)]; parts[i] == nil {
			return nil, fail(kerr.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
	}
	return parts, nil
}

// assignedPartition checks replicas that a person chose; factor is that of the
// partitions before, or -1.
func assignedPartition(img *meta.Image, index int32, replicas []int32, factor int) (*meta.Partition, error) {
	if err := checkReplicas(img, replicas); err != nil {
		return nil, err
	}
	if factor >= 0 && len(replicas) != factor {
		return nil, fail(kerr.InvalidReplicaAssignment, "The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", len(replicas), factor)
	}
	p := newPartition(img, slices.Clone(replicas))
	if p == nil {
		return nil, fail(kerr.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition %d are fenced or in controlled shutdown.", index)
	}
	return p, nil
}

// checkReplicas checks that replicas are brokers that are registered, each of
// them once.
func checkReplicas(img *meta.Image, replicas []int32) error {
	if len(replicas) == 0 {
		return fail(kerr.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list.")
	}
	sorted := slices.Sorted(slices.Values(replicas))
	for i, r := range sorted {
		if img.Broker(r) == nil {
			return fail(kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", r)
		}
		if i > 0 && sorted[i-1] == r {
			return fail(kerr.InvalidReplicaAssignment, "The manual partition assignment includes the broker %d more than once.", r)
		}
	}
	return nil
}

// DeleteTopics decides on topics to delete, by name (to v5) or by name or id
// (from v6).
func DeleteTopics(img *meta.Image, req *kmsg.DeleteTopicsRequest) ([]meta.Record, *kmsg.DeleteTopicsResponse) {
	d := &deletion{img: img, resp: req.ResponseKind().(*kmsg.DeleteTopicsResponse), doomed: map[meta.UUID]bool{}}
	byName := slices.Clone(req.TopicNames)
	var byID []meta.UUID
	for _, t := range req.Topics {
		switch none := t.TopicID == (meta.UUID{}); {
		case t.Topic == nil && none:
			d.answer(nil, meta.UUID{}, fail(kerr.InvalidRequest, "Neither topic name nor id were specified."))
		case t.Topic == nil:
			byID = append(byID, t.TopicID)
		case none:
			byName = append(byName, *t.Topic)
		default:
			d.answer(t.Topic, t.TopicID, fail(kerr.InvalidRequest, "You may not specify both topic name and topic id."))
		}
	}
	d.byID(byID)
	d.byName(byName)
	if len(d.records) > maxRecords {
		for i := range d.resp.Topics {
			if t := &d.resp.Topics[i]; t.ErrorCode == 0 {
				t.ErrorCode, t.ErrorMessage = answer(fail(kerr.PolicyViolation, "Unable to perform excessively large batch operation."))
			}
		}
		return nil, d.resp
	}
	return d.records, d.resp
}

type deletion struct {
	img     *meta.Image
	records []meta.Record
	resp    *kmsg.DeleteTopicsResponse
	doomed  map[meta.UUID]bool
}

func (d *deletion) answer(name *string, id meta.UUID, err error) {
	t := kmsg.NewDeleteTopicsResponseTopic()
	t.Topic, t.TopicID = name, id
	t.ErrorCode, t.ErrorMessage = answer(err)
	d.resp.Topics = append(d.resp.Topics, t)
}

func (d *deletion) remove(t *meta.Topic) {
	d.doomed[t.ID] = true
	d.records = append(d.records, meta.RemoveTopicRecord{ID: t.ID})
	d.answer(&t.Name, t.ID, nil)
}

func (d *deletion) byID(ids []meta.UUID) {
	for _, n := range uniqueNames(ids, func(u meta.UUID) string { return string(u[:]) }) {
		id := ids[n.at]
		t := d.img.TopicByID(id)
		switch {
		case n.count > 1:
			d.answer(nil, id, fail(kerr.InvalidRequest, "Duplicate topic id."))
		case t == nil:
			d.answer(nil, id, bare(kerr.UnknownTopicID))
		default:
			d.remove(t)
		}
	}
}

func (d *deletion) byName(names []string) {
	for _, n := range uniqueNames(names, func(s string) string { return s }) {
		t := d.img.Topic(n.name)
		switch {
		case n.count > 1:
			d.answer(&n.name, meta.UUID{}, fail(kerr.InvalidRequest, "Duplicate topic name."))
		case t == nil:
			d.answer(&n.name, meta.UUID{}, bare(kerr.UnknownTopicOrPartition))
		case d.doomed[t.ID]:
			d.answer(&n.name, t.ID, fail(kerr.InvalidRequest, "The provided topic name maps to an ID that was already supplied."))
		default:
			d.remove(t)
		}
	}
}

// CreatePartitions decides on more partitions for topics; Count is the new
// total.
func CreatePartitions(img *meta.Image, req *kmsg.CreatePartitionsRequest, env Env) ([]meta.Record, *kmsg.CreatePartitionsResponse) {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	var records []meta.Record
	for _, n := range uniqueNames(req.Topics, func(t kmsg.CreatePartitionsRequestTopic) string { return t.Topic }) {
		err := error(fail(kerr.InvalidRequest, "Duplicate topic name."))
		if n.count == 1 {
			var made []meta.Record
			made, err = morePartitions(img, &req.Topics[n.at], maxRecords-len(records), env)
			records = append(records, made...)
		}
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = n.name
		t.ErrorCode, t.ErrorMessage = answer(err)
		resp.Topics = append(resp.Topics, t)
	}
	if req.ValidateOnly {
		records = nil
	}
	return records, resp
}

// morePartitions may emit room records.
//
// Differs from Kafka: a topic that would take the request over 10,000 records
// is refused alone; Kafka answers every topic of the request with an unknown
// error there.
func morePartitions(img *meta.Image, t *kmsg.CreatePartitionsRequestTopic, room int, env Env) ([]meta.Record, error) {
	topic := img.Topic(t.Topic)
	if topic == nil {
		return nil, bare(kerr.UnknownTopicOrPartition)
	}
	have := int32(topic.Len())
	more := int(t.Count) - int(have)
	switch {
	case more == 0:
		return nil, fail(kerr.InvalidPartitions, "Topic already has %d partition(s).", have)
	case more < 0:
		return nil, fail(kerr.InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", t.Topic, have, t.Count)
	case t.Assignment != nil && len(t.Assignment) != more:
		return nil, fail(kerr.InvalidReplicaAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", more, len(t.Assignment))
	case more > room:
		return nil, fail(kerr.PolicyViolation, "Unable to perform excessively large batch operation.")
	}
	factor := len(topic.Partition(0).Replicas)
	records := make([]meta.Record, 0, more)
	var p *placer
	if t.Assignment == nil {
		p = newPlacer(img, env.Random)
		if err := p.check(factor); err != nil {
			return nil, err
		}
	}
	for i := range more {
		index := have + int32(i)
		var part *meta.Partition
		if p != nil {
			part = newPartition(img, p.place(factor))
		} else {
			var err error
			if part, err = assignedPartition(img, index, t.Assignment[i].Replicas, factor); err != nil {
				return nil, err
			}
		}
		records = append(records, meta.PartitionRecord{Topic: topic.ID, Index: index, Partition: *part})
	}
	return records, nil
}
