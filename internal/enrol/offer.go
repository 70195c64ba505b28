package enrol

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pawl-os/pawl/internal/certs"
)

const (
	serverName = "enrol.pawl.internal" // of every offer: the token says who it is
	path       = "/enrol"
	maxBody    = 16 << 10
	callTime   = 10 * time.Second
	afterTime  = 2 * time.Second // for the answer to get away
)

// ErrExpired is returned when nobody came in time. Do: make another offer.
var ErrExpired = errors.New("the token has expired")

// request is what a node asks.
type request struct {
	Secret  []byte `json:"secret"`
	Request []byte `json:"request"` // PKCS #10, DER: its key is what counts
}

// answer is what it gets.
type answer struct {
	Cert []byte `json:"cert"` // DER
}

// Offer is a certificate that waits for its node.
type Offer struct {
	Token Token

	ca      certs.Authority
	names   []string
	life    time.Duration
	expires time.Time
	now     func() time.Time

	mu     sync.Mutex
	used   bool
	issued chan issued
}

type issued struct {
	cert *x509.Certificate
	from string
}

// NewOffer offers one certificate for a node of these names, valid for life, until the token expires.
func NewOffer(ca certs.Authority, names []string, life, expires time.Duration) (*Offer, error) {
	for _, name := range names {
		if err := certs.CheckName(name); err != nil {
			return nil, err
		}
	}
	return &Offer{Token: newToken(ca.Cert), ca: ca, names: names, life: life, expires: time.Now().Add(expires),
		now: time.Now, issued: make(chan issued, 1)}, nil
}

// Serve answers on l until the certificate was fetched, which it returns with the address that has it, or until the
// token expires. l is closed.
func (o *Offer) Serve(ctx context.Context, l net.Listener) (cert *x509.Certificate, from string, err error) {
	own, err := o.ca.Node([]string{serverName}, certs.Term{Now: o.now(), Life: time.Until(o.expires) + time.Hour})
	if err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, Certificates: []tls.Certificate{{
		Certificate: [][]byte{own.Cert.Raw, o.ca.Cert.Raw}, PrivateKey: own.Key}}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, o.enrol)
	server := &http.Server{Handler: http.MaxBytesHandler(mux, maxBody), ReadTimeout: callTime, WriteTimeout: callTime,
		MaxHeaderBytes: 4 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(tls.NewListener(l, config)) }()
	limited, cancel := context.WithDeadlineCause(ctx, o.expires, ErrExpired)
	defer cancel()
	select {
	case is := <-o.issued:
		cert, from = is.cert, is.from
	case <-limited.Done():
		err = context.Cause(limited)
	case err = <-failed:
		return nil, "", err
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterTime)
	defer cancel()
	if server.Shutdown(soon) != nil {
		_ = server.Close()
	}
	return cert, from, err
}

// enrol answers a node.
func (o *Offer) enrol(w http.ResponseWriter, r *http.Request) {
	cert, status, err := o.issue(r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer{cert.Raw}) // what is lost is lost: the token is used
	o.issued <- issued{cert, r.RemoteAddr}
}

func (o *Offer) issue(r *http.Request) (*x509.Certificate, int, error) {
	var q request
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("the request cannot be read: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case subtle.ConstantTimeCompare(q.Secret, o.Token.secret[:]) != 1:
		return nil, http.StatusForbidden, errors.New("the token is another one than that of this offer")
	case o.used:
		return nil, http.StatusConflict, errors.New("the token was used already; if not by this node, the certificate that " +
			"was made with it is not to be trusted")
	case !o.now().Before(o.expires):
		return nil, http.StatusForbidden, ErrExpired
	}
	csr, err := x509.ParseCertificateRequest(q.Request)
	if err == nil {
		err = csr.CheckSignature() // whoever asks has the key
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("the certificate request: %w", err)
	}
	cert, err := o.ca.NodeOf(csr.PublicKey, o.names, certs.Term{Now: o.now(), Life: o.life})
	if err != nil {
		return nil, http.StatusInternalServerError, err
	}
	o.used = true
	return cert, http.StatusOK, nil
}
