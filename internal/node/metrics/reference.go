// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"io"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// PrintReference writes docs/reference/metrics.md from the catalogue.
func PrintReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Printed from the catalogue in internal/node/metrics by ` + "`go generate ./internal/node/metrics`" + `. Do not edit. -->

Served at ` + "`/metrics`" + ` of ` + "`gregor.http.listener`" + ` (127.0.0.1:9644 by default). Names and labels are those that jmx_exporter gives Kafka's MBeans with
Strimzi's rules, and kafka_exporter's for offsets and lag, so dashboards made for these work. A label in brackets is missing on the sum over all topics.
Quantiles speak of the last five to ten minutes. Figures of the whole cluster come from the active controller only. Partitions have series of their own up to
` + "`gregor.metrics.partition.limit`" + `; the others count in the sums. Beside these stand Go's own: go_* and process_*.

| name | type | labels | what it tells |
|---|---|---|---|
`)
	for _, r := range catalogue {
		kind := "gauge"
		if r.kind == prometheus.CounterValue {
			kind = "counter"
		}
		help := r.help
		if r.bean != "" && r.bean != kafkaExporter {
			help += " `" + r.bean + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.name, kind, strings.Join(r.labels, ", "), help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
