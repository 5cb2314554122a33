// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Options says where the static configuration is read from.
type Options struct {
	File      string   // server.properties; "" for none
	Environ   []string // NAME=value, as os.Environ gives them; only GREGOR_* count
	Overrides []string // key=value, later ones win
	// Preset are values an embedding program gives; they stand where the
	// file's values would, beneath file, environment and overrides, and like
	// a file they turn the single-node values off unless SingleNode is set.
	Preset     map[string]string
	SingleNode bool
	Hostname   string // this machine's name; "" asks the system
}

// singleNode is what `gregor server` runs with when no file is given: the
// values of the server.properties that Kafka ships for one node, with our own
// directory, and clients of this machine only.
func singleNode() map[string]entry {
	values := map[string]string{
		"process.roles":                    "broker,controller",
		"node.id":                          "1",
		"listeners":                        "PLAINTEXT://127.0.0.1:9092",
		"log.dirs":                         "./gregor-data",
		"group.initial.rebalance.delay.ms": "0",
		"offsets.topic.replication.factor": "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
	}
	layer := make(map[string]entry, len(values))
	for k, v := range values {
		layer[k] = entry{value: v, where: "no file given"}
	}
	return layer
}

// Load reads all static layers, checks every value and makes the typed view.
// The error names everything that is wrong, not only the first.
func Load(o Options) (*Settings, error) {
	var file []Assignment
	if o.File != "" {
		data, err := os.ReadFile(o.File)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		if file, err = ParseProperties(data); err != nil {
			return nil, fmt.Errorf("read configuration %s: %w", o.File, err)
		}
	}
	return o.settle(file)
}

// settle makes settings of the file's assignments and the other layers.
func (o Options) settle(file []Assignment) (*Settings, error) {
	s := &Settings{hostname: o.Hostname}
	if s.hostname == "" {
		if name, err := os.Hostname(); err == nil {
			s.hostname = name
		} else {
			s.hostname = "localhost"
		}
	}
	if o.SingleNode || o.File == "" && len(o.Preset) == 0 {
		s.layers[FromShipped] = singleNode()
	}
	s.layers[FromFile] = map[string]entry{}
	for k, v := range o.Preset {
		s.layers[FromFile][k] = entry{value: v, where: "program"}
	}
	lines := map[string]int{}
	for _, a := range file {
		if before, twice := lines[a.Key]; twice {
			s.warnings = append(s.warnings, fmt.Sprintf("%s: %s is set on line %d and again on line %d; the last counts", o.File, a.Key, before, a.Line))
		}
		lines[a.Key] = a.Line
		s.layers[FromFile][a.Key] = entry{value: a.Value, where: fmt.Sprintf("%s:%d", o.File, a.Line)}
	}
	var err error
	s.layers[FromEnvironment] = environment(o.Environ)
	if s.layers[FromOverride], err = overrides(o.Overrides); err != nil {
		return nil, err
	}
	if err := s.resolveProviders(); err != nil {
		return nil, err
	}
	s.oneID()
	if err := s.checkStatic(); err != nil {
		return nil, err
	}
	if s.broker, err = s.view(); err != nil {
		return nil, err
	}
	return s, nil
}

// environment turns GREGOR_LOG_DIRS into log.dirs: in what follows the prefix
// `___` is a dash, `__` an underscore and `_` a dot. Gregor's own properties
// may leave out their first word: GREGOR_DURABLE is gregor.durable.
func environment(environ []string) map[string]entry {
	layer := map[string]entry{}
	for _, line := range environ {
		variable, value, _ := strings.Cut(line, "=")
		rest, ours := strings.CutPrefix(variable, "GREGOR_")
		if !ours || rest == "" {
			continue
		}
		name := environmentName.Replace(strings.ToLower(rest))
		if Brokers.Lookup(name) == nil && Brokers.Lookup("gregor."+name) != nil {
			name = "gregor." + name
		}
		layer[name] = entry{value: value, where: variable}
	}
	return layer
}

var environmentName = strings.NewReplacer("___", "-", "__", "_", "_", ".")

func overrides(pairs []string) (map[string]entry, error) {
	layer := map[string]entry{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("--override %q: want key=value", pair)
		}
		layer[name] = entry{value: value, where: "--override"}
	}
	return layer, nil
}

// checkStatic looks at every name and value of the static layers, in order.
func (s *Settings) checkStatic() error {
	var problems []error
	known := Brokers.Names()
	for src := FromShipped; src <= FromOverride; src++ {
		layer := s.layers[src]
		for _, name := range slices.Sorted(maps.Keys(layer)) {
			e := layer[name]
			base := name
			if property, ok := listenerOverride(name); ok {
				base = property
			}
			p := Brokers.Lookup(base)
			switch {
			case p != nil:
				if err := p.check(e.value); err != nil {
					problems = append(problems, s.where(e, src, renamed(err, name)))
				} else if p.Standing == NoEffect && src > FromShipped && p.Canonical(e.value) != p.Default {
					s.warnings = append(s.warnings, fmt.Sprintf("%s=%s (%s) has no effect in Gregor", name, e.value, e.where))
				}
			case removed[name] != "":
				s.warnings = append(s.warnings, fmt.Sprintf("%s (%s) is ignored: %s", name, e.where, removed[name]))
			case strings.HasPrefix(name, "config.providers."):
			default:
				if feature, ok := outside(name); ok {
					problems = append(problems, s.where(e, src, &ValueError{
						Name: name, Value: e.value, Reason: "it belongs to " + feature + ", which Gregor does not have; remove the setting",
					}))
					continue
				}
				word := fmt.Sprintf("%s (%s) is not known and is ignored", name, e.where)
				if near := Nearest(name, known); near != "" {
					word += "; did you mean " + near + "?"
				}
				s.warnings = append(s.warnings, word)
			}
		}
	}
	return errors.Join(problems...)
}

// renamed gives an error about a base property the name it was written under.
func renamed(err error, name string) error {
	var v *ValueError
	if errors.As(err, &v) {
		v.Name = name
	}
	return err
}

func (s *Settings) where(e entry, src Source, err error) error {
	if src == FromShipped || e.where == "" {
		return err
	}
	return fmt.Errorf("%s: %w", e.where, err)
}
