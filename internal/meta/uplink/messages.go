// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// Tags of ours in Kafka's messages (docs/formats/inner-protocol.md).
const (
	tagLosses    = 10000 // registration: what an unclean stop cost; present = all logs were looked at
	tagVoter     = 10001 // registration: the process is this controller too, as a metadata frame
	tagCordoned  = 10002 // registration: directories that take no new replicas
	tagReady     = 10003 // registration: the only broker, in the controller's process, which has applied everything
	tagDirectory = 10004 // controller registration: id of the metadata log's directory
)

// registration is a Registration and what only the local broker may say.
type registration struct {
	plan.Registration
	Ready bool
}

func requestOf(r *registration) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 4
	req.BrokerID, req.ClusterID, req.IncarnationID = r.ID, r.ClusterID, r.Incarnation
	req.PreviousBrokerEpoch = r.Clean
	if r.Rack != "" {
		req.Rack = &r.Rack
	}
	req.LogDirs = r.Dirs
	for _, e := range r.Endpoints {
		l := kmsg.NewBrokerRegistrationRequestListener()
		l.Name, l.Host, l.Port, l.SecurityProtocol = e.Listener, e.Host, e.Port, e.Protocol
		req.Listeners = append(req.Listeners, l)
	}
	for _, f := range r.Features {
		x := kmsg.NewBrokerRegistrationRequestFeature()
		x.Name, x.MinSupportedVersion, x.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, x)
	}
	if r.Checked {
		req.UnknownTags.Set(tagLosses, appendLosses(nil, r.Losses))
	}
	if r.Voter != nil {
		req.UnknownTags.Set(tagVoter, meta.AppendRecord(nil, meta.ControllerRecord{Controller: *r.Voter}))
	}
	if len(r.Cordoned) > 0 {
		var b []byte
		for _, d := range r.Cordoned {
			b = append(b, d[:]...)
		}
		req.UnknownTags.Set(tagCordoned, b)
	}
	if r.Ready {
		req.UnknownTags.Set(tagReady, nil)
	}
	return req
}

