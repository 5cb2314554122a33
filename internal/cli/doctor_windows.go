// SPDX-License-Identifier: Apache-2.0

//go:build windows

package cli

import "golang.org/x/sys/windows"

func fileLimit() finding {
	return finding{Check: "file limit", State: sound, Found: "Windows sets none"}
}

func diskSpace(dir string) finding {
	var free, size, total uint64
	path, err := windows.UTF16PtrFromString(dir)
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(path, &free, &size, &total)
	}
	if err != nil {
		return finding{Check: "disk of " + dir, State: problem, Found: err.Error(), Do: "is this the server's log.dirs?"}
	}
	return diskFinding("disk of "+dir, free, size)
}
