// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

func raise(feature string, level int16, kind int8) *kmsg.UpdateFeaturesRequest {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType = feature, level, kind
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	return req
}

// TestHeldBack: a level goes up when every node that is registered knows it,
// down or not, voters among them; otherwise all are named who do not.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	img := cluster(t, 3)
	older := []meta.FeatureRange{{Name: "metadata.version", Min: 1, Max: 4}}
	two, three := *img.Broker(2), *img.Broker(3)
	two.Features, three.Features, three.Fenced = older, nil, true
	img = with(t, img, meta.BrokerRecord{Broker: two}, meta.BrokerRecord{Broker: three},
		meta.ControllerRecord{Controller: meta.Controller{ID: 1, Incarnation: dir(100), Features: img.Broker(1).Features}},
		meta.ControllerRecord{Controller: meta.Controller{ID: 5}},
		meta.ControllerRecord{Controller: meta.Controller{ID: 6, Incarnation: dir(106), Features: older}})
	e := env()
	e.Voters = func() []int32 { return []int32{1, 5, 7} }

	records, resp := UpdateFeatures(img, raise("metadata.version", 5, upgrade), e)
	check(t, "held back", resp.ErrorCode, kerr.InvalidUpdateVersion)
	const want = "Invalid update version 5 for feature metadata.version. Broker 2 only supports versions 1-4; Broker 3 does not support this feature.; " +
		"controller 5 has not registered, and may not support this feature; Controller 6 only supports versions 1-4; " +
		"controller 7 has not registered, and may not support this feature"
	if got := *resp.ErrorMessage; got != want || len(records) > 0 {
		t.Errorf("%d records, %s", len(records), got)
	}

	// Those that are gone for good are forgotten, controllers too unless they
	// vote; those that come back know it.
	for _, id := range []int32{3, 6} {
		records, err := UnregisterBroker(img, id, e)
		if err != nil {
			t.Fatal(err)
		}
		img = with(t, img, records...)
	}
	if _, err := UnregisterBroker(img, 5, e); !errors.Is(err, kerr.BrokerIDNotRegistered) {
		t.Errorf("a voter was forgotten: %v", err)
	}
	two.Features = img.Broker(1).Features
	img = with(t, img, meta.BrokerRecord{Broker: two})
	for _, id := range []int32{5, 7} {
		records, err := RegisterController(img, meta.Controller{ID: id, Incarnation: dir(107), Features: two.Features})
		if err != nil {
			t.Fatal(err)
		}
		img = with(t, img, records...)
	}
	records, resp = UpdateFeatures(img, raise("metadata.version", 5, upgrade), e)
	check(t, "known to all", resp.ErrorCode, nil)
	img = with(t, img, records...)

	// From now on nobody comes in who does not know it.
	if _, err := RegisterController(img, meta.Controller{ID: 6, Features: older}); !errors.Is(err, kerr.UnsupportedVersion) {
		t.Errorf("an older controller: %v", err)
	}
	_, _, err := RegisterBroker(img, Registration{ID: 3, ClusterID: "c", Incarnation: dir(103), Dirs: []meta.UUID{dir(3)}, Features: older}, e)
	if !errors.Is(err, kerr.UnsupportedVersion) || !strings.Contains(err.Error(), "finalized version 5 of metadata.version") {
		t.Errorf("an older broker: %v", err)
	}
}

// TestNoWayBack: what the log may hold at a level of ours cannot be unwritten.
func TestNoWayBack(t *testing.T) {
	t.Parallel()
	img := with(t, meta.Empty(), meta.FeatureRecord{Name: meta.GregorVersion, Level: 2})
	e := env()
	e.Supported = []meta.FeatureRange{{Name: meta.GregorVersion, Min: 1, Max: 2}}
	for _, kind := range []int8{safeDowngrade, unsafeDowngrade} {
		_, resp := UpdateFeatures(img, raise(meta.GregorVersion, 1, kind), e)
		check(t, "down", resp.ErrorCode, kerr.InvalidUpdateVersion)
	}
}
