// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// Metadata (key 3), versions 0 to 13: brokers, the controller, topics with
// their partitions; and DescribeTopicPartitions (key 75), version 0.
//
//   - Endpoints are those of the listener that the request came in by.
//   - Fenced brokers are not told. The controller is a live broker (KIP-590):
//     this one, for everything is forwarded from here, unless it is fenced.
//   - A topic that does not exist is created when client and broker allow it.
//
// Versions:
//
//	0   an empty list asks for all topics
//	1   a null list asks for all; rack, controller, internal flag
//	2   cluster id
//	4   allow_auto_topic_creation (KIP-204)
//	5   offline replicas (KIP-112)
//	7   leader epochs (KIP-320)
//	8   authorized operations (KIP-430), in the cluster's case up to 10
//	9   flexible
//	10  topic ids in answers, 12 in questions (KIP-516)
//	13  top-level error (KIP-1102)
type Metadata struct {
	Images Images
	// Creator makes topics that are asked for and missing; nil: nobody may.
	Creator Creator
	NodeID  int32
	// DescribeLimit bounds the partitions of one DescribeTopicPartitions.
	DescribeLimit func() int
}

// Creator makes topics that clients use before anybody created them.
type Creator interface {
	// Allowed tells whether auto.create.topics.enable is on.
	Allowed() bool
	// Create makes the topics with the broker's defaults, the brokers' own
	// topics with their settings, and returns why for those that it could not.
	Create(ctx context.Context, names []string) map[string]error
}

// Routes are the family's rows.
func (m *Metadata) Routes() []Route {
	return []Route{
		On(kmsg.Metadata, 0, 13, m.metadata),
		On(kmsg.DescribeTopicPartitions, 0, 0, m.describe),
	}
}

func (m *Metadata) metadata(ctx context.Context, c *Call, req *kmsg.MetadataRequest) (kmsg.Response, error) {
	for _, t := range req.Topics {
		if c.Version < 12 && (t.Topic == nil || t.TopicID != [16]byte{}) {
			return nil, invalidMetadata(c, "topics are asked for by name before version 12")
		}
	}
	var missing map[string]error
	if req.AllowAutoTopicCreation || c.Version < 4 {
		missing = m.createMissing(ctx, req)
	}
	img := m.Images.Image()
	resp := kmsg.NewPtrMetadataResponse()
	resp.ClusterID = kmsg.StringPtr(img.ClusterID())
	resp.ControllerID = -1
	resp.AuthorizedOperations = opsIf(req.IncludeClusterAuthorizedOperations, clusterOps)
	for b := range img.Brokers() {
		if e, ok := b.Endpoint(c.Listener()); ok && !b.Fenced {
			resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{
				NodeID: b.ID, Host: e.Host, Port: int32(e.Port), Rack: rack(b),
			})
			resp.ControllerID = controllerFor(resp.ControllerID, b.ID, m.NodeID)
		}
	}
	v := &viewer{img: img, listener: c.Listener(), version: c.Version}
	ops := opsIf(req.IncludeTopicAuthorizedOperations, topicOps)
	if all := req.Topics == nil || c.Version == 0 && len(req.Topics) == 0; all {
		resp.Topics = make([]kmsg.MetadataResponseTopic, 0, img.TopicCount())
		for t := range img.Topics() {
			resp.Topics = append(resp.Topics, v.topic(t, ops))
		}
		return resp, nil
	}
	told := once[askedTopic]{}
	for _, q := range req.Topics {
		// As in Kafka, and so that the answer is not thousands of times the request.
		if told.first(askedTopicOf(q)) {
			resp.Topics = append(resp.Topics, v.asked(q, ops, missing))
		}
	}
	return resp, nil
}

// controllerFor is who clients take for the controller, of those chosen so far
// (-1: nobody) and next: any broker passes on what is the controller's, this one
// for choice. It must be among the brokers that they are told of, and this one is
// not while it starts.
func controllerFor(chosen, next, self int32) int32 {
	if chosen < 0 || next == self {
		return next
	}
	return chosen
}

// invalidMetadata refuses a whole request: with a code where the version has
// room for it, else by closing.
func invalidMetadata(c *Call, why string) error {
	if c.Version >= 13 {
		return kerr.InvalidRequest
	}
	return errors.Join(ErrClose, errors.New(why))
}

