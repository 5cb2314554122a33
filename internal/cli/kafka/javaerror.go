// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// oddExceptions are the Java classes whose name does not follow from the name
// of the error code.
var oddExceptions = map[string]string{
	"UNKNOWN_SERVER_ERROR":                  "UnknownServerException",
	"CORRUPT_MESSAGE":                       "CorruptRecordException",
	"NOT_LEADER_FOR_PARTITION":              "NotLeaderOrFollowerException",
	"REQUEST_TIMED_OUT":                     "TimeoutException",
	"MESSAGE_TOO_LARGE":                     "RecordTooLargeException",
	"OFFSET_METADATA_TOO_LARGE":             "OffsetMetadataTooLarge",
	"NETWORK_EXCEPTION":                     "NetworkException",
	"INVALID_TOPIC_EXCEPTION":               "InvalidTopicException",
	"RECORD_LIST_TOO_LARGE":                 "RecordBatchTooLargeException",
	"TOPIC_ALREADY_EXISTS":                  "TopicExistsException",
	"NON_EMPTY_GROUP":                       "GroupNotEmptyException",
	"INVALID_CONFIG":                        "InvalidConfigurationException",
	"KAFKA_STORAGE_ERROR":                   "KafkaStorageException",
	"TOPIC_AUTHORIZATION_FAILED":            "TopicAuthorizationException",
	"GROUP_AUTHORIZATION_FAILED":            "GroupAuthorizationException",
	"CLUSTER_AUTHORIZATION_FAILED":          "ClusterAuthorizationException",
	"INVALID_REPLICATION_FACTOR":            "InvalidReplicationFactorException",
	"SASL_AUTHENTICATION_FAILED":            "SaslAuthenticationException",
	"UNSUPPORTED_FOR_MESSAGE_FORMAT":        "UnsupportedForMessageFormatException",
	"DELEGATION_TOKEN_AUTH_DISABLED":        "DelegationTokenDisabledException",
	"DELEGATION_TOKEN_AUTHORIZATION_FAILED": "DelegationTokenAuthorizationException",
	"OPERATION_NOT_ATTEMPTED":               "OperationNotAttemptedException",
}

// exceptionText is what a Java client's exception prints: class and message.
func exceptionText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "org.apache.kafka.common.errors.TimeoutException: " + err.Error()
	}
	ke := (*kerr.Error)(nil)
	if !errors.As(err, &ke) {
		if be := (*brokerError)(nil); errors.As(err, &be) {
			return "org.apache.kafka.common.errors.TimeoutException: " + be.Text
		}
		return "org.apache.kafka.common.KafkaException: " + err.Error()
	}
	class, odd := oddExceptions[ke.Message]
	if !odd {
		var b strings.Builder
		for _, w := range strings.Split(strings.ToLower(ke.Message), "_") {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
		class = b.String() + "Exception"
	}
	text := ke.Description
	if be := (*brokerError)(nil); errors.As(err, &be) {
		text = be.Text
	}
	return "org.apache.kafka.common.errors." + class + ": " + text
}
