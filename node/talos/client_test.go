package talos

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/harness/computer"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
)

// The client of these tests makes and reads messages by the numbers that Talos's client has, and not by ours.

// f is a field of a message: a text, bytes, a message, a bool or a number.
func f(number protowire.Number, value any) []byte {
	switch v := value.(type) {
	case string:
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), v)
	case []byte:
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), v)
	case bool:
		return f(number, int(protowire.EncodeBool(v)))
	case int:
		return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), uint64(v))
	}
	panic(value)
}

// all are the values of a field, numbers as their digits.
func all(message []byte, number protowire.Number) (values []string) {
	for len(message) > 0 {
		at, kind, n := protowire.ConsumeTag(message)
		size := protowire.ConsumeFieldValue(at, kind, message[max(n, 0):])
		if n < 0 || size < 0 {
			panic(fmt.Sprintf("no message: %x", message))
		}
		value := message[n : n+size]
		if at == number && kind == protowire.BytesType {
			b, _ := protowire.ConsumeBytes(value)
			values = append(values, string(b))
		} else if at == number {
			v, _ := protowire.ConsumeVarint(value)
			values = append(values, fmt.Sprint(int32(v)))
		}
		message = message[n+size:]
	}
	return values
}

// at is the first value of a field within fields; empty if it is not there.
func at(message []byte, numbers ...protowire.Number) string {
	value := string(message)
	for _, number := range numbers {
		values := all([]byte(value), number)
		if len(values) == 0 {
			return ""
		}
		value = values[0]
	}
	return value
}

// status is how a call of gRPC ended.
type status struct{ code, text string }

func (s status) Error() string { return "code " + s.code + ": " + s.text }

// Codes of gRPC.
const (
	denied        = "7"
	invalid       = "3"
	notFound      = "5"
	unimplemented = "12"
)

// caller is a client of a node.
type caller struct {
	http  *http.Client
	base  string
	nodes []string // whom its calls are for
}

// open begins a call.
func (c *caller) open(ctx context.Context, path string, request []byte) (*reader, error) {
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	r.Header.Set("runtime", "Talos")
	for _, node := range c.nodes {
		r.Header.Add("nodes", node)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	return &reader{response}, nil
}

// reader reads the messages of an answer.
type reader struct{ *http.Response }

// next is the next message; io.EOF after the last, or a status.
func (r *reader) next() ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r.Body, head[:]); err != nil {
		if err != io.EOF {
			return nil, err
		}
		trailer := r.Trailer
		if trailer.Get("Grpc-Status") == "" {
			trailer = r.Header
		}
		switch code := trailer.Get("Grpc-Status"); code {
		case "0":
			return nil, io.EOF
		case "":
			return nil, fmt.Errorf("no answer of gRPC: %s", r.Status)
		default:
			text, _ := url.PathUnescape(trailer.Get("Grpc-Message"))
			return nil, status{code, text}
		}
	}
	message := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r.Body, message)
	return message, err
}

// call is a whole call.
func (c *caller) call(ctx context.Context, path string, request ...[]byte) (messages [][]byte, err error) {
	r, err := c.open(ctx, path, bytes.Join(request, nil))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	for {
		message, err := r.next()
		if err == io.EOF {
			return messages, nil
		}
		if err != nil {
			return messages, err
		}
		messages = append(messages, message)
	}
}

// one is a call that is answered by one message.
func (c *caller) one(t *testing.T, path string, request ...[]byte) []byte {
	t.Helper()
	messages, err := c.call(t.Context(), path, request...)
	require.NoError(t, err)
	require.Len(t, messages, 1)
	return messages[0]
}

// site is a computer that is served over TLS, and whoever may call it.
type site struct {
	*computer.Computer
	t    *testing.T
	ca   certs.Authority
	base string
}

func newSite(t *testing.T, first computer.Software, o Options) *site {
	t.Helper()
	term := certs.Term{Now: time.Now(), Life: time.Hour}
	ca, err := certs.NewAuthority("test", certs.Term{Now: time.Now(), Life: 24 * time.Hour})
	require.NoError(t, err)
	pair, err := ca.Node([]string{"127.0.0.1"}, term)
	require.NoError(t, err)
	key, err := pair.KeyPEM()
	require.NoError(t, err)
	dir := t.TempDir()
	paths := map[string][]byte{"node.crt": pair.CertPEM(), "node.key": key, "ca.crt": ca.CertPEM()}
	for name, data := range paths {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	s := &site{t: t, ca: ca, base: "https://" + address}
	s.Computer = computer.New(t, first, api.RunOptions{Listen: []string{address}, Beside: []api.Beside{New(o)},
		Access: access.Options{Cert: filepath.Join(dir, "node.crt"), Key: filepath.Join(dir, "node.key"),
			ClientCA: filepath.Join(dir, "ca.crt")}})
	return s
}

// as is a client with a certificate of an organization.
func (s *site) as(organization string) *caller {
	pair, err := s.ca.Client("somebody", organization, certs.Term{Now: time.Now(), Life: time.Hour})
	require.NoError(s.t, err)
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.Cert)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots,
		Certificates: []tls.Certificate{{Certificate: [][]byte{pair.Cert.Raw}, PrivateKey: pair.Key}}}}
	s.t.Cleanup(transport.CloseIdleConnections)
	c := &caller{http: &http.Client{Transport: transport}, base: s.base}
	require.Eventually(s.t, func() bool {
		_, err := c.call(s.t.Context(), "/machine.MachineService/Nothing")
		_, answered := err.(status)
		return answered
	}, 10*time.Second, 5*time.Millisecond)
	return c
}
