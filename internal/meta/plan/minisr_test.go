// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// openSchema takes every setting.
type openSchema struct{ minSchema }

func (openSchema) Validate(meta.Resource, map[string]string, map[string]string) error { return nil }

// TestLowerMinISR: with min.insync.replicas lowered, a leader alone commits
// what those that were eligible have not: they must not be any more, from the
// very version on that lowers it.
func TestLowerMinISR(t *testing.T) {
	t.Parallel()
	value := func(v string) *string { return &v }
	topic, brokers := int8(meta.TopicResource), int8(meta.BrokerResource)
	for _, c := range []struct {
		what      string
		kind      int8
		name      string
		had, next *string
		eligible  bool // 2 is so afterwards
		byDefault int
	}{
		{"the topic's is lowered", topic, "trio", value("2"), value("1"), false, 1},
		{"the topic's goes, and the default is lower", topic, "trio", value("2"), nil, false, 1},
		{"the cluster's is lowered", brokers, "", value("2"), value("1"), false, 1},
		{"the cluster's goes, and the default is lower", brokers, "", value("2"), nil, false, 1},
		{"from three to two, and one is in sync", topic, "trio", value("3"), value("2"), true, 1},
		{"the topic's goes, and the default is as high", topic, "trio", value("2"), nil, true, 2},
		{"it is raised", topic, "trio", value("2"), value("3"), true, 1},
	} {
		e := env()
		e.Schema = openSchema{minSchema{min: strconv.Itoa(c.byDefault), unclean: "false"}}
		img := with(t, trio(t), meta.ConfigRecord{Resource: meta.Resource{Type: meta.ResourceType(c.kind), Name: c.name}, Key: "min.insync.replicas", Value: c.had})
		img = with(t, img, FenceBrokers(img, []int32{3}, e)...)
		img = with(t, img, FenceBrokers(img, []int32{2}, e)...)
		if p := img.Partition("trio", 0); len(p.ISR) != 1 || len(p.ELR) == 0 {
			t.Fatalf("%s: begins with %s", c.what, seatsOf(img))
		}
		// Both ways to set it lead to the same.
		one := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(c.kind), c.name
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Name, rc.Value = "min.insync.replicas", c.next
		if c.next == nil {
			rc.Op = kmsg.IncrementalAlterConfigOpDelete
		}
		r.Configs = append(r.Configs, rc)
		one.Resources = append(one.Resources, r)
		whole := kmsg.NewPtrAlterConfigsRequest()
		w := kmsg.NewAlterConfigsRequestResource()
		w.ResourceType, w.ResourceName = kmsg.ConfigResourceType(c.kind), c.name
		if c.next != nil {
			wc := kmsg.NewAlterConfigsRequestResourceConfig()
			wc.Name, wc.Value = "min.insync.replicas", c.next
			w.Configs = append(w.Configs, wc)
		}
		whole.Resources = append(whole.Resources, w)
		byOne, resp := IncrementalAlterConfigs(img, one, e)
		byWhole, resp2 := AlterConfigs(img, whole, e)
		check(t, c.what, resp.Resources[0].ErrorCode, nil)
		check(t, c.what, resp2.Resources[0].ErrorCode, nil)

		for _, records := range [][]meta.Record{byOne, byWhole} {
			next := with(t, img, records...)
			p := next.Partition("trio", 0)
			if (len(p.ELR) > 0) != c.eligible {
				t.Errorf("%s: %s", c.what, seatsOf(next))
			}
			// The leader dies, having committed alone if it might, and 2 is back.
			next = with(t, next, FenceBrokers(next, []int32{1}, e)...)
			rs, err := UnfenceBroker(next, 2, 11, e)
			if err != nil {
				t.Fatal(err)
			}
			next = with(t, next, rs...)
			if led := next.Partition("trio", 0).Leader == 2; led != c.eligible {
				t.Errorf("%s: after the leader's death %s", c.what, seatsOf(next))
			}
		}
	}
}

// TestLostDiskOfTheOnlyRegistered: a broker that is the only one registered, but
// not the only replica, has no seat once its log is gone.
func TestLostDiskOfTheOnlyRegistered(t *testing.T) {
	t.Parallel()
	e := envMin(1)
	img := trio(t)
	img = with(t, img, FenceBrokers(img, []int32{1, 2, 3, 4}, e)...)
	for _, id := range []int32{2, 3, 4} {
		rs, err := UnregisterBroker(img, id, e)
		if err != nil {
			t.Fatal(err)
		}
		img = with(t, img, rs...)
	}
	rs, epoch, err := RegisterBroker(img, Registration{ID: 1, ClusterID: "c", Incarnation: meta.UUID{0: 0xee}, Dirs: []meta.UUID{dir(77)},
		Features: img.Broker(1).Features, Clean: -1, Checked: true}, e)
	if err != nil {
		t.Fatal(err)
	}
	img = with(t, img, rs...)
	if rs, err = UnfenceBroker(img, 1, epoch, e); err != nil {
		t.Fatal(err)
	}
	img = with(t, img, rs...)
	says(t, "1 comes with a new disk, 2 and 3 hold everything", img, "leader -1 epoch 6.11 isr [] elr [2 3] last []")
}
