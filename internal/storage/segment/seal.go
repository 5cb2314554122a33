// SPDX-License-Identifier: Apache-2.0

package segment

// Seal writes and syncs the data and the indexes, and drops the latter from
// memory. A segment that takes appends again (a truncation made it the last)
// is left as it is.
func (s *Segment) Seal() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.active {
		return nil
	}
	h, err := s.File()
	if err != nil {
		return err
	}
	if err = s.trimLocked(h); err != nil {
		h.Release()
		return err
	}
	err = h.Datasync()
	h.Release()
	if err != nil {
		return &SyncError{Path: s.Path(LogSuffix), Err: err}
	}
	if err := s.writeIndexesLocked(true); err != nil {
		return err
	}
	s.offsets.Store(nil)
	s.times.Store(nil)
	s.mu.Lock()
	s.txns, s.txnsIn = nil, false
	s.mu.Unlock()
	return nil
}

// SyncError is a failed sync of data, after which nothing written is certain.
type SyncError struct {
	Path string
	Err  error
}

func (e *SyncError) Error() string { return "sync " + e.Path + ": " + e.Err.Error() }
func (e *SyncError) Unwrap() error { return e.Err }

// Sync makes the log file durable.
func (s *Segment) Sync() error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := h.Datasync(); err != nil {
		return &SyncError{Path: s.Path(LogSuffix), Err: err}
	}
	return nil
}
