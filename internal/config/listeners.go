// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is an address under a listener's name.
type Endpoint struct {
	Name     string // listener name, upper case as Kafka normalises it
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
	Host     string // without the brackets of IPv6; "" means all interfaces
	Port     int
}

// Addr is host:port as net.Listen and net.Dial take it.
func (e Endpoint) Addr() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

func (e Endpoint) String() string { return e.Name + "://" + e.Addr() }

// Listener is one address this node listens on.
type Listener struct {
	Endpoint
	Controller bool // named in controller.listener.names
	// Limits of this listener alone; the broker's own limits hold beside them.
	MaxConnections       int
	MaxConnectionsPerSec int
}

// parseEndpoint takes NAME://host:port apart.
func parseEndpoint(s string, protocols map[string]string) (Endpoint, error) {
	name, address, ok := strings.Cut(s, "://")
	if !ok || name == "" {
		return Endpoint{}, fmt.Errorf("%q is no listener; want name://host:port", s)
	}
	colon := strings.LastIndexByte(address, ':')
	if colon < 0 {
		return Endpoint{}, fmt.Errorf("%q has no port; want name://host:port", s)
	}
	host, port := address[:colon], address[colon+1:]
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return Endpoint{}, fmt.Errorf("%q: %q is no port between 0 and 65535", s, port)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.ContainsRune(host, ':') {
		return Endpoint{}, fmt.Errorf("%q: an IPv6 address stands in brackets", s)
	}
	if strings.ContainsAny(host, " /@") {
		return Endpoint{}, fmt.Errorf("%q: %q is no host name", s, host)
	}
	name = strings.ToUpper(name)
	protocol, ok := protocols[name]
	if !ok {
		return Endpoint{}, fmt.Errorf("%q: no security protocol for listener %s; add it to listener.security.protocol.map", s, name)
	}
	return Endpoint{Name: name, Protocol: protocol, Host: host, Port: n}, nil
}

// protocolMap reads listener.security.protocol.map. Names of controller
// listeners default to PLAINTEXT while the map is at its default.
func (s *Settings) protocolMap(controllers []string) (map[string]string, error) {
	const key = "listener.security.protocol.map"
	e, src, _ := s.raw(key)
	protocols := map[string]string{}
	for _, pair := range SplitList(e.value) {
		name, protocol, ok := strings.Cut(pair, ":")
		name, protocol = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(protocol))
		if !ok || name == "" || !slices.Contains([]string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}, protocol) {
			return nil, &ValueError{key, e.value, fmt.Sprintf("%q is not name:protocol with one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", pair)}
		}
		if _, twice := protocols[name]; twice {
			return nil, &ValueError{key, e.value, "listener " + name + " is mapped twice"}
		}
		protocols[name] = protocol
	}
	if src == FromDefault {
		for _, name := range controllers {
			if _, ok := protocols[name]; !ok {
				protocols[name] = "PLAINTEXT"
			}
		}
	}
	return protocols, nil
}

// addresses fills the view's listeners, what is advertised of them, and the
// listener for brokers among themselves.
func (s *Settings) addresses(b *Broker) error {
	b.ControllerListenerNames = upper(s.list("controller.listener.names"))
	protocols, err := s.protocolMap(b.ControllerListenerNames)
	if err != nil {
		return err
	}
	if err := s.listen(b, protocols); err != nil {
		return err
	}
	if err := s.advertise(b, protocols); err != nil {
		return err
	}
	return s.interBroker(b)
}

func upper(l []string) []string {
	out := make([]string, len(l))
	for i, s := range l {
		out[i] = strings.ToUpper(s)
	}
	return out
}

func (s *Settings) listen(b *Broker, protocols map[string]string) error {
	raw, _, _ := s.raw("listeners")
	wrong := func(why string) error { return &ValueError{"listeners", raw.value, why} }
	for _, item := range s.list("listeners") {
		e, err := parseEndpoint(item, protocols)
		if err != nil {
			return wrong(err.Error())
		}
		if e.Protocol != "PLAINTEXT" {
			return wrong("listener " + e.Name + " speaks " + e.Protocol + ", which is not built yet; only PLAINTEXT is")
		}
		for _, other := range b.Listeners {
			if other.Name == e.Name {
				return wrong("each listener must have a different name, but " + e.Name + " stands twice")
			}
			if other.Port == e.Port && e.Port != 0 && !ipPair(other.Host, e.Host) {
				return wrong("each listener must have a different port, unless exactly one listener has an IPv4 address and the other IPv6 address; " + strconv.Itoa(e.Port) + " stands twice")
			}
		}
		l := Listener{Endpoint: e, Controller: slices.Contains(b.ControllerListenerNames, e.Name)}
		prefix := "listener.name." + strings.ToLower(e.Name) + "."
		if l.MaxConnections, err = s.listenerInt(prefix + "max.connections"); err != nil {
			return err
		}
		if l.MaxConnectionsPerSec, err = s.listenerInt(prefix + "max.connection.creation.rate"); err != nil {
			return err
		}
		b.Listeners = append(b.Listeners, l)
	}
	named := func(name string) bool {
		return slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Name == name })
	}
	if b.IsController {
		for _, name := range b.ControllerListenerNames {
			if !named(name) {
				return &ValueError{"controller.listener.names", strings.Join(b.ControllerListenerNames, ","),
					"must only contain names that appear in listeners when process.roles has controller; " + name + " does not"}
			}
		}
	}
	if b.IsController && !b.IsBroker {
		for _, l := range b.Listeners {
			if !l.Controller {
				return wrong("a node that is only a controller may only listen on controller.listener.names; " + l.Name + " is not among them")
			}
		}
	}
	if b.IsBroker && !b.IsController {
		for _, l := range b.Listeners {
			if l.Controller {
				return wrong("a node that is only a broker must not listen on controller listeners, but " + l.Name + " is one")
			}
		}
	}
	return nil
}

