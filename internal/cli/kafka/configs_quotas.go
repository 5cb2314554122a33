// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var scramNames = map[string]int8{"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}

var userQuotas = []string{"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}

// quotaParts are the components of a quota's entity.
func (t *configsTool) quotaParts() (types []string) {
	for _, x := range t.entities {
		types = append(types, map[string]string{"users": "user", "clients": "client-id", "ips": "ip"}[x.kind])
	}
	return types
}

func (t *configsTool) alterQuota(ctx context.Context, add map[string]string, remove []string) error {
	head := t.entities[0]
	names := append(slices.Sorted(maps.Keys(add)), remove...)
	var quotas, scrams, unknown []string
	for _, n := range names {
		_, isScram := scramNames[n]
		switch {
		case head.kind == "ips" && n == "connection_creation_rate", head.kind != "ips" && slices.Contains(userQuotas, n):
			quotas = append(quotas, n)
		case isScram && head.kind == "users" && len(t.entities) == 1:
			scrams = append(scrams, n)
		default:
			unknown = append(unknown, n)
		}
	}
	if len(unknown) > 0 {
		return failf("Unexpected config names for '%s': %s", head.kind, strings.Join(unknown, ","))
	}
	if len(scrams) > 0 {
		if head.name == "" {
			return failf("The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.")
		}
		if len(quotas) > 0 {
			return failf("Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.")
		}
		return t.alterScram(ctx, head.name, add, remove)
	}
	req := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	for i, kind := range t.quotaParts() {
		p := kmsg.NewAlterClientQuotasRequestEntryEntity()
		p.Type = kind
		if n := t.entities[i].name; n != "" {
			p.Name = &n
		}
		entry.Entity = append(entry.Entity, p)
	}
	for _, k := range slices.Sorted(maps.Keys(add)) {
		f, err := strconv.ParseFloat(add[k], 64)
		if err != nil {
			return failf("Cannot parse quota configuration value for %s: %s", k, add[k])
		}
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Value = k, f
		entry.Ops = append(entry.Ops, op)
	}
	for _, k := range remove {
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Remove = k, true
		entry.Ops = append(entry.Ops, op)
	}
	req.Entries = append(req.Entries, entry)
	raw, err := t.request(ctx, req)
	if err != nil {
		return err
	}
	for _, r := range raw.(*kmsg.AlterClientQuotasResponse).Entries {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

var scramValue = regexp.MustCompile(`^(?:iterations=(-?[0-9]*),)?password=(.*)$`)

func (t *configsTool) alterScram(ctx context.Context, user string, add map[string]string, remove []string) error {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, n := range remove {
		d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
		d.Name, d.Mechanism = user, scramNames[n]
		req.Deletions = append(req.Deletions, d)
	}
	for n, v := range add {
		m := scramValue.FindStringSubmatch(v)
		if m == nil {
			return failf("Invalid credential property %s=%s", n, v)
		}
		rounds := 4096
		if m[1] != "" && m[1] != "-1" {
			rounds, _ = strconv.Atoi(m[1])
		}
		if rounds < 4096 {
			return failf("Iterations %d is less than the minimum 4096 required for %s", rounds, n)
		}
		salt := make([]byte, 24)
		rand.Read(salt)
		var salted []byte
		var err error
		if scramNames[n] == 1 {
			salted, err = pbkdf2.Key(sha256.New, m[2], salt, rounds, 32)
		} else {
			salted, err = pbkdf2.Key(sha512.New, m[2], salt, rounds, 64)
		}
		if err != nil {
			return err
		}
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = user, scramNames[n], int32(rounds), salt, salted
		req.Upsertions = append(req.Upsertions, u)
	}
	raw, err := t.request(ctx, req)
	if err != nil {
		return err
	}
	for _, r := range raw.(*kmsg.AlterUserSCRAMCredentialsResponse).Results {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func (t *configsTool) describeQuotas(ctx context.Context) error {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Strict = true
	var users []string
	scram := true
	for i, kind := range t.quotaParts() {
		c := kmsg.NewDescribeClientQuotasRequestComponent()
		c.EntityType = kind
		switch x := t.entities[i]; {
		case !x.hasName:
			c.MatchType = kmsg.QuotasMatchTypeAny
		case x.name == "":
			c.MatchType, scram = kmsg.QuotasMatchTypeDefault, false
		default:
			c.MatchType, c.Match = kmsg.QuotasMatchTypeExact, &x.name
			users = append(users, x.name)
		}
		scram = scram && kind == "user"
		req.Components = append(req.Components, c)
	}
	raw, err := t.request(ctx, req)
	if err != nil {
		return err
	}
	resp := raw.(*kmsg.DescribeClientQuotasResponse)
	if err := codeError(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return err
	}
	labels := [][2]string{{"user", "user-principal"}, {"client-id", "client-id"}, {"ip", "ip"}}
	for _, entry := range resp.Entries {
		var who, what []string
		for _, l := range labels {
			for _, p := range entry.Entity {
				if p.Type == l[0] && p.Name != nil {
					who = append(who, l[1]+" '"+*p.Name+"'")
				} else if p.Type == l[0] {
					who = append(who, "the default "+l[1])
				}
			}
		}
		for _, v := range entry.Values {
			what = append(what, v.Key+"="+javaFloat(v.Value, 64))
		}
		t.env.println("Quota configs for " + strings.Join(who, ", ") + " are " + strings.Join(what, ", "))
	}
	if !scram {
		return nil
	}
	sr := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	for _, u := range users {
		x := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
		x.Name = u
		sr.Users = append(sr.Users, x)
	}
	raw, err = t.request(ctx, sr)
	if err != nil {
		return err
	}
	sresp := raw.(*kmsg.DescribeUserSCRAMCredentialsResponse)
	if err := codeError(sresp.ErrorCode, sresp.ErrorMessage); err != nil {
		return err
	}
	for _, r := range sresp.Results {
		if err := codeError(r.ErrorCode, r.ErrorMessage); err != nil {
			continue // a user without credentials is no news
		}
		var words []string
		for _, c := range r.CredentialInfos {
			for n, m := range scramNames {
				if m == c.Mechanism {
					words = append(words, fmt.Sprintf("%s=iterations=%d", n, c.Iterations))
				}
			}
		}
		t.env.println("SCRAM credential configs for user-principal '" + r.User + "' are " + strings.Join(words, ", "))
	}
	return nil
}
