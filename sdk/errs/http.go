package errs

import (
	"encoding/json"
	"net/http"

	"go.opentelemetry.io/otel/trace"
)

// Problem is what a client gets: problem details of RFC 9457, with the code and
// the id of the trace.
type Problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail,omitempty"`
	Code    string `json:"code"`
	TraceID string `json:"trace_id,omitempty"`
}

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// problemURN begins the type of a problem that has no page: a name, and nothing
// to follow.
const problemURN = "urn:problem-type:"

// ProblemOf is what a client may know of err: title and code; of class Client
// the detail, too. Never the cause, never the fields.
func ProblemOf(err error) Problem {
	code, e := find(err)
	p := Problem{Type: code.doc, Title: code.title, Status: code.status, Code: code.name}
	if p.Type == "" {
		p.Type = problemURN + code.name
	}
	if e != nil {
		p.TraceID = e.TraceID()
		if code.class == Client {
			p.Detail = e.detail
		}
	}
	return p
}

// Write answers r with err as a Problem. The trace is that of err, or else of
// r. It neither logs nor records err: see HandlerFunc, which does all three.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	p := ProblemOf(err)
	if sc := trace.SpanContextFromContext(r.Context()); p.TraceID == "" && sc.HasTraceID() {
		p.TraceID = sc.TraceID().String()
	}
	body, err := json.Marshal(p)
	if err != nil { // it is of strings and a number
		panic("BUG: marshal problem: " + err.Error())
	}
	h := w.Header()
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified"} { // of the answer that it did not become
		h.Del(name)
	}
	h.Set("Content-Type", ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client is gone: nobody to tell
}

// HandlerFunc is a handler that returns its error instead of answering with it.
// The error is recorded on the span, logged at its level, and written: return
// one before anything is written, or nil.
type HandlerFunc func(http.ResponseWriter, *http.Request) error

// ServeHTTP implements http.Handler.
func (f HandlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := f(w, r)
	if err == nil {
		return
	}
	Record(r.Context(), err)
	Log(r.Context(), "request failed", err)
	Write(w, r, err)
}
