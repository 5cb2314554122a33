// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
	"gregor/internal/storage"
)

// DescribeLogDirs: 1-5
//
// Behaviours:
//   - Topics null: every partition. Each directory is named, also without any
//     of the partitions asked for; one that is offline: KAFKA_STORAGE_ERROR.
//
// Versions:
//
//	1: KIP-113, throttling after the answer
//	2: flexible
//	3: top-level error code
//	4: total and usable bytes of the volume (KIP-827)
//	5: whether the directory takes no new replicas (KIP-1066)
//
// Differs from Kafka: version 5 is 4.3's, like cordoned directories themselves.

// AlterReplicaLogDirs: 1-2
//
// Behaviours:
//   - A move begins and goes on in the background; DescribeLogDirs shows its
//     future replica and how far that is behind.
//   - To the directory where the replica is already: nothing to do, and a move
//     under way is given up. To a third one: it begins anew.
//   - A directory that is not configured: LOG_DIR_NOT_FOUND; one that is
//     offline, or any move while a directory is: KAFKA_STORAGE_ERROR.
//   - A partition not hosted here: REPLICA_NOT_AVAILABLE; should it come, it
//     will be made in that directory.
//
// Versions:
//
//	1: KIP-113, throttling after the answer
//	2: flexible

// LogDirs answers where replicas lie.
type LogDirs struct {
	Partitions Finder
	Hosted     HostedDirs
	Cordoned   func(*storage.Dir) bool // nil: none is
}

// HostedDirs are the log directories of this node and what lies in them.
type HostedDirs interface {
	Dirs() []*storage.Dir
	All() []*replica.Partition
	Move(p *replica.Partition, to *storage.Dir) error
	// Prefer is for a partition that is not hosted here yet.
	Prefer(n storage.Name, d *storage.Dir)
}

// Routes are the family's rows of the table.
func (l *LogDirs) Routes() []Route {
	return []Route{
		On(kmsg.DescribeLogDirs, 1, 5, l.describe),
		On(kmsg.AlterReplicaLogDirs, 1, 2, l.alter),
	}
}

func (l *LogDirs) describe(_ context.Context, _ *Call, req *kmsg.DescribeLogDirsRequest) (kmsg.Response, error) {
	asked := map[topicPartition]bool{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			asked[topicPartition{t.Topic, p}] = true
		}
	}
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	index := map[*storage.Dir]int{}
	for _, d := range l.Hosted.Dirs() {
		rd := kmsg.NewDescribeLogDirsResponseDir()
		rd.Dir = absolute(d.Path())
		rd.TotalBytes, rd.UsableBytes = -1, -1
		rd.IsCordoned = l.Cordoned != nil && l.Cordoned(d)
		usage, err := d.Usage()
		switch {
		case d.Err() != nil || err != nil:
			rd.ErrorCode = kerr.KafkaStorageError.Code
		default:
			rd.TotalBytes, rd.UsableBytes = usage.Total, usage.Free
			index[d] = len(resp.Dirs)
		}
		resp.Dirs = append(resp.Dirs, rd)
	}
	for _, p := range l.Hosted.All() { // by topic and index
		if req.Topics != nil && !asked[topicPartition{p.Topic(), p.Index()}] {
			continue
		}
		log, future := p.Log(), p.Future()
		if log == nil {
			continue
		}
		if i, ok := index[log.Dir()]; ok {
			addReplica(&resp.Dirs[i], p, log.Size(), max(p.HighWatermark()-log.End(), 0), false)
		}
		if future == nil {
			continue
		}
		if i, ok := index[future.Dir()]; ok {
			addReplica(&resp.Dirs[i], p, future.Size(), max(log.End()-future.End(), 0), true)
		}
	}
	return resp, nil
}

func addReplica(rd *kmsg.DescribeLogDirsResponseDir, p *replica.Partition, size, lag int64, future bool) {
	if n := len(rd.Topics); n == 0 || rd.Topics[n-1].Topic != p.Topic() {
		rt := kmsg.NewDescribeLogDirsResponseDirTopic()
		rt.Topic = p.Topic()
		rd.Topics = append(rd.Topics, rt)
	}
	rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	rp.Partition, rp.Size, rp.OffsetLag, rp.IsFuture = p.Index(), size, lag, future
	rt := &rd.Topics[len(rd.Topics)-1]
	rt.Partitions = append(rt.Partitions, rp)
}

func (l *LogDirs) alter(_ context.Context, _ *Call, req *kmsg.AlterReplicaLogDirsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	at := map[string]int{} // in resp.Topics
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			i, known := at[t.Topic]
			if !known {
				rt := kmsg.NewAlterReplicaLogDirsResponseTopic()
				rt.Topic = t.Topic
				i = len(resp.Topics)
				at[t.Topic] = i
				resp.Topics = append(resp.Topics, rt)
			}
			for _, p := range t.Partitions {
				rp := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				rp.Partition = p
				rp.ErrorCode = replica.Code(l.move(d.Dir, t.Topic, p))
				resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, rp)
			}
		}
	}
	return resp, nil
}

// futureName is how long a directory's name would be during a move: topic,
// partition, an id of 32 digits and "-future".
func futureName(topic string, index int32) int {
	return len(topic) + 1 + len(strconv.Itoa(int(index))) + 1 + 32 + len("-future")
}

func (l *LogDirs) move(dir, topic string, index int32) error {
	if futureName(topic, index) > 255 {
		return kerr.InvalidTopicException
	}
	dirs := l.Hosted.Dirs()
	i := slices.IndexFunc(dirs, func(d *storage.Dir) bool { return absolute(d.Path()) == absolute(dir) })
	switch {
	case i < 0:
		return kerr.LogDirNotFound
	case dirs[i].Err() != nil:
		return kerr.KafkaStorageError
	}
	p, err := l.Partitions.Find(topic, index)
	switch {
	case replica.Code(err) == kerr.NotLeaderForPartition.Code:
		l.Hosted.Prefer(storage.Name{Topic: topic, Partition: index}, dirs[i])
		return kerr.ReplicaNotAvailable
	case err != nil:
		return err
	}
	return l.Hosted.Move(p, dirs[i])
}

// absolute is how Kafka names a directory. Where the working directory cannot
// be told the path stays as it is.
func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
