// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Envelope is Kafka's way to forward a request (KIP-590): the whole frame of a
// client's request, header included, and the response's likewise.
//
//	request   key i16 | version i16 | correlation i32 | client id i16 + bytes | tags, where flexible | body
//	response  correlation i32 | tags, where flexible | body
//
// life ends with the connection.
func (d *Desk) Envelope(life context.Context, e *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error) {
	req, correlation, err := d.unwrap(e.RequestData)
	if err != nil {
		return nil, err
	}
	resp, _, err := d.Serve(life, req, Caller{Principal: string(e.RequestPrincipal), Host: string(e.ClientHostAddress)})
	if err != nil {
		return nil, err
	}
	resp.SetVersion(req.GetVersion())
	b := binary.BigEndian.AppendUint32(nil, correlation)
	if resp.IsFlexible() {
		b = append(b, 0)
	}
	out := e.ResponseKind().(*kmsg.EnvelopeResponse)
	out.ResponseData = resp.AppendTo(b)
	return out, nil
}

func (d *Desk) unwrap(b []byte) (kmsg.Request, uint32, error) {
	r := reader{b: b}
	key, version, correlation := int16(r.fixed(2)), int16(r.fixed(2)), uint32(r.fixed(4))
	if n := int16(r.fixed(2)); n > 0 {
		if int(n) > len(r.b) {
			return nil, 0, kerr.InvalidRequest
		}
		r.take(int(n))
	}
	req := requestFor(key)
	if r.err != nil || req == nil || version < 0 || version > req.MaxVersion() || key >= RaiseEpochsKey {
		return nil, 0, kerr.UnsupportedVersion
	}
	req.SetVersion(version)
	if req.IsFlexible() {
		for range r.uvarint() {
			r.uvarint()
			_ = r.str()
			if r.err != nil {
				break
			}
		}
	}
	if r.err != nil {
		return nil, 0, errors.Join(kerr.InvalidRequest, r.err)
	}
	if err := d.decode(req, version, append([]byte(nil), r.b...)); err != nil {
		return nil, 0, errors.Join(kerr.InvalidRequest, err)
	}
	return req, correlation, nil
}
