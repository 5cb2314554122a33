// SPDX-License-Identifier: Apache-2.0

// Package api answers Kafka's requests: one table from key to versions and
// handler, and one file per family of keys.
package api
