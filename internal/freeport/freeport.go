// SPDX-License-Identifier: Apache-2.0

// Package freeport finds addresses for the nodes of tests, which keep them while
// they are down.
package freeport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// Ports below those that systems give to connections and to whoever asks for
// any (from 32768 on): so nobody else takes one between its being found and its
// use, nor while a node is down.
const (
	lowest = 10_000
	number = 20_000
	// each is how many a process goes through before it could meet those of
	// another that was started next to it.
	each = 500
)

var given atomic.Int64

// Addr returns a loopback address that nobody listens at, and that no other call
// in this process returns.
func Addr() (string, error) {
	for range number {
		port := lowest + (int64(os.Getpid())*each+given.Add(1))%number
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("freeport: every port is in use")
}
