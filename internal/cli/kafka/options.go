// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// options parses arguments as joptsimple does for most of Kafka's tools:
//
//	--name value   --name=value   -name value   -n=value   --   flags without a value
//
// No abbreviations (Kafka turns them off), repeated options are kept in order,
// an option that takes an argument takes the next word whatever it looks like,
// and everything else is a positional argument.
type options struct {
	about string
	specs []*option
	rest  []string // positional arguments
	given int      // words on the command line
}

type option struct {
	names    []string
	about    string
	hint     string // what the argument is, for usage; "" with takes=false
	kind     string // String, Integer, Long, Double
	takes    bool
	optional bool // the argument may be left out
	byDef    string
	hasDef   bool

	has    bool
	values []string
}

// String is how joptsimple names an option in messages: its names in brackets.
func (o *option) String() string { return "[" + strings.Join(o.sorted(), ", ") + "]" }

// sorted puts short names first, as joptsimple does.
func (o *option) sorted() []string {
	names := slices.Clone(o.names)
	slices.SortStableFunc(names, func(a, b string) int {
		if (len(a) == 1) != (len(b) == 1) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names
}

func newOptions(about string) *options {
	o := &options{about: about}
	o.flag("help", "Say what the options are.")
	o.flag("version", "Print the version of Kafka whose tool this is.")
	return o
}

func (o *options) add(s *option) *option { o.specs = append(o.specs, s); return s }

func (o *options) flag(name, about string) *option {
	return o.add(&option{names: []string{name}, about: about})
}

func (o *options) text(name, hint, about string) *option {
	return o.add(&option{names: []string{name}, about: about, hint: hint, takes: true, kind: "String"})
}

func (o *options) integer(name, hint, about string) *option {
	return o.add(&option{names: []string{name}, about: about, hint: hint, takes: true, kind: "Integer"})
}

func (o *options) long(name, hint, about string) *option {
	return o.add(&option{names: []string{name}, about: about, hint: hint, takes: true, kind: "Long"})
}

func (o *option) def(v string) *option { o.byDef, o.hasDef = v, true; return o }
func (o *option) maybe() *option       { o.optional = true; return o }

// value is the option's one value, or its default, or "".
func (o *option) value() string {
	if len(o.values) > 0 {
		return o.values[0]
	}
	return o.byDef
}

// int is value() of an option whose kind was checked while parsing.
func (o *option) int() int64 {
	n, _ := strconv.ParseInt(o.value(), 10, 64)
	return n
}

func (o *options) find(name string) *option {
	for _, s := range o.specs {
		if slices.Contains(s.names, name) {
			return s
		}
	}
	return nil
}

func (o *options) has(name string) bool { s := o.find(name); return s != nil && s.has }

// parse reads args; the error is the message of joptsimple's exception.
func (o *options) parse(args []string) error {
	o.given = len(args)
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			o.rest = append(o.rest, args[i+1:]...)
			break
		}
		if word == "-" || !strings.HasPrefix(word, "-") {
			o.rest = append(o.rest, word)
			continue
		}
		name, inline, hasInline := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
		s := o.find(name)
		if s == nil && !strings.HasPrefix(word, "--") && name != "" {
			// A cluster of one-letter flags; only ever seen by mistake here.
			first, size := utf8.DecodeRuneInString(name)
			if s = o.find(string(first)); s != nil && s.takes && len(name) > size {
				inline, hasInline = name[size:], true
			} else if s == nil {
				name = string(first)
			}
		}
		if s == nil {
			return fmt.Errorf("%s is not a recognized option", name)
		}
		s.has = true
		switch {
		case !s.takes:
		case hasInline:
			s.values = append(s.values, inline)
		case s.optional:
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
				s.values = append(s.values, args[i])
			}
		case i+1 == len(args):
			return fmt.Errorf("Option %s requires an argument", strings.Join(s.sorted(), "/"))
		default:
			i++
			s.values = append(s.values, args[i])
		}
	}
	for _, s := range o.specs {
		bits := map[string]int{"Integer": 32, "Long": 64}[s.kind]
		for _, v := range s.values {
			bad := false
			if bits != 0 {
				_, err := strconv.ParseInt(v, 10, bits)
				bad = err != nil
			} else if s.kind == "Double" {
				_, err := strconv.ParseFloat(v, 64)
				bad = err != nil
			}
			if bad {
				return fmt.Errorf("Cannot parse argument '%s' of option %s", v, strings.Join(s.sorted(), "/"))
			}
		}
	}
	return nil
}

