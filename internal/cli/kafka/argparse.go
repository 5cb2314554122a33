// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// arguments parses as argparse4j does for the other half of Kafka's tools:
// options with one or two names, subcommands, groups of which one may be
// given, unambiguous prefixes of long names, -h on every level. Help goes to
// standard output with status 0, complaints to standard error with status 1.
type arguments struct {
	prog   string
	text   string
	args   []*argument
	groups []choiceGroup
	subs   []*arguments
	name   string // of a subcommand
}

// choiceGroup is options of which at most one may be given, or exactly one.
type choiceGroup struct {
	args []*argument
	must bool
}

type argument struct {
	names  []string // empty for a positional
	dest   string
	help   string
	must   bool
	flag   bool
	many   bool // repeated options are collected
	nargs  bool // takes one or more words
	kind   string
	byDef  string
	hasDef bool
	choice []string
}

func newArguments(prog, text string) *arguments { return &arguments{prog: prog, text: text} }

func (a *arguments) sub(name, help string) *arguments {
	s := &arguments{prog: a.prog + " " + name, text: help, name: name}
	a.subs = append(a.subs, s)
	return s
}

func (a *arguments) add(names []string) *argument {
	x := &argument{names: names}
	for _, n := range names {
		if strings.HasPrefix(n, "--") && x.dest == "" {
			x.dest = strings.ReplaceAll(strings.TrimPrefix(n, "--"), "-", "_")
		}
	}
	a.args = append(a.args, x)
	return x
}

func (a *arguments) store(names ...string) *argument   { return a.add(names) }
func (a *arguments) toggle(names ...string) *argument  { x := a.add(names); x.flag = true; return x }
func (a *arguments) collect(names ...string) *argument { x := a.add(names); x.many = true; return x }
func (a *arguments) exclusive(list ...*argument) {
	a.groups = append(a.groups, choiceGroup{args: list})
}
func (a *arguments) exclusiveNeeded(list ...*argument) {
	a.groups = append(a.groups, choiceGroup{list, true})
}

func (x *argument) as(dest string) *argument       { x.dest = dest; return x }
func (x *argument) need() *argument                { x.must = true; return x }
func (x *argument) about(s string) *argument       { x.help = s; return x }
func (x *argument) def(v string) *argument         { x.byDef, x.hasDef = v, true; return x }
func (x *argument) words() *argument               { x.nargs = true; return x }
func (x *argument) number() *argument              { x.kind = "number"; return x }
func (x *argument) real() *argument                { x.kind = "real"; return x }
func (x *argument) oneOf(list ...string) *argument { x.choice = list; return x }

// namespace is what was given, by destination.
type namespace struct {
	values map[string][]string
	given  map[string]bool
}

func (n *namespace) get(dest string) string {
	if v := n.values[dest]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}
func (n *namespace) list(dest string) []string { return n.values[dest] }
func (n *namespace) has(dest string) bool      { return n.given[dest] }
func (n *namespace) on(dest string) bool       { return n.get(dest) == "true" }
func (n *namespace) int(dest string) int64 {
	v, _ := strconv.ParseInt(n.get(dest), 10, 64)
	return v
}

func (a *arguments) parse(e *Env, words []string) (*namespace, error) {
	ns := &namespace{values: map[string][]string{}, given: map[string]bool{}}
	return ns, a.into(e, words, ns)
}

func (a *arguments) errorf(format string, args ...any) error {
	return &exit{status: 1, text: a.usageLine() + "\n" + a.prog + ": error: " + fmt.Sprintf(format, args...)}
}

func (a *arguments) match(name string) (*argument, error) {
	var hits []*argument
	for _, x := range a.args {
		for _, n := range x.names {
			if n == name {
				return x, nil
			}
			if strings.HasPrefix(name, "--") && len(name) > 2 && strings.HasPrefix(n, name) && !slices.Contains(hits, x) {
				hits = append(hits, x)
			}
		}
	}
	if len(hits) > 1 {
		return nil, a.errorf("ambiguous option: %s could match several", name)
	}
	if len(hits) == 1 {
		return hits[0], nil
	}
	return nil, nil
}

