// SPDX-License-Identifier: Apache-2.0

// Goal: configs are described and altered as Kafka's admin clients expect.
// Method: the family's handlers over a real image, real settings and plan's
// decisions; only the log between them is missing.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/meta/plan"
	settings "gregor/internal/meta/schema"
	"gregor/internal/node/loggers"
)

// fakeConfigController decides by plan and makes the records so at once.
type fakeConfigController struct {
	t    *testing.T
	live *config.Live
	img  *meta.Image
}

func (c *fakeConfigController) make(records []meta.Record) {
	img, _, err := c.img.With(records)
	if err != nil {
		c.t.Fatal(err)
	}
	c.img = img
	c.live.Apply(img.Settings(meta.BrokerResource, "").Map(), img.Settings(meta.BrokerResource, "1").Map())
}

func (c *fakeConfigController) Do(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	env := plan.Env{Schema: settings.Schema{Live: c.live}}
	switch req := req.(type) {
	case *kmsg.AlterConfigsRequest:
		records, resp := plan.AlterConfigs(c.img, req, env)
		c.make(records)
		return resp, nil
	case *kmsg.IncrementalAlterConfigsRequest:
		records, resp := plan.IncrementalAlterConfigs(c.img, req, env)
		c.make(records)
		return resp, nil
	}
	return nil, kerr.UnsupportedVersion
}

