// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func askVersions(version int16, name, software string) *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.SetVersion(version)
	req.ClientSoftwareName, req.ClientSoftwareVersion = name, software
	return req
}

func TestApiVersions(t *testing.T) {
	t.Parallel()
	var parts fakePartitions
	_, dial := serve(t, NewProduce(ProduceConfig{Partitions: &parts}).Routes(), NewFetch(FetchConfig{Partitions: &parts}).Routes())
	c := dial()
	for version := int16(0); version <= 4; version++ {
		resp := c.ask(askVersions(version, "kgo", "v1.2.3")).(*kmsg.ApiVersionsResponse)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != 3 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		for i, want := range []kmsg.ApiVersionsResponseApiKey{{ApiKey: 0, MaxVersion: 13}, {ApiKey: 1, MinVersion: 4, MaxVersion: 18}, {ApiKey: 18, MaxVersion: 4}} {
			if got := resp.ApiKeys[i]; got.ApiKey != want.ApiKey || got.MinVersion != want.MinVersion || got.MaxVersion != want.MaxVersion {
				t.Errorf("v%d: %+v, want %+v", version, got, want)
			}
		}
		if version >= 3 {
			if n := len(resp.SupportedFeatures); n != int(version)-2 {
				t.Errorf("v%d: %d supported features", version, n)
			}
			if len(resp.FinalizedFeatures) != 1 || resp.FinalizedFeatures[0].MaxVersionLevel != 2 || resp.FinalizedFeaturesEpoch != 5 {
				t.Errorf("v%d: finalized %+v", version, resp.FinalizedFeatures)
			}
		}
	}
	// A version from the future is answered in version 0 (KIP-511).
	for _, version := range []int16{5, 77, -3} {
		req := askVersions(4, "x", "1")
		c.id++
		frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, c.id)
		frame[6], frame[7] = byte(uint16(version)>>8), byte(version)
		if _, err := c.nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		c.receive(resp)
		if resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 4 {
			t.Fatalf("v%d: %+v", version, resp)
		}
	}
}

func TestSoftwareNames(t *testing.T) {
	t.Parallel()
	_, dial := serve(t)
	c := dial()
	for name, ok := range map[string]bool{
		"apache-kafka-java": true, "a": true, "a.b-c": true, "9": true,
		"": false, "-a": false, "a-": false, ".": false, "a b": false, "é": false,
	} {
		for _, req := range []*kmsg.ApiVersionsRequest{askVersions(3, name, "1"), askVersions(3, "x", name)} {
			resp := c.ask(req).(*kmsg.ApiVersionsResponse)
			if (resp.ErrorCode == 0) != ok || !ok && resp.ErrorCode != kerr.InvalidRequest.Code {
				t.Errorf("%q: code %d", name, resp.ErrorCode)
			}
		}
	}
}

// The table refuses what it could not serve, and closes on what it does not.
func TestTable(t *testing.T) {
	t.Parallel()
	heartbeat := func(_ context.Context, c *Call, req *kmsg.HeartbeatRequest) (kmsg.Response, error) {
		if req.Group == "broken" {
			return nil, context.DeadlineExceeded
		}
		if req.Group == "close" {
			return nil, ErrClose
		}
		return nil, kerr.RebalanceInProgress
	}
	rows := []Route{On(kmsg.Heartbeat, 0, 4, heartbeat)}
	for name, bad := range map[string][][]Route{
		"twice":   {rows, rows},
		"version": {{On(kmsg.Heartbeat, 0, 5, heartbeat)}},
		"order":   {{On(kmsg.Heartbeat, 2, 1, heartbeat)}},
	} {
		if _, err := New(Config{}, bad...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, dial := serve(t, rows)
	c := dial()
	ask := func(version int16, group string) *kmsg.HeartbeatRequest {
		req := kmsg.NewPtrHeartbeatRequest()
		req.SetVersion(version)
		req.Group = group
		return req
	}
	for version := int16(0); version <= 4; version++ {
		if got := c.ask(ask(version, "g")).(*kmsg.HeartbeatResponse).ErrorCode; got != kerr.RebalanceInProgress.Code {
			t.Errorf("v%d: code %d", version, got)
		}
	}
	if got := c.ask(ask(4, "broken")).(*kmsg.HeartbeatResponse).ErrorCode; got != kerr.UnknownServerError.Code {
		t.Errorf("code %d", got)
	}
	c.send(ask(4, "close"))
	c.wantClosed()
	c = dial()
	c.send(produceTo(2, 1, "t", 0, 0)) // not served here
	c.wantClosed()
}
