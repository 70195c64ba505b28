package api

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// The page at /ui: what a node runs, does and did, for a browser. It is made here, so that what others wrote is escaped
// in one place, and follows the node by fetching itself again. It loads nothing from elsewhere, and gives orders only
// for a caller whose certificate allows them.

//go:embed ui
var uiFiles embed.FS

// uiPolicy is what the page may do in a browser.
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var uiPage = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"state": uiState, "stateText": uiStateText, "roles": uiRoles, "next": uiNext, "result": uiResult,
	"size":    bytesize.Text,
	"percent": func(n, of int64) string { return fmt.Sprintf("%d%%", n*100/max(of, 1)) },
	"time":    func(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) },
	"short":   func(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] },
}).ParseFS(uiFiles, "ui/page.html"))

// uiDoctor is the page with a diagnosis.
const uiDoctor = "/ui/doctor"

// uiView is what the page shows.
type uiView struct {
	Host, Caller, Role     string
	Status                 *pawlv1.StatusResponse
	Problem, DoctorProblem string // why there is no status, no diagnosis
	Doctor                 *pawlv1.DoctorResponse
	Actions                []uiAction
}

// uiAction is an order that the page offers.
type uiAction struct {
	Method, Body, Text, Ask string
	Stream                  bool
}

// ui serves the page and its files.
func (a *API) ui(mux *http.ServeMux) {
	mux.Handle("GET /ui", a.forReaders(http.HandlerFunc(a.page)))
	mux.Handle("GET "+uiDoctor, a.forReaders(http.HandlerFunc(a.page)))
	for name, kind := range map[string]string{"pawl.js": "text/javascript", "pawl.css": "text/css"} {
		data, err := uiFiles.ReadFile("ui/" + name)
		if err != nil {
			panic(err) // it is not embedded
		}
		mux.Handle("GET /ui/"+name, a.forReaders(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			uiHeaders(w, kind)
			_, _ = w.Write(data)
		})))
	}
}

func uiHeaders(w http.ResponseWriter, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind+"; charset=utf-8")
	h.Set("Content-Security-Policy", uiPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (a *API) page(w http.ResponseWriter, r *http.Request) {
	caller := access.CallerOf(r.Context())
	v := uiView{Caller: caller.Name, Role: string(caller.Role)}
	if v.Host, _ = os.Hostname(); v.Host == "" {
		v.Host = "this node"
	}
	s := service{a.s, a.access}
	if st, err := s.Status(r.Context(), nil); err != nil {
		v.Problem = foreign.Text(err.Error(), maxText)
	} else {
		mend(st.ProtoReflect())
		v.Status = st
	}
	if r.URL.Path == uiDoctor {
		v.diagnose(r.Context(), s)
	}
	if r.TLS != nil && v.Status != nil { // else a page may give no orders
		v.Actions = uiActions(caller, v.Status)
	}
	var page bytes.Buffer
	if err := uiPage.Execute(&page, v); err != nil {
		a.log.Error("the page cannot be made", "reason", err)
		say(w, http.StatusInternalServerError, "the page cannot be made")
		return
	}
	uiHeaders(w, "text/html")
	_, _ = w.Write(page.Bytes())
}

func (v *uiView) diagnose(ctx context.Context, s service) {
	d, err := s.Doctor(ctx, nil)
	if err != nil {
		v.DoctorProblem = foreign.Text(err.Error(), maxText)
		return
	}
	mend(d.ProtoReflect())
	v.Doctor = d
}

// uiActions are the orders that make sense now and that the caller may give.
func uiActions(caller access.Caller, st *pawlv1.StatusResponse) (all []uiAction) {
	running := st.Operation.GetRunning()
	for _, o := range []struct {
		sense bool
		uiAction
	}{
		{running, uiAction{Method: "Cancel", Body: "{}", Text: "Cancel", Ask: "End " + st.Operation.GetName() +
			", and undo what it did?"}},
		{st.Attempt.GetPhase() == string(attempt.Staged), uiAction{Method: "CancelStage", Body: "{}",
			Text: "Cancel the staged upgrade", Ask: "Give up the staged upgrade?"}},
		{!running && (st.Trial || st.Unordered != ""), uiAction{Method: "Confirm", Body: "{}", Text: "Confirm",
			Ask: "Keep " + st.Version + " in slot " + st.Active + " without waiting for its checks?"}},
		{!running, uiAction{Method: "Rollback", Body: `{"reboot":true}`, Text: "Roll back", Stream: true,
			Ask: "Go back to the other slot, and restart if that needs it?"}},
		{!running, uiAction{Method: "Reboot", Body: "{}", Text: "Restart", Ask: "Restart the node?"}},
	} {
		m := pawlv1.File_pawl_proto.Services().ByName("Node").Methods().ByName(protoreflect.Name(o.Method))
		if o.sense && caller.Role.Includes(access.Needed(m, nil)) {
			all = append(all, o.uiAction)
		}
	}
	return all
}

func uiState(st *pawlv1.StatusResponse) string {
	switch {
	case st.Unordered != "" || st.Active == "":
		return "broken"
	case st.Trial:
		return "degraded"
	}
	return "fine"
}

func uiStateText(st *pawlv1.StatusResponse) string {
	switch {
	case st.Active == "":
		return "no boot reported a slot"
	case st.Unordered != "":
		return "not confirmed, and ordered by no attempt: " + st.Unordered
	case st.Trial:
		return "on trial"
	}
	return "confirmed"
}

func uiRoles(st *pawlv1.StatusResponse, slot string) string {
	var all []string
	for _, r := range []struct{ slot, role string }{{st.Active, "runs"}, {st.Default, "default"}, {st.Armed, "armed"}} {
		if r.slot == slot {
			all = append(all, r.role)
		}
	}
	return strings.Join(all, ", ")
}

// uiNext says what boots next.
func uiNext(st *pawlv1.StatusResponse) string {
	if st.Armed != "" {
		return fmt.Sprintf("Next boot: slot %s, a trial with %d boots left; then slot %s by itself.", st.Armed, st.Tries,
			st.Default)
	}
	return fmt.Sprintf("Next boot: slot %s.", st.Default)
}

func uiResult(a *pawlv1.Attempt) string {
	switch attempt.Result(a.Result) {
	case attempt.Confirmed:
		return "fine"
	case attempt.FellBack:
		return "broken"
	}
	return "degraded"
}
