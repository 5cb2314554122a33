// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func featuresArguments() *arguments {
	a := newArguments("kafka-features", "Shows and changes the levels of a cluster's features.")
	a.exclusiveNeeded(
		a.store("--bootstrap-server").about("Brokers to ask: host:port with commas between."),
		a.store("--bootstrap-controller").about("Controllers to ask: host:port with commas between."),
	)
	a.store("--command-config").about("File of client properties.")
	d := a.sub("describe", "Show the levels in force.")
	d.store("--node-id").number().about("The node to ask; any when left out.")
	for _, s := range []*arguments{a.sub("upgrade", "Raise levels."), a.sub("downgrade", "Lower levels.")} {
		s.store("--metadata").about("(Deprecated) the release of the metadata, such as 3.9-IV0.")
		s.store("--release-version").about("The release whose levels to take for every feature.")
		s.collect("--feature").about("A feature's new level, as name=level; may be repeated.")
		if s.name == "downgrade" {
			s.toggle("--unsafe").about("Even where metadata is lost for good.")
		}
		s.toggle("--dry-run").about("Only say whether it could be done.")
	}
	s := a.sub("disable", "Lower features to level 0.")
	s.collect("--feature").about("The feature; may be repeated.")
	s.toggle("--unsafe").about("Even where metadata is lost for good.")
	s.toggle("--dry-run").about("Only say whether it could be done.")
	a.sub("version-mapping", "Show the levels of a release.").store("--release-version").about("The release; " + latestRelease + " when left out.")
	a.sub("feature-dependencies", "Show what a level rests on.").collect("--feature").need().about("name=level; may be repeated.")
	return a
}

func levelText(feature string, level int16) string {
	if feature != "metadata.version" {
		return strconv.Itoa(int(level))
	}
	for _, r := range releases {
		if r.level == int(level) {
			return r.name
		}
	}
	return fmt.Sprintf("UNKNOWN %d", level)
}

func runFeatures(ctx context.Context, e *Env, args []string) error {
	ns, err := featuresArguments().parse(e, args)
	if err != nil {
		return err
	}
	command := ns.get("command")
	switch command {
	case "version-mapping":
		name := latestRelease
		if ns.has("release_version") {
			name = ns.get("release_version")
		}
		r, err := findRelease(name)
		if err != nil {
			return failf("%s", err)
		}
		e.printf("metadata.version=%d (%s)\n", r.level, name)
		for _, f := range r.features() {
			e.printf("%s=%d\n", f.name, f.level)
		}
		return nil
	case "feature-dependencies":
		return storageNeeds(e, ns.list("feature"))
	}
	conf, err := loadProps(ns.get("command_config"))
	if err != nil {
		return err
	}
	a, err := conf.asker(e, ns)
	if err != nil {
		return err
	}
	defer a.cl.Close()
	if command == "describe" {
		return describeFeatures(ctx, e, a, ns)
	}
	updates, err := featureUpdates(e, ns)
	if err == nil && ns.has("release_version") {
		err = leaveOutUnknown(ctx, e, a, updates)
	}
	if err != nil {
		return err
	}
	return updateFeatures(ctx, e, a, ns, updates)
}

func describeFeatures(ctx context.Context, e *Env, a asker, ns *namespace) error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", Version
	var raw kmsg.Response
	var err error
	if ns.has("node_id") {
		if ns.int("node_id") < 0 {
			return failf("Invalid node id %d: must be non-negative.", ns.int("node_id"))
		}
		raw, err = a.cl.Broker(int(ns.int("node_id"))).RetriableRequest(ctx, req)
	} else {
		raw, err = a.ask(ctx, req)
	}
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "describeFeatures")))
	}
	resp := raw.(*kmsg.ApiVersionsResponse)
	slices.SortFunc(resp.SupportedFeatures, func(a, b kmsg.ApiVersionsResponseSupportedFeature) int { return strings.Compare(a.Name, b.Name) })
	epoch := "-"
	if resp.FinalizedFeaturesEpoch >= 0 {
		epoch = strconv.FormatInt(resp.FinalizedFeaturesEpoch, 10)
	}
	for _, f := range resp.SupportedFeatures {
		var level int16
		for _, x := range resp.FinalizedFeatures {
			if x.Name == f.Name {
				level = x.MaxVersionLevel
			}
		}
		e.printf("Feature: %s\tSupportedMinVersion: %s\tSupportedMaxVersion: %s\tFinalizedVersionLevel: %s\tEpoch: %s\n",
			f.Name, levelText(f.Name, f.MinVersion), levelText(f.Name, f.MaxVersion), levelText(f.Name, level), epoch)
	}
	return nil
}

