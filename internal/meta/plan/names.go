// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/twmb/franz-go/pkg/kerr"

// MetadataTopic is the name of the metadata log's directory, which no topic may
// take.
const MetadataTopic = "__cluster_metadata"

const maxNameLength = 249 // leaves room for "-<partition>" and a suffix in a file name of 255

// IsInternal tells whether a topic belongs to the broker: clients see the flag
// and producers other than admin tools may not write to it.
func IsInternal(topic string) bool {
	return topic == "__consumer_offsets" || topic == "__transaction_state" || topic == "__share_group_state"
}

// CheckName tells why a topic cannot have that name: INVALID_TOPIC_EXCEPTION.
func CheckName(name string) error {
	var why string
	switch {
	case name == "":
		why = "the empty string is not allowed"
	case name == "." || name == "..":
		why = "'" + name + "' is not allowed"
	case len(name) > maxNameLength:
		return fail(kerr.InvalidTopicException, "Topic name is invalid: the length of '%s' is longer than the max allowed length %d", name, maxNameLength)
	case !legalCharacters(name):
		why = "'" + name + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
	default:
		return nil
	}
	return fail(kerr.InvalidTopicException, "Topic name is invalid: %s", why)
}

func legalCharacters(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// place names a partition.
type place struct {
	topic string
	index int32
}
