// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request's body is walked before it is decoded, along a layout of its
// fields, so that what a decoder allocates is known beforehand: kmsg makes an
// array of as many elements as are announced when at least that many bytes
// follow, which lets a body of 1 MB ask for 100 MB and more (ADR 0031).
//
// A layout is a list of fields in order, each a type after an optional range
// of versions ("3-:" from 3 on, "0-12:", "0:") and an optional tag ("#0:"):
//
//	1 2 4 8   integers, booleans and floats of so many bytes     u   16 bytes
//	s         string    y   bytes         (x)   array of plain values x
//	{x}       structure                   [x]   array of structures x
//	?         before {: may be null

// layouts are Kafka 4.2's requests: from which version they are flexible, and
// their fields. TestLayouts checks them against kmsg's encoder.
var layouts = [maxKey + 1]struct {
	min, max int16 // versions of 4.2
	flexible int16
	fields   string
}{
	0:  {3, 13, 9, "3-:s 2 4 [0-12:s 13-:u [4 y]]"},                                                                                                                     // Produce
	1:  {4, 18, 12, "12-#0:s 0-14:4 15-#1:{15-:4 15-:8} 4 4 3-:4 4-:1 7-:4 7-:4 [0-12:s 13-:u [4 9-:4 8 12-:4 5-:8 4 17-#0:u 18-#1:8]] 7-:[7-12:s 13-:u 7-:(4)] 11-:s"}, // Fetch
	2:  {1, 11, 6, "4 2-:1 [s [4 4-:4 8]] 10-:4"},                                                                                                                       // ListOffsets
	3:  {0, 13, 9, "[10-:u s] 4-:1 8-10:1 8-:1"},                                                                                                                        // Metadata
	8:  {2, 10, 8, "s 1-:4 1-:s 7-:s 2-4:8 [0-9:s 10-:u [4 8 6-:4 s]]"},                                                                                                 // OffsetCommit
	9:  {1, 10, 6, "0-7:s 0-7:[0-7:s 0-7:(4)] 8-:[8-:s 9-:s 9-:4 8-:[8-9:s 10-:u 8-:(4)]] 7-:1"},                                                                        // OffsetFetch
	10: {0, 6, 3, "0-3:s 1-:1 4-:(s)"},                                                                                                                                  // FindCoordinator
	11: {0, 9, 6, "s 4 1-:4 s 5-:s s [s y] 8-:s"},                                                                                                                       // JoinGroup
	12: {0, 4, 4, "s 4 s 3-:s"},                                                                                                                                         // Heartbeat
	13: {0, 5, 4, "s 0-2:s 3-:[3-:s 3-:s 5-:s]"},                                                                                                                        // LeaveGroup
	14: {0, 5, 4, "s 4 s 3-:s 5-:s 5-:s [s y]"},                                                                                                                         // SyncGroup
	15: {0, 6, 5, "(s) 3-:1"},                                                                                                                                           // DescribeGroups
	16: {0, 5, 3, "4-:(s) 5-:(s)"},                                                                                                                                      // ListGroups
	17: {0, 1, 32767, "s"},                                                                                                                                              // SaslHandshake
	18: {0, 4, 3, "3-:s 3-:s"},                                                                                                                                          // ApiVersions
	19: {2, 7, 5, "[s 4 2 [4 (4)] [s s]] 4 1-:1"},                                                                                                                       // CreateTopics
	20: {1, 6, 4, "6-:[6-:s 6-:u] 0-5:(s) 4"},                                                                                                                           // DeleteTopics
	21: {0, 2, 2, "[s [4 8]] 4"},                                                                                                                                        // DeleteRecords
	22: {0, 5, 2, "s 4 3-:8 3-:2"},                                                                                                                                      // InitProducerId
	23: {2, 4, 4, "3-:4 [s [4 2-:4 4]]"},                                                                                                                                // OffsetForLeaderEpoch
	24: {0, 5, 3, "4-:[4-:s 4-:8 4-:2 4-:1 4-:[s (4)]] 0-3:s 0-3:8 0-3:2 0-3:[s (4)]"},                                                                                  // AddPartitionsToTxn
	25: {0, 4, 3, "s 8 2 s"},                                                                                                                                            // AddOffsetsToTxn
	26: {0, 5, 3, "s 8 2 1"},                                                                                                                                            // EndTxn
	27: {1, 2, 1, "[8 2 1 [s (4)] 4 2-:1]"},                                                                                                                             // WriteTxnMarkers
	28: {0, 5, 3, "s s 8 2 3-:4 3-:s 3-:s [s [4 8 2-:4 s]]"},                                                                                                            // TxnOffsetCommit
	29: {1, 3, 2, "1 s 1-:1 s s 1 1"},                                                                                                                                   // DescribeAcls
	30: {1, 3, 2, "[1 s 1-:1 s s 1 1]"},                                                                                                                                 // CreateAcls
	31: {1, 3, 2, "[1 s 1-:1 s s 1 1]"},                                                                                                                                 // DeleteAcls
	32: {1, 4, 4, "[1 s (s)] 1-:1 3-:1"},                                                                                                                                // DescribeConfigs
	33: {0, 2, 2, "[1 s [s s]] 1"},                                                                                                                                      // AlterConfigs
	34: {1, 2, 2, "[s [s (4)]]"},                                                                                                                                        // AlterReplicaLogDirs
	35: {1, 5, 2, "[s (4)]"},                                                                                                                                            // DescribeLogDirs
	36: {0, 2, 2, "y"},                                                                                                                                                  // SaslAuthenticate
	37: {0, 3, 2, "[s 4 [(4)]] 4 1"},                                                                                                                                    // CreatePartitions
	38: {1, 3, 2, "3-:s 3-:s [s s] 8"},                                                                                                                                  // CreateDelegationToken
	39: {1, 2, 2, "y 8"},                                                                                                                                                // RenewDelegationToken
	40: {1, 2, 2, "y 8"},                                                                                                                                                // ExpireDelegationToken
	41: {1, 3, 2, "[s s]"},                                                                                                                                              // DescribeDelegationToken
	42: {0, 2, 2, "(s)"},                                                                                                                                                // DeleteGroups
	43: {0, 2, 2, "1-:1 [s (4)] 4"},                                                                                                                                     // ElectLeaders
	44: {0, 1, 1, "[1 s [s 1 s]] 1"},                                                                                                                                    // IncrementalAlterConfigs
	45: {0, 1, 0, "4 1-:1 [s [4 (4)]]"},                                                                                                                                 // AlterPartitionReassignments
	46: {0, 0, 0, "4 [s (4)]"},                                                                                                                                          // ListPartitionReassignments
	47: {0, 0, 32767, "s [s [4]]"},                                                                                                                                      // OffsetDelete
	48: {0, 1, 1, "[s 1 s] 1"},                                                                                                                                          // DescribeClientQuotas
	49: {0, 1, 1, "[[s s] [s 8 1]] 1"},                                                                                                                                  // AlterClientQuotas
	50: {0, 0, 0, "[s]"},                                                                                                                                                // DescribeUserScramCredentials
	51: {0, 0, 0, "[s 1] [s 1 4 y y]"},                                                                                                                                  // AlterUserScramCredentials
	52: {0, 2, 0, "s 1-:4 [s [4 4 4 1-:u 1-:u 4 8 2-:1]]"},                                                                                                              // Vote
	53: {0, 1, 1, "s 1-:4 [s [4 1-:u 4 4]] 1-:[1-:s 1-:s 1-:2]"},                                                                                                        // BeginQuorumEpoch
	54: {0, 1, 1, "s [s [4 4 4 0:(4) 1-:[1-:4 1-:u]]] 1-:[1-:s 1-:s 1-:2]"},                                                                                             // EndQuorumEpoch
	55: {0, 2, 0, "[s [4]]"},                                                                                                                                            // DescribeQuorum
	56: {2, 3, 0, "4 8 [2-:u [4 4 0-2:(4) 3-:[3-:4 3-:8] 1-:1 4]]"},                                                                                                     // AlterPartition
	57: {0, 2, 0, "4 [s 2 0:1 1-:1] 1-:1"},                                                                                                                              // UpdateFeatures
	58: {0, 0, 0, "y y y"},                                                                                                                                              // Envelope
	59: {0, 1, 0, "#0:s 4 4 [s [4 4 {8 4} 8 1-#0:u]]"},                                                                                                                  // FetchSnapshot
	60: {0, 2, 0, "1 1-:1 2-:1"},                                                                                                                                        // DescribeCluster
	61: {0, 0, 0, "[s (4)]"},                                                                                                                                            // DescribeProducers
	62: {0, 4, 0, "4 s u [s s 2 2] [s 2 2] s 1-:1 2-:(u) 3-:8"},                                                                                                         // BrokerRegistration
	63: {0, 1, 0, "4 8 8 1 1 1-#0:(u)"},                                                                                                                                 // BrokerHeartbeat
	64: {0, 0, 0, "4"},                                                                                                                                                  // UnregisterBroker
	65: {0, 0, 0, "(s)"},                                                                                                                                                // DescribeTransactions
	66: {0, 2, 0, "(s) (8) 1-:8 2-:s"},                                                                                                                                  // ListTransactions
	67: {0, 0, 0, "4 8"},                                                                                                                                                // AllocateProducerIds
	68: {0, 1, 0, "s s 4 s s 4 (s) 1-:s s [u (4)]"},                                                                                                                     // ConsumerGroupHeartbeat
	69: {0, 1, 0, "(s) 1"},                                                                                                                                              // ConsumerGroupDescribe
	70: {0, 0, 0, "4 u 1 [s s 2 2] [s 2 2]"},                                                                                                                            // ControllerRegistration
	71: {0, 0, 0, "u"},                                                                                                                                                  // GetTelemetrySubscriptions
	72: {0, 0, 0, "u 4 1 1 y"},                                                                                                                                          // PushTelemetry
	73: {0, 0, 0, "4 8 [u [u [4]]]"},                                                                                                                                    // AssignReplicasToDirs
	74: {0, 1, 0, "1-:(1)"},                                                                                                                                             // ListConfigResources
	75: {0, 0, 0, "[s] 4 ?{s 4}"},                                                                                                                                       // DescribeTopicPartitions
	76: {1, 1, 0, "s s 4 s (s)"},                                                                                                                                        // ShareGroupHeartbeat
	77: {1, 1, 0, "(s) 1"},                                                                                                                                              // ShareGroupDescribe
	78: {1, 2, 0, "s s 4 4 4 4 1-:4 1-:4 2-:1 2-:1 [u [4 0:4 [8 8 (1)]]] [u (4)]"},                                                                                      // ShareFetch
	79: {1, 2, 0, "s s 4 2-:1 [u [4 [8 8 (1)]]]"},                                                                                                                       // ShareAcknowledge
	80: {0, 1, 0, "s 4 4 u [s s 2] 1-:1"},                                                                                                                               // AddRaftVoter
	81: {0, 0, 0, "s 4 u"},                                                                                                                                              // RemoveRaftVoter
	82: {0, 0, 0, "s 4 4 u [s s 2] {2 2}"},                                                                                                                              // UpdateRaftVoter
	83: {0, 0, 0, "s [u [4 4 8]]"},                                                                                                                                      // InitializeShareGroupState
	84: {0, 0, 0, "s [u [4 4]]"},                                                                                                                                        // ReadShareGroupState
	85: {0, 1, 0, "s [u [4 4 4 8 1-:4 [8 8 1 2]]]"},                                                                                                                     // WriteShareGroupState
	86: {0, 0, 0, "s [u [4]]"},                                                                                                                                          // DeleteShareGroupState
	87: {0, 1, 0, "s [u [4 4]]"},                                                                                                                                        // ReadShareGroupStateSummary
	88: {0, 0, 0, "s s 4 4 s s 4 ?{4 [s (s) (s) [s 4 2 [s s]] (s) [s 4 2 [s s]] [(2) (2) (2)]]} [s (4)] [s (4)] [s (4)] s ?{s 2} [s s] [s 4 8] [s 4 8] 1"},              // StreamsGroupHeartbeat
	89: {0, 0, 0, "(s) 1"},                                                                                                                                              // StreamsGroupDescribe
	90: {0, 1, 0, "[s [s (4)]]"},                                                                                                                                        // DescribeShareGroupOffsets
	91: {0, 0, 0, "s [s [4 8]]"},                                                                                                                                        // AlterShareGroupOffsets
	92: {0, 0, 0, "s [s]"},                                                                                                                                              // DeleteShareGroupOffsets
}

