package api

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

const script = `"><script>alert(1)</script>`

// hostileStatus is of a node on trial, with texts by others that are none of the page's.
func hostileStatus() (node.Status, error) {
	st := report.Status{Version: "2" + script, BootID: "b", Warnings: []string{script + latin1},
		Loader:   bootloader.State{Active: "B", Default: "A"},
		KnownBad: []attempt.Bad{{Image: "sha256:1", Reason: script}}}
	st.Attempt = &attempt.Attempt{Kind: attempt.Upgrade, State: attempt.Ended, Result: attempt.FellBack, Reason: script,
		Crash: &attempt.Crash{Panic: script, Log: "one\n" + script}}
	st.Slots[0] = report.Slot{Slot: "A", Content: report.Complete}
	st.Slots[1] = report.Slot{Slot: "B", Content: report.Partial, Problem: script}
	return node.Status{Status: st, Notes: []string{script}}, nil
}

// get is a page, its header, and its status.
func get(t *testing.T, h *http.Client, url string) (string, *http.Response) {
	r, err := h.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(text), r
}

func TestThePageEscapesWhatOthersWrote(t *testing.T) {
	s := dull(t)
	s.status = hostileStatus
	to := "http://" + served(t, newAPI(s, Options{}), "127.0.0.1:0").String()
	for _, path := range []string{"/ui", "/ui/doctor"} {
		page, r := get(t, http.DefaultClient, to+path)
		require.Equal(t, http.StatusOK, r.StatusCode)
		require.NotContains(t, page, "<script>alert")
		require.GreaterOrEqual(t, strings.Count(page, "&lt;script&gt;alert"), 8)
		require.Contains(t, page, "on trial")
		require.Contains(t, page, "fell back")
		for _, url := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			require.Regexp(t, `^(/ui|#main|data:,)`, url[1], "it loads nothing from elsewhere")
		}
		policy := r.Header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; script-src 'self'")
		require.NotContains(t, policy, "unsafe")
		require.NotContains(t, page, "style=")
		require.NotRegexp(t, ` on[a-z]+="`, page)
		require.NotContains(t, page, "data-method", "no orders without TLS")
	}
	for path, kind := range map[string]string{"/ui/pawl.js": "text/javascript", "/ui/pawl.css": "text/css"} {
		_, r := get(t, http.DefaultClient, to+path)
		require.Equal(t, kind+"; charset=utf-8", r.Header.Get("Content-Type"))
		require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
	}
	s.status = func() (node.Status, error) { return node.Status{}, errSick }
	page, r := get(t, http.DefaultClient, to+"/ui")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, page, errSick.Error())
}

func TestThePageOffersWhatItsCallerMayDo(t *testing.T) {
	s := secure(t, "")
	s.stub.status = hostileStatus
	for role, want := range map[string]string{
		"pawl:reader": "", "pawl:operator": "Confirm Reboot", "pawl:admin": "Confirm Rollback Reboot",
	} {
		page, _ := get(t, s.client(s.pair(s.ca, role, time.Hour)), s.url()+"/ui")
		var offered []string
		for _, m := range regexp.MustCompile(`data-method="(\w+)"`).FindAllStringSubmatch(page, -1) {
			offered = append(offered, m[1])
		}
		require.Equal(t, want, strings.Join(offered, " "), role)
		require.Equal(t, want == "", strings.Contains(page, "this page only looks"))
	}
	for _, path := range []string{"/ui", "/ui/doctor", "/ui/pawl.js", "/ui/pawl.css"} {
		_, r := get(t, s.client(s.pair(s.ca, "", time.Hour)), s.url()+path)
		require.Equal(t, http.StatusForbidden, r.StatusCode, "nobody without a role")
	}
}

// A browser shows a person's certificate to whoever makes it ask, so who made it ask has to be the node's own page.
func TestOnlyItsOwnPageGivesOrders(t *testing.T) {
	s := secure(t, "")
	h := s.client(s.pair(s.ca, "pawl:admin", time.Hour))
	for name, test := range map[string]struct {
		origin, site string
		comes        bool // to the node, whose disk is not there
	}{
		"its own":               {s.url(), "same-origin", true},
		"an older browser":      {s.url(), "", true},
		"another site":          {"https://evil.example.com", "cross-site", false},
		"a lie of a proxy":      {s.url(), "cross-site", false},
		"another port":          {"https://127.0.0.1:1", "same-site", false},
		"without TLS":           {strings.Replace(s.url(), "https", "http", 1), "", false},
		"a page of no site":     {"null", "", false},
		"a name that begins so": {s.url() + ".example.com", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url()+"/pawl.v1.Node/Confirm",
				strings.NewReader("{}"))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Origin", test.origin)
			if test.site != "" {
				r.Header.Set("Sec-Fetch-Site", test.site)
			}
			answer, err := h.Do(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, test.comes, answer.StatusCode != http.StatusForbidden)
		})
	}
	plain := served(t, newAPI(dull(t), Options{}), "127.0.0.1:0")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+plain.String()+"/pawl.v1.Node/Confirm",
		strings.NewReader("{}"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "http://"+plain.String())
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, 403, answer.StatusCode, "without TLS a page gives no orders")
}
