// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// configKinds are the entity types in the order of Kafka's messages.
var configKinds = []string{"topics", "clients", "users", "brokers", "broker-loggers", "ips", "client-metrics", "groups"}

// resources are the kinds that DescribeConfigs knows, and the source of what
// was set on one of them by itself.
var resources = map[string]struct {
	kind   kmsg.ConfigResourceType
	source kmsg.ConfigSource
}{
	"topics":         {kmsg.ConfigResourceTypeTopic, kmsg.ConfigSourceDynamicTopicConfig},
	"brokers":        {kmsg.ConfigResourceTypeBroker, kmsg.ConfigSourceDynamicBrokerConfig},
	"broker-loggers": {kmsg.ConfigResourceTypeBrokerLogger, 0},
	"client-metrics": {kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigSourceClientMetricsConfig},
	"groups":         {kmsg.ConfigResourceTypeGroupConfig, kmsg.ConfigSourceGroupConfig},
}

type entity struct {
	kind    string
	name    string
	hasName bool // else all of the kind
}

type configsTool struct {
	o   *options
	env *Env
	adm *kadm.Client
	cl  *kgo.Client
	// direct is the controller to ask by --bootstrap-controller, else nil.
	direct *kgo.Broker

	server, controller, config, alter, describe, all *option
	kind, name, byDefault                            *option
	add, addFile, remove                             *option
	flags, defaults                                  []entityFlag

	entities []entity
}

type entityFlag struct {
	o    *option
	kind string
}

func newConfigsTool(e *Env) *configsTool {
	o := newOptions("Shows and changes configurations of topics, brokers, loggers, clients, users, ips, client metrics and groups.")
	t := &configsTool{o: o, env: e}
	t.server = o.text("bootstrap-server", "server to connect to", "host:port of a broker, or several with commas between.")
	t.controller = o.text("bootstrap-controller", "controller to connect to", "host:port of a controller, or several with commas between.")
	t.config = o.text("command-config", "command config property file", "File of client properties.")
	t.alter = o.flag("alter", "Change configurations.")
	t.describe = o.flag("describe", "Show configurations.")
	t.all = o.flag("all", "With --describe: also what was not set on the entity itself.")
	t.kind = o.text("entity-type", "", "One of "+strings.Join(configKinds, ", ")+".")
	t.name = o.text("entity-name", "", "The entity: a topic, client id, user, broker id, ip, subscription or group.")
	t.byDefault = o.flag("entity-default", "What all clients, users, brokers or ips start from.")
	t.add = o.text("add-config", "", "Configurations to set: k1=v1,k2=[v1,v2]; brackets hold values with commas.")
	t.addFile = o.text("add-config-file", "", "File of configurations to set.")
	t.remove = o.text("delete-config", "", "Names of configurations to remove, with commas between.")
	for _, f := range [][3]string{
		{"topic", "topics", "A topic."}, {"client", "clients", "A client id."}, {"user", "users", "A user."}, {"broker", "brokers", "A broker's id."},
		{"broker-logger", "broker-loggers", "The id of a broker, for its loggers."}, {"ip", "ips", "An ip."},
		{"client-metrics", "client-metrics", "A client metrics subscription."}, {"group", "groups", "A group."},
	} {
		t.flags = append(t.flags, entityFlag{o.text(f[0], "", f[2]), f[1]})
	}
	for _, f := range [][2]string{{"client-defaults", "clients"}, {"user-defaults", "users"}, {"broker-defaults", "brokers"}, {"ip-defaults", "ips"}} {
		t.defaults = append(t.defaults, entityFlag{o.flag(f[0], "What all "+f[1]+" start from."), f[1]})
	}
	return t
}

