// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cli

import "golang.org/x/sys/unix"

func fileLimit() finding {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return finding{Check: "file limit", State: warning, Found: err.Error()}
	}
	return fileLimitFinding(r.Cur)
}

func diskSpace(dir string) finding {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return finding{Check: "disk of " + dir, State: problem, Found: err.Error(), Do: "is this the server's log.dirs?"}
	}
	//nolint:unconvert // the types of the fields differ from system to system
	return diskFinding("disk of "+dir, uint64(s.Bavail)*uint64(s.Bsize), uint64(s.Blocks)*uint64(s.Bsize))
}
