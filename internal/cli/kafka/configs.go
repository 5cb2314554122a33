// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

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

// request goes to the controller that was named, or wherever it belongs.
func (t *configsTool) request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if t.direct != nil {
		return t.direct.RetriableRequest(ctx, req)
	}
	return t.cl.Request(ctx, req)
}
