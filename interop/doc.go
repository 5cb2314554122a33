// SPDX-License-Identifier: Apache-2.0

// Package interop holds the suites that drive Gregor with real foreign
// clients and Kafka's own tools; README.md says how. The tests carry the build
// tag interop and are started by ./run, which fetches the clients.
package interop
