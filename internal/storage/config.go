// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"math"
	"time"
)

// withDefaults fills in Kafka's defaults for zero values.
func (c LogConfig) withDefaults() LogConfig {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	age := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.SegmentBytes, 1<<30)
	if c.SegmentBytes < 0 || c.SegmentBytes > math.MaxInt32 {
		c.SegmentBytes = math.MaxInt32 // positions in an index have 31 bits
	}
	if c.IndexBytes <= 0 {
		c.IndexBytes = 10 << 20
	}
	if c.IndexInterval <= 0 {
		c.IndexInterval = 4096
	}
	const day = 24 * time.Hour
	age(&c.SegmentAge, 7*day)
	age(&c.Retention, 7*day)
	age(&c.FileDeleteDelay, time.Minute)
	age(&c.ProducerExpiry, day)
	age(&c.DeleteRetention, day)
	if c.MinDirtyRatio == 0 {
		c.MinDirtyRatio = 0.5
	}
	return c
}

func (c DirConfig) withDefaults() DirConfig {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxOpenFiles <= 0 {
		c.MaxOpenFiles = 1024
	}
	if c.IdleClose <= 0 {
		c.IdleClose = 10 * time.Second
	}
	if c.CheckpointInterval <= 0 {
		c.CheckpointInterval = time.Minute
	}
	if c.RetentionInterval == 0 {
		c.RetentionInterval = 5 * time.Minute
	}
	if c.ZeroAhead == 0 {
		c.ZeroAhead = 256 << 10
	}
	return c
}

func (e Events) flushed(l *Log, end int64) {
	if e.Flushed != nil {
		e.Flushed(l, end)
	}
}

func (e Events) startMoved(l *Log, start int64) {
	if e.StartMoved != nil {
		e.StartMoved(l, start)
	}
}

func (e Events) committed(began time.Time) {
	if e.Committed != nil {
		e.Committed(time.Since(began))
	}
}

func (e Events) truncated(l *Log, end int64) {
	if e.Truncated != nil {
		e.Truncated(l, end)
	}
}

func (e Events) rolled(l *Log, base int64) {
	if e.Rolled != nil {
		e.Rolled(l, base)
	}
}

func (e Events) recovered(l *Log, r Recovery) {
	if e.Recovered != nil {
		e.Recovered(l, r)
	}
}

func (e Events) corrupt(n Name, c *CorruptError) {
	if e.Corrupt != nil {
		e.Corrupt(n, c)
	}
}

func (e Events) rebuilt(path, reason string) {
	if e.Rebuilt != nil {
		e.Rebuilt(path, reason)
	}
}

func (e Events) dirFailed(dir string, err error) {
	if e.DirFailed != nil {
		e.DirFailed(dir, err)
	}
}

func (e Events) noSpace(dir string, full bool) {
	if e.NoSpace != nil {
		e.NoSpace(dir, full)
	}
}
