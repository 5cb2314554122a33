// SPDX-License-Identifier: Apache-2.0

package coord

import "testing"

// Goal: the coordinator's partition is where Kafka's clients and tools expect
// it. Method: figures that Kafka itself gives, with the corners of Java's hash:
// characters outside the basic plane are two code units, and the hash -2^31 has
// no positive counterpart.
func TestPartitionFor(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"": 0, "my-group": 12, "orders": 31, "group1": 40,
		"polygenelubricants": 0, // hash is -2^31
	} {
		if got := PartitionFor(key, 50); got != want {
			t.Errorf("PartitionFor(%q, 50) = %d, want %d", key, got, want)
		}
	}
	if got := javaHash("\U0001F600"); got != 31*0xd83d+0xde00 {
		t.Errorf("hash of a surrogate pair is %d", got)
	}
}
