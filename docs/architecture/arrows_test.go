// SPDX-License-Identifier: Apache-2.0

// Package architecture holds no code, only the test that keeps arrows.txt
// true: each package imports of ours, and of what is guarded, only what its
// row allows; every package has a row and every row a package; arrows run one
// way by construction of Go's import graph.
package architecture

import (
	"bufio"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "gregor"

// everyone may import these of ours without an entry.
var everyone = []string{"internal/invariant"}

// guarded are the imports that only a row's third column opens. A pattern
// ending in / guards everything below it.
var guarded = []string{
	"net", "net/http", "net/http/pprof", "log/slog", "os/exec",
	"go.etcd.io/raft/", "github.com/twmb/franz-go/pkg/kgo", "github.com/twmb/franz-go/pkg/kadm",
	"github.com/twmb/franz-go/pkg/kmsg", "github.com/twmb/franz-go/pkg/kerr",
	"github.com/prometheus/", "github.com/spf13/",
}

// pure packages decide and never act: time, chance and concurrency are
// arguments (README.md, Floors).
var pure = []string{
	"internal/meta", "internal/meta/balance", "internal/meta/plan", "internal/replica/partition",
	"internal/coord/group", "internal/coord/group/classic",
}

var impure = []string{"sync", "sync/atomic", "context", "os", "net", "math/rand", "math/rand/v2", "crypto/rand"}

var impureCalls = []string{"time.Now(", "time.Sleep(", "time.After(", "time.NewTimer(", "time.AfterFunc(", "time.NewTicker(", "time.Since("}

type row struct{ ours, guarded []string }

func TestArrows(t *testing.T) {
	root := "../.."
	rows := readRows(t, "arrows.txt")
	seen := map[string]bool{}
	for pkg, files := range packages(t, root) {
		r, ok := rows[pkg]
		if !ok {
			t.Errorf("%s has no row in arrows.txt", pkg)
			continue
		}
		seen[pkg] = true
		used := map[string]bool{}
		lines := 0
		for _, file := range files {
			lines += checkFile(t, root, pkg, file, r, used)
		}
		for _, o := range append(slices.Clone(r.ours), r.guarded...) {
			if !used[o] {
				t.Errorf("%s: the row allows %s, which nothing imports: take it out", pkg, o)
			}
		}
		t.Logf("%-32s %3d files %6d lines  -> %s", pkg, len(files), lines, strings.Join(r.ours, " "))
	}
	for pkg := range rows {
		if !seen[pkg] {
			t.Errorf("arrows.txt has a row for %s, which is not there", pkg)
		}
	}
}

// checkFile reports the arrows of one file that its package's row r forbids,
// notes in used those it allows, and returns the file's length in lines.
func checkFile(t *testing.T, root, pkg, file string, r row, used map[string]bool) int {
	path := filepath.Join(root, file)
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		imp, _ := strconv.Unquote(spec.Path.Value)
		if rel, ok := strings.CutPrefix(imp, module+"/"); ok {
			if !slices.Contains(r.ours, rel) && !slices.Contains(everyone, rel) {
				t.Errorf("%s imports %s: no such arrow in arrows.txt", file, rel)
			}
			used[rel] = true
			continue
		}
		if g := guard(imp); g != "" {
			if !slices.Contains(r.guarded, g) {
				t.Errorf("%s imports the guarded %s: not in its row", file, imp)
			}
			used[g] = true
		}
		if slices.Contains(pure, pkg) && slices.Contains(impure, imp) {
			t.Errorf("%s: a pure package imports %s", file, imp)
		}
	}
	if slices.Contains(pure, pkg) {
		for _, call := range impureCalls {
			if strings.Contains(string(src), call) {
				t.Errorf("%s: a pure package calls %s)", file, call)
			}
		}
	}
	return strings.Count(string(src), "\n")
}

func guard(imp string) string {
	for _, g := range guarded {
		if imp == g || strings.HasSuffix(g, "/") && strings.HasPrefix(imp, g) {
			return g
		}
	}
	return ""
}

// readRows parses arrows.txt: package | ours | guarded, "-" for none.
func readRows(t *testing.T, name string) map[string]row {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows := map[string]row{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		cols := strings.Split(line, "|")
		if len(cols) != 3 {
			t.Fatalf("%s: want 3 columns: %q", name, line)
		}
		pkg := strings.TrimSpace(cols[0])
		if _, twice := rows[pkg]; twice {
			t.Fatalf("%s: two rows for %s", name, pkg)
		}
		rows[pkg] = row{words(cols[1]), words(cols[2])}
	}
	return rows
}

func words(s string) []string {
	w := strings.Fields(s)
	if len(w) == 1 && w[0] == "-" {
		return nil
	}
	return w
}

// packages returns the non-test Go files of the floors, by package folder.
func packages(t *testing.T, root string) map[string][]string {
	out := map[string][]string{}
	for _, top := range []string{"cmd", "internal", "broker"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return fmt.Errorf("relative path of %s: %w", path, err)
			}
			rel = filepath.ToSlash(rel)
			dir := rel[:strings.LastIndex(rel, "/")]
			out[dir] = append(out[dir], rel)
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return out
}
