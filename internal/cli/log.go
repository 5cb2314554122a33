// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gregor/internal/batch"
	"gregor/internal/cli/kafka"
)

func newLog(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := parent("log", "look into log files and check them")
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON, for programs")
	var records bool
	dump := &cobra.Command{
		Use: "dump FILE...", Short: "print segments, indexes, snapshots and checkpoints", Args: cobra.MinimumNArgs(1),
		Example: "  gregor log dump gregor-data/orders-0/*.log --records",
		RunE: func(_ *cobra.Command, args []string) error {
			for _, f := range args {
				if err := kafka.DumpFile(e.kafka(), f, records); err != nil {
					return err
				}
			}
			return nil
		},
	}
	dump.Flags().BoolVarP(&records, "records", "r", false, "records as well as batches")
	verify := &cobra.Command{
		Use: "verify DIR...", Short: "check every batch of the segments in data directories", Args: cobra.MinimumNArgs(1),
		Long:    "Read every .log beneath the directories and check the frame and the checksum of each\nbatch. Bytes after the last sound batch of a partition's newest segment are no damage:\na running broker writes there.",
		Example: "  gregor log verify gregor-data",
		RunE: func(_ *cobra.Command, args []string) error {
			var all []damage
			for _, dir := range args {
				bad, err := verifyDir(e, dir)
				if err != nil {
					return err
				}
				all = append(all, bad...)
			}
			rows := [][]any{}
			for _, d := range all {
				rows = append(rows, []any{d.File, d.Position, d.Offset, d.Reason})
			}
			if len(all) == 0 {
				return c.done([]damage{}, "every batch is sound")
			}
			if err := c.show(all, []string{"file", "position", "offset", "what"}, rows); err != nil {
				return err
			}
			return exitStatus(1)
		},
	}
	cmd.AddCommand(dump, verify)
	return cmd
}

// damage is a place in a segment that cannot be read.
type damage struct {
	File     string `json:"file"`
	Position int64  `json:"position"`
	Offset   int64  `json:"offset"` // of the batch, -1 when not known
	Reason   string `json:"reason"`
}

// verifyDir checks every segment beneath dir.
func verifyDir(e *Env, dir string) ([]damage, error) {
	var files []string
	var total int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && path != dir {
				return nil // deleted meanwhile
			}
			return err
		}
		if !d.IsDir() && strings.HasSuffix(path, ".log") {
			if st, err := d.Info(); err == nil {
				files, total = append(files, path), total+st.Size()
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	bar := progress(e, total, "checking "+dir)
	defer func() { _ = bar.Finish() }()
	var bad []damage
	for i, f := range files {
		next := int64(-1)
		if i+1 < len(files) && filepath.Dir(files[i+1]) == filepath.Dir(f) {
			next, _ = strconv.ParseInt(strings.TrimSuffix(filepath.Base(files[i+1]), ".log"), 10, 64)
		}
		d, err := verifySegment(f, next, bar)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return bad, err
		}
		bad = append(bad, d...)
	}
	return bad, nil
}

// soundBehind is whether a whole batch lies behind position at, which then is
// no torn end but damage. It looks as far as the largest batch that brokers
// allow by default, and then some.
func soundBehind(f io.ReaderAt, at int64) bool {
	b := make([]byte, 4<<20)
	n, _ := f.ReadAt(b, at)
	for b = b[:n]; len(b) > batch.HeaderSize; {
		b = b[1:]
		if v, _, err := batch.Next(b); err == nil && v.CheckCRC() == nil {
			return true
		}
	}
	return false
}

// zeroesBehind is whether nothing but zeroes follows position at: what a
// server keeps ahead of the end of a log that it writes.
func zeroesBehind(f io.ReaderAt, at int64) bool {
	b := make([]byte, 64<<10)
	for {
		n, err := f.ReadAt(b, at)
		for _, c := range b[:n] {
			if c != 0 {
				return false
			}
		}
		if at += int64(n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// verifySegment walks one file. A broken checksum does not end the walk, a
// broken frame does: nothing says where the next batch begins. next is the
// offset of the next file, -1 when this is the newest.
func verifySegment(path string, next int64, progress io.Writer) ([]damage, error) {
	newest := next < 0
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var bad []damage
	r := io.TeeReader(f, progress)
	head := make([]byte, batch.HeaderSize)
	for at, end := int64(0), int64(0); at < st.Size(); {
		if !newest && end == next && zeroesBehind(f, at) {
			break
		}
		if st.Size()-at < batch.HeaderSize {
			if !newest || soundBehind(f, at) {
				bad = append(bad, damage{path, at, -1, fmt.Sprintf("%d bytes are left, too few for a batch", st.Size()-at)})
			}
			break
		}
		if _, err := io.ReadFull(r, head); err != nil {
			return bad, err
		}
		offset, size := int64(binary.BigEndian.Uint64(head)), int64(binary.BigEndian.Uint32(head[8:]))+batch.LogOverhead
		if size < batch.HeaderSize || size > st.Size()-at {
			if !newest || soundBehind(f, at) {
				bad = append(bad, damage{path, at, offset, fmt.Sprintf("the batch says it has %d bytes, %d are left", size, st.Size()-at)})
			}
			break
		}
		whole := make([]byte, size)
		copy(whole, head)
		if _, err := io.ReadFull(r, whole[batch.HeaderSize:]); err != nil {
			return bad, err
		}
		v := batch.View(whole)
		switch {
		case v.Magic() != 2:
			bad = append(bad, damage{path, at, offset, fmt.Sprintf("batch format %d is not known", v.Magic())})
		default:
			if err := v.CheckCRC(); err != nil {
				bad = append(bad, damage{path, at, offset, err.Error()})
			}
		}
		end = v.NextOffset()
		at += size
	}
	return bad, nil
}
