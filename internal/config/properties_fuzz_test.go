// SPDX-License-Identifier: Apache-2.0

// Goal: whatever stands in a properties file, reading it ends with settings
// or with an error, never with a panic, and what was accepted can be written
// down and read again. Method: fuzz the parser and the checks behind it.
package config

import (
	"testing"
)

func FuzzProperties(f *testing.F) {
	f.Add([]byte(shippedByKafka))
	f.Add([]byte("a=b\\\n c\n\\u00e9=\\u"))
	f.Add([]byte("listeners=PLAINTEXT://[::1]:9092,A://:0\nlistener.security.protocol.map=A:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"))
	f.Add([]byte("log.cleaner.io.max.bytes.per.second=1E400\nconfig.providers=x\nlistener.name..=1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseProperties(data)
		if err != nil {
			return
		}
		values := last(all)
		if values["config.providers"] != "" {
			return // would read files of the machine
		}
		s, err := Options{File: "f", Hostname: "box"}.settle(all)
		if err != nil {
			return
		}
		for _, d := range s.DescribeBroker() {
			if _, given := values[d.Name]; given && d.Sensitive && d.Value != "" {
				t.Fatalf("%s shows", d.Name)
			}
		}
		if len(s.Explain()) < 300 {
			t.Fatal("explain lost rows")
		}
	})
}
