// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/meta"
)

// DescribeConfigs, key 32, versions 1-4.
//
// Behaviours: null keys ask for all; a value's source and its synonyms come in
// order of precedence, dynamic before static before default; sensitive values
// are null, and so are values whose type is not known; internal properties
// show only when set. A broker answers for itself and, with an empty name, for
// the dynamic defaults of the cluster. Names that nobody defined are left out.
//
//	v1 synonyms (KIP-226)   v2 same as 1   v3 types and documentation (KIP-569)
//	v4 flexible (KIP-482)
//
// AlterConfigs, key 33, versions 0-2 (deprecated by KIP-339).
//
// Behaviours: replaces all configs of a resource; not for broker loggers.
//
//	v1 same as 0   v2 flexible
//
// IncrementalAlterConfigs, key 44, versions 0-1.
//
// Behaviours: SET, DELETE, APPEND and SUBTRACT, the last two for lists only;
// a resource or a key given twice is refused; each resource stands for itself.
// Broker loggers (KIP-412) are changed here and now and not kept.
//
//	v0 KIP-339   v1 flexible
//
// ListConfigResources, key 74, versions 0-1.
//
//	v0 ListClientMetricsResources (KIP-714, KIP-1000)
//	v1 any type of resource, with its new name (KIP-1142)

// resource types, as they travel.
const (
	topicResource         = int8(kmsg.ConfigResourceTypeTopic)
	brokerResource        = int8(kmsg.ConfigResourceTypeBroker)
	loggerResource        = int8(kmsg.ConfigResourceTypeBrokerLogger)
	clientMetricsResource = int8(kmsg.ConfigResourceTypeClientMetrics)
	groupResource         = int8(kmsg.ConfigResourceTypeGroupConfig)
)

// maxDescribedByName bounds the groups and subscriptions of one
// DescribeConfigs: any name is answered with all its settings, so a short
// request could ask for gigabytes. Tools ask for one.
const maxDescribedByName = 10_000

// Loggers are this broker's loggers and their levels, by name.
type Loggers interface {
	Each(func(name, level string))
	Known(name string) bool
	ValidLevels() []string
	Set(name, level string) bool
	Unset(name string) bool
}

// Configs is the family of configs.
type Configs struct {
	Live       *config.Live
	Image      func() *meta.Image
	Controller Controller
	Loggers    Loggers
}

// Routes are the family's rows.
func (f *Configs) Routes() []Route {
	return []Route{
		On(kmsg.DescribeConfigs, 1, 4, f.describe),
		On(kmsg.AlterConfigs, 0, 2, f.alter),
		On(kmsg.IncrementalAlterConfigs, 0, 1, f.incremental),
		On(kmsg.ListConfigResources, 0, 1, f.list),
	}
}

// refusal is a Kafka error with words.
type refusal struct {
	kind    *kerr.Error
	message string
}

func (r *refusal) Error() string { return r.kind.Message + ": " + r.message }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind *kerr.Error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

// codeAndWords splits an error into what a response carries.
func codeAndWords(err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	var r *refusal
	if errors.As(err, &r) {
		return r.kind.Code, &r.message
	}
	var k *kerr.Error
	if errors.As(err, &k) {
		return k.Code, &k.Description
	}
	words := err.Error()
	return kerr.UnknownServerError.Code, &words
}

