// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync/atomic"

	"gregor/internal/api"
	"gregor/internal/meta"
)

// supportedFeatures are those that this program knows, by name. A feature is
// listed only once all that it promises is there (ADR 0052). A new cluster
// begins with the highest level of each.
func supportedFeatures() []meta.FeatureRange {
	return []meta.FeatureRange{{Name: txnVersion, Min: 0, Max: 2}}
}

// features tells clients of them; it meets api.Features.
type features struct{ image *atomic.Pointer[meta.Image] }

func (features) Supported() []api.Feature {
	var out []api.Feature
	for _, f := range supportedFeatures() {
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
