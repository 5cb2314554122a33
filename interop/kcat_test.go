//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

func kcat(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("kcat", append([]string{"-b", bootstrap}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %v: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// TestKcat: produce in each codec, consume as JSON, query offsets, list.
func TestKcat(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			topic := newTopic(t, "")
			var in strings.Builder
			for i := range 200 {
				fmt.Fprintf(&in, "k%d:value number %d\n", i%7, i)
			}
			kcat(t, in.String(), "-P", "-t", topic, "-K:", "-z", codec, "-X", "enable.idempotence=true")
			got := map[string]bool{}
			for _, l := range strings.Split(strings.TrimSpace(kcat(t, "", "-C", "-t", topic, "-e", "-J", "-o", "beginning")), "\n") {
				var m struct{ Key, Payload string }
				if err := json.Unmarshal([]byte(l), &m); err != nil {
					t.Fatalf("%q: %v", l, err)
				}
				got[m.Key+":"+m.Payload] = true
			}
			for _, want := range strings.Split(strings.TrimSpace(in.String()), "\n") {
				if !got[want] {
					t.Fatalf("%q is missing", want)
				}
			}
			if list := kcat(t, "", "-L", "-t", topic); !strings.Contains(list, topic) || !strings.Contains(list, "5 partitions") {
				t.Errorf("kcat -L:\n%s", list)
			}
			if q := kcat(t, "", "-Q", "-t", topic+":0:-2"); !strings.Contains(q, "offset 0") {
				t.Errorf("kcat -Q: %s", q)
			}
		})
	}
}
