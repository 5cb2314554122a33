//go:build !race

// SPDX-License-Identifier: Apache-2.0

package broker_test

// shadow is 1: no race detector, no memory beside the program's.
const shadow = 1
