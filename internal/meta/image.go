// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Image is everything the metadata log says, at one version. It is immutable;
// the zero version is Empty.
type Image struct {
	version     int64
	cluster     string
	created     int64
	topics      tree[string, *Topic]
	ids         tree[UUID, string]
	lookalikes  tree[string, string] // names with '.' or '_', under the name with '_' only
	brokers     tree[int32, *Broker]
	controllers tree[int32, *Controller]
	configs     tree[Resource, Settings]
	features    tree[string, int16]
	nextPID     int64
	partitions  int

	hosted *hosted // nil: no index, see Indexed

	open *openChange // a bracketed change whose end has not come yet
}

// openChange collects the records between begin and end.
type openChange struct {
	name    string
	records []Record
	owner   *owner
}

// Empty is the Image before the first record.
func Empty() *Image {
	return &Image{
		topics:      newTree[string, *Topic](compareString),
		ids:         newTree[UUID, string](compareUUID),
		lookalikes:  newTree[string, string](compareString),
		brokers:     newTree[int32, *Broker](cmp.Compare[int32]),
		controllers: newTree[int32, *Controller](cmp.Compare[int32]),
		configs:     newTree[Resource, Settings](compareResource),
		features:    newTree[string, int16](compareString),
	}
}

func compareString(a, b string) int { return cmp.Compare(a, b) }

func compareUUID(a, b UUID) int { return bytes.Compare(a[:], b[:]) }

func compareResource(a, b Resource) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
}

// Version counts the proposals folded in. A proposal names the version it was
// decided on, and is dropped unless that is the version it meets.
func (i *Image) Version() int64 { return i.version }

// ClusterID names the cluster, "" before the founding record.
func (i *Image) ClusterID() string { return i.cluster }

// Created is when the cluster was founded, in ms since 1970.
func (i *Image) Created() int64 { return i.created }

// Topic returns the named topic, or nil.
func (i *Image) Topic(name string) *Topic {
	t, _ := i.topics.get(name)
	return t
}

// TopicByID returns the topic with that id, or nil.
func (i *Image) TopicByID(id UUID) *Topic {
	name, ok := i.ids.get(id)
	if !ok {
		return nil
	}
	return i.Topic(name)
}

// Colliding returns a topic whose name differs from name at most in '.' for
// '_', which metrics cannot tell apart; "" when there is none.
func (i *Image) Colliding(name string) string {
	if !strings.ContainsAny(name, "._") {
		return ""
	}
	other, _ := i.lookalikes.get(strings.ReplaceAll(name, ".", "_"))
	return other
}

// Topics yields every topic in the order of names.
func (i *Image) Topics() iter.Seq[*Topic] { return values(i.topics.all()) }

// TopicsFrom yields the topics named name and above, in the order of names.
func (i *Image) TopicsFrom(name string) iter.Seq[*Topic] { return values(i.topics.from(name)) }

// TopicCount is the number of topics, PartitionCount that of all partitions.
func (i *Image) TopicCount() int     { return i.topics.len() }
func (i *Image) PartitionCount() int { return i.partitions }

// Partition returns a partition, or nil.
func (i *Image) Partition(topic string, p int32) *Partition {
	if t := i.Topic(topic); t != nil {
		return t.Partition(p)
	}
	return nil
}

// Broker returns a broker's registration, or nil.
func (i *Image) Broker(id int32) *Broker {
	b, _ := i.brokers.get(id)
	return b
}

// Brokers yields every registered broker, fenced ones too, in the order of ids.
func (i *Image) Brokers() iter.Seq[*Broker] { return values(i.brokers.all()) }

// SameBrokers tells whether the registrations are those of other: the very same,
// not only equal ones.
func (i *Image) SameBrokers(other *Image) bool { return i.brokers.root == other.brokers.root }

// BrokerCount is the number of registered brokers.
func (i *Image) BrokerCount() int { return i.brokers.len() }

// Controller returns a controller's registration, or nil.
func (i *Image) Controller(id int32) *Controller {
	c, _ := i.controllers.get(id)
	return c
}

