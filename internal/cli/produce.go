// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newProduce(e *Env) *cobra.Command {
	c := &client{env: e}
	var key, sep, file, codec string
	var headers []string
	cmd := c.on(&cobra.Command{
		Use: "produce TOPIC", Short: "send lines as records", Args: cobra.ExactArgs(1), ValidArgsFunction: c.topics,
		Example: "  echo hello | gregor produce greetings\n  gregor produce orders --key-separator : < orders.txt\n  gregor produce logs --file big.log --compression zstd",
		RunE: func(cmd *cobra.Command, args []string) error {
			codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
			codecOf, ok := codecs[codec]
			if !ok {
				return &usageError{fmt.Errorf("--compression %s: none, gzip, snappy, lz4 or zstd", codec)}
			}
			pairs, err := pairs(headers)
			if err != nil {
				return err
			}
			var hs []kgo.RecordHeader
			for k, v := range pairs {
				hs = append(hs, kgo.RecordHeader{Key: k, Value: []byte(*v)})
			}
			in := e.In
			size := int64(-1)
			if file != "" {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				if st, err := f.Stat(); err == nil {
					size = st.Size()
				}
				in = f
			}
			cl, err := c.kgo(kgo.DefaultProduceTopic(args[0]), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(codecOf), kgo.RecordDeliveryTimeout(6*patience), kgo.UnknownTopicRetries(20))
			if err != nil {
				return err
			}
			defer cl.Close()
			bar := progress(e, size, "sending")
			n, err := sendLines(cmd.Context(), cl, io.TeeReader(in, bar), []byte(key), []byte(sep), hs)
			_ = bar.Finish()
			if err != nil {
				return fmt.Errorf("%d records sent: %w", n, c.inWords(err))
			}
			if c.json {
				return printJSON(e.Out, map[string]any{"topic": args[0], "records": n})
			}
			fmt.Fprintf(e.Err, "%d records sent to %s\n", n, args[0])
			return nil
		},
	})
	f := cmd.Flags()
	f.StringVarP(&key, "key", "k", "", "key of every record")
	f.StringVarP(&sep, "key-separator", "K", "", "text between key and value in each line")
	f.StringArrayVarP(&headers, "header", "H", nil, "name=value header of every record; may be repeated")
	f.StringVarP(&file, "file", "f", "", "file to read instead of standard input")
	f.StringVarP(&codec, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"none", "gzip", "snappy", "lz4", "zstd"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// progress is a bar on standard error for work of which the size is known and
// a person is watching; else it is silent.
func progress(e *Env, size int64, what string) *progressbar.ProgressBar {
	f, ok := e.Err.(*os.File)
	if size < 1<<20 || !ok || !e.Terminal {
		return progressbar.DefaultBytesSilent(size, what)
	}
	return progressbar.NewOptions64(size, progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(true), progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
}

func sendLines(ctx context.Context, cl *kgo.Client, in io.Reader, key, sep []byte, headers []kgo.RecordHeader) (int64, error) {
	var acked atomic.Int64
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r := bufio.NewReaderSize(in, 1<<20)
	for ctx.Err() == nil {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return acked.Load(), err
		}
		if len(line) > 0 {
			line = bytes.TrimRight(line, "\r\n")
			rec := &kgo.Record{Value: line, Headers: headers}
			if len(key) > 0 {
				rec.Key = key
			}
			if len(sep) > 0 {
				k, v, ok := bytes.Cut(line, sep)
				if !ok {
					return acked.Load(), fmt.Errorf("line %q has no key separator %q", line, sep)
				}
				rec.Key, rec.Value = k, v
			}
			cl.Produce(ctx, rec, func(_ *kgo.Record, err error) {
				if err != nil {
					fail(err)
					return
				}
				acked.Add(1)
			})
		}
		if err != nil {
			break
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return acked.Load(), context.Cause(ctx)
	}
	return acked.Load(), context.Cause(ctx)
}
