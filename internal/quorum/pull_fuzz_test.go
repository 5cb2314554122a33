// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"reflect"
	"testing"
	"time"

	"gregor/internal/meta"
)

// FuzzPull: no panic on any request or answer of an observer, and what decodes
// survives the way back.
func FuzzPull(f *testing.F) {
	f.Add(PullRequest{Cluster: "c", Node: 3, Directory: meta.UUID{1}, Controller: true, Index: 7, Term: 2, At: 30, Wait: time.Second, MaxBytes: 1 << 20}.Append(nil))
	f.Add(PullAnswer{Code: PullBehind, Term: 3, Leader: &sampleVoters[0], Index: 9, SnapshotOf: 2, Size: 100, Bytes: []byte("x")}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := DecodePullRequest(b); err == nil {
			if again, err := DecodePullRequest(q.Append(nil)); err != nil || again != q {
				t.Fatalf("%+v became %+v: %v", q, again, err)
			}
		}
		if a, err := DecodePullAnswer(b); err == nil {
			again, err := DecodePullAnswer(a.Append(nil))
			if err != nil || string(again.Bytes) != string(a.Bytes) {
				t.Fatalf("%+v became %+v: %v", a, again, err)
			}
			a.Bytes, again.Bytes = nil, nil
			if !reflect.DeepEqual(again, a) {
				t.Fatalf("%+v became %+v", a, again)
			}
			_, _ = decodePulled(b, Position{})
		}
	})
}
