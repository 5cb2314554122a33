// SPDX-License-Identifier: Apache-2.0

package node

import (
	"strconv"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// schema shows the room config to plan: what settings there are and what they
// may be.
type schema struct {
	live *config.Live
	node int32
}

var _ plan.Schema = schema{}

// tableOf is the table of the settings of a type of resource.
func tableOf(t meta.ResourceType) *config.Table {
	switch t {
	case meta.TopicResource:
		return config.Topics
	case meta.GroupResource:
		return config.Groups
	case meta.ClientMetricsResource:
		return config.ClientMetrics
	}
	return config.Brokers
}

func (s schema) IsList(t meta.ResourceType, key string) bool {
	p := tableOf(t).Lookup(key)
	return p != nil && p.Type == config.List
}

func (s schema) Default(t meta.ResourceType, key string) (string, bool) {
	if t == meta.TopicResource {
		return s.live.Broker().TopicDefault(key)
	}
	p := tableOf(t).Lookup(key)
	if p == nil || p.Null {
		return "", false
	}
	return p.Default, true
}

func (s schema) Validate(r meta.Resource, all, _ map[string]string) error {
	switch r.Type {
	case meta.TopicResource:
		return s.live.Broker().ValidateTopic(all)
	case meta.GroupResource:
		return s.live.Settings().ValidateGroup(all)
	case meta.ClientMetricsResource:
		return config.ValidateClientMetrics(all)
	}
	// The broker that the values are for has seen them before they came here,
	// because only it knows its static ones; the controller looks again where
	// it is that broker.
	if r.Name == "" || r.Name == strconv.Itoa(int(s.node)) {
		return s.live.Settings().ValidateBroker(all, r.Name != "")
	}
	return nil
}

func (s schema) Topic(_ *meta.Image, set map[string]string) []plan.TopicSetting {
	described := s.live.Settings().DescribeTopic(set)
	out := make([]plan.TopicSetting, 0, len(described))
	for _, d := range described {
		t := plan.TopicSetting{Name: d.Name, Source: d.Source, ReadOnly: d.ReadOnly, Sensitive: d.Sensitive}
		if !d.Null && !d.Sensitive {
			t.Value = &d.Value
		}
		out = append(out, t)
	}
	return out
}
