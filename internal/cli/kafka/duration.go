// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var isoDuration = regexp.MustCompile(`(?i)^([-+]?)P(?:([-+]?\d+)D)?(T(?:([-+]?\d+)H)?(?:([-+]?\d+)M)?(?:([-+]?\d+(?:[.,]\d{0,9})?)S)?)?$`)

// parseISODuration reads what java.time.Duration reads: P1DT2H3M4.5S.
func parseISODuration(s string) (time.Duration, error) {
	m := isoDuration.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(strings.ToUpper(s), "T") || m[2]+m[4]+m[5]+m[6] == "" {
		return 0, fmt.Errorf("Text cannot be parsed to a Duration")
	}
	var d time.Duration
	for i, unit := range map[int]time.Duration{2: 24 * time.Hour, 4: time.Hour, 5: time.Minute} {
		n, _ := strconv.ParseInt(m[i], 10, 64)
		d += time.Duration(n) * unit
	}
	if m[6] != "" {
		f, _ := strconv.ParseFloat(strings.ReplaceAll(m[6], ",", "."), 64)
		d += time.Duration(f * float64(time.Second))
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}
