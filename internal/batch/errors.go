// SPDX-License-Identifier: Apache-2.0

package batch

import "errors"

var (
	// ErrIncomplete means that the bytes end before the batch does, or are
	// empty: read on, or stop if there is no more.
	ErrIncomplete = errors.New("batch: incomplete")
	// ErrCorrupt is what every *CorruptError is, for errors.Is.
	ErrCorrupt = errors.New("batch: corrupt")
	// ErrInvalid is what every *RecordErrors is, for errors.Is.
	ErrInvalid = errors.New("batch: refused")
	// ErrTooLarge means that a compressed body grows past the caller's bound.
	ErrTooLarge = errors.New("batch: inflated body exceeds the bound")
	// ErrUnknownCodec means a compression type that no format has.
	ErrUnknownCodec = errors.New("batch: unknown compression type")
)

// CorruptError says that bytes are not what the format or the checksum
// promises.
type CorruptError struct {
	Reason string
	Cause  error // nil, or what a decompressor said
}

func (e *CorruptError) Error() string {
	if e.Cause != nil {
		return "batch: corrupt: " + e.Reason + ": " + e.Cause.Error()
	}
	return "batch: corrupt: " + e.Reason
}

func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
func (e *CorruptError) Unwrap() error        { return e.Cause }

func corrupt(reason string) error { return &CorruptError{Reason: reason} }