func (f *Configs) describe(_ context.Context, _ *Call, req *kmsg.DescribeConfigsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	seen := make(map[string]bool, len(req.Resources))
	byName := 0 // resources that exist because they are asked for
	for i := range req.Resources {
		r := &req.Resources[i]
		// Differs from Kafka: a resource asked for twice is answered once, so
		// that the answer cannot be made thousands of times the request.
		id := resourceID(int8(r.ResourceType), r.ResourceName)
		if seen[id] {
			continue
		}
		seen[id] = true
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		described, err := f.described(int8(r.ResourceType), r.ResourceName)
		if kind := int8(r.ResourceType); kind == groupResource || kind == clientMetricsResource {
			if byName++; byName > maxDescribedByName {
				described, err = nil, refuse(kerr.InvalidRequest, "More than %d groups or subscriptions in one request", maxDescribedByName)
			}
		}
		out.ErrorCode, out.ErrorMessage = codeAndWords(err)
		var wanted map[string]bool // nil: all
		if len(r.ConfigNames) > 0 {
			wanted = make(map[string]bool, len(r.ConfigNames))
			for _, n := range r.ConfigNames {
				wanted[n] = true
			}
		}
		for j := range described {
			if d := &described[j]; wanted == nil || wanted[d.Name] {
				out.Configs = append(out.Configs, describedConfig(d, req))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp, nil
}

func describedConfig(d *config.Described, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.ReadOnly, c.IsSensitive = d.Name, d.ReadOnly, d.Sensitive
	c.Source, c.IsDefault = kmsg.ConfigSource(d.Source), d.Source == config.SourceDefault
	c.ConfigType = kmsg.ConfigType(d.Type)
	if !d.Null {
		c.Value = &d.Value
	}
	if req.IncludeDocumentation && d.Doc != "" {
		c.Documentation = &d.Doc
	}
	if req.IncludeSynonyms {
		for i := range d.Synonyms {
			y := &d.Synonyms[i]
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Source = y.Name, kmsg.ConfigSource(y.Source)
			if !y.Null {
				s.Value = &y.Value
			}
			c.ConfigSynonyms = append(c.ConfigSynonyms, s)
		}
	}
	return c
}

// described lists the configs of one resource.
func (f *Configs) described(kind int8, name string) ([]config.Described, error) {
	settings, img := f.Live.Settings(), f.Image()
	switch kind {
	case topicResource:
		if img.Topic(name) == nil {
			return nil, kerr.UnknownTopicOrPartition
		}
		return settings.DescribeTopic(img.Settings(meta.TopicResource, name).Map()), nil
	case brokerResource:
		if name == "" {
			return settings.DescribeClusterDefault(), nil
		}
		if err := f.thisNode(name, "broker"); err != nil {
			return nil, err
		}
		return settings.DescribeBroker(), nil
	case loggerResource:
		if name == "" {
			return nil, refuse(kerr.InvalidRequest, "Broker id must not be empty")
		}
		if err := f.thisNode(name, "broker"); err != nil {
			return nil, err
		}
		var out []config.Described
		f.Loggers.Each(func(logger, level string) {
			out = append(out, config.Described{Name: logger, Value: level, Source: config.SourceDynamicBrokerLogger})
		})
		return out, nil
	case clientMetricsResource:
		if name == "" {
			return nil, refuse(kerr.InvalidRequest, "Client metrics subscription name must not be empty")
		}
		return settings.DescribeClientMetrics(img.Settings(meta.ClientMetricsResource, name).Map()), nil
	case groupResource:
		if name == "" {
			return nil, refuse(kerr.InvalidRequest, "Group name must not be empty")
		}
		return settings.DescribeGroup(img.Settings(meta.GroupResource, name).Map()), nil
	}
	return nil, refuse(kerr.InvalidRequest, "Unsupported resource type: %d", kind)
}

// thisNode checks that a resource's name is this node's id.
func (f *Configs) thisNode(name, what string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return refuse(kerr.InvalidRequest, "Node id must be an integer, but it is: %s", name)
	}
	if self := f.Live.Broker().NodeID; int32(id) != self {
		return refuse(kerr.InvalidRequest, "Unexpected %s id, expected %d, but received %s", what, self, name)
	}
	return nil
}

func (f *Configs) alter(ctx context.Context, _ *Call, req *kmsg.AlterConfigsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	seen := map[string]int{}
	for i := range req.Resources {
		seen[resourceID(int8(req.Resources[i].ResourceType), req.Resources[i].ResourceName)]++
	}
	forward := *req
	forward.Resources = nil
	refused := make([]error, len(req.Resources))
	for i := range req.Resources {
		r := &req.Resources[i]
		kind := int8(r.ResourceType)
		switch {
		case seen[resourceID(kind, r.ResourceName)] > 1:
			refused[i] = errTwice()
		case kind == brokerResource && r.ResourceName != "":
			refused[i] = f.thisNode(r.ResourceName, "broker")
		case kind != topicResource && kind != brokerResource && kind != clientMetricsResource && kind != groupResource:
			refused[i] = refuse(kerr.InvalidRequest, "Unknown resource type %d", kind)
		}
		if refused[i] == nil {
			forward.Resources = append(forward.Resources, *r)
		}
	}
	done := map[string]kmsg.AlterConfigsResponseResource{}
	if len(forward.Resources) > 0 {
		answer, err := ask[*kmsg.AlterConfigsResponse](ctx, f.Controller, &forward)
		if err != nil {
			return nil, err
		}
		for _, a := range answer.Resources {
			done[resourceID(int8(a.ResourceType), a.ResourceName)] = a
		}
		resp.ThrottleMillis = answer.ThrottleMillis
	}
	for i := range req.Resources {
		r := &req.Resources[i]
		a, ok := done[resourceID(int8(r.ResourceType), r.ResourceName)]
		if refused[i] != nil || !ok {
			a = kmsg.NewAlterConfigsResponseResource()
			a.ResourceType, a.ResourceName = r.ResourceType, r.ResourceName
			a.ErrorCode, a.ErrorMessage = codeAndWords(refused[i])
		}
		resp.Resources = append(resp.Resources, a)
	}
	return resp, nil
}

func (f *Configs) incremental(ctx context.Context, _ *Call, req *kmsg.IncrementalAlterConfigsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	seen := map[string]int{}
	for i := range req.Resources {
		seen[resourceID(int8(req.Resources[i].ResourceType), req.Resources[i].ResourceName)]++
	}
	forward := *req
	forward.Resources = nil
	here := make([]bool, len(req.Resources)) // answered without the controller
	refused := make([]error, len(req.Resources))
	for i := range req.Resources {
		r := &req.Resources[i]
		kind := int8(r.ResourceType)
		switch {
		case seen[resourceID(kind, r.ResourceName)] > 1:
			refused[i] = errTwice()
		case kind == loggerResource:
			here[i] = true
			refused[i] = f.alterLoggers(r, req.ValidateOnly)
		case kind == brokerResource && r.ResourceName != "":
			refused[i] = f.thisNode(r.ResourceName, "broker")
		case kind != topicResource && kind != brokerResource && kind != clientMetricsResource && kind != groupResource:
			refused[i] = refuse(kerr.InvalidRequest, "Unknown resource type %d", kind)
		}
		if refused[i] == nil && !here[i] {
			forward.Resources = append(forward.Resources, *r)
		}
	}
	done := map[string]kmsg.IncrementalAlterConfigsResponseResource{}
	if len(forward.Resources) > 0 {
		answer, err := ask[*kmsg.IncrementalAlterConfigsResponse](ctx, f.Controller, &forward)
		if err != nil {
			return nil, err
		}
		for _, a := range answer.Resources {
			done[resourceID(int8(a.ResourceType), a.ResourceName)] = a
		}
		resp.ThrottleMillis = answer.ThrottleMillis
	}
	for i := range req.Resources {
		r := &req.Resources[i]
		a, ok := done[resourceID(int8(r.ResourceType), r.ResourceName)]
		if refused[i] != nil || !ok {
			a = kmsg.NewIncrementalAlterConfigsResponseResource()
			a.ResourceType, a.ResourceName = r.ResourceType, r.ResourceName
			a.ErrorCode, a.ErrorMessage = codeAndWords(refused[i])
		}
		resp.Resources = append(resp.Resources, a)
	}
	return resp, nil
}

func resourceID(kind int8, name string) string { return strconv.Itoa(int(kind)) + "/" + name }

func errTwice() error { return refuse(kerr.InvalidRequest, "Each resource must appear at most once.") }

// alterLoggers checks all changes of one BROKER_LOGGER resource and then makes
// them, so that none is made when one is wrong.
func (f *Configs) alterLoggers(r *kmsg.IncrementalAlterConfigsRequestResource, validateOnly bool) error {
	if err := f.thisNode(r.ResourceName, "node"); err != nil {
		return err
	}
	for i, c := range r.Configs {
		if slices.ContainsFunc(r.Configs[:i], func(o kmsg.IncrementalAlterConfigsRequestResourceConfig) bool { return o.Name == c.Name }) {
			return refuse(kerr.InvalidRequest, "Error due to duplicate config keys")
		}
		switch c.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			if c.Value == nil {
				return refuse(kerr.InvalidRequest, "Null value not supported for : %s", c.Name)
			}
			if !f.Loggers.Known(c.Name) {
				return refuse(kerr.InvalidConfig, "Logger %s does not exist!", c.Name)
			}
			if valid := f.Loggers.ValidLevels(); !slices.Contains(valid, *c.Value) {
				return refuse(kerr.InvalidConfig, "Cannot set the log level of %s to %s as it is not a supported log level. Valid log levels are %s",
					c.Name, *c.Value, strings.Join(valid, ", "))
			}
		case kmsg.IncrementalAlterConfigOpDelete:
			if !f.Loggers.Known(c.Name) {
				return refuse(kerr.InvalidConfig, "Logger %s does not exist!", c.Name)
			}
			if c.Name == "root" {
				return refuse(kerr.InvalidRequest, "Removing the log level of the root logger is not allowed")
			}
		default:
			return refuse(kerr.InvalidRequest, "%s operation is not allowed for the BROKER_LOGGER resource", c.Op)
		}
	}
	if validateOnly {
		return nil
	}
	for _, c := range r.Configs {
		if c.Op == kmsg.IncrementalAlterConfigOpSet {
			f.Loggers.Set(c.Name, *c.Value)
		} else {
			f.Loggers.Unset(c.Name)
		}
	}
	return nil
}

func (f *Configs) list(_ context.Context, _ *Call, req *kmsg.ListConfigResourcesRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	supported := []int8{clientMetricsResource}
	if req.Version >= 1 {
		supported = []int8{topicResource, brokerResource, loggerResource, clientMetricsResource, groupResource}
	}
	asked := req.ResourceTypes
	if len(asked) == 0 {
		asked = supported
	}
	if slices.ContainsFunc(asked, func(t int8) bool { return !slices.Contains(supported, t) }) {
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return resp, nil
	}
	img := f.Image()
	add := func(kind int8, name string) {
		r := kmsg.NewListConfigResourcesResponseConfigResource()
		r.Name, r.Type = name, kind
		resp.ConfigResources = append(resp.ConfigResources, r)
	}
	for _, kind := range []int8{groupResource, clientMetricsResource} {
		if slices.Contains(asked, kind) {
			for r := range img.Configs() {
				if int8(r.Type) == kind {
					add(kind, r.Name)
				}
			}
		}
	}
	for _, kind := range []int8{loggerResource, brokerResource} {
		if slices.Contains(asked, kind) {
			for b := range img.Brokers() {
				add(kind, strconv.Itoa(int(b.ID)))
			}
		}
	}
	if slices.Contains(asked, topicResource) {
		for t := range img.Topics() {
			add(topicResource, t.Name)
		}
	}
	return resp, nil
}
