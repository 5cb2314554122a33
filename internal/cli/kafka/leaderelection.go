// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func runLeaderElection(ctx context.Context, e *Env, args []string) error {
	o := newOptions("This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are preferred replicas and unclean replicas.")
	server := o.text("bootstrap-server", "host:port", "REQUIRED: host:port of a broker, or several with commas between.")
	oldConfig := o.text("admin.config", "config file", "(Deprecated) old name of --command-config.")
	config := o.text("command-config", "Config file", "File of client properties.")
	file := o.text("path-to-json-file", "Path to JSON file", "File that names partitions, as\n{\"partitions\":\n  [{\"topic\": \"foo\", \"partition\": 1},\n   {\"topic\": \"foobar\", \"partition\": 2}]}\nNot with --all-topic-partitions or --topic.")
	topic := o.text("topic", "topic name", "The topic. Not with --path-to-json-file or --all-topic-partitions.")
	index := o.integer("partition", "partition id", "The partition. REQUIRED with --topic.")
	all := o.flag("all-topic-partitions", "Every partition that needs it. Not with --topic or --path-to-json-file.")
	kind := o.text("election-type", "election type", "REQUIRED: preferred (where the leader is not the first replica) or unclean (where there is no leader: a replica that may lack records takes over).")
	if err := o.parse(args); err != nil {
		return failf("%s", err)
	}
	if kind.has && kindOfElection(kind.value()) < 0 {
		return failf("Cannot parse argument '%s' of option election-type", kind.value())
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	var missing []string
	for _, s := range []*option{server, kind} {
		if !s.has {
			missing = append(missing, s.names[0])
		}
	}
	if len(missing) > 0 {
		return failf("Missing required option(s): %s", strings.Join(missing, ", "))
	}
	if err := o.invalid(oldConfig, config); err != nil {
		return err
	}
	n := 0
	for _, s := range []*option{topic, all, file} {
		if s.has {
			n++
		}
	}
	switch {
	case n != 1:
		return failf("One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file")
	case topic.has && !index.has:
		return failf("Missing required option(s): partition")
	case index.has && !topic.has:
		return failf("Option partition is only allowed if topic is used")
	}
	var list []topicPartition // none: all
	if file.has {
		raw, err := os.ReadFile(file.value())
		if err != nil {
			return failf("java.nio.file.NoSuchFileException: %s", file.value())
		}
		if list, err = parseElections(raw); err != nil {
			return failf("%s", err)
		}
	}
	if topic.has {
		list = []topicPartition{{topic.value(), int32(index.int())}}
	}
	path := config.value()
	if oldConfig.has {
		e.println("Option --admin.config has been deprecated and will be removed in a future version. Use --command-config instead.")
		path = oldConfig.value()
	}
	conf, err := loadProps(path)
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = server.value()
	if conf["default.api.timeout.ms"] == "" {
		conf["default.api.timeout.ms"] = "30000"
	}
	patience, err := conf.millis("default.api.timeout.ms", 0)
	if err != nil {
		return err
	}
	_, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType, req.TimeoutMillis = kindOfElection(kind.value()), int32(min(patience/2, time.Minute)/time.Millisecond)
	if !all.has {
		req.Topics = []kmsg.ElectLeadersRequestTopic{}
	}
	for _, tp := range list {
		i := slices.IndexFunc(req.Topics, func(t kmsg.ElectLeadersRequestTopic) bool { return t.Topic == tp.topic })
		if i < 0 {
			i, req.Topics = len(req.Topics), append(req.Topics, kmsg.ElectLeadersRequestTopic{Topic: tp.topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, tp.partition)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = codeError(resp.ErrorCode, nil)
	}
	if err != nil {
		err = timedOut(err, "electLeaders")
		switch {
		case errors.Is(err, kerr.ClusterAuthorizationFailed):
			err = errors.New("Not authorized to perform leader election")
		case strings.HasPrefix(err.Error(), "Timed out"), errors.Is(err, kerr.RequestTimedOut):
			err = errors.New("Timeout waiting for election results")
		default:
			return failf("java.util.concurrent.ExecutionException: %s", exceptionText(err))
		}
		e.println(err.Error())
		return failf("%s", err)
	}
	return printElections(e, strings.ToUpper(kind.value()), resp)
}

// kindOfElection is Kafka's number for a kind, -1 when it is none.
func kindOfElection(s string) int8 {
	switch strings.ToLower(s) {
	case "preferred":
		return 0
	case "unclean":
		return 1
	}
	return -1
}

func printElections(e *Env, kind string, resp *kmsg.ElectLeadersResponse) error {
	var done, noNeed, failed []topicPartition
	why := map[topicPartition]error{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := topicPartition{t.Topic, p.Partition}
			switch err := codeError(p.ErrorCode, p.ErrorMessage); {
			case err == nil:
				done = append(done, tp)
			case errors.Is(err, kerr.ElectionNotNeeded):
				noNeed = append(noNeed, tp)
			default:
				failed, why[tp] = append(failed, tp), err
			}
		}
	}
	order := func(list []topicPartition) []topicPartition {
		return hashOrder(list, 16, func(tp topicPartition) int32 { return partitionHash(tp.topic, tp.partition) })
	}
	join := func(list []topicPartition) string {
		words := []string{}
		for _, tp := range order(list) {
			words = append(words, tp.String())
		}
		return strings.Join(words, ", ")
	}
	if len(done) > 0 {
		e.printf("Successfully completed leader election (%s) for partitions %s\n", kind, join(done))
	}
	if len(noNeed) > 0 {
		e.printf("Valid replica already elected for partitions %s\n", join(noNeed))
	}
	if len(failed) == 0 {
		return nil
	}
	for _, tp := range order(failed) {
		e.printf("Error completing leader election (%s) for partition: %s: %s\n", kind, tp, exceptionText(why[tp]))
	}
	return failf("%d replica(s) could not be elected", len(failed))
}

// parseElections reads --path-to-json-file.
func parseElections(raw []byte) ([]topicPartition, error) {
	var doc struct {
		Partitions *[]struct {
			Topic     *string
			Partition *int32
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, errors.New("Replica election data is empty")
	}
	if doc.Partitions == nil {
		return nil, errors.New("Replica election data is missing \"partitions\" field")
	}
	var out []topicPartition
	for _, p := range *doc.Partitions {
		switch {
		case p.Topic == nil:
			return nil, errors.New("No such field exists: `topic`")
		case p.Partition == nil:
			return nil, errors.New("No such field exists: `partition`")
		}
		out = append(out, topicPartition{*p.Topic, *p.Partition})
	}
	if twice := duplicates(out); len(twice) > 0 {
		return nil, fmt.Errorf("Replica election data contains duplicate partitions: %s", javaList(twice))
	}
	return out, nil
}