func (a *arguments) into(e *Env, words []string, ns *namespace) error {
	for _, x := range a.args {
		if x.hasDef {
			ns.values[x.dest] = []string{x.byDef}
		} else if x.flag {
			ns.values[x.dest] = []string{"false"}
		}
	}
	seen := map[*argument]bool{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "-h" || w == "--help" {
			a.help(e.Out)
			return &exit{}
		}
		if !strings.HasPrefix(w, "-") || w == "-" {
			if len(a.subs) == 0 {
				return a.errorf("unrecognized arguments: '%s'", w)
			}
			var names []string
			for _, s := range a.subs {
				if s.name == w {
					ns.values["command"] = []string{w}
					if err := a.checkRequired(seen); err != nil {
						return err
					}
					return s.into(e, words[i+1:], ns)
				}
				names = append(names, "'"+s.name+"'")
			}
			return a.errorf("invalid choice: '%s' (choose from %s)", w, strings.Join(names, ", "))
		}
		name, inline, hasInline := strings.Cut(w, "=")
		x, err := a.match(name)
		if err != nil {
			return err
		}
		if x == nil && !strings.HasPrefix(w, "--") && len(w) > 2 {
			if x, _ = a.match(w[:2]); x != nil {
				inline, hasInline = strings.TrimPrefix(w[2:], "="), true
			}
		}
		if x == nil {
			return a.errorf("unrecognized arguments: '%s'", w)
		}
		for _, g := range a.groups {
			if slices.Contains(g.args, x) {
				for _, other := range g.args {
					if other != x && seen[other] {
						return a.errorf("argument %s: not allowed with argument %s", strings.Join(x.names, "/"), strings.Join(other.names, "/"))
					}
				}
			}
		}
		first := !seen[x]
		seen[x], ns.given[x.dest] = true, true
		if x.flag {
			ns.values[x.dest] = []string{"true"}
			continue
		}
		var got []string
		if hasInline {
			got = []string{inline}
		}
		for i+1 < len(words) && !hasInline && (len(got) == 0 || x.nargs) {
			next := words[i+1]
			if strings.HasPrefix(next, "-") && next != "-" && !isNumber(next) {
				break
			}
			got, i = append(got, next), i+1
		}
		if len(got) == 0 {
			if x.nargs {
				return a.errorf("argument %s: expected at least one argument", strings.Join(x.names, "/"))
			}
			return a.errorf("argument %s: expected one argument", strings.Join(x.names, "/"))
		}
		for _, g := range got {
			if x.kind == "number" && !isInteger(g) {
				return a.errorf("argument %s: could not convert '%s' to Integer (32 bits)", strings.Join(x.names, "/"), g)
			}
			if x.kind == "real" && !isNumber(g) {
				return a.errorf("argument %s: could not convert '%s' to Double", strings.Join(x.names, "/"), g)
			}
			if len(x.choice) > 0 && !slices.Contains(x.choice, g) {
				return a.errorf("argument %s: invalid choice: '%s' (choose from {%s})", strings.Join(x.names, "/"), g, strings.Join(x.choice, ","))
			}
		}
		if first || !x.many {
			ns.values[x.dest] = nil
		}
		ns.values[x.dest] = append(ns.values[x.dest], got...)
	}
	if len(a.subs) > 0 {
		return a.errorf("too few arguments")
	}
	return a.checkRequired(seen)
}

func isInteger(s string) bool { _, err := strconv.ParseInt(s, 10, 64); return err == nil }
func isNumber(s string) bool  { _, err := strconv.ParseFloat(s, 64); return err == nil }

func (a *arguments) checkRequired(seen map[*argument]bool) error {
	for _, x := range a.args {
		if x.must && !seen[x] {
			return a.errorf("argument %s is required", strings.Join(x.names, "/"))
		}
	}
	for _, g := range a.groups {
		if !g.must || slices.ContainsFunc(g.args, func(x *argument) bool { return seen[x] }) {
			continue
		}
		var names []string
		for _, x := range g.args {
			names = append(names, x.names[0])
		}
		return a.errorf("one of the arguments %s is required", strings.Join(names, " "))
	}
	return nil
}

func (x *argument) meta() string {
	if len(x.choice) > 0 {
		return "{" + strings.Join(x.choice, ",") + "}"
	}
	return strings.ReplaceAll(strings.ToUpper(strings.TrimLeft(x.names[0], "-")), "-", "_")
}

func (x *argument) form(name string) string {
	switch {
	case x.flag:
		return name
	case x.nargs:
		return name + " " + x.meta() + " [" + x.meta() + " ...]"
	}
	return name + " " + x.meta()
}

func (a *arguments) usageLine() string {
	parts := []string{"usage: " + a.prog, "[-h]"}
	for _, x := range a.args {
		f := x.form(x.names[0])
		if !x.must {
			f = "[" + f + "]"
		}
		parts = append(parts, f)
	}
	if len(a.subs) > 0 {
		parts = append(parts, "{"+strings.Join(a.subNames(), ",")+"}", "...")
	}
	line, out := "", ""
	for _, p := range parts {
		if line != "" && len(line)+1+len(p) > 75 {
			out, line = out+line+"\n", strings.Repeat(" ", 20)
		}
		if line != "" {
			line += " "
		}
		line += p
	}
	return out + line
}

func (a *arguments) subNames() (names []string) {
	for _, s := range a.subs {
		names = append(names, s.name)
	}
	return names
}

func (a *arguments) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%s\n", a.usageLine(), a.text)
	row := func(head, text string) {
		lines := wrap(text, 50)
		if len(head) > 22 {
			fmt.Fprintf(w, "  %s\n", head)
			head = ""
		}
		for _, l := range lines {
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-22s %s", head, strings.TrimSpace(l)), " "))
			head = ""
		}
	}
	if len(a.subs) > 0 {
		fmt.Fprintf(w, "\npositional arguments:\n")
		for _, s := range a.subs {
			row("  "+s.name, s.text)
		}
	}
	fmt.Fprintf(w, "\noptional arguments:\n")
	row("-h, --help", "show this text and exit")
	for _, x := range a.args {
		var forms []string
		for _, n := range x.names {
			forms = append(forms, x.form(n))
		}
		text := x.help
		if x.hasDef {
			text += " (default: " + x.byDef + ")"
		}
		row(strings.Join(forms, ", "), text)
	}
}
