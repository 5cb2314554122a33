// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

// uuidText is Kafka's form of an id: base64 for URLs, without padding.
func uuidText(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// parseUUID reads uuidText; the message is that of Kafka's Uuid.fromString.
func parseUUID(s string) (id [16]byte, err error) {
	if len(s) > 24 {
		return id, fmt.Errorf("Input string with prefix `%s` is too long to be decoded as a base64 UUID", s[:24])
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) != 16 {
		return id, fmt.Errorf("Input string `%s` decoded as %d bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID", s, len(b))
	}
	return [16]byte(b), nil
}

// randomUUID is a version 4 UUID that does not begin with a dash (it would
// look like an option) and is none of the reserved ids.
func randomUUID() [16]byte {
	for {
		var id [16]byte
		rand.Read(id[:])
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if !strings.HasPrefix(uuidText(id), "-") {
			return id
		}
	}
}

func isInternal(topic string) bool {
	return topic == "__consumer_offsets" || topic == "__transaction_state" || topic == "__share_group_state"
}

// topicFilter is Kafka's include list: a regular expression that must match
// the whole name, in which commas mean "or" and quotes at the ends are dropped.
func topicFilter(raw string) (*regexp.Regexp, error) {
	s := strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(raw), ",", "|"), " ", "")
	s = strings.Trim(s, `"'`)
	re, err := wholeMatch(s)
	if err != nil {
		return nil, fmt.Errorf("%s is an invalid regex.", s)
	}
	return re, nil
}

func wholeMatch(s string) (*regexp.Regexp, error) { return regexp.Compile(`^(?:` + s + `)$`) }
