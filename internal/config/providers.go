// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// reference is ${provider:key} or ${provider:path:key} in a value.
var reference = regexp.MustCompile(`\$\{([^}]*?):(([^}]*?):)?([^}]*?)\}`)

// A provider finds the value of key in path.
type provider func(path, key string) (string, error)

// resolveProviders replaces references in the values of all static layers.
// Providers are named by config.providers; their class chooses one of the
// three that are built in.
func (s *Settings) resolveProviders() error {
	e, _, _ := s.raw("config.providers")
	providers := map[string]provider{}
	var problems []error
	for _, name := range SplitList(e.value) {
		key := "config.providers." + name + ".class"
		class, _, ok := s.raw(key)
		if !ok {
			problems = append(problems, fmt.Errorf("config.providers names %q, but %s is not set", name, key))
			continue
		}
		allowed := ""
		for _, param := range []string{"allowed.paths", "allowlist.pattern"} {
			if v, _, ok := s.raw("config.providers." + name + ".param." + param); ok {
				allowed = strings.TrimSpace(v.value)
			}
		}
		p, err := builtinProvider(strings.TrimSpace(class.value), allowed)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
			continue
		}
		providers[name] = p
	}
	if len(providers) > 0 {
		for src := FromFile; src <= FromOverride; src++ {
			layer := s.layers[src]
			for _, name := range slices.Sorted(maps.Keys(layer)) {
				if strings.HasPrefix(name, "config.providers") {
					continue
				}
				e := layer[name]
				value, err := expand(e.value, providers)
				if err != nil {
					problems = append(problems, fmt.Errorf("%s: %w", name, err))
					continue
				}
				e.value = value
				layer[name] = e
			}
		}
	}
	return errors.Join(problems...)
}

// expand replaces the references to known providers; others stay as they are,
// as Kafka leaves them.
func expand(value string, providers map[string]provider) (string, error) {
	var failed error
	out := reference.ReplaceAllStringFunc(value, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		p, ok := providers[m[1]]
		if !ok {
			return ref
		}
		v, err := p(m[3], m[4])
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("resolve %s: %w", ref, err))
			return ref
		}
		return v
	})
	return out, failed
}

func builtinProvider(class, allowed string) (provider, error) {
	short := class[strings.LastIndexByte(class, '.')+1:]
	switch short {
	case "EnvVarConfigProvider":
		var pattern *regexp.Regexp
		if allowed != "" {
			var err error
			if pattern, err = regexp.Compile("^(?:" + allowed + ")$"); err != nil {
				return nil, fmt.Errorf("allowlist.pattern: %w", err)
			}
		}
		return func(path, key string) (string, error) {
			if path != "" {
				return "", fmt.Errorf("an environment variable has no path, but %q was given", path)
			}
			v, ok := os.LookupEnv(key)
			if !ok || pattern != nil && !pattern.MatchString(key) {
				return "", fmt.Errorf("the environment has no variable %s that may be read", key)
			}
			return v, nil
		}, nil
	case "FileConfigProvider":
		return func(path, key string) (string, error) {
			data, err := readAllowed(path, allowed)
			if err != nil {
				return "", err
			}
			values, err := ParseProperties(data)
			if err != nil {
				return "", err
			}
			v, ok := last(values)[key]
			if !ok {
				return "", fmt.Errorf("%s has no key %q", path, key)
			}
			return v, nil
		}, nil
	case "DirectoryConfigProvider":
		return func(path, key string) (string, error) {
			if key == "" || strings.ContainsAny(key, `/\`) {
				return "", fmt.Errorf("%q is no name of a file", key)
			}
			data, err := readAllowed(filepath.Join(path, key), allowed)
			return string(data), err
		}, nil
	}
	return nil, fmt.Errorf("%q is not built in; EnvVarConfigProvider, FileConfigProvider and DirectoryConfigProvider are", class)
}

// readAllowed reads a file if it lies beneath one of the allowed paths (all
// are allowed when none is named).
func readAllowed(path, allowed string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("no path was given")
	}
	clean, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	beneath := func(root string) bool {
		rel, err := filepath.Rel(root, clean)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
	}
	if roots := SplitList(allowed); len(roots) > 0 && !slices.ContainsFunc(roots, beneath) {
		return nil, fmt.Errorf("%s is not among the allowed paths", path)
	}
	return os.ReadFile(clean)
}
