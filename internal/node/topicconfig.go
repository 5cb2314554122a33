// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math"
	"time"

	"gregor/internal/config"
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
	if c.FileDeleteDelay == 0 {
		c.FileDeleteDelay = -1 // zero would mean the default
	}
	return c
}
