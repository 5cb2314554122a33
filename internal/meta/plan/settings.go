// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// IncrementalAlterConfigs decides on changes of single settings. Each resource
// stands for itself: one bad key refuses all of its changes.
func IncrementalAlterConfigs(img *meta.Image, req *kmsg.IncrementalAlterConfigsRequest, env Env) ([]meta.Record, *kmsg.IncrementalAlterConfigsResponse) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	type res = kmsg.IncrementalAlterConfigsRequestResource
	records := alterEach(req.Resources, func(r *res) string { return resourceKey(r.ResourceType, r.ResourceName) },
		func(r *res) ([]meta.Record, error) { return alterSome(img, r, env.Schema) },
		func(r *res, err error) {
			a := kmsg.NewIncrementalAlterConfigsResponseResource()
			a.ResourceType, a.ResourceName = r.ResourceType, r.ResourceName
			a.ErrorCode, a.ErrorMessage = answer(err)
			resp.Resources = append(resp.Resources, a)
		})
	if req.ValidateOnly {
		records = nil
	}
	return append(records, unseated(img, records, env)...), resp
}

// alterEach has each resource altered that a request names once, as far as the
// records fit one write, and tells what became of it.
func alterEach[R any](resources []R, key func(*R) string, alter func(*R) ([]meta.Record, error), tell func(*R, error)) (records []meta.Record) {
	for _, n := range uniqueNames(resources, func(r R) string { return key(&r) }) {
		r := &resources[n.at]
		err := error(fail(kerr.InvalidRequest, "Each resource must appear at most once."))
		if n.count == 1 {
			var made []meta.Record
			if made, err = alter(r); len(records)+len(made) > maxRecords {
				made, err = nil, fail(kerr.PolicyViolation, "Unable to perform excessively large batch operation.")
			}
			records = append(records, made...)
		}
		tell(r, err)
	}
	return records
}

func resourceKey(t kmsg.ConfigResourceType, name string) string {
	return strconv.Itoa(int(t)) + "/" + name
}

func alterSome(img *meta.Image, r *kmsg.IncrementalAlterConfigsRequestResource, schema Schema) ([]meta.Record, error) {
	resource, err := knownResource(int8(r.ResourceType), r.ResourceName)
	if err != nil {
		return nil, err
	}
	var nulls []string
	seen := map[string]bool{}
	for _, c := range r.Configs {
		if seen[c.Name] {
			return nil, fail(kerr.InvalidRequest, "Error due to duplicate config keys")
		}
		seen[c.Name] = true
		if c.Value == nil && c.Op != kmsg.IncrementalAlterConfigOpDelete {
			nulls = append(nulls, c.Name)
		}
	}
	if len(nulls) > 0 {
		return nil, fail(kerr.InvalidRequest, "Null value not supported for : %s", strings.Join(nulls, ", "))
	}
	old := img.Settings(resource.Type, resource.Name)
	next := map[string]*string{}
	for _, c := range r.Configs {
		if next[c.Name], err = alterOne(resource.Type, old, c, schema); err != nil {
			return nil, err
		}
	}
	return alter(img, resource, old, next, schema)
}

// alterOne gives the value that one operation leads to; nil: not set.
func alterOne(t meta.ResourceType, old meta.Settings, c kmsg.IncrementalAlterConfigsRequestResourceConfig, schema Schema) (*string, error) {
	switch c.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return c.Value, nil
	case kmsg.IncrementalAlterConfigOpDelete:
		return nil, nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
	default:
		return nil, fail(kerr.InvalidRequest, "Unknown operations type %d", c.Op)
	}
	if !schema.IsList(t, c.Name) {
		return nil, fail(kerr.InvalidConfig, "Can't %s to key %s because its type is not LIST.", strings.ToUpper(c.Op.String()), c.Name)
	}
	current, ok := old.Get(c.Name)
	if !ok {
		current, _ = schema.Default(t, c.Name)
	}
	if len(*c.Value) > math.MaxInt16 {
		return nil, tooLong() // before it is gone through
	}
	parts := slices.DeleteFunc(strings.Split(current, ","), func(p string) bool { return p == "" })
	for _, p := range strings.Split(*c.Value, ",") {
		at := slices.Index(parts, p)
		switch {
		case c.Op == kmsg.IncrementalAlterConfigOpAppend && at < 0:
			parts = append(parts, p)
		case c.Op == kmsg.IncrementalAlterConfigOpSubtract && at >= 0:
			parts = slices.Delete(parts, at, at+1)
		}
	}
	v := strings.Join(parts, ",")
	return &v, nil
}

