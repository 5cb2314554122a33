// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Type is a property's type. The numbers are those DescribeConfigs sends.
type Type int8

const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String spells the type as Kafka's documentation does.
func (t Type) String() string {
	names := [...]string{"unknown", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}
	if t < 0 || int(t) >= len(names) {
		return names[0]
	}
	return names[t]
}

// Importance says how often a property is worth a thought.
type Importance int8

const (
	High Importance = iota
	Medium
	Low
)

func (i Importance) String() string { return [...]string{"high", "medium", "low"}[i] }

// Mode says how a property may be changed while the broker runs.
type Mode int8

const (
	ReadOnly    Mode = iota // needs a restart
	PerBroker               // dynamic, for one broker only
	ClusterWide             // dynamic, for one broker or as the cluster's default
)

func (m Mode) String() string { return [...]string{"read-only", "per-broker", "cluster-wide"}[m] }

// Standing says what Gregor does with a property.
type Standing int8

const (
	// Honoured: it does what it says.
	Honoured Standing = iota
	// NoEffect: accepted; what it tunes has no counterpart here (thread
	// pools, purgatories, the JVM).
	NoEffect
	// Kept: accepted and reported; it sizes a feature that is still to come,
	// and Kafka's shipped files set it.
	Kept
	// NotBuilt: its feature is not built. Any value but the default is
	// refused at start and in AlterConfigs.
	NotBuilt
)

func (s Standing) String() string {
	return [...]string{"honoured", "accepted, no effect", "accepted, for a feature to come", "not built: only the default is accepted"}[s]
}

// Property is one row of the table.
type Property struct {
	Name       string
	Type       Type
	Default    string // as a user would write it; meaningless when Null
	Null       bool   // the default is null: not set
	Valid      Valid
	Importance Importance
	Mode       Mode
	Internal   bool // shown only when set; not on the reference page
	Standing   Standing
	// From names, for topic and group properties, the broker properties that
	// give the default, in order of precedence.
	From []Synonym
	Doc  string
}

// Synonym is another property that may carry the value, and the factor that
// turns its unit into this property's unit.
type Synonym struct {
	Name  string
	Scale int64
}

// Sensitive reports whether the value must never be shown.
func (p *Property) Sensitive() bool { return p.Type == Password }

// Shown is the value as it may be printed or logged.
func (p *Property) Shown(raw string) string {
	if p.Sensitive() {
		return "[hidden]"
	}
	return raw
}

// A ValueError names a property, the value it was given and what it wants.
// The wording of its head is Kafka's, which tools and tests look for.
type ValueError struct {
	Name   string
	Value  string
	Reason string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("Invalid value %s for configuration %s: %s", e.Value, e.Name, e.Reason)
}

func (p *Property) wrong(raw, reason string) error {
	return &ValueError{Name: p.Name, Value: p.Shown(raw), Reason: reason}
}

// Parse reads a value as Kafka does (surrounding blanks do not count) and
// checks it against the property's range. The result is a bool, string, int32,
// int16, int64, float64 or []string, by Type.
func (p *Property) Parse(raw string) (any, error) {
	v, err := p.parse(raw)
	if err != nil {
		return nil, err
	}
	if p.Valid.ok != nil && !p.Valid.ok(v) {
		return nil, p.wrong(raw, p.Valid.reason())
	}
	return v, nil
}

func (p *Property) parse(raw string) (any, error) {
	s := strings.TrimSpace(raw)
	switch p.Type {
	case Boolean:
		switch {
		case strings.EqualFold(s, "true"):
			return true, nil
		case strings.EqualFold(s, "false"):
			return false, nil
		}
		return nil, p.wrong(raw, "Expected value to be either true or false")
	case Int:
		return number(p, s, 32, func(n int64) any { return int32(n) })
	case Short:
		return number(p, s, 16, func(n int64) any { return int16(n) })
	case Long:
		return number(p, s, 64, func(n int64) any { return n })
	case Double:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) {
			return nil, p.wrong(raw, "Not a number of type DOUBLE")
		}
		return f, nil
	case List:
		return SplitList(s), nil
	default:
		return s, nil
	}
}

func number(p *Property, s string, bits int, as func(int64) any) (any, error) {
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		return nil, p.wrong(s, "Not a number of type "+strings.ToUpper(p.Type.String())+p.Valid.hint())
	}
	return as(n), nil
}

// SplitList takes a comma-separated list apart; blanks around items do not
// count and an empty string is an empty list.
func SplitList(s string) []string {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil
	}
	items := strings.Split(s, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// Canonical rewrites a valid value as DescribeConfigs shows it.
func (p *Property) Canonical(raw string) string {
	v, err := p.parse(raw)
	if err != nil {
		return raw
	}
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int32:
		return strconv.FormatInt(int64(v), 10)
	case int16:
		return strconv.FormatInt(int64(v), 10)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return javaDouble(v)
	case []string:
		return strings.Join(v, ",")
	default:
		return v.(string)
	}
}

