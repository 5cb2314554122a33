// SPDX-License-Identifier: Apache-2.0

// Package plan decides: from an Image and a request it computes the records
// that would carry the request out, and the answer. It is pure: no clock, no
// lock, no goroutine, no randomness but a source that is handed in, and the
// same input gives the same records in the same order. Whoever calls it
// (meta/controller) has the records agreed upon and only then gives the answer.
//
// A decision that refuses part of a request says so in the answer and emits no
// record for that part; a request that only asks (validate only) emits none.
//
// plan speaks kmsg and kerr as vocabulary. It refuses to know who asks
// (authorisation is done before), how records travel, and what settings mean
// (a Schema is handed in).
package plan

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
)

// Env is what decisions depend on beside the Image and the request.
type Env struct {
	Random Random
	Schema Schema
	// Partitions and Replication are num.partitions and
	// default.replication.factor of the controller.
	Partitions  int32
	Replication int16
	// Supported are the features that this program knows, sorted by name.
	Supported []meta.FeatureRange
	// Voters are the controllers of the quorum, whether they registered or not;
	// nil: those of the Image.
	Voters func() []int32
	// Heard tells whether a broker that counts as being in service was heard
	// of lately; nil: all were. See scene, R4.
	Heard func(broker int32) bool
	// Await asks for a sign of life of a broker from now on; Awaited tells that
	// it has not come yet. Nil: none is asked for. See scene, R4.
	Await   func(broker int32)
	Awaited func(broker int32) bool
}

// Random is a seeded source.
type Random interface{ Uint64() uint64 }

// Schema knows the settings of resources; the room config meets it.
type Schema interface {
	// IsList tells whether key of that type of resource is a list, which can
	// be appended to.
	IsList(t meta.ResourceType, key string) bool
	// Default is the value that a resource without the setting has.
	Default(t meta.ResourceType, key string) (string, bool)
	// Validate checks all settings that a resource would have; old are those
	// it has. An error that is no *kerr.Error becomes INVALID_CONFIG.
	Validate(r meta.Resource, all, old map[string]string) error
	// Topic lists every setting of a topic that has only set, sorted by name,
	// as CreateTopics tells it.
	Topic(img *meta.Image, set map[string]string) []TopicSetting
}

// TopicSetting is one setting in the answer of CreateTopics.
type TopicSetting struct {
	Name      string
	Value     *string // nil when sensitive
	Source    int8    // Kafka's config source id
	ReadOnly  bool
	Sensitive bool
}

// maxRecords is Kafka's bound on the records of one request.
const maxRecords = 10_000

// Failure is an error with a Kafka code and our own words.
type Failure struct {
	Kind    *kerr.Error
	Message string
}

func (f *Failure) Error() string { return f.Kind.Message + ": " + f.Message }
func (f *Failure) Unwrap() error { return f.Kind }

func fail(kind *kerr.Error, format string, args ...any) *Failure {
	return &Failure{kind, fmt.Sprintf(format, args...)}
}

// bare is a failure with Kafka's own text for the code.
func bare(kind *kerr.Error) *Failure { return &Failure{kind, kind.Description} }

// answer splits an error into what an answer carries; nil is success.
func answer(err error) (code int16, message *string) {
	if err == nil {
		return 0, nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f.Kind.Code, &f.Message
	}
	var k *kerr.Error
	if errors.As(err, &k) {
		m := err.Error()
		return k.Code, &m
	}
	m := err.Error()
	return kerr.UnknownServerError.Code, &m
}

// intN is uniform in [0, n) but for a bias below n/2^64.
func intN(r Random, n int) int { return int(r.Uint64() % uint64(n)) }

// newUUID draws an id.
func newUUID(r Random) meta.UUID {
	return meta.NewUUID(func(b []byte) {
		for i := range b {
			b[i] = byte(r.Uint64() >> 32)
		}
	})
}

// settingsError turns what Schema.Validate said into a failure.
func settingsError(err error) error {
	var k *kerr.Error
	if err == nil || errors.As(err, &k) {
		return err
	}
	return &Failure{kerr.InvalidConfig, err.Error()}
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
