package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// temporary is an error that another try may cure.
type temporary struct {
	error
	after time.Duration // at least so long before it
}

func (t temporary) Unwrap() error { return t.error }

func again(err error) error { return temporary{error: err} }

// maxRetryAfter bounds how long a registry can make us wait.
const maxRetryAfter = 20 * time.Second

func againAfter(err error, header string) error {
	after := time.Duration(0)
	if seconds, e := strconv.Atoi(header); e == nil {
		after = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	} else if at, e := http.ParseTime(header); e == nil {
		after = max(time.Until(at), 0)
	}
	return temporary{error: err, after: min(after, maxRetryAfter)}
}

// unreachable names an error of the connection, and tells those that may pass from those that will not.
func unreachable(err error) error {
	var status *transport.Error
	if errors.As(err, &status) {
		err := fmt.Errorf("it answers %.300q", err.Error()) // which quotes what it says
		switch {
		case status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden:
			return fmt.Errorf("%w: %w; log in, or check the name", ErrDenied, err)
		case status.Temporary():
			return again(fmt.Errorf("%w: %w", ErrUnreachable, err))
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	wrapped := fmt.Errorf("%w: %w", ErrUnreachable, err)
	if errors.Is(err, errLed) {
		return wrapped
	}
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) || (errors.As(err, &dns) && dns.IsNotFound) {
		return wrapped
	}
	return again(wrapped)
}

// do calls f until it succeeds, fails for good, or has failed too often.
func (r Retry) do(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil {
			return nil
		}
		if err := r.wait(ctx, err, try); err != nil {
			return err
		}
	}
}

// wait waits before the next try after the try'th in a row that failed with err. It returns an error if there is to be
// none.
func (r Retry) wait(ctx context.Context, err error, try int) error {
	var t temporary
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !errors.As(err, &t) {
		return err
	}
	if try >= r.Attempts {
		return fmt.Errorf("gave up after %d tries: %w", try, err)
	}
	timer := time.NewTimer(max(t.after, r.Pause<<(try-1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newTransport is the default one, with our certificates. Bodies come as they are: ranges and digests count those
// bytes.
func newTransport(o Options, r Retry) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.ResponseHeaderTimeout = r.Silence
	t.MaxResponseHeaderBytes = 64 << 10
	if o.RootCAs != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return t
}

// minRate is the floor of speed, in bytes a second: a connection that brings less than that while someone waits for
// twice the time of Retry.Silence is as good as silent.
const minRate = 1 << 10

var (
	errSilent = errors.New("the connection fell silent")
	errSlow   = fmt.Errorf("the connection brings less than %d bytes a second", minRate)
)

// watch cancels a request when it is not paused for a while.
type watch struct {
	silence time.Duration
	timer   *time.Timer
}

func newWatch(silence time.Duration, cancel context.CancelCauseFunc) *watch {
	return &watch{silence: silence, timer: time.AfterFunc(silence, func() { cancel(errSilent) })}
}

func (w *watch) pause()  { w.timer.Stop() }
func (w *watch) resume() { w.timer.Reset(w.silence) }

// watched is a body that counts only the time in which someone waits for it.
type watched struct {
	io.ReadCloser
	watch *watch
	ctx   context.Context

	waited time.Duration // since it was last seen to be fast enough
	got    int           // bytes in that time
}

func (b *watched) Read(p []byte) (int, error) {
	begun := time.Now()
	b.watch.resume()
	n, err := b.ReadCloser.Read(p)
	b.watch.pause()
	b.waited += time.Since(begun)
	b.got += n
	if window := 2 * b.watch.silence; b.waited >= window {
		if float64(b.got) < minRate*b.waited.Seconds() && err == nil {
			return n, errSlow
		}
		b.waited, b.got = 0, 0
	}
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.ctx), errSilent) {
		err = errSilent
	}
	return n, err
}
