// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"maps"
	"regexp"
	"strings"
)

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
