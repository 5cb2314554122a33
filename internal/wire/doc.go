// SPDX-License-Identifier: Apache-2.0

// Package wire speaks Kafka's frames: it accepts connections, cuts requests
// out of the stream, hands them to a Handler and writes the replies in order.
// It knows headers, and nothing of what the bodies mean.
package wire
