// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"
	"strings"

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
	if err := supportedByAll(img, u.Feature, u.MaxVersionLevel, env); err != nil {
		return refuse("%s", err)
	}
	switch {
	case u.MaxVersionLevel < current && kind != upgrade && u.Feature == meta.GregorVersion:
		// Its records stand in logs and snapshots, which older programs read.
		return refuse("Refusing to perform the requested downgrade because it might delete metadata information.")
	case u.MaxVersionLevel < current && kind == upgrade:
		return refuse("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	case u.MaxVersionLevel > current && kind != upgrade:
		return refuse("Can't downgrade to a newer version.")
	}
	return nil
}

// supportedByAll tells who does not support the level of a feature. Level 0 is
// "off" and known to everyone who knows the feature.
//
// Differs from Kafka: all are named who stand in the way, not only the first.
func supportedByAll(img *meta.Image, feature string, level int16, env Env) error {
	own, ok := findFeature(env.Supported, feature)
	if level == 0 && ok && own.Min <= 0 {
		return nil
	}
	var why []string
	known := false
	for b := range img.Brokers() {
		if f, ok := findFeature(b.Features, feature); !ok || !f.Holds(level) {
			why = append(why, "Broker "+itoa(b.ID)+" "+lacks(f, ok))
		} else {
			known = true
		}
	}
	if !ok || !own.Holds(level) {
		local := "Local controller " + lacks(own, ok)
		if !known {
			return errors.New(local) // nobody knows it: no reason to name all
		}
		why = append([]string{local}, why...)
	}
	for _, id := range controllers(img, env) {
		c := img.Controller(id)
		if c == nil || c.Incarnation == (meta.UUID{}) {
			why = append(why, "controller "+itoa(id)+" has not registered, and may not support this feature")
		} else if f, ok := findFeature(c.Features, feature); !ok || !f.Holds(level) {
			why = append(why, "Controller "+itoa(id)+" "+lacks(f, ok))
		}
	}
	if len(why) > 0 {
		return errors.New(strings.Join(why, "; "))
	}
	return nil
}

// controllers are the ids of those who vote, and of those who are registered,
// in order.
func controllers(img *meta.Image, env Env) (ids []int32) {
	if env.Voters != nil {
		ids = append(ids, env.Voters()...)
	}
	for c := range img.Controllers() {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func lacks(f meta.FeatureRange, known bool) string {
	if !known {
		return "does not support this feature."
	}
	return "only supports versions " + itoa(int32(f.Min)) + "-" + itoa(int32(f.Max))
}

// checkLevels refuses a node that does not know what is in force: it could not
// read the metadata.
func checkLevels(img *meta.Image, features []meta.FeatureRange, what string) error {
	for name, level := range img.Features() {
		if f, ok := findFeature(features, name); !ok || !f.Holds(level) {
			return fail(kerr.UnsupportedVersion, "Unable to register because the %s does not support finalized version %d of %s. The %s wants a version between %d and %d, inclusive.",
				what, level, name, what, f.Min, f.Max)
		}
	}
	return nil
}
