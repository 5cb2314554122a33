// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Forever is a time span that Kafka writes as 2^63-1 or -1 milliseconds.
const Forever = time.Duration(math.MaxInt64)

// Broker is the typed view of a node's configuration: what other rooms read.
// It is made once for each Settings and never changed.
type Broker struct {
	NodeID       int32
	Rack         string
	IsBroker     bool
	IsController bool

	Listeners               []Listener
	Advertised              []Endpoint // what clients are told, without the controllers'
	AdvertisedControllers   []Endpoint
	ControllerListenerNames []string // empty: controller APIs on the broker's listeners
	InterBrokerListener     string
	QuorumVoters            []Voter  // of controller.quorum.voters
	QuorumBootstrap         []string // host:port
	HTTP                    HTTP

	LogDirs        []string
	CordonedDirs   []string // of LogDirs; "*" is all
	MetadataLogDir string   // one of LogDirs unless set otherwise

	Network  Network
	Fetch    Fetch
	Creation Creation
	Log      Log
	Cleaner  Cleaner
	Groups   GroupLimits
	Offsets  Offsets
	Txn      Txn
	Quorum   Quorum
	Replica  Replica
	Balance  Balance

	// ValidateAll: inflate and check every compressed batch, not only those
	// of compacted topics (gregor.validate.records=all).
	ValidateAll         bool
	ScrubBytesPerSecond int64 // 0: no scrubber
	ZeroAheadBytes      int64 // 0: none

	ProducerIDExpiration   time.Duration
	ProducerIDCheck        time.Duration
	ControlledShutdown     bool
	RequestTimeout         time.Duration
	TelemetryMaxBytes      int
	MaxPartitionsDescribed int // of one DescribeTopicPartitions
	MetricPartitionLimit   int
	LogLevel               string

	// TopicDefaults are the values of a topic without configs of its own.
	TopicDefaults Topic

	topicDefaults map[string]string // the same, as text, by topic property
	groupDefaults map[string]string
}

// Voter is one entry of controller.quorum.voters.
type Voter struct {
	ID   int32
	Addr string
}

// HTTP is where metrics and health checks are served.
type HTTP struct {
	Addr  string // "" when off
	Asked bool   // the operator named it: do not take another port instead
	Pprof bool
}

// Network bounds connections and requests.
type Network struct {
	MaxRequestBytes      int
	MaxQueuedBytes       int64         // of all requests in memory; <= 0: our own bound
	IdleTimeout          time.Duration // Forever: never
	SendBuffer           int           // < 0: the system's choice
	ReceiveBuffer        int
	MaxConnections       int
	MaxConnectionsPerIP  int
	MaxPerIPOverrides    map[string]int
	MaxConnectionsPerSec int
}

// Fetch bounds what one Fetch answers and remembers.
type Fetch struct {
	MaxBytes     int
	SessionSlots int
}

// Creation governs topics that come and go.
type Creation struct {
	Auto              bool
	DeleteEnabled     bool
	NumPartitions     int32
	ReplicationFactor int16
}

// Log are the settings of all logs of this node.
type Log struct {
	RetentionCheck        time.Duration
	FlushCheck            time.Duration // how often flush.ms is looked at
	FlushCheckpoint       time.Duration
	StartOffsetCheckpoint time.Duration
	HighWatermarkCheck    time.Duration
	InitialTaskDelay      time.Duration
	RecoveryThreads       int // for each directory
	DirFailureTimeout     time.Duration
}

// Cleaner are the settings of the log cleaner.
type Cleaner struct {
	Enabled           bool
	Threads           int
	DedupeBuffer      int64
	DedupeLoadFactor  float64
	IOBuffer          int
	MaxBytesPerSecond float64
	Backoff           time.Duration
}

// GroupLimits are the settings of classic groups.
type GroupLimits struct {
	MinSession            time.Duration
	MaxSession            time.Duration
	InitialRebalanceDelay time.Duration
	MaxSize               int
}

// Offsets are the settings of committed offsets and their topic.
type Offsets struct {
	TopicPartitions   int32
	TopicReplication  int16
	TopicSegmentBytes int32
	Retention         time.Duration
	RetentionCheck    time.Duration
	MetadataMaxBytes  int
	CommitTimeout     time.Duration
	LoadBufferBytes   int
}

