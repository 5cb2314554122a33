// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ValidateGroup checks a group's own configs; the error is an *InvalidError.
// Intervals and timeouts must lie between the broker's bounds and leave room
// for one another.
func (s *Settings) ValidateGroup(overrides map[string]string) error {
	problems := Groups.validate(overrides)
	if len(problems) > 0 {
		return invalid(problems)
	}
	all := overlay(s.broker.groupDefaults, overrides)
	get := func(name string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSpace(all[name]), 10, 64)
		return n
	}
	bound := func(name, least, most string) {
		if _, given := overrides[name]; !given {
			return
		}
		if lo := s.long(least); least != "" && get(name) < lo {
			problems = append(problems, fmt.Errorf("%s must be greater than or equal to %s, which is %d; it is %s", name, least, lo, all[name]))
		}
		if hi := s.long(most); get(name) > hi {
			problems = append(problems, fmt.Errorf("%s must be less than or equal to %s, which is %d; it is %s", name, most, hi, all[name]))
		}
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		beat, session := kind+".heartbeat.interval.ms", kind+".session.timeout.ms"
		bound(beat, "group."+kind+".min.heartbeat.interval.ms", "group."+kind+".max.heartbeat.interval.ms")
		bound(session, "group."+kind+".min.session.timeout.ms", "group."+kind+".max.session.timeout.ms")
		if get(session) <= get(beat) {
			problems = append(problems, fmt.Errorf("%s (%d) must be greater than %s (%d)", session, get(session), beat, get(beat)))
		}
	}
	bound("share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms")
	bound("streams.num.standby.replicas", "", "group.streams.max.standby.replicas")
	return invalid(problems)
}

// Selectors are what a client metrics subscription may match clients by.
var Selectors = []string{"client_id", "client_instance_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"}

// Match is one condition of a client metrics subscription.
type Match struct {
	Selector string
	Pattern  *regexp.Regexp // must match the whole value
}

// ParseMatch reads the value of `match`. Differs from Kafka: patterns are Go's
// regular expressions, which have no look-around.
func ParseMatch(value string) ([]Match, error) {
	var out []Match
	for _, item := range SplitList(value) {
		name, pattern, ok := strings.Cut(item, "=")
		if name = strings.TrimSpace(name); !ok || !slices.Contains(Selectors, name) || strings.Contains(pattern, "=") {
			return nil, fmt.Errorf("illegal client matching pattern: %s", item)
		}
		re, err := regexp.Compile("^(?:" + strings.TrimSpace(pattern) + ")$")
		if err != nil {
			return nil, fmt.Errorf("illegal client matching pattern: %s: %w", item, err)
		}
		out = append(out, Match{Selector: name, Pattern: re})
	}
	return out, nil
}

// ValidateClientMetrics checks the configs of a subscription; the error is an
// *InvalidError.
func ValidateClientMetrics(values map[string]string) error {
	problems := ClientMetrics.validate(values)
	if _, err := ParseMatch(values["match"]); err != nil {
		problems = append(problems, err)
	}
	return invalid(problems)
}
