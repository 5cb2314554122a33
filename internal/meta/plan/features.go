// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// UpdateFeatures decides on finalised levels: all of the updates or none. The
// answer names the first refusal (v2), or each feature with the same (v0, v1).
func UpdateFeatures(img *meta.Image, req *kmsg.UpdateFeaturesRequest, env Env) ([]meta.Record, *kmsg.UpdateFeaturesResponse) {
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	var records []meta.Record
	var err error
	for _, n := range uniqueNames(req.FeatureUpdates, func(f kmsg.UpdateFeaturesRequestFeatureUpdate) string { return f.Feature }) {
		u := &req.FeatureUpdates[n.at]
		if n.count > 1 {
			err = fail(kerr.InvalidRequest, "Duplicate feature %s.", n.name)
		} else if err = updateFeature(img, u, env); err == nil && img.Feature(u.Feature) != u.MaxVersionLevel {
			records = append(records, meta.FeatureRecord{Name: u.Feature, Level: u.MaxVersionLevel})
		}
		if err != nil {
			records = nil
			break
		}
	}
	resp.ErrorCode, resp.ErrorMessage = answer(err)
	for i := range req.FeatureUpdates {
		r := kmsg.NewUpdateFeaturesResponseResult()
		r.Feature = req.FeatureUpdates[i].Feature
		r.ErrorCode, r.ErrorMessage = resp.ErrorCode, resp.ErrorMessage
		resp.Results = append(resp.Results, r)
	}
	if req.ValidateOnly {
		records = nil
	}
	return records, resp
}

// Upgrade types of UpdateFeatures.
const (
	upgrade         = 1
	safeDowngrade   = 2
	unsafeDowngrade = 3
)

func updateFeature(img *meta.Image, u *kmsg.UpdateFeaturesRequestFeatureUpdate, env Env) error {
	kind := u.UpgradeType
	if u.AllowDowngrade { // how v0 says it
		kind = safeDowngrade
	}
	if kind == 0 {
		kind = upgrade
	}
	refuse := func(format string, args ...any) error {
		why := fail(kerr.InvalidUpdateVersion, format, args...)
		return fail(kerr.InvalidUpdateVersion, "Invalid update version %d for feature %s. %s", u.MaxVersionLevel, u.Feature, why.Message)
	}
	current := img.Feature(u.Feature)
	switch {
	case kind > unsafeDowngrade || kind < upgrade:
		return refuse("The controller does not support the given upgrade type.")
	case u.MaxVersionLevel < 0:
		return refuse("A feature version cannot be less than 0.")
	}
	if err := supportedByAll(img, u.Feature, u.MaxVersionLevel, env.Supported); err != nil {
		return refuse("%s", err)
	}
	switch {
	case u.MaxVersionLevel < current && kind == upgrade:
		return refuse("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	case u.MaxVersionLevel > current && kind != upgrade:
		return refuse("Can't downgrade to a newer version.")
	}
	return nil
}

// supportedByAll tells who does not support the level of a feature. Level 0 is
// "off" and known to everyone who knows the feature.
func supportedByAll(img *meta.Image, feature string, level int16, ours []meta.FeatureRange) error {
	f, ok := findFeature(ours, feature)
	if !ok || level != 0 && (level < f.Min || level > f.Max) || level == 0 && f.Min > 0 {
		return lacks("Local controller", f, ok)
	}
	for b := range img.Brokers() {
		if f, ok := findFeature(b.Features, feature); level != 0 && (!ok || level < f.Min || level > f.Max) {
			return lacks("Broker "+itoa(b.ID), f, ok)
		}
	}
	for c := range img.Controllers() {
		if f, ok := findFeature(c.Features, feature); level != 0 && (!ok || level < f.Min || level > f.Max) {
			return lacks("Controller "+itoa(c.ID), f, ok)
		}
	}
	return nil
}

func lacks(who string, f meta.FeatureRange, known bool) error {
	if !known {
		return errors.New(who + " does not support this feature.")
	}
	return errors.New(who + " only supports versions " + itoa(int32(f.Min)) + "-" + itoa(int32(f.Max)))
}
