// SPDX-License-Identifier: Apache-2.0

package meta

import "iter"

// Records yields the records that make this Image out of Empty, in a fixed
// order, so that equal Images give equal bytes. The version is not among them:
// whoever keeps a snapshot keeps it beside them (FromRecords).
func (i *Image) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		_ = i.eachFounding(yield) && i.eachNode(yield) && i.eachTopic(yield) && i.eachConfig(yield) && i.eachOpen(yield)
	}
}

func (i *Image) eachFounding(yield func(Record) bool) bool {
	if i.cluster != "" && !yield(ClusterRecord{i.cluster, i.created}) {
		return false
	}
	for n, l := range i.Features() {
		if !yield(FeatureRecord{n, l}) {
			return false
		}
	}
	return i.nextPID == 0 || yield(ProducerIDsRecord{Broker: -1, Epoch: -1, Next: i.nextPID})
}

func (i *Image) eachNode(yield func(Record) bool) bool {
	for c := range i.Controllers() {
		if !yield(ControllerRecord{*c}) {
			return false
		}
	}
	for b := range i.Brokers() {
		if !yield(BrokerRecord{*b}) {
			return false
		}
	}
	return true
}

func (i *Image) eachTopic(yield func(Record) bool) bool {
	for t := range i.Topics() {
		if !yield(TopicRecord{t.Name, t.ID}) {
			return false
		}
		for n, p := range t.Partitions() {
			if !yield(PartitionRecord{t.ID, n, *p}) {
				return false
			}
		}
	}
	return true
}

func (i *Image) eachConfig(yield func(Record) bool) bool {
	for r, s := range i.Configs() {
		for _, e := range s {
			if !yield(ConfigRecord{r, e.Key, &e.Value}) {
				return false
			}
		}
	}
	return true
}

// eachOpen carries a change that had begun when the snapshot was taken.
func (i *Image) eachOpen(yield func(Record) bool) bool {
	if i.open == nil {
		return true
	}
	if !yield(BeginChangeRecord{i.open.name}) {
		return false
	}
	for _, r := range i.open.records {
		if !yield(r) {
			return false
		}
	}
	return true
}

// Loader builds an Image from the records of a snapshot without a Delta, in
// bounded extra memory. Not for concurrent use.
type Loader struct{ e edit }

// NewLoader starts from Empty, at the version that the snapshot has.
func NewLoader(version int64) *Loader {
	img := Empty()
	img.version = version
	return &Loader{edit{img: img, owner: &owner{}, delta: &Delta{}}}
}

// Add folds one record in.
func (l *Loader) Add(r Record) error {
	l.e.delta = &Delta{}
	return l.e.fold(r)
}

// Image returns what was loaded; the Loader must not be used any more.
func (l *Loader) Image() *Image { return l.e.img }
