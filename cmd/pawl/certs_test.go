package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/pawld"
	"github.com/pawl-os/pawl/node/api/access"
)

// asPawld is the variable that makes this program pawld.
const asPawld = "PAWL_TEST_AS_PAWLD"

func TestMain(m *testing.M) {
	if os.Getenv(asPawld) != "" {
		pawld.Main()
		os.Exit(0)
	}
	alone()
	os.Exit(m.Run())
}

// folder is a directory of certificates that the command made.
type folder struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) folder {
	f := folder{t, filepath.Join(t.TempDir(), "certs")}
	f.make("init", "--name", "fleet")
	return f
}

// try runs `pawl certs`.
func (f folder) try(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(f.t.Context(), append([]string{"certs", "--dir", f.dir}, args...), &o, &e)
	return code, o.String(), e.String()
}

func (f folder) make(args ...string) (out string) {
	code, out, errs := f.try(args...)
	require.Zero(f.t, code, errs)
	return out
}

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

// who are the flags by which pawl shows a certificate.
func (f folder) who(name string) []string {
	return []string{"--ca", f.path("ca.crt"), "--cert", f.path(name + ".crt"), "--key", f.path(name + ".key")}
}

// service is pawld as a process, with the certificate node1 of a fleet.
type service struct {
	mu      sync.Mutex
	log     bytes.Buffer
	address string
}

func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *service) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (f folder) pawld() *service {
	s := &service{}
	cmd := exec.CommandContext(f.t.Context(), os.Args[0], "--disk", "/nowhere", "--watchdog", "off", "--listen",
		"127.0.0.1:0", "--tls-cert", f.path("node1.crt"), "--tls-key", f.path("node1.key"), "--client-ca", f.path("ca.crt"))
	cmd.Env = append(os.Environ(), asPawld+"=1")
	cmd.Stdout, cmd.Stderr = s, s
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	require.NoError(f.t, cmd.Start())
	f.t.Cleanup(func() { _ = cmd.Wait() }) // it was interrupted
	listens := regexp.MustCompile(`msg=listen address=(127\.0\.0\.1:\d+)`)
	require.Eventually(f.t, func() bool {
		if m := listens.FindStringSubmatch(s.said()); m != nil {
			s.address = m[1]
		}
		return s.address != ""
	}, 20*time.Second, 5*time.Millisecond)
	return s
}

// ask asks pawld for its version over TLS.
func (f folder) ask(s *service, flags []string) (code int, errs string) {
	code, _, errs = pawl(f.t, []string{s.address}, append([]string{"version"}, flags...)...)
	return code, errs
}

func TestCertificatesOfTheCommandLetPawlTalkToPawld(t *testing.T) {
	for _, algorithm := range []string{"ed25519", "p256"} {
		t.Run(algorithm, func(t *testing.T) {
			f := folder{t, filepath.Join(t.TempDir(), "certs")}
			f.make("init", "--algorithm", algorithm)
			f.make("node", "127.0.0.1", "node1.example.com", "--algorithm", algorithm)
			f.rename("127.0.0.1", "node1")
			for _, role := range clientRoles {
				f.make("client", role, "--role", role, "--algorithm", algorithm)
			}
			s := f.pawld()
			for _, role := range clientRoles {
				code, errs := f.ask(s, f.who(role))
				require.Zero(t, code, errs)
				code, _, errs = pawl(t, []string{s.address}, append([]string{"plan", "--image", "x"}, f.who(role)...)...)
				require.Equal(t, exitError, code)
				require.Equal(t, role == "reader", strings.Contains(errs, "is reader"), errs)
			}
		})
	}
}

func (f folder) rename(from, to string) {
	for _, ending := range []string{".crt", ".key"} {
		require.NoError(f.t, os.Rename(f.path(from+ending), f.path(to+ending)))
	}
}

