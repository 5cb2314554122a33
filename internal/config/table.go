// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"
)

// Table is one resource's properties, found by name and listed in order.
type Table struct {
	what   string // "broker", "topic", …, as messages name it
	rows   []Property
	byName map[string]*Property
}

func newTable(what string, rows []Property) *Table {
	t := &Table{what: what, rows: rows, byName: make(map[string]*Property, len(rows))}
	for i := range rows {
		t.byName[rows[i].Name] = &rows[i]
	}
	return t
}

// The four tables. They are never changed.
var (
	Brokers       = newTable("broker", brokerTable)
	Topics        = newTable("topic", topicTable)
	Groups        = newTable("group", groupTable)
	ClientMetrics = newTable("client metrics", clientMetricsTable)
)

// All lists the properties in the order of their names.
func (t *Table) All() []Property { return t.rows }

// Lookup finds a property; nil when there is none of that name.
func (t *Table) Lookup(name string) *Property { return t.byName[name] }

// Names lists the names in order.
func (t *Table) Names() []string {
	names := make([]string, len(t.rows))
	for i := range t.rows {
		names[i] = t.rows[i].Name
	}
	return names
}

// Unknown is the word about a name that is not in the table.
func (t *Table) Unknown(name string) string {
	if near := Nearest(name, t.Names()); near != "" {
		return fmt.Sprintf("Unknown %s config name: %s (did you mean %s?)", t.what, name, near)
	}
	return fmt.Sprintf("Unknown %s config name: %s", t.what, name)
}

// brokerSynonyms are the names under which one broker value may be given, in
// order of precedence; most have only their own.
func brokerSynonyms(name string) []string {
	for _, family := range synonymFamilies {
		if slices.Contains(family, name) {
			// log.flush.scheduler.interval.ms is a property of its own that
			// also stands in for log.flush.interval.ms.
			if name == "log.flush.scheduler.interval.ms" {
				break
			}
			return family
		}
	}
	if base, ok := listenerOverride(name); ok {
		return []string{name, base}
	}
	return []string{name}
}

var synonymFamilies = [][]string{
	{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
	{"log.roll.ms", "log.roll.hours"},
	{"log.roll.jitter.ms", "log.roll.jitter.hours"},
	{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"},
}

// listenerOverride takes listener.name.<listener>.<property> apart.
func listenerOverride(name string) (property string, ok bool) {
	rest, found := strings.CutPrefix(name, "listener.name.")
	if !found {
		return "", false
	}
	listener, property, found := strings.Cut(rest, ".")
	return property, found && listener != "" && property != ""
}

// removed are names that Kafka 4 no longer knows, and what became of them.
var removed = map[string]string{
	"inter.broker.protocol.version":           "it was removed in Kafka 4.0; the feature metadata.version has taken its place",
	"log.message.format.version":              "it was removed in Kafka 4.0; all records are stored in format 2",
	"log.message.timestamp.difference.max.ms": "it was removed in Kafka 4.0; use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms",
	"log.message.downconversion.enable":       "it was removed in Kafka 4.0",
	"control.plane.listener.name":             "it was removed in Kafka 4.0; controllers have listeners of their own",
	"broker.id.generation.enable":             "it was removed in Kafka 4.0; set node.id",
	"reserved.broker.max.id":                  "it was removed in Kafka 4.0; set node.id",
	"delegation.token.master.key":             "it was removed in Kafka 4.0; use delegation.token.secret.key",
	"offsets.commit.required.acks":            "it was removed in Kafka 4.0",
	"leader.imbalance.per.broker.percentage":  "it was removed in Kafka 4.0",
	"group.coordinator.new.enable":            "it was removed in Kafka 4.0",
	"controlled.shutdown.max.retries":         "it was removed in Kafka 4.0",
	"controlled.shutdown.retry.backoff.ms":    "it was removed in Kafka 4.0",
}

// outside are settings that Kafka reads without listing them among its
// properties. All belong to features that are not built.
func outside(name string) (feature string, ok bool) {
	switch {
	case name == "super.users", name == "allow.everyone.if.no.acl.found":
		return "the authorizer", true
	case strings.HasPrefix(name, "rlmm.config."), strings.HasPrefix(name, "rsm.config."):
		return "tiered storage", true
	case name == "zookeeper.connect":
		return "ZooKeeper", true
	case strings.HasPrefix(name, "password.encoder."):
		return "ZooKeeper", true
	}
	return "", false
}
