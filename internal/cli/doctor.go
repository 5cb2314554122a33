// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/cli/kafka"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warning, problem
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

const (
	sound   = "ok"
	warning = "warning"
	problem = "problem"
)

func newDoctor(e *Env) *cobra.Command {
	c := &client{env: e}
	var dirs []string
	var metrics string
	cmd := c.on(&cobra.Command{
		Use: "doctor", Short: "find what keeps clients and brokers from working", Args: cobra.NoArgs,
		Long: "Look for the mistakes that cost most time: a broker that cannot be reached, or that tells\n" +
			"clients an address which they cannot reach; a full disk; a clock that is wrong; too few\n" +
			"files allowed; damaged segments. Each finding says what to do. Status 1 when there is a\nproblem.",
		Example: "  gregor doctor\n  gregor doctor -b broker.example.com:9092 --data /var/lib/gregor",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := c.diagnose(cmd.Context(), dirs, metrics)
			rows, bad := [][]any{}, false
			for _, f := range list {
				rows = append(rows, []any{f.State, f.Check, f.Found})
				if f.Do != "" {
					rows = append(rows, []any{"", "", "→ " + f.Do})
				}
				bad = bad || f.State == problem
			}
			if err := c.show(list, []string{"", "check", "found"}, rows); err != nil {
				return err
			}
			if bad {
				return exitStatus(1)
			}
			return nil
		},
	})
	cmd.Flags().StringArrayVarP(&dirs, "data", "d", nil, "data directory to check: its disk and every segment; may be repeated")
	cmd.Flags().StringVar(&metrics, "metrics", "127.0.0.1:9644", "where the server tells its metrics (gregor.http.listener); among them, how many files it may open")
	return cmd
}

func (c *client) diagnose(ctx context.Context, dirs []string, metrics string) []finding {
	var list []finding
	reached := false
	for _, addr := range strings.Split(c.brokers, ",") {
		f := dialCheck(ctx, "broker "+addr, addr)
		if f.State != sound {
			f.Do = "is the server running, and does its `listeners` name this address? " + listenHint(addr)
		} else {
			reached = true
		}
		list = append(list, f)
	}
	if reached {
		list = append(list, c.diagnoseCluster(ctx)...)
	}
	list = append(list, filesOf(ctx, metrics))
	for _, d := range dirs {
		list = append(list, diskSpace(d), written(d, time.Now()), c.segments(d))
	}
	return list
}

func listenHint(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "localhost" || ip.IsLoopback()) {
		return "From within a container, localhost is the container itself."
	}
	return "A server that listens on 127.0.0.1 is not reached from other machines."
}

func dialCheck(ctx context.Context, what, addr string) finding {
	d := net.Dialer{Timeout: 3 * time.Second}
	began := time.Now()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return finding{Check: what, State: problem, Found: err.Error()}
	}
	conn.Close()
	return finding{Check: what, State: sound, Found: fmt.Sprintf("answers in %s", time.Since(began).Round(100*time.Microsecond))}
}

