// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gregor/internal/vfs"
)

// Kafka's small text files; docs/formats/log-directory.md draws them.
const (
	metaPropertiesName   = "meta.properties"
	cleanShutdownName    = ".kafka_cleanshutdown"
	lockName             = ".lock"
	recoveryPointName    = "recovery-point-offset-checkpoint"
	highWatermarkName    = "replication-offset-checkpoint"
	startOffsetName      = "log-start-offset-checkpoint"
	epochCheckpointName  = "leader-epoch-checkpoint"
	partitionMetaName    = "partition.metadata"
	deleteSuffix         = "-delete"
	futureSuffix         = "-future"
	straySuffix          = "-stray"
	reserveName          = "gregor-reserve"
	setAsideSuffix       = ".cut"
	partitionMetaVersion = "version: 0\ntopic_id: "
)

// encodeOffsets writes an offset checkpoint: version, count, and a line
// "topic partition offset" for each log, sorted.
func encodeOffsets(m map[Name]int64) []byte {
	names := make([]Name, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, compareNames)
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(names))
	for _, n := range names {
		fmt.Fprintf(&b, "%s %d %d\n", n.Topic, n.Partition, m[n])
	}
	return b.Bytes()
}

func compareNames(a, b Name) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

func parseOffsets(b []byte) (map[Name]int64, error) {
	m := map[Name]int64{}
	if len(b) == 0 {
		return m, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if lines[0] != "0" || len(lines) < 2 {
		return nil, fmt.Errorf("offset checkpoint: unknown version %.20q", lines[0])
	}
	if n, err := strconv.Atoi(lines[1]); err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("offset checkpoint: count %.20q, but %d lines", lines[1], len(lines)-2)
	}
	for i, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("offset checkpoint: malformed entry %d", i)
		}
		p, err1 := strconv.ParseInt(f[1], 10, 32)
		o, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil || p < 0 || o < 0 {
			return nil, fmt.Errorf("offset checkpoint: malformed entry %d", i)
		}
		m[Name{f[0], int32(p)}] = o
	}
	return m, nil
}

// readOffsets reads a checkpoint; a damaged one is named and counts as empty.
func (d *Dir) readOffsets(name string) (map[Name]int64, error) {
	path := filepath.Join(d.path, name)
	b, err := vfs.ReadFile(d.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[Name]int64{}, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := parseOffsets(b)
	if err != nil {
		d.cfg.Events.rebuilt(path, err.Error())
		return map[Name]int64{}, nil
	}
	return m, nil
}

// EncodeID writes an id as Kafka does: URL-safe base64 without padding.
func encodeID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func parseID(s string) (id [16]byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(s), "="))
	if err != nil || len(b) != 16 {
		return id, fmt.Errorf("%.40q is no id", s)
	}
	return [16]byte(b), nil
}

func parsePartitionMeta(b []byte) (id [16]byte, err error) {
	for line := range strings.SplitSeq(string(b), "\n") {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch strings.TrimSpace(k) {
		case "version":
			if strings.TrimSpace(v) != "0" {
				return id, fmt.Errorf("partition.metadata: unknown version %.20q", v)
			}
		case "topic_id":
			return parseID(v)
		}
	}
	return id, errors.New("partition.metadata: no topic_id")
}

// metaProperties is who owns a directory.
type metaProperties struct {
	clusterID   string
	nodeID      int32
	directoryID [16]byte
	hadID       bool // when parsed; else directoryID is a new one
}

func (m metaProperties) encode() []byte {
	return fmt.Appendf(nil, "#\nversion=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n",
		m.clusterID, m.nodeID, encodeID(m.directoryID))
}

func parseMetaProperties(b []byte) (m metaProperties, err error) {
	m.nodeID = -1
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimSpace(line)
		k, v, ok := strings.Cut(line, "=")
		if !ok || line[0] == '#' {
			continue
		}
		switch k {
		case "version":
			if v != "1" && v != "0" {
				return m, fmt.Errorf("meta.properties: unknown version %.20q", v)
			}
		case "cluster.id":
			m.clusterID = v
		case "node.id", "broker.id":
			n, err := strconv.ParseInt(v, 10, 32)
			if err != nil || n < 0 {
				return m, fmt.Errorf("meta.properties: %s=%.20q is no node id", k, v)
			}
			m.nodeID = int32(n)
		case "directory.id":
			if m.directoryID, err = parseID(v); err != nil {
				return m, fmt.Errorf("meta.properties: directory.id: %w", err)
			}
			m.hadID = true
		}
	}
	if m.nodeID < 0 {
		return m, errors.New("meta.properties: node.id is missing")
	}
	if !m.hadID {
		m.directoryID = randomID()
	}
	return m, nil
}

// randomID makes an id that Kafka accepts: version 4, and no leading dash,
// which command lines would take for a flag.
func randomID() (id [16]byte) {
	for {
		_, _ = rand.Read(id[:])
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if encodeID(id)[0] != '-' {
			return id
		}
	}
}

// ReadMetaProperties tells which cluster and node a directory belongs to; ok
// is false when it is not formatted.
func ReadMetaProperties(fsys vfs.FS, dir string) (clusterID string, nodeID int32, directoryID [16]byte, ok bool, err error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, metaPropertiesName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", -1, directoryID, false, nil
	}
	if err != nil {
		return "", -1, directoryID, false, err
	}
	m, err := parseMetaProperties(b)
	return m.clusterID, m.nodeID, m.directoryID, err == nil, err
}

// parseLogDir reads a log's name from that of its directory.
func parseLogDir(s string) (Name, bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || i == len(s)-1 {
		return Name{}, false
	}
	p, err := strconv.ParseInt(s[i+1:], 10, 32)
	if err != nil || p < 0 || strconv.FormatInt(p, 10) != s[i+1:] {
		return Name{}, false
	}
	return Name{Topic: s[:i], Partition: int32(p)}, true
}
