package browser

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/lab/soak"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func TestMain(m *testing.M) {
	soak.Main() // some of this program's processes are nodes
	os.Exit(m.Run())
}

// node is a machine whose API is over TLS, its authority, and its images.
type node struct {
	*soak.Machine
	ca certs.Authority
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	term := certs.Term{Now: time.Now(), Life: time.Hour}
	ca, err := certs.NewAuthority("test", certs.Term{Now: time.Now(), Life: 2 * time.Hour})
	require.NoError(t, err)
	mine, err := ca.Node([]string{"127.0.0.1"}, term)
	require.NoError(t, err)
	key, err := mine.KeyPEM()
	require.NoError(t, err)
	who := access.Options{Cert: filepath.Join(dir, "node.crt"), Key: filepath.Join(dir, "node.key"),
		ClientCA: filepath.Join(dir, "ca.crt")}
	require.NoError(t, os.WriteFile(who.Cert, mine.CertPEM(), 0o600))
	require.NoError(t, os.WriteFile(who.Key, key, 0o600))
	require.NoError(t, os.WriteFile(who.ClientCA, ca.CertPEM(), 0o600))
	m, err := soak.NewMachine(t.Context(), dir, who)
	require.NoError(t, err)
	m.On(context.Background())
	t.Cleanup(m.Off)
	return &node{m, ca}
}

// as is where a browser finds the node as a caller with a role. The certificate is shown by a proxy on loopback: a
// browser without a desktop asks nobody which one to take. All else is the browser's own, its origin too, put in terms
// of the node.
func (n *node) as(t *testing.T, role string) string {
	p, err := n.ca.Client("alice", "pawl:"+role, certs.Term{Now: time.Now(), Life: time.Hour})
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(n.ca.Cert)
	to := &url.URL{Scheme: "https", Host: n.Address()}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			if origin := r.In.Header.Get("Origin"); origin == "http://"+r.In.Host {
				r.Out.Header.Set("Origin", to.String())
			}
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots,
			Certificates: []tls.Certificate{{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}}}},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// page is a browser that shows a page, and what it complained of.
type page struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

func open(t *testing.T, at string) *page {
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1100, 1000))
	ctx, end := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	ctx, end = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(end)
	p := &page{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, func(e any) {
		text := ""
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			text = e.ExceptionDetails.Error()
		case *cdplog.EventEntryAdded:
			text = e.Entry.Text
		}
		// while the node restarts, what is asked of it fails, and a browser says so
		if text != "" && !strings.Contains(text, "502") {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.complaints = append(p.complaints, text)
		}
	})
	p.do(cdplog.Enable(), chromedp.Navigate(at+"/ui"), chromedp.WaitVisible("#state"))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(t, p.complaints, "of the page's policy, and of its scripts")
	})
	return p
}

func (p *page) do(actions ...chromedp.Action) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Run(p.ctx, actions...))
}

// ask evaluates an expression in the page.
func ask[T any](p *page, expression string) (v T) {
	p.t.Helper()
	p.do(chromedp.Evaluate(expression, &v))
	return v
}

// shows waits until a section says a text.
func (p *page) shows(section, text string) {
	p.t.Helper()
	say := fmt.Sprintf("(document.querySelector(%q)||{textContent:''}).textContent.replace(/\\s+/g,' ')", section)
	require.Eventually(p.t, func() bool { return strings.Contains(ask[string](p, say), text) }, time.Minute,
		100*time.Millisecond, "%s says %q, want %q", section, ask[string](p, say), text)
}

// keep writes a picture of the page to the directory that PAWL_SCREENSHOTS names.
func (p *page) keep(name string) {
	var picture []byte
	p.do(chromedp.FullScreenshot(&picture, 100))
	require.Greater(p.t, len(picture), 10_000)
	if dir := os.Getenv("PAWL_SCREENSHOTS"); dir != "" {
		require.NoError(p.t, os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644))
	}
}

func (p *page) dark(on bool) {
	scheme := map[bool]string{true: "dark", false: "light"}[on]
	p.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme",
		Value: scheme}}))
}

