// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Topic is the typed view of one topic's configuration: its own values over
// the broker's. Spans of time stay in milliseconds because they are compared
// with the timestamps of records, and because Kafka's "for ever", 2^63-1 ms,
// is no time.Duration.
type Topic struct {
	Delete  bool // cleanup.policy has delete
	Compact bool // cleanup.policy has compact

	CompressionType  string // producer, uncompressed, gzip, snappy, lz4, zstd
	CompressionLevel int    // for CompressionType; -1 is gzip's own default
	GzipLevel        int
	Lz4Level         int
	ZstdLevel        int

	RetentionMs    int64 // -1: for ever
	RetentionBytes int64 // -1: no limit

	SegmentBytes       int32
	SegmentMs          int64
	SegmentJitterMs    int64
	SegmentIndexBytes  int32
	IndexIntervalBytes int32
	Preallocate        bool
	FileDeleteDelayMs  int64

	FlushMessages int64
	FlushMs       int64
	Durable       bool // flush before it counts; always so for internal topics

	MaxMessageBytes      int32
	TimestampLogAppend   bool // message.timestamp.type=LogAppendTime
	TimestampBeforeMaxMs int64
	TimestampAfterMaxMs  int64

	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64

	MinInsyncReplicas int
	UncleanElection   bool

	LeaderThrottled   []string
	FollowerThrottled []string

	LocalRetentionMs    int64
	LocalRetentionBytes int64
}

// Names of the topics that hold the brokers' own records.
const (
	OffsetsTopic  = "__consumer_offsets"
	TxnTopic      = "__transaction_state"
	ShareTopic    = "__share_group_state"
	MetadataTopic = "__cluster_metadata"
)

// IsInternal reports whether a topic holds the brokers' own records.
func IsInternal(topic string) bool {
	switch topic {
	case OffsetsTopic, TxnTopic, ShareTopic, MetadataTopic:
		return true
	}
	return false
}

// topicDefaults resolves each topic property from the broker's synonyms.
func (s *Settings) topicDefaults() map[string]string {
	out := make(map[string]string, len(topicTable))
	for i := range topicTable {
		p := &topicTable[i]
		if v, ok := s.inherited(p); ok {
			out[p.Name] = v
		}
	}
	return out
}

// inherited is the value that p takes from the broker: the first synonym that
// is set, in p's unit, else p's own default.
func (s *Settings) inherited(p *Property) (string, bool) {
	for _, syn := range p.From {
		e, _, ok := s.raw(syn.Name)
		if !ok {
			continue
		}
		b := Brokers.Lookup(syn.Name)
		if syn.Scale == 1 {
			return b.Canonical(e.value), true
		}
		n, err := strconv.ParseInt(strings.TrimSpace(e.value), 10, 64)
		if err != nil {
			continue
		}
		if n < 0 {
			return "-1", true
		}
		return strconv.FormatInt(n*syn.Scale, 10), true
	}
	return p.Default, !p.Null
}

func (s *Settings) groupDefaults() map[string]string {
	out := make(map[string]string, len(groupTable))
	for i := range groupTable {
		if v, ok := s.inherited(&groupTable[i]); ok {
			out[groupTable[i].Name] = v
		}
	}
	return out
}

