//go:build race

// SPDX-License-Identifier: Apache-2.0

package broker_test

// shadow is how much more memory the race detector takes than it watches.
const shadow = 10
