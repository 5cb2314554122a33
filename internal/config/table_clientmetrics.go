// SPDX-License-Identifier: Apache-2.0

package config

// clientMetricsTable holds the properties of client metrics subscriptions, in the order of their names.
var clientMetricsTable = []Property{
	{
		Name: "interval.ms", Type: Int, Default: "300000", Importance: Medium, Mode: ClusterWide,
		Valid: between(100, 3600000),
		Doc:   "How often clients push their metrics.",
	},
	{
		Name: "match", Type: List, Default: "", Importance: Medium, Mode: ClusterWide,
		Valid: anyList(true),
		Doc:   "Which clients are meant, as `selector=pattern` entries; empty means all.",
	},
	{
		Name: "metrics", Type: List, Default: "", Importance: Medium, Mode: ClusterWide,
		Valid: anyList(true),
		Doc:   "Prefixes of the names of the metrics that clients push; `*` means all.",
	},
}
