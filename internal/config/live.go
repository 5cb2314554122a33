// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Live publishes the settings in force and tells subscribers when dynamic
// values change. Reading is one atomic load.
type Live struct {
	current atomic.Pointer[Settings]

	// mu serialises Apply and Subscribe, so that every subscriber sees the
	// changes one after the other and none twice. It is held while
	// subscribers run: they must not call Apply or Subscribe.
	mu          sync.Mutex
	subscribers []func(old, now *Broker)
}

// NewLive starts from loaded settings.
func NewLive(s *Settings) *Live {
	l := &Live{}
	l.current.Store(s)
	return l
}

// Settings are those in force.
func (l *Live) Settings() *Settings { return l.current.Load() }

// Broker is the typed view in force.
func (l *Live) Broker() *Broker { return l.current.Load().broker }

// Subscribe asks for a call after each change. The function runs on the
// goroutine that applies the change and must be quick.
func (l *Live) Subscribe(changed func(old, now *Broker)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribers = append(l.subscribers, changed)
}

// Apply replaces the dynamic values, cluster defaults and this broker's own,
// as the metadata image now has them. Values that cannot be used are left out
// and returned as errors to be logged.
func (l *Live) Apply(clusterDefault, thisBroker map[string]string) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.current.Load()
	if same(old.layers[FromClusterDefault], clusterDefault) && same(old.layers[FromThisBroker], thisBroker) {
		return nil
	}
	now, problems := old.WithDynamic(clusterDefault, thisBroker)
	if now == old {
		return problems
	}
	l.current.Store(now)
	for _, changed := range l.subscribers {
		changed(old.broker, now.broker)
	}
	return problems
}

func same(layer map[string]entry, values map[string]string) bool {
	if len(layer) != len(values) {
		return false
	}
	for k, v := range values {
		if e, ok := layer[k]; !ok || e.value != v {
			return false
		}
	}
	return true
}

// dynamicListener are the properties that may be changed for one listener.
var dynamicListener = []string{"max.connections", "max.connection.creation.rate", "num.network.threads"}

// ValidateBroker checks dynamic broker configs as they would stand after a
// change: one broker's own (own) or the cluster's defaults. It is to be asked
// where the broker is, because only it knows its static values.
func (s *Settings) ValidateBroker(values map[string]string, own bool) error {
	var fixed, perBroker []string
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		base := name
		property, forListener := listenerOverride(name)
		if forListener {
			base = property
		}
		p := Brokers.Lookup(base)
		if p == nil {
			continue // Kafka stores what it does not know, for plug-ins
		}
		switch {
		case p.Mode == ReadOnly, forListener && p.Mode == ClusterWide && !slices.Contains(dynamicListener, base):
			fixed = append(fixed, name)
			continue
		case !own && p.Mode == PerBroker && !forListener:
			perBroker = append(perBroker, name)
			continue
		}
		if err := p.check(values[name]); err != nil {
			problems = append(problems, renamed(err, name))
		}
	}
	if len(fixed) > 0 {
		problems = append([]error{errors.New(notDynamic + strings.Join(fixed, ", "))}, problems...)
	}
	if len(perBroker) > 0 {
		problems = append(problems, fmt.Errorf("Cannot update these configs at default cluster level, broker id must be specified: %s", strings.Join(perBroker, ", ")))
	}
	if len(problems) == 0 {
		clusterDefault, thisBroker := plainValues(s.layers[FromClusterDefault]), values
		if !own {
			clusterDefault, thisBroker = values, plainValues(s.layers[FromThisBroker])
		}
		next := *s
		next.layers[FromClusterDefault] = entries(clusterDefault)
		next.layers[FromThisBroker] = entries(thisBroker)
		view, err := next.view()
		if err != nil {
			problems = append(problems, err)
		} else if err := s.reconfigurable(view); err != nil {
			problems = append(problems, err)
		}
	}
	return invalid(problems)
}

// notDynamic begins as Kafka's message does, which tools look for.
const notDynamic = "Cannot update these configs dynamically: "

// reconfigurable refuses changes that a running node cannot make: listeners
// come and go, but not those that are advertised, and none moves.
func (s *Settings) reconfigurable(next *Broker) error {
	named := map[string]Listener{}
	for _, l := range next.Listeners {
		named[l.Name] = l
	}
	for _, old := range s.broker.Listeners {
		if l, ok := named[old.Name]; ok && l.Endpoint != old.Endpoint {
			return fmt.Errorf("listener %s cannot move while the broker runs: it is at %s", old.Name, old.Endpoint)
		}
	}
	for _, e := range s.broker.Advertised {
		if _, ok := named[e.Name]; !ok {
			return fmt.Errorf("advertised listener %s must stay in listeners while the broker runs", e.Name)
		}
	}
	return nil
}

func plainValues(layer map[string]entry) map[string]string {
	out := make(map[string]string, len(layer))
	for k, e := range layer {
		out[k] = e.value
	}
	return out
}

func entries(values map[string]string) map[string]entry {
	out := make(map[string]entry, len(values))
	for k, v := range values {
		out[k] = entry{value: v}
	}
	return out
}