// diagnoseCluster asks the broker that was reached where it sends clients, and
// goes there as a client would.
func (c *client) diagnoseCluster(ctx context.Context) []finding {
	quiet := *c
	quiet.env = &Env{Err: new(bytes.Buffer)}
	cl, err := quiet.kgo()
	if err != nil {
		return []finding{{Check: "client", State: problem, Found: err.Error(), Do: "check --brokers and --client-config"}}
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := cl.SeedBrokers()[0].RetriableRequest(ctx, kmsg.NewPtrMetadataRequest())
	if err != nil {
		return []finding{{Check: "Kafka protocol", State: problem, Found: kafka.ErrorText(err),
			Do: "the port answers, but not as a Kafka broker: is it another service, or a listener with TLS or a login (--client-config)?"}}
	}
	meta := raw.(*kmsg.MetadataResponse)
	var list []finding
	usable := int32(-1) // a broker that is reached
	for _, b := range meta.Brokers {
		f := advertised(ctx, cl, b, meta.ClusterID)
		if f.State == sound {
			usable = b.NodeID
		} else {
			f.Do = fmt.Sprintf("set advertised.listeners of broker %d to a name and port that clients reach, such as %s", b.NodeID, strings.Split(c.brokers, ",")[0])
		}
		list = append(list, f)
	}
	if usable < 0 {
		return list
	}
	for _, b := range meta.Brokers {
		list = append(list, disks(ctx, cl, b.NodeID)...)
	}
	list = append(list, clock(ctx, cl))
	a := kadm.NewClient(cl)
	topics, err := a.ListTopicsWithInternal(ctx)
	if err != nil {
		return append(list, finding{Check: "partitions", State: problem, Found: kafka.ErrorText(err)})
	}
	list = append(list, internalTopics(ctx, a, usable, topics, len(meta.Brokers))...)
	return append(list, partitions(topics))
}

// internalTopics finds those that do not exist and want more replicas than there
// are brokers: groups or transactions wait for them for ever.
func internalTopics(ctx context.Context, a *kadm.Client, ask int32, topics kadm.TopicDetails, brokers int) []finding {
	found, err := a.DescribeBrokerConfigs(ctx, ask)
	if err != nil || len(found) == 0 {
		return nil
	}
	var list []finding
	for _, c := range found[0].Configs {
		topic := map[string]string{
			"offsets.topic.replication.factor":         "__consumer_offsets",
			"transaction.state.log.replication.factor": "__transaction_state",
		}[c.Key]
		if topic == "" || topics.Has(topic) {
			continue
		}
		if f, bad := factorFinding(topic, c.Key, c.MaybeValue(), brokers); bad {
			list = append(list, f)
		}
	}
	return list
}

func factorFinding(topic, setting, value string, brokers int) (finding, bool) {
	factor, err := strconv.Atoi(value)
	if err != nil || factor <= brokers {
		return finding{}, false
	}
	return finding{Check: "internal topic " + topic, State: warning,
		Found: fmt.Sprintf("whoever needs it waits for ever: %s is %d, brokers that are up: %d", setting, factor, brokers),
		Do:    fmt.Sprintf("start more brokers, or set %s to %d", setting, brokers)}, true
}

// advertised asks at the address that clients are told for a broker of which
// cluster it is: something may well answer there that is no broker, or another.
func advertised(ctx context.Context, cl *kgo.Client, b kmsg.MetadataResponseBroker, cluster *string) finding {
	what := fmt.Sprintf("advertised address of broker %d", b.NodeID)
	addr := net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
	f := dialCheck(ctx, what, addr)
	if f.State != sound {
		f.Found = fmt.Sprintf("clients are told %s, which does not answer from here: %s", addr, f.Found)
		return f
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none
	raw, err := cl.Broker(int(b.NodeID)).Request(ctx, req)
	if err != nil {
		return finding{Check: what, State: problem, Found: fmt.Sprintf("clients are told %s, where something answers that is no broker: %s", addr, kafka.ErrorText(err))}
	}
	if got := raw.(*kmsg.MetadataResponse).ClusterID; got != nil && cluster != nil && *got != *cluster {
		return finding{Check: what, State: problem, Found: fmt.Sprintf("clients are told %s, where a broker of cluster %s answers, not of %s", addr, *got, *cluster)}
	}
	f.Found = addr + " " + f.Found
	return f
}

// disks asks a broker how full its log directories are. One that does not
// answer was told of already.
func disks(ctx context.Context, cl *kgo.Client, id int32) []finding {
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{} // none: the directories alone
	raw, err := cl.Broker(int(id)).Request(ctx, req)
	if err != nil {
		return nil
	}
	var list []finding
	for _, d := range raw.(*kmsg.DescribeLogDirsResponse).Dirs {
		what := fmt.Sprintf("disk of broker %d, %s", id, d.Dir)
		switch {
		case d.ErrorCode != 0:
			list = append(list, finding{Check: what, State: problem, Found: "the broker took this directory offline", Do: "see the broker's log for the first error of this directory, mend the disk and restart the broker"})
		case d.TotalBytes > 0:
			list = append(list, diskFinding(what, uint64(max(d.UsableBytes, 0)), uint64(d.TotalBytes)))
		}
	}
	return list
}

// clock compares this machine's time with the newest record's.
func clock(ctx context.Context, cl *kgo.Client) finding {
	a := kadm.NewClient(cl)
	newest, err := a.ListMaxTimestampOffsets(ctx)
	if err != nil {
		return finding{Check: "clock", State: warning, Found: "cannot be compared: " + kafka.ErrorText(err)}
	}
	var latest int64
	newest.Each(func(o kadm.ListedOffset) { latest = max(latest, o.Timestamp) })
	return clockFinding(latest, time.Now())
}

func clockFinding(latest int64, now time.Time) finding {
	ahead := time.UnixMilli(latest).Sub(now).Round(time.Second)
	switch {
	case now.Year() < 2024:
		return finding{Check: "clock", State: problem, Found: "this machine says it is " + now.Format(time.DateOnly), Do: "set the clock, best by NTP: retention deletes by time"}
	case ahead > 5*time.Minute:
		return finding{Check: "clock", State: problem, Found: fmt.Sprintf("the newest record is %s in the future", ahead), Do: "the clock here or of a producer is wrong; retention keeps such records too long. message.timestamp.after.max.ms refuses them"}
	case latest <= 0:
		return finding{Check: "clock", State: sound, Found: "there are no records to compare with"}
	}
	return finding{Check: "clock", State: sound, Found: "no record is from the future"}
}

// written compares this machine's time with the files of a data directory: one
// from the future says that the clock was set back.
func written(dir string, now time.Time) finding {
	f := finding{Check: "clock and files of " + filepath.Clean(dir), State: sound, Found: "no file is from the future"}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // what cannot be read is told with the segments
		}
		if st, err := d.Info(); err == nil && st.ModTime().Sub(now) > time.Minute {
			f.State, f.Found = problem, fmt.Sprintf("%s was written %s in the future", path, st.ModTime().Sub(now).Round(time.Second))
			f.Do = "the clock is wrong now or was when the file was written: set it, best by NTP; retention and time look-ups go by it"
			return fs.SkipAll
		}
		return nil
	})
	return f
}

