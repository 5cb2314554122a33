// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gregor/internal/meta"
	"gregor/internal/node"
)

// foundingLevels are the levels at which a cluster begins, by the release and by
// what was asked of single features; left are those asked for that this program
// does not know, though Kafka does. dynamic: no controller.quorum.voters.
//
// Differs from Kafka: releases are refused of whose metadata.version this program
// knows nothing. Voters can change and eligible replicas are kept at every level
// here, so kraft.version and eligible.leader.replicas.version are never 0.
func foundingLevels(rel release, asked map[string]int, dynamic bool) (levels map[string]int16, left []string, err error) {
	levels = map[string]int16{}
	known := map[string]meta.FeatureRange{}
	for _, f := range node.SupportedFeatures() {
		known[f.Name] = f
	}
	if f := known[meta.MetadataVersion]; !f.Holds(int16(rel.level)) {
		return nil, nil, failf("metadata.version %s is not supported by this program: it knows %s to %s.", rel.name, levelText(f.Name, f.Min), levelText(f.Name, f.Max))
	}
	implied := map[string]int{meta.MetadataVersion: rel.level}
	for _, f := range rel.features() {
		implied[f.name] = f.level
	}
	for _, f := range slices.Sorted(maps.Keys(asked)) {
		l := asked[f]
		if f == meta.MetadataVersion {
			continue
		}
		own, ours := known[f]
		kafkas, inKafka := featureNeeds[f]
		needs, exists := kafkas[l]
		if !inKafka {
			exists = own.Holds(int16(l))
		}
		switch {
		case !ours && !inKafka:
			all := slices.AppendSeq(slices.Collect(maps.Keys(featureNeeds)), maps.Keys(known))
			all = slices.DeleteFunc(all, func(name string) bool { return name == meta.MetadataVersion })
			slices.Sort(all)
			return nil, nil, failf("Unsupported feature: %s. Supported features are: %s", f, strings.Join(slices.Compact(all), ", "))
		case f == "kraft.version" && l == 0 && dynamic:
			return nil, nil, failf("Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags --standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing the --feature flag for kraft.version.")
		case !exists:
			return nil, nil, failf("No feature:%s with feature level %d", f, l)
		case !ours:
			left = append(left, fmt.Sprintf("%s=%d", f, l))
			continue
		case !own.Holds(int16(l)):
			return nil, nil, failf("%s could not be set to %d: this program knows levels %d to %d", f, l, own.Min, own.Max)
		}
		for _, need := range needs {
			if rel.level < need.level {
				return nil, nil, failf("%s could not be set to %d because it depends on %s level %d", f, l, need.name, need.level)
			}
		}
		implied[f] = l
	}
	for name, f := range known {
		level, told := implied[name]
		if !told || !f.Holds(int16(level)) {
			level = int(f.Max)
		}
		levels[name] = int16(level)
	}
	return levels, left, nil
}
