package jaeger

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// defaultLookback is how far back a search goes that names no start, as in Jaeger.
	defaultLookback = 48 * time.Hour
	// defaultCalls is how far back dependencies go that name no lookback.
	defaultCalls = 24 * time.Hour
)

func (d *Door) routesV1(mux *http.ServeMux) {
	mux.HandleFunc("GET /jaeger/api/services", d.v1Services)
	mux.HandleFunc("GET /jaeger/api/services/{service}/operations", d.v1OperationNames)
	mux.HandleFunc("GET /jaeger/api/operations", d.v1Operations)
	mux.HandleFunc("GET /jaeger/api/traces", d.v1Search)
	mux.HandleFunc("GET /jaeger/api/traces/{id}", d.v1Trace)
	mux.HandleFunc("GET /jaeger/api/dependencies", d.v1Dependencies)
	mux.HandleFunc("/jaeger/", func(w http.ResponseWriter, r *http.Request) {
		writeV1(w, http.StatusNotFound, envelope{Errors: []uiError{{Code: http.StatusNotFound, Msg: "no route " + r.Method + " " + r.URL.Path}}})
	})
}

// envelope is around every answer of the UI's API.
type envelope struct {
	Data   any       `json:"data"`
	Total  int       `json:"total"`
	Limit  int       `json:"limit"`
	Offset int       `json:"offset"`
	Errors []uiError `json:"errors"`
}

type uiError struct {
	Code    int    `json:"code,omitempty"`
	Msg     string `json:"msg"`
	TraceID string `json:"traceID,omitempty"`
}

func writeV1(w http.ResponseWriter, status int, e envelope) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The status is out; a broken connection is all that can fail now.
	_ = json.NewEncoder(w).Encode(e)
}

func (d *Door) failV1(w http.ResponseWriter, r *http.Request, err error) {
	code := d.status(r.Context(), err)
	writeV1(w, code, envelope{Errors: []uiError{{Code: code, Msg: err.Error()}}})
}

func (d *Door) v1Services(w http.ResponseWriter, r *http.Request) {
	names, err := d.services(r.Context())
	if err != nil {
		d.failV1(w, r, err)
		return
	}
	writeV1(w, http.StatusOK, envelope{Data: names, Total: len(names)})
}

// v1OperationNames is the older form: names of all kinds, each once.
func (d *Door) v1OperationNames(w http.ResponseWriter, r *http.Request) {
	ops, err := d.operations(r.Context(), r.PathValue("service"), "")
	if err != nil {
		d.failV1(w, r, err)
		return
	}
	names := []string{}
	for _, op := range ops { // by name
		if n := len(names); n == 0 || names[n-1] != op.Name {
			names = append(names, op.Name)
		}
	}
	writeV1(w, http.StatusOK, envelope{Data: names, Total: len(names)})
}

func (d *Door) v1Operations(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("service") == "" {
		d.failV1(w, r, malformed("service", "", "the name of a service"))
		return
	}
	ops, err := d.operations(r.Context(), q.Get("service"), q.Get("spanKind"))
	if err != nil {
		d.failV1(w, r, err)
		return
	}
	writeV1(w, http.StatusOK, envelope{Data: ops, Total: len(ops)})
}

func (d *Door) v1Trace(w http.ResponseWriter, r *http.Request) {
	id, err := query.ParseTraceID(r.PathValue("id"))
	if err != nil {
		d.failV1(w, r, malformed("traceID", r.PathValue("id"), "up to 32 hexadecimal digits"))
		return
	}
	hint, err := hintV1(r.URL.Query())
	if err != nil {
		d.failV1(w, r, err)
		return
	}
	td, cut, err := d.trace(r.Context(), id, hint)
	if errors.Is(err, store.ErrNotFound) {
		writeV1(w, http.StatusNotFound, envelope{Errors: []uiError{{Code: http.StatusNotFound, Msg: "trace not found"}}})
		return
	}
	if err != nil {
		d.failV1(w, r, err)
		return
	}
	writeV1(w, http.StatusOK, envelope{Data: []uiTrace{traceV1(td, cut)}})
}

func hintV1(q url.Values) (hint store.Range, err error) {
	if hint.Start, err = micros(q, "start", time.Time{}); err == nil {
		hint.End, err = micros(q, "end", time.Time{})
	}
	return hint, err
}