func TestCertificatesThatPawldDoesNotTake(t *testing.T) {
	f, other := newFolder(t), newFolder(t)
	f.make("node", "127.0.0.1")
	f.rename("127.0.0.1", "node1")
	f.make("client", "alice", "--role", "admin")
	other.make("client", "mallory", "--role", "admin")
	f.make("node", "elsewhere.example.com")
	s := f.pawld()
	code, errs := f.ask(s, f.who("alice"))
	require.Zero(t, code, errs)

	t.Run("of another authority of the same name", func(t *testing.T) {
		foreign := append(f.who("alice")[:2:2], other.who("mallory")[2:]...)
		code, errs := f.ask(s, foreign)
		require.Equal(t, exitError, code)
		require.Contains(t, errs, `does not accept the certificate "CN=mallory,O=pawl:admin" by "CN=fleet"`)
		code, errs = f.ask(s, other.who("mallory"))
		require.Equal(t, exitError, code)
		require.Contains(t, errs, "an authority that this client does not know")
	})
	t.Run("a node's", func(t *testing.T) {
		code, errs := f.ask(s, f.who("elsewhere.example.com"))
		require.Equal(t, exitError, code)
		require.Contains(t, errs, "or not for clients")
	})
	t.Run("one that is over", func(t *testing.T) {
		ca, err := certs.ReadAuthority(f.dir)
		require.NoError(t, err)
		p, err := ca.Client("carol", "pawl:admin", certs.Term{Now: time.Now(), Life: time.Nanosecond})
		require.NoError(t, err)
		files, err := certs.FilesOf(f.dir, "carol")
		require.NoError(t, err)
		require.NoError(t, files.Write(p, false))
		code, errs := f.ask(s, f.who("carol"))
		require.Equal(t, exitError, code)
		require.Contains(t, errs, "renew it, or set the clock")
		require.Contains(t, f.make("renew", "carol", "--life", "1h"), "carol.crt: client")
		code, errs = f.ask(s, f.who("carol"))
		require.Zero(t, code, errs)
		_, _, errs = pawl(t, []string{s.address}, append([]string{"status"}, f.who("carol")...)...)
		require.NotContains(t, errs, "it ends in")
		p, err = ca.Client("carol", "pawl:admin", certs.Term{Now: time.Now(), Life: time.Minute})
		require.NoError(t, err)
		require.NoError(t, files.Write(p, true))
		_, _, errs = pawl(t, []string{s.address}, append([]string{"status"}, f.who("carol")...)...)
		require.Contains(t, errs, "carol.crt: it ends in 1m (`pawl certs renew`")
	})
	t.Run("the node's is for another name", func(t *testing.T) {
		f.rename("elsewhere.example.com", "node1")
		require.Eventually(t, func() bool {
			code, errs = f.ask(s, f.who("alice"))
			return code == exitError
		}, 5*time.Second, 10*time.Millisecond)
		require.Contains(t, errs, "is for elsewhere.example.com, not for 127.0.0.1")
	})
}

// As docs/how-to/tls.md has it: the new authority beside the old one, then new certificates, then the old one goes.
func TestAnAuthorityTakesAnothersPlaceWithoutARestart(t *testing.T) {
	f, next := newFolder(t), newFolder(t)
	for _, by := range []folder{f, next} {
		by.make("node", "127.0.0.1")
		by.rename("127.0.0.1", "node1")
		by.make("client", "alice", "--role", "reader")
	}
	s := f.pawld()
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return data
	}
	replace := func(name string, data []byte) {
		require.NoError(t, os.WriteFile(f.path("new"), data, 0o600))
		require.NoError(t, os.Rename(f.path("new"), f.path(name)))
	}
	old := read(f.path("ca.crt"))
	bundle := append(read(next.path("ca.crt")), old...)
	believe := func(by folder) []string { // a certificate of one of them, and both authorities
		flags := by.who("alice")
		flags[1] = filepath.Join(t.TempDir(), "both.crt")
		require.NoError(t, os.WriteFile(flags[1], bundle, 0o600))
		return flags
	}
	asks := func(by folder) int { code, _ := f.ask(s, believe(by)); return code }
	require.Zero(t, asks(f))
	require.Equal(t, exitError, asks(next))
	replace("ca.crt", bundle)
	require.Zero(t, asks(f))
	require.Zero(t, asks(next))
	replace("node1.key", read(next.path("node1.key"))) // which does not fit the certificate yet
	require.Zero(t, asks(next))
	replace("node1.crt", read(next.path("node1.crt")))
	require.Zero(t, asks(next))
	code, _ := f.ask(s, next.who("alice"))
	require.Zero(t, code, "a client that knows the new authority alone")
	replace("ca.crt", read(next.path("ca.crt")))
	require.Equal(t, exitError, asks(f), "the old one is removed")
	require.Zero(t, asks(next))
	require.Contains(t, s.said(), "certificates are read again")
}

