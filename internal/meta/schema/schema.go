// SPDX-License-Identifier: Apache-2.0

// Package schema tells meta/plan what the settings of resources mean. It
// stands between two rooms that do not know one another: config (names,
// types, ranges) and plan (decisions on the metadata image).
//
// Concurrency: reads the settings in force through config.Live; safe anywhere.
package schema

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// Schema is a plan.Schema over the settings in force.
type Schema struct{ Live *config.Live }

var _ plan.Schema = Schema{}

func table(t meta.ResourceType) *config.Table {
	switch t {
	case meta.TopicResource:
		return config.Topics
	case meta.BrokerResource:
		return config.Brokers
	case meta.GroupResource:
		return config.Groups
	default:
		return config.ClientMetrics
	}
}

// IsList tells whether a key can be appended to.
func (s Schema) IsList(t meta.ResourceType, key string) bool {
	p := table(t).Lookup(key)
	return p != nil && p.Type == config.List
}

// Default is the value that a resource without the key has.
func (s Schema) Default(t meta.ResourceType, key string) (string, bool) {
	settings := s.Live.Settings()
	if t == meta.TopicResource {
		return settings.Broker().TopicDefault(key)
	}
	p := table(t).Lookup(key)
	if p == nil || p.Null {
		return "", false
	}
	return p.Default, true
}

// Validate checks all settings that a resource would have.
func (s Schema) Validate(r meta.Resource, all, old map[string]string) error {
	settings := s.Live.Settings()
	var err error
	switch r.Type {
	case meta.TopicResource:
		err = settings.Broker().ValidateTopic(all)
	case meta.GroupResource:
		err = settings.ValidateGroup(all)
	case meta.ClientMetricsResource:
		err = config.ValidateClientMetrics(all)
	case meta.BrokerResource:
		own := r.Name != ""
		if own && r.Name != strconv.Itoa(int(settings.Broker().NodeID)) {
			return nil // checked by that broker, which alone knows its file
		}
		if err = settings.ValidateBroker(all, own); err != nil {
			// Kafka answers INVALID_REQUEST for brokers (KAFKA-13609).
			return &plan.Failure{Kind: kerr.InvalidRequest, Message: err.Error()}
		}
	}
	if err != nil {
		return &plan.Failure{Kind: kerr.InvalidConfig, Message: err.Error()}
	}
	return nil
}

// Topic lists every setting of a topic that has only set, by name.
func (s Schema) Topic(_ *meta.Image, set map[string]string) []plan.TopicSetting {
	described := s.Live.Settings().DescribeTopic(set)
	out := make([]plan.TopicSetting, 0, len(described))
	for i := range described {
		d := &described[i]
		t := plan.TopicSetting{Name: d.Name, Source: d.Source, ReadOnly: d.ReadOnly, Sensitive: d.Sensitive}
		if !d.Null {
			t.Value = &d.Value
		}
		out = append(out, t)
	}
	return out
}
