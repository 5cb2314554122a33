// SPDX-License-Identifier: Apache-2.0

// Goal: plan's decisions on settings follow the table. Method: plan itself is
// run over a small image with this schema.
package schema

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

func TestPlanOverTheTable(t *testing.T) {
	t.Parallel()
	settings, err := config.Load(config.Options{Hostname: "box"})
	if err != nil {
		t.Fatal(err)
	}
	s := Schema{Live: config.NewLive(settings)}
	img, _, err := meta.Empty().With([]meta.Record{
		meta.TopicRecord{Name: "t", ID: meta.UUID{1}},
		meta.BrokerRecord{Broker: meta.Broker{ID: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	value := func(v string) *string { return &v }
	for _, c := range []struct {
		kind  kmsg.ConfigResourceType
		name  string
		key   string
		op    kmsg.IncrementalAlterConfigOp
		value *string
		want  *kerr.Error
		made  string
	}{
		{kmsg.ConfigResourceTypeTopic, "t", "retention.ms", kmsg.IncrementalAlterConfigOpSet, value("5"), nil, "5"},
		{kmsg.ConfigResourceTypeTopic, "t", "retention.ms", kmsg.IncrementalAlterConfigOpSet, value("x"), kerr.InvalidConfig, ""},
		{kmsg.ConfigResourceTypeTopic, "t", "nonsense", kmsg.IncrementalAlterConfigOpSet, value("x"), kerr.InvalidConfig, ""},
		{kmsg.ConfigResourceTypeTopic, "t", "cleanup.policy", kmsg.IncrementalAlterConfigOpAppend, value("compact"), nil, "delete,compact"},
		{kmsg.ConfigResourceTypeTopic, "t", "cleanup.policy", kmsg.IncrementalAlterConfigOpSubtract, value("delete"), nil, ""},
		{kmsg.ConfigResourceTypeTopic, "t", "retention.ms", kmsg.IncrementalAlterConfigOpAppend, value("1"), kerr.InvalidConfig, ""},
		{kmsg.ConfigResourceTypeTopic, "u", "retention.ms", kmsg.IncrementalAlterConfigOpSet, value("5"), kerr.UnknownTopicOrPartition, ""},
		{kmsg.ConfigResourceTypeBroker, "1", "log.cleaner.threads", kmsg.IncrementalAlterConfigOpSet, value("2"), nil, "2"},
		{kmsg.ConfigResourceTypeBroker, "", "log.cleaner.threads", kmsg.IncrementalAlterConfigOpSet, value("2"), nil, "2"},
		{kmsg.ConfigResourceTypeBroker, "1", "num.partitions", kmsg.IncrementalAlterConfigOpSet, value("2"), kerr.InvalidRequest, ""},
		{kmsg.ConfigResourceTypeBroker, "", "listeners", kmsg.IncrementalAlterConfigOpSet, value("PLAINTEXT://:1"), kerr.InvalidRequest, ""},
		{kmsg.ConfigResourceTypeClientMetrics, "m", "interval.ms", kmsg.IncrementalAlterConfigOpSet, value("1"), kerr.InvalidConfig, ""},
		{kmsg.ConfigResourceTypeGroupConfig, "g", "consumer.session.timeout.ms", kmsg.IncrementalAlterConfigOpSet, value("50000"), nil, "50000"},
	} {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = c.kind, c.name
		o := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		o.Name, o.Op, o.Value = c.key, c.op, c.value
		r.Configs = append(r.Configs, o)
		req.Resources = append(req.Resources, r)
		records, resp := plan.IncrementalAlterConfigs(img, req, plan.Env{Schema: s})
		got := resp.Resources[0]
		if err := kerr.ErrorForCode(got.ErrorCode); c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s %s=%s: %v (%v), want %v", c.name, c.key, *c.value, err, got.ErrorMessage, c.want)
			continue
		}
		if c.want == nil && *records[0].(meta.ConfigRecord).Value != c.made {
			t.Errorf("%s %s: made %q", c.name, c.key, *records[0].(meta.ConfigRecord).Value)
		}
	}
	listed := s.Topic(img, map[string]string{"retention.ms": "5"})
	for _, l := range listed {
		if l.Name == "retention.ms" && (*l.Value != "5" || l.Source != 1) {
			t.Errorf("listed %+v", l)
		}
	}
	if len(listed) != 34 {
		t.Errorf("%d settings are listed, want 33 and gregor.durable", len(listed))
	}
}