// createMissing makes the topics asked for by name that do not exist.
//
// Differs from Kafka: the answer to the request that creates a topic holds the
// topic already, where Kafka says LEADER_NOT_AVAILABLE and lets clients retry.
func (m *Metadata) createMissing(ctx context.Context, req *kmsg.MetadataRequest) map[string]error {
	if m.Creator == nil || !m.Creator.Allowed() {
		return nil
	}
	var names []string
	seen := once[string]{}
	img := m.Images.Image()
	for _, t := range req.Topics {
		if t.Topic != nil && img.Topic(*t.Topic) == nil && plan.CheckName(*t.Topic) == nil && seen.first(*t.Topic) {
			names = append(names, *t.Topic)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return m.Creator.Create(ctx, names)
}

// askedTopic is how a topic is asked for, by name or, without one, by id.
type askedTopic struct {
	named bool
	name  string
	id    [16]byte
}

func askedTopicOf(q kmsg.MetadataRequestTopic) askedTopic {
	if q.Topic == nil {
		return askedTopic{id: q.TopicID}
	}
	return askedTopic{named: true, name: *q.Topic}
}

func rack(b *meta.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

// viewer shows an image to a client of one listener. It remembers what it found
// of brokers: an answer asks for the same few of them for every partition.
type viewer struct {
	img      *meta.Image
	listener string
	version  int16
	seen     [64]sight // by the low bits of the broker's id
}

// sight is what a client of the listener sees of a broker.
type sight struct {
	id      int32
	known   bool
	up      bool // registered and not fenced
	reached bool // has the listener
}

func (v *viewer) broker(id int32) sight {
	s := &v.seen[uint32(id)%uint32(len(v.seen))]
	if !s.known || s.id != id {
		*s = sight{id: id, known: true}
		if b := v.img.Broker(id); b != nil {
			s.up = !b.Fenced
			_, s.reached = b.Endpoint(v.listener)
		}
	}
	return *s
}

// asked answers one topic of a request; missing has those that could not be
// created just now.
func (v *viewer) asked(q kmsg.MetadataRequestTopic, ops int32, missing map[string]error) kmsg.MetadataResponseTopic {
	if q.Topic == nil {
		if t := v.img.TopicByID(q.TopicID); t != nil {
			return v.topic(t, ops)
		}
		r := kmsg.NewMetadataResponseTopic()
		r.TopicID, r.ErrorCode = q.TopicID, kerr.UnknownTopicID.Code
		return r
	}
	if t := v.img.Topic(*q.Topic); t != nil {
		return v.topic(t, ops)
	}
	r := kmsg.NewMetadataResponseTopic()
	r.Topic, r.IsInternal, r.ErrorCode = q.Topic, plan.IsInternal(*q.Topic), kerr.UnknownTopicOrPartition.Code
	err := missing[*q.Topic]
	if err == nil {
		err = plan.CheckName(*q.Topic)
	}
	var k *kerr.Error
	if errors.As(err, &k) && k != kerr.TopicAlreadyExists {
		r.ErrorCode = k.Code
	}
	return r
}

func (v *viewer) topic(t *meta.Topic, ops int32) kmsg.MetadataResponseTopic {
	r := kmsg.NewMetadataResponseTopic()
	r.Topic, r.TopicID, r.IsInternal, r.AuthorizedOperations = &t.Name, t.ID, plan.IsInternal(t.Name), ops
	r.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, t.Len())
	for i, p := range t.Partitions() {
		code, leader := v.leader(p)
		r.Partitions = append(r.Partitions, kmsg.MetadataResponseTopicPartition{
			ErrorCode: code, Partition: i, Leader: leader, LeaderEpoch: p.LeaderEpoch,
			Replicas: p.Replicas, ISR: p.ISR, OfflineReplicas: v.offline(p),
		})
	}
	return r
}

// leader returns the partition's error code and leader as a client of this
// listener is told.
func (v *viewer) leader(p *meta.Partition) (int16, int32) {
	s := v.broker(p.Leader)
	if !s.up {
		return kerr.LeaderNotAvailable.Code, meta.NoLeader
	}
	if !s.reached {
		if v.version >= 6 {
			return kerr.ListenerNotFound.Code, meta.NoLeader
		}
		return kerr.LeaderNotAvailable.Code, meta.NoLeader
	}
	return 0, p.Leader
}

func (v *viewer) offline(p *meta.Partition) []int32 {
	var ids []int32
	for i, id := range p.Replicas {
		if !v.broker(id).up || i < len(p.Dirs) && p.Dirs[i] == meta.DirLost {
			ids = append(ids, id)
		}
	}
	return ids
}

// describe pages through topics in the order of names (KIP-966): up to the
// limit of partitions, with a cursor at the first that did not fit.
func (m *Metadata) describe(_ context.Context, c *Call, req *kmsg.DescribeTopicPartitionsRequest) (kmsg.Response, error) {
	img := m.Images.Image()
	v := &viewer{img: img, listener: c.Listener(), version: 13}
	if cur := req.Cursor; cur != nil && cur.Partition < 0 {
		return nil, errors.Join(ErrClose, errors.New("the cursor's partition is negative"))
	}
	names, all := m.described(img, req)
	limit := m.DescribeLimit()
	if l := int(req.ResponsePartitionLimit); l < limit {
		limit = l
	}
	limit = max(limit, 1)
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	for _, name := range names {
		first := int32(0)
		if cur := req.Cursor; cur != nil && cur.Topic == name {
			first = cur.Partition
		}
		t := img.Topic(name)
		if t == nil {
			if !all {
				resp.Topics = append(resp.Topics, unknownDescribed(name))
			}
			continue
		}
		if limit == 0 {
			resp.NextCursor = cursorAt(name, first)
			break
		}
		r, next := v.described(t, first, limit)
		resp.Topics = append(resp.Topics, r)
		limit -= len(r.Partitions)
		if next >= 0 {
			resp.NextCursor = cursorAt(name, next)
			break
		}
	}
	return resp, nil
}

// described lists the names to describe, from the cursor on, in order; all
// tells that none was named.
func (m *Metadata) described(img *meta.Image, req *kmsg.DescribeTopicPartitionsRequest) (names []string, all bool) {
	all = len(req.Topics) == 0
	if all {
		for t := range img.Topics() {
			names = append(names, t.Name)
		}
	}
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if cur := req.Cursor; cur != nil {
		i, _ := slices.BinarySearch(names, cur.Topic)
		names = names[i:]
	}
	return names, all
}

func unknownDescribed(name string) kmsg.DescribeTopicPartitionsResponseTopic {
	r := kmsg.NewDescribeTopicPartitionsResponseTopic()
	r.Topic, r.ErrorCode = &name, kerr.UnknownTopicOrPartition.Code
	var k *kerr.Error
	if err := plan.CheckName(name); errors.As(err, &k) {
		r.ErrorCode = k.Code
	}
	return r
}

func cursorAt(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	n := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	n.Topic, n.Partition = strings.Clone(topic), partition
	return &n
}

// described shows up to limit partitions of t from first on; next is the one
// after them, -1 when there is none.
func (v *viewer) described(t *meta.Topic, first int32, limit int) (kmsg.DescribeTopicPartitionsResponseTopic, int32) {
	r := kmsg.NewDescribeTopicPartitionsResponseTopic()
	r.Topic, r.TopicID, r.IsInternal, r.AuthorizedOperations = &t.Name, t.ID, plan.IsInternal(t.Name), topicOps
	for i := first; int(i) < t.Len(); i++ {
		if len(r.Partitions) == limit {
			return r, i
		}
		p := t.Partition(i)
		code, leader := v.leader(p)
		r.Partitions = append(r.Partitions, kmsg.DescribeTopicPartitionsResponseTopicPartition{
			ErrorCode: code, Partition: i, LeaderID: leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
			EligibleLeaderReplicas: notNull(p.ELR), LastKnownELR: notNull(p.LastELR), OfflineReplicas: v.offline(p),
		})
	}
	return r, -1
}

// notNull is ids as a list that is there though it may be empty: Kafka's admin
// client does not expect the null that the protocol would allow.
func notNull(ids []int32) []int32 {
	if ids == nil {
		return []int32{}
	}
	return ids
}
