// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package wire

func allocHuge(n int) []byte { return make([]byte, n) }

func freeHuge([]byte) {}
