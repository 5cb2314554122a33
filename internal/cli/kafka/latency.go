// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func runLatency(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Measures the time from sending a record to receiving it.")
	server := o.text("bootstrap-server", "bootstrap-server", "REQUIRED: host:port of a broker, or several with commas between.")
	topic := o.text("topic", "topic-name", "REQUIRED: the topic to use.")
	num := o.integer("num-records", "count", "REQUIRED: how many records.")
	acks := o.text("producer-acks", "producer-acks", "REQUIRED: 1 or all.")
	size := o.integer("record-size", "bytes", "REQUIRED: bytes of each record's value.")
	keySize := o.integer("record-key-size", "bytes", "Bytes of each record's key; none when left out.").def("0").maybe()
	hKey := o.integer("record-header-key-size", "bytes", "Bytes of each header's key.").def("0").maybe()
	hValue := o.integer("record-header-size", "bytes", "Bytes of each header's value; -1 for null.").def("0").maybe()
	headers := o.integer("num-headers", "count", "Headers of each record.").def("0").maybe()
	config := o.text("command-config", "config-file", "File of client properties.").maybe()
	named := slices.ContainsFunc(args, func(a string) bool {
		return slices.Contains([]string{"--bootstrap-server", "--topic", "--num-records", "--producer-acks", "--record-size"}, a)
	})
	if len(args) > 0 && !named {
		if len(args) != 5 && len(args) != 6 {
			return failf("Invalid number of arguments. Expected 5 or 6 positional arguments, but got %d. Usage: bootstrap-server topic num-records producer-acks record-size [optional] command-config", len(args))
		}
		old := args
		args = nil
		for i, name := range []string{"--bootstrap-server", "--topic", "--num-records", "--producer-acks", "--record-size", "--command-config"}[:len(old)] {
			args = append(args, name, old[i])
		}
		e.println("WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. Please use named arguments instead: --bootstrap-server, --topic, --num-records, --producer-acks, --record-size, --command-config")
	}
	if err := o.start(e, args); err != nil {
		return err
	}
	if err := o.required(server, topic, num, acks, size); err != nil {
		return err
	}
	switch {
	case acks.value() != "1" && acks.value() != "all":
		return o.usage("Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'.")
	case num.int() <= 0:
		return o.usage("Value for --num-records must be a positive integer.")
	case size.int() < 0, keySize.int() < 0, hKey.int() < 0, headers.int() < 0, hValue.int() < -1:
		return o.usage("Sizes and counts must not be negative.")
	}
	conf, err := loadProps(config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = server.value()
	adm, acl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer acl.Close()
	known, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return failf("%s", timedOut(err, "listTopics"))
	}
	if !known.Has(topic.value()) {
		e.printf("Topic \"%s\" does not exist. Will create topic with 1 partition(s) and replication factor = 1\n", topic.value())
		if _, err := adm.CreateTopic(ctx, 1, 1, nil, topic.value()); err != nil {
			e.printf("Creation of topic %s failed\n", topic.value())
			return failf("%s", err)
		}
	}
	ends, err := adm.ListEndOffsets(ctx, topic.value())
	if err != nil {
		return failf("%s", timedOut(err, "listOffsets"))
	}
	at := map[int32]kgo.Offset{}
	for p, off := range ends[topic.value()] {
		at[p] = kgo.NewOffset().At(off.Offset)
	}
	conf["acks"], conf["linger.ms"] = acks.value(), "0"
	popts, err := conf.producerOpts(e)
	if err != nil {
		return err
	}
	producer, err := kgo.NewClient(popts...)
	if err != nil {
		return failf("%s", err)
	}
	defer producer.Close()
	copts, err := conf.consumerOpts(e)
	if err != nil {
		return err
	}
	consumer, err := kgo.NewClient(append(copts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic.value(): at}))...)
	if err != nil {
		return failf("%s", err)
	}
	defer consumer.Close()
	fill := func(n int64) []byte { return bytes.Repeat([]byte{byte('A' + rand.IntN(26))}, int(n)) }
	var sum time.Duration
	took := make([]int64, num.int())
	for i := range took {
		rec := &kgo.Record{Topic: topic.value(), Key: fill(keySize.int()), Value: fill(size.int())}
		for range headers.int() {
			h := kgo.RecordHeader{Key: string(fill(hKey.int()))}
			if hValue.int() >= 0 {
				h.Value = fill(hValue.int())
			}
			rec.Headers = append(rec.Headers, h)
		}
		begin := time.Now()
		if err := producer.ProduceSync(ctx, rec).FirstErr(); err != nil {
			return failf("%s", exceptionText(timedOut(err, "send")))
		}
		poll, cancel := context.WithTimeout(ctx, time.Minute)
		got := consumer.PollRecords(poll, 10).Records()
		cancel()
		elapsed := time.Since(begin)
		switch {
		case len(got) == 0:
			return failf("poll() timed out before finding a result (timeout:[60000ms])")
		case !bytes.Equal(got[0].Value, rec.Value) || !bytes.Equal(got[0].Key, rec.Key):
			return failf("The message read did not match the message sent")
		case len(got) != 1:
			return failf("Only one result was expected during this test. We found [%d]", len(got))
		case !slices.EqualFunc(got[0].Headers, rec.Headers, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }):
			return failf("The headers read did not match the headers sent")
		}
		if i%1000 == 0 {
			e.printf("%d\t%s\n", i, javaFloat(float64(elapsed.Nanoseconds())/1e6, 64))
		}
		sum += elapsed
		took[i] = elapsed.Milliseconds()
	}
	slices.Sort(took)
	p := func(f float64) int64 { return took[int(float64(len(took))*f)] }
	e.printf("Avg latency: %.4f ms\n", float64(sum.Nanoseconds())/float64(len(took))/1e6)
	e.printf("Percentiles: 50th = %d, 99th = %d, 99.9th = %d\n", p(0.5), p(0.99), p(0.999))
	return nil
}
