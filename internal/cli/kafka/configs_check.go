// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

// check applies Kafka's rules and fills entities.
func (t *configsTool) check(args []string) error {
	o := t.o
	if t.alter.has == t.describe.has {
		return o.usage("Command must include exactly one action: --describe, --alter")
	}
	if err := o.invalid(t.describe, t.alter, t.add, t.remove); err != nil {
		return err
	}
	var kinds, names []string
	kinds = append(kinds, t.kind.values...)
	// Names and defaults keep the order in which they were given.
	next := 0
	for _, a := range args {
		switch word, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "="); {
		case !strings.HasPrefix(a, "-"):
		case word == "entity-name" && next < len(t.name.values):
			names = append(names, t.name.values[next])
			next++
		case word == "entity-default":
			names = append(names, "")
		}
	}
	specific := false
	for _, f := range t.flags {
		if f.o.has {
			kinds, names, specific = append(kinds, f.kind), append(names, f.o.value()), true
		}
	}
	for _, f := range t.defaults {
		if f.o.has {
			kinds, names, specific = append(kinds, f.kind), append(names, ""), true
		}
	}
	seen := map[string]bool{}
	for _, k := range kinds {
		if seen[k] {
			return failf("Duplicate entity type(s) specified: %s", k)
		}
		seen[k] = true
	}
	if !t.server.has && !t.controller.has {
		return failf("Either --bootstrap-server or --bootstrap-controller must be specified.")
	}
	for _, k := range kinds {
		if !slices.Contains(configKinds, k) {
			return failf("Invalid entity type %s, the entity type must be one of %s with a --bootstrap-server or --bootstrap-controller argument", k, strings.Join(configKinds, ", "))
		}
	}
	if len(kinds) == 0 {
		return failf("At least one entity type must be specified")
	}
	if len(kinds) > 1 && (len(kinds) != 2 || !seen["users"] || !seen["clients"]) {
		return failf("Only 'users' and 'clients' entity types may be specified together")
	}
	if specific && (t.name.has || t.kind.has || t.byDefault.has) {
		return failf("--entity-{type,name,default} should not be used in conjunction with specific entity flags")
	}
	if t.server.has && t.controller.has {
		return failf("Only one of --bootstrap-server or --bootstrap-controller can be specified")
	}
	hasName := slices.ContainsFunc(names, func(n string) bool { return n != "" })
	hasDefault := slices.Contains(names, "")
	for _, n := range names {
		if n == "" {
			continue
		}
		if seen["brokers"] || seen["broker-loggers"] {
			if _, err := strconv.ParseInt(n, 10, 32); err != nil {
				return failf("The entity name for %s must be a valid integer broker id, but it is: %s", kinds[0], n)
			}
		}
		if seen["ips"] {
			if _, err := net.LookupHost(n); err != nil {
				return failf("The entity name for %s must be a valid IP or resolvable host, but it is: %s", kinds[0], n)
			}
		}
	}
	quota := seen["users"] || seen["clients"] || seen["ips"]
	if t.describe.has {
		if !quota && !seen["brokers"] && t.byDefault.has {
			return failf("--entity-default must not be specified with --describe of %s", strings.Join(kinds, ","))
		}
		if seen["broker-loggers"] && !hasName {
			return failf("An entity name must be specified with --describe of %s", strings.Join(kinds, ","))
		}
	}
	if t.alter.has {
		switch {
		case (quota || seen["brokers"]) && !hasName && !hasDefault:
			return failf("An entity-name or default entity must be specified with --alter of users, clients, brokers or ips")
		case !quota && !seen["brokers"] && !hasName:
			return failf("An entity name must be specified with --alter of %s", strings.Join(kinds, ","))
		case t.add.has && t.addFile.has:
			return failf("Only one of --add-config or --add-config-file must be specified")
		case !t.add.has && !t.addFile.has && !t.remove.has:
			return failf("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter")
		}
	}
	if len(names) > len(kinds) {
		return failf("More entity names specified than entity types")
	}
	for i, k := range kinds {
		x := entity{kind: k}
		if i < len(names) {
			x.name, x.hasName = names[i], true
		}
		t.entities = append(t.entities, x)
	}
	return nil
}
