// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (t *configsTool) doAlter(ctx context.Context) error {
	add, err := t.toAdd()
	if err != nil {
		return err
	}
	remove := t.toRemove()
	head := t.entities[0]
	switch head.kind {
	case "topics", "brokers", "client-metrics", "groups", "broker-loggers":
		if err := t.alterResource(ctx, head, add, remove); err != nil {
			return err
		}
	default:
		if err := t.alterQuota(ctx, add, remove); err != nil {
			return err
		}
	}
	if head.name != "" {
		t.env.println("Completed updating config for " + strings.TrimSuffix(head.kind, "s") + " " + head.name + ".")
	} else {
		t.env.println("Completed updating default config for " + head.kind + " in the cluster.")
	}
	return nil
}

func (t *configsTool) alterResource(ctx context.Context, x entity, add map[string]string, remove []string) error {
	have, err := t.configsOf(ctx, x, false)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, c := range have {
		known[c.Name] = true
	}
	var unknown []string
	for _, k := range remove {
		if !known[k] {
			unknown = append(unknown, k)
		}
	}
	what := "Invalid config(s)"
	if x.kind == "broker-loggers" {
		what = "Invalid broker logger(s)"
		for k := range add {
			if !known[k] {
				unknown = append(unknown, k)
			}
		}
	}
	if len(unknown) > 0 {
		return failf("%s: %s", what, strings.Join(unknown, ","))
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = resources[x.kind].kind, x.name
	for _, k := range remove {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op = k, kmsg.IncrementalAlterConfigOpDelete
		rr.Configs = append(rr.Configs, c)
	}
	for _, k := range slices.Sorted(maps.Keys(add)) {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = k, kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr(add[k])
		rr.Configs = append(rr.Configs, c)
	}
	req.Resources = append(req.Resources, rr)
	raw, err := t.request(ctx, req)
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
