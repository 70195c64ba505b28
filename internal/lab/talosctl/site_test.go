package talosctl

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/cmd/talosctl/pkg/talos/action"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/harness/computer"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/talos"
)

// site is a computer that is served over TLS, with the certificates of `pawl certs`, and a talosconfig for it.
type site struct {
	*computer.Computer
	t      *testing.T
	nodes  []string
	config *config.Config
}

func newSite(t *testing.T, first computer.Software, role string) *site {
	t.Helper()
	now := time.Now()
	ca, err := certs.NewAuthority("test", certs.Term{Now: now, Life: 24 * time.Hour})
	require.NoError(t, err)
	own, err := ca.Node([]string{"127.0.0.1"}, certs.Term{Now: now, Life: time.Hour})
	require.NoError(t, err)
	ownKey, err := own.KeyPEM()
	require.NoError(t, err)
	me, err := ca.Client("alice", role, certs.Term{Now: now, Life: time.Hour})
	require.NoError(t, err)
	key, err := me.KeyPEM()
	require.NoError(t, err)
	dir := t.TempDir()
	for name, data := range map[string][]byte{"crt": own.CertPEM(), "key": ownKey, "ca": ca.CertPEM()} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	text := base64.StdEncoding.EncodeToString
	s := &site{t: t, nodes: []string{"127.0.0.1"}, config: &config.Config{Context: "lab",
		Contexts: map[string]*config.Context{"lab": {Endpoints: []string{address}, CA: text(ca.CertPEM()),
			Crt: text(me.CertPEM()), Key: text(key)}}}}
	s.Computer = computer.New(t, first, api.RunOptions{Listen: []string{address},
		Beside: []api.Beside{talos.New(talos.Options{})}, Access: access.Options{Cert: filepath.Join(dir, "crt"),
			Key: filepath.Join(dir, "key"), ClientCA: filepath.Join(dir, "ca")}})
	require.Eventually(t, func() bool {
		return s.WithClient(func(ctx context.Context, c *client.Client) error {
			_, err := c.Version(ctx)
			return err
		}) == nil
	}, 30*time.Second, 50*time.Millisecond)
	return s
}

// WithClient and NodeList are what the tracker wants of a command.
func (s *site) WithClient(do func(context.Context, *client.Client) error, more ...grpc.DialOption) error {
	ctx := s.t.Context()
	c, err := client.New(ctx, client.WithConfig(s.config), client.WithDefaultGRPCDialOptions(),
		client.WithGRPCDialOptions(more...))
	if err != nil {
		return err
	}
	defer c.Close()
	return do(client.WithNodes(ctx, s.nodes...), c)
}

func (s *site) NodeList() []string { return s.nodes }

// call is one call, and its error.
func (s *site) call(do func(context.Context, *client.Client) error) error {
	s.t.Helper()
	return s.WithClient(do)
}

// track gives an order and waits, as the commands of talosctl do, and returns what it said.
func (s *site) track(order func(context.Context, *client.Client) (string, error)) (said string, err error) {
	s.t.Helper()
	old, to := os.Stderr, filepath.Join(s.t.TempDir(), "said")
	f, err := os.Create(to)
	require.NoError(s.t, err)
	os.Stderr = f
	err = action.NewTracker(s, action.MachineReadyEventFn, order, action.WithPostCheck(action.BootIDChangedPostCheckFn),
		action.WithTimeout(time.Minute), action.WithTerminalOverride(false), action.WithDebug(false)).Run()
	os.Stderr = old
	require.NoError(s.t, f.Close())
	data, readErr := os.ReadFile(to)
	require.NoError(s.t, readErr)
	return transcript(string(data)), err
}

// changing is what differs from run to run.
var changing = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`oci:\S+@sha256:[0-9a-f]+`), "IMAGE"},
	{regexp.MustCompile(`(?m)^"127\.0\.0\.1": `), ""},
}

// transcript is what was said, without what changes, and each line once where it is repeated.
func transcript(said string) string {
	for _, c := range changing {
		said = c.what.ReplaceAllString(said, c.by)
	}
	var lines []string
	for line := range strings.Lines(said) {
		if len(lines) == 0 || lines[len(lines)-1] != line {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// all reads a stream of data to its end.
func all(r io.ReadCloser, err error) (string, error) {
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(r)
	return string(data), err
}
