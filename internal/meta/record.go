// SPDX-License-Identifier: Apache-2.0

package meta

// Record is one fact of the metadata log: one of the *Record types below, by
// value. Numbers of types are for ever; see docs/formats/metadata.md.
type Record interface {
	kind() kind
	appendBody(b []byte) []byte
}

type kind uint8

const (
	kindCluster kind = iota + 1
	kindFeature
	kindController
	kindRemoveController
	kindBroker
	kindRemoveBroker
	kindTopic
	kindRemoveTopic
	kindPartition
	kindConfig
	kindProducerIDs
	kindBeginChange
	kindEndChange
	kindAbortChange
)

// ClusterRecord is the first record of every log: it names the cluster.
type ClusterRecord struct {
	ID      string
	Created int64 // ms since 1970, as the founder's clock had it
}

// FeatureRecord sets the finalised level of a feature; 0 takes it away.
type FeatureRecord struct {
	Name  string
	Level int16
}

// ControllerRecord registers a controller, or replaces what is known of it.
type ControllerRecord struct{ Controller }

// RemoveControllerRecord forgets a controller.
type RemoveControllerRecord struct{ ID int32 }

// BrokerRecord is the whole state of a broker's registration.
type BrokerRecord struct{ Broker }

// RemoveBrokerRecord forgets a broker.
type RemoveBrokerRecord struct{ ID int32 }

// TopicRecord makes a topic, empty until its PartitionRecords follow.
type TopicRecord struct {
	Name string
	ID   UUID
}

// RemoveTopicRecord deletes a topic, its partitions and its settings.
type RemoveTopicRecord struct{ ID UUID }

// PartitionRecord is the whole state of a partition. A new partition takes the
// next free number of its topic.
type PartitionRecord struct {
	Topic UUID
	Index int32
	Partition
}

// ConfigRecord sets one key of a resource; a nil Value takes the key away.
type ConfigRecord struct {
	Resource
	Key   string
	Value *string
}

// ProducerIDsRecord says that producer ids below Next are given away, the last
// of them to Broker.
type ProducerIDsRecord struct {
	Broker int32
	Epoch  int64 // of the broker
	Next   int64
}

// BeginChangeRecord opens a change too large for one log entry: the records
// that follow are kept aside until EndChangeRecord, then folded in at once, or
// dropped at AbortChangeRecord.
type BeginChangeRecord struct{ Name string }

// EndChangeRecord closes the change that is open.
type EndChangeRecord struct{}

// AbortChangeRecord drops the change that is open.
type AbortChangeRecord struct{}

func (ClusterRecord) kind() kind          { return kindCluster }
func (FeatureRecord) kind() kind          { return kindFeature }
func (ControllerRecord) kind() kind       { return kindController }
func (RemoveControllerRecord) kind() kind { return kindRemoveController }
func (BrokerRecord) kind() kind           { return kindBroker }
func (RemoveBrokerRecord) kind() kind     { return kindRemoveBroker }
func (TopicRecord) kind() kind            { return kindTopic }
func (RemoveTopicRecord) kind() kind      { return kindRemoveTopic }
func (PartitionRecord) kind() kind        { return kindPartition }
func (ConfigRecord) kind() kind           { return kindConfig }
func (ProducerIDsRecord) kind() kind      { return kindProducerIDs }
func (BeginChangeRecord) kind() kind      { return kindBeginChange }
func (EndChangeRecord) kind() kind        { return kindEndChange }
func (AbortChangeRecord) kind() kind      { return kindAbortChange }
