// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// target is one figure that a row is to reach; 0: none, it is shown beside the
// floor's. more: the higher the better.
type target struct {
	row, metric string
	unit        string
	want        float64
	more        bool
}

var durableTargets = []target{
	{"raw1kall", "broker_cpu_s_GB", "s/GB", 0.70, false},
	{"ping50all", "krec_s", "k requests/s", 40, true},
	{"ping50all", "broker_us_rec", "µs of CPU a request", 0, false},
	{"durable1k", "writes_per_s", "writes/s", 80_000, true},
	{"durable1k", "p99_ms", "p99 ms", 25, false},
	{"lat", "p50_e2e_ms", "p50 ms", 0.35, false},
	{"lat", "p99_e2e_ms", "p99 ms", 1.0, false},
	{"lat", "p999_e2e_ms", "p99.9 ms", 3, false},
	{"parts", "create_ms", "create, ms", 300, false},
	{"parts", "write_each_ms", "write each, ms", 40, false},
	{"txnend", "p99_end_ms", "EndTxn to readers, p99 ms", 20, false},
}

var pageCacheTargets = []target{
	{"raw1k", "broker_cpu_s_GB", "s/GB", 0.55, false},
	{"raw16k", "broker_cpu_s_GB", "s/GB", 1.1, false},
	{"rawfetch", "broker_cpu_s_GB", "s/GB", 0.27, false},
	{"ping1", "krec_s", "k requests/s", 28, true},
	{"ping1", "broker_us_rec", "µs of CPU a request", 0, false},
	{"ping50", "krec_s", "k requests/s", 75, true},
	{"ping50", "broker_us_rec", "µs of CPU a request", 0, false},
	{"ping1x16", "krec_s", "k requests/s", 180, true},
	{"ping1x16", "broker_us_rec", "µs of CPU a request", 0, false},
	{"lat", "p50_e2e_ms", "p50 ms", 0.15, false},
	{"lat", "p99_e2e_ms", "p99 ms", 0.4, false},
	{"lat", "p999_e2e_ms", "p99.9 ms", 1.5, false},
	{"many50", "ratio", "s/GB, 50 producers / 4", 1.1, false},
}

var eitherTargets = []target{
	{"startup", "start_ms", "exec to first ack, ms", 20, false},
	{"startup", "idle_rss_mb", "idle RSS, MB", 20, false},
	{"reopen", "produce_ms", "exec to produce, ms", 50, false},
	{"reopen", "fetch_ms", "exec to fetch, ms", 50, false},
	{"cold", "p99_ratio", "p99 beside / alone", 1.1, false},
	{"cold", "cpu_ratio", "s/GB beside / alone", 1.1, false},
	{"txnopen", "grew_mb", "1,000 open transactions, MB", 50, false},
	{"txncpu", "ratio", "s/GB in transactions / plain", 1.1, false},
	{"memory", "ratio", "anonymous memory, ten times the data", 1.2, false},
}

// verdicts prints the medians beside the targets, as a Markdown table. The last
// broker's figure, if there are two, stands beside for comparison; the ratio is
// the median of the rounds'.
func verdicts(bs []*broker, all map[string][]map[string]result) {
	targets := durableTargets
	if strings.Contains(*tconfig, "gregor.durable=false") {
		targets = pageCacheTargets
	}
	targets = append(targets[:len(targets):len(targets)], eitherTargets...)
	if *rf > 1 {
		targets = clusterTargets
	}
	head, rule := "| row | | target | "+bs[0].name, "|---|---|---|---"
	if len(bs) == 2 {
		head, rule = head+" | "+bs[1].name+" | ratio", rule+"|---|---"
	}
	fmt.Println("\n" + head + " | |\n" + rule + "|---|")
	peak := 0.0
	for _, m := range all[bs[0].name] {
		for _, r := range m {
			peak = max(peak, r["rss_peak_mb"])
		}
	}
	for _, t := range targets {
		if t.row == "startup" && *loads != "startup" {
			continue
		}
		a := collect(all[bs[0].name], t)
		if len(a) == 0 {
			continue
		}
		verdict := "met"
		if got := median(a); t.more && got < t.want || !t.more && got > t.want {
			verdict = "missed"
		}
		want := fmt.Sprint(t.want)
		if t.want == 0 {
			want, verdict = "–", ""
		}
		s := fmt.Sprintf("| %s | %s | %s | %s", t.row, t.unit, want, figure(median(a)))
		if len(bs) == 2 {
			b := collect(all[bs[1].name], t)
			ratios := make([]float64, 0, len(b))
			for r := range all[bs[0].name] {
				x, ok := all[bs[0].name][r][t.row][t.metric]
				y := all[bs[1].name][r][t.row][t.metric]
				if ok && y != 0 {
					ratios = append(ratios, x/y)
				}
			}
			if len(ratios) > 0 {
				s += fmt.Sprintf(" | %s | %.2f", figure(median(b)), median(ratios))
			} else {
				s += " | | "
			}
		}
		fmt.Println(s + " | " + verdict + " |")
	}
	if peak > 0 {
		fmt.Printf("\nHighest RSS of %s in these rows: %.0f MB.\n", bs[0].name, peak)
	}
}

// figure has three digits, and no exponent.
func figure(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func collect(rounds []map[string]result, t target) (v []float64) {
	for _, m := range rounds {
		if x, ok := m[t.row][t.metric]; ok {
			v = append(v, x)
		}
	}
	return v
}