// javaDouble prints a double as Java's Double.toString does: plain between
// 10^-3 and 10^7, else with an E, and always with a digit after the point.
func javaDouble(f float64) string {
	if math.IsInf(f, 0) {
		if f < 0 {
			return "-Infinity"
		}
		return "Infinity"
	}
	if a := math.Abs(f); a == 0 || (a >= 1e-3 && a < 1e7) {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}

// Valid is what a value must satisfy beside its type.
type Valid struct {
	// Text is the range as the reference page prints it.
	Text string
	// Why is the sentence of the refusal.
	Why string
	ok  func(v any) bool
}

func (v Valid) reason() string {
	if v.Why != "" {
		return v.Why
	}
	return "Value must be in " + v.Text
}

func (v Valid) hint() string {
	if v.Text == "" {
		return ""
	}
	return " in " + v.Text
}

func asFloat(v any) float64 {
	switch n := v.(type) {
	case int32:
		return float64(n)
	case int16:
		return float64(n)
	case int64:
		return float64(n)
	case float64:
		return n
	}
	return math.NaN()
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func atLeast(lo float64) Valid {
	return Valid{
		Text: "[" + plain(lo) + ",...]", Why: "Value must be at least " + plain(lo),
		ok: func(v any) bool { return asFloat(v) >= lo },
	}
}

func between(lo, hi float64) Valid {
	return Valid{
		Text: "[" + plain(lo) + ",...," + plain(hi) + "]",
		Why:  "Value must be between " + plain(lo) + " and " + plain(hi),
		ok:   func(v any) bool { n := asFloat(v); return n >= lo && n <= hi },
	}
}

func betweenOr(lo, hi, other float64) Valid {
	return Valid{
		Text: "[" + plain(lo) + ",...," + plain(hi) + "] or " + plain(other),
		Why:  "Value must be between " + plain(lo) + " and " + plain(hi) + " or equal to " + plain(other),
		ok:   func(v any) bool { n := asFloat(v); return n == other || n >= lo && n <= hi },
	}
}

func oneOf(words ...string) Valid {
	return Valid{
		Text: "[" + strings.Join(words, ", ") + "]", Why: "String must be one of: " + strings.Join(words, ", "),
		ok: func(v any) bool { return slices.Contains(words, v.(string)) },
	}
}

func oneOfFold(words ...string) Valid {
	return Valid{
		Text: "(case insensitive) [" + strings.Join(words, ", ") + "]",
		Why:  "String must be one of (case insensitive): " + strings.Join(words, ", "),
		ok: func(v any) bool {
			return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, v.(string)) })
		},
	}
}

func nonEmpty() Valid {
	return Valid{Text: "non-empty string", Why: "String must be non-empty", ok: func(v any) bool { return v.(string) != "" }}
}

// listOf allows lists of distinct words; an empty list where empty says so.
func listOf(empty bool, words ...string) Valid {
	text := "[" + strings.Join(words, ", ") + "]"
	if empty {
		text += ", may be empty"
	}
	return Valid{
		Text: text, Why: "must be a list without duplicates of: " + strings.Join(words, ", "),
		ok: func(v any) bool {
			l := v.([]string)
			if len(l) == 0 {
				return empty
			}
			return distinct(l) && !slices.ContainsFunc(l, func(s string) bool { return !slices.Contains(words, s) })
		},
	}
}

// anyList allows lists of distinct, non-empty items.
func anyList(empty bool) Valid {
	text := "distinct items"
	if !empty {
		text = "at least one item, distinct"
	}
	return Valid{
		Text: text, Why: "must be a list of " + text + ", none empty",
		ok: func(v any) bool {
			l := v.([]string)
			return (empty || len(l) > 0) && distinct(l)
		},
	}
}

func distinct(l []string) bool {
	for i, s := range l {
		if s == "" || slices.Contains(l[:i], s) {
			return false
		}
	}
	return true
}

// replicaPairs is the form of the throttled replica lists: "*" or
// partition:broker,partition:broker,…
func replicaPairs() Valid {
	return Valid{
		Text: "* or [partitionId]:[brokerId],[partitionId]:[brokerId],...",
		Why:  "must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
		ok: func(v any) bool {
			l := v.([]string)
			if len(l) == 0 || len(l) == 1 && (l[0] == "*" || l[0] == "none") {
				return true
			}
			return !slices.ContainsFunc(l, func(s string) bool {
				p, b, found := strings.Cut(s, ":")
				return !found || !digits(p) || !digits(b)
			})
		},
	}
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// offsetReset is share.auto.offset.reset: latest, earliest or an ISO duration
// that goes back from now.
func offsetReset() Valid {
	return Valid{
		Text: "[latest, earliest, by_duration:PnDTnHnMn.nS]",
		ok: func(v any) bool {
			s := strings.ToLower(v.(string))
			return s == "latest" || s == "earliest" || strings.HasPrefix(s, "by_duration:p") && len(s) > len("by_duration:p")
		},
	}
}