// Txn are the settings of transactions and their topic.
type Txn struct {
	TopicPartitions   int32
	TopicReplication  int16
	TopicMinISR       int
	TopicSegmentBytes int32
	MaxTimeout        time.Duration
	IDExpiration      time.Duration
	AbortCheck        time.Duration
	ExpirationCheck   time.Duration
	VerifyPartitions  bool
	LoadBufferBytes   int
	AddWait           time.Duration // how long a first write waits for the transaction before
}

// Quorum are the settings of the metadata log.
type Quorum struct {
	SegmentBytes        int32
	SegmentAge          time.Duration
	SnapshotBytes       int64
	SnapshotInterval    time.Duration // 0: never by time
	ElectionTimeout     time.Duration
	RequestTimeout      time.Duration
	AutoJoin            bool
	FetchTimeout        time.Duration
	BrokerHeartbeat     time.Duration
	BrokerSession       time.Duration
	RegistrationTimeout time.Duration
	LeaderRebalance     bool
	LeaderCheck         time.Duration
}

// RackAwareSelector is the replica.selector.class that sends consumers to the
// replica of their rack (KIP-392), by the name of Kafka's.
const RackAwareSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"

// Replica are the settings of followers.
type Replica struct {
	LagMax        time.Duration
	FetchMaxBytes int
	FetchMaxTotal int
	FetchMinBytes int
	FetchWait     time.Duration
	FetchBackoff  time.Duration
	Fetchers      int
	SocketTimeout time.Duration
	RackAware     bool // consumers are sent to the replica of their rack
	// Moves between directories; 0 threads: one for each directory.
	AlterDirThreads        int
	AlterDirBytesPerSecond int64
	// FollowerRate is what throttled replicas of this broker take in a second;
	// Unthrottled: as fast as it goes.
	FollowerRate int64
	// LeaderRate is what this broker sends of throttled partitions in a second.
	LeaderRate int64
}

// Unthrottled is a rate without limit.
const Unthrottled = math.MaxInt64

// Balance is how the controller spreads load by itself.
type Balance struct {
	Enabled        bool
	Every          time.Duration
	Batch          int   // partitions moved at a time
	Slack          int   // percent above the mean
	BytesPerSecond int64 // that a broker copies meanwhile
}

// Broker is the typed view.
func (s *Settings) Broker() *Broker { return s.broker }

// The getters below read values that Load and WithDynamic have checked.

func (s *Settings) list(name string) []string {
	l, _ := s.value(name).([]string)
	return l
}

func (s *Settings) text(name string) string {
	t, _ := s.value(name).(string)
	return t
}

func (s *Settings) flag(name string) bool {
	f, _ := s.value(name).(bool)
	return f
}

