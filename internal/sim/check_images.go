// SPDX-License-Identifier: Apache-2.0

// Invariant: the image at one version is the same on every node, for ever,
// whatever was crashed or cut off in between.

package sim

import (
	"crypto/sha256"
	"fmt"

	"gregor/internal/meta"
)

type images struct {
	sums  map[int64][sha256.Size]byte // by version
	first map[int64]int32             // the node that showed it first
}

func newImages() images {
	return images{map[int64][sha256.Size]byte{}, map[int64]int32{}}
}

func (c *images) observe(node int32, img *meta.Image) error {
	var b []byte
	for r := range img.Records() {
		b = meta.AppendRecord(b, r)
	}
	return c.sum(node, img.Version(), sha256.Sum256(b))
}

func (c *images) sum(node int32, version int64, sum [sha256.Size]byte) error {
	before, ok := c.sums[version]
	if !ok {
		c.sums[version], c.first[version] = sum, node
		return nil
	}
	if before != sum {
		return fmt.Errorf("images differ: version %d on node %d is not what node %d had", version, node, c.first[version])
	}
	return nil
}
