// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/magiconair/properties"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// props are a Java client's properties: names and values of Kafka's
// configuration, as read from --command-config and --command-property.
type props map[string]string

// loadProps reads a Java properties file; "" reads as empty.
func loadProps(path string) (props, error) {
	if path == "" {
		return props{}, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, failf("%s", err)
	}
	l := properties.Loader{Encoding: properties.ISO_8859_1, DisableExpansion: true}
	p, err := l.LoadBytes(raw)
	if err != nil {
		return nil, failf("%s: %s", path, err)
	}
	return props(p.Map()), nil
}

func (p props) merge(more map[string]string) props {
	for k, v := range more {
		p[k] = v
	}
	return p
}

// millis is a property given in milliseconds.
func (p props) millis(name string, byDefault time.Duration) (time.Duration, error) {
	s, ok := p[name]
	if !ok {
		return byDefault, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, failf("Invalid value %s for configuration %s: Not a number of type LONG", s, name)
	}
	return time.Duration(n) * time.Millisecond, nil
}

func (p props) integer(name string, byDefault int64) (int64, error) {
	s, ok := p[name]
	if !ok {
		return byDefault, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, failf("Invalid value %s for configuration %s: Not a number of type INT", s, name)
	}
	return n, nil
}

// kgoOpts translates what every Java client understands: where, as whom, how
// long. Properties that mean nothing to this client (class names, metrics
// reporters) are taken and have no effect, as an unknown property has in Java.
func (p props) kgoOpts(e *Env) ([]kgo.Opt, error) {
	var seeds []string
	for _, s := range strings.Split(p["bootstrap.servers"], ",") {
		if s = strings.TrimSpace(s); s != "" {
			if _, _, err := net.SplitHostPort(s); err != nil {
				return nil, failf("Invalid url in bootstrap.servers: %s", s)
			}
			seeds = append(seeds, s)
		}
	}
	if len(seeds) == 0 {
		return nil, failf("No resolvable bootstrap urls given in bootstrap.servers")
	}
	patience, err := p.millis("default.api.timeout.ms", time.Minute)
	if err != nil {
		return nil, err
	}
	age, err := p.millis("metadata.max.age.ms", 5*time.Minute)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.SoftwareNameAndVersion("gregor", Version),
		kgo.RetryTimeout(patience),
		kgo.RequestRetries(1 << 20), // bounded by RetryTimeout and by ctx
		kgo.RetryBackoffFn(func(int) time.Duration { return 200 * time.Millisecond }),
		kgo.MetadataMaxAge(age),
		kgo.MetadataMinAge(min(100*time.Millisecond, age)),
		kgo.WithHooks(&dialComplaints{e: e}),
	}
	if id := p["client.id"]; id != "" {
		opts = append(opts, kgo.ClientID(id))
	}
	protocol := strings.ToUpper(p["security.protocol"])
	switch protocol {
	case "", "PLAINTEXT", "SASL_PLAINTEXT":
	case "SSL", "SASL_SSL":
		conf, err := p.tls()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	default:
		return nil, failf("Invalid value %s for configuration security.protocol: String must be one of (case insensitive): SASL_SSL, PLAINTEXT, SSL, SASL_PLAINTEXT", protocol)
	}
	if strings.HasPrefix(protocol, "SASL_") {
		m, err := p.sasl()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// tls reads PEM stores, from a file or inline; Java's own JKS is refused.
func (p props) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	pem := func(kind string) ([]byte, error) {
		if c := p[kind+".certificates"]; c != "" {
			return []byte(c), nil
		}
		path := p[kind+".location"]
		if path == "" {
			return nil, nil
		}
		if t := strings.ToUpper(p[kind+".type"]); t != "PEM" {
			return nil, failf("%s.type must be PEM: JKS and PKCS12 stores are not read by this tool", kind)
		}
		return os.ReadFile(path)
	}
	trust, err := pem("ssl.truststore")
	if err != nil {
		return nil, err
	}
	if trust != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(trust) {
			return nil, failf("ssl.truststore holds no certificate in PEM form")
		}
	}
	key := []byte(p["ssl.keystore.key"])
	chain := []byte(p["ssl.keystore.certificate.chain"])
	if loc := p["ssl.keystore.location"]; loc != "" {
		both, err := pem("ssl.keystore")
		if err != nil {
			return nil, err
		}
		key, chain = both, both
	}
	if len(key) > 0 {
		cert, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("ssl.keystore: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	if algo, set := p["ssl.endpoint.identification.algorithm"]; set && algo == "" {
		// The name is not checked, the chain still is.
		roots := conf.RootCAs
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			mid := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				mid.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: mid})
			return err
		}
	}
	return conf, nil
}

var jaasField = regexp.MustCompile(`(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"`)

func (p props) sasl() (sasl.Mechanism, error) {
	login := map[string]string{}
	for _, m := range jaasField.FindAllStringSubmatch(p["sasl.jaas.config"], -1) {
		login[m[1]] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2])
	}
	user, pass := login["username"], login["password"]
	switch mech := strings.ToUpper(p["sasl.mechanism"]); mech {
	case "PLAIN":
		return plain.Auth{User: user, Pass: pass}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: pass}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: pass}.AsSha512Mechanism(), nil
	default:
		return nil, failf("sasl.mechanism %q is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", mech)
	}
}

// admin connects for a tool that asks and changes metadata.
func (p props) admin(e *Env) (*kadm.Client, *kgo.Client, error) {
	opts, err := p.kgoOpts(e)
	if err != nil {
		return nil, nil, err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, nil, failf("%s", err)
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(30_000)
	return adm, cl, nil
}

// dialComplaints tells the user, now and then, that a broker cannot be
// reached: Kafka's tools retry for a minute, and silence helps nobody.
type dialComplaints struct {
	e    *Env
	mu   sync.Mutex // guards last
	last time.Time
}

func (d *dialComplaints) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.last) < 5*time.Second {
		return
	}
	d.last = time.Now()
	if m.NodeID < 0 { // an address that the user gave
		d.e.complain("Cannot connect to %s:%d (%s); trying again.", m.Host, m.Port, err)
		return
	}
	d.e.complain("Cannot connect to %s:%d, which broker %d advertises (%s); trying again. Is its advertised.listeners right?", m.Host, m.Port, m.NodeID, err)
}

// brokerError is an error code of an answer with the broker's own words.
type brokerError struct {
	Err  error
	Text string
}

func (b *brokerError) Error() string { return b.Text }
func (b *brokerError) Unwrap() error { return b.Err }

// codeError turns an answer's code and optional message into an error whose
// text is what a Java client's exception would say.
func codeError(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil {
		return nil
	}
	return withMessage(err, message)
}

func withMessage(err error, message *string) error {
	if err == nil {
		return nil
	}
	if message != nil && *message != "" {
		return &brokerError{err, *message}
	}
	if ke := (*kerr.Error)(nil); errors.As(err, &ke) {
		return &brokerError{err, ke.Description}
	}
	return err
}

// timedOut says what a Java admin client says when no broker answered call.
func timedOut(err error, call string) error {
	if err == nil {
		return nil
	}
	if be := (*brokerError)(nil); errors.As(err, &be) {
		return err
	}
	if ke := (*kerr.Error)(nil); errors.As(err, &ke) {
		return withMessage(err, nil)
	}
	if ne := net.Error(nil); errors.As(err, &ne) || errors.Is(err, context.DeadlineExceeded) {
		return &brokerError{err, "Timed out waiting for a node assignment. Call: " + call}
	}
	return err
}