// AlterConfigs decides on the whole settings of resources (the older API): what
// the request does not name is taken away.
func AlterConfigs(img *meta.Image, req *kmsg.AlterConfigsRequest, env Env) ([]meta.Record, *kmsg.AlterConfigsResponse) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	type res = kmsg.AlterConfigsRequestResource
	records := alterEach(req.Resources, func(r *res) string { return resourceKey(r.ResourceType, r.ResourceName) },
		func(r *res) ([]meta.Record, error) { return alterAll(img, r, env.Schema) },
		func(r *res, err error) {
			a := kmsg.NewAlterConfigsResponseResource()
			a.ResourceType, a.ResourceName = r.ResourceType, r.ResourceName
			a.ErrorCode, a.ErrorMessage = answer(err)
			resp.Resources = append(resp.Resources, a)
		})
	if req.ValidateOnly {
		records = nil
	}
	return append(records, unseated(img, records, env)...), resp
}

func alterAll(img *meta.Image, r *kmsg.AlterConfigsRequestResource, schema Schema) ([]meta.Record, error) {
	resource, err := knownResource(int8(r.ResourceType), r.ResourceName)
	if err != nil {
		return nil, err
	}
	next := map[string]*string{}
	var nulls []string
	for _, c := range r.Configs {
		if _, ok := next[c.Name]; ok {
			return nil, fail(kerr.InvalidRequest, "Error due to duplicate config keys")
		}
		if next[c.Name] = c.Value; c.Value == nil {
			nulls = append(nulls, c.Name)
		}
	}
	if len(nulls) > 0 {
		return nil, fail(kerr.InvalidRequest, "Null value not supported for : %s", strings.Join(nulls, ", "))
	}
	old := img.Settings(resource.Type, resource.Name)
	for _, s := range old {
		if _, ok := next[s.Key]; !ok {
			next[s.Key] = nil
		}
	}
	return alter(img, resource, old, next, schema)
}

// alter checks the settings that changes lead to, and that the resource is
// there, and emits what differs. A broker's settings are written even when
// equal: tools rely on that to make a broker read its files again.
func alter(img *meta.Image, r meta.Resource, old meta.Settings, changes map[string]*string, schema Schema) ([]meta.Record, error) {
	all := old.Map()
	var records []meta.Record
	for _, k := range sortedKeys(changes) {
		v := changes[k]
		before, had := old.Get(k)
		if v == nil {
			delete(all, k)
		} else {
			all[k] = *v
		}
		same := v == nil && !had || v != nil && had && *v == before
		if !same || r.Type == meta.BrokerResource {
			records = append(records, meta.ConfigRecord{Resource: r, Key: k, Value: v})
		}
	}
	if err := checkMinISR(r, changes); err != nil {
		return nil, err
	}
	if err := checkSettings(schema, r, all, old.Map()); err != nil {
		return nil, err
	}
	if err := exists(img, r); err != nil {
		return nil, err
	}
	return records, nil
}

// knownResource checks the type and the form of the name.
func knownResource(t int8, name string) (meta.Resource, error) {
	r := meta.Resource{Type: meta.ResourceType(t), Name: name}
	switch r.Type {
	case meta.TopicResource:
		if name == "" {
			return r, fail(kerr.InvalidRequest, "Default topic resources are not allowed.")
		}
		return r, CheckName(name)
	case meta.BrokerResource:
		if name == "" {
			return r, nil
		}
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return r, fail(kerr.InvalidRequest, "Unable to parse broker name as a base 10 number.")
		}
		if id < 0 {
			return r, fail(kerr.InvalidRequest, "Invalid negative broker ID.")
		}
		return r, nil
	case meta.GroupResource:
		if name == "" {
			return r, fail(kerr.InvalidRequest, "Default group resources are not allowed.")
		}
		return r, nil
	case meta.ClientMetricsResource:
		if name == "" {
			return r, fail(kerr.InvalidRequest, "Subscription name can't be empty")
		}
		return r, nil
	}
	return r, fail(kerr.InvalidRequest, "Unknown resource type %d", t)
}

func exists(img *meta.Image, r meta.Resource) error {
	switch r.Type {
	case meta.TopicResource:
		if img.Topic(r.Name) == nil {
			return fail(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", r.Name)
		}
	case meta.BrokerResource:
		if r.Name == "" {
			return nil
		}
		if id, err := strconv.ParseInt(r.Name, 10, 32); err != nil || img.Broker(int32(id)) == nil {
			return fail(kerr.BrokerIDNotRegistered, "No node with id %s found.", r.Name)
		}
	}
	return nil
}

// tooLong refuses the value of a setting.
func tooLong() error {
	return fail(kerr.InvalidConfig, "The configuration value cannot be added because it exceeds the maximum value size of %d bytes.", math.MaxInt16)
}

func checkSettings(schema Schema, r meta.Resource, all, old map[string]string) error {
	for _, k := range sortedKeys(all) {
		if len(all[k]) > math.MaxInt16 {
			return tooLong()
		}
	}
	return settingsError(schema.Validate(r, all, old))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
