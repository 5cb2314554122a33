// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func runDeleteRecords(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Deletes the records of partitions that are before given offsets.")
	server := o.text("bootstrap-server", "server(s) to use for bootstrapping", "REQUIRED: host:port of a broker, or several with commas between.")
	file := o.text("offset-json-file", "Offset json file path", "REQUIRED: file that says which, as\n{\"partitions\":\n  [{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}],\n \"version\":1\n}")
	config := o.text("command-config", "command config property file path", "File of client properties.")
	if err := o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	if err := o.required(server, file); err != nil {
		return err
	}
	raw, err := os.ReadFile(file.value())
	if err != nil {
		return failf("%s", err)
	}
	list, offsets, err := parseDeletions(raw)
	if err != nil {
		return failf("%s", err)
	}
	conf, err := loadProps(config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = server.value()
	adm, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	e.println("Executing records delete operation")
	asked := kadm.Offsets{}
	for _, tp := range list {
		asked.AddOffset(tp.topic, tp.partition, offsets[tp], -1)
	}
	resps, err := adm.DeleteRecords(ctx, asked)
	e.println("Records delete operation completed:")
	for _, tp := range list {
		r, ok := resps.Lookup(tp.topic, tp.partition)
		bad := r.Err
		if !ok && bad == nil {
			if bad = err; bad == nil {
				bad = kerr.UnknownTopicOrPartition
			}
		}
		switch {
		case errors.Is(bad, kerr.UnknownTopicOrPartition):
			// Kafka's client waits for the partition to appear until its time is
			// up, and then says so.
			e.printf("partition: %s\terror: org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: deleteRecords(api=METADATA)\n", tp)
		case bad != nil:
			e.printf("partition: %s\terror: %s\n", tp, exceptionText(timedOut(bad, "deleteRecords(api=METADATA)")))
		default:
			e.printf("partition: %s\tlow_watermark: %d\n", tp, r.LowWatermark)
		}
	}
	return nil
}

// parseDeletions reads the JSON of --offset-json-file.
func parseDeletions(raw []byte) ([]topicPartition, map[topicPartition]int64, error) {
	var doc struct {
		Version    *int `json:"version"`
		Partitions *[]struct {
			Topic     *string `json:"topic"`
			Partition *int32  `json:"partition"`
			Offset    *int64  `json:"offset"`
		} `json:"partitions"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, nil, errors.New("The input string is not a valid JSON")
	}
	if doc.Version != nil && *doc.Version != 1 {
		return nil, nil, failf("Not supported version field value %d", *doc.Version)
	}
	if doc.Partitions == nil {
		return nil, nil, errors.New("Missing partitions field")
	}
	var list []topicPartition
	var twice []string
	offsets := map[topicPartition]int64{}
	for _, p := range *doc.Partitions {
		if p.Topic == nil || p.Partition == nil || p.Offset == nil {
			return nil, nil, errors.New("each of partitions needs a topic, a partition and an offset")
		}
		tp := topicPartition{*p.Topic, *p.Partition}
		if _, again := offsets[tp]; again {
			twice = append(twice, tp.String())
			continue
		}
		list = append(list, tp)
		offsets[tp] = *p.Offset
	}
	if len(twice) > 0 {
		return nil, nil, errors.New("Offset json file contains duplicate topic partitions: " + strings.Join(slices.Compact(twice), ","))
	}
	return list, offsets, nil
}
