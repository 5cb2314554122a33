// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/cli/kafka"
)

func newConsume(e *Env) *cobra.Command {
	c := &client{env: e}
	var from, group, format string
	var limit int
	var follow bool
	cmd := c.on(&cobra.Command{
		Use: "consume TOPIC...", Short: "print records", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.topics,
		Long: "Print the records of topics up to their present end, or for ever with --follow.\n\n" +
			"--from is start, end, a time ago (10m, 24h), a moment (2026-01-02T15:04:05Z) or an offset.\n" +
			"--format knows %t topic, %p partition, %o offset, %T time, %k key, %v value, %h headers, \\n and \\t.",
		Example: "  gregor consume orders\n  gregor consume orders --from 10m --follow --format '%T %k %v\\n'\n  gregor consume orders -n 5 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			start, err := parseFrom(from, time.Now())
			if err != nil {
				return &usageError{err}
			}
			opts := []kgo.Opt{kgo.ConsumeTopics(args...), kgo.ConsumeResetOffset(start), kgo.KeepRetryableFetchErrors()}
			if group != "" {
				opts = append(opts, kgo.ConsumerGroup(group), kgo.AutoCommitMarks(), kgo.Balancers(kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()))
			}
			var left map[string]map[int32]int64 // partition → end, until reached
			if !follow && group == "" {
				err := c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
					var err error
					left, err = unread(ctx, a, args)
					return err
				})
				if err != nil {
					return err
				}
				if len(left) == 0 {
					return nil
				}
			}
			cl, err := c.kgo(opts...)
			if err != nil {
				return err
			}
			defer cl.Close()
			out := bufio.NewWriter(e.Out)
			defer out.Flush()
			for n, idle := 0, 0; limit <= 0 || n < limit; {
				ask := 500
				if limit > 0 {
					ask = min(ask, limit-n)
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
				fetches := cl.PollRecords(ctx, ask)
				cancel()
				if cmd.Context().Err() != nil {
					break
				}
				var broken error
				for _, f := range fetches.Errors() {
					switch {
					case errors.Is(f.Err, kerr.CorruptMessage):
						broken = fmt.Errorf("%s-%d: damaged on the broker's disk behind the last record shown; `gregor doctor --data` finds where, --from OFFSET goes on behind it", f.Topic, f.Partition)
					case f.Err != nil && ctx.Err() == nil && !kerr.IsRetriable(f.Err):
						return fmt.Errorf("%s-%d: %s", f.Topic, f.Partition, kafka.ErrorText(f.Err))
					}
				}
				for it := fetches.RecordIter(); !it.Done(); n++ {
					r := it.Next()
					if end, ok := left[r.Topic][r.Partition]; left != nil && (!ok || r.Offset >= end) {
						continue
					}
					printRecord(out, r, c.json, format)
					if left != nil && r.Offset+1 >= left[r.Topic][r.Partition] {
						if delete(left[r.Topic], r.Partition); len(left[r.Topic]) == 0 {
							delete(left, r.Topic)
						}
					}
					cl.MarkCommitRecords(r)
				}
				if broken != nil {
					return broken
				}
				// The end may be a marker or a compacted record, which no consumer
				// sees: two seconds of silence count as reached, too.
				if idle++; fetches.NumRecords() > 0 {
					idle = 0
				}
				if left != nil && (len(left) == 0 || idle == 2) {
					break
				}
				if err := out.Flush(); err != nil {
					return err
				}
				if left == nil && !follow && fetches.NumRecords() == 0 {
					break // a group that has read all there is
				}
			}
			if group != "" {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), patience)
				defer cancel()
				return cl.CommitMarkedOffsets(ctx)
			}
			return nil
		},
	})
	f := cmd.Flags()
	f.StringVarP(&from, "from", "o", "start", "where to begin")
	f.StringVarP(&group, "group", "g", "", "consumer group to read as, and to commit for")
	f.StringVarP(&format, "format", "F", `%v\n`, "how a record is printed")
	f.IntVarP(&limit, "number", "n", 0, "stop after so many records; 0 for no limit")
	f.BoolVarP(&follow, "follow", "f", false, "go on at the end and wait for more")
	_ = cmd.RegisterFlagCompletionFunc("group", c.groups)
	return cmd
}

func parseFrom(s string, now time.Time) (kgo.Offset, error) {
	switch s {
	case "start":
		return kgo.NewOffset().AtStart(), nil
	case "end":
		return kgo.NewOffset().AtEnd(), nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return kgo.NewOffset().At(n), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return kgo.NewOffset().AfterMilli(now.Add(-d).UnixMilli()), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return kgo.NewOffset().AfterMilli(t.UnixMilli()), nil
	}
	return kgo.Offset{}, fmt.Errorf("--from %s: expected start, end, an offset, a duration such as 10m or a time such as 2026-01-02T15:04:05Z", s)
}

// unread gives the ends of partitions that hold records.
func unread(ctx context.Context, a *kadm.Client, topics []string) (map[string]map[int32]int64, error) {
	starts, err := a.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := a.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	left := map[string]map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(o.Topic, o.Partition); ok && s.Offset < o.Offset {
			if left[o.Topic] == nil {
				left[o.Topic] = map[int32]int64{}
			}
			left[o.Topic][o.Partition] = o.Offset
		}
	})
	return left, nil
}

func printRecord(w *bufio.Writer, r *kgo.Record, asJSON bool, format string) {
	if asJSON {
		headers := map[string]any{}
		for _, h := range r.Headers {
			headers[h.Key] = textOrBytes(h.Value)
		}
		raw, _ := json.Marshal(map[string]any{"topic": r.Topic, "partition": r.Partition, "offset": r.Offset, "timestamp": r.Timestamp.UTC().Format(time.RFC3339Nano), "key": textOrBytes(r.Key), "value": textOrBytes(r.Value), "headers": headers})
		_, _ = w.Write(append(raw, '\n'))
		return
	}
	for i := 0; i < len(format); i++ {
		if i+1 == len(format) || format[i] != '%' && format[i] != '\\' {
			_ = w.WriteByte(format[i])
			continue
		}
		i++
		switch format[i-1 : i+1] {
		case `\n`:
			_ = w.WriteByte('\n')
		case `\t`:
			_ = w.WriteByte('\t')
		case "%t":
			_, _ = w.WriteString(r.Topic)
		case "%p":
			fmt.Fprint(w, r.Partition)
		case "%o":
			fmt.Fprint(w, r.Offset)
		case "%T":
			_, _ = w.WriteString(r.Timestamp.UTC().Format(time.RFC3339Nano))
		case "%k":
			_, _ = w.Write(r.Key)
		case "%v":
			_, _ = w.Write(r.Value)
		case "%h":
			var words []string
			for _, h := range r.Headers {
				words = append(words, h.Key+"="+string(h.Value))
			}
			_, _ = w.WriteString(strings.Join(words, ","))
		default:
			_, _ = w.WriteString(format[i-1 : i+1])
		}
	}
}

// textOrBytes is text where it is UTF-8, base64 (as encoding/json has it) where
// it is not, and null for null.
func textOrBytes(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return string(b)
	}
	return b
}
