// SPDX-License-Identifier: Apache-2.0

package config

// brokerTable holds the properties of brokers and controllers, in the order of their names.
var brokerTable = []Property{
	{
		Name: "add.partitions.to.txn.retry.backoff.max.ms", Type: Int, Default: "100", Importance: High,
		Valid: atLeast(0),
		Doc:   "How long the first write of a transaction waits until the one before has its markers. After that the client has to ask again.",
	},
	{
		Name: "add.partitions.to.txn.retry.backoff.ms", Type: Int, Default: "20", Importance: High, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "First pause between attempts to add a partition to a transaction. There are no attempts here: the request waits, see add.partitions.to.txn.retry.backoff.max.ms.",
	},
	{
		Name: "advertised.listeners", Type: List, Null: true, Importance: High,
		Valid: anyList(false),
		Doc:   "The addresses clients are told to connect to, when they differ from `listeners` (behind NAT, in containers). One entry for each listener name; a wildcard address such as 0.0.0.0 cannot be advertised.",
	},
	{
		Name: "alter.config.policy.class.name", Type: Class, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "A Java class that may veto changes of configs.",
	},
	{
		Name: "alter.log.dirs.replication.quota.window.num", Type: Int, Default: "11", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Samples kept for the throttle on moves between log directories.",
	},
	{
		Name: "alter.log.dirs.replication.quota.window.size.seconds", Type: Int, Default: "1", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of one such sample.",
	},
	{
		Name: "authorizer.class.name", Type: String, Default: "", Importance: Low, Standing: NotBuilt,
		Doc: "Turns on access control. Empty: everybody may do everything.",
	},
	{
		Name: "auto.create.topics.enable", Type: Boolean, Default: "true", Importance: High,
		Doc: "Create a topic when a client that permits it asks for the metadata of one that does not exist.",
	},
	{
		Name: "auto.leader.rebalance.enable", Type: Boolean, Default: "true", Importance: High,
		Doc: "Give leadership back to the preferred replicas from time to time.",
	},
	{
		Name: "background.threads", Type: Int, Default: "10", Importance: High, Mode: ClusterWide, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Size of Kafka's pool for background work; Gregor's background work is not pooled.",
	},
	{
		Name: "broker.heartbeat.interval.ms", Type: Int, Default: "400", Importance: Medium,
		Doc: "Time between a broker's heartbeats to the controller. Differs from Kafka, where it is 2000 ms by default.",
	},
	{
		Name: "broker.id", Type: Int, Default: "-1", Importance: High,
		Doc: "The old name of `node.id`; where both are given they must agree.",
	},
	{
		Name: "broker.rack", Type: String, Null: true, Importance: Medium,
		Doc: "The rack or zone this broker stands in; replicas are spread over racks.",
	},
	{
		Name: "broker.session.timeout.ms", Type: Int, Default: "2000", Importance: Medium,
		Doc: "A broker that sent no heartbeat for this long is fenced. Differs from Kafka, where it is 9000 ms by default: a silent broker is found within 3 s here.",
	},
	{
		Name: "client.quota.callback.class", Type: Class, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "A Java class that decides on client quotas.",
	},
	{
		Name: "compression.gzip.level", Type: Int, Default: "-1", Importance: Medium, Mode: ClusterWide,
		Valid: betweenOr(1, 9, -1),
		Doc:   "Level used when the broker compresses with gzip.",
	},
	{
		Name: "compression.lz4.level", Type: Int, Default: "9", Importance: Medium, Mode: ClusterWide,
		Valid: between(1, 17),
		Doc:   "Level used when the broker compresses with lz4.",
	},
	{
		Name: "compression.type", Type: String, Default: "producer", Importance: High, Mode: ClusterWide,
		Valid: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		Doc:   "Codec for topics without their own: `producer` keeps what the producer chose, `uncompressed` stores plain, any other is applied by the broker.",
	},
	{
		Name: "compression.zstd.level", Type: Int, Default: "3", Importance: Medium, Mode: ClusterWide,
		Valid: between(-131072, 22),
		Doc:   "Level used when the broker compresses with zstd.",
	},
	{
		Name: "config.providers", Type: List, Default: "", Importance: Low, Mode: ClusterWide,
		Valid: anyList(true),
		Doc:   "Names of the providers that resolve `${name:path:key}` in other values; each needs `config.providers.<name>.class`. Environment, file and directory providers are built in.",
	},
	{
		Name: "connection.failed.authentication.delay.ms", Type: Int, Default: "100", Importance: Low, Standing: Kept,
		Valid: atLeast(0),
		Doc:   "Pause before a connection that failed to authenticate is closed.",
	},
	{
		Name: "connections.max.idle.ms", Type: Long, Default: "600000", Importance: Medium,
		Doc: "A connection on which nothing happened for this long is closed. Negative: never.",
	},
	{
		Name: "connections.max.reauth.ms", Type: Long, Default: "0", Importance: Medium, Standing: NotBuilt,
		Doc: "Longest life of a SASL session before the client must authenticate again.",
	},
	{
		Name: "controlled.shutdown.enable", Type: Boolean, Default: "true", Importance: Medium,
		Doc: "Hand leaderships over before stopping.",
	},
	{
		Name: "controller.listener.names", Type: List, Null: true, Importance: High,
		Valid: anyList(false),
		Doc:   "Names of the listeners that serve the controller. Not set, the controller answers on the broker's listeners.",
	},
	{
		Name: "controller.performance.always.log.threshold.ms", Type: Long, Default: "2000", Importance: Medium, Standing: NoEffect, Internal: true,
		Valid: atLeast(0),
		Doc:   "Controller events slower than this are always logged by Kafka.",
	},
	{
		Name: "controller.performance.sample.period.ms", Type: Long, Default: "60000", Importance: Medium, Standing: NoEffect, Internal: true,
		Valid: atLeast(100),
		Doc:   "Period of Kafka's controller performance report.",
	},
	{
		Name: "controller.quorum.append.linger.ms", Type: Int, Default: "25", Importance: Medium, Standing: NoEffect,
		Valid: atLeast(0),
		Doc:   "How long Kafka's controller gathers writes before it flushes; Gregor flushes by group commit.",
	},
	{
		Name: "controller.quorum.auto.join.enable", Type: Boolean, Default: "false", Importance: Low,
		Doc: "Let a controller that is no voter yet add itself to the quorum.",
	},
	{
		Name: "controller.quorum.bootstrap.servers", Type: List, Default: "", Importance: High,
		Valid: anyList(true),
		Doc:   "Addresses by which the controllers of the cluster are found.",
	},
	{
		Name: "controller.quorum.election.backoff.max.ms", Type: Int, Default: "1000", Importance: High, Standing: NoEffect,
		Valid: atLeast(0),
		Doc:   "Longest random pause of Kafka's controllers before another election after a failed one; Gregor's election timeout is random itself.",
	},
	{
		Name: "controller.quorum.election.timeout.ms", Type: Int, Default: "1000", Importance: High,
		Valid: atLeast(0),
		Doc:   "How long a controller waits for votes, at most, before it starts another election. Gregor: also how long it does without a leader, at most; it campaigns after a random time between half of this and all of it.",
	},
	{
		Name: "controller.quorum.fetch.timeout.ms", Type: Int, Default: "2000", Importance: High,
		Valid: atLeast(0),
		Doc:   "How long followers of the metadata quorum do without a leader before they campaign. Gregor: the shorter of this and controller.quorum.election.timeout.ms counts for both.",
	},
	{
		Name: "controller.quorum.request.timeout.ms", Type: Int, Default: "2000", Importance: Medium,
		Valid: atLeast(0),
		Doc:   "How long a request between controllers may take.",
	},
	{
		Name: "controller.quorum.retry.backoff.ms", Type: Int, Default: "20", Importance: Low, Standing: NoEffect,
		Valid: atLeast(0),
		Doc:   "Pause of Kafka's controllers before a failed request is repeated; Gregor pauses from 50 ms on, doubled up to 1 s.",
	},
	{
		Name: "controller.quorum.voters", Type: List, Default: "", Importance: High,
		Valid: anyList(true),
		Doc:   "The fixed set of voters, as `id@host:port` entries. With the controller role this node must be among them.",
	},
	{
		Name: "controller.quota.window.num", Type: Int, Default: "11", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Samples kept for the quota on topic creation and deletion.",
	},
	{
		Name: "controller.quota.window.size.seconds", Type: Int, Default: "1", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of one such sample.",
	},
	{
		Name: "controller.socket.timeout.ms", Type: Int, Default: "30000", Importance: Medium, Standing: NoEffect,
		Doc: "Socket timeout of Kafka's former controller channel.",
	},
	{
		Name: "cordoned.log.dirs", Type: List, Default: "", Importance: Medium, Mode: PerBroker,
		Valid: anyList(true),
		Doc:   "Log directories, as in `log.dirs`, that take no new replicas; `*` is all of them, and then new replicas go to other brokers. A property of Kafka 4.3 (KIP-1066).",
	},
	{
		Name: "create.topic.policy.class.name", Type: Class, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "A Java class that may veto the creation of topics.",
	},
	{
		Name: "default.replication.factor", Type: Int, Default: "1", Importance: Medium,
		Doc: "Replicas of topics that are created automatically or with factor -1.",
	},
	{
		Name: "delegation.token.expiry.check.interval.ms", Type: Long, Default: "3600000", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "How often expired delegation tokens are removed.",
	},
	{
		Name: "delegation.token.expiry.time.ms", Type: Long, Default: "86400000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "How long a delegation token is valid unless renewed.",
	},
	{
		Name: "delegation.token.max.lifetime.ms", Type: Long, Default: "604800000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Age beyond which a delegation token cannot be renewed.",
	},
	{
		Name: "delegation.token.secret.key", Type: Password, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "The secret with which delegation tokens are made; the same on all brokers.",
	},
	{
		Name: "delete.records.purgatory.purge.interval.requests", Type: Int, Default: "1", Importance: Medium, Standing: NoEffect,
		Doc: "Tuning of Kafka's purgatory for DeleteRecords.",
	},
	{
		Name: "delete.topic.enable", Type: Boolean, Default: "true", Importance: High,
		Doc: "Permit topics to be deleted. Off, DeleteTopics is refused.",
	},
	{
		Name: "early.start.listeners", Type: List, Null: true, Importance: High, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "Listeners opened before the authorizer is ready.",
	},
	{
		Name: "fetch.max.bytes", Type: Int, Default: "57671680", Importance: Medium,
		Valid: atLeast(1024),
		Doc:   "Most bytes one Fetch answers, whatever the client asks; a first batch larger than this is still sent.",
	},
	{
		Name: "fetch.purgatory.purge.interval.requests", Type: Int, Default: "1000", Importance: Medium, Standing: NoEffect,
		Doc: "Tuning of Kafka's purgatory for Fetch.",
	},
	{
		Name: "follower.replication.throttled.rate", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide, Internal: true,
		Valid: atLeast(0),
		Doc:   "Bytes a second this broker takes in for throttled replicas. Dynamic only.",
	},
	{
		Name: "gregor.balance.batch", Type: Int, Default: "20", Importance: Low, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "How many partitions the controller moves at a time when it spreads load by itself.",
	},
	{
		Name: "gregor.balance.bytes.per.second", Type: Long, Default: "52428800", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "How fast each broker copies replicas that are being added to it while `gregor.balance.enable` is on, unless they have a throttle of their own (`follower.replication.throttled.replicas`).",
	},
	{
		Name: "gregor.balance.enable", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide,
		Doc: "Let the active controller spread replicas over brokers and racks, and move them off brokers that are drained or unregistered, one batch at a time and only while every replica is in sync. `gregor cluster balance` shows what it would do.",
	},
	{
		Name: "gregor.balance.interval.ms", Type: Long, Default: "60000", Importance: Low, Mode: ClusterWide,
		Valid: atLeast(1000),
		Doc:   "How often the controller looks whether load is to be spread.",
	},
	{
		Name: "gregor.balance.slack.percent", Type: Int, Default: "10", Importance: Low, Mode: ClusterWide,
		Valid: between(1, 1000),
		Doc:   "How many percent more replicas than the mean a broker may hold before the controller moves some by itself.",
	},
	{
		Name: "gregor.broker.drain", Type: Boolean, Default: "false", Importance: Medium, Mode: PerBroker,
		Doc: "Take this broker out: new replicas go to others where there are any, and balancing moves what it has. `gregor cluster balance --drain` sets it, `--undrain` takes it away.",
	},
	{
		Name: "gregor.durable", Type: Boolean, Default: "true", Importance: High, Mode: ClusterWide,
		Doc: "Flush every append before it is acknowledged or shown to consumers, for topics without their own. Off gives Kafka's meaning: replicas and the page cache. Internal topics are always durable.",
	},
	{
		Name: "gregor.http.listener", Type: String, Default: "127.0.0.1:9644", Importance: Medium,
		Doc: "Address of metrics and health checks, as `host:port`. `none` turns it off. When it is not set and the default is taken, a free port is used and printed.",
	},
	{
		Name: "gregor.http.pprof.enable", Type: Boolean, Default: "false", Importance: Low,
		Doc: "Serve Go's profiles under /debug/pprof on `gregor.http.listener`. They may show the contents of memory: not for open networks.",
	},
	{
		Name: "gregor.log.level", Type: String, Default: "info", Importance: Low,
		Valid: oneOf("debug", "info", "warn", "error"),
		Doc:   "Least severe log line that is written: debug, info, warn or error.",
	},
	{
		Name: "gregor.metrics.partition.limit", Type: Int, Default: "2000", Importance: Low,
		Valid: atLeast(0),
		Doc:   "Partitions with series of their own on `/metrics` (size, offsets, lag). The rest count only in the sums.",
	},
	{
		Name: "gregor.scrub.bytes.per.second", Type: Long, Default: "4194304", Importance: Low, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "How fast cold segments are read again to find damage. 0 turns the scrubber off.",
	},
	{
		Name: "gregor.validate.records", Type: String, Default: "compacted", Importance: Medium, Mode: ClusterWide,
		Valid: oneOf("compacted", "all"),
		Doc:   "Which compressed batches are inflated and checked: `compacted` those of compacted topics and of topics that recompress, `all` every one. Uncompressed batches are always checked.",
	},
	{
		Name: "gregor.zero.ahead.bytes", Type: Long, Default: "262144", Importance: Low,
		Valid: atLeast(0),
		Doc:   "Zeroes that are written ahead of the end of a log which takes little at a time and is synced often, so that its syncs need not change the file's length. 0 turns it off: better where overwriting is dearer than appending (btrfs, zfs).",
	},
	{
		Name: "group.consumer.assignors", Type: List, Default: "uniform,range", Importance: Medium, Standing: Kept,
		Valid: anyList(false),
		Doc:   "Assignors of the new consumer protocol in order of preference.",
	},
	{
		Name: "group.consumer.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Heartbeat interval told to members of the new consumer protocol.",
	},
	{
		Name: "group.consumer.max.heartbeat.interval.ms", Type: Int, Default: "15000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Upper bound for a group's `consumer.heartbeat.interval.ms`.",
	},
	{
		Name: "group.consumer.max.session.timeout.ms", Type: Int, Default: "60000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Upper bound for a group's `consumer.session.timeout.ms`.",
	},
	{
		Name: "group.consumer.max.size", Type: Int, Default: "2147483647", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Most members of one group of the new consumer protocol.",
	},
	{
		Name: "group.consumer.migration.policy", Type: String, Default: "bidirectional", Importance: Medium, Standing: Kept,
		Valid: oneOfFold("DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"),
		Doc:   "Which way groups may move between the classic and the new consumer protocol.",
	},
	{
		Name: "group.consumer.min.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Lower bound for a group's `consumer.heartbeat.interval.ms`.",
	},
	{
		Name: "group.consumer.min.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Lower bound for a group's `consumer.session.timeout.ms`.",
	},
	{
		Name: "group.consumer.regex.refresh.interval.ms", Type: Int, Default: "600000", Importance: Medium, Standing: Kept, Internal: true,
		Valid: atLeast(10000),
		Doc:   "How often subscriptions by pattern are matched against the topics again.",
	},
	{
		Name: "group.consumer.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Session timeout of members of the new consumer protocol.",
	},
	{
		Name: "group.coordinator.append.linger.ms", Type: Int, Default: "-1", Importance: Medium, Standing: NoEffect,
		Valid: atLeast(-1),
		Doc:   "How long Kafka's coordinator gathers writes; Gregor's group commit gathers what waits.",
	},
	{
		Name: "group.coordinator.rebalance.protocols", Type: List, Default: "classic,consumer,streams", Importance: Medium,
		Valid: listOf(false, "consumer", "classic", "share", "streams"),
		Doc:   "Group protocols that may be used. The classic one must be among them; the others arrive with their features.",
	},
	{
		Name: "group.coordinator.threads", Type: Int, Default: "4", Importance: High, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Threads of Kafka's group coordinator; Gregor runs one loop for each partition of `__consumer_offsets`.",
	},
	{
		Name: "group.initial.rebalance.delay.ms", Type: Int, Default: "3000", Importance: Medium,
		Doc: "How long the first rebalance of an empty group waits for more members.",
	},
	{
		Name: "group.max.session.timeout.ms", Type: Int, Default: "1800000", Importance: Medium,
		Doc: "Longest session timeout a member of a classic group may ask for.",
	},
	{
		Name: "group.max.size", Type: Int, Default: "2147483647", Importance: Medium,
		Valid: atLeast(1),
		Doc:   "Most members of one classic group.",
	},
	{
		Name: "group.min.session.timeout.ms", Type: Int, Default: "6000", Importance: Medium,
		Doc: "Shortest session timeout a member of a classic group may ask for.",
	},
	{
		Name: "group.share.assignors", Type: List, Default: "simple", Importance: Medium, Standing: Kept,
		Valid: anyList(false),
		Doc:   "Assignors of share groups.",
	},
	{
		Name: "group.share.delivery.count.limit", Type: Int, Default: "5", Importance: Medium, Standing: Kept,
		Valid: between(2, 10),
		Doc:   "How often a record is delivered to a share group before it is given up.",
	},
	{
		Name: "group.share.enable", Type: Boolean, Default: "false", Importance: Medium, Standing: NotBuilt, Internal: true,
		Doc: "Early switch of share groups; `share.version` has taken its place.",
	},
	{
		Name: "group.share.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Heartbeat interval told to members of share groups.",
	},
	{
		Name: "group.share.initialize.retry.interval.ms", Type: Int, Default: "30000", Importance: Low, Standing: Kept, Internal: true,
		Valid: atLeast(1),
		Doc:   "Pause before the state of a share group is initialised again.",
	},
	{
		Name: "group.share.max.heartbeat.interval.ms", Type: Int, Default: "15000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Upper bound for a group's `share.heartbeat.interval.ms`.",
	},
	{
		Name: "group.share.max.record.lock.duration.ms", Type: Int, Default: "60000", Importance: Medium, Standing: Kept,
		Valid: between(30000, 3600000),
		Doc:   "Upper bound for a group's `share.record.lock.duration.ms`.",
	},
	{
		Name: "group.share.max.session.timeout.ms", Type: Int, Default: "60000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Upper bound for a group's `share.session.timeout.ms`.",
	},
	{
		Name: "group.share.max.share.sessions", Type: Int, Default: "2000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Most share sessions of one broker.",
	},
	{
		Name: "group.share.max.size", Type: Int, Default: "200", Importance: Medium, Standing: Kept,
		Valid: between(1, 1000),
		Doc:   "Most members of one share group.",
	},
	{
		Name: "group.share.min.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Lower bound for a group's `share.heartbeat.interval.ms`.",
	},
	{
		Name: "group.share.min.record.lock.duration.ms", Type: Int, Default: "15000", Importance: Medium, Standing: Kept,
		Valid: between(1000, 30000),
		Doc:   "Lower bound for a group's `share.record.lock.duration.ms`.",
	},
	{
		Name: "group.share.min.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Lower bound for a group's `share.session.timeout.ms`.",
	},
	{
		Name: "group.share.partition.max.record.locks", Type: Int, Default: "2000", Importance: Medium, Standing: Kept,
		Valid: between(100, 10000),
		Doc:   "Most records of one partition locked for one share group.",
	},
	{
		Name: "group.share.persister.class.name", Type: String, Default: "org.apache.kafka.server.share.persister.DefaultStatePersister", Importance: Medium, Standing: NotBuilt, Internal: true,
		Doc: "A Java class that keeps the state of share groups.",
	},
	{
		Name: "group.share.record.lock.duration.ms", Type: Int, Default: "30000", Importance: Medium, Standing: Kept,
		Valid: between(1000, 3600000),
		Doc:   "How long a record is locked for the member that got it.",
	},
	{
		Name: "group.share.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Session timeout of members of share groups.",
	},
	{
		Name: "group.streams.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Heartbeat interval told to members of streams groups.",
	},
	{
		Name: "group.streams.initial.rebalance.delay.ms", Type: Int, Default: "3000", Importance: Medium, Standing: Kept,
		Valid: atLeast(0),
		Doc:   "How long the first assignment of an empty streams group waits for more members.",
	},
	{
		Name: "group.streams.max.heartbeat.interval.ms", Type: Int, Default: "15000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Upper bound for a group's `streams.heartbeat.interval.ms`.",
	},
	{
		Name: "group.streams.max.session.timeout.ms", Type: Int, Default: "60000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Upper bound for a group's `streams.session.timeout.ms`.",
	},
	{
		Name: "group.streams.max.size", Type: Int, Default: "2147483647", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Most members of one streams group.",
	},
	{
		Name: "group.streams.max.standby.replicas", Type: Int, Default: "2", Importance: Medium, Standing: Kept,
		Valid: atLeast(0),
		Doc:   "Upper bound for a group's `streams.num.standby.replicas`.",
	},
	{
		Name: "group.streams.min.heartbeat.interval.ms", Type: Int, Default: "5000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Lower bound for a group's `streams.heartbeat.interval.ms`.",
	},
	{
		Name: "group.streams.min.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Lower bound for a group's `streams.session.timeout.ms`.",
	},
	{
		Name: "group.streams.num.standby.replicas", Type: Int, Default: "0", Importance: Medium, Standing: Kept,
		Valid: atLeast(0),
		Doc:   "Standby copies of each task of a streams group.",
	},
	{
		Name: "group.streams.session.timeout.ms", Type: Int, Default: "45000", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Session timeout of members of streams groups.",
	},
	{
		Name: "initial.broker.registration.timeout.ms", Type: Int, Default: "60000", Importance: Medium, Standing: Kept,
		Doc: "How long a starting broker tries to register before it gives up.",
	},
	{
		Name: "inter.broker.listener.name", Type: String, Null: true, Importance: Medium, Standing: Kept,
		Doc: "The listener that brokers use among themselves. Not set, `security.inter.broker.protocol` chooses.",
	},
	{
		Name: "internal.metadata.delete.delay.millis", Type: Long, Default: "60000", Importance: Low, Standing: NoEffect, Internal: true,
		Doc: "Delay before old files of the metadata log are removed.",
	},
	{
		Name: "internal.metadata.log.segment.bytes", Type: Int, Null: true, Importance: Low, Standing: NoEffect, Internal: true,
		Doc: "Segment size of the metadata log in Kafka's tests.",
	},
	{
		Name: "internal.metadata.max.batch.size.in.bytes", Type: Int, Default: "8388608", Importance: Low, Standing: NoEffect, Internal: true,
		Doc: "Largest batch of the metadata log in Kafka's tests.",
	},
	{
		Name: "internal.metadata.max.fetch.size.in.bytes", Type: Int, Default: "8388608", Importance: Low, Standing: NoEffect, Internal: true,
		Doc: "Largest fetch of the metadata log in Kafka's tests.",
	},
	{
		Name: "kafka.metrics.polling.interval.secs", Type: Int, Default: "10", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Polling interval of Kafka's CSV metrics reporter; Gregor serves metrics on demand.",
	},
	{
		Name: "kafka.metrics.reporters", Type: List, Default: "", Importance: Low, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "Java classes that report Yammer metrics. Gregor serves `/metrics`.",
	},
	{
		Name: "leader.imbalance.check.interval.seconds", Type: Long, Default: "300", Importance: High,
		Valid: atLeast(1),
		Doc:   "How often the balance of leaders is checked.",
	},
	{
		Name: "leader.replication.throttled.rate", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide, Internal: true,
		Valid: atLeast(0),
		Doc:   "Bytes a second this broker sends for throttled replicas. Dynamic only.",
	},
	{
		Name: "listener.security.protocol.map", Type: String, Default: "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Importance: Low, Mode: PerBroker,
		Doc: "Which security protocol each listener name speaks, as `name:protocol` entries.",
	},
	{
		Name: "listeners", Type: List, Default: "PLAINTEXT://:9092", Importance: High, Mode: PerBroker,
		Valid: anyList(false),
		Doc:   "The addresses to listen on, as `name://host:port`. An empty host or 0.0.0.0 means all interfaces; port 0 takes a free port.",
	},
	{
		Name: "log.cleaner.backoff.ms", Type: Long, Default: "15000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "How long the log cleaner rests when there was nothing to compact.",
	},
	{
		Name: "log.cleaner.dedupe.buffer.size", Type: Long, Default: "134217728", Importance: Medium, Mode: ClusterWide,
		Doc: "Memory for the maps of keys of all cleaner threads together.",
	},
	{
		Name: "log.cleaner.delete.retention.ms", Type: Long, Default: "86400000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "How long tombstones stay after compaction, for topics without their own `delete.retention.ms`.",
	},
	{
		Name: "log.cleaner.enable", Type: Boolean, Default: "true", Importance: Medium,
		Doc: "Run the log cleaner. Off, compacted topics, `__consumer_offsets` among them, grow without end.",
	},
	{
		Name: "log.cleaner.io.buffer.load.factor", Type: Double, Default: "0.9", Importance: Medium, Mode: ClusterWide,
		Doc: "How full the map of keys may get, as a share of its size.",
	},
	{
		Name: "log.cleaner.io.buffer.size", Type: Int, Default: "524288", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "Memory for the cleaner's read and write buffers, all threads together.",
	},
	{
		Name: "log.cleaner.io.max.bytes.per.second", Type: Double, Default: "1.7976931348623157E308", Importance: Medium, Mode: ClusterWide,
		Doc: "Throttle on the cleaner's reads and writes together.",
	},
	{
		Name: "log.cleaner.max.compaction.lag.ms", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "A record is compacted at the latest after this time, for topics without their own `max.compaction.lag.ms`.",
	},
	{
		Name: "log.cleaner.min.cleanable.ratio", Type: Double, Default: "0.5", Importance: Medium, Mode: ClusterWide,
		Valid: between(0, 1),
		Doc:   "Share of uncompacted bytes at which a log is worth cleaning, for topics without their own.",
	},
	{
		Name: "log.cleaner.min.compaction.lag.ms", Type: Long, Default: "0", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "A record stays uncompacted at least this long, for topics without their own `min.compaction.lag.ms`.",
	},
	{
		Name: "log.cleaner.threads", Type: Int, Default: "1", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "Logs that are compacted at the same time.",
	},
	{
		Name: "log.cleanup.policy", Type: List, Default: "delete", Importance: Medium, Mode: ClusterWide,
		Valid: listOf(true, "compact", "delete"),
		Doc:   "What happens to old segments of topics without their own policy: `delete`, `compact`, both, or (empty) nothing.",
	},
	{
		Name: "log.dir", Type: List, Default: "/tmp/kafka-logs", Importance: High,
		Valid: anyList(false),
		Doc:   "Directory of the logs when `log.dirs` is not set.",
	},
	{
		Name: "log.dir.failure.timeout.ms", Type: Long, Default: "30000", Importance: Low,
		Valid: atLeast(1),
		Doc:   "A broker that could not report a failed log directory to the controller for this long stops.",
	},
	{
		Name: "log.dirs", Type: List, Null: true, Importance: High,
		Valid: anyList(false),
		Doc:   "Directories of the logs, separated by commas. New partitions go to the one that holds the fewest.",
	},
	{
		Name: "log.flush.interval.messages", Type: Long, Default: "9223372036854775807", Importance: High, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "Force a log to disk after this many records, for topics that are not durable.",
	},
	{
		Name: "log.flush.interval.ms", Type: Long, Null: true, Importance: High, Mode: ClusterWide,
		Doc: "Force a log to disk after this time, for topics that are not durable. Not set, `log.flush.scheduler.interval.ms` applies.",
	},
	{
		Name: "log.flush.offset.checkpoint.interval.ms", Type: Int, Default: "60000", Importance: High,
		Valid: atLeast(0),
		Doc:   "How often the point up to which logs are safely on disk is written down.",
	},
	{
		Name: "log.flush.scheduler.interval.ms", Type: Long, Default: "9223372036854775807", Importance: High,
		Doc: "Stands in for `log.flush.interval.ms` where that is not set.",
	},
	{
		Name: "log.flush.start.offset.checkpoint.interval.ms", Type: Int, Default: "60000", Importance: High, Standing: NoEffect,
		Valid: atLeast(0),
		Doc:   "How often the first offsets of the logs are written down; `log.flush.offset.checkpoint.interval.ms` decides for all checkpoints.",
	},
	{
		Name: "log.index.interval.bytes", Type: Int, Default: "4096", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "Bytes of records between two entries of the offset index, for topics without their own.",
	},
	{
		Name: "log.index.size.max.bytes", Type: Int, Default: "10485760", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(4),
		Doc:   "Largest size of an index file; a segment whose index is full is rolled.",
	},
	{
		Name: "log.initial.task.delay.ms", Type: Long, Default: "30000", Importance: Low, Internal: true, Standing: NoEffect,
		Valid: atLeast(0),
		Doc:   "How long after the start retention, flushing and checkpoints begin.",
	},
	{
		Name: "log.local.retention.bytes", Type: Long, Default: "-2", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(-2),
		Doc:   "Bytes kept on local disk of tiered topics; -2 means all of `retention.bytes`.",
	},
	{
		Name: "log.local.retention.ms", Type: Long, Default: "-2", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(-2),
		Doc:   "Time records of tiered topics stay on local disk; -2 means all of `retention.ms`.",
	},
	{
		Name: "log.message.timestamp.after.max.ms", Type: Long, Default: "3600000", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "How far a record's timestamp may be ahead of the broker's clock.",
	},
	{
		Name: "log.message.timestamp.before.max.ms", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "How far a record's timestamp may be behind the broker's clock.",
	},
	{
		Name: "log.message.timestamp.type", Type: String, Default: "CreateTime", Importance: Medium, Mode: ClusterWide,
		Valid: oneOf("CreateTime", "LogAppendTime"),
		Doc:   "Whether a record's time is the producer's (`CreateTime`) or the broker's (`LogAppendTime`).",
	},
	{
		Name: "log.preallocate", Type: Boolean, Default: "false", Importance: Medium, Mode: ClusterWide,
		Doc: "Reserve the whole size of a segment's file when it is created.",
	},
	{
		Name: "log.retention.bytes", Type: Long, Default: "-1", Importance: High, Mode: ClusterWide,
		Doc: "Size a partition may reach before its oldest segments are deleted. -1: no limit.",
	},
	{
		Name: "log.retention.check.interval.ms", Type: Long, Default: "300000", Importance: Medium,
		Valid: atLeast(1),
		Doc:   "How often old segments are looked for.",
	},
	{
		Name: "log.retention.hours", Type: Int, Default: "168", Importance: High,
		Doc: "Hours records are kept when neither `log.retention.ms` nor `log.retention.minutes` is set.",
	},
	{
		Name: "log.retention.minutes", Type: Int, Null: true, Importance: High,
		Doc: "Minutes records are kept when `log.retention.ms` is not set.",
	},
	{
		Name: "log.retention.ms", Type: Long, Null: true, Importance: High, Mode: ClusterWide,
		Doc: "Milliseconds records are kept. -1: for ever.",
	},
	{
		Name: "log.roll.hours", Type: Int, Default: "168", Importance: High,
		Valid: atLeast(1),
		Doc:   "Hours after which a segment is rolled though it is not full, when `log.roll.ms` is not set.",
	},
	{
		Name: "log.roll.jitter.hours", Type: Int, Default: "0", Importance: High,
		Valid: atLeast(0),
		Doc:   "Random part, in hours, taken off the roll time so that segments do not all roll at once, when `log.roll.jitter.ms` is not set.",
	},
	{
		Name: "log.roll.jitter.ms", Type: Long, Null: true, Importance: High, Mode: ClusterWide,
		Doc: "Random part, in milliseconds, taken off the roll time.",
	},
	{
		Name: "log.roll.ms", Type: Long, Null: true, Importance: High, Mode: ClusterWide,
		Doc: "Milliseconds after which a segment is rolled though it is not full.",
	},
	{
		Name: "log.segment.bytes", Type: Int, Default: "1073741824", Importance: High, Mode: ClusterWide,
		Valid: atLeast(1048576),
		Doc:   "Size at which a segment is rolled.",
	},
	{
		Name: "log.segment.delete.delay.ms", Type: Long, Default: "60000", Importance: High, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "How long a deleted segment's files stay on disk.",
	},
	{
		Name: "max.connection.creation.rate", Type: Int, Default: "2147483647", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "New connections a second this broker accepts; more wait. May be set for one listener.",
	},
	{
		Name: "max.connections", Type: Int, Default: "2147483647", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "Connections this broker serves at a time. May be set for one listener.",
	},
	{
		Name: "max.connections.per.ip", Type: Int, Default: "2147483647", Importance: Medium, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "Connections from one address at a time; more are closed.",
	},
	{
		Name: "max.connections.per.ip.overrides", Type: String, Default: "", Importance: Medium, Mode: ClusterWide,
		Doc: "Other limits for some addresses, as `address:limit` entries.",
	},
	{
		Name: "max.incremental.fetch.session.cache.slots", Type: Int, Default: "1000", Importance: Medium,
		Valid: atLeast(0),
		Doc:   "Incremental fetch sessions kept at a time.",
	},
	{
		Name: "max.request.partition.size.limit", Type: Int, Default: "2000", Importance: Medium,
		Valid: atLeast(1),
		Doc:   "Most partitions that one DescribeTopicPartitions answers.",
	},
	{
		Name: "message.max.bytes", Type: Int, Default: "1048588", Importance: High, Mode: ClusterWide,
		Valid: atLeast(0),
		Doc:   "Largest batch of records accepted, after compression, for topics without their own `max.message.bytes`.",
	},
	{
		Name: "metadata.log.dir", Type: String, Null: true, Importance: High,
		Doc: "Directory of the metadata log. Not set, the first of the log directories.",
	},
	{
		Name: "metadata.log.max.record.bytes.between.snapshots", Type: Long, Default: "20971520", Importance: High,
		Valid: atLeast(1),
		Doc:   "Bytes of new metadata records after which a snapshot is taken.",
	},
	{
		Name: "metadata.log.max.snapshot.interval.ms", Type: Long, Default: "3600000", Importance: High,
		Valid: atLeast(0),
		Doc:   "Time after which a snapshot is taken though little has changed. 0: never by time.",
	},
	{
		Name: "metadata.log.segment.bytes", Type: Int, Default: "1073741824", Importance: High,
		Valid: atLeast(8388608),
		Doc:   "Size at which a segment of the metadata log is rolled.",
	},
	{
		Name: "metadata.log.segment.ms", Type: Long, Default: "604800000", Importance: High,
		Doc: "Time after which a segment of the metadata log is rolled.",
	},
	{
		Name: "metadata.max.idle.interval.ms", Type: Int, Default: "500", Importance: Low, Standing: NoEffect,
		Valid: atLeast(0),
		Doc:   "How often Kafka's controller writes a record when nothing else happens.",
	},
	{
		Name: "metadata.max.retention.bytes", Type: Long, Default: "104857600", Importance: High, Standing: NoEffect,
		Doc: "Size of metadata log and snapshots beyond which Kafka deletes old ones; Gregor keeps what the newest snapshot does not cover.",
	},
	{
		Name: "metadata.max.retention.ms", Type: Long, Default: "604800000", Importance: High, Standing: NoEffect,
		Doc: "Age beyond which Kafka deletes old metadata; Gregor keeps what the newest snapshot does not cover.",
	},
	{
		Name: "metric.reporters", Type: List, Default: "org.apache.kafka.common.metrics.JmxReporter", Importance: Low, Mode: ClusterWide, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "Java classes that report metrics. Gregor serves `/metrics` instead.",
	},
	{
		Name: "metrics.num.samples", Type: Int, Default: "2", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Samples kept by Kafka's metrics.",
	},
	{
		Name: "metrics.recording.level", Type: String, Default: "INFO", Importance: Low, Standing: NoEffect,
		Doc: "How much Kafka's metrics record.",
	},
	{
		Name: "metrics.sample.window.ms", Type: Long, Default: "30000", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of a sample of Kafka's metrics.",
	},
	{
		Name: "min.insync.replicas", Type: Int, Default: "1", Importance: High, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "In-sync replicas below which a write with acks=all is refused, for topics without their own.",
	},
	{
		Name: "node.id", Type: Int, Null: true, Importance: High,
		Valid: atLeast(0),
		Doc:   "This node's number in the cluster, from 0.",
	},
	{
		Name: "num.io.threads", Type: Int, Default: "8", Importance: High, Mode: ClusterWide, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Threads of Kafka's request handlers; Gregor serves each connection from its own goroutine.",
	},
	{
		Name: "num.network.threads", Type: Int, Default: "3", Importance: High, Mode: ClusterWide, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Threads of Kafka's network layer; Gregor leaves sockets to the Go runtime.",
	},
	{
		Name: "num.partitions", Type: Int, Default: "1", Importance: Medium,
		Valid: atLeast(1),
		Doc:   "Partitions of topics that are created automatically or with count -1.",
	},
	{
		Name: "num.recovery.threads.per.data.dir", Type: Int, Default: "2", Importance: High, Mode: ClusterWide, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Logs of one directory that are recovered at the same time. Gregor opens logs when they are first used, so a start does not wait for them.",
	},
	{
		Name: "num.replica.alter.log.dirs.threads", Type: Int, Null: true, Importance: High,
		Doc: "Logs that are moved between this broker's directories at the same time. Not set: as many as there are directories.",
	},
	{
		Name: "num.replica.fetchers", Type: Int, Default: "1", Importance: High, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "Connections used to follow one leader.",
	},
	{
		Name: "offset.metadata.max.bytes", Type: Int, Default: "4096", Importance: High,
		Doc: "Longest note that may be stored with a committed offset.",
	},
	{
		Name: "offsets.commit.timeout.ms", Type: Int, Default: "5000", Importance: High,
		Valid: atLeast(1),
		Doc:   "How long an offset commit waits to be durable on all replicas.",
	},
	{
		Name: "offsets.load.buffer.size", Type: Int, Default: "5242880", Importance: High,
		Valid: atLeast(1),
		Doc:   "Bytes read at a time when groups and offsets are loaded.",
	},
	{
		Name: "offsets.retention.check.interval.ms", Type: Long, Default: "600000", Importance: High,
		Valid: atLeast(1),
		Doc:   "How often expired offsets are looked for.",
	},
	{
		Name: "offsets.retention.minutes", Type: Int, Default: "10080", Importance: High,
		Valid: atLeast(1),
		Doc:   "How long the offsets of an empty group are kept.",
	},
	{
		Name: "offsets.topic.compression.codec", Type: Int, Default: "0", Importance: High, Standing: NoEffect,
		Doc: "Codec of `__consumer_offsets`, by number; Gregor stores it as the topic's own `compression.type` says.",
	},
	{
		Name: "offsets.topic.num.partitions", Type: Int, Default: "50", Importance: High,
		Valid: atLeast(1),
		Doc:   "Partitions of `__consumer_offsets`; not to be changed once the topic exists.",
	},
	{
		Name: "offsets.topic.replication.factor", Type: Short, Default: "3", Importance: High,
		Valid: atLeast(1),
		Doc:   "Replicas of `__consumer_offsets`. Until as many brokers are there the topic is not created.",
	},
	{
		Name: "offsets.topic.segment.bytes", Type: Int, Default: "104857600", Importance: High,
		Valid: atLeast(1),
		Doc:   "Segment size of `__consumer_offsets`.",
	},
	{
		Name: "principal.builder.class", Type: Class, Default: "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "A Java class that names the principal of a connection.",
	},
	{
		Name: "process.roles", Type: List, Null: true, Importance: High,
		Valid: listOf(false, "broker", "controller"),
		Doc:   "What this process is: `broker`, `controller`, or both.",
	},
	{
		Name: "producer.id.expiration.check.interval.ms", Type: Int, Default: "600000", Importance: Low, Internal: true, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "How often producers that fell silent are looked for.",
	},
	{
		Name: "producer.id.expiration.ms", Type: Int, Default: "86400000", Importance: Low, Mode: ClusterWide,
		Valid: atLeast(1),
		Doc:   "How long the sequence numbers of a silent producer are remembered.",
	},
	{
		Name: "producer.purgatory.purge.interval.requests", Type: Int, Default: "1000", Importance: Medium, Standing: NoEffect,
		Doc: "Tuning of Kafka's purgatory for Produce.",
	},
	{
		Name: "queued.max.request.bytes", Type: Long, Default: "-1", Importance: Medium,
		Doc: "Bytes of requests held in memory at a time; beyond it no more are read. -1: Gregor's own bound.",
	},
	{
		Name: "queued.max.requests", Type: Int, Default: "500", Importance: High, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of Kafka's request queue; Gregor has none, each connection's requests wait in its socket.",
	},
	{
		Name: "quota.window.num", Type: Int, Default: "11", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Samples kept for client quotas.",
	},
	{
		Name: "quota.window.size.seconds", Type: Int, Default: "1", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of one such sample.",
	},
	{
		Name: "remote.fetch.max.wait.ms", Type: Int, Default: "500", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "How long a fetch waits for a remote tier.",
	},
	{
		Name: "remote.list.offsets.request.timeout.ms", Type: Long, Default: "30000", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "How long ListOffsets waits for a remote tier.",
	},
	{
		Name: "remote.log.index.file.cache.total.size.bytes", Type: Long, Default: "1073741824", Importance: Low, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Space for indexes fetched from a remote tier.",
	},
	{
		Name: "remote.log.manager.copier.thread.pool.size", Type: Int, Default: "10", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Threads that copy segments to a remote tier.",
	},
	{
		Name: "remote.log.manager.copy.max.bytes.per.second", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Throttle on copies to a remote tier.",
	},
	{
		Name: "remote.log.manager.copy.quota.window.num", Type: Int, Default: "11", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Samples kept for that throttle.",
	},
	{
		Name: "remote.log.manager.copy.quota.window.size.seconds", Type: Int, Default: "1", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Length of one such sample.",
	},
	{
		Name: "remote.log.manager.expiration.thread.pool.size", Type: Int, Default: "10", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Threads that delete expired segments of a remote tier.",
	},
	{
		Name: "remote.log.manager.fetch.max.bytes.per.second", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Throttle on reads from a remote tier.",
	},
	{
		Name: "remote.log.manager.fetch.quota.window.num", Type: Int, Default: "11", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Samples kept for that throttle.",
	},
	{
		Name: "remote.log.manager.fetch.quota.window.size.seconds", Type: Int, Default: "1", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Length of one such sample.",
	},
	{
		Name: "remote.log.manager.follower.thread.pool.size", Type: Int, Default: "2", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Threads for follower's work with a remote tier.",
	},
	{
		Name: "remote.log.manager.task.interval.ms", Type: Long, Default: "30000", Importance: Low, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "How often work for a remote tier is looked for.",
	},
	{
		Name: "remote.log.manager.task.retry.backoff.max.ms", Type: Long, Default: "30000", Importance: Low, Standing: Kept, Internal: true,
		Valid: atLeast(1),
		Doc:   "Longest pause before failed work with a remote tier is tried again.",
	},
	{
		Name: "remote.log.manager.task.retry.backoff.ms", Type: Long, Default: "500", Importance: Low, Standing: Kept, Internal: true,
		Valid: atLeast(1),
		Doc:   "First pause before failed work with a remote tier is tried again.",
	},
	{
		Name: "remote.log.manager.task.retry.jitter", Type: Double, Default: "0.2", Importance: Low, Standing: Kept, Internal: true,
		Valid: between(0, 0.5),
		Doc:   "Random share of that pause.",
	},
	{
		Name: "remote.log.manager.thread.pool.size", Type: Int, Default: "2", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Threads for work with a remote tier, where no finer number is set.",
	},
	{
		Name: "remote.log.metadata.custom.metadata.max.bytes", Type: Int, Default: "128", Importance: Low, Standing: Kept,
		Valid: atLeast(0),
		Doc:   "Largest custom metadata of a remote segment.",
	},
	{
		Name: "remote.log.metadata.manager.class.name", Type: String, Default: "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", Importance: Medium, Standing: NotBuilt,
		Valid: nonEmpty(),
		Doc:   "A Java class that keeps the metadata of a remote tier.",
	},
	{
		Name: "remote.log.metadata.manager.class.path", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Where that class is found.",
	},
	{
		Name: "remote.log.metadata.manager.impl.prefix", Type: String, Default: "rlmm.config.", Importance: Medium, Standing: Kept,
		Valid: nonEmpty(),
		Doc:   "Prefix of that class's own settings.",
	},
	{
		Name: "remote.log.metadata.manager.listener.name", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Valid: nonEmpty(),
		Doc:   "The listener that class connects to.",
	},
	{
		Name: "remote.log.reader.max.pending.tasks", Type: Int, Default: "100", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Longest queue of reads from a remote tier.",
	},
	{
		Name: "remote.log.reader.threads", Type: Int, Default: "10", Importance: Medium, Mode: ClusterWide, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Threads that read from a remote tier.",
	},
	{
		Name: "remote.log.storage.manager.class.name", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Valid: nonEmpty(),
		Doc:   "A Java class that stores segments in a remote tier.",
	},
	{
		Name: "remote.log.storage.manager.class.path", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Where that class is found.",
	},
	{
		Name: "remote.log.storage.manager.impl.prefix", Type: String, Default: "rsm.config.", Importance: Medium, Standing: Kept,
		Valid: nonEmpty(),
		Doc:   "Prefix of that class's own settings.",
	},
	{
		Name: "remote.log.storage.system.enable", Type: Boolean, Default: "false", Importance: Medium, Standing: NotBuilt,
		Doc: "Turns tiered storage on.",
	},
	{
		Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, Default: "9223372036854775807", Importance: Medium, Mode: ClusterWide, Internal: true,
		Valid: atLeast(0),
		Doc:   "Bytes a second moved between this broker's log directories. Dynamic only.",
	},
	{
		Name: "replica.fetch.backoff.ms", Type: Int, Default: "1000", Importance: Medium,
		Valid: atLeast(0),
		Doc:   "Pause of a follower after a failed fetch.",
	},
	{
		Name: "replica.fetch.max.bytes", Type: Int, Default: "1048576", Importance: Medium,
		Valid: atLeast(0),
		Doc:   "Bytes a follower asks for from each partition.",
	},
	{
		Name: "replica.fetch.min.bytes", Type: Int, Default: "1", Importance: High,
		Doc: "Bytes a follower's fetch waits for.",
	},
	{
		Name: "replica.fetch.response.max.bytes", Type: Int, Default: "10485760", Importance: Medium,
		Valid: atLeast(0),
		Doc:   "Bytes a follower asks for in one fetch.",
	},
	{
		Name: "replica.fetch.wait.max.ms", Type: Int, Default: "500", Importance: High,
		Doc: "How long a follower's fetch waits for data.",
	},
	{
		Name: "replica.high.watermark.checkpoint.interval.ms", Type: Long, Default: "5000", Importance: High, Standing: NoEffect,
		Doc: "How often high watermarks are written down; `log.flush.offset.checkpoint.interval.ms` decides for all checkpoints.",
	},
	{
		Name: "replica.lag.time.max.ms", Type: Long, Default: "30000", Importance: High,
		Doc: "A follower that did not catch up for this long leaves the in-sync set.",
	},
	{
		Name: "replica.selector.class", Type: String, Null: true, Importance: Medium,
		Valid: oneOf(RackAwareSelector, "org.apache.kafka.common.replica.LeaderSelector"),
		Doc:   "Who chooses the replica that a consumer reads from, by the name of Kafka's class: RackAwareReplicaSelector sends a consumer with client.rack to the in-sync replica of its rack that is furthest; LeaderSelector, and no value, to the leader.",
	},
	{
		Name: "replica.socket.receive.buffer.bytes", Type: Int, Default: "65536", Importance: High, Standing: NoEffect,
		Doc: "Socket buffer of followers' connections.",
	},
	{
		Name: "replica.socket.timeout.ms", Type: Int, Default: "30000", Importance: High,
		Doc: "Socket timeout of followers' connections.",
	},
	{
		Name: "replication.quota.window.num", Type: Int, Default: "11", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Samples kept for replication throttles.",
	},
	{
		Name: "replication.quota.window.size.seconds", Type: Int, Default: "1", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of one such sample.",
	},
	{
		Name: "request.timeout.ms", Type: Int, Default: "30000", Importance: High,
		Doc: "How long this broker waits for an answer of another.",
	},
	{
		Name: "sasl.client.callback.handler.class", Type: Class, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "A Java class that answers SASL client callbacks.",
	},
	{
		Name: "sasl.enabled.mechanisms", Type: List, Default: "GSSAPI", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "SASL mechanisms offered to clients.",
	},
	{
		Name: "sasl.jaas.config", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Login of a SASL listener, in JAAS form.",
	},
	{
		Name: "sasl.kerberos.kinit.cmd", Type: String, Default: "/usr/bin/kinit", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Path of kinit.",
	},
	{
		Name: "sasl.kerberos.min.time.before.relogin", Type: Long, Default: "60000", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Shortest time between two refreshes of a Kerberos ticket.",
	},
	{
		Name: "sasl.kerberos.principal.to.local.rules", Type: List, Default: "DEFAULT", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "Rules that turn Kerberos principals into short names.",
	},
	{
		Name: "sasl.kerberos.service.name", Type: String, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Kerberos service name of the brokers.",
	},
	{
		Name: "sasl.kerberos.ticket.renew.jitter", Type: Double, Default: "0.05", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Random share of the renewal time of a Kerberos ticket.",
	},
	{
		Name: "sasl.kerberos.ticket.renew.window.factor", Type: Double, Default: "0.8", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Share of a Kerberos ticket's life after which it is renewed.",
	},
	{
		Name: "sasl.login.callback.handler.class", Type: Class, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "A Java class that answers SASL login callbacks.",
	},
	{
		Name: "sasl.login.class", Type: Class, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "A Java class that logs in.",
	},
	{
		Name: "sasl.login.connect.timeout.ms", Type: Int, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "Connection timeout towards an OAuth provider.",
	},
	{
		Name: "sasl.login.read.timeout.ms", Type: Int, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "Read timeout towards an OAuth provider.",
	},
	{
		Name: "sasl.login.refresh.buffer.seconds", Type: Short, Default: "300", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Time before expiry kept free when a token is refreshed.",
	},
	{
		Name: "sasl.login.refresh.min.period.seconds", Type: Short, Default: "60", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Shortest time between two refreshes of a token.",
	},
	{
		Name: "sasl.login.refresh.window.factor", Type: Double, Default: "0.8", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Share of a token's life after which it is refreshed.",
	},
	{
		Name: "sasl.login.refresh.window.jitter", Type: Double, Default: "0.05", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Random share of that time.",
	},
	{
		Name: "sasl.login.retry.backoff.max.ms", Type: Long, Default: "10000", Importance: Low, Standing: NotBuilt,
		Doc: "Longest pause between logins with an OAuth provider.",
	},
	{
		Name: "sasl.login.retry.backoff.ms", Type: Long, Default: "100", Importance: Low, Standing: NotBuilt,
		Doc: "First pause between logins with an OAuth provider.",
	},
	{
		Name: "sasl.mechanism.controller.protocol", Type: String, Default: "GSSAPI", Importance: High, Standing: NotBuilt,
		Doc: "SASL mechanism used towards controllers.",
	},
	{
		Name: "sasl.mechanism.inter.broker.protocol", Type: String, Default: "GSSAPI", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "SASL mechanism used between brokers.",
	},
	{
		Name: "sasl.oauthbearer.assertion.algorithm", Type: String, Default: "RS256", Importance: Medium, Standing: NotBuilt,
		Valid: oneOfFold("ES256", "RS256"),
		Doc:   "Signature of client assertions.",
	},
	{
		Name: "sasl.oauthbearer.assertion.claim.aud", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Audience of client assertions.",
	},
	{
		Name: "sasl.oauthbearer.assertion.claim.exp.seconds", Type: Int, Default: "300", Importance: Low, Standing: NotBuilt,
		Valid: between(0, 86400),
		Doc:   "Life of client assertions.",
	},
	{
		Name: "sasl.oauthbearer.assertion.claim.iss", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Issuer of client assertions.",
	},
	{
		Name: "sasl.oauthbearer.assertion.claim.jti.include", Type: Boolean, Default: "false", Importance: Medium, Standing: NotBuilt,
		Doc: "Give client assertions an id.",
	},
	{
		Name: "sasl.oauthbearer.assertion.claim.nbf.seconds", Type: Int, Default: "60", Importance: Low, Standing: NotBuilt,
		Valid: between(0, 3600),
		Doc:   "How far back client assertions are valid.",
	},
	{
		Name: "sasl.oauthbearer.assertion.claim.sub", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Subject of client assertions.",
	},
	{
		Name: "sasl.oauthbearer.assertion.file", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "File with a ready client assertion.",
	},
	{
		Name: "sasl.oauthbearer.assertion.private.key.file", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Key that signs client assertions.",
	},
	{
		Name: "sasl.oauthbearer.assertion.private.key.passphrase", Type: Password, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Passphrase of that key.",
	},
	{
		Name: "sasl.oauthbearer.assertion.template.file", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Template of client assertions.",
	},
	{
		Name: "sasl.oauthbearer.client.credentials.client.id", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Client id towards an OAuth provider.",
	},
	{
		Name: "sasl.oauthbearer.client.credentials.client.secret", Type: Password, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Client secret towards an OAuth provider.",
	},
	{
		Name: "sasl.oauthbearer.clock.skew.seconds", Type: Int, Default: "30", Importance: Low, Standing: NotBuilt,
		Doc: "Difference of clocks tolerated when tokens are checked.",
	},
	{
		Name: "sasl.oauthbearer.expected.audience", Type: List, Default: "", Importance: Low, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "Audience a token must carry.",
	},
	{
		Name: "sasl.oauthbearer.expected.issuer", Type: String, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "Issuer a token must carry.",
	},
	{
		Name: "sasl.oauthbearer.jwks.endpoint.refresh.ms", Type: Long, Default: "3600000", Importance: Low, Standing: NotBuilt,
		Doc: "How often the keys of an OAuth provider are fetched.",
	},
	{
		Name: "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Type: Long, Default: "10000", Importance: Low, Standing: NotBuilt,
		Doc: "Longest pause between attempts to fetch them.",
	},
	{
		Name: "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Type: Long, Default: "100", Importance: Low, Standing: NotBuilt,
		Doc: "First pause between attempts to fetch them.",
	},
	{
		Name: "sasl.oauthbearer.jwks.endpoint.url", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Where those keys are fetched.",
	},
	{
		Name: "sasl.oauthbearer.jwt.retriever.class", Type: Class, Default: "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", Importance: Medium, Standing: NotBuilt,
		Doc: "A Java class that fetches tokens.",
	},
	{
		Name: "sasl.oauthbearer.jwt.validator.class", Type: Class, Default: "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", Importance: Medium, Standing: NotBuilt,
		Doc: "A Java class that checks tokens.",
	},
	{
		Name: "sasl.oauthbearer.scope", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Scope asked for with a token.",
	},
	{
		Name: "sasl.oauthbearer.scope.claim.name", Type: String, Default: "scope", Importance: Low, Standing: NotBuilt,
		Doc: "Claim that holds the scope.",
	},
	{
		Name: "sasl.oauthbearer.sub.claim.name", Type: String, Default: "sub", Importance: Low, Standing: NotBuilt,
		Doc: "Claim that holds the subject.",
	},
	{
		Name: "sasl.oauthbearer.token.endpoint.url", Type: String, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "Where tokens are fetched.",
	},
	{
		Name: "sasl.server.callback.handler.class", Type: Class, Null: true, Importance: Medium, Standing: NotBuilt,
		Doc: "A Java class that answers SASL server callbacks.",
	},
	{
		Name: "sasl.server.max.receive.size", Type: Int, Default: "524288", Importance: Medium, Standing: Kept,
		Doc: "Largest SASL message accepted from a client.",
	},
	{
		Name: "security.inter.broker.protocol", Type: String, Default: "PLAINTEXT", Importance: Medium, Standing: NotBuilt,
		Valid: oneOf("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
		Doc:   "Security protocol between brokers when `inter.broker.listener.name` is not set.",
	},
	{
		Name: "security.providers", Type: String, Null: true, Importance: Low, Standing: NotBuilt,
		Doc: "Java security providers.",
	},
	{
		Name: "server.max.startup.time.ms", Type: Long, Default: "9223372036854775807", Importance: Medium, Standing: Kept, Internal: true,
		Valid: atLeast(0),
		Doc:   "Longest time the start may take.",
	},
	{
		Name: "share.coordinator.append.linger.ms", Type: Int, Default: "-1", Importance: Medium, Standing: Kept,
		Valid: atLeast(-1),
		Doc:   "How long the share coordinator gathers writes.",
	},
	{
		Name: "share.coordinator.cold.partition.snapshot.interval.ms", Type: Int, Default: "300000", Importance: Low, Standing: Kept, Internal: true,
		Valid: atLeast(1),
		Doc:   "How often idle share partitions are written as snapshots.",
	},
	{
		Name: "share.coordinator.load.buffer.size", Type: Int, Default: "5242880", Importance: High, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Bytes read at a time when share state is loaded.",
	},
	{
		Name: "share.coordinator.snapshot.update.records.per.snapshot", Type: Int, Default: "500", Importance: Medium, Standing: Kept,
		Valid: atLeast(0),
		Doc:   "Updates between two snapshots of a share partition.",
	},
	{
		Name: "share.coordinator.state.topic.compression.codec", Type: Int, Default: "0", Importance: High, Standing: Kept,
		Doc: "Codec of `__share_group_state`, by number.",
	},
	{
		Name: "share.coordinator.state.topic.min.isr", Type: Short, Default: "2", Importance: High, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "`min.insync.replicas` of `__share_group_state`.",
	},
	{
		Name: "share.coordinator.state.topic.num.partitions", Type: Int, Default: "50", Importance: High, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Partitions of `__share_group_state`.",
	},
	{
		Name: "share.coordinator.state.topic.prune.interval.ms", Type: Int, Default: "300000", Importance: Low, Standing: Kept, Internal: true,
		Valid: atLeast(1),
		Doc:   "How often old share state is deleted.",
	},
	{
		Name: "share.coordinator.state.topic.replication.factor", Type: Short, Default: "3", Importance: High, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Replicas of `__share_group_state`.",
	},
	{
		Name: "share.coordinator.state.topic.segment.bytes", Type: Int, Default: "104857600", Importance: High, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Segment size of `__share_group_state`.",
	},
	{
		Name: "share.coordinator.threads", Type: Int, Default: "1", Importance: Medium, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "Threads of Kafka's share coordinator.",
	},
	{
		Name: "share.coordinator.write.timeout.ms", Type: Int, Default: "5000", Importance: High, Standing: Kept,
		Valid: atLeast(1),
		Doc:   "How long a write of share state may take.",
	},
	{
		Name: "share.fetch.purgatory.purge.interval.requests", Type: Int, Default: "1000", Importance: Medium, Standing: NoEffect,
		Doc: "Tuning of Kafka's purgatory for ShareFetch.",
	},
	{
		Name: "socket.connection.setup.timeout.max.ms", Type: Long, Default: "30000", Importance: Medium, Standing: Kept,
		Doc: "Longest time a connection to another node may take to be made, after failures.",
	},
	{
		Name: "socket.connection.setup.timeout.ms", Type: Long, Default: "10000", Importance: Medium, Standing: Kept,
		Doc: "Time a connection to another node may take to be made.",
	},
	{
		Name: "socket.listen.backlog.size", Type: Int, Default: "50", Importance: Medium, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "Length of the queue of connections to accept; the operating system's own limit is used.",
	},
	{
		Name: "socket.receive.buffer.bytes", Type: Int, Default: "102400", Importance: High,
		Doc: "Receive buffer of clients' sockets. -1: the operating system's choice.",
	},
	{
		Name: "socket.request.max.bytes", Type: Int, Default: "104857600", Importance: High,
		Valid: atLeast(1),
		Doc:   "Largest request; a connection that sends more is closed.",
	},
	{
		Name: "socket.send.buffer.bytes", Type: Int, Default: "102400", Importance: High,
		Doc: "Send buffer of clients' sockets. -1: the operating system's choice.",
	},
	{
		Name: "ssl.allow.dn.changes", Type: Boolean, Default: "false", Importance: Low, Standing: NotBuilt,
		Doc: "Accept a changed distinguished name when a key store is replaced.",
	},
	{
		Name: "ssl.allow.san.changes", Type: Boolean, Default: "false", Importance: Low, Standing: NotBuilt,
		Doc: "Accept changed subject alternative names when a key store is replaced.",
	},
	{
		Name: "ssl.cipher.suites", Type: List, Default: "", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "Cipher suites of TLS listeners.",
	},
	{
		Name: "ssl.client.auth", Type: String, Default: "none", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Valid: oneOf("required", "requested", "none"),
		Doc:   "Whether TLS clients must show a certificate.",
	},
	{
		Name: "ssl.enabled.protocols", Type: List, Default: "TLSv1.2,TLSv1.3", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Valid: anyList(true),
		Doc:   "TLS versions that are offered.",
	},
	{
		Name: "ssl.endpoint.identification.algorithm", Type: String, Default: "https", Importance: Low, Mode: PerBroker, Standing: NotBuilt,
		Doc: "How host names in certificates are checked.",
	},
	{
		Name: "ssl.engine.factory.class", Type: Class, Null: true, Importance: Low, Mode: PerBroker, Standing: NotBuilt,
		Doc: "A Java class that makes TLS engines.",
	},
	{
		Name: "ssl.key.password", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Password of the private key.",
	},
	{
		Name: "ssl.keymanager.algorithm", Type: String, Default: "SunX509", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Java's key manager algorithm.",
	},
	{
		Name: "ssl.keystore.certificate.chain", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Certificate chain in PEM.",
	},
	{
		Name: "ssl.keystore.key", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Private key in PEM.",
	},
	{
		Name: "ssl.keystore.location", Type: String, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "File of the key store.",
	},
	{
		Name: "ssl.keystore.password", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Password of the key store.",
	},
	{
		Name: "ssl.keystore.type", Type: String, Default: "JKS", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Form of the key store.",
	},
	{
		Name: "ssl.principal.mapping.rules", Type: String, Default: "DEFAULT", Importance: Low, Standing: NotBuilt,
		Doc: "Rules that turn certificate names into principals.",
	},
	{
		Name: "ssl.protocol", Type: String, Default: "TLSv1.3", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "TLS protocol of Java's context.",
	},
	{
		Name: "ssl.provider", Type: String, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Java's provider of TLS.",
	},
	{
		Name: "ssl.secure.random.implementation", Type: String, Null: true, Importance: Low, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Java's random numbers for TLS.",
	},
	{
		Name: "ssl.trustmanager.algorithm", Type: String, Default: "PKIX", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Java's trust manager algorithm.",
	},
	{
		Name: "ssl.truststore.certificates", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Trusted certificates in PEM.",
	},
	{
		Name: "ssl.truststore.location", Type: String, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "File of the trust store.",
	},
	{
		Name: "ssl.truststore.password", Type: Password, Null: true, Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Password of the trust store.",
	},
	{
		Name: "ssl.truststore.type", Type: String, Default: "JKS", Importance: Medium, Mode: PerBroker, Standing: NotBuilt,
		Doc: "Form of the trust store.",
	},
	{
		Name: "telemetry.max.bytes", Type: Int, Default: "1048576", Importance: Low,
		Valid: atLeast(1),
		Doc:   "Largest report of client metrics accepted.",
	},
	{
		Name: "transaction.abort.timed.out.transaction.cleanup.interval.ms", Type: Int, Default: "10000", Importance: Low, Standing: NoEffect,
		Valid: atLeast(1),
		Doc:   "How often transactions that took too long are looked for. Here each has a timer of its own.",
	},
	{
		Name: "transaction.max.timeout.ms", Type: Int, Default: "900000", Importance: High,
		Valid: atLeast(1),
		Doc:   "Longest transaction timeout a producer may ask for.",
	},
	{
		Name: "transaction.partition.verification.enable", Type: Boolean, Default: "true", Importance: Low, Mode: ClusterWide,
		Doc: "Check that a partition belongs to the transaction before the first write to it.",
	},
	{
		Name: "transaction.remove.expired.transaction.cleanup.interval.ms", Type: Int, Default: "3600000", Importance: Low,
		Valid: atLeast(1),
		Doc:   "How often expired transactional ids are looked for.",
	},
	{
		Name: "transaction.state.log.load.buffer.size", Type: Int, Default: "5242880", Importance: High,
		Valid: atLeast(1),
		Doc:   "Bytes read at a time when transactions are loaded.",
	},
	{
		Name: "transaction.state.log.min.isr", Type: Int, Default: "2", Importance: High,
		Valid: atLeast(1),
		Doc:   "`min.insync.replicas` of `__transaction_state`.",
	},
	{
		Name: "transaction.state.log.num.partitions", Type: Int, Default: "50", Importance: High,
		Valid: atLeast(1),
		Doc:   "Partitions of `__transaction_state`.",
	},
	{
		Name: "transaction.state.log.replication.factor", Type: Short, Default: "3", Importance: High,
		Valid: atLeast(1),
		Doc:   "Replicas of `__transaction_state`.",
	},
	{
		Name: "transaction.state.log.segment.bytes", Type: Int, Default: "104857600", Importance: High,
		Valid: atLeast(1),
		Doc:   "Segment size of `__transaction_state`.",
	},
	{
		Name: "transaction.two.phase.commit.enable", Type: Boolean, Default: "false", Importance: Low, Standing: NotBuilt,
		Doc: "Permit transactions that an outside coordinator commits.",
	},
	{
		Name: "transactional.id.expiration.ms", Type: Int, Default: "604800000", Importance: High,
		Valid: atLeast(1),
		Doc:   "How long a silent transactional id is remembered.",
	},
	{
		Name: "unclean.leader.election.enable", Type: Boolean, Default: "false", Importance: High, Mode: ClusterWide, Standing: Kept,
		Doc: "Permit a replica that is not in sync to become leader, at the price of lost records, for topics without their own.",
	},
	{
		Name: "unclean.leader.election.interval.ms", Type: Long, Default: "300000", Importance: Medium, Standing: Kept, Internal: true,
		Valid: atLeast(1),
		Doc:   "How often partitions in need of an unclean election are looked for.",
	},
	{
		Name: "unstable.api.versions.enable", Type: Boolean, Default: "false", Importance: High, Standing: NotBuilt, Internal: true,
		Doc: "Offer API versions that are not released.",
	},
	{
		Name: "unstable.feature.versions.enable", Type: Boolean, Default: "false", Importance: High, Standing: NotBuilt, Internal: true,
		Doc: "Offer feature versions that are not released.",
	},
}
