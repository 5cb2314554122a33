// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"io"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ClientOptions translates a Java client's properties (bootstrap.servers,
// security.protocol and so on), read from file unless it is "", with more
// winning over it. What goes wrong on the way is told on warnings.
func ClientOptions(file string, more map[string]string, warnings io.Writer) ([]kgo.Opt, error) {
	p, err := loadProps(file)
	if err != nil {
		return nil, err
	}
	return p.merge(more).kgoOpts(&Env{Err: warnings})
}

// DumpFile prints a file of a log as kafka-dump-log does.
func DumpFile(e *Env, path string, records bool) error {
	args := []string{"--files", path}
	if records {
		args = append(args, "--print-data-log")
	}
	return runDumpLog(context.Background(), e, args)
}

// ErrorText is the broker's own word on err where it gave one.
func ErrorText(err error) string { return timedOut(err, "request").Error() }