// Controllers yields every controller in the order of ids.
func (i *Image) Controllers() iter.Seq[*Controller] { return values(i.controllers.all()) }

// Settings returns the keys set on a resource (none: nil).
func (i *Image) Settings(t ResourceType, name string) Settings {
	s, _ := i.configs.get(Resource{t, name})
	return s
}

// Configs yields every resource that has settings, in order.
func (i *Image) Configs() iter.Seq2[Resource, Settings] { return i.configs.all() }

// Feature returns the finalised level of a feature, 0 when it has none.
func (i *Image) Feature(name string) int16 {
	l, _ := i.features.get(name)
	return l
}

// Features yields every finalised feature in the order of names.
func (i *Image) Features() iter.Seq2[string, int16] { return i.features.all() }

// NextProducerID is the first producer id not given away yet.
func (i *Image) NextProducerID() int64 { return i.nextPID }

// ChangeOpen names the bracketed change that has begun and not ended, if any.
func (i *Image) ChangeOpen() (name string, ok bool) {
	if i.open == nil {
		return "", false
	}
	return i.open.name, true
}

func values[K, V any](s iter.Seq2[K, V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range s {
			if !yield(v) {
				return
			}
		}
	}
}

// With returns the Image after records, one version on, and what changed. The
// records borrow nothing after With returned, but slices in them belong to the
// new Image. An error means that the records contradict the Image: nothing was
// folded in, and a log that holds them is damaged or was written by a bug.
func (i *Image) With(records []Record) (*Image, *Delta, error) {
	next := *i
	next.version++
	e := &edit{img: &next, owner: &owner{}, delta: &Delta{Old: i, New: &next}}
	for _, r := range records {
		if err := e.fold(r); err != nil {
			return nil, nil, err
		}
	}
	e.delta.sort()
	return &next, e.delta, nil
}

// edit folds records into an Image that nobody else has seen yet.
type edit struct {
	img   *Image
	owner *owner
	delta *Delta
}

// fold applies one record as it comes from the log, brackets included.
func (e *edit) fold(r Record) error {
	open := e.img.open
	switch r := r.(type) {
	case BeginChangeRecord:
		if open != nil {
			return fmt.Errorf("change %q begins within change %q", r.Name, open.name)
		}
		e.img.open = &openChange{name: r.Name, owner: e.owner}
		return nil
	case AbortChangeRecord:
		if open == nil {
			return fmt.Errorf("a change is dropped that never began")
		}
		e.img.open = nil
		return nil
	case EndChangeRecord:
		if open == nil {
			return fmt.Errorf("a change ends that never began")
		}
		e.img.open = nil
		for _, r := range open.records {
			if err := e.apply(r); err != nil {
				return fmt.Errorf("change %q: %w", open.name, err)
			}
		}
		return nil
	}
	if open != nil {
		if open.owner != e.owner {
			open = &openChange{open.name, slices.Clone(open.records), e.owner}
			e.img.open = open
		}
		open.records = append(open.records, r)
		return nil
	}
	return e.apply(r)
}

