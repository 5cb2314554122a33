// SPDX-License-Identifier: Apache-2.0

package config

// topicTable holds the properties of topics, in the order of their names.
var topicTable = []Property{
	{
		Name: "cleanup.policy", Type: List, Default: "delete", Importance: Medium, Mode: ClusterWide,
		Valid: listOf(true, "compact", "delete"),
		From:  []Synonym{{"log.cleanup.policy", 1}},
		Doc:   "What happens to old segments: `delete` by age and size, `compact` keep the last record of each key, both, or (empty) nothing.",
	},
	{
		Name: "compression.gzip.level", Type: Int, Default: "-1", Importance: Medium, Mode: ClusterWide,
		Valid: betweenOr(1, 9, -1),
		From:  []Synonym{{"compression.gzip.level", 1}},
		Doc:   "Level used when the broker compresses with gzip.",
	},
	{
		Name: "compression.lz4.level", Type: Int, Default: "9", Importance: Medium, Mode: ClusterWide,
		Valid: between(1, 17),
		From:  []Synonym{{"compression.lz4.level", 1}},
		Doc:   "Level used when the broker compresses with lz4.",
	},
	{
		Name: "compression.type", Type: String, Default: "producer", Importance: Medium, Mode: ClusterWide,
		Valid: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		From:  []Synonym{{"compression.type", 1}},
		Doc:   "`producer` keeps what the producer chose, `uncompressed` stores plain, any other codec is applied by the broker.",
	},
	{
		Name: "compression.zstd.level", Type: Int, Default: "3", Importance: Medium, Mode: ClusterWide,
		Valid: between(-131072, 22),
		From:  []Synonym{{"compression.zstd.level", 1}},
		Doc:   "Level used when the broker compresses with zstd.",
	},
	{
		Name: "delete.retention.ms", Type: Long, Default: "86400000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.cleaner.delete.retention.ms", 1}},
		Doc:   "How long tombstones stay after compaction, so that slow readers still see the deletion.",
	},
	{
		Name: "file.delete.delay.ms", Type: Long, Default: "60000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.segment.delete.delay.ms", 1}},
		Doc:   "How long a deleted segment's files stay on disk.",
	},
	{
		Name: "flush.messages", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1),
		From:  []Synonym{{"log.flush.interval.messages", 1}},
		Doc:   "Force the log to disk after this many records, where the topic is not durable.",
	},
	{
		Name: "flush.ms", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.flush.interval.ms", 1}, {"log.flush.scheduler.interval.ms", 1}},
		Doc:   "Force the log to disk after this time, where the topic is not durable.",
	},
	{
		Name: "follower.replication.throttled.replicas", Type: List, Default: "", Importance: Medium, Mode: ClusterWide,
		Valid: replicaPairs(),
		Doc:   "Replicas whose followers are throttled, as `partition:broker` entries or `*`.",
	},
	{
		Name: "gregor.durable", Type: Boolean, Default: "true", Importance: Medium, Mode: ClusterWide,
		From: []Synonym{{"gregor.durable", 1}},
		Doc:  "Flush every append before it is acknowledged or shown to consumers. Off gives Kafka's meaning: replicas and the page cache. Internal topics are always durable.",
	},
	{
		Name: "index.interval.bytes", Type: Int, Default: "4096", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.index.interval.bytes", 1}},
		Doc:   "Bytes of records between two entries of the offset index.",
	},
	{
		Name: "internal.segment.bytes", Type: Int, Null: true, Importance: Medium, Mode: ClusterWide, Internal: true,
		Doc: "Segment size without the lower bound, for tests.",
	},
	{
		Name: "leader.replication.throttled.replicas", Type: List, Default: "", Importance: Medium, Mode: ClusterWide,
		Valid: replicaPairs(),
		Doc:   "Replicas whose leaders are throttled, as `partition:broker` entries or `*`.",
	},
	{
		Name: "local.retention.bytes", Type: Long, Default: "-2", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(-2),
		From:  []Synonym{{"log.local.retention.bytes", 1}},
		Doc:   "Bytes kept on local disk when the topic is tiered; -2 means all of `retention.bytes`.",
	},
	{
		Name: "local.retention.ms", Type: Long, Default: "-2", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(-2),
		From:  []Synonym{{"log.local.retention.ms", 1}},
		Doc:   "Time records stay on local disk when the topic is tiered; -2 means all of `retention.ms`.",
	},
	{
		Name: "max.compaction.lag.ms", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1),
		From:  []Synonym{{"log.cleaner.max.compaction.lag.ms", 1}},
		Doc:   "A record is compacted at the latest after this time.",
	},
	{
		Name: "max.message.bytes", Type: Int, Default: "1048588", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"message.max.bytes", 1}},
		Doc:   "Largest batch of records accepted, after compression.",
	},
	{
		Name: "message.timestamp.after.max.ms", Type: Long, Default: "3600000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.message.timestamp.after.max.ms", 1}},
		Doc:   "How far a record's timestamp may be ahead of the broker's clock.",
	},
	{
		Name: "message.timestamp.before.max.ms", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.message.timestamp.before.max.ms", 1}},
		Doc:   "How far a record's timestamp may be behind the broker's clock.",
	},
	{
		Name: "message.timestamp.type", Type: String, Default: "CreateTime", Importance: Medium, Mode: ClusterWide,
		Valid: oneOf("CreateTime", "LogAppendTime"),
		From:  []Synonym{{"log.message.timestamp.type", 1}},
		Doc:   "Whether a record's time is the producer's (`CreateTime`) or the broker's (`LogAppendTime`).",
	},
	{
		Name: "min.cleanable.dirty.ratio", Type: Double, Default: "0.5", Importance: Medium, Mode: ClusterWide,
		Valid: between(0, 1),
		From:  []Synonym{{"log.cleaner.min.cleanable.ratio", 1}},
		Doc:   "Share of uncompacted bytes at which the log is worth cleaning.",
	},
	{
		Name: "min.compaction.lag.ms", Type: Long, Default: "0", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.cleaner.min.compaction.lag.ms", 1}},
		Doc:   "A record stays uncompacted at least this long.",
	},
	{
		Name: "min.insync.replicas", Type: Int, Default: "1", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1),
		From:  []Synonym{{"min.insync.replicas", 1}},
		Doc:   "In-sync replicas below which a write with acks=all is refused.",
	},
	{
		Name: "preallocate", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide,
		From: []Synonym{{"log.preallocate", 1}},
		Doc:  "Reserve the whole size of a segment's file when it is created.",
	},
	{
		Name: "remote.log.copy.disable", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide, Standing: NotBuilt,
		Doc: "Stop copying segments to the remote tier.",
	},
	{
		Name: "remote.log.delete.on.disable", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide, Standing: NotBuilt,
		Doc: "Delete what the remote tier holds when tiering is turned off.",
	},
	{
		Name: "remote.storage.enable", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide, Standing: NotBuilt,
		Doc: "Keep old segments in a remote tier.",
	},
	{
		Name: "retention.bytes", Type: Long, Default: "-1", Importance: Medium, Mode: ClusterWide,
		From: []Synonym{{"log.retention.bytes", 1}},
		Doc:  "Size a partition may reach before its oldest segments are deleted. -1: no limit.",
	},
	{
		Name: "retention.ms", Type: Long, Default: "604800000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(-1),
		From:  []Synonym{{"log.retention.ms", 1}, {"log.retention.minutes", 60000}, {"log.retention.hours", 3600000}},
		Doc:   "How long records are kept. -1: for ever.",
	},
	{
		Name: "segment.bytes", Type: Int, Default: "1073741824", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1048576),
		From:  []Synonym{{"log.segment.bytes", 1}},
		Doc:   "Size at which a segment is rolled.",
	},
	{
		Name: "segment.index.bytes", Type: Int, Default: "10485760", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(4),
		From:  []Synonym{{"log.index.size.max.bytes", 1}},
		Doc:   "Largest size of an index file; a segment whose index is full is rolled.",
	},
	{
		Name: "segment.jitter.ms", Type: Long, Default: "0", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		From:  []Synonym{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", 3600000}},
		Doc:   "Random part taken off `segment.ms` so that segments do not all roll at once.",
	},
	{
		Name: "segment.ms", Type: Long, Default: "604800000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1),
		From:  []Synonym{{"log.roll.ms", 1}, {"log.roll.hours", 3600000}},
		Doc:   "Time after which a segment is rolled though it is not full.",
	},
	{
		Name: "unclean.leader.election.enable", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		From: []Synonym{{"unclean.leader.election.enable", 1}},
		Doc:  "Permit a replica that is not in sync to become leader, at the price of lost records.",
	},
}
