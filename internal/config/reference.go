// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"strings"
)

// Page is one reference page that is printed from a table.
type Page struct {
	File  string
	Title string
	Intro string
	table *Table
}

// Pages lists the reference pages under docs/reference.
func Pages() []Page {
	return []Page{
		{"broker-configs.md", "Broker and controller configs", `Set in server.properties, by the environment (` + "`GREGOR_LOG_DIRS`" + ` is log.dirs: ` + "`_`" + ` stands for a dot, ` + "`__`" + ` for an underscore, ` + "`___`" + ` for a dash)
or by ` + "`--override key=value`" + `; each wins over the one before. *Dynamic* ones can be changed while the broker runs, for one broker (per-broker) or for
all (cluster-wide). Where several names give one value, the finer unit wins: log.retention.ms before log.retention.minutes before log.retention.hours.
` + "`gregor config explain`" + ` shows the values in force and where each came from.`, Brokers},
		{"topic-configs.md", "Topic configs", `Set when a topic is created or altered later; changes take effect at once. A topic without a value of its own has the broker's, from the first of the
named broker configs that is set.`, Topics},
		{"group-configs.md", "Group configs", `Set on a group by its id, whether or not the group exists already. A group without a value of its own has the broker's.`, Groups},
		{"client-metrics-configs.md", "Client metrics configs", `Set on a subscription, which may have any name. A subscription tells clients that match it which metrics to push, and how often (KIP-714).`, ClientMetrics},
	}
}

// Print writes the page.
func (p Page) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Printed from the table in internal/config by `go generate ./internal/config`. Do not edit. -->\n\n%s\n\n", p.Title, p.Intro)
	b.WriteString("Standing: where nothing is said Gregor does what the text says. *No effect*: accepted, but what it tunes does not exist here.\n" +
		"*For a feature to come*: accepted and kept. *Not built*: any value but the default is refused.\n\n")
	for i := range p.table.rows {
		r := &p.table.rows[i]
		if r.Internal {
			continue
		}
		fmt.Fprintf(&b, "### %s\n\n%s\n\n- %s", r.Name, r.Doc, r.Type)
		switch {
		case r.Null:
			b.WriteString(", default: none")
		case r.Default == "":
			b.WriteString(", default: empty")
		default:
			fmt.Fprintf(&b, ", default: `%s`%s", r.Default, inWords(r))
		}
		if r.Valid.Text != "" {
			fmt.Fprintf(&b, ", valid: `%s`", r.Valid.Text)
		}
		fmt.Fprintf(&b, ", importance: %s", r.Importance)
		if p.table == Brokers {
			fmt.Fprintf(&b, ", dynamic: %s", map[Mode]string{ReadOnly: "no", PerBroker: "per-broker", ClusterWide: "cluster-wide"}[r.Mode])
		}
		b.WriteByte('\n')
		if len(r.From) > 0 {
			names := make([]string, len(r.From))
			for i, s := range r.From {
				names[i] = s.Name
			}
			fmt.Fprintf(&b, "- from the broker's: %s\n", strings.Join(names, ", "))
		}
		switch r.Standing {
		case NoEffect:
			b.WriteString("- *no effect*\n")
		case Kept:
			b.WriteString("- *for a feature to come*\n")
		case NotBuilt:
			b.WriteString("- *not built*\n")
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// inWords puts a time or a size beside a large default.
func inWords(p *Property) string {
	v, err := p.parse(p.Default)
	if err != nil {
		return ""
	}
	var n int64
	switch v := v.(type) {
	case int32:
		n = int64(v)
	case int64:
		n = v
	}
	scale := []struct {
		unit string
		n    int64
	}{{"days", 86400_000}, {"hours", 3600_000}, {"minutes", 60_000}, {"seconds", 1000}}
	if strings.HasSuffix(p.Name, "bytes") || strings.HasSuffix(p.Name, "buffer.size") {
		scale = append(scale[:0], []struct {
			unit string
			n    int64
		}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}...)
	} else if !strings.HasSuffix(p.Name, ".ms") {
		return ""
	}
	for _, s := range scale {
		if n >= 2*s.n && n%s.n == 0 || n == s.n {
			unit := s.unit
			if n == s.n {
				unit = strings.TrimSuffix(unit, "s")
			}
			return fmt.Sprintf(" (%d %s)", n/s.n, unit)
		}
	}
	return ""
}
