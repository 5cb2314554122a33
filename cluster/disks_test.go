// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gregor/internal/batch"
)

// segments are the files of a node's replica, in the order of offsets.
func (n *node) segments(topic string, p int) []string {
	files, _ := filepath.Glob(filepath.Join(n.data, fmt.Sprintf("%s-%d", topic, p), "*.log"))
	slices.Sort(files)
	return files
}

// batches reads a replica off the disk of a stopped node: the checksum of each
// batch by base offset. A segment may end in zeros that were reserved.
func (n *node) batches(topic string, p int) (map[int64][sha256.Size]byte, error) {
	out := map[int64][sha256.Size]byte{}
	for _, file := range n.segments(topic, p) {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for len(bytes.TrimLeft(b, "\x00")) > 0 {
			v, rest, err := batch.Next(b)
			if err != nil {
				return nil, fmt.Errorf("%s at %d bytes before its end: %w", file, len(b), err)
			}
			if err := v.CheckCRC(); err != nil {
				return nil, fmt.Errorf("%s, offset %d: %w", file, v.BaseOffset(), err)
			}
			out[v.BaseOffset()] = sha256.Sum256(b[:len(b)-len(rest)])
			b = rest
		}
	}
	return out, nil
}

// compare wants the same batches on every node that holds a partition. The
// cluster must have come to rest and be stopped.
func (c *cluster) compare(t testing.TB, topic string, partitions int) {
	t.Helper()
	for p := range partitions {
		var first map[int64][sha256.Size]byte
		var who []string
		for _, n := range c.nodes {
			if len(n.segments(topic, p)) == 0 {
				continue
			}
			who = append(who, fmt.Sprint(n.id))
			b, err := n.batches(topic, p)
			if err != nil {
				t.Errorf("node %d: %v", n.id, err)
				continue
			}
			if first == nil {
				first = b
				continue
			}
			if len(b) != len(first) {
				t.Errorf("%s-%d: node %d holds %d batches, node %s %d", topic, p, n.id, len(b), who[0], len(first))
			}
			for base, sum := range b {
				if other, ok := first[base]; ok && other != sum {
					t.Errorf("%s-%d: nodes %d and %s differ at offset %d", topic, p, n.id, who[0], base)
					break
				}
			}
		}
		if len(who) < 3 {
			t.Errorf("%s-%d is on nodes %s only", topic, p, strings.Join(who, " "))
		}
	}
}

// flip turns one bit in the middle of a file.
func flip(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var b [1]byte
	at := info.Size() / 2
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		return err
	}
	return f.Sync()
}
