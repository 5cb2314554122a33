// SPDX-License-Identifier: Apache-2.0

package meta

import "fmt"

// Features of the cluster as a whole. MetadataVersion is Kafka's: which
// release's metadata the nodes agree to behave by. GregorVersion is ours: which
// records stand in the log, and what nodes say to each other beyond Kafka's
// protocol. Both go up by UpdateFeatures, once every node knows the level; see
// docs/architecture/levels.md.
const (
	MetadataVersion = "metadata.version"
	GregorVersion   = "gregor.version"
)

// firstLevel is the level of a cluster that was founded without GregorVersion.
const firstLevel = 1

// since is the level of GregorVersion from which on a kind of record may be
// written. A line is for ever, as the kind is: a program that knows the level
// reads the record, and one that does not never meets it.
var since = [...]int16{
	kindCluster: 1, kindFeature: 1, kindController: 1, kindRemoveController: 1, kindBroker: 1, kindRemoveBroker: 1,
	kindTopic: 1, kindRemoveTopic: 1, kindPartition: 1, kindConfig: 1, kindProducerIDs: 1,
	kindBeginChange: 1, kindEndChange: 1, kindAbortChange: 1,
}

// Needs is the level of GregorVersion from which on r may be written. What a
// later level adds to a kind that there was before is told apart here.
func Needs(r Record) int16 { return since[r.kind()] }

// Level is the level of GregorVersion in force.
func (i *Image) Level() int16 { return max(i.Feature(GregorVersion), firstLevel) }

// LevelError: a record may not be written yet.
type LevelError struct {
	Record       Record
	Needs, Level int16
}

func (e *LevelError) Error() string {
	return fmt.Sprintf("%T needs %s %d, and %d is in force", e.Record, GregorVersion, e.Needs, e.Level)
}

// CheckLevel refuses records that nodes at the level in force need not know. It
// goes by the image before them: what a new level brings comes after it.
// needs is Needs, but in tests.
func (i *Image) CheckLevel(records []Record, needs func(Record) int16) error {
	level := i.Level()
	for _, r := range records {
		if n := needs(r); n > level {
			return &LevelError{r, n, level}
		}
	}
	return nil
}
