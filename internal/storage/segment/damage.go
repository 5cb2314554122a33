// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"fmt"

	"gregor/internal/batch"
)

// Damage is a hole in a segment: bytes [Pos, End) that are no valid batches,
// where offsets [First, Next) should be.
type Damage struct {
	Path        string
	Pos, End    int64
	First, Next int64
	Reason      string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("segment: %s is damaged at byte %d (offset %d): %s", d.Path, d.Pos, d.First, d.Reason)
}

// doubtError ends a walk at a batch that Config.Doubt does not believe.
type doubtError struct{ reason string }

func (e *doubtError) Error() string { return e.reason }

func (s *Segment) doubt(v batch.View) error {
	if s.cfg.Doubt == nil {
		return nil
	}
	if reason := s.cfg.Doubt(v); reason != "" {
		return &doubtError{reason}
	}
	return nil
}

// asReason takes errors of visitors that are about a batch for reasons.
func asReason(reason string, err error) (string, error) {
	var d *doubtError
	if errors.As(err, &d) || errors.Is(err, errOffsetTooFar) {
		return err.Error(), nil
	}
	return reason, err
}

// holeAt returns the hole that offset falls into (inside), or else the first
// one at or after pos.
func (s *Segment) holeAt(offset, pos int64) (d *Damage, inside bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.damage {
		if d.First <= offset && offset < d.Next && d.End <= pos {
			return d, true
		}
		if d.Pos >= pos {
			return d, d.First <= offset && offset < d.Next
		}
	}
	return nil, false
}

// Damages lists the holes found so far.
func (s *Segment) Damages() []*Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damage[:len(s.damage):len(s.damage)]
}

func sameHole(known []*Damage, d *Damage) bool {
	for _, k := range known {
		if k.Pos == d.Pos && k.End == d.End {
			return true
		}
	}
	return false
}
