// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"slices"
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

// supportedFeatures are those that this program knows, by name. A feature is
// listed only once all that it promises is there (ADR 0052). A new cluster
// begins with the highest level of each.
func supportedFeatures() []meta.FeatureRange {
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
	return supportedFeatures()
}

// voterIDs are the controllers of the quorum.
func (n *Node) voterIDs() (ids []int32) {
	for _, v := range n.quorum.Membership().Voters {
		ids = append(ids, v.ID)
	}
	return ids
}

// checkLevels ends a node that does not know what the cluster has put in force:
// it would misread what comes.
func (n *Node) checkLevels(img *meta.Image) {
	for name, level := range img.Features() {
		known := slices.ContainsFunc(n.supported(), func(f meta.FeatureRange) bool { return f.Name == name && f.Holds(level) })
		if !known {
			n.fail(fmt.Errorf("the cluster is at level %d of %s, which this program does not know: start a newer one", level, name))
			return
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