func featureUpdates(e *Env, ns *namespace) (map[string]int16, error) {
	updates := map[string]int16{}
	command := ns.get("command")
	if command == "disable" {
		for _, f := range ns.list("feature") {
			if _, twice := updates[f]; twice {
				return nil, failf("Feature %s was specified more than once.", f)
			}
			updates[f] = 0
		}
		return updates, nil
	}
	if ns.has("release_version") {
		if ns.has("metadata") || ns.has("feature") {
			return nil, failf("Can not specify `release-version` with other feature flags.")
		}
		r, err := findRelease(ns.get("release_version"))
		if err != nil {
			return nil, failf("%s", err)
		}
		updates["metadata.version"] = int16(r.level)
		for _, f := range r.features() {
			if command != "upgrade" || f.level > 0 {
				updates[f.name] = int16(f.level)
			}
		}
		return updates, nil
	}
	if ns.has("metadata") {
		e.println(" `metadata` flag is deprecated and may be removed in a future release.")
		r, err := findRelease(ns.get("metadata"))
		if err != nil {
			return nil, failf("%s", err)
		}
		updates["metadata.version"] = int16(r.level)
	}
	for _, f := range ns.list("feature") {
		name, num, ok := strings.Cut(f, "=")
		level, err := strconv.ParseInt(strings.TrimSpace(num), 10, 16)
		if !ok || err != nil {
			return nil, failf("Can't parse feature=level string %s", f)
		}
		if _, twice := updates[strings.TrimSpace(name)]; twice {
			return nil, failf("Feature %s was specified more than once.", name)
		}
		updates[strings.TrimSpace(name)] = int16(level)
	}
	return updates, nil
}

// leaveOutUnknown takes out of a release what the cluster does not know, and
// says so.
//
// Differs from Kafka: its tool asks for all, and all fail for the one that is not
// known. A cluster of Kafka's knows all, so there nothing is left out.
func leaveOutUnknown(ctx context.Context, e *Env, a asker, updates map[string]int16) error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", Version
	raw, err := a.ask(ctx, req)
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "describeFeatures")))
	}
	known := raw.(*kmsg.ApiVersionsResponse).SupportedFeatures
	for _, name := range slices.Sorted(maps.Keys(updates)) {
		if !slices.ContainsFunc(known, func(f kmsg.ApiVersionsResponseSupportedFeature) bool { return f.Name == name }) {
			e.printf("%s is left out: the cluster does not know it.\n", name)
			delete(updates, name)
		}
	}
	return nil
}

func updateFeatures(ctx context.Context, e *Env, a asker, ns *namespace, updates map[string]int16) error {
	command := ns.get("command")
	if len(updates) == 0 {
		return failf("You must specify at least one feature to %s", command)
	}
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = 60_000
	req.ValidateOnly = ns.on("dry_run")
	names := slices.Sorted(maps.Keys(updates))
	for _, n := range names {
		switch { // as Kafka's client refuses before it asks
		case updates[n] == 0 && command == "upgrade":
			return failf("The upgradeType flag should be set to SAFE_DOWNGRADE or UNSAFE_DOWNGRADE when the provided maxVersionLevel:0 is < 1.")
		case updates[n] < 0:
			return failf("Cannot specify a negative version level.")
		}
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = n, updates[n], 1
		if command != "upgrade" {
			u.UpgradeType, u.AllowDowngrade = 2, true
			if ns.on("unsafe") {
				u.UpgradeType = 3
			}
		}
		req.FeatureUpdates = append(req.FeatureUpdates, u)
	}
	raw, err := a.ask(ctx, req)
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "updateFeatures")))
	}
	resp := raw.(*kmsg.UpdateFeaturesResponse)
	top := codeError(resp.ErrorCode, resp.ErrorMessage)
	failures := 0
	for _, n := range names {
		err := top
		for _, r := range resp.Results {
			if r.Feature == n && err == nil {
				err = codeError(r.ErrorCode, r.ErrorMessage)
			}
		}
		what := fmt.Sprintf("%s %s to %d", command, n, updates[n])
		done := fmt.Sprintf("%sd to %d.", command, updates[n])
		if command == "disable" {
			what, done = "disable "+n, "disabled."
		}
		could, was := "Could not ", " was "
		if ns.on("dry_run") {
			could, was = "Can not ", " can be "
		}
		if err != nil {
			failures++
			e.println(could + what + ". " + err.Error())
		} else {
			e.println(n + was + done)
		}
	}
	if failures > 0 {
		return failf("%d out of %d operation(s) failed.", failures, len(updates))
	}
	return nil
}