// flexibleFrom is the first version with request header v2, by key.
var flexibleFrom = func() (out [maxKey + 1]int16) {
	for key := range layouts {
		if out[key] = layouts[key].flexible; layouts[key].fields == "" {
			out[key] = 1<<15 - 1
		}
	}
	return out
}()

// maxElements bounds the elements of all arrays of one request, as Kafka does
// from 4.4 on.
const maxElements = 1_000_000

// schema is a parsed layout.
type schema struct {
	flexible int16
	fields   []field
}

type field struct {
	kind     byte // one of the letters above
	from, to int16
	tag      int32 // -1: none
	nullable bool
	fields   []field
}

func schemaOf(key int16) (*schema, error) {
	l := layouts[key]
	if l.fields == "" {
		return nil, fmt.Errorf("api: no layout for %s", kmsg.NameForKey(key))
	}
	p := layoutParser{l.fields}
	fields, err := p.parse(0)
	if err != nil {
		return nil, fmt.Errorf("api: layout of %s at %q: %w", kmsg.NameForKey(key), p.rest, err)
	}
	return &schema{l.flexible, fields}, nil
}

type layoutParser struct{ rest string }

func (p *layoutParser) parse(end byte) ([]field, error) {
	var out []field
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == "" || p.rest[0] == end {
			if (p.rest == "") != (end == 0) {
				return nil, fmt.Errorf("want %q", end)
			}
			if end != 0 {
				p.rest = p.rest[1:]
			}
			return out, nil
		}
		f := field{to: 1<<15 - 1, tag: -1}
		if i := strings.IndexByte(p.rest, ':'); i > 0 && !strings.ContainsAny(p.rest[:i], " []{}()") {
			if err := f.qualify(p.rest[:i]); err != nil {
				return nil, err
			}
			p.rest = p.rest[i+1:]
		}
		if p.rest != "" && p.rest[0] == '?' {
			f.nullable, p.rest = true, p.rest[1:]
		}
		if p.rest == "" {
			return nil, fmt.Errorf("want a type")
		}
		f.kind, p.rest = p.rest[0], p.rest[1:]
		var err error
		switch f.kind {
		case '1', '2', '4', '8', 'u', 's', 'y':
		case '[':
			f.fields, err = p.parse(']')
		case '(':
			f.fields, err = p.parse(')')
		case '{':
			f.fields, err = p.parse('}')
		default:
			err = fmt.Errorf("unknown type %q", f.kind)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
}

// qualify reads "3-", "0-12", "0", "3-#0" or "#0".
func (f *field) qualify(s string) error {
	if i := strings.IndexByte(s, '#'); i >= 0 {
		if _, err := fmt.Sscanf(s[i:], "#%d", &f.tag); err != nil {
			return err
		}
		s = s[:i]
	}
	from, to, ranged := strings.Cut(s, "-")
	if from != "" {
		if _, err := fmt.Sscanf(from, "%d", &f.from); err != nil {
			return err
		}
		f.to = f.from
	}
	if ranged {
		f.to = 1<<15 - 1
		if to != "" {
			if _, err := fmt.Sscanf(to, "%d", &f.to); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk is one pass over a body.
type walk struct {
	b        []byte
	version  int16
	flexible bool
	elements int
	bad      string // why the body is malformed, "" while it is not
}

// measure counts the elements of a body's arrays, or says what is wrong.
func (s *schema) measure(version int16, body []byte) (int, error) {
	w := walk{b: body, version: version, flexible: version >= s.flexible}
	w.structure(s.fields)
	if w.bad != "" {
		return 0, fmt.Errorf("malformed body: %s", w.bad)
	}
	return w.elements, nil
}

// Measure refuses a body that is malformed or has more elements than a request
// may have. It is for what is not decoded here; our own keys pass.
func Measure(key, version int16, body []byte) error {
	if key >= int16(FirstPrivate) {
		return nil
	}
	if key < 0 || key > maxKey {
		return fmt.Errorf("api: key %d is unknown", key)
	}
	s, err := schemaOf(key)
	if err == nil {
		_, err = s.measure(version, body)
	}
	return err
}

func (w *walk) fail(why string) {
	if w.bad == "" {
		w.bad = why
	}
	w.b = nil
}

func (w *walk) skip(n int) {
	if n > len(w.b) {
		w.fail("cut short")
		return
	}
	w.b = w.b[n:]
}

// uvarint reads a length of the flexible versions.
func (w *walk) uvarint() int {
	v, n := binary.Uvarint(w.b)
	if n <= 0 || n > 5 || v > 1<<31-1 {
		w.fail("bad length")
		return 0
	}
	w.b = w.b[n:]
	return int(v)
}

// length reads a length: -1 for null.
func (w *walk) length(small bool) int {
	if w.flexible {
		return w.uvarint() - 1
	}
	var n int
	if small {
		if len(w.b) < 2 {
			w.fail("cut short")
			return -1
		}
		n = int(int16(binary.BigEndian.Uint16(w.b)))
		w.b = w.b[2:]
	} else {
		if len(w.b) < 4 {
			w.fail("cut short")
			return -1
		}
		n = int(int32(binary.BigEndian.Uint32(w.b)))
		w.b = w.b[4:]
	}
	if n < -1 {
		w.fail("negative length")
	}
	return n
}

// structure walks fields and, in flexible versions, the tags after them.
func (w *walk) structure(fields []field) {
	for i := range fields {
		if f := &fields[i]; f.tag < 0 && f.from <= w.version && w.version <= f.to {
			w.value(f)
		}
		if w.bad != "" {
			return
		}
	}
	if w.flexible {
		w.tags(fields)
	}
}

func (w *walk) tags(fields []field) {
	for count := w.uvarint(); count > 0 && w.bad == ""; count-- {
		tag := w.uvarint()
		size := w.uvarint()
		if size > len(w.b) {
			w.fail("cut short")
			return
		}
		// kmsg keeps unknown tags in a map.
		w.elements++
		w.limit()
		after := w.b[size:]
		w.b = w.b[:size]
		for i := range fields {
			if f := &fields[i]; f.tag == int32(tag) && f.from <= w.version && w.version <= f.to {
				w.value(f)
			}
		}
		if w.bad != "" {
			return
		}
		w.b = after
	}
}

func (w *walk) limit() {
	if w.elements > maxElements {
		w.fail("too many elements")
	}
}

func (w *walk) value(f *field) {
	switch f.kind {
	case '1':
		w.skip(1)
	case '2':
		w.skip(2)
	case '4':
		w.skip(4)
	case '8':
		w.skip(8)
	case 'u':
		w.skip(16)
	case 's', 'y':
		w.skip(max(0, w.length(f.kind == 's')))
	case '{':
		if f.nullable {
			if len(w.b) == 0 {
				w.fail("cut short")
				return
			}
			null := int8(w.b[0]) < 0
			w.b = w.b[1:]
			if null {
				return
			}
		}
		w.structure(f.fields)
	case '[', '(':
		n := w.length(false)
		if n > len(w.b) {
			// No element is shorter than a byte.
			w.fail("more elements announced than bytes left")
			return
		}
		w.elements += max(0, n)
		w.limit()
		for ; n > 0 && w.bad == ""; n-- {
			if f.kind == '(' {
				w.value(&f.fields[0])
			} else {
				w.structure(f.fields)
			}
		}
	}
}

// elementBytes is what an element of a request takes, about, with its place in
// the response: the largest ones of kmsg with their pointers and slices.
const elementBytes = 256

// admit walks a body and claims the memory that decoding and answering it will
// take; release gives it back. It waits while others hold too much.
func (a *API) admit(ctx context.Context, r *Route, version int16, body []byte) (int64, error) {
	elements, err := a.schemas[r.Key].measure(version, body)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", r.Key.Name(), err)
	}
	need := int64(elements)*elementBytes + 2*int64(len(body))
	if !a.cfg.Memory.fits(need) {
		return 0, fmt.Errorf("%s: %d elements in %d bytes are more than fits in memory", r.Key.Name(), elements, len(body))
	}
	return a.cfg.Memory.acquire(ctx, need)
}