func (s *Settings) long(name string) int64 {
	switch n := s.value(name).(type) {
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

func (s *Settings) int(name string) int { return int(s.long(name)) }

func (s *Settings) span(name string, unit time.Duration) time.Duration {
	return span(s.long(name), unit)
}

func (s *Settings) ms(name string) time.Duration { return s.span(name, time.Millisecond) }

// span makes a duration of a count of units; what does not fit, and what is
// negative, is Forever.
func span(n int64, unit time.Duration) time.Duration {
	if n < 0 || n > int64(Forever/unit) {
		return Forever
	}
	return time.Duration(n) * unit
}

// view makes the typed view and checks what concerns several settings.
func (s *Settings) view() (*Broker, error) {
	b := &Broker{}
	if err := s.identity(b); err != nil {
		return nil, err
	}
	var problems []error
	problem := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	problem(s.addresses(b))
	problem(s.http(b))
	problem(s.voters(b))
	problem(s.dirs(b))
	problem(s.network(b))
	s.logs(b)
	s.coordinators(b)
	s.quorum(b)
	s.replica(b)
	b.Balance = Balance{
		Enabled: s.flag("gregor.balance.enable"), Every: s.ms("gregor.balance.interval.ms"), Batch: s.int("gregor.balance.batch"),
		Slack: s.int("gregor.balance.slack.percent"), BytesPerSecond: s.long("gregor.balance.bytes.per.second"),
	}
	b.ValidateAll = s.text("gregor.validate.records") == "all"
	b.ScrubBytesPerSecond = s.long("gregor.scrub.bytes.per.second")
	b.ZeroAheadBytes = s.long("gregor.zero.ahead.bytes")
	b.ProducerIDExpiration = s.ms("producer.id.expiration.ms")
	b.ProducerIDCheck = s.ms("producer.id.expiration.check.interval.ms")
	b.ControlledShutdown = s.flag("controlled.shutdown.enable")
	b.CordonedDirs = s.list("cordoned.log.dirs")
	b.RequestTimeout = s.ms("request.timeout.ms")
	b.TelemetryMaxBytes = s.int("telemetry.max.bytes")
	b.MaxPartitionsDescribed = s.int("max.request.partition.size.limit")
	b.MetricPartitionLimit = s.int("gregor.metrics.partition.limit")
	b.LogLevel = s.text("gregor.log.level")
	b.topicDefaults = s.topicDefaults()
	b.groupDefaults = s.groupDefaults()
	b.TopicDefaults = b.Topic("", nil)
	problem(s.together(b))
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return b, nil
}

// oneID makes node.id and its old name broker.id say the same: where only one
// is given, the other takes its value from the same place, as in Kafka.
func (s *Settings) oneID() {
	node, nodeFrom, _ := s.raw("node.id")
	old, oldFrom, _ := s.raw("broker.id")
	switch {
	case nodeFrom > FromShipped && oldFrom == FromDefault:
		s.layers[nodeFrom]["broker.id"] = node
	case nodeFrom <= FromShipped && oldFrom > FromShipped:
		s.layers[oldFrom]["node.id"] = old
	case nodeFrom == FromShipped:
		s.layers[FromShipped]["broker.id"] = node
	}
}

// identity: node.id and the roles. Differs from Kafka: both may be missing,
// which makes node 1 of a cluster of its own.
func (s *Settings) identity(b *Broker) error {
	b.NodeID = 1
	if _, _, given := s.raw("node.id"); given {
		b.NodeID = int32(s.long("node.id"))
	}
	if old := s.long("broker.id"); s.set("broker.id") && int32(old) != b.NodeID {
		return &ValueError{"broker.id", strconv.FormatInt(old, 10), fmt.Sprintf("must be the same as node.id, which is %d", b.NodeID)}
	}
	roles := s.list("process.roles")
	if len(roles) == 0 {
		roles = []string{"broker", "controller"}
	}
	b.IsBroker, b.IsController = slices.Contains(roles, "broker"), slices.Contains(roles, "controller")
	b.Rack = s.text("broker.rack")
	return nil
}

func (s *Settings) http(b *Broker) error {
	e, src, _ := s.raw("gregor.http.listener")
	b.HTTP = HTTP{Addr: strings.TrimSpace(e.value), Asked: src > FromShipped, Pprof: s.flag("gregor.http.pprof.enable")}
	if strings.EqualFold(b.HTTP.Addr, "none") || b.HTTP.Addr == "" {
		b.HTTP.Addr = ""
		return nil
	}
	address := strings.TrimPrefix(b.HTTP.Addr, "http://")
	colon := strings.LastIndexByte(address, ':')
	if colon >= 0 {
		if port, err := strconv.Atoi(address[colon+1:]); err == nil && port >= 0 && port <= 65535 {
			b.HTTP.Addr = address
			return nil
		}
	}
	return &ValueError{"gregor.http.listener", e.value, "want host:port with a port between 0 and 65535, or none"}
}

func (s *Settings) voters(b *Broker) error {
	raw, _, _ := s.raw("controller.quorum.voters")
	wrong := func(why string) error { return &ValueError{"controller.quorum.voters", raw.value, why} }
	for _, item := range s.list("controller.quorum.voters") {
		id, addr, ok := strings.Cut(item, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 0 || !strings.Contains(addr, ":") {
			return wrong(fmt.Sprintf("%q is not id@host:port", item))
		}
		b.QuorumVoters = append(b.QuorumVoters, Voter{ID: int32(n), Addr: addr})
	}
	self := slices.ContainsFunc(b.QuorumVoters, func(v Voter) bool { return v.ID == b.NodeID })
	if b.IsController && len(b.QuorumVoters) > 0 && !self {
		return wrong(fmt.Sprintf("process.roles has controller, so node.id %d must be among the voters", b.NodeID))
	}
	if !b.IsController && self {
		return wrong(fmt.Sprintf("process.roles is only broker, so node.id %d must not be among the voters", b.NodeID))
	}
	b.QuorumBootstrap = s.list("controller.quorum.bootstrap.servers")
	if !b.IsController && len(b.QuorumVoters) == 0 && len(b.QuorumBootstrap) == 0 {
		return errors.New("process.roles is only broker, so controller.quorum.bootstrap.servers (or controller.quorum.voters) must say where the controllers are")
	}
	return nil
}

func (s *Settings) dirs(b *Broker) error {
	key := "log.dirs"
	if _, _, ok := s.raw(key); !ok {
		key = "log.dir"
	}
	// Where log.dir alone was given, it counts above our single-node log.dirs.
	if _, src, _ := s.raw("log.dirs"); src == FromShipped && s.set("log.dir") {
		key = "log.dir"
	}
	b.LogDirs = s.list(key)
	if len(b.LogDirs) == 0 || slices.Contains(b.LogDirs, "") {
		return &ValueError{key, strings.Join(b.LogDirs, ","), "at least one log directory must be named, and none may be empty"}
	}
	b.MetadataLogDir = s.text("metadata.log.dir")
	if b.MetadataLogDir == "" {
		b.MetadataLogDir = b.LogDirs[0]
	}
	return nil
}

func (s *Settings) network(b *Broker) error {
	b.Network = Network{
		MaxRequestBytes:      s.int("socket.request.max.bytes"),
		MaxQueuedBytes:       s.long("queued.max.request.bytes"),
		IdleTimeout:          s.ms("connections.max.idle.ms"),
		SendBuffer:           s.int("socket.send.buffer.bytes"),
		ReceiveBuffer:        s.int("socket.receive.buffer.bytes"),
		MaxConnections:       s.int("max.connections"),
		MaxConnectionsPerIP:  s.int("max.connections.per.ip"),
		MaxConnectionsPerSec: s.int("max.connection.creation.rate"),
		MaxPerIPOverrides:    map[string]int{},
	}
	b.Fetch = Fetch{MaxBytes: s.int("fetch.max.bytes"), SessionSlots: s.int("max.incremental.fetch.session.cache.slots")}
	b.Creation = Creation{
		Auto:              s.flag("auto.create.topics.enable"),
		DeleteEnabled:     s.flag("delete.topic.enable"),
		NumPartitions:     int32(s.long("num.partitions")),
		ReplicationFactor: int16(s.long("default.replication.factor")),
	}
	// Differs from Kafka: unless somebody sets them, socket buffers are the
	// system's, which grow with the traffic. Kafka's 100 KiB would turn that
	// off and cost a wake-up for each 100 KiB sent.
	if !s.set("socket.send.buffer.bytes") {
		b.Network.SendBuffer = -1
	}
	if !s.set("socket.receive.buffer.bytes") {
		b.Network.ReceiveBuffer = -1
	}
	const key = "max.connections.per.ip.overrides"
	for _, item := range SplitList(s.text(key)) {
		colon := strings.LastIndexByte(item, ':')
		n, err := 0, error(nil)
		if colon > 0 {
			n, err = strconv.Atoi(item[colon+1:])
		}
		if colon <= 0 || err != nil || n < 0 {
			return &ValueError{key, s.text(key), fmt.Sprintf("%q is not address:limit", item)}
		}
		b.Network.MaxPerIPOverrides[strings.Trim(item[:colon], "[]")] = n
	}
	return nil
}

func (s *Settings) logs(b *Broker) {
	b.Log = Log{
		RetentionCheck:        s.ms("log.retention.check.interval.ms"),
		FlushCheck:            s.ms("log.flush.scheduler.interval.ms"),
		FlushCheckpoint:       s.ms("log.flush.offset.checkpoint.interval.ms"),
		DirFailureTimeout:     s.ms("log.dir.failure.timeout.ms"),
		StartOffsetCheckpoint: s.ms("log.flush.start.offset.checkpoint.interval.ms"),
		HighWatermarkCheck:    s.ms("replica.high.watermark.checkpoint.interval.ms"),
		InitialTaskDelay:      s.ms("log.initial.task.delay.ms"),
		RecoveryThreads:       s.int("num.recovery.threads.per.data.dir"),
	}
	loadFactor, _ := s.value("log.cleaner.io.buffer.load.factor").(float64)
	rate, _ := s.value("log.cleaner.io.max.bytes.per.second").(float64)
	b.Cleaner = Cleaner{
		Enabled:           s.flag("log.cleaner.enable"),
		Threads:           s.int("log.cleaner.threads"),
		DedupeBuffer:      s.long("log.cleaner.dedupe.buffer.size"),
		DedupeLoadFactor:  loadFactor,
		IOBuffer:          s.int("log.cleaner.io.buffer.size"),
		MaxBytesPerSecond: rate,
		Backoff:           s.ms("log.cleaner.backoff.ms"),
	}
}

func (s *Settings) coordinators(b *Broker) {
	b.Groups = GroupLimits{
		MinSession:            s.ms("group.min.session.timeout.ms"),
		MaxSession:            s.ms("group.max.session.timeout.ms"),
		InitialRebalanceDelay: s.ms("group.initial.rebalance.delay.ms"),
		MaxSize:               s.int("group.max.size"),
	}
	b.Offsets = Offsets{
		TopicPartitions:   int32(s.long("offsets.topic.num.partitions")),
		TopicReplication:  int16(s.long("offsets.topic.replication.factor")),
		TopicSegmentBytes: int32(s.long("offsets.topic.segment.bytes")),
		Retention:         s.span("offsets.retention.minutes", time.Minute),
		RetentionCheck:    s.ms("offsets.retention.check.interval.ms"),
		MetadataMaxBytes:  s.int("offset.metadata.max.bytes"),
		CommitTimeout:     s.ms("offsets.commit.timeout.ms"),
		LoadBufferBytes:   s.int("offsets.load.buffer.size"),
	}
	b.Txn = Txn{
		TopicPartitions:   int32(s.long("transaction.state.log.num.partitions")),
		TopicReplication:  int16(s.long("transaction.state.log.replication.factor")),
		TopicMinISR:       s.int("transaction.state.log.min.isr"),
		TopicSegmentBytes: int32(s.long("transaction.state.log.segment.bytes")),
		MaxTimeout:        s.ms("transaction.max.timeout.ms"),
		IDExpiration:      s.ms("transactional.id.expiration.ms"),
		AbortCheck:        s.ms("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
		ExpirationCheck:   s.ms("transaction.remove.expired.transaction.cleanup.interval.ms"),
		VerifyPartitions:  s.flag("transaction.partition.verification.enable"),
		LoadBufferBytes:   s.int("transaction.state.log.load.buffer.size"),
		AddWait:           s.ms("add.partitions.to.txn.retry.backoff.max.ms"),
	}
}

func (s *Settings) quorum(b *Broker) {
	b.Quorum = Quorum{
		SegmentBytes:        int32(s.long("metadata.log.segment.bytes")),
		SegmentAge:          s.ms("metadata.log.segment.ms"),
		SnapshotBytes:       s.long("metadata.log.max.record.bytes.between.snapshots"),
		SnapshotInterval:    s.ms("metadata.log.max.snapshot.interval.ms"),
		ElectionTimeout:     s.ms("controller.quorum.election.timeout.ms"),
		RequestTimeout:      s.ms("controller.quorum.request.timeout.ms"),
		AutoJoin:            s.flag("controller.quorum.auto.join.enable"),
		FetchTimeout:        s.ms("controller.quorum.fetch.timeout.ms"),
		BrokerHeartbeat:     s.ms("broker.heartbeat.interval.ms"),
		BrokerSession:       s.ms("broker.session.timeout.ms"),
		RegistrationTimeout: s.ms("initial.broker.registration.timeout.ms"),
		LeaderRebalance:     s.flag("auto.leader.rebalance.enable"),
		LeaderCheck:         s.span("leader.imbalance.check.interval.seconds", time.Second),
	}
}

func (s *Settings) replica(b *Broker) {
	b.Replica = Replica{
		LagMax:        s.ms("replica.lag.time.max.ms"),
		FetchMaxBytes: s.int("replica.fetch.max.bytes"),
		FetchMaxTotal: s.int("replica.fetch.response.max.bytes"),
		FetchMinBytes: s.int("replica.fetch.min.bytes"),
		FetchWait:     s.ms("replica.fetch.wait.max.ms"),
		FetchBackoff:  s.ms("replica.fetch.backoff.ms"),
		Fetchers:      s.int("num.replica.fetchers"),
		SocketTimeout: s.ms("replica.socket.timeout.ms"),
		RackAware:     s.text("replica.selector.class") == RackAwareSelector,

		AlterDirThreads:        s.int("num.replica.alter.log.dirs.threads"),
		AlterDirBytesPerSecond: s.long("replica.alter.log.dirs.io.max.bytes.per.second"),

		FollowerRate: s.long("follower.replication.throttled.rate"),
		LeaderRate:   s.long("leader.replication.throttled.rate"),
	}
}

// together checks what concerns several settings at once.
func (s *Settings) together(b *Broker) error {
	var problems []error
	need := func(ok bool, name, why string) {
		if !ok {
			e, _, _ := s.raw(name)
			problems = append(problems, &ValueError{name, e.value, why})
		}
	}
	for _, p := range []struct {
		name string
		min  int64
	}{{"log.retention.ms", 1}, {"log.retention.minutes", 1}, {"log.retention.hours", 1}} {
		if v := s.value(p.name); v != nil {
			n := s.long(p.name)
			need(n == -1 || n >= p.min, p.name, "must be -1 (for ever) or at least 1")
		}
	}
	if s.value("log.roll.ms") != nil {
		need(s.long("log.roll.ms") >= 1, "log.roll.ms", "must be at least 1")
	}
	if s.value("log.roll.jitter.ms") != nil {
		need(s.long("log.roll.jitter.ms") >= 0, "log.roll.jitter.ms", "must be at least 0")
	}
	need(b.Groups.MinSession <= b.Groups.MaxSession, "group.min.session.timeout.ms", "must not be above group.max.session.timeout.ms")
	need(s.long("group.initial.rebalance.delay.ms") >= 0, "group.initial.rebalance.delay.ms", "must be at least 0")
	need(b.Cleaner.Threads == 0 || b.Cleaner.DedupeBuffer/int64(max(1, b.Cleaner.Threads)) > 1<<20,
		"log.cleaner.dedupe.buffer.size", "must be more than 1 MiB for each of log.cleaner.threads")
	need(b.Cleaner.DedupeLoadFactor > 0 && b.Cleaner.DedupeLoadFactor <= 1, "log.cleaner.io.buffer.load.factor", "must be above 0 and at most 1")
	need(b.Creation.ReplicationFactor > 0, "default.replication.factor", "must be at least 1")
	need(slices.Contains(s.list("group.coordinator.rebalance.protocols"), "classic"),
		"group.coordinator.rebalance.protocols", "disabling the classic protocol is not supported")
	need(!slices.Contains(s.list("group.coordinator.rebalance.protocols"), "share"),
		"group.coordinator.rebalance.protocols", "share groups are not built yet")
	need(s.long("offset.metadata.max.bytes") >= 0, "offset.metadata.max.bytes", "must be at least 0")
	need(s.long("connections.max.idle.ms") != 0, "connections.max.idle.ms", "must not be 0; negative means never")
	for _, name := range []string{"socket.send.buffer.bytes", "socket.receive.buffer.bytes"} {
		need(s.long(name) == -1 || s.long(name) >= 1, name, "must be -1 (the system's choice) or at least 1")
	}
	if b.topicDefaults != nil {
		if err := validateTopicTogether(b.topicDefaults); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
