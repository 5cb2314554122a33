// SPDX-License-Identifier: Apache-2.0

// Package api answers Kafka's requests: one table from key to versions and
// handler (api.go), and one file for each family of keys. A family is a struct
// with small interfaces of its own to the rooms below; no handler calls another
// family's.
//
// kmsg is the vocabulary. Its requests are measured before they are decoded
// (schema.go), because it allocates what a length field announces; Produce and
// Fetch have parsers and encoders of their own (codec.go), allocate nothing for
// a request that need not wait, and never touch a record.
//
// Concurrency: handlers run on the reader goroutine of their connection and may
// block. The table is immutable. What outlives a request is in the families:
// fetch sessions behind a mutex, and Memory, which all of them share.
package api
