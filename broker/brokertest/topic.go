// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func createTopic(addr, name string, partitions int32, configs []string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	set := map[string]*string{}
	for _, kv := range configs {
		k, v, _ := strings.Cut(kv, "=")
		set[k] = &v
	}
	_, err = kadm.NewClient(c).CreateTopic(ctx, partitions, 1, set, name)
	return err
}
