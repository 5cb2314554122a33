// SPDX-License-Identifier: Apache-2.0

// Goal: a component's lines appear exactly when its level in force lets them.
// Method: log through a text handler into a buffer.
package loggers

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestLevelsChangeWhileLogging(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 4}), slog.LevelInfo, "storage", "api")
	storage, api := s.Logger("storage").With("dir", "a"), s.Logger("api").WithGroup("g")
	shows := func(l *slog.Logger, level slog.Level) bool {
		out.Reset()
		l.Log(t.Context(), level, "line", "k", 1)
		return out.Len() > 0
	}
	check := func(when string, storageDebug, apiDebug, apiInfo bool) {
		t.Helper()
		if shows(storage, slog.LevelDebug) != storageDebug || shows(api, slog.LevelDebug) != apiDebug || shows(api, slog.LevelInfo) != apiInfo {
			t.Errorf("%s: wrong lines", when)
		}
	}
	check("at first", false, false, true)
	if !s.Set("storage", "DEBUG") {
		t.Fatal("refused")
	}
	check("storage at debug", true, false, true)
	s.Set(Root, "ERROR")
	check("root at error", true, false, false)
	s.Unset("storage")
	check("storage follows root", false, false, false)
	if s.Set("storage", "LOUD") || s.Set("nobody", "INFO") || s.Unset(Root) || s.Unset("nobody") {
		t.Error("nonsense was accepted")
	}
	var got []string
	s.Each(func(logger, level string) { got = append(got, logger+"="+level) })
	if fmt.Sprint(got) != "[api=ERROR root=ERROR storage=ERROR]" {
		t.Error(got)
	}
	out.Reset()
	storage.Error("line")
	if !strings.Contains(out.String(), "component=storage") || !strings.Contains(out.String(), "dir=a") {
		t.Error(out.String())
	}
}
