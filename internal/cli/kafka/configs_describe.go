// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// configsOf are the entries of one resource by name; unless all, only those
// set on it.
func (t *configsTool) configsOf(ctx context.Context, x entity, all bool) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	r := resources[x.kind]
	source := r.source
	switch {
	case x.kind == "brokers" && x.name == "":
		source = kmsg.ConfigSourceDynamicDefaultBrokerConfig
	case x.kind == "broker-loggers":
		all = true
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	rr := kmsg.NewDescribeConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = r.kind, x.name
	req.Resources = append(req.Resources, rr)
	raw, err := t.request(ctx, req)
	if err != nil {
		return nil, err
	}
	var out []kmsg.DescribeConfigsResponseResourceConfig
	for _, res := range raw.(*kmsg.DescribeConfigsResponse).Resources {
		if err := codeError(res.ErrorCode, res.ErrorMessage); err != nil {
			return nil, err
		}
		for _, c := range res.Configs {
			if all || c.Source == source {
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (t *configsTool) doDescribe(ctx context.Context) error {
	head := t.entities[0]
	if _, ok := resources[head.kind]; !ok {
		return t.describeQuotas(ctx)
	}
	names, err := t.names(ctx, head)
	if err != nil || names == nil {
		return err
	}
	for _, name := range names {
		switch {
		case name == "" && head.kind == "brokers":
			t.env.println("Default configs for " + head.kind + " in the cluster are:")
		case t.all.has:
			t.env.println("All configs for " + strings.TrimSuffix(head.kind, "s") + " " + name + " are:")
		default:
			t.env.println("Dynamic configs for " + strings.TrimSuffix(head.kind, "s") + " " + name + " are:")
		}
		entries, err := t.configsOf(ctx, entity{kind: head.kind, name: name}, t.all.has)
		if err != nil {
			return err
		}
		for _, c := range entries {
			var words []string
			for _, s := range c.ConfigSynonyms {
				words = append(words, fmt.Sprintf("%s:%s=%s", sourceName(s.Source), s.Name, orNull(s.Value)))
			}
			t.env.printf("  %s=%s sensitive=%t synonyms={%s}\n", c.Name, orNull(c.Value), c.IsSensitive, strings.Join(words, ", "))
		}
	}
	return nil
}

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// sourceName is Java's name of a configuration's source.
func sourceName(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceClientMetricsConfig:
		return "DYNAMIC_CLIENT_METRICS_CONFIG"
	case kmsg.ConfigSourceGroupConfig:
		return "DYNAMIC_GROUP_CONFIG"
	}
	return s.String()
}

// names are the entities to describe; nil when the one asked for is not there.
func (t *configsTool) names(ctx context.Context, x entity) ([]string, error) {
	list := func() ([]string, error) {
		switch x.kind {
		case "topics":
			topics, err := t.adm.ListTopicsWithInternal(ctx)
			if err != nil {
				return nil, err
			}
			return hashOrder(topics.Names(), 16, stringHash), nil
		case "brokers", "broker-loggers":
			meta, err := t.adm.BrokerMetadata(ctx)
			if err != nil {
				return nil, err
			}
			var out []string
			for _, id := range meta.Brokers.NodeIDs() {
				out = append(out, strconv.Itoa(int(id)))
			}
			return append(out, ""), nil
		}
		var out []string
		if x.kind == "groups" {
			groups, err := t.adm.ListGroups(ctx)
			if err != nil {
				return nil, err
			}
			out = groups.Groups()
		}
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = []int8{int8(resources[x.kind].kind)}
		raw, err := t.request(ctx, req)
		if err != nil {
			if x.kind == "groups" && isUnsupported(err) {
				return out, nil
			}
			return nil, err
		}
		for _, r := range raw.(*kmsg.ListConfigResourcesResponse).ConfigResources {
			if !slices.Contains(out, r.Name) {
				out = append(out, r.Name)
			}
		}
		slices.Sort(out)
		return out, nil
	}
	switch {
	case x.hasName && (t.all.has || x.name == "" && x.kind == "brokers" || t.direct != nil):
		return []string{x.name}, nil
	case x.hasName:
		all, err := list()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, x.name) {
			t.env.println("The " + strings.TrimSuffix(x.kind, "s") + " '" + x.name + "' doesn't exist and doesn't have dynamic config.")
			return nil, nil
		}
		return []string{x.name}, nil
	}
	return list()
}
