// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// doGenerate proposes where the topics' replicas would go if they were made
// anew on the brokers given: spread over racks, in stripes.
func (t *reassignTool) doGenerate(ctx context.Context, raw []byte) error {
	var brokers []int32
	for _, w := range strings.Split(t.nodes.value(), ",") {
		id, err := strconv.ParseInt(w, 10, 32)
		if err != nil {
			return fmt.Errorf("For input string: %q", w)
		}
		brokers = append(brokers, int32(id))
	}
	if twice := duplicates(brokers); len(twice) > 0 {
		return fmt.Errorf("Broker list contains duplicate entries: %s", javaList(twice))
	}
	topics, err := parseTopicsToMove(raw)
	if err != nil {
		return err
	}
	if twice := duplicates(topics); len(twice) > 0 {
		return fmt.Errorf("List of topics to reassign contains duplicate entries: %s", javaList(twice))
	}
	var list []topicPartition
	for _, name := range topics {
		list = append(list, topicPartition{topic: name})
	}
	current, err := t.replicas(ctx, list, false)
	if err != nil {
		return err
	}
	alive, err := t.brokers(ctx)
	if err != nil {
		return err
	}
	img, err := t.placement(ctx, brokers)
	if err != nil {
		return err
	}
	proposed := map[topicPartition][]int32{}
	for _, name := range topicsOf(list) {
		n, factor := 0, len(current[topicPartition{name, 0}])
		for tp := range current {
			if tp.topic == name {
				n++
			}
		}
		replicas, err := plan.Stripes(img, factor, n, rand.NewPCG(rand.Uint64(), rand.Uint64()))
		if err != nil {
			_, why, _ := strings.Cut(err.Error(), ": ")
			return errors.New(why)
		}
		for i, r := range replicas {
			proposed[topicPartition{name, int32(i)}] = r
		}
	}
	if err := t.printCurrent(ctx, "Current partition replica assignment\n%s\n\n", current, alive); err != nil {
		return err
	}
	line, err := movesJSON(proposed, nil)
	if err != nil {
		return err
	}
	t.env.println("Proposed partition reassignment configuration\n" + line)
	return nil
}

// placement is the brokers of a list that are alive, with their racks.
func (t *reassignTool) placement(ctx context.Context, list []int32) (*meta.Image, error) {
	md, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		return nil, javaError(timedOut(err, "listNodes"))
	}
	var records []meta.Record
	bare := 0
	for _, b := range md.Brokers {
		if !slices.Contains(list, b.NodeID) {
			continue
		}
		r := meta.Broker{ID: b.NodeID, Epoch: 1}
		if b.Rack != nil && !t.noRacks.has {
			r.Rack = *b.Rack
		} else {
			bare++
		}
		records = append(records, meta.BrokerRecord{Broker: r})
	}
	if !t.noRacks.has && bare != 0 && bare != len(records) {
		return nil, errors.New("Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment without rack information.")
	}
	img, _, err := meta.Empty().With(records)
	return img, err
}