func (e *edit) apply(r Record) error {
	i := e.img
	switch r := r.(type) {
	case ClusterRecord:
		if i.cluster != "" && i.cluster != r.ID {
			return fmt.Errorf("cluster %s cannot become %s", i.cluster, r.ID)
		}
		i.cluster, i.created = r.ID, r.Created
		e.delta.Cluster = true
	case FeatureRecord:
		e.delta.feature(r.Name)
		if r.Level == 0 {
			i.features = i.features.del(e.owner, r.Name)
		} else {
			i.features = i.features.put(e.owner, r.Name, r.Level)
		}
	case ControllerRecord:
		c := r.Controller
		e.delta.controller(c.ID)
		i.controllers = i.controllers.put(e.owner, c.ID, &c)
	case RemoveControllerRecord:
		e.delta.controller(r.ID)
		i.controllers = i.controllers.del(e.owner, r.ID)
	case BrokerRecord:
		b := r.Broker
		e.delta.broker(b.ID)
		i.brokers = i.brokers.put(e.owner, b.ID, &b)
	case RemoveBrokerRecord:
		if i.Broker(r.ID) == nil {
			return fmt.Errorf("broker %d is removed but not registered", r.ID)
		}
		e.delta.broker(r.ID)
		i.brokers = i.brokers.del(e.owner, r.ID)
	case TopicRecord:
		return e.addTopic(r)
	case RemoveTopicRecord:
		return e.removeTopic(r)
	case PartitionRecord:
		return e.setPartition(r)
	case ConfigRecord:
		s := i.Settings(r.Type, r.Name).with(r.Key, r.Value)
		e.delta.config(r.Resource)
		if len(s) == 0 {
			i.configs = i.configs.del(e.owner, r.Resource)
		} else {
			i.configs = i.configs.put(e.owner, r.Resource, s)
		}
	case ProducerIDsRecord:
		if r.Next < i.nextPID {
			return fmt.Errorf("producer ids go back from %d to %d", i.nextPID, r.Next)
		}
		i.nextPID = r.Next
	default:
		return fmt.Errorf("record of unknown type %T", r)
	}
	return nil
}

func (e *edit) addTopic(r TopicRecord) error {
	i := e.img
	if i.Topic(r.Name) != nil {
		return fmt.Errorf("topic %s is created twice", r.Name)
	}
	if t := i.TopicByID(r.ID); t != nil || r.ID == (UUID{}) {
		return fmt.Errorf("topic %s takes id %s, which is not free", r.Name, FormatUUID(r.ID))
	}
	e.delta.topic(r.Name)
	i.topics = i.topics.put(e.owner, r.Name, &Topic{Name: r.Name, ID: r.ID, owner: e.owner})
	i.ids = i.ids.put(e.owner, r.ID, r.Name)
	if strings.ContainsAny(r.Name, "._") {
		i.lookalikes = i.lookalikes.put(e.owner, strings.ReplaceAll(r.Name, ".", "_"), r.Name)
	}
	return nil
}

func (e *edit) removeTopic(r RemoveTopicRecord) error {
	i := e.img
	t := i.TopicByID(r.ID)
	if t == nil {
		return fmt.Errorf("topic with id %s is removed but unknown", FormatUUID(r.ID))
	}
	e.delta.topic(t.Name)
	i.topics = i.topics.del(e.owner, t.Name)
	i.ids = i.ids.del(e.owner, r.ID)
	if i.Colliding(t.Name) == t.Name {
		i.lookalikes = i.lookalikes.del(e.owner, strings.ReplaceAll(t.Name, ".", "_"))
	}
	i.partitions -= t.n
	for k, p := range t.Partitions() {
		e.rehost(t.Name, k, p, nil)
	}
	res := Resource{TopicResource, t.Name}
	if _, ok := i.configs.get(res); ok {
		e.delta.config(res)
		i.configs = i.configs.del(e.owner, res)
	}
	return nil
}

func (e *edit) setPartition(r PartitionRecord) error {
	i := e.img
	t := i.TopicByID(r.Topic)
	if t == nil {
		return fmt.Errorf("partition %d of an unknown topic with id %s", r.Index, FormatUUID(r.Topic))
	}
	if r.Index < 0 || int(r.Index) > t.n {
		return fmt.Errorf("partition %d of topic %s, which has %d", r.Index, t.Name, t.n)
	}
	if len(r.Replicas) == 0 || len(r.Dirs) != len(r.Replicas) {
		return fmt.Errorf("partition %d of topic %s has %d replicas in %d directories", r.Index, t.Name, len(r.Replicas), len(r.Dirs))
	}
	e.delta.topic(t.Name)
	own := t.own(e.owner)
	if own != t {
		i.topics = i.topics.put(e.owner, t.Name, own)
	}
	if int(r.Index) == own.n {
		i.partitions++
	}
	p := r.Partition
	e.rehost(t.Name, r.Index, t.Partition(r.Index), &p)
	own.set(e.owner, r.Index, &p)
	return nil
}