func partitions(topics kadm.TopicDetails) finding {
	n, leaderless, behind := 0, 0, 0
	topics.EachPartition(func(p kadm.PartitionDetail) {
		n++
		if p.Leader < 0 {
			leaderless++
		} else if len(p.ISR) < len(p.Replicas) {
			behind++
		}
	})
	switch {
	case leaderless > 0:
		return finding{Check: "partitions", State: problem, Found: fmt.Sprintf("%d of %d have no leader", leaderless, n), Do: "start the brokers that hold them, and look at their logs for directories that failed"}
	case behind > 0:
		return finding{Check: "partitions", State: warning, Found: fmt.Sprintf("%d of %d have replicas that lag", behind, n), Do: "see which broker is slow or down: gregor cluster status"}
	}
	return finding{Check: "partitions", State: sound, Found: fmt.Sprintf("%d, all led and in sync", n)}
}

const (
	fewFiles  = 8192
	lowSpace  = 0.10
	fullSpace = 0.02
)

// filesOf tells the limit of the server that serves metrics at addr; where there
// is none, that of this shell, which a server started from it would have.
func filesOf(ctx context.Context, addr string) finding {
	f := fileLimit()
	page, err := plainGet(ctx, addr, "/metrics")
	limit, ok := series(page, "process_max_fds")
	if err != nil || !ok {
		f.Found += " in this shell; no server tells its own at " + addr
		return f
	}
	f = fileLimitFinding(uint64(limit))
	if open, ok := series(page, "process_open_fds"); ok {
		f.Found += fmt.Sprintf(" in the server at %s, %.0f are", addr, open)
		if open > 0.8*limit {
			f.State = problem
			f.Do = "soon no connection is accepted: raise LimitNOFILE (65536 at least) and start the server again"
		}
	}
	return f
}

// plainGet is one GET by HTTP 1.0, of a page of a few megabytes at most.
func plainGet(ctx context.Context, addr, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, addr); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(conn, 64<<20))
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.")) {
		return "", errors.Join(err, errNoPage)
	}
	return string(b), nil
}

var errNoPage = errors.New("no page of metrics")

// series finds the value of a series without labels on a page of metrics.
func series(page, name string) (float64, bool) {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v, err == nil
		}
	}
	return 0, false
}

func fileLimitFinding(limit uint64) finding {
	f := finding{Check: "file limit", State: sound, Found: fmt.Sprintf("%d files may be open", limit)}
	if limit < fewFiles {
		f.State = warning
		f.Do = "allow a server at least 65536: `ulimit -n 65536`, or LimitNOFILE in its systemd unit; each connection and each open segment takes one"
	}
	return f
}

func diskFinding(what string, free, size uint64) finding {
	part := float64(free) / float64(max(size, 1))
	f := finding{Check: what, State: sound, Found: fmt.Sprintf("%s of %s are free", sizeText(int64(free)), sizeText(int64(size)))}
	switch {
	case part < fullSpace:
		f.State, f.Do = problem, "make room now: lower retention.bytes or retention.ms of large topics (gregor topic list), or grow the disk; producers are refused when it is full"
	case part < lowSpace:
		f.State, f.Do = warning, "make room before it is full: lower retention of large topics, or grow the disk"
	}
	return f
}

func (c *client) segments(dir string) finding {
	bad, err := verifyDir(c.env, dir)
	what := "segments of " + filepath.Clean(dir)
	switch {
	case err != nil:
		return finding{Check: what, State: problem, Found: err.Error(), Do: "is this the server's log.dirs, and may you read it?"}
	case len(bad) > 0:
		return finding{Check: what, State: problem, Found: fmt.Sprintf("%d damaged, first %s at %d: %s", len(bad), bad[0].File, bad[0].Position, bad[0].Reason),
			Do: "the medium may be failing: copy the directory, test the disk, and see all with `gregor log verify " + dir + "`"}
	}
	return finding{Check: what, State: sound, Found: "every batch is sound"}
}