func newConfigs(t *testing.T) *Configs {
	t.Helper()
	loaded, err := config.Load(config.Options{Hostname: "box", Overrides: []string{"log.segment.bytes=2000000"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeConfigController{t: t, live: config.NewLive(loaded), img: meta.Empty()}
	c.make([]meta.Record{
		meta.TopicRecord{Name: "t", ID: meta.UUID{1}},
		meta.BrokerRecord{Broker: meta.Broker{ID: 1}},
	})
	return &Configs{
		Live: c.live, Image: func() *meta.Image { return c.img }, Controller: c,
		Loggers: loggers.New(slog.DiscardHandler, slog.LevelInfo, "storage"),
	}
}

// change is kind, name, then key, op and value of each config.
func (f *Configs) change(t *testing.T, validateOnly bool, kind int8, name string, ops ...any) (int16, string) {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = validateOnly
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(kind), name
	for i := 0; i < len(ops); i += 3 {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op = ops[i].(string), ops[i+1].(kmsg.IncrementalAlterConfigOp)
		if v, ok := ops[i+2].(string); ok {
			c.Value = &v
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	resp, err := f.incremental(t.Context(), nil, req)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources
	if len(got) != 1 {
		t.Fatalf("%d answers", len(got))
	}
	words := ""
	if got[0].ErrorMessage != nil {
		words = *got[0].ErrorMessage
	}
	return got[0].ErrorCode, words
}

// one describes one config of a resource as a line.
func (f *Configs) one(t *testing.T, kind int8, name, key string) string {
	t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceType(kind), name, []string{key}
	req.Resources = append(req.Resources, r)
	resp, err := f.describe(t.Context(), nil, req)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.DescribeConfigsResponse).Resources[0]
	if got.ErrorCode != 0 {
		return kerr.TypedErrorForCode(got.ErrorCode).Message
	}
	if len(got.Configs) != 1 {
		return fmt.Sprint(len(got.Configs), " configs")
	}
	c := got.Configs[0]
	value := "null"
	if c.Value != nil {
		value = *c.Value
	}
	var synonyms []string
	for _, y := range c.ConfigSynonyms {
		synonyms = append(synonyms, fmt.Sprintf("%d:%s=%s", y.Source, y.Name, *y.Value))
	}
	return fmt.Sprintf("%s source=%d readonly=%v sensitive=%v type=%d doc=%v [%s]", value, c.Source, c.ReadOnly, c.IsSensitive, c.ConfigType, c.Documentation != nil, strings.Join(synonyms, " "))
}

const (
	opSet      = kmsg.IncrementalAlterConfigOpSet
	opDelete   = kmsg.IncrementalAlterConfigOpDelete
	opAppend   = kmsg.IncrementalAlterConfigOpAppend
	opSubtract = kmsg.IncrementalAlterConfigOpSubtract
)

func TestIncrementalThenDescribe(t *testing.T) {
	t.Parallel()
	f := newConfigs(t)
	if code, words := f.change(t, false, topicResource, "t", "segment.bytes", opSet, "3000000", "cleanup.policy", opAppend, "compact"); code != 0 {
		t.Fatal(code, words)
	}
	if code, words := f.change(t, false, brokerResource, "", "log.segment.bytes", opSet, "4000000"); code != 0 {
		t.Fatal(code, words)
	}
	if code, words := f.change(t, true, topicResource, "t", "segment.bytes", opDelete, nil); code != 0 {
		t.Fatal(code, words)
	}
	for _, c := range []struct {
		kind            int8
		name, key, want string
	}{
		{topicResource, "t", "segment.bytes", "3000000 source=1 readonly=false sensitive=false type=3 doc=true [1:segment.bytes=3000000 3:log.segment.bytes=4000000 4:log.segment.bytes=2000000 5:log.segment.bytes=1073741824]"},
		{topicResource, "t", "cleanup.policy", "delete,compact source=1 readonly=false sensitive=false type=7 doc=true [1:cleanup.policy=delete,compact 5:log.cleanup.policy=delete]"},
		{topicResource, "u", "cleanup.policy", "UNKNOWN_TOPIC_OR_PARTITION"},
		{topicResource, "t", "nonsense", "0 configs"},
		{brokerResource, "1", "log.segment.bytes", "4000000 source=3 readonly=false sensitive=false type=3 doc=true [3:log.segment.bytes=4000000 4:log.segment.bytes=2000000 5:log.segment.bytes=1073741824]"},
		{brokerResource, "1", "num.partitions", "1 source=5 readonly=true sensitive=false type=3 doc=true [5:num.partitions=1]"},
		{brokerResource, "1", "ssl.keystore.password", "null source=5 readonly=false sensitive=true type=9 doc=true []"},
		{brokerResource, "", "log.segment.bytes", "4000000 source=3 readonly=false sensitive=false type=3 doc=true [3:log.segment.bytes=4000000]"},
		{brokerResource, "", "num.partitions", "0 configs"},
		{brokerResource, "2", "num.partitions", "INVALID_REQUEST"},
		{brokerResource, "x", "num.partitions", "INVALID_REQUEST"},
		{loggerResource, "1", "storage", "INFO source=6 readonly=false sensitive=false type=0 doc=false []"},
		{loggerResource, "", "storage", "INVALID_REQUEST"},
		{clientMetricsResource, "m", "interval.ms", "300000 source=5 readonly=false sensitive=false type=3 doc=true []"},
		{groupResource, "g", "consumer.session.timeout.ms", "45000 source=5 readonly=false sensitive=false type=3 doc=true [5:consumer.session.timeout.ms=45000]"},
		{groupResource, "", "x", "INVALID_REQUEST"},
		{99, "x", "x", "INVALID_REQUEST"},
	} {
		if got := f.one(t, c.kind, c.name, c.key); got != c.want {
			t.Errorf("%d %q %s\n got %s\nwant %s", c.kind, c.name, c.key, got, c.want)
		}
	}
	if code, _ := f.change(t, false, topicResource, "t", "cleanup.policy", opSubtract, "delete", "segment.bytes", opDelete, nil); code != 0 {
		t.Fatal(code)
	}
	if got := f.one(t, topicResource, "t", "cleanup.policy"); !strings.HasPrefix(got, "compact source=1") {
		t.Error(got)
	}
	if got := f.one(t, topicResource, "t", "segment.bytes"); !strings.HasPrefix(got, "4000000 source=3") {
		t.Error(got)
	}
}

func TestIncrementalRefusals(t *testing.T) {
	t.Parallel()
	f := newConfigs(t)
	for _, c := range []struct {
		kind int8
		name string
		ops  []any
		want *kerr.Error
		word string
	}{
		{topicResource, "t", []any{"segment.bytes", opSet, "1"}, kerr.InvalidConfig, "Invalid value 1 for configuration segment.bytes"},
		{topicResource, "t", []any{"segment.bytes", opAppend, "1"}, kerr.InvalidConfig, "LIST"},
		{topicResource, "t", []any{"segment.bytes", opSet, nil}, kerr.InvalidRequest, "Null value"},
		{topicResource, "t", []any{"segment.bytes", opSet, "9999999", "segment.bytes", opDelete, nil}, kerr.InvalidRequest, "duplicate"},
		{brokerResource, "7", []any{"log.cleaner.threads", opSet, "1"}, kerr.InvalidRequest, "expected 1"},
		{brokerResource, "1", []any{"num.partitions", opSet, "1"}, kerr.InvalidRequest, "Cannot update these configs dynamically"},
		{brokerResource, "", []any{"listeners", opSet, "PLAINTEXT://a:1"}, kerr.InvalidRequest, "broker id must be specified"},
		{loggerResource, "1", []any{"nobody", opSet, "INFO"}, kerr.InvalidConfig, "does not exist"},
		{loggerResource, "1", []any{"storage", opSet, "LOUD"}, kerr.InvalidConfig, "DEBUG, ERROR, FATAL, INFO, TRACE, WARN"},
		{loggerResource, "1", []any{"storage", opAppend, "INFO"}, kerr.InvalidRequest, "BROKER_LOGGER"},
		{loggerResource, "1", []any{"root", opDelete, nil}, kerr.InvalidRequest, "root"},
		{loggerResource, "1", []any{"root", opSet, "DEBUG", "storage", opSet, "LOUD"}, kerr.InvalidConfig, "LOUD"},
		{3, "x", []any{"a", opSet, "b"}, kerr.InvalidRequest, "Unknown resource type 3"},
	} {
		code, words := f.change(t, false, c.kind, c.name, c.ops...)
		if code != c.want.Code || !strings.Contains(words, c.word) {
			t.Errorf("%v: %d %q, want %s with %q", c.ops, code, words, c.want.Message, c.word)
		}
	}
	if got := f.one(t, loggerResource, "1", "root"); !strings.HasPrefix(got, "INFO ") {
		t.Errorf("a refused change was made in part: root is at %s", got)
	}
	f.change(t, true, loggerResource, "1", "root", opSet, "DEBUG")
	if got := f.one(t, loggerResource, "1", "root"); !strings.HasPrefix(got, "INFO ") {
		t.Errorf("validate only changed root to %s", got)
	}
	if code, words := f.change(t, false, loggerResource, "1", "root", opSet, "DEBUG"); code != 0 {
		t.Error(code, words)
	}
	if got := f.one(t, loggerResource, "1", "storage"); !strings.HasPrefix(got, "DEBUG ") {
		t.Errorf("storage is at %s, not at root's level", got)
	}
}

func TestAResourceGivenTwice(t *testing.T) {
	t.Parallel()
	f := newConfigs(t)
	req := kmsg.NewPtrAlterConfigsRequest()
	for _, kind := range []int8{topicResource, topicResource, brokerResource} {
		r := kmsg.NewAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(kind), "t"
		if kind == brokerResource {
			r.ResourceName = "1"
		}
		req.Resources = append(req.Resources, r)
	}
	resp, err := f.alter(t.Context(), nil, req)
	if err != nil {
		t.Fatal(err)
	}
	var codes []int16
	for _, r := range resp.(*kmsg.AlterConfigsResponse).Resources {
		codes = append(codes, r.ErrorCode)
	}
	if !slices.Equal(codes, []int16{kerr.InvalidRequest.Code, kerr.InvalidRequest.Code, 0}) {
		t.Errorf("codes %v", codes)
	}
}

func TestAlterReplacesAll(t *testing.T) {
	t.Parallel()
	f := newConfigs(t)
	f.change(t, false, topicResource, "t", "segment.bytes", opSet, "3000000")
	req := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	c := kmsg.NewAlterConfigsRequestResourceConfig()
	value := "7"
	c.Name, c.Value = "retention.ms", &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	if _, err := f.alter(t.Context(), nil, req); err != nil {
		t.Fatal(err)
	}
	if got := f.one(t, topicResource, "t", "segment.bytes"); !strings.HasPrefix(got, "2000000 source=4") {
		t.Error(got)
	}
	if got := f.one(t, topicResource, "t", "retention.ms"); !strings.HasPrefix(got, "7 source=1") {
		t.Error(got)
	}
}

func TestListConfigResources(t *testing.T) {
	t.Parallel()
	f := newConfigs(t)
	f.change(t, false, clientMetricsResource, "m", "interval.ms", opSet, "1000")
	f.change(t, false, groupResource, "g", "consumer.session.timeout.ms", opSet, "50000")
	names := func(version int16, kinds ...int8) string {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.Version, req.ResourceTypes = version, kinds
		resp, err := f.list(t.Context(), nil, req)
		if err != nil {
			t.Fatal(err)
		}
		r := resp.(*kmsg.ListConfigResourcesResponse)
		if r.ErrorCode != 0 {
			return kerr.TypedErrorForCode(r.ErrorCode).Message
		}
		var out []string
		for _, c := range r.ConfigResources {
			out = append(out, fmt.Sprintf("%d:%s", c.Type, c.Name))
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ got, want string }{
		{names(0), "16:m"},
		{names(1), "32:g 16:m 8:1 4:1 2:t"},
		{names(1, groupResource), "32:g"},
		{names(1, 64), "UNSUPPORTED_VERSION"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

// A short request must not make a long answer again and again.
func TestDescribeIsBounded(t *testing.T) {
	t.Parallel()
	f := newConfigs(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	for i := range 3 * maxDescribedByName {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, "1"
		if i%3 != 0 {
			r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeGroupConfig, fmt.Sprint("g", i)
			r.ConfigNames = []string{"consumer.session.timeout.ms"}
		}
		req.Resources = append(req.Resources, r)
	}
	resp, err := f.describe(t.Context(), nil, req)
	if err != nil {
		t.Fatal(err)
	}
	brokers, groups := 0, 0
	for _, r := range resp.(*kmsg.DescribeConfigsResponse).Resources {
		if int8(r.ResourceType) == brokerResource {
			brokers++
		} else if r.ErrorCode == 0 {
			groups++
		}
	}
	if brokers != 1 || groups != maxDescribedByName {
		t.Errorf("%d brokers, %d groups", brokers, groups)
	}
}