func registrationOf(req *kmsg.BrokerRegistrationRequest) (*registration, error) {
	r := &registration{Registration: plan.Registration{ID: req.BrokerID, ClusterID: req.ClusterID, Incarnation: req.IncarnationID,
		Clean: req.PreviousBrokerEpoch}}
	if req.Rack != nil {
		r.Rack = *req.Rack
	}
	r.Dirs = append(r.Dirs, req.LogDirs...)
	for _, l := range req.Listeners {
		r.Endpoints = append(r.Endpoints, meta.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port, Protocol: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		r.Features = append(r.Features, meta.FeatureRange{Name: f.Name, Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion})
	}
	var err error
	req.UnknownTags.Each(func(tag uint32, v []byte) {
		switch tag {
		case tagLosses:
			r.Checked = true
			r.Losses, err = decodeLosses(v)
		case tagVoter:
			rec, rest, derr := meta.DecodeRecord(v)
			c, ok := rec.(meta.ControllerRecord)
			if derr != nil || !ok || len(rest) > 0 {
				err = fmt.Errorf("%w: the controller of a registration", errMessage)
				return
			}
			r.Voter = &c.Controller
		case tagCordoned:
			for ; len(v) >= 16; v = v[16:] {
				r.Cordoned = append(r.Cordoned, meta.UUID(v[:16]))
			}
		case tagReady:
			r.Ready = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kerr.InvalidRequest, err)
	}
	return r, nil
}

var errMessage = errors.New("uplink: malformed message")

// appendLosses: a list of topic id (16), partition (uvarint), loss (u8).
func appendLosses(b []byte, ls []plan.ReplicaLoss) []byte {
	b = binary.AppendUvarint(b, uint64(len(ls)))
	for _, l := range ls {
		b = append(b, l.Topic[:]...)
		b = binary.AppendUvarint(b, uint64(l.Partition))
		b = append(b, byte(l.Loss))
	}
	return b
}

func decodeLosses(b []byte) ([]plan.ReplicaLoss, error) {
	r := reader{b: b}
	n := r.uvarint()
	if n > uint64(len(b))/18 {
		return nil, errMessage
	}
	out := make([]plan.ReplicaLoss, 0, n)
	for range n {
		l := plan.ReplicaLoss{Topic: r.uuid(), Partition: r.int32()}
		l.Loss = plan.Loss(r.byte())
		if l.Loss < plan.LostNothing || l.Loss > plan.LostAll {
			return nil, errMessage
		}
		out = append(out, l)
	}
	return out, r.end()
}

// unversioned is what messages of our own share: version 0, flexible.
type unversioned struct{}

func (unversioned) MaxVersion() int16 { return 0 }
func (unversioned) SetVersion(int16)  {}
func (unversioned) GetVersion() int16 { return 0 }
func (unversioned) IsFlexible() bool  { return true }

// requestFor makes an empty request of a key that the Desk serves, nil for any
// other: nothing else is decoded.
func requestFor(key int16) kmsg.Request {
	switch kmsg.Key(key) {
	case kmsg.Key(RaiseEpochsKey):
		return &RaiseEpochsRequest{}
	case kmsg.Key(LeaveSeatsKey):
		return &LeaveSeatsRequest{}
	case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions, kmsg.IncrementalAlterConfigs, kmsg.AlterConfigs,
		kmsg.ElectLeaders, kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments, kmsg.UpdateFeatures,
		kmsg.UnregisterBroker, kmsg.BrokerRegistration, kmsg.BrokerHeartbeat, kmsg.AlterPartition,
		kmsg.AllocateProducerIDs, kmsg.AssignReplicasToDirs, kmsg.ControllerRegistration:
		return kmsg.RequestForKey(key)
	}
	return nil
}

// ForwardKey is the private key of a forwarded request.
const ForwardKey int16 = 32005

// Forward is a request on its way from the broker that it was sent to, to the
// active controller, with its caller's identity.
//
//	+--------+-------------+-------------+-------------------+------------------+--------------+------+
//	| 0 (u8) | key (i16)   | version i16 | timeout ms (i32)  | principal string | host string  | body |
//	+--------+-------------+-------------+-------------------+------------------+--------------+------+
//
// A string is a uvarint length and its bytes; the body is the rest, as Kafka
// encodes it in that version.
type Forward struct {
	Key, Version  int16
	TimeoutMillis int32
	Principal     string
	Host          string
	Body          []byte // borrowed
}

func (f *Forward) AppendTo(b []byte) []byte {
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(f.Key))
	b = binary.BigEndian.AppendUint16(b, uint16(f.Version))
	b = binary.BigEndian.AppendUint32(b, uint32(f.TimeoutMillis))
	b = appendString(appendString(b, f.Principal), f.Host)
	return append(b, f.Body...)
}

func (f *Forward) ReadFrom(b []byte) error {
	r := reader{b: b}
	if r.byte() != 0 {
		return errMessage
	}
	f.Key, f.Version = int16(r.fixed(2)), int16(r.fixed(2))
	f.TimeoutMillis = int32(r.fixed(4))
	f.Principal, f.Host = r.str(), r.str()
	f.Body = r.b
	return r.err
}

// Forwarded is the answer to a Forward: an error, or the answer in the version
// that was asked for with the version of the metadata that holds what changed.
//
//	+--------+-------------+-----------------+-------------------------+------+
//	| 0 (u8) | error (i16) | message string  | metadata version varint | body |
//	+--------+-------------+-----------------+-------------------------+------+
type Forwarded struct {
	Code    int16
	Message string
	Version int64
	Body    []byte // borrowed
}

func (f *Forwarded) AppendTo(b []byte) []byte {
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(f.Code))
	b = binary.AppendVarint(appendString(b, f.Message), f.Version)
	return append(b, f.Body...)
}

func (f *Forwarded) ReadFrom(b []byte) error {
	r := reader{b: b}
	if r.byte() != 0 {
		return errMessage
	}
	f.Code = int16(r.fixed(2))
	f.Message = r.str()
	f.Version = r.varint()
	f.Body = r.b
	return r.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes a message apart; the first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.err = errMessage
		return make([]byte, min(n, 16))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) fixed(n int) uint64 {
	var v uint64
	for _, x := range r.take(n) {
		v = v<<8 | uint64(x)
	}
	return v
}

func (r *reader) uuid() meta.UUID { return meta.UUID(r.take(16)) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.err != nil {
		r.err = errMessage
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 || r.err != nil {
		r.err = errMessage
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int32() int32 {
	v := r.uvarint()
	if v > 1<<31-1 {
		r.err = errMessage
		return 0
	}
	return int32(v)
}

func (r *reader) str() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.err = errMessage
		return ""
	}
	return string(r.take(int(n)))
}

// end tells whether the message was read whole and without error.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errMessage
	}
	return r.err
}