func (d *Door) v1Search(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	traces := []uiTrace{}
	var failures []uiError
	add := func(td ptrace.Traces, cut bool) error {
		traces = append(traces, traceV1(td, cut))
		return nil
	}
	if ids := q["traceID"]; len(ids) > 0 {
		if len(ids) > maxLimit {
			d.failV1(w, r, malformed("traceID", "", "at most "+strconv.Itoa(maxLimit)+" of them"))
			return
		}
		for _, text := range ids {
			id, err := query.ParseTraceID(text)
			if err != nil {
				d.failV1(w, r, malformed("traceID", text, "up to 32 hexadecimal digits"))
				return
			}
			td, cut, err := d.trace(r.Context(), id, store.Range{})
			switch {
			case errors.Is(err, store.ErrNotFound):
				failures = append(failures, uiError{Msg: "trace not found", TraceID: text})
			case err != nil:
				d.failV1(w, r, err)
				return
			default:
				traces = append(traces, traceV1(td, cut))
			}
		}
	} else {
		s, err := d.searchV1(q)
		if err == nil {
			err = d.find(r.Context(), s, add)
		}
		if err != nil {
			d.failV1(w, r, err)
			return
		}
	}
	writeV1(w, http.StatusOK, envelope{Data: traces, Errors: failures})
}

func (d *Door) searchV1(q url.Values) (s search, err error) {
	s = search{service: q.Get("service"), operation: q.Get("operation"), attributes: map[string]string{}}
	if s.end, err = micros(q, "end", d.now()); err != nil {
		return s, err
	}
	lookback := defaultLookback
	// The UI also sends "custom" here, next to start and end.
	if l, err := query.ParseDuration(q.Get("lookback")); err == nil && l > 0 {
		lookback = l
	}
	if s.start, err = micros(q, "start", s.end.Add(-lookback)); err != nil {
		return s, err
	}
	if s.min, err = length(q, "minDuration"); err != nil {
		return s, err
	}
	if s.max, err = length(q, "maxDuration"); err != nil {
		return s, err
	}
	if v := q.Get("limit"); v != "" {
		if s.limit, err = strconv.Atoi(v); err != nil || s.limit <= 0 {
			return s, malformed("limit", v, "a positive number")
		}
	}
	for _, tag := range q["tag"] {
		k, v, ok := strings.Cut(tag, ":")
		if !ok {
			return s, malformed("tag", tag, "key:value")
		}
		s.attributes[k] = v
	}
	for _, tags := range q["tags"] {
		// Values are strings in the UI, but some clients send numbers.
		var m map[string]any
		dec := json.NewDecoder(strings.NewReader(tags))
		dec.UseNumber()
		if err := dec.Decode(&m); err != nil {
			return s, malformed("tags", tags, `a JSON object such as {"http.route":"/"}`)
		}
		for k, v := range m {
			switch v := v.(type) {
			case string:
				s.attributes[k] = v
			case json.Number:
				s.attributes[k] = v.String()
			case bool:
				s.attributes[k] = strconv.FormatBool(v)
			default:
				return s, malformed("tags", tags, "strings as values")
			}
		}
	}
	return s, nil
}

// micros reads a time in Unix microseconds.
func micros(q url.Values, name string, absent time.Time) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return time.Time{}, malformed(name, v, "Unix time in microseconds")
	}
	return time.UnixMicro(n), nil
}

func length(q url.Values, name string) (time.Duration, error) {
	v := q.Get(name)
	if v == "" {
		return 0, nil
	}
	n, err := query.ParseDuration(v)
	if err != nil {
		return 0, malformed(name, v, "a duration such as 100ms")
	}
	return n, nil
}

func (d *Door) v1Dependencies(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	end, back := d.now(), defaultCalls
	if v := q.Get("endTs"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			d.failV1(w, r, malformed("endTs", v, "Unix time in milliseconds"))
			return
		}
		end = time.UnixMilli(n)
	}
	if v := q.Get("lookback"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n <= 0 || n > int64(10*365*24*time.Hour/time.Millisecond) {
			d.failV1(w, r, malformed("lookback", v, "milliseconds"))
			return
		}
		back = time.Duration(n) * time.Millisecond
	}
	calls, err := d.dependencies(r.Context(), end.Add(-back), end)
	if err != nil {
		d.failV1(w, r, err)
		return
	}
	if service := q.Get("service"); service != "" {
		kept := []call{}
		for _, c := range calls {
			if c.Parent == service || c.Child == service {
				kept = append(kept, c)
			}
		}
		calls = kept
	}
	writeV1(w, http.StatusOK, envelope{Data: calls})
}

// traceIDV1 writes ids as Jaeger does: 16 digits where the rest are zeros.
func traceIDV1(id pcommon.TraceID) string {
	s := id.String()
	return strings.TrimPrefix(s, "0000000000000000")
}
