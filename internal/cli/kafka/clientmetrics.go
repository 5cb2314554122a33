// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func runClientMetrics(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Shows and changes which metrics brokers ask of their clients.")
	server := o.text("bootstrap-server", "server to connect to", "REQUIRED: host:port of a broker, or several with commas between.")
	config := o.text("command-config", "command config property file", "File of client properties.")
	alter := o.flag("alter", "Change a subscription.")
	remove := o.flag("delete", "Remove a subscription.")
	describe := o.flag("describe", "Show subscriptions.")
	list := o.flag("list", "List subscriptions.")
	name := o.text("name", "name", "The subscription.")
	generate := o.flag("generate-name", "With --alter: make up a name.")
	interval := o.text("interval", "push interval", "How often clients send, in milliseconds; empty for the default.")
	match := o.text("match", "k1=v1,k2=v2", "Which clients: client_id, client_instance_id, client_software_name, client_software_version, client_source_address, client_source_port.")
	metrics := o.text("metrics", "m1,m2", "Prefixes of the metrics asked for.")
	if err := o.start(e, args); err != nil {
		return err
	}
	n := 0
	for _, s := range []*option{alter, remove, describe, list} {
		if s.has {
			n++
		}
	}
	if n != 1 {
		return o.usage("Command must include exactly one action: --alter, --delete, --describe or --list.")
	}
	if !server.has {
		return failf("--bootstrap-server must be specified.")
	}
	for _, r := range [][]*option{{remove, generate, interval, match, metrics}, {describe, generate, interval, match, metrics}, {list, name, generate, interval, match, metrics}} {
		if err := o.invalid(r[0], r[1:]...); err != nil {
			return err
		}
	}
	if alter.has {
		if name.has == generate.has {
			return failf("One of --name or --generate-name must be specified with --alter.")
		}
		if v := interval.value(); v != "" {
			if _, err := strconv.ParseInt(v, 10, 32); err != nil {
				return failf("Invalid interval value. Enter an integer, or leave empty to reset.")
			}
		}
	}
	if remove.has && !name.has {
		return failf("A client metrics resource name must be specified with --delete.")
	}
	conf, err := loadProps(config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = server.value()
	adm, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	t := &configsTool{env: e, adm: adm, cl: cl}
	m := metricsTool{t, cl}
	switch {
	case alter.has:
		id := name.value()
		if generate.has {
			id = uuidText(randomUUID())
		}
		set := map[string]string{}
		for key, s := range map[string]*option{"interval.ms": interval, "metrics": metrics, "match": match} {
			if s.has {
				set[key] = strings.Join(s.values, ",")
			}
		}
		if err = m.change(ctx, id, set); err == nil {
			e.println("Altered client metrics config for " + id + ".")
		}
	case remove.has:
		var have []kmsg.DescribeConfigsResponseResourceConfig
		x := entity{kind: "client-metrics", name: name.value()}
		if have, err = t.configsOf(ctx, x, true); err == nil {
			set := map[string]string{}
			for _, c := range have {
				set[c.Name] = ""
			}
			if err = m.change(ctx, x.name, set); err == nil {
				e.println("Deleted client metrics config for " + x.name + ".")
			}
		}
	default:
		var names []string
		if names, err = m.names(ctx); err != nil {
			break
		}
		if list.has {
			e.println(strings.Join(names, "\n"))
			break
		}
		if name.has {
			found := false
			for _, n := range names {
				found = found || n == name.value()
			}
			if !found {
				e.println("The client metric resource " + name.value() + " doesn't exist and doesn't have dynamic config.")
				break
			}
			names = []string{name.value()}
		}
		for _, n := range names {
			var have []kmsg.DescribeConfigsResponseResourceConfig
			if have, err = m.configs(ctx, n); err != nil {
				break
			}
			e.println("Client metrics configs for " + n + " are:")
			for _, c := range have {
				e.println("  " + c.Name + "=" + orNull(c.Value))
			}
		}
	}
	if quit := (*exit)(nil); err == nil || errors.As(err, &quit) {
		return err
	}
	e.println("Error while executing client metrics command : " + timedOut(err, "describeConfigs").Error())
	return &exit{status: 1}
}

type metricsTool struct {
	*configsTool
	cl *kgo.Client
}

func (m metricsTool) names(ctx context.Context) ([]string, error) {
	req := kmsg.NewPtrListConfigResourcesRequest()
	req.ResourceTypes = []int8{int8(kmsg.ConfigResourceTypeClientMetrics)}
	resp, err := req.RequestWith(ctx, m.cl)
	if err != nil {
		return nil, err
	}
	if err := codeError(resp.ErrorCode, nil); err != nil {
		return nil, err
	}
	var out []string
	for _, r := range resp.ConfigResources {
		out = append(out, r.Name)
	}
	return out, nil
}

// configs are a subscription's settings in the order of the broker's answer.
func (m metricsTool) configs(ctx context.Context, name string) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeClientMetrics, name
	req.Resources = append(req.Resources, r)
	raw, err := m.cl.Request(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, res := range raw.(*kmsg.DescribeConfigsResponse).Resources {
		return res.Configs, codeError(res.ErrorCode, res.ErrorMessage)
	}
	return nil, nil
}

// change sets what has a value and deletes what has none.
func (m metricsTool) change(ctx context.Context, name string, set map[string]string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeClientMetrics, name
	for k, v := range set {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op = k, kmsg.IncrementalAlterConfigOpDelete
		if v != "" {
			c.Op, c.Value = kmsg.IncrementalAlterConfigOpSet, &v
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	raw, err := m.cl.Request(ctx, req)
	if err != nil {
		return err
	}
	for _, res := range raw.(*kmsg.IncrementalAlterConfigsResponse).Resources {
		if err := codeError(res.ErrorCode, res.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}
