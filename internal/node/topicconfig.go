// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math"
	"time"

	"gregor/internal/batch"
	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/replica"
	"gregor/internal/storage"
)

// span makes a Duration of milliseconds; what is negative or does not fit is
// negative, which storage reads as "without limit".
func span(ms int64) time.Duration {
	if ms < 0 || ms > int64(math.MaxInt64/time.Millisecond) {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}

// logConfig gives a topic's settings in storage's terms.
func logConfig(t config.Topic, b *config.Broker) storage.LogConfig {
	c := storage.LogConfig{
		SegmentBytes: int64(t.SegmentBytes), SegmentAge: span(t.SegmentMs), SegmentJitter: span(t.SegmentJitterMs),
		IndexBytes: int(t.SegmentIndexBytes), IndexInterval: int(t.IndexIntervalBytes),
		Delete: t.Delete, Compact: t.Compact, Retention: span(t.RetentionMs), RetentionBytes: t.RetentionBytes,
		FileDeleteDelay: span(t.FileDeleteDelayMs),
		Durable:         t.Durable, FlushMessages: t.FlushMessages, FlushEvery: span(t.FlushMs),
		Preallocate: t.Preallocate, ProducerExpiry: b.ProducerIDExpiration,
		DeleteRetention: span(t.DeleteRetentionMs), MinCompactionLag: span(t.MinCompactionLagMs),
		MaxCompactionLag: span(t.MaxCompactionLagMs), MinDirtyRatio: t.MinCleanableDirtyRatio,
		MaxBatchBytes: int(t.MaxMessageBytes),
	}
	// Zero would mean the default.
	if c.FileDeleteDelay == 0 {
		c.FileDeleteDelay = -1
	}
	if c.Retention == 0 {
		c.Retention = 1
	}
	if c.DeleteRetention == 0 {
		c.DeleteRetention = 1
	}
	if c.MinDirtyRatio == 0 {
		c.MinDirtyRatio = -1
	}
	return c
}

// topicConfig meets replica.Config.Topic.
func (n *Node) topicConfig(img *meta.Image, name string) *replica.TopicConfig {
	b := n.live.Broker()
	t := b.Topic(name, img.Settings(meta.TopicResource, name).Map())
	c := &replica.TopicConfig{
		Log: logConfig(t, b), MaxMessageBytes: int(t.MaxMessageBytes), MinISR: t.MinInsyncReplicas,
		Rules: batch.Rules{
			LogAppendTime: t.TimestampLogAppend, BeforeMax: t.TimestampBeforeMaxMs, AfterMax: t.TimestampAfterMaxMs,
			Compacted: t.Compact, Level: t.CompressionLevel, InflateAll: b.ValidateAll,
		},
	}
	if codec, ok := codecs[t.CompressionType]; ok {
		c.Rules.Recompress, c.Rules.Codec = true, codec
	}
	return c
}

// codecs of compression.type; producer is none of them.
var codecs = map[string]batch.Codec{
	"uncompressed": batch.None, "gzip": batch.Gzip, "snappy": batch.Snappy, "lz4": batch.LZ4, "zstd": batch.Zstd,
}