// An upgrade, a fallback and an order, seen on a page that nobody loads again.
func TestThePageFollowsUpgradesOfANode(t *testing.T) {
	n := newNode(t)
	p := open(t, n.as(t, "operator"))
	p.shows("#state", "1.0.0 in slot A: confirmed")
	p.shows("#doctor", "Worst of what was found: fine")
	p.do(chromedp.Evaluate("window.stays = true", nil))

	n.upgrade(t, "2.0.0")
	p.shows("#state", "2.0.0 in slot B: confirmed")
	p.shows("#last", "upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): confirmed")
	p.shows("#doctor", "slot B, 2.0.0")
	n.upgrade(t, "3.0.0-bad")
	p.shows("#last", "to 3.0.0-bad (slot A): fell back")
	p.shows("#last", "it smells")
	p.shows("#notes", "Known bad: 3.0.0-bad")
	p.shows("#state", "2.0.0 in slot B: confirmed")
	p.shows("#doctor", "slot A: Version 3.0.0-bad")
	p.keep("ui")
	require.True(t, ask[bool](p, "window.stays === true"), "nobody loaded the page again")

	was := ask[string](p, "document.querySelector('#state dd.mono').textContent")
	require.Equal(t, "Restart", ask[string](p,
		"[...document.querySelectorAll('[data-method]')].map(b=>b.textContent).join()"))
	p.do(chromedp.Evaluate("document.querySelector('#look').focus()", nil), chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#ask[open]"))
	require.Equal(t, "Restart the node?", ask[string](p, "document.querySelector('#ask-text').textContent"))
	p.do(chromedp.KeyEvent(kb.Escape))
	require.False(t, ask[bool](p, "document.querySelector('#ask').open"))
	require.Equal(t, "Restart", ask[string](p, "document.activeElement.textContent"), "the focus comes back")
	p.do(chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#ask[open]"), chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent(kb.Enter))
	require.Eventually(t, func() bool {
		return ask[string](p, "document.querySelector('#state dd.mono').textContent") != was
	}, time.Minute, 100*time.Millisecond, "the keyboard alone restarted it")
}

// upgrade orders one over the node's socket, and does not wait.
func (n *node) upgrade(t *testing.T, version string) {
	ref, err := n.Image(t.Context(), version)
	require.NoError(t, err)
	_, err = n.Node().Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: ref, Reboot: true}, nil)
	require.NoError(t, err)
}

func TestAReaderSeesAndGivesNoOrders(t *testing.T) {
	n := newNode(t)
	p := open(t, n.as(t, "reader"))
	p.shows("#who", "this page only looks")
	require.Zero(t, ask[int](p, "document.querySelectorAll('[data-method]').length"))
	status := ask[int](p, `(() => { const r = new XMLHttpRequest(); r.open('POST', '/pawl.v1.Node/Reboot', false);
		r.setRequestHeader('Content-Type', 'application/json'); r.send('{}'); return r.status; })()`)
	require.Equal(t, http.StatusForbidden, status, "what the page does not offer the node refuses")
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, p.complaints, 1, "the browser tells of that status")
	p.complaints = nil
}

func TestThePageOnATelephoneInTheDarkAndForAScreenReader(t *testing.T) {
	n := newNode(t)
	p := open(t, n.as(t, "admin"))
	p.shows("#doctor", "Worst of what was found")
	for _, dark := range []bool{false, true} {
		p.dark(dark)
		background := ask[string](p, "getComputedStyle(document.body).backgroundColor")
		require.Equal(t, map[bool]bool{false: true, true: false}[dark], background == "rgb(255, 255, 255)", background)
		for class := range strings.FieldsSeq("fine degraded broken") {
			ratio := ask[float64](p, contrast+"('"+class+"')")
			require.GreaterOrEqual(t, ratio, 4.5, "%s, dark: %t", class, dark)
		}
	}
	p.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
	require.LessOrEqual(t, ask[int](p, "document.documentElement.scrollWidth"), 360, "nothing is off the side")
	require.True(t, ask[bool](p, "[...document.querySelectorAll('button[data-method],#look')].every(b => "+
		"b.getBoundingClientRect().height >= 44)"), "a finger meets what is to be pressed")
	p.keep("ui-telephone")

	require.Equal(t, "en", ask[string](p, "document.documentElement.lang"))
	require.Empty(t, ask[[]string](p, `[...document.querySelectorAll('section')].filter(s => {
		const by = s.getAttribute('aria-labelledby'); return !(s.ariaLabel || by && document.getElementById(by).textContent);
		}).map(s => s.id)`), "sections without a name")
	require.True(t, ask[bool](p, `[...document.querySelectorAll('button, a')].every(b => b.textContent.trim() !== '')`))
	require.True(t, ask[bool](p, `[...document.querySelectorAll('table th')].every(h => h.scope)`))
	require.NotZero(t, ask[int](p, `document.querySelectorAll('[role=status]').length`), "changes are read aloud")
	require.Equal(t, "1,2,2,2,2,2,2", ask[string](p,
		`[...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName[1]).join()`))
}

// contrast is a function of a class: how far its colour is from what is behind it, as WCAG 2 counts.
const contrast = `(name => {
	const e = document.createElement('span'); e.className = name; document.body.append(e);
	const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 :
		((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const [a, b] = [light(getComputedStyle(e).color), light(getComputedStyle(document.body).backgroundColor)];
	e.remove(); return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })`
