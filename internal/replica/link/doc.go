// SPDX-License-Identifier: Apache-2.0

// Package link is a follower's way to its leaders over the wire: it meets
// replica.Source with Kafka's Fetch, version 17, and with FlushNews, a request
// of ours (docs/formats/replication.md). It knows bytes and connections, and
// refuses to know what is done with the records.
//
// Records are not copied: an answer's point into the frame as it was read, and
// its Release gives that back.
//
// A Link has two connections, because requests on one are answered in turn and
// a fetch may be parked. Each has one request under way at a time.
package link
