// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"slices"
	"unicode/utf16"
)

// Java's tools print several results in the order in which a java.util.HashMap
// gives them: arbitrary to read, yet the same in every run, so that scripts
// see it and two implementations can be compared line by line. hashOrder puts
// keys into that order: by bucket of the table, the hash folded as HashMap
// folds it, and by insertion within a bucket.
func hashOrder[T any](items []T, capacity int, hash func(T) int32) []T {
	size := 1
	for size < capacity {
		size *= 2
	}
	for len(items)*4 > size*3 {
		size *= 2
	}
	out := slices.Clone(items)
	bucket := func(t T) uint32 {
		h := uint32(hash(t))
		return (h ^ h>>16) & uint32(size-1)
	}
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(bucket(a), bucket(b)) })
	return out
}

// stringHash is String.hashCode.
func stringHash(s string) int32 {
	var h int32
	for _, u := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(u)
	}
	return h
}

// partitionHash is TopicPartition.hashCode.
func partitionHash(topic string, partition int32) int32 {
	return 31*(31+partition) + stringHash(topic)
}
