// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func runLogDirs(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Shows what brokers keep in their log directories, and how large it is.")
	server := o.text("bootstrap-server", "The server(s) to use for bootstrapping", "REQUIRED: host:port of a broker, or several with commas between.")
	config := o.text("command-config", "Admin client property file", "File of client properties.")
	describe := o.flag("describe", "REQUIRED: show the directories.")
	topics := o.text("topic-list", "Topic list", "Only these topics, with commas between.").def("")
	brokers := o.text("broker-list", "Broker list", "Only these brokers, with commas between.").def("")
	if err := o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	if err := o.required(server, describe); err != nil {
		return err
	}
	conf, err := loadProps(config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = server.value()
	if conf["client.id"] == "" {
		conf["client.id"] = "log-dirs-tool"
	}
	adm, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return failf("%s", timedOut(err, "listNodes"))
	}
	intOrder := func(list []int32) []int32 {
		list = slices.Compact(slices.Sorted(slices.Values(list)))
		return hashOrder(list, 16, func(v int32) int32 { return v })
	}
	all := intOrder(meta.Brokers.NodeIDs())
	ask, gone := []int32{}, []int32{}
	for _, w := range strings.Split(brokers.value(), ",") {
		if w == "" {
			continue
		}
		id, err := strconv.ParseInt(w, 10, 32)
		if err != nil {
			return failf("For input string: %q", w)
		}
		if slices.Contains(all, int32(id)) {
			ask = append(ask, int32(id))
		} else {
			gone = append(gone, int32(id))
		}
	}
	if len(gone) > 0 {
		return failf("ERROR: The given brokers do not exist from --broker-list: %s. Current existent brokers: %s", commaList(intOrder(gone)), commaList(all))
	}
	if len(ask) == 0 {
		ask = all
	}
	ask = intOrder(ask)
	wanted := strings.FieldsFunc(topics.value(), func(r rune) bool { return r == ',' })
	e.println("Querying brokers for log directories information")
	list := []any{}
	for _, id := range ask {
		dirs := []any{}
		raw, err := cl.Broker(int(id)).RetriableRequest(ctx, kmsg.NewPtrDescribeLogDirsRequest())
		if err != nil {
			return failf("%s", timedOut(err, "describeLogDirs"))
		}
		resp := raw.(*kmsg.DescribeLogDirsResponse)
		if err := codeError(resp.ErrorCode, nil); err != nil {
			return failf("%s", exceptionText(err))
		}
		for _, d := range hashOrder(resp.Dirs, 16, func(d kmsg.DescribeLogDirsResponseDir) int32 { return stringHash(d.Dir) }) {
			var bad any
			if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
				bad, _, _ = strings.Cut(exceptionText(err), ":")
			}
			type row struct {
				tp   topicPartition
				size int64
				lag  int64
				next bool
			}
			var rows []row
			for _, rt := range d.Topics {
				if len(wanted) > 0 && !slices.Contains(wanted, rt.Topic) {
					continue
				}
				for _, p := range rt.Partitions {
					rows = append(rows, row{topicPartition{rt.Topic, p.Partition}, p.Size, p.OffsetLag, p.IsFuture})
				}
			}
			partitions := []any{}
			for _, r := range hashOrder(rows, 16, func(r row) int32 { return partitionHash(r.tp.topic, r.tp.partition) }) {
				partitions = append(partitions, ordered{{"partition", r.tp.String()}, {"size", r.size}, {"offsetLag", r.lag}, {"isFuture", r.next}})
			}
			dirs = append(dirs, ordered{{"partitions", partitions}, {"error", bad}, {"logDir", d.Dir}})
		}
		list = append(list, ordered{{"broker", id}, {"logDirs", dirs}})
	}
	e.printf("Received log directory information from brokers %s\n", commaList(ask))
	line, err := plainJSON(ordered{{"brokers", list}, {"version", 1}})
	if err != nil {
		return err
	}
	e.println(string(line))
	return nil
}
