// SPDX-License-Identifier: Apache-2.0

package coord

import "unicode/utf8"

// PartitionFor returns the partition of n that coordinates key: Kafka's
// Utils.abs of Java's String.hashCode, modulo n. At 50 partitions "my-group"
// is 12, "orders" 31 and "group1" 40.
// Source: GroupCoordinatorService.partitionFor, Utils.abs.
func PartitionFor(key string, n int32) int32 {
	h := javaHash(key)
	if h < 0 {
		h = -h // of the least value this is itself: Kafka takes 0 for that
		if h < 0 {
			h = 0
		}
	}
	return h % n
}

// javaHash is s[0]*31^(n-1) + ... + s[n-1] over UTF-16 code units.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if r >= 0x10000 && r <= utf8.MaxRune {
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			h = 31*h + (0xdc00 + r&0x3ff)
			continue
		}
		h = 31*h + r
	}
	return h
}
