// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// readPlan reads --from-file: topic,partition,offset for a single group, or
// group,topic,partition,offset.
func (t *groupsTool) readPlan() (map[string]map[topicPartition]int64, error) {
	raw, err := os.ReadFile(t.fromFile.value())
	if err != nil {
		return nil, fmt.Errorf("java.nio.file.NoSuchFileException: %s", t.fromFile.value())
	}
	out := map[string]map[topicPartition]int64{}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		f := strings.Split(line, ",")
		for i := range f {
			f[i] = strings.Trim(strings.TrimSpace(f[i]), `"`)
		}
		if len(f) == 3 && len(t.group.values) == 1 {
			f = append([]string{t.group.values[0]}, f...)
		}
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: expected [group,]topic,partition,offset, got %q", t.fromFile.value(), line)
		}
		p, err1 := strconv.ParseInt(f[2], 10, 32)
		o, err2 := strconv.ParseInt(f[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%s: %w", t.fromFile.value(), err)
		}
		if out[f[0]] == nil {
			out[f[0]] = map[topicPartition]int64{}
		}
		out[f[0]][topicPartition{f[1], int32(p)}] = o
	}
	return out, nil
}

// parseDateTime reads 2026-01-02T03:04:05.678 with Z, +01:00, +01 or nothing
// (UTC) after it.
func parseDateTime(s string) (int64, error) {
	_, clock, ok := strings.Cut(s, "T")
	if !ok {
		return 0, errors.New("Error parsing timestamp. It does not contain a 'T' according to ISO8601 format")
	}
	if !strings.ContainsAny(clock, "+-Z") {
		s += "Z"
	}
	for _, layout := range []string{"2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000Z07"} {
		if ts, err := time.Parse(layout, s); err == nil {
			return ts.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("Unparseable date: %q", s)
}