// usage ends the tool with a message above the list of options, status 1.
func (o *options) usage(format string, args ...any) error {
	return &exit{status: 1, text: fmt.Sprintf(format, args...), usage: o.help}
}

// start parses, and answers no arguments, --help and --version as Kafka's
// tools do: the first two print the usage on standard error with status 1.
func (o *options) start(e *Env, args []string) error {
	if err := o.parse(args); err != nil {
		return o.usage("%s", err)
	}
	return o.maybeHelp(e)
}

func (o *options) maybeHelp(e *Env) error {
	if o.given == 0 || o.has("help") {
		return o.usage("%s", o.about)
	}
	if o.has("version") {
		e.println(Version)
		return &exit{}
	}
	return nil
}

// required names the first option of the list that is missing.
func (o *options) required(list ...*option) error {
	for _, s := range list {
		if !s.has {
			return o.usage("Missing required argument \"%s\"", s)
		}
	}
	return nil
}

// invalid complains when used was given together with any of the others.
func (o *options) invalid(used *option, others ...*option) error {
	if used.has {
		for _, s := range others {
			if s.has {
				return o.usage("Option \"%s\" can't be used with option \"%s\"", used, s)
			}
		}
	}
	return nil
}

// oneOf wants exactly one of the list.
func (o *options) oneOf(list ...*option) error {
	n, names := 0, []string{}
	for _, s := range list {
		if s.has {
			n++
		}
		names = append(names, s.String())
	}
	if n != 1 {
		return o.usage("Exactly one of the following arguments is required: %s", strings.Join(names, ", "))
	}
	return nil
}

// help writes the options in two columns, sorted by name.
func (o *options) help(w io.Writer) {
	specs := slices.Clone(o.specs)
	slices.SortFunc(specs, func(a, b *option) int { return strings.Compare(a.sorted()[0], b.sorted()[0]) })
	const left, right = 40, 78 - 42
	fmt.Fprintf(w, "%-*s %s\n%-*s %s\n", left, "Option", "Description", left, "------", "-----------")
	for _, s := range specs {
		var names []string
		for _, n := range s.sorted() {
			if len(n) == 1 {
				names = append(names, "-"+n)
			} else {
				names = append(names, "--"+n)
			}
		}
		head := strings.Join(names, ", ")
		if s.takes {
			arg := s.kind
			if s.hint != "" {
				arg += ": " + s.hint
			}
			if s.optional {
				head += " [" + arg + "]"
			} else {
				head += " <" + arg + ">"
			}
		}
		about := s.about
		if s.hasDef {
			about += " (default: " + s.byDef + ")"
		}
		a, b := wrap(head, left), wrap(about, right)
		for i := range max(len(a), len(b)) {
			var l, r string
			if i < len(a) {
				l = a[i]
			}
			if i < len(b) {
				r = b[i]
			}
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s %s", left, l, r), " "))
		}
	}
}

// wrap folds text at width, indenting continuation lines by two.
func wrap(text string, width int) []string {
	var lines []string
	for _, para := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(para) {
			switch {
			case line == "":
				line = word
			case len(line)+1+len(word) <= width:
				line += " " + word
			default:
				lines, line = append(lines, line), "  "+word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// keyValues reads key=value words as Kafka's parseKeyValueArgs does; a key
// without a value means the empty string.
func keyValues(words []string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}
