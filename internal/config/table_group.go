// SPDX-License-Identifier: Apache-2.0

package config

// groupTable holds the properties of groups, in the order of their names.
var groupTable = []Property{
	{
		Name: "consumer.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		From:  []Synonym{{"group.consumer.heartbeat.interval.ms", 1}},
		Doc:   "Heartbeat interval told to members of the new consumer protocol.",
	},
	{
		Name: "consumer.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		From:  []Synonym{{"group.consumer.session.timeout.ms", 1}},
		Doc:   "Session timeout of members of the new consumer protocol.",
	},
	{
		Name: "share.auto.offset.reset", Type: String, Default: "latest", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: offsetReset(),
		Doc:   "Where a share group starts: `latest`, `earliest` or `by_duration:` and an ISO 8601 duration.",
	},
	{
		Name: "share.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		From:  []Synonym{{"group.share.heartbeat.interval.ms", 1}},
		Doc:   "Heartbeat interval told to members of the share group.",
	},
	{
		Name: "share.isolation.level", Type: String, Default: "read_uncommitted", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: oneOf("read_committed", "read_uncommitted"),
		Doc:   "Whether a share group sees records of open and aborted transactions.",
	},
	{
		Name: "share.record.lock.duration.ms", Type: Int, Default: "30000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1000),
		From:  []Synonym{{"group.share.record.lock.duration.ms", 1}},
		Doc:   "How long a record is locked for the member that got it.",
	},
	{
		Name: "share.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		From:  []Synonym{{"group.share.session.timeout.ms", 1}},
		Doc:   "Session timeout of members of the share group.",
	},
	{
		Name: "streams.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		From:  []Synonym{{"group.streams.heartbeat.interval.ms", 1}},
		Doc:   "Heartbeat interval told to members of the streams group.",
	},
	{
		Name: "streams.initial.rebalance.delay.ms", Type: Int, Default: "3000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(0),
		From:  []Synonym{{"group.streams.initial.rebalance.delay.ms", 1}},
		Doc:   "How long the first assignment of the empty group waits for more members.",
	},
	{
		Name: "streams.num.standby.replicas", Type: Int, Default: "0", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(0),
		From:  []Synonym{{"group.streams.num.standby.replicas", 1}},
		Doc:   "Standby copies of each task.",
	},
	{
		Name: "streams.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		From:  []Synonym{{"group.streams.session.timeout.ms", 1}},
		Doc:   "Session timeout of members of the streams group.",
	},
}
