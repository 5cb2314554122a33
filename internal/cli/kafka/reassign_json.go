// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// anyDir leaves the choice of a directory to the broker.
const anyDir = "any"

// replicaOf is one replica of a partition.
type replicaOf struct {
	topicPartition
	broker int32
}

// String is how Java prints a TopicPartitionReplica.
func (r replicaOf) String() string { return fmt.Sprintf("%s-%d", r.topicPartition, r.broker) }

func sortedPartitions[V any](m map[topicPartition]V) []topicPartition {
	return slices.SortedFunc(maps.Keys(m), compareTP)
}

func sortedReplicas[V any](m map[replicaOf]V) []replicaOf {
	return slices.SortedFunc(maps.Keys(m), func(a, b replicaOf) int {
		if a.broker != b.broker {
			return int(a.broker) - int(b.broker)
		}
		return compareTP(a.topicPartition, b.topicPartition)
	})
}

// moveFile is what --reassignment-json-file says, in its order.
type moveFile struct {
	list    []topicPartition
	targets map[topicPartition][]int32
	dirs    map[replicaOf]string
	twice   []topicPartition
}

func parseMoves(raw []byte) (moveFile, error) {
	a := moveFile{targets: map[topicPartition][]int32{}, dirs: map[replicaOf]string{}}
	var doc struct {
		Version    *int
		Partitions []struct {
			Topic     *string
			Partition *int32
			Replicas  *[]int32
			Dirs      *[]string `json:"log_dirs"`
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return a, err
	}
	if doc.Version != nil && *doc.Version != 1 {
		return a, fmt.Errorf("Not supported version field value %d", *doc.Version)
	}
	for _, p := range doc.Partitions {
		switch {
		case p.Topic == nil:
			return a, errors.New("No such field exists: `topic`")
		case p.Partition == nil:
			return a, errors.New("No such field exists: `partition`")
		case p.Replicas == nil:
			return a, errors.New("No such field exists: `replicas`")
		}
		tp, replicas := topicPartition{*p.Topic, *p.Partition}, *p.Replicas
		if p.Dirs != nil {
			if len(*p.Dirs) != len(replicas) {
				return a, fmt.Errorf("Size of replicas list %s is different from size of log dirs list %s for partition %s", javaList(replicas), javaList(*p.Dirs), tp)
			}
			for i, d := range *p.Dirs {
				if d != anyDir {
					a.dirs[replicaOf{tp, replicas[i]}] = d
				}
			}
		}
		if _, has := a.targets[tp]; has {
			a.twice = append(a.twice, tp)
		}
		a.list, a.targets[tp] = append(a.list, tp), replicas
	}
	return a, nil
}

// mayExecute checks what --execute minds and --verify does not.
func (a moveFile) mayExecute() error {
	if len(a.list) == 0 {
		return errors.New("Partition reassignment list cannot be empty")
	}
	var doubled []string
	for _, tp := range a.list {
		if len(a.targets[tp]) == 0 {
			return errors.New("Partition replica list cannot be empty")
		}
		if twice := duplicates(a.targets[tp]); len(twice) > 0 {
			doubled = append(doubled, fmt.Sprintf("%s contains multiple entries for %s", tp, commaList(twice)))
		}
	}
	if len(a.twice) > 0 {
		return fmt.Errorf("Partition reassignment contains duplicate topic partitions: %s", commaList(slices.Compact(a.twice)))
	}
	if len(doubled) > 0 {
		return fmt.Errorf("Partition replica lists may not contain duplicate entries: %s", strings.Join(doubled, ". "))
	}
	return nil
}

// duplicates are the elements that are in list more than once.
func duplicates[T comparable](list []T) (out []T) {
	for i, x := range list {
		if slices.Contains(list[:i], x) && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// movesJSON is the form that --reassignment-json-file reads.
func movesJSON(targets map[topicPartition][]int32, dirs map[replicaOf]string) (string, error) {
	partitions := []any{}
	for _, tp := range sortedPartitions(targets) {
		where := []string{}
		for _, r := range targets[tp] {
			d, ok := dirs[replicaOf{tp, r}]
			if !ok {
				d = anyDir
			}
			where = append(where, d)
		}
		partitions = append(partitions, ordered{{"topic", tp.topic}, {"partition", tp.partition}, {"replicas", targets[tp]}, {"log_dirs", where}})
	}
	raw, err := plainJSON(ordered{{"version", 1}, {"partitions", partitions}})
	return string(raw), err
}

// parseTopicsToMove reads --topics-to-move-json-file.
func parseTopicsToMove(raw []byte) ([]string, error) {
	var doc struct {
		Version *int
		Topics  []struct{ Topic *string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, errors.New("The input string is not a valid JSON")
	}
	if doc.Version != nil && *doc.Version != 1 {
		return nil, fmt.Errorf("Not supported version field value %d", *doc.Version)
	}
	var out []string
	for _, t := range doc.Topics {
		if t.Topic == nil {
			return nil, errors.New("No such field exists: `topic`")
		}
		out = append(out, *t.Topic)
	}
	return out, nil
}
