package testregistry

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is what the registry does wrong. The first three fields choose the requests, the others say what happens; those
// that are zero do nothing.
type Fault struct {
	Path  string // part of the path of the GET requests that it strikes, such as "/blobs/" or a digest; "" is all
	Times int    // how many requests it strikes; 0 is all of them
	Parts bool   // it strikes requests for a part only

	Delay       time.Duration // wait before answering
	Status      int           // answer this and nothing else,
	Header      http.Header   // with these
	IgnoreRange bool          // answer a Range request with 200 and everything
	WrongRange  bool          // answer a Range request with a Content-Range that is one byte off
	// change the body's bytes as they go by; offset counts in the answer's body
	Tamper     func(offset int64, p []byte)
	InBlob     bool          // Tamper's offset counts in the blob, of which the body may be a part
	Truncate   int64         // leave out so many bytes at the end, with a Content-Length that fits
	DropAfter  int64         // cut the connection after so many bytes of the body
	StallAfter int64         // send nothing more after so many bytes, and hold the connection
	Rate       int64         // send so many bytes a second, in small pieces
	Sent       func(n int64) // hears of each piece that was sent; only with Rate

	struck int
}

func (f *Fault) matches(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.Contains(req.URL.Path, f.Path) &&
		(f.Times == 0 || f.struck < f.Times) && (!f.Parts || req.Header.Get("Range") != "")
}

// answer is a response on its way through a fault.
type answer struct {
	http.ResponseWriter
	fault   *Fault
	request *http.Request
	status  int
	sent    int64
	limit   int64 // bytes to send at most; only with Truncate
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	if f := a.fault; f != nil && status < 300 {
		if length, err := strconv.ParseInt(a.Header().Get("Content-Length"), 10, 64); err == nil && f.Truncate > 0 {
			a.limit = max(0, length-f.Truncate)
			a.Header().Set("Content-Length", strconv.FormatInt(a.limit, 10))
		}
		if status == http.StatusPartialContent && f.WrongRange {
			a.Header().Set("Content-Range", offByOne(a.Header().Get("Content-Range")))
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	f := a.fault
	if f == nil {
		n, err := a.ResponseWriter.Write(p)
		a.sent += int64(n)
		return n, err
	}
	whole := len(p)
	if f.Tamper != nil {
		p = append([]byte(nil), p...)
		f.Tamper(a.start()+a.sent, p)
	}
	if f.Truncate > 0 {
		p = p[:min(int64(len(p)), a.limit-a.sent)]
	}
	stop := max(f.DropAfter, f.StallAfter)
	if stop > 0 {
		p = p[:min(int64(len(p)), stop-a.sent)]
	}
	n, err := a.pass(p)
	a.sent += int64(n)
	if err != nil {
		return n, err
	}
	if stop > 0 && a.sent >= stop {
		a.flush()
		if f.StallAfter > 0 {
			<-a.request.Context().Done()
		}
		panic(http.ErrAbortHandler) // the server cuts the connection
	}
	return whole, nil
}

// start is what Tamper counts from.
func (a *answer) start() (first int64) {
	if a.fault.InBlob && a.status == http.StatusPartialContent {
		_, _ = fmt.Sscanf(a.request.Header.Get("Range"), "bytes=%d-", &first)
	}
	return first
}

// pass sends p, slowly if it is to be slow.
func (a *answer) pass(p []byte) (int, error) {
	f := a.fault
	if f.Rate <= 0 {
		return a.ResponseWriter.Write(p)
	}
	const piece = 16 << 10
	for done := 0; done < len(p); {
		n, err := a.ResponseWriter.Write(p[done:min(done+piece, len(p))])
		done += n
		if err == nil {
			err = http.NewResponseController(a.ResponseWriter).Flush()
		}
		if err != nil {
			return done, err
		}
		if f.Sent != nil {
			f.Sent(int64(n))
		}
		time.Sleep(time.Duration(n) * time.Second / time.Duration(f.Rate))
	}
	return len(p), nil
}

func (a *answer) flush() {
	if err := http.NewResponseController(a.ResponseWriter).Flush(); err != nil {
		panic(err)
	}
}

// offByOne turns "bytes 5-9/10" into "bytes 6-9/10".
func offByOne(contentRange string) string {
	first, rest, found := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !found || err != nil {
		return contentRange
	}
	return "bytes " + strconv.FormatInt(n+1, 10) + "-" + rest
}
