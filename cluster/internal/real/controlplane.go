package real

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ControlPlane is Kubernetes, but for scheduler and kubelets: etcd, an API server and a controller manager, processes
// that end with the test. Kubelets stands in for what is missing.
type ControlPlane struct {
	URL  string // of the API server
	CA   string // PEM file with its certificate
	Etcd *Member

	API, Manager *Server

	t      *testing.T
	dir    string
	binary string
	client *http.Client
}

// Server is a process of the control plane.
type Server struct {
	process
	start func()
}

// Start starts it again.
func (s *Server) Start() { s.start() }

// Names of users that exist from the beginning, beside NodeUser's.
const (
	Admin   = "admin"                          // may do everything
	manager = "system:kube-controller-manager" // its controllers have no accounts of their own here: it may do everything
)

// Nodes is how many nodes have credentials, from the beginning: those that NodeName names.
const Nodes = 128

// NodeName is what the node of a number is called.
func NodeName(i int) string { return fmt.Sprintf("w%d", i) }

// NodeUser is the identity of a node's kubelet.
func NodeUser(node string) string { return "system:node:" + node }

// Kubernetes starts a control plane. The API server knows nodes by their own credentials (Node, RBAC, NodeRestriction);
// of the controllers, those of disruption budgets, ReplicaSets and DaemonSets run.
func Kubernetes(t *testing.T, args ...string) *ControlPlane {
	t.Helper()
	binary, err := KubernetesBinary(t.Context())
	require.NoError(t, err)
	k := &ControlPlane{t: t, dir: t.TempDir(), binary: binary, Etcd: Members(t, 1)[0]}
	host := hosts(1)[0]
	k.URL, k.CA = "https://"+host+":6443", filepath.Join(k.dir, "certs", "apiserver.crt")
	k.credentials()
	k.API = k.server("apiserver", append([]string{"kube-apiserver", "--etcd-servers", k.Etcd.Client,
		"--bind-address", host, "--advertise-address", host, "--secure-port=6443",
		"--cert-dir", filepath.Join(k.dir, "certs"), "--token-auth-file", filepath.Join(k.dir, "tokens"),
		"--authorization-mode=Node,RBAC", "--allow-privileged", "--enable-admission-plugins=NodeRestriction",
		"--disable-admission-plugins=ServiceAccount", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file", filepath.Join(k.dir, "key"), "--service-account-signing-key-file",
		filepath.Join(k.dir, "key"), "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
	}, args...))
	k.API.Start()
	k.Ready()
	k.Manager = k.server("manager", []string{"kube-controller-manager", "--kubeconfig", k.Kubeconfig(manager),
		"--leader-elect=false", "--secure-port=0",
		"--controllers=disruption-controller,replicaset-controller,daemonset-controller"})
	k.Manager.Start()
	return k
}

func (k *ControlPlane) server(name string, args []string) *Server {
	s := &Server{process: process{t: k.t, log: filepath.Join(k.dir, name+".log")}}
	s.start = func() { s.process.start(k.binary, args...) }
	return s
}

// credentials writes who may come, and the key that tokens of ServiceAccounts are signed with.
func (k *ControlPlane) credentials() {
	k.t.Helper()
	lines := []string{Token(Admin) + ",admin,1,system:masters", Token(manager) + "," + manager + ",2,system:masters"}
	for i := range Nodes {
		user := NodeUser(NodeName(i))
		lines = append(lines, fmt.Sprintf("%s,%s,%d,system:nodes", Token(user), user, 10+i))
	}
	require.NoError(k.t, os.WriteFile(filepath.Join(k.dir, "tokens"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(k.t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(k.t, err)
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	require.NoError(k.t, os.WriteFile(filepath.Join(k.dir, "key"), block, 0o600))
}

// Token is what a user of the beginning shows.
func Token(user string) string { return "token-" + strings.ReplaceAll(user, ":", "-") }

// TokenFile is a file with a token.
func (k *ControlPlane) TokenFile(token string) string {
	k.t.Helper()
	path := filepath.Join(k.t.TempDir(), "token")
	require.NoError(k.t, os.WriteFile(path, []byte(token+"\n"), 0o600))
	return path
}

// Kubeconfig is a file that has a client come as a user of the beginning.
func (k *ControlPlane) Kubeconfig(user string) string {
	k.t.Helper()
	path := filepath.Join(k.dir, "kubeconfig-"+strings.ReplaceAll(user, ":", "-"))
	require.NoError(k.t, os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: it
clusters: [{name: it, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: it, user: {token: %q}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
`, k.URL, k.CA, Token(user)), 0o600))
	return path
}

// Ready waits until the API server is.
func (k *ControlPlane) Ready() {
	k.t.Helper()
	require.Eventually(k.t, func() bool {
		return k.Call(http.MethodGet, "/readyz", nil, nil) == nil
	}, 2*time.Minute, 100*time.Millisecond, k.API.Log())
}

// Kubectl runs kubectl as the administrator, and returns what it says. input is what it reads.
func (k *ControlPlane) Kubectl(input string, args ...string) (string, error) {
	c := exec.CommandContext(k.t.Context(), k.binary, append([]string{"kubectl", "--kubeconfig", k.Kubeconfig(Admin)},
		args...)...)
	c.Stdin = strings.NewReader(input)
	c.Env = append(os.Environ(), "HOME="+k.dir) // it keeps what the server knows there
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Apply has the cluster hold what a manifest says.
func (k *ControlPlane) Apply(manifest string) {
	k.t.Helper()
	_, err := k.Kubectl(manifest, "apply", "-f", "-")
	require.NoError(k.t, err)
}
