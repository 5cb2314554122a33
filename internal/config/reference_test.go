// SPDX-License-Identifier: Apache-2.0

// Goal: the committed reference pages say what the table says.
package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReferencePagesAreCurrent(t *testing.T) {
	t.Parallel()
	for _, page := range Pages() {
		var b bytes.Buffer
		if err := page.Print(&b); err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", page.File))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.ReplaceAll(have, []byte("\r\n"), []byte("\n")), b.Bytes()) {
			t.Errorf("docs/reference/%s is not current: go generate ./internal/config", page.File)
		}
	}
}

func TestDefaultsInWords(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"log.segment.bytes": " (1 GiB)", "connections.max.idle.ms": " (10 minutes)", "message.max.bytes": "", "num.partitions": "",
		"socket.request.max.bytes": " (100 MiB)", "log.cleaner.delete.retention.ms": " (1 day)", "log.retention.bytes": "",
	} {
		if got := inWords(Brokers.Lookup(name)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(inWords(Topics.Lookup("retention.ms")), "7 days") {
		t.Error("retention.ms")
	}
}