// listenerInt is a limit given for one listener; huge when not given.
func (s *Settings) listenerInt(name string) (int, error) {
	e, _, ok := s.raw(name)
	if !ok {
		return math.MaxInt32, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(e.value))
	if err != nil || n < 0 {
		return 0, &ValueError{name, e.value, "must be a number of at least 0"}
	}
	return n, nil
}

// ipPair reports whether of two literal addresses one is IPv4 and one IPv6.
func ipPair(a, b string) bool {
	x, y := net.ParseIP(a), net.ParseIP(b)
	return x != nil && y != nil && (x.To4() == nil) != (y.To4() == nil)
}

func (s *Settings) advertise(b *Broker, protocols map[string]string) error {
	raw, _, given := s.raw("advertised.listeners")
	wrong := func(why string) error {
		key, value := "advertised.listeners", raw.value
		if !given {
			l, _, _ := s.raw("listeners")
			key, value = "listeners", l.value
		}
		return &ValueError{key, value, why}
	}
	var all []Endpoint
	if given {
		for _, item := range s.list("advertised.listeners") {
			e, err := parseEndpoint(item, protocols)
			if err != nil {
				return wrong(err.Error())
			}
			if slices.ContainsFunc(all, func(o Endpoint) bool { return o.Name == e.Name }) {
				return wrong("each listener must have a different name, but " + e.Name + " stands twice")
			}
			all = append(all, e)
		}
	} else {
		for _, l := range b.Listeners {
			all = append(all, l.Endpoint)
		}
	}
	for _, e := range all {
		if slices.Contains(b.ControllerListenerNames, e.Name) {
			if e.Host == "" || isWildcard(e.Host) {
				e.Host = s.hostname
			}
			b.AdvertisedControllers = append(b.AdvertisedControllers, e)
			continue
		}
		if isWildcard(e.Host) {
			return wrong(fmt.Sprintf("clients cannot connect to %s; set advertised.listeners to an address they can reach, such as %s://%s:%d", e.Host, e.Name, s.hostname, e.Port))
		}
		if !slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Name == e.Name }) {
			return wrong("advertised listener " + e.Name + " does not appear in listeners")
		}
		if e.Host == "" {
			e.Host = s.hostname
		}
		b.Advertised = append(b.Advertised, e)
	}
	if b.IsBroker && len(b.Advertised) == 0 {
		return wrong("there must be at least one listener for clients; perhaps all are named in controller.listener.names?")
	}
	return nil
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

func (s *Settings) interBroker(b *Broker) error {
	e, _, given := s.raw("inter.broker.listener.name")
	if !b.IsBroker {
		return nil
	}
	if !given {
		protocol, _, _ := s.raw("security.inter.broker.protocol")
		for _, a := range b.Advertised {
			if a.Name == strings.ToUpper(strings.TrimSpace(protocol.value)) {
				b.InterBrokerListener = a.Name
				return nil
			}
		}
		// Differs from Kafka: where only one listener could be meant it need
		// not be called PLAINTEXT.
		if len(b.Advertised) == 1 {
			b.InterBrokerListener = b.Advertised[0].Name
			return nil
		}
		return errors.New("inter.broker.listener.name must be set: several listeners are advertised and none is called " + protocol.value)
	}
	name := strings.ToUpper(strings.TrimSpace(e.value))
	if p, set, _ := s.raw("security.inter.broker.protocol"); set > FromDefault {
		return &ValueError{"security.inter.broker.protocol", p.value, "only one of inter.broker.listener.name and security.inter.broker.protocol may be set"}
	}
	if !slices.ContainsFunc(b.Advertised, func(a Endpoint) bool { return a.Name == name }) {
		return &ValueError{"inter.broker.listener.name", e.value, "must be the name of an advertised listener that is no controller's"}
	}
	b.InterBrokerListener = name
	return nil
}
