// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"sync/atomic"

	"gregor/internal/api"
	"gregor/internal/meta"
)

// Features of Kafka that are always on here: eligible leader replicas (KIP-966)
// and voters that change at run time (KIP-853).
const (
	elrVersion   = "eligible.leader.replicas.version"
	kraftVersion = "kraft.version"
)

// kafka42 is the metadata.version of Kafka 4.2 (4.2-IV1).
const kafka42 = 29

// SupportedFeatures are those that this program knows, by name. A feature is
// listed only once all that it promises is there (ADR 0052). A new cluster
// begins with the highest level of each, or with those that it was formatted with.
func SupportedFeatures() []meta.FeatureRange {
	return []meta.FeatureRange{
		{Name: elrVersion, Min: 1, Max: 1},
		{Name: meta.GregorVersion, Min: 1, Max: 1},
		{Name: kraftVersion, Min: 1, Max: 1},
		{Name: meta.MetadataVersion, Min: kafka42, Max: kafka42},
		{Name: txnVersion, Min: 0, Max: 2},
	}
}

// supported are the features of this node.
func (n *Node) supported() []meta.FeatureRange {
	if n.cfg.Features != nil {
		return n.cfg.Features
	}
	return SupportedFeatures()
}

// foundingLevel is the level of f at which a cluster begins that this node founds.
func (n *Node) foundingLevel(f meta.FeatureRange) int16 {
	level, told := n.begins.levels[f.Name]
	switch {
	case !told:
		return f.Max
	case !f.Holds(level):
		n.log.Warn("the metadata directory was formatted with a level that this program does not know; the highest is taken", "feature", f.Name, "level", level, "known", f.Max)
		return f.Max
	}
	return level
}

// voterIDs are the controllers of the quorum.
func (n *Node) voterIDs() (ids []int32) {
	for _, v := range n.quorum.Membership().Voters {
		ids = append(ids, v.ID)
	}
	return ids
}

// checkLevel ends a node that does not know the records that the cluster may
// write by now: it would misread what comes. Other features are looked at when
// it registers, not here: a restart follows the metadata from some time ago on,
// through levels that it need not know any more.
func (n *Node) checkLevel(img *meta.Image) {
	for _, f := range n.supported() {
		if f.Name == meta.GregorVersion && img.Level() > f.Max {
			n.fail(fmt.Errorf("the cluster is at level %d of %s, which this program does not know: start a newer one", img.Level(), f.Name))
		}
	}
}

// features tells clients of them; it meets api.Features.
type features struct {
	known []meta.FeatureRange
	image *atomic.Pointer[meta.Image]
}

func (f features) Supported() []api.Feature {
	var out []api.Feature
	for _, f := range f.known {
		out = append(out, api.Feature{Name: f.Name, Min: f.Min, Max: f.Max})
	}
	return out
}

func (f features) Finalized() ([]api.FeatureLevel, int64) {
	img := f.image.Load()
	var out []api.FeatureLevel
	for name, level := range img.Features() {
		out = append(out, api.FeatureLevel{Name: name, Level: level})
	}
	if img.Version() == 0 {
		return nil, -1
	}
	return out, img.Version()
}
