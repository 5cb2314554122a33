// SPDX-License-Identifier: Apache-2.0

// Goal: on a disk of the system's own that is really full, producers get
// KAFKA_STORAGE_ERROR, reads go on, deleting a topic makes room, and the
// producers go on by themselves.
// Method: the real process on a tmpfs of 40 MiB, which it mounts itself in a
// mount namespace of its own, so that nobody else sees it and it goes with the
// process. Where that is not permitted, disk_test.go is all there is.
package broker_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// smallDisk in the environment is the folder on which a small tmpfs is mounted.
const smallDisk = "BROKER_TEST_SMALL_DISK"

func prepareProcess() error {
	dir := os.Getenv(smallDisk)
	if dir == "" {
		return nil
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("a mount namespace of our own: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=40m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return nil
}

func TestFullTmpfs(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "log.segment.bytes=4194304")
	p.env = []string{smallDisk + "=" + p.dir}
	p.prepare = func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS} }
	if !mayMount(p) {
		return
	}
	ctx := within(t, time.Minute)
	c := client(t, p.addr, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
	admin := kadm.NewClient(c)
	now := "0"
	for _, topic := range []string{"keep", "big"} {
		if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"file.delete.delay.ms": &now}, topic); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	put := func(topic string) error {
		err := c.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte("k"), Value: make([]byte, 500_000)}).FirstErr()
		if err == nil && topic == "keep" {
			kept++
		}
		return err
	}
	for range 10 {
		if err := put("keep"); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for n := 0; err == nil; n++ {
		if err = put("big"); n > 200 {
			t.Fatal("the disk is never full")
		}
	}
	if !errors.Is(err, kerr.KafkaStorageError) {
		t.Fatalf("a full disk: %v", err)
	}
	for put("keep") == nil { // what is left of the last block
	}
	if got := readPartition(ctx, t, p.addr, "keep", 0); len(got) != kept {
		t.Fatalf("%d records on a full disk, want %d", len(got), kept)
	}
	patient := client(t, p.addr, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("keep"))
	done := make(chan error, 1)
	go func() { done <- patient.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 500_000)}).FirstErr() }()
	if _, err := admin.DeleteTopic(ctx, "big"); err != nil {
		t.Fatalf("delete a topic on a full disk: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if got := readPartition(ctx, t, p.addr, "keep", 0); len(got) != kept+1 {
		t.Fatalf("%d records, want %d", len(got), kept+1)
	}
	for _, line := range []string{"disk is full", "disk has room again"} {
		if !strings.Contains(p.log.String(), line) {
			t.Errorf("the log does not say %q:\n%s", line, p.log)
		}
	}
}

// mayMount starts the process, unless its small disk is not permitted here.
func mayMount(p *process) bool {
	p.t.Helper()
	trial := exec.Command("/proc/self/exe", "-test.run=^$")
	p.prepare(trial)
	if err := trial.Run(); errors.Is(err, syscall.EPERM) {
		p.t.Logf("no mount namespace of our own: %v", err)
		return false
	}
	switch status := p.tryStart(); status {
	case 0:
		return true
	case notPermitted:
		p.t.Logf("no small disk: %s", p.log)
		return false
	default:
		p.t.Fatalf("status %d:\n%s", status, p.log)
		return false
	}
}
