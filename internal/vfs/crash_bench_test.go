// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"fmt"
	"testing"
)

// A power-loss test clones a small log directory per seed.
func BenchmarkCrashClone(b *testing.B) {
	m := NewMem()
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	for p := range 3 {
		dir := fmt.Sprintf("t-%d", p)
		check(m.MkdirAll(dir))
		for _, ext := range []string{"log", "index", "timeindex", "snapshot"} {
			f := must(m.Create(dir + "/0." + ext))
			for i := range 20 {
				must(f.WriteAt(make([]byte, 200), int64(i*200)))
				if i == 10 {
					check(f.Datasync())
					check(m.SyncDir(dir))
				}
			}
		}
	}
	b.ReportAllocs()
	for i := range b.N {
		m.CrashClone(seeded(uint64(i)))
	}
}

func BenchmarkMemAppend(b *testing.B) {
	m := NewMem()
	f := must(m.Create("f"))
	p := make([]byte, 200)
	b.ReportAllocs()
	for i := range b.N {
		must(f.WriteAt(p, int64(i%4096)*200))
		if i%16 == 0 {
			_ = f.Datasync()
		}
		if i%4096 == 4095 {
			_ = f.Truncate(0)
		}
	}
}