func TestCertsCommandLines(t *testing.T) {
	f := newFolder(t)
	f.make("client", "alice", "--role", "reader")
	key, err := os.ReadFile(f.path("alice.key"))
	require.NoError(t, err)
	for line, test := range map[string]struct {
		code int
		says string
	}{
		"":                                      {exitUsage, "want init, node, client, renew, show, enrol or join"},
		"inti":                                  {exitUsage, "want init, node"},
		"init":                                  {exitError, "it is there already (--force replaces it, and its key)"},
		"init now":                              {exitUsage, "want `pawl certs init`"},
		"node":                                  {exitUsage, "want `pawl certs node NAME [NAME...]`"},
		"node node1:7295":                       {exitUsage, "no port, no wildcard"},
		"node ca":                               {exitUsage, "the authority's files are called so"},
		"node node1 --life 0s":                  {exitUsage, "--life 0s: want 1m0s to "},
		"node node1 --life 3x":                  {exitUsage, "unknown unit"},
		"node node1 --life 99999999d":           {exitUsage, "want a number of days"},
		"node node1 --algorithm p265":           {exitUsage, "did you mean p256?"},
		"client alice --role raeder":            {exitUsage, "did you mean reader?"},
		"client alice":                          {exitUsage, `--role "": want reader, operator or admin`},
		"client ../x --role reader":             {exitUsage, "want at most 64 letters"},
		"client alice --role admin":             {exitError, "alice.key: it is there already"},
		"client bob --role admin --dir /no/dir": {exitError, "/no/dir/ca.crt: no such file or directory (--dir says where"},
		"renew bob":                             {exitError, "renew bob: stat"},
		"renew ca":                              {exitError, "the authority's files are called so"},
		"show /no/file":                         {exitError, "no such file"},
		"show --dir /no/dir":                    {exitError, "/no/dir holds no certificate"},
		"show --output xml":                     {exitUsage, "want text, json or yaml"},
	} {
		t.Run(line, func(t *testing.T) {
			code, out, errs := f.try(strings.Fields(line)...)
			require.Equal(t, test.code, code, errs)
			require.Contains(t, errs, test.says)
			require.Empty(t, out)
		})
	}
	same, err := os.ReadFile(f.path("alice.key"))
	require.NoError(t, err)
	require.Equal(t, key, same)
	f.make("client", "alice", "--role", "admin", "--force")
	other, err := os.ReadFile(f.path("alice.key"))
	require.NoError(t, err)
	require.NotEqual(t, key, other)
	entries, err := os.ReadDir(f.dir)
	require.NoError(t, err)
	require.Len(t, entries, 4)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode(), e.Name())
	}
}

func TestWhatCertificatesSayIsShown(t *testing.T) {
	f := newFolder(t)
	f.make("node", "node1.example.com", "10.0.0.1", "--life", "36h")
	f.make("client", "alice", "--role", "operator")
	out := f.make("show")
	for _, text := range []string{"ca.crt: authority, CN=fleet\n",
		"alice.crt: client, CN=alice,O=pawl:operator, role operator\n",
		"node1.example.com.crt: node, CN=node1.example.com, called node1.example.com, 10.0.0.1\n", "  fingerprint  sha256:"} {
		require.Contains(t, out, text)
	}
	require.NotContains(t, out, "warning")
	out = f.make("show", f.path("alice.crt"), "-o", "json")
	var v struct{ Certificate certificate }
	require.NoError(t, json.Unmarshal([]byte(out), &v))
	require.Equal(t, "client", v.Certificate.Kind)
	require.Equal(t, "operator", v.Certificate.Role)
	require.InDelta(t, clientLife.Hours(), v.Certificate.Until.Sub(v.Certificate.From).Hours(), 0.1)
	all, err := certs.ReadCerts(f.path("alice.crt"))
	require.NoError(t, err)
	require.Equal(t, access.Fingerprint(all[0]), v.Certificate.Fingerprint, "as pawld has it")
}

func TestRolesAreThoseOfTheService(t *testing.T) {
	require.Equal(t, access.Roles(), clientRoles)
	for _, role := range clientRoles {
		require.Equal(t, access.Role(role).Organization(), organization(role))
	}
}

func TestTheEndOfACertificateInWords(t *testing.T) {
	now := time.Now()
	ca, err := certs.NewAuthority("fleet", certs.Term{Now: now, Life: 100 * day})
	require.NoError(t, err)
	for after, says := range map[time.Duration]string{
		-time.Hour: "it is not valid yet, as this machine's clock is ", 0: "", 69 * day: "", 71 * day: "it ends in 29 days",
		98*day + time.Hour: "it ends in 47h0m", 101 * day: "it is over",
	} {
		if says == "" {
			require.Empty(t, ending(ca.Cert, now.Add(after)))
			continue
		}
		require.Contains(t, ending(ca.Cert, now.Add(after)), says)
	}
}
