package access

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile bounds each file of a bundle, in bytes.
const maxFile = 1 << 20

// bundle is what the files of TLS say at one moment.
type bundle struct {
	own         tls.Certificate
	clients     *x509.CertPool
	authorities []*x509.Certificate // in clients
	roles       *rules              // nil: a certificate's organization says the role
	floor       time.Time           // it is not earlier than that
}

// files are a bundle's.
type files struct {
	cert, key, clientCA, roles string // paths; roles may be empty
	built                      time.Time
	log                        *slog.Logger

	mu      sync.Mutex
	read    []stamp // of the files when they were read last
	current *bundle
	problem error // why current is not what the files say
}

// stamp tells whether a file has changed: not only its bytes, which may be put back.
type stamp struct {
	inode, device uint64
	size          int64
	written       unix.Timespec
	changed       unix.Timespec
	err           string
}

func stampOf(path string) stamp {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{err: err.Error()}
	}
	return stamp{inode: st.Ino, device: uint64(st.Dev), size: st.Size, written: st.Mtim, changed: st.Ctim}
}

// now is the bundle as the files are now, or, when they cannot be taken, as they were last; that is said in the log,
// and by the problem.
func (f *files) now() (*bundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths := slices.DeleteFunc([]string{f.cert, f.key, f.clientCA, f.roles}, func(p string) bool { return p == "" })
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		stamps[i] = stampOf(path) // before it is read: what is written meanwhile shows next time
	}
	if slices.Equal(stamps, f.read) {
		return f.current, nil
	}
	b, err := f.load()
	if err != nil {
		if f.current == nil {
			return nil, err
		}
		if f.problem == nil || f.problem.Error() != err.Error() {
			f.log.Warn("the new certificates are not used; the old ones are", "reason", err)
		}
		f.problem, f.read = err, nil // it is tried again
		return f.current, nil
	}
	if f.current != nil {
		f.log.Info("certificates are read again", "until", stamped(b.own.Leaf.NotAfter))
	}
	f.current, f.read, f.problem = b, stamps, nil
	return b, nil
}

// load reads the files.
func (f *files) load() (*bundle, error) {
	cert, err := readFile(f.cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile(f.key)
	if err != nil {
		return nil, err
	}
	b := &bundle{}
	if b.own, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("certificate %s with the key %s: %w", f.cert, f.key, err)
	}
	leaf := b.own.Leaf
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) &&
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) && len(leaf.ExtKeyUsage) > 0 {
		return nil, fmt.Errorf("certificate %s: it is not for servers (make one with the usage serverAuth)", f.cert)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		return nil, fmt.Errorf("certificate %s: it has neither a DNS name nor an address, so no client would take it "+
			"(make one with subject alternative names)", f.cert)
	}
	if b.authorities, err = readAuthorities(f.clientCA); err != nil {
		return nil, err
	}
	b.clients = x509.NewCertPool()
	for _, ca := range b.authorities {
		b.clients.AddCert(ca)
	}
	if f.roles != "" {
		text, err := readFile(f.roles)
		if err != nil {
			return nil, err
		}
		if b.roles, err = parseRules(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", f.roles, err)
		}
	}
	if b.floor = f.built; leaf.NotBefore.After(b.floor) {
		b.floor = leaf.NotBefore
	}
	return b, nil
}

// readAuthorities reads who may sign clients' certificates.
func readAuthorities(path string) (found []*x509.Certificate, err error) {
	rest, err := readFile(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: it has a %q where only certificates of authorities belong", path, block.Type)
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(found)+1, err)
		}
		if !ca.IsCA {
			return nil, fmt.Errorf("%s: certificate %d, %s, is no authority's", path, len(found)+1, ca.Subject)
		}
		found = append(found, ca)
	}
	if len(found) == 0 || len(bytes.TrimSpace(rest)) > 0 && bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%s: want certificates of authorities, as PEM", path)
	}
	return found, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s: %w: want a file", path, fs.ErrInvalid))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: it has more than %d bytes", path, maxFile)
	}
	return data, err
}

// verify asks Go whether a client's chain, the leaf first, comes from an authority in the bundle and is valid at a
// time.
func (b *bundle) verify(chain []*x509.Certificate, at time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: b.clients, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}
