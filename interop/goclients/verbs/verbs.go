// SPDX-License-Identifier: Apache-2.0

// Package verbs holds the arguments and output lines of interop/README.md.
package verbs

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Args are the verb's key=value words.
type Args map[string]string

func (a Args) Str(k, d string) string {
	if v, ok := a[k]; ok {
		return v
	}
	return d
}

func (a Args) Num(k string, d int) int {
	n, err := strconv.Atoi(a.Str(k, strconv.Itoa(d)))
	Must(err)
	return n
}

// Seeds are the brokers to ask first.
func (a Args) Seeds() []string { return strings.Split(a["bootstrap"], ",") }

func (a Args) Yes(k string) bool      { return a[k] == "1" }
func (a Args) Timeout() time.Duration { return time.Duration(a.Num("timeout", 30)) * time.Second }

// At returns the start of a consume: "start", "end", or "time" with its ms.
func (a Args) At() (string, int64) {
	s := a.Str("from", "start")
	if ms, ok := strings.CutPrefix(s, "time:"); ok {
		n, err := strconv.ParseInt(ms, 10, 64)
		Must(err)
		return "time", n
	}
	return s, 0
}

// Run calls the function of the verb named on the command line.
func Run(funcs map[string]func(Args)) {
	a := Args{}
	for _, w := range os.Args[2:] {
		k, v, _ := strings.Cut(w, "=")
		a[k] = v
	}
	f, ok := funcs[os.Args[1]]
	if !ok {
		Must(fmt.Errorf("no verb %s", os.Args[1]))
	}
	f(a)
	Out(map[string]any{"done": true})
}

var mu sync.Mutex

// Out prints one line.
func Out(m map[string]any) {
	mu.Lock()
	defer mu.Unlock()
	Must(json.NewEncoder(os.Stdout).Encode(m))
}

// Must ends the program on an error.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Eventually reports a step of admin once it holds: a change is there at once
// on the broker that answered, and soon on the others.
func Eventually(name string, holds func() bool) {
	ok := holds()
	for late := time.Now().Add(20 * time.Second); !ok && time.Now().Before(late); ok = holds() {
		time.Sleep(50 * time.Millisecond)
	}
	Step(name, ok)
}

// Step reports a step of admin and ends the program if it failed.
func Step(name string, ok bool) {
	Out(map[string]any{"step": name, "ok": ok})
	if !ok {
		os.Exit(3)
	}
}

// Payload is record i's value.
func Payload(i, size int) []byte {
	b := make([]byte, size)
	for k := range b {
		b[k] = byte('a' + k%26)
	}
	copy(b, strconv.Itoa(i)+"|")
	return b
}

// Key is record i's key, nil unless keyed.
func Key(a Args, i int) []byte {
	if !a.Yes("keyed") {
		return nil
	}
	return []byte(fmt.Sprintf("key-%d", i%17))
}

// Record prints a consumed record; headers is "k=v;" for each.
func Record(partition int, offset int64, key, value []byte, headers string) {
	head, _, _ := strings.Cut(string(value), "|")
	i, _ := strconv.Atoi(head)
	Out(map[string]any{"p": partition, "o": offset, "i": i, "len": len(value),
		"crc": crc32.ChecksumIEEE(value), "key": string(key), "h": headers})
}

// Stopped is closed when standard input ends: the member leaves.
func Stopped() <-chan struct{} {
	c := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(c)
	}()
	return c
}
