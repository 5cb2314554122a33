// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// ApiVersions, key 18, versions 0-4
//
// Behaviours:
//   - answers with the table itself, and with the features
//   - a version that is not served is answered in version 0 with
//     UNSUPPORTED_VERSION and the range of ApiVersions alone (KIP-511)
//   - the response header is never flexible, for clients that do not know yet
//     which version they will get
//   - features whose lowest level is 0 are told from version 4 on
//     (KAFKA-17492); finalized ones at level 0 never
//
// Versions:
//
//	1  throttle time
//	2  clients throttle themselves (KIP-219)
//	3  flexible; software name and version (KIP-511); features (KIP-584)
//	4  features with lowest level 0

// Features are the cluster's, as ApiVersions tells them.
type Features interface {
	Supported() []Feature
	// Finalized tells levels in force and since which metadata they are; -1
	// while that is unknown.
	Finalized() ([]FeatureLevel, int64)
}

// Feature is a supported range of levels, FeatureLevel the one in force.
type Feature struct {
	Name     string
	Min, Max int16
}

type FeatureLevel struct {
	Name  string
	Level int16
}

const maxApiVersions = 4

func (a *API) versionRoutes() []Route {
	return []Route{{Key: kmsg.ApiVersions, Min: 0, Max: maxApiVersions, raw: a.apiVersions}}
}

func (a *API) apiVersions(_ context.Context, c *Call, body []byte) (wire.Reply, wire.Pending) {
	resp := kmsg.NewPtrApiVersionsResponse()
	if c.Version < 0 || c.Version > maxApiVersions {
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: int16(kmsg.ApiVersions), MaxVersion: maxApiVersions}}
		c.Version = 0
		return a.encode(c, resp), nil
	}
	if c.Version >= 3 {
		// Not by kmsg, which keeps the tags that it does not know.
		q := cursor{b: body, flexible: true}
		name, version := q.name(), q.name()
		q.tags(nil)
		if q.bad {
			return wire.Reply{None: true, Close: true, Why: "ApiVersions: " + errMalformed.Error()}, nil
		}
		if !softwareName(name) || !softwareName(version) {
			resp.ErrorCode = kerr.InvalidRequest.Code
			return a.encode(c, resp), nil
		}
		if c.Conn != nil {
			c.Conn.SetSoftware(wire.Software{Name: string(name), Version: string(version)})
		}
	}
	for key, r := range a.routes {
		if r == nil || r.Inner { // between nodes: no client's business
			continue
		}
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{
			ApiKey: int16(key), MinVersion: r.AdvertiseMin, MaxVersion: r.Max})
	}
	if a.cfg.Features != nil {
		for _, f := range a.cfg.Features.Supported() {
			if f.Min == 0 && c.Version < 4 {
				continue
			}
			s := kmsg.NewApiVersionsResponseSupportedFeature()
			s.Name, s.MinVersion, s.MaxVersion = f.Name, f.Min, f.Max
			resp.SupportedFeatures = append(resp.SupportedFeatures, s)
		}
		levels, epoch := a.cfg.Features.Finalized()
		resp.FinalizedFeaturesEpoch = epoch
		for _, l := range levels {
			if l.Level == 0 {
				continue
			}
			f := kmsg.NewApiVersionsResponseFinalizedFeature()
			f.Name, f.MinVersionLevel, f.MaxVersionLevel = l.Name, l.Level, l.Level
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, f)
		}
	}
	return a.encode(c, resp), nil
}

// maxSoftwareName bounds what is kept of each connection.
const maxSoftwareName = 256

// softwareName is Kafka's rule for a client's name and version: letters and
// digits, with dots and dashes inside.
//
// Differs from Kafka: no more than maxSoftwareName of them.
func softwareName(s []byte) bool {
	if len(s) == 0 || len(s) > maxSoftwareName {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case (b == '-' || b == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}