func runConfigs(ctx context.Context, e *Env, args []string) error {
	t := newConfigsTool(e)
	if err := t.o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := t.o.maybeHelp(e); err != nil {
		return err
	}
	if err := t.check(args); err != nil {
		return err
	}
	conf, err := loadProps(t.config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = t.server.value()
	if t.controller.has {
		conf["bootstrap.servers"] = t.controller.value()
	}
	if t.alter.has && slices.ContainsFunc(t.entities, func(x entity) bool { return !x.hasName }) {
		return failf("An entity name must be specified for every entity type")
	}
	if t.adm, t.cl, err = conf.admin(e); err != nil {
		return err
	}
	defer t.cl.Close()
	if t.controller.has {
		t.direct = t.cl.SeedBrokers()[0]
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if t.alter.has {
		err = t.doAlter(ctx)
	} else {
		err = t.doDescribe(ctx)
	}
	if quit := (*exit)(nil); err == nil || errors.As(err, &quit) {
		return err
	}
	return failf("Error while executing config command with args '%s'\n%s", strings.Join(args, " "), exceptionText(timedOut(err, "describeConfigs")))
}

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

var (
	configKey   = regexp.MustCompile(`^[a-zA-Z0-9._-]*$`)
	brackets    = regexp.MustCompile(`\[?\]?`)
	equalsSpace = regexp.MustCompile(`^(.*?)\s*=\s*(.*)$`)
)

// splitConfigs cuts k=v pairs at commas that are not within brackets.
func splitConfigs(s string) []string {
	var out []string
	depth, from := 0, 0
	for i, r := range s {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		case ',':
			if depth <= 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}

func (t *configsTool) toAdd() (map[string]string, error) {
	out := map[string]string{}
	if t.addFile.has {
		p, err := loadProps(t.addFile.value())
		if err != nil {
			return nil, err
		}
		maps.Copy(out, p)
	}
	if t.add.has {
		for _, kv := range splitConfigs(t.add.value()) {
			m := equalsSpace.FindStringSubmatch(kv)
			if m == nil || strings.Count(strings.TrimPrefix(kv, m[1]), "=") > 1 && !strings.Contains(kv, "[") {
				return nil, failf("requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.")
			}
			out[strings.TrimSpace(m[1])] = strings.TrimSpace(brackets.ReplaceAllString(m[2], ""))
		}
	}
	for k := range out {
		if !configKey.MatchString(k) {
			return nil, failf("Invalid character found for config key: %s", k)
		}
	}
	return out, nil
}

func (t *configsTool) toRemove() (out []string) {
	for _, v := range t.remove.values {
		for _, w := range strings.Split(v, ",") {
			out = append(out, strings.TrimSpace(w))
		}
	}
	return out
}

var scramNames = map[string]int8{"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}

var userQuotas = []string{"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}

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

// request goes to the controller that was named, or wherever it belongs.
func (t *configsTool) request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if t.direct != nil {
		return t.direct.RetriableRequest(ctx, req)
	}
	return t.cl.Request(ctx, req)
}

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

// quotaParts are the components of a quota's entity.
func (t *configsTool) quotaParts() (types []string) {
	for _, x := range t.entities {
		types = append(types, map[string]string{"users": "user", "clients": "client-id", "ips": "ip"}[x.kind])
	}
	return types
}

func (t *configsTool) alterQuota(ctx context.Context, add map[string]string, remove []string) error {
	head := t.entities[0]
	names := append(slices.Sorted(maps.Keys(add)), remove...)
	var quotas, scrams, unknown []string
	for _, n := range names {
		_, isScram := scramNames[n]
		switch {
		case head.kind == "ips" && n == "connection_creation_rate", head.kind != "ips" && slices.Contains(userQuotas, n):
			quotas = append(quotas, n)
		case isScram && head.kind == "users" && len(t.entities) == 1:
			scrams = append(scrams, n)
		default:
			unknown = append(unknown, n)
		}
	}
	if len(unknown) > 0 {
		return failf("Unexpected config names for '%s': %s", head.kind, strings.Join(unknown, ","))
	}
	if len(scrams) > 0 {
		if head.name == "" {
			return failf("The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.")
		}
		if len(quotas) > 0 {
			return failf("Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.")
		}
		return t.alterScram(ctx, head.name, add, remove)
	}
	req := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	for i, kind := range t.quotaParts() {
		p := kmsg.NewAlterClientQuotasRequestEntryEntity()
		p.Type = kind
		if n := t.entities[i].name; n != "" {
			p.Name = &n
		}
		entry.Entity = append(entry.Entity, p)
	}
	for _, k := range slices.Sorted(maps.Keys(add)) {
		f, err := strconv.ParseFloat(add[k], 64)
		if err != nil {
			return failf("Cannot parse quota configuration value for %s: %s", k, add[k])
		}
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Value = k, f
		entry.Ops = append(entry.Ops, op)
	}
	for _, k := range remove {
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Remove = k, true
		entry.Ops = append(entry.Ops, op)
	}
	req.Entries = append(req.Entries, entry)
	raw, err := t.request(ctx, req)
	if err != nil {
		return err
	}
	for _, r := range raw.(*kmsg.AlterClientQuotasResponse).Entries {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

var scramValue = regexp.MustCompile(`^(?:iterations=(-?[0-9]*),)?password=(.*)$`)

func (t *configsTool) alterScram(ctx context.Context, user string, add map[string]string, remove []string) error {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, n := range remove {
		d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
		d.Name, d.Mechanism = user, scramNames[n]
		req.Deletions = append(req.Deletions, d)
	}
	for n, v := range add {
		m := scramValue.FindStringSubmatch(v)
		if m == nil {
			return failf("Invalid credential property %s=%s", n, v)
		}
		rounds := 4096
		if m[1] != "" && m[1] != "-1" {
			rounds, _ = strconv.Atoi(m[1])
		}
		if rounds < 4096 {
			return failf("Iterations %d is less than the minimum 4096 required for %s", rounds, n)
		}
		salt := make([]byte, 24)
		rand.Read(salt)
		var salted []byte
		var err error
		if scramNames[n] == 1 {
			salted, err = pbkdf2.Key(sha256.New, m[2], salt, rounds, 32)
		} else {
			salted, err = pbkdf2.Key(sha512.New, m[2], salt, rounds, 64)
		}
		if err != nil {
			return err
		}
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = user, scramNames[n], int32(rounds), salt, salted
		req.Upsertions = append(req.Upsertions, u)
	}
	raw, err := t.request(ctx, req)
	if err != nil {
		return err
	}
	for _, r := range raw.(*kmsg.AlterUserSCRAMCredentialsResponse).Results {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
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

func (t *configsTool) describeQuotas(ctx context.Context) error {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Strict = true
	var users []string
	scram := true
	for i, kind := range t.quotaParts() {
		c := kmsg.NewDescribeClientQuotasRequestComponent()
		c.EntityType = kind
		switch x := t.entities[i]; {
		case !x.hasName:
			c.MatchType = kmsg.QuotasMatchTypeAny
		case x.name == "":
			c.MatchType, scram = kmsg.QuotasMatchTypeDefault, false
		default:
			c.MatchType, c.Match = kmsg.QuotasMatchTypeExact, &x.name
			users = append(users, x.name)
		}
		scram = scram && kind == "user"
		req.Components = append(req.Components, c)
	}
	raw, err := t.request(ctx, req)
	if err != nil {
		return err
	}
	resp := raw.(*kmsg.DescribeClientQuotasResponse)
	if err := codeError(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return err
	}
	labels := [][2]string{{"user", "user-principal"}, {"client-id", "client-id"}, {"ip", "ip"}}
	for _, entry := range resp.Entries {
		var who, what []string
		for _, l := range labels {
			for _, p := range entry.Entity {
				if p.Type == l[0] && p.Name != nil {
					who = append(who, l[1]+" '"+*p.Name+"'")
				} else if p.Type == l[0] {
					who = append(who, "the default "+l[1])
				}
			}
		}
		for _, v := range entry.Values {
			what = append(what, v.Key+"="+javaFloat(v.Value, 64))
		}
		t.env.println("Quota configs for " + strings.Join(who, ", ") + " are " + strings.Join(what, ", "))
	}
	if !scram {
		return nil
	}
	sr := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	for _, u := range users {
		x := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
		x.Name = u
		sr.Users = append(sr.Users, x)
	}
	raw, err = t.request(ctx, sr)
	if err != nil {
		return err
	}
	sresp := raw.(*kmsg.DescribeUserSCRAMCredentialsResponse)
	if err := codeError(sresp.ErrorCode, sresp.ErrorMessage); err != nil {
		return err
	}
	for _, r := range sresp.Results {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			continue // a user without credentials is no news
		}
		var words []string
		for _, c := range r.CredentialInfos {
			for n, m := range scramNames {
				if m == c.Mechanism {
					words = append(words, fmt.Sprintf("%s=iterations=%d", n, c.Iterations))
				}
			}
		}
		t.env.println("SCRAM credential configs for user-principal '" + r.User + "' are " + strings.Join(words, ", "))
	}
	return nil
}