// Topic resolves a topic's configuration. Overrides that do not parse count
// as not given: they were refused when they were set, so they can only come
// from a version that knew more.
func (b *Broker) Topic(name string, overrides map[string]string) Topic {
	get := func(name string) any {
		p := Topics.Lookup(name)
		if raw, ok := overrides[name]; ok {
			if v, err := p.Parse(raw); err == nil {
				return v
			}
		}
		raw, ok := b.topicDefaults[name]
		if !ok {
			return nil
		}
		v, err := p.parse(raw)
		if err != nil {
			v, _ = p.parse(p.Default)
		}
		return v
	}
	long := func(name string) int64 {
		switch n := get(name).(type) {
		case int32:
			return int64(n)
		case int64:
			return n
		}
		return 0
	}
	flag := func(name string) bool { v, _ := get(name).(bool); return v }
	text := func(name string) string { v, _ := get(name).(string); return v }
	list := func(name string) []string { v, _ := get(name).([]string); return v }
	ratio, _ := get("min.cleanable.dirty.ratio").(float64)
	policy := list("cleanup.policy")
	t := Topic{
		Delete:  slices.Contains(policy, "delete"),
		Compact: slices.Contains(policy, "compact"),

		CompressionType: text("compression.type"),
		GzipLevel:       int(long("compression.gzip.level")),
		Lz4Level:        int(long("compression.lz4.level")),
		ZstdLevel:       int(long("compression.zstd.level")),

		RetentionMs:    long("retention.ms"),
		RetentionBytes: long("retention.bytes"),

		SegmentBytes:       int32(long("segment.bytes")),
		SegmentMs:          long("segment.ms"),
		SegmentJitterMs:    long("segment.jitter.ms"),
		SegmentIndexBytes:  int32(long("segment.index.bytes")),
		IndexIntervalBytes: int32(long("index.interval.bytes")),
		Preallocate:        flag("preallocate"),
		FileDeleteDelayMs:  long("file.delete.delay.ms"),

		FlushMessages: long("flush.messages"),
		FlushMs:       long("flush.ms"),
		Durable:       flag("gregor.durable") || IsInternal(name),

		MaxMessageBytes:      int32(long("max.message.bytes")),
		TimestampLogAppend:   text("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMaxMs: long("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:  long("message.timestamp.after.max.ms"),

		DeleteRetentionMs:      long("delete.retention.ms"),
		MinCompactionLagMs:     long("min.compaction.lag.ms"),
		MaxCompactionLagMs:     long("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: ratio,

		MinInsyncReplicas: int(long("min.insync.replicas")),
		UncleanElection:   flag("unclean.leader.election.enable"),

		LeaderThrottled:   list("leader.replication.throttled.replicas"),
		FollowerThrottled: list("follower.replication.throttled.replicas"),

		LocalRetentionMs:    long("local.retention.ms"),
		LocalRetentionBytes: long("local.retention.bytes"),
	}
	if n := long("internal.segment.bytes"); n > 0 {
		t.SegmentBytes = int32(n)
	}
	switch t.CompressionType {
	case "gzip":
		t.CompressionLevel = t.GzipLevel
	case "lz4":
		t.CompressionLevel = t.Lz4Level
	case "zstd":
		t.CompressionLevel = t.ZstdLevel
	}
	return t
}

// An InvalidError is a set of configs that a client may not have; the API
// answers INVALID_CONFIG with its words.
type InvalidError struct{ Problems []error }

func (e *InvalidError) Error() string { return errors.Join(e.Problems...).Error() }

func (e *InvalidError) Unwrap() []error { return e.Problems }

func invalid(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return &InvalidError{problems}
}

// ValidateTopic checks a topic's own configs, as CreateTopics and the alter
// APIs are to: every name known, every value in range, and the values fit
// together once resolved over the broker's. The error is an *InvalidError.
func (b *Broker) ValidateTopic(overrides map[string]string) error {
	problems := Topics.validate(overrides)
	if len(problems) == 0 {
		if err := validateTopicTogether(overlay(b.topicDefaults, overrides)); err != nil {
			problems = append(problems, err)
		}
	}
	return invalid(problems)
}

// validate checks names and values one by one, in order.
func (t *Table) validate(values map[string]string) []error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		p := t.Lookup(name)
		if p == nil {
			problems = append(problems, errors.New(t.Unknown(name)))
			continue
		}
		if err := p.check(values[name]); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func overlay(defaults, overrides map[string]string) map[string]string {
	all := maps.Clone(defaults)
	maps.Copy(all, overrides)
	return all
}

func validateTopicTogether(values map[string]string) error {
	lo, err1 := strconv.ParseInt(strings.TrimSpace(values["min.compaction.lag.ms"]), 10, 64)
	hi, err2 := strconv.ParseInt(strings.TrimSpace(values["max.compaction.lag.ms"]), 10, 64)
	if err1 == nil && err2 == nil && lo > hi {
		return fmt.Errorf("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", lo, hi)
	}
	return nil
}

// DescribeTopic answers DescribeConfigs for a topic with the given configs.
func (s *Settings) DescribeTopic(overrides map[string]string) []Described {
	return s.describeResource(Topics, s.broker.topicDefaults, overrides, SourceTopic)
}

// DescribeGroup answers DescribeConfigs for a group with the given configs.
func (s *Settings) DescribeGroup(overrides map[string]string) []Described {
	return s.describeResource(Groups, s.broker.groupDefaults, overrides, SourceGroup)
}

// DescribeClientMetrics answers DescribeConfigs for a subscription.
func (s *Settings) DescribeClientMetrics(overrides map[string]string) []Described {
	return s.describeResource(ClientMetrics, nil, overrides, SourceClientMetrics)
}

func (s *Settings) describeResource(t *Table, defaults, overrides map[string]string, own int8) []Described {
	out := make([]Described, 0, len(t.rows))
	for i := range t.rows {
		p := &t.rows[i]
		raw, given := overrides[p.Name]
		if p.Internal && !given {
			continue
		}
		d := Described{Name: p.Name, Type: p.Type, Doc: p.Doc, Source: SourceDefault}
		if given {
			d.Value = p.Canonical(raw)
			d.Synonyms = append(d.Synonyms, DescribedSynonym{Name: p.Name, Value: d.Value, Source: own})
		} else if v, ok := defaults[p.Name]; ok {
			d.Value = v
		} else {
			d.Value, d.Null = p.Default, p.Null
		}
		if !given && own == SourceGroup {
			d.Synonyms = append(d.Synonyms, DescribedSynonym{Name: p.Name, Value: d.Value, Source: SourceDefault})
		}
		if len(p.From) > 0 && own == SourceTopic {
			names := make([]string, len(p.From))
			for i, syn := range p.From {
				names[i] = syn.Name
			}
			d.Synonyms = append(d.Synonyms, s.synonyms(names[0], names, false)...)
		}
		if len(d.Synonyms) > 0 {
			d.Source = d.Synonyms[0].Source
		}
		out = append(out, d)
	}
	return out
}

// TopicDefault is the value, as text, of a topic that does not set the
// property itself; ok is false for null and for unknown names.
func (b *Broker) TopicDefault(name string) (value string, ok bool) {
	value, ok = b.topicDefaults[name]
	return value, ok
}
